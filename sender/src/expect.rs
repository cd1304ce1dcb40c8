//! Results compared with those of an earlier run, line by line, without their clocks.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The clock holds all that differs between two runs.
const CLOCK: &str = "clock";
const SESSION: &str = "session";

/// What is expected, and how far a run has met it.
pub struct Expectation {
    path: PathBuf,
    lines: Vec<Value>,
    next: usize,
    tolerance: f64,
    /// Session ids differ where nobody chose them.
    ignore_session: bool,
    difference: Option<String>,
}

/// Why there is nothing to compare with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the expected results in {path}: {error}; --update writes them")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// A line of it is not JSON.
    #[error("line {line} of {path} is not JSON: {error}; --update writes the file anew")]
    Malformed {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// Why not.
        error: serde_json::Error,
    },
    /// The file cannot be written.
    #[error("cannot write the expected results to {path}: {error}")]
    Unwritable {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
}

impl Expectation {
    /// Reads the lines of `path`. Numbers may differ by `tolerance`.
    pub fn load(path: &Path, tolerance: f64, ignore_session: bool) -> Result<Self, Error> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| Error::Unreadable { path: name.clone(), error })?;
        let parse = |(index, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|error| Error::Malformed { path: name.clone(), line: index + 1, error })
        };
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse);
        let mut lines: Vec<Value> = lines.collect::<Result<_, _>>()?;
        lines.iter_mut().for_each(|line| strip(line, ignore_session));
        Ok(Self { path: path.into(), lines, next: 0, tolerance, ignore_session, difference: None })
    }

    /// Compares the next line of the run. Only the first difference counts.
    pub fn check(&mut self, line: &[u8]) {
        if self.difference.is_some() {
            return;
        }
        let Ok(mut actual) = serde_json::from_slice::<Value>(line) else { return };
        strip(&mut actual, self.ignore_session);
        let Some(expected) = self.lines.get(self.next) else {
            self.difference = Some(format!("{} ends before {}", self.path.display(), describe(&actual)));
            return;
        };
        self.next += 1;
        if let Some((at, expected, got)) = difference(expected, &actual, self.tolerance, String::new()) {
            let (line, what) = (self.next, describe(&actual));
            let file = self.path.display();
            self.difference =
                Some(format!("{what} differs from line {line} of {file}: {at} is {got}, expected {expected}"));
        }
    }

    /// The first difference, if there was one; lines that never came are one, too.
    pub fn finish(self) -> Option<String> {
        let missing = self.lines.get(self.next).map(|line| {
            format!("the run ends before line {} of {}: {}", self.next + 1, self.path.display(), describe(line))
        });
        self.difference.or(missing)
    }
}

/// Collects a run's lines to be expected of later ones.
#[derive(Default)]
pub struct Recording {
    text: String,
}

impl Recording {
    /// Adds a line, without its clock.
    pub fn add(&mut self, line: &[u8]) {
        if let Ok(mut value) = serde_json::from_slice::<Value>(line) {
            strip(&mut value, false);
            writeln!(self.text, "{value}").expect("a string takes everything");
        }
    }

    /// Writes the lines to `path`, all or none.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let written = fs::write(&partial, &self.text).and_then(|()| fs::rename(&partial, path));
        written.map_err(|error| Error::Unwritable { path: path.display().to_string(), error })
    }
}

fn strip(line: &mut Value, session: bool) {
    if let Some(object) = line.as_object_mut() {
        object.shift_remove(CLOCK);
        if session {
            object.shift_remove(SESSION);
        }
    }
}

/// What a line is about, for a person.
fn describe(line: &Value) -> String {
    let number = |key: &str| line.get(key).and_then(Value::as_u64);
    match (line.get("type").and_then(Value::as_str), number("frame"), number("from"), number("to")) {
        (Some("result"), Some(frame), ..) => format!("the result of frame {frame}"),
        (Some("gap"), _, Some(from), Some(to)) => format!("the gap from frame {from} to {to}"),
        (Some("session"), ..) => {
            format!("the session line '{}'", line.get("event").and_then(Value::as_str).unwrap_or("?"))
        }
        (Some(kind), ..) => format!("a line of type {kind}"),
        _ => "a line without a type".into(),
    }
}

/// Where two values first differ, with the expected and the actual text there.
fn difference(expected: &Value, actual: &Value, tolerance: f64, at: String) -> Option<(String, String, String)> {
    let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    let differs =
        || Some((if at.is_empty() { "it".to_owned() } else { at.clone() }, expected.to_string(), actual.to_string()));
    match (expected, actual) {
        (Value::Object(wanted), Value::Object(got)) => {
            let absent = || "absent".to_owned();
            let in_wanted = wanted.iter().find_map(|(key, value)| match got.get(key) {
                Some(other) => difference(value, other, tolerance, below(key)),
                None => Some((below(key), value.to_string(), absent())),
            });
            let extra = || got.iter().find(|(key, _)| !wanted.contains_key(*key));
            in_wanted.or_else(|| extra().map(|(key, value)| (below(key), absent(), value.to_string())))
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            let pairs = wanted.iter().zip(got).enumerate();
            pairs.into_iter().find_map(|(index, (a, b))| difference(a, b, tolerance, format!("{at}[{index}]")))
        }
        (Value::Number(wanted), Value::Number(got)) => {
            let close = || Some((wanted.as_f64()? - got.as_f64()?).abs() <= tolerance);
            if wanted == got || (tolerance > 0.0 && close() == Some(true)) { None } else { differs() }
        }
        _ if expected == actual => None,
        _ => differs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(expected: &[&str], actual: &[&str], tolerance: f64) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("expected.ndjson");
        fs::write(&path, expected.join("\n")).unwrap();
        let mut expectation = Expectation::load(&path, tolerance, true).unwrap();
        actual.iter().for_each(|line| expectation.check(line.as_bytes()));
        expectation.finish().map(|text| text.replace(&path.display().to_string(), "FILE"))
    }

    const RESULT: &str =
        r#"{"type":"result","session":"a","frame":7,"analysis":{"stats":{"brightness":112.4}},"clock":{"age_ms":3}}"#;

    #[test]
    fn only_the_clock_and_an_unchosen_session_may_differ() {
        let other = RESULT.replace("\"age_ms\":3", "\"age_ms\":9").replace("\"a\"", "\"b\"");
        assert_eq!(compare(&[RESULT], &[&other], 0.0), None);
    }

    #[test]
    fn the_first_difference_is_named_with_both_values() {
        let other = RESULT.replace("112.4", "112.9");
        let said = compare(&[RESULT], &[&other], 0.0).unwrap();
        assert_eq!(
            said,
            "the result of frame 7 differs from line 1 of FILE: analysis.stats.brightness is 112.9, expected 112.4"
        );
        assert_eq!(compare(&[RESULT], &[&other], 0.6), None);
    }

    #[test]
    fn missing_and_extra_lines_are_differences() {
        assert_eq!(compare(&[RESULT], &[], 0.0).unwrap(), "the run ends before line 1 of FILE: the result of frame 7");
        assert_eq!(compare(&[], &[RESULT], 0.0).unwrap(), "FILE ends before the result of frame 7");
        let extra = RESULT.replace("\"frame\":7", "\"frame\":7,\"new\":1");
        assert!(compare(&[RESULT], &[&extra], 0.0).unwrap().contains("new is 1, expected absent"));
    }

    #[test]
    fn what_was_recorded_is_met() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.ndjson");
        let mut recording = Recording::default();
        recording.add(RESULT.as_bytes());
        recording.save(&path).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("clock"));
        let mut expectation = Expectation::load(&path, 0.0, false).unwrap();
        expectation.check(RESULT.as_bytes());
        assert_eq!(expectation.finish(), None);
    }
}
