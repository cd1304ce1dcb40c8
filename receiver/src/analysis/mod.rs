//! Analyzers: what is measured on every picture, and what is known of a session.
//!
//! An analyzer has two halves. [`Extract`] is heavy and pure: pictures in, [`Features`] out, on
//! any thread, in any order. [`Fold`] is light and ordered: features in frame order with the
//! session's state, findings out. So parallel work never disturbs order or state, and saved
//! features can be folded again without video.
//!
//! Analyzers of a list can build on each other: what one found is what the next one folds (`detect,track`).
//!
//! To add an analyzer, write a file with the two halves and a row in [`ANALYZERS`].

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use cv_core::{picture::Picture, rgb::Rgb};
use serde_json::Value;

mod baseline;
pub(crate) mod bounds;
mod busy;
mod cadence;
mod course;
mod cv_metrics;
mod cycles;
mod extraction;
mod folding;
mod function;
mod luma;
mod parameters;
mod plan;
mod pulse;
mod reps;
mod saved;
mod stats;
mod track;

pub use course::{Course, Leg};
pub use extraction::{Extracted, Extraction};
pub use folding::Folding;
pub use function::{DESCRIPTIONS as FUNCTIONS, Setup, answers, end_processes};
pub use luma::{Measures, measure};
pub use parameters::Parameters;
pub use plan::{Catalog, Plan, PlanError, Succession};

/// What an analyzer draws from one picture; plain data, so it can be saved and sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Numbers and names.
    Json(Value),
    /// Bytes in a layout that the analyzer describes: thumbnails, masks, colours.
    Bytes(Bytes),
}

impl Features {
    /// The value, or a sentence that these are other features.
    pub fn json(&self) -> Result<&Value, String> {
        match self {
            Self::Json(value) => Ok(value),
            Self::Bytes(bytes) => Err(format!("the features are {} bytes, not JSON", bytes.len())),
        }
    }

    /// The bytes, or a sentence that these are other features.
    pub fn bytes(&self) -> Result<&Bytes, String> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Json(_) => Err("the features are JSON, not bytes".into()),
        }
    }
}

impl From<Value> for Features {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

/// What may be looked at: one picture, and the one before it.
pub struct Input<'a> {
    /// The picture.
    pub picture: &'a Picture,
    /// The picture decoded just before, if there is one; it may have another size.
    pub previous: Option<&'a Picture>,
    /// Which picture it is.
    pub moment: Moment,
    rgb: OnceLock<Rgb>,
}

/// A picture's place in its source.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// The sender's number.
    pub frame: u64,
    /// Presentation time in seconds.
    pub time: f64,
}

impl<'a> Input<'a> {
    /// A picture and the one before it.
    pub fn new(picture: &'a Picture, previous: Option<&'a Picture>, moment: Moment) -> Self {
        Self { picture, previous, moment, rgb: OnceLock::new() }
    }

    /// The picture in colours, made once however many analyzers ask.
    pub fn rgb(&self) -> &Rgb {
        self.rgb.get_or_init(|| Rgb::of(self.picture))
    }
}

/// The pure half: features of one picture.
pub trait Extract: Send + Sync {
    /// Features of `input`, or one sentence that says why there are none.
    fn extract(&self, input: &Input<'_>) -> Result<Features, String>;

    /// The same where `from` names an analyzer before this one: `drawn` is what that one drew from the picture.
    fn extract_from(&self, input: &Input<'_>, drawn: &Features) -> Result<Features, String> {
        let _ = drawn;
        self.extract(input)
    }
}

/// The ordered half: what features mean in the course of a session.
pub trait Fold: Send {
    /// The finding for the picture at `time` seconds of the source. Called in frame order.
    fn fold(&mut self, time: f64, features: &Features) -> Result<Value, String>;

    /// What there is to say about the whole session, if anything, or why it cannot be said.
    fn finish(&mut self) -> Option<Result<Value, String>> {
        None
    }

    /// The state that a person may look at while the session runs: baselines, counters.
    fn state(&self) -> Value {
        Value::Null
    }
}

/// What an analyzer's extraction costs, which decides where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// Far less than decoding: runs on the decoder's thread, a hand-over would cost more.
    Light,
    /// May take longer than a frame interval: runs on the extraction threads.
    Heavy,
    /// Waits for another process: runs on threads that may wait.
    Away,
}

/// A kind of analyzer for people: how it is written, what it tells, its parameters with default and meaning.
pub type Description = (&'static str, &'static str, &'static [(&'static str, &'static str, &'static str)]);

/// One kind of analyzer.
pub struct Row {
    /// Its name in lists and results.
    pub name: &'static str,
    /// What it tells, in a line.
    pub help: &'static str,
    /// Its parameters with default and meaning.
    pub parameters: &'static [(&'static str, &'static str, &'static str)],
    cost: Cost,
    build: Build,
}

/// What a kind of analyzer is made of.
enum Build {
    /// Of pictures: both halves.
    Pictures(fn(&Parameters) -> Result<Halves, String>),
    /// Of what another analyzer finds, one that gives any of these: an ordered half whose features are those findings.
    Findings(&'static [Gives], fn(&Parameters) -> Result<Box<dyn Fold>, String>),
}

/// What an analyzer's findings hold for those that build on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gives {
    /// `objects`, each with a `label`, a `score` and a `box`.
    Objects,
    /// `people`, each with a `score`, a `box` and 17 `points`.
    People,
}

impl Gives {
    /// What is asked for that gives it.
    fn analyzer(self) -> &'static str {
        match self {
            Self::Objects => "detect",
            Self::People => "pose",
        }
    }
}

/// The two halves of one analyzer with its parameters applied.
type Halves = (Arc<dyn Extract>, Box<dyn Fold>);

/// Every analyzer there is.
pub const ANALYZERS: &[Row] = &[stats::ROW, pulse::ROW, cycles::ROW, cv_metrics::ROW, track::ROW, reps::ROW, busy::ROW];

/// `value` rounded to `digits` decimals, so that results stay short; negative zero becomes zero.
pub(crate) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale + 0.0
}
