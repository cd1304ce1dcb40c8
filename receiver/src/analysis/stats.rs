//! `stats`: brightness, contrast, sharpness and motion of every picture, each beside what is usual for it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Build, Cost, Extract, Features, Fold, Input, Parameters, Row, baseline::Baseline, luma, rounded};

pub(super) const ROW: Row = Row {
    name: "stats",
    help: "brightness (mean luma), contrast (its standard deviation), sharpness (variance of the Laplacian), \
           motion (mean absolute difference to the picture before), each with the session's baseline",
    parameters: &[("window", "10", "seconds of media time that the baseline looks back, 0.1 to 86400")],
    cost: Cost::Light,
    build: Build::Pictures(build),
};

/// The four measures, in the order in which they are kept and printed.
const NAMES: [&str; 4] = ["brightness", "contrast", "sharpness", "motion"];

fn build(parameters: &Parameters) -> Result<super::Halves, String> {
    let window = parameters.number("window", 10.0, 0.1..=86_400.0)?;
    Ok((Arc::new(Measure), Box::new(Stats { baseline: Baseline::new(window) })))
}

struct Measure;

impl Extract for Measure {
    fn extract(&self, input: &Input<'_>) -> Result<Features, String> {
        let measures = luma::measure(input.picture.luma(), input.previous.map(|picture| picture.luma()));
        Ok(json!([measures.brightness, measures.contrast, measures.sharpness, measures.motion]).into())
    }
}

struct Stats {
    baseline: Baseline<4>,
}

impl Fold for Stats {
    fn fold(&mut self, time: f64, features: &Features) -> Result<Value, String> {
        let values = serde_json::from_value::<[Option<f64>; 4]>(features.json()?.clone())
            .map_err(|error| format!("the features of stats are not four numbers: {error}"))?;
        self.baseline.push(time, values);
        let mut finding = serde_json::Map::with_capacity(5);
        for (name, value) in NAMES.iter().zip(values) {
            // A first picture has not moved.
            finding.insert((*name).into(), rounded(value.unwrap_or(0.0), 3).into());
        }
        finding.insert("baseline".into(), self.standing(Some(values)));
        Ok(finding.into())
    }

    fn state(&self) -> Value {
        self.standing(None)
    }
}

impl Stats {
    /// Progress, and mean and deviation of each measure; with `values` also how far each is off, in deviations.
    fn standing(&self, values: Option<[Option<f64>; 4]>) -> Value {
        let mut standing = serde_json::Map::with_capacity(5);
        standing.insert("progress".into(), rounded(self.baseline.progress(), 3).into());
        for (index, name) in NAMES.iter().enumerate() {
            let value = values.map(|values| values[index]);
            let usual = self.baseline.standing(index, value.flatten().unwrap_or(0.0));
            let mut entry = json!({ "mean": rounded(usual.mean, 3), "std": rounded(usual.std, 3) });
            if let Some(value) = value {
                // What was not measured is off by nothing.
                entry["z"] = value.map_or(0.0, |_| rounded(usual.z, 2)).into();
            }
            standing.insert((*name).into(), entry);
        }
        standing.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> Box<dyn Fold> {
        build(&Parameters::default()).unwrap().1
    }

    #[test]
    fn a_finding_has_each_measure_beside_its_baseline() {
        let mut stats = stats();
        stats.fold(0.0, &json!([100.0, 40.0, 800.0, null]).into()).unwrap();
        let finding = stats.fold(1.0, &json!([102.0, 40.0, 800.0, 3.0]).into()).unwrap();
        assert_eq!(finding["brightness"], 102.0);
        assert_eq!(finding["baseline"]["brightness"], json!({"mean": 101.0, "std": 1.0, "z": 1.0}));
        assert_eq!(finding["baseline"]["progress"], 0.1);
        assert_eq!(finding["baseline"]["motion"]["mean"], 3.0, "the first picture has no motion to learn from");
    }

    #[test]
    fn a_first_picture_after_a_break_is_no_outlier_for_want_of_motion() {
        let mut stats = stats();
        for number in 0..20 {
            stats.fold(f64::from(number), &json!([100.0, 40.0, 800.0, 50.0 + f64::from(number % 2)]).into()).unwrap();
        }
        let finding = stats.fold(20.0, &json!([100.0, 40.0, 800.0, null]).into()).unwrap();
        assert_eq!(finding["motion"], 0.0);
        assert_eq!(finding["baseline"]["motion"]["z"], 0.0);
    }

    #[test]
    fn features_of_another_shape_are_an_error() {
        assert!(stats().fold(0.0, &json!("x").into()).is_err());
        assert!(stats().fold(0.0, &json!([1, 2, 3]).into()).is_err());
    }
}
