//! Which analyzers are wanted, and with which parameters, as people write it down: on a line, in a file, in a request.
//!
//! A line is `stats:window=2,pulse`. What has more to say, or says it with commas and colons, stands in a file, TOML or
//! JSON by its extension, in the same order:
//!
//! ```toml
//! [[analyzer]]
//! name = "stats"
//! window = 2
//!
//! [[analyzer]]
//! python = "clip.py:analyze"
//! ```
//!
//! ```json
//! [{"name": "stats", "window": 2}, {"python": "clip.py:analyze"}]
//! ```
//!
//! Not here: what analyzers there are and what they take. That is the receiver's to judge, of either form alike.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, MapAccess, Visitor},
};

/// Beside `name`, the keys that name code instead of an analyzer: `python = "clip.py:analyze"`.
pub const CODE: [&str; 2] = ["python", "program"];
/// Those that name an analyzer and its model file at once: `detect = "yolox.onnx"`.
pub const MODELS: [&str; 2] = ["detect", "pose"];
/// Bytes of a file: more is no list of analyzers.
const MAX_FILE: u64 = 1 << 20;

/// A list of analyzers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// As a line, not looked into yet.
    Line(String),
    /// One by one.
    Entries(Vec<Entry>),
}

/// One analyzer of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, or one of [`CODE`].
    pub name: String,
    /// Which code, where code is named.
    pub target: Option<String>,
    /// Its parameters as text, each key once.
    pub parameters: Vec<(String, String)>,
}

/// Why there is no list. The message says where in the file.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Its path.
        path: String,
        /// What the system says.
        error: io::Error,
    },
    /// The text is no list.
    #[error("{place}: {problem}")]
    Malformed {
        /// File and line.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// A line cannot say this.
    #[error("{key} = \"{value}\" does not fit into the line that is sent: it takes no commas, colons or outer blanks")]
    Unsendable {
        /// Which key of an entry.
        key: String,
        /// Its value.
        value: String,
    },
}

impl List {
    /// What `text` stands for: a file, if it ends in `.toml` or `.json`, else a line.
    pub fn read(text: &str) -> Result<Self, ListError> {
        let path = Path::new(text);
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        let parse = match extension.as_deref() {
            Some("toml") => toml_entries,
            Some("json") => json_entries,
            _ => return Ok(Self::Line(text.to_owned())),
        };
        // The end of a line may look like a file: python:clip.py:analyze,colours=all.json
        if text.contains([',', ':']) && !path.is_file() {
            return Ok(Self::Line(text.to_owned()));
        }
        let text = contents(path).map_err(|error| ListError::Unreadable { path: path.display().to_string(), error })?;
        let entries = parse(&text, &path.display().to_string());
        let advised = |error: ListError| {
            // The form of the other kind of file, most likely.
            let is_object = extension.as_deref() == Some("json") && text.trim_start().starts_with('{');
            if is_object { error.with_advice("write [{\"name\":\"stats\"}, …]") } else { error }
        };
        entries.map(Self::Entries).map_err(advised)
    }

    /// What a request's body says: JSON, if it begins with a bracket, else a line.
    pub fn of_body(text: &str) -> Result<Self, ListError> {
        let text = text.trim();
        if text.starts_with(['[', '{']) {
            let form = "send a line like stats:window=5,pulse or JSON like [{\"name\":\"stats\",\"window\":5}]";
            json_entries(text, "the body").map(Self::Entries).map_err(|error| error.with_advice(form))
        } else {
            Ok(Self::Line(text.to_owned()))
        }
    }

    /// The list as a line that says the same.
    ///
    /// # Errors
    /// If no line says the same.
    pub fn to_line(&self) -> Result<String, ListError> {
        if let Self::Entries(entries) = self {
            entries.iter().try_for_each(Entry::check_sendable)?;
        }
        Ok(self.to_string())
    }
}

/// As a line; for people, since commas and colons in values are written as they are.
impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = match self {
            Self::Line(line) => return f.write_str(line),
            Self::Entries(entries) => entries,
        };
        for (index, entry) in entries.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { "," }, entry.name)?;
            if let Some(target) = &entry.target {
                write!(f, ":{target}")?;
            }
            let mut separator = if entry.target.is_none() { ':' } else { ',' };
            for (key, value) in &entry.parameters {
                write!(f, "{separator}{key}={value}")?;
                separator = ',';
            }
        }
        Ok(())
    }
}

impl Entry {
    /// What `pairs` of keys and values say.
    fn of(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut entry = Self { name: String::new(), target: None, parameters: Vec::new() };
        for (index, (key, _)) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|(earlier, _)| earlier == key) {
                return Err(format!("the key '{key}' is there twice"));
            }
            if key.contains('=') {
                return Err(format!("the key '{key}' has a '=', which no parameter's name has"));
            }
            if CODE.contains(&key.as_str()) || MODELS.contains(&key.as_str()) {
                if !entry.name.is_empty() {
                    return Err(format!("an analyzer is either {} or {key}", entry.name));
                }
                entry.name.clone_from(key);
            }
        }
        let named = entry.name.is_empty();
        for (key, value) in pairs {
            match key.as_str() {
                code if CODE.contains(&code) => entry.target = Some(value),
                model if MODELS.contains(&model) => entry.parameters.push(("model".to_owned(), value)),
                "name" if named => entry.name = value,
                _ => entry.parameters.push((key, value)),
            }
        }
        if entry.name.is_empty() {
            let others = [CODE, MODELS].concat().join(", ");
            return Err(format!("an analyzer needs the key 'name', or in its place one of {others}"));
        }
        Ok(entry)
    }

    fn check_sendable(&self) -> Result<(), ListError> {
        if self.name.is_empty() || self.name.contains('=') {
            return Err(ListError::Unsendable { key: "name".into(), value: self.name.clone() });
        }
        let fits = |text: &str| !text.contains([',', ':']) && text.trim() == text;
        let name = ("name".to_owned(), self.name.clone());
        let mut pairs = self.parameters.iter().chain([&name]);
        match pairs.find(|(key, value)| !fits(key) || !fits(value)) {
            Some((key, value)) => Err(ListError::Unsendable { key: key.clone(), value: value.clone() }),
            None => Ok(()),
        }
    }
}

fn contents(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE {
        return Err(io::Error::other("it has more than a megabyte, which is no list of analyzers"));
    }
    Ok(text)
}

/// A TOML file as a whole.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    analyzer: Vec<Entry>,
}

fn toml_entries(text: &str, name: &str) -> Result<Vec<Entry>, ListError> {
    let table: Result<Table, toml::de::Error> = toml::from_str(text);
    table.map(|table| table.analyzer).map_err(|error| {
        let line = error.span().map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
        malformed(name, line, error.message())
    })
}

fn json_entries(text: &str, name: &str) -> Result<Vec<Entry>, ListError> {
    serde_json::from_str(text).map_err(|error| {
        let (problem, line) = (error.to_string(), error.line());
        let problem = problem.rsplit_once(" at line ").map_or(problem.as_str(), |(problem, _)| problem);
        malformed(name, (line > 0).then_some(line), problem)
    })
}

impl ListError {
    /// The same, with what would be right.
    fn with_advice(mut self, advice: &str) -> Self {
        if let Self::Malformed { problem, .. } = &mut self {
            *problem = format!("{problem}; {advice}");
        }
        self
    }
}

fn malformed(name: &str, line: Option<usize>, problem: &str) -> ListError {
    let place = line.map_or_else(|| name.to_owned(), |line| format!("{name}, line {line}"));
    // One sentence, whatever the library's messages look like, and however much of the text they repeat.
    let problem = problem.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect();
    ListError::Malformed { place, problem }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an analyzer with its parameters, such as name and window")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let mut pairs = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(Scalar { key: &key })?;
            pairs.push((key, value));
        }
        Entry::of(pairs).map_err(de::Error::custom)
    }
}

/// Reads the value of a key as the text that a line would have. Fails where the value stands, so that the line is right.
struct Scalar<'a> {
    key: &'a str,
}

impl<'de> DeserializeSeed<'de> for Scalar<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Scalar<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text, a number, true or false for the key '{}'", self.key)
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<String, E> {
        Ok(flag.to_string())
    }

    fn visit_i64<E>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, target: Option<&str>, parameters: &[(&str, &str)]) -> Entry {
        let parameters = parameters.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Entry { name: name.into(), target: target.map(Into::into), parameters }
    }

    #[test]
    fn toml_and_json_say_the_same_in_the_same_order() {
        let toml = "# what for\n[[analyzer]]\nname = \"stats\"\nwindow = 2.5\n\n[[analyzer]]\n\
                    name = \"hands\"\npython = \"my, clip.py:analyze\"\nextract = true\nprocesses = 3\n";
        let json = r#"[{"window": 2.50, "name": "stats"},
            {"python": "my, clip.py:analyze", "extract": true, "name": "hands", "processes": 3}]"#;
        let code = &[("extract", "true"), ("name", "hands"), ("processes", "3")];
        let wanted = [entry("stats", None, &[("window", "2.5")]), entry("python", Some("my, clip.py:analyze"), code)];
        assert_eq!(toml_entries(toml, "").unwrap(), wanted);
        assert_eq!(json_entries(json, "").unwrap(), wanted);
    }

    #[test]
    fn a_model_may_be_named_with_its_file() {
        let json = r#"[{"detect": "a, b.onnx", "name": "people", "score": 0.5}, {"name": "pose", "model": "c.onnx"}]"#;
        let detect = entry("detect", None, &[("model", "a, b.onnx"), ("name", "people"), ("score", "0.5")]);
        assert_eq!(json_entries(json, "").unwrap(), [detect, entry("pose", None, &[("model", "c.onnx")])]);
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let toml = |text| toml_entries(text, "a.toml").unwrap_err().to_string();
        let json = |text| json_entries(text, "a.json").unwrap_err().to_string();
        for (said, place, problem) in [
            (toml("[[analyzer]]\nname = \"stats\"\nwindow = [1]\n"), "a.toml, line 3: ", "for the key 'window'"),
            (
                toml("[[analyzer]]\nname = \"stats\"\nwindow = 1979-05-27\n"),
                "a.toml, line 3: ",
                "a number, true or false",
            ),
            (toml("[[analyzer]]\nname = stats\n"), "a.toml, line 2: ", ""),
            (toml("\n[[analyzer]]\nwindow = 1\n"), "a.toml, line 2: ", "needs the key 'name', or in its place one of"),
            (toml("[[analyser]]\nname = \"stats\"\n"), "a.toml, line 1: ", "unknown field `analyser`"),
            (toml(""), "a.toml", "missing field `analyzer`"),
            (json("[{\"name\":\"stats\",\n\"window\":{}}]"), "a.json, line 2: ", "for the key 'window'"),
            (json("[{\"name\":\"stats\",\n\"window\":null}]"), "a.json, line 2: ", "invalid type: null"),
            (json("[{\"name\":\"stats\"},\n{\"name\":\"a\",\"name\":\"b\"}]"), "a.json, line 2: ", "there twice"),
            (json("[{\"python\":\"a\",\"program\":\"b\"}]"), "a.json, line 1: ", "either python or program"),
            (json("[\"stats\"]"), "a.json, line 1: ", "an analyzer with its parameters"),
            (json("{}"), "a.json, line 1: ", ""),
            (json("[{"), "a.json, line 1: ", "EOF"),
        ] {
            assert!(said.starts_with(place) && said.contains(problem) && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn a_line_says_the_same_or_is_refused() {
        let line = |entries: &[Entry]| List::Entries(entries.to_vec()).to_line();
        let two = [entry("stats", None, &[("window", "2"), ("x", "a=b")]), entry("pulse", None, &[])];
        assert_eq!(line(&two).unwrap(), "stats:window=2,x=a=b,pulse");
        let code = [entry("python", Some("clip.py:analyze"), &[("format", "gray")])];
        assert_eq!(line(&code).unwrap(), "python:clip.py:analyze,format=gray");
        for value in ["a,b", "a:b", " a"] {
            let said = line(&[entry("quick", None, &[("model", value)])]).unwrap_err().to_string();
            assert!(said.contains(&format!("model = \"{value}\" does not fit")), "{said}");
        }
    }

    #[test]
    fn only_what_looks_like_a_file_is_read_as_one() {
        for text in ["stats", "stats:window=2,pulse", "program:./run --config a.json", "python:a.py:f,model=a.toml", ""]
        {
            assert_eq!(List::read(text).unwrap(), List::Line(text.into()));
        }
        assert!(List::read("absent.toml").unwrap_err().to_string().starts_with("cannot read absent.toml"));
        let path = std::env::temp_dir().join(format!("analyzers,{}.json", std::process::id()));
        std::fs::write(&path, r#"[{"name":"stats"}]"#).unwrap();
        let read = List::read(path.to_str().unwrap());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), List::Entries(vec![entry("stats", None, &[])]));
    }

    #[test]
    fn a_body_is_a_line_or_json() {
        assert_eq!(List::of_body(" stats:window=2,pulse\n").unwrap(), List::Line("stats:window=2,pulse".into()));
        assert_eq!(List::of_body("[]").unwrap(), List::Entries(vec![]));
        assert!(List::of_body("[{\"name\":3.0}]").unwrap() == List::Entries(vec![entry("3", None, &[])]));
        assert!(List::of_body("[1]").unwrap_err().to_string().starts_with("the body, line 1: "));
    }
}
