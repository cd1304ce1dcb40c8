//! What stands behind a pattern's name: `NAME:key=value,key=value`.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use super::Error;

/// Parameters that every pattern takes.
pub(super) const COMMON: [&str; 3] = ["size", "fps", "frames"];

/// The parsed parameters of one pattern. Every key is known and given once.
pub(super) struct Parameters<'a> {
    pattern: &'a str,
    given: Vec<(&'a str, &'a str)>,
}

impl<'a> Parameters<'a> {
    /// Reads `text`, allowing the keys in `known` and [`COMMON`].
    pub(super) fn parse(pattern: &'a str, text: Option<&'a str>, known: &[&str]) -> Result<Self, Error> {
        let mut given: Vec<(&str, &str)> = Vec::new();
        for part in text.into_iter().flat_map(|text| text.split(',')) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(Error::Pattern(format!("pattern {pattern}: '{part}' is not of the form key=value")));
            };
            if !known.contains(&key) && !COMMON.contains(&key) {
                let all = [known, &COMMON].concat().join(", ");
                return Err(Error::Pattern(format!("pattern {pattern} has no parameter '{key}': it takes {all}")));
            }
            if given.iter().any(|(other, _)| *other == key) {
                return Err(Error::Pattern(format!("pattern {pattern}: {key} is given twice, leave one out")));
            }
            given.push((key, value));
        }
        Ok(Self { pattern, given })
    }

    /// The value of `key` in a type that explains its own errors, if it is given.
    pub(super) fn get<T: FromStr<Err: Display>>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.text(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| Error::Pattern(format!("pattern {}: {key}: {error}", self.pattern)))
    }

    /// The number behind `key`, if it is given.
    pub(super) fn number<T>(&self, key: &str, range: RangeInclusive<T>) -> Result<Option<T>, Error>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.text(key) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let (pattern, low, high) = (self.pattern, range.start(), range.end());
            Error::Pattern(format!("pattern {pattern}: {key}={text} is not a number from {low} to {high}"))
        })
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.given.iter().find(|(other, _)| *other == key).map(|(_, value)| *value)
    }
}
