//! The ordered halves of a session's analyzers, one after another.

use std::collections::BTreeMap;

use cv_core::report::{Analysis, AnalyzerError};
use serde_json::Value;

use super::{Cost, Extracted, Features, Fold};

/// The ordered halves of a session's analyzers with their state.
pub struct Folding {
    pub(super) parts: Vec<Part>,
    pub(super) cost: Cost,
}

/// One analyzer's ordered half.
pub(super) struct Part {
    /// Where its findings stand in a result.
    pub(super) name: String,
    pub(super) fold: Box<dyn Fold>,
    pub(super) source: Source,
}

/// Whose features a part folds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// Those of its own extractor, the one with this index.
    Extractor(usize),
    /// What the earlier part with this index found.
    Part(usize),
}

impl Folding {
    /// Findings and failures for the picture at `time`.
    pub fn fold(&mut self, time: f64, extracted: &Extracted) -> (Analysis, Vec<AnalyzerError>) {
        let mut found: Extracted = Vec::with_capacity(self.parts.len());
        for index in 0..self.parts.len() {
            let (earlier, [part, ..]) = self.parts.split_at_mut(index) else { break };
            let finding = match part.source {
                Source::Extractor(own) => match &extracted[own] {
                    Ok(features) => part.fold.fold(time, features),
                    Err(error) => Err(error.clone()),
                },
                Source::Part(other) => match &found[other] {
                    Ok(features) => part.fold.fold(time, features),
                    Err(_) => Err(format!("{} failed, on which it builds", earlier[other].name)),
                },
            };
            found.push(finding.map(Features::Json));
        }
        let (mut analysis, mut errors) = (Analysis(Vec::with_capacity(found.len())), Vec::new());
        for (part, finding) in self.parts.iter().zip(found) {
            match finding {
                Ok(Features::Json(finding)) => analysis.0.push((part.name.clone(), finding)),
                Ok(Features::Bytes(_)) => {}
                Err(message) => errors.push(AnalyzerError { analyzer: part.name.clone(), message }),
            }
        }
        (analysis, errors)
    }

    /// Whether [`Self::finish`] may wait for another process.
    pub fn waits(&self) -> bool {
        self.cost == Cost::Away
    }

    /// What the analyzers say about the whole session, and failures.
    pub fn finish(&mut self) -> (Analysis, Vec<AnalyzerError>) {
        let (mut analysis, mut errors) = (Analysis::default(), Vec::new());
        for part in &mut self.parts {
            match part.fold.finish() {
                Some(Ok(finding)) => analysis.0.push((part.name.clone(), finding)),
                Some(Err(message)) => errors.push(AnalyzerError { analyzer: part.name.clone(), message }),
                None => {}
            }
        }
        (analysis, errors)
    }

    /// The state that a person may look at, by analyzer.
    pub fn state(&self) -> BTreeMap<String, Value> {
        self.parts.iter().map(|part| (part.name.clone(), part.fold.state())).collect()
    }

    /// The names of those that draw features from pictures, in the order of what they draw.
    pub(super) fn extracting(&self) -> impl Iterator<Item = &str> {
        let extracts = |part: &&Part| matches!(part.source, Source::Extractor(_));
        self.parts.iter().filter(extracts).map(|part| part.name.as_str())
    }
}
