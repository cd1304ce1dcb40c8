//! Lists of analyzers as people write them: `stats`, `stats:window=5,busy:ms=20`.

use std::collections::BTreeMap;

use super::{ANALYZERS, Cost, Extraction, Folding, Parameters, Row};

/// Names that the operator gave to lists of analyzers.
pub type Definitions = BTreeMap<String, String>;

/// The longest list a session may ask for.
const MAX_ANALYZERS: usize = 32;

/// Analyzers with their parameters, in order. Cloning is cheap enough to do once a session.
#[derive(Clone)]
pub struct Plan {
    steps: Vec<(&'static Row, Parameters)>,
}

/// A list of analyzers that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No analyzer and no definition has this name.
    #[error("there is no analyzer '{name}'; known are {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An analyzer cannot take a parameter.
    #[error("analyzer {name}: {problem}")]
    Parameter {
        /// The analyzer.
        name: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Two analyzers would give results under one name.
    #[error("analyzer {0} is listed twice")]
    Twice(String),
    /// Nothing, or far too much.
    #[error("a list of analyzers has 1 to {MAX_ANALYZERS} entries, written like stats,busy:ms=20")]
    Length,
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        let names =
            |plan: &Self| plan.steps.iter().map(|(row, parameters)| (row.name, parameters.clone())).collect::<Vec<_>>();
        names(self) == names(other)
    }
}

impl Plan {
    /// Reads `list`: names with parameters, `name:key=value,key=value,other`, commas between all of them.
    ///
    /// An entry without a colon but with `=` belongs to the analyzer before it.
    pub fn parse(list: &str, definitions: &Definitions) -> Result<Self, PlanError> {
        let mut steps: Vec<(&'static Row, Parameters)> = Vec::new();
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, parameter) = match (entry.split_once(':'), steps.last()) {
                (Some((name, parameter)), _) => (name, Some(parameter)),
                (None, Some((row, _))) if entry.contains('=') => (row.name, Some(entry)),
                (None, _) => (entry, None),
            };
            if let Some(defined) = definitions.get(name).filter(|_| !entry.contains('=')) {
                steps.extend(Self::parse(defined, &Definitions::new())?.steps);
                continue;
            }
            let continues = !entry.contains(':') && parameter.is_some();
            if !continues {
                steps.push((row(name, definitions)?, Parameters::default()));
            }
            if let (Some(parameter), Some((_, parameters))) = (parameter, steps.last_mut()) {
                parameters.add(parameter).map_err(|problem| PlanError::Parameter { name: name.into(), problem })?;
            }
        }
        Self { steps }.checked()
    }

    /// Refuses lists that cannot be built, so that building one later cannot fail.
    fn checked(self) -> Result<Self, PlanError> {
        if !(1..=MAX_ANALYZERS).contains(&self.steps.len()) {
            return Err(PlanError::Length);
        }
        for (index, (row, parameters)) in self.steps.iter().enumerate() {
            let wrong = |problem| PlanError::Parameter { name: row.name.into(), problem };
            if self.steps[..index].iter().any(|(earlier, _)| earlier.name == row.name) {
                return Err(PlanError::Twice(row.name.into()));
            }
            if let Some(key) = parameters.unknown(row.parameters) {
                let known: Vec<_> = row.parameters.iter().map(|(name, ..)| *name).collect();
                return Err(wrong(format!("has no parameter '{key}'; it takes {}", known.join(", "))));
            }
            (row.build)(parameters).map_err(wrong)?;
        }
        Ok(self)
    }

    /// The analyzers, ready to run: the pure halves and the ordered ones.
    pub fn build(&self) -> (Extraction, Folding) {
        let halves = self.steps.iter().map(|(row, parameters)| {
            let (extract, fold) = (row.build)(parameters).expect("every plan was built once when it was checked");
            (extract, (row.name.to_owned(), fold))
        });
        let (extractors, folds): (Vec<_>, Vec<_>) = halves.unzip();
        let cost = self.steps.iter().map(|(row, _)| row.cost).max().unwrap_or(Cost::Light);
        (Extraction { extractors: extractors.into(), cost }, Folding { folds })
    }
}

fn row(name: &str, definitions: &Definitions) -> Result<&'static Row, PlanError> {
    ANALYZERS.iter().find(|row| row.name == name).ok_or_else(|| {
        let built_in = ANALYZERS.iter().map(|row| row.name);
        let known: Vec<_> = built_in.chain(definitions.keys().map(String::as_str)).collect();
        PlanError::Unknown { name: name.chars().take(64).collect(), known: known.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Result<Vec<&'static str>, PlanError> {
        let definitions = Definitions::from([("quick".to_owned(), "stats:window=2".to_owned())]);
        Plan::parse(list, &definitions).map(|plan| plan.steps.iter().map(|(row, _)| row.name).collect())
    }

    #[test]
    fn lists_keep_their_order_and_parameters_their_analyzer() {
        assert_eq!(names("stats").unwrap(), ["stats"]);
        assert_eq!(names("busy:ms=3, stats:window=5").unwrap(), ["busy", "stats"]);
        assert_eq!(names("quick").unwrap(), ["stats"]);
    }

    #[test]
    fn wrong_lists_say_what_would_be_right() {
        let message = |list| names(list).unwrap_err().to_string();
        let built_in: Vec<_> = ANALYZERS.iter().map(|row| row.name).collect();
        let known = format!("there is no analyzer 'stat'; known are {}, quick", built_in.join(", "));
        assert_eq!(message("stat"), known);
        assert_eq!(message("stats:windo=3"), "analyzer stats: has no parameter 'windo'; it takes window");
        assert!(message("stats:window=-1").contains("from"));
        assert_eq!(message("stats,quick"), "analyzer stats is listed twice");
        assert!(message("").contains("1 to 32"));
        assert!(message("stats:window=3,window=4").contains("twice"));
    }
}
