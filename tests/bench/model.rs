//! What it costs to ask a model about a picture, and whether it says what Python's ONNX Runtime says.
//!
//! Every picture of a clip is shown to both in turn, so that whatever else the machine does falls on both alike. Ours
//! is timed from the decoded picture to the finding, with the way to the model's process and back; Python times its
//! inference alone. Prints one JSON object.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use cv_core::picture::Picture;
use cv_receiver::analysis::{Catalog, Extraction, Features, Input, Moment, Setup};
use cv_source::{file, framing::Framing};
use serde_json::{Value, json};

const USAGE: &str = "usage: cv-model RECEIVER LIBRARY PYTHON OURS REFERENCE CLIP, both lists with one analyzer each";
/// Pictures that are looked at, and those of them that only warm up.
const PICTURES: usize = 150;
const WARM_UP: usize = 10;
/// What may be added to the inference that Python needs: a share of it, and milliseconds around it.
const ALLOWED: (f64, f64) = (1.05, 0.5);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [receiver, library, python, ours, reference, clip] = arguments.as_slice() else { anyhow::bail!(USAGE) };
    let [program, onnxruntime, python] = [receiver, library, python].map(|path| Some(PathBuf::from(path)));
    let catalog = Catalog::new(Setup { program, onnxruntime, python, ..Setup::default() });
    let (ours, _folding) = catalog.trusted(ours)?.begin("bench");
    let (reference, _folding) = catalog.trusted(reference)?.begin("bench");
    let pictures = pictures(Path::new(clip))?;
    let (mut times, mut inferences, mut agreement) = (Vec::new(), Vec::new(), Agreement::default());
    for (frame, picture) in pictures.iter().enumerate() {
        let moment = Moment { frame: frame as u64, time: frame as f64 / 30.0 };
        let expected = ask(&reference, picture, moment)?;
        let asked = Instant::now();
        let found = ask(&ours, picture, moment)?;
        let took = asked.elapsed().as_secs_f64() * 1e3;
        if frame >= WARM_UP {
            times.push(took);
            inferences.push(expected["inference_ms"].as_f64().context("the reference tells no inference_ms")?);
            agreement.add(&found, &expected);
        }
    }
    let (own, inference) = (median(times), median(inferences));
    let allowed = ALLOWED.0 * inference + ALLOWED.1;
    let report = json!({
        "ours_ms": round(own), "inference_ms": round(inference), "allowed_ms": round(allowed), "is_within": own <= allowed,
        "found": agreement.found, "other_counts": agreement.other_counts,
        "worst_iou": round(agreement.worst_overlap), "worst_point_px": round(agreement.worst_distance),
    });
    writeln!(std::io::stdout().lock(), "{report}").context("cannot write to stdout")
}

/// The first pictures of a clip, as a sender would crop them.
fn pictures(clip: &Path) -> Result<Vec<Picture>> {
    let mut source = file::open(clip, None)?;
    let mut framing = Framing::new(0.7, None)?;
    let mut pictures = Vec::new();
    while let Some(captured) = source.next()?
        && pictures.len() < PICTURES
    {
        pictures.push(framing.apply(&captured.picture)?);
    }
    ensure!(pictures.len() > WARM_UP, "the clip has too few pictures");
    Ok(pictures)
}

/// The finding of the one analyzer.
fn ask(extraction: &Extraction, picture: &Picture, moment: Moment) -> Result<Value> {
    let mut extracted = extraction.run(&Input::new(picture, None, moment));
    match extracted.pop().context("there is no analyzer")?.map_err(anyhow::Error::msg)? {
        Features::Json(finding) => Ok(finding),
        Features::Bytes(_) => anyhow::bail!("the finding is bytes"),
    }
}

/// How alike two findings are.
struct Agreement {
    found: usize,
    /// Pictures in which one found more than the other.
    other_counts: usize,
    worst_overlap: f64,
    worst_distance: f64,
}

impl Default for Agreement {
    fn default() -> Self {
        Self { found: 0, other_counts: 0, worst_overlap: 1.0, worst_distance: 0.0 }
    }
}

impl Agreement {
    fn add(&mut self, found: &Value, expected: &Value) {
        let [found, expected] = [things(found), things(expected)];
        self.found += found.len();
        self.other_counts += usize::from(found.len() != expected.len());
        for thing in &found {
            let overlaps =
                expected.iter().map(|other| (overlap(&numbers(&thing["box"]), &numbers(&other["box"])), other));
            if let Some((overlap, other)) = overlaps.max_by(|one, other| one.0.total_cmp(&other.0)) {
                self.worst_overlap = self.worst_overlap.min(overlap);
                let points = list(&thing["points"]).iter().zip(list(&other["points"]));
                let distances = points.map(|(one, other)| {
                    let [one, other] = [numbers(one), numbers(other)];
                    (one[0] - other[0]).abs().max((one[1] - other[1]).abs())
                });
                self.worst_distance = distances.fold(self.worst_distance, f64::max);
            }
        }
    }
}

/// Objects or people.
fn things(finding: &Value) -> Vec<Value> {
    [list(&finding["objects"]), list(&finding["people"])].concat()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().filter_map(Value::as_f64).collect()
}

/// Intersection over union of two boxes, each left, top, width, height.
fn overlap(one: &[f64], other: &[f64]) -> f64 {
    let common = |axis: usize| {
        ((one[axis] + one[axis + 2]).min(other[axis] + other[axis + 2]) - one[axis].max(other[axis])).max(0.0)
    };
    let both = common(0) * common(1);
    both / (one[2] * one[3] + other[2] * other[3] - both)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
