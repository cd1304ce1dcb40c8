//! A scrape, read as strictly as the OpenMetrics text format is written.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of one scrape.
#[derive(Debug)]
pub struct Scrape {
    /// Value by name with labels, as it stands in the text.
    samples: BTreeMap<String, f64>,
    /// Type by family.
    families: BTreeMap<String, String>,
}

impl Scrape {
    /// Reads `text`.
    ///
    /// # Panics
    /// If a line is neither a comment nor a sample of the family before it, if a sample comes twice, if a histogram's
    /// buckets shrink, or if the end is missing.
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "the end is missing");
        let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
        let mut family = String::new();
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (keyword, name, rest) = (words.next(), words.next().expect("a family"), words.next());
                match keyword {
                    Some("HELP") => assert!(rest.is_some_and(|help| !help.is_empty()), "no help: {line}"),
                    Some("TYPE") => {
                        let kind = rest.expect("a type").to_owned();
                        assert!(families.insert(name.to_owned(), kind).is_none(), "twice: {line}");
                    }
                    _ => panic!("not OpenMetrics: {line}"),
                }
                family = name.to_owned();
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            assert!(name.starts_with(&family), "a sample outside its family {family}: {line}");
            check_labels(name);
            let value = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
        Self { samples, families }
    }

    /// The value of the sample `name`, with its labels as they stand in the text.
    ///
    /// # Panics
    /// If it is not there.
    pub fn value(&self, name: &str) -> f64 {
        *self.samples.get(name).unwrap_or_else(|| panic!("no {name} in {:#?}", self.samples.keys()))
    }

    /// The names of all samples without their labels.
    pub fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|name| name.split('{').next().unwrap_or_default()).collect()
    }

    /// Every family with its type.
    pub fn families(&self) -> impl Iterator<Item = (&str, &str)> {
        self.families.iter().map(|(name, kind)| (name.as_str(), kind.as_str()))
    }

    /// Every sample.
    pub fn samples(&self) -> impl Iterator<Item = (&str, f64)> {
        self.samples.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

fn check_labels(name: &str) {
    let Some((_, labels)) = name.split_once('{') else { return };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("labels without an end: {name}"));
    for label in labels.split(',') {
        let (key, value) = label.split_once('=').unwrap_or_else(|| panic!("no value of a label: {name}"));
        assert!(key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(value.len() >= 2 && value.starts_with('"') && value.ends_with('"'), "{name}");
    }
}
