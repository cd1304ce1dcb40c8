//! Parameters of an analyzer as text, and how they become numbers.

use std::str::FromStr;

/// `key=value` pairs of one analyzer.
#[derive(Clone, Debug, Default, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl FromIterator<(String, String)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// In whatever order they were written.
impl PartialEq for Parameters {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|(key, value)| other.text(key) == Some(value))
    }
}

impl Parameters {
    /// Adds `key=value`; refuses what is not of that form or stands there already.
    pub(super) fn add(&mut self, text: &str) -> Result<(), String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is not key=value"))?;
        if self.0.iter().any(|(known, _)| known == key) {
            return Err(format!("{key} is given twice"));
        }
        self.0.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// The first key that is not in `known`.
    pub fn unknown(&self, known: &[(&str, &str, &str)]) -> Option<&str> {
        let is_known = |key: &str| known.iter().any(|(name, ..)| *name == key);
        self.0.iter().map(|(key, _)| key.as_str()).find(|key| !is_known(key))
    }

    /// The first key that is none of `known` but looks as if it was meant to be, and which.
    pub(super) fn misspelt<'a>(&self, known: &[&'a str]) -> Option<(&str, &'a str)> {
        let meant = |key: &str| known.iter().find(|name| is_slip(key, name)).copied();
        let mut strange = self.iter().map(|(key, _)| key).filter(|key| !known.contains(key));
        strange.find_map(|key| meant(key).map(|name| (key, name)))
    }

    /// The text called `key`, if it is given.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, text)| text.as_str())
    }

    /// What `key` stands for among `choices`, if it is given.
    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>, String> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        chosen.map(Some).ok_or_else(|| format!("{key}={text} is none of {}", names()))
    }

    /// All of them, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The number called `key` within `range`, or `default` where it is not given.
    pub fn number<T>(&self, key: &str, default: T, range: std::ops::RangeInclusive<T>) -> Result<T, String>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.text(key) else { return Ok(default) };
        match text.parse::<T>() {
            Ok(value) if range.contains(&value) => Ok(value),
            _ => Err(format!("{key}={text} is not a number from {} to {}", range.start(), range.end())),
        }
    }

    /// Whether `key` is `true` or `false`, or `default` where it is not given.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        let Some(text) = self.text(key) else { return Ok(default) };
        text.parse().map_err(|_error| format!("{key}={text} is neither true nor false"))
    }
}

/// Whether `key` is `name` but for the case of letters, or for one that is missing, too many, another one or swapped with
/// its neighbour. The first letter is one that people get right: `match` is no `batch`.
fn is_slip(key: &str, name: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    if lower == name {
        return true;
    }
    if name.len() < 4 || !lower.starts_with(&name[..1]) {
        return false;
    }
    let (one, other) = (lower.as_bytes(), name.as_bytes());
    let before = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[before..], &other[before..]);
    match (one, other) {
        ([_, one @ ..], []) | ([], [_, one @ ..]) => one.is_empty(),
        ([a, one_rest @ ..], [b, other_rest @ ..]) => {
            let swapped = matches!((one_rest, other_rest), ([c, x @ ..], [d, y @ ..]) if (a, c, x) == (d, b, y));
            one_rest == other_rest || one_rest == other || one == other_rest || swapped
        }
        ([], []) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_told_from_a_word_of_somebody_s_own() {
        let known = ["name", "from", "format", "batch", "timeout", "start_timeout"];
        let meant = |key: &str| [(key.to_owned(), String::new())].into_iter().collect::<Parameters>();
        for (key, name) in [
            ("timout", "timeout"),
            ("timeoutt", "timeout"),
            ("timeuot", "timeout"),
            ("tineout", "timeout"),
            ("FORMAT", "format"),
            ("forma", "format"),
            ("Fromat", "format"),
            ("nam", "name"),
            ("names", "name"),
            ("form", "from"),
            ("start-timeout", "start_timeout"),
        ] {
            assert_eq!(meant(key).misspelt(&known), Some((key, name)), "{key}");
        }
        for key in ["timeout", "match", "same", "colour", "n", "", "time", "forms", "ümlaut", "nä", "start"] {
            assert_eq!(meant(key).misspelt(&known), None, "{key}");
        }
    }
}
