//! Analyzers: what is measured on every picture, and what is known of a session.
//!
//! An analyzer has two halves. [`Extract`] is heavy and pure: pictures in, [`Features`] out, on
//! any thread, in any order. [`Fold`] is light and ordered: features in frame order with the
//! session's state, findings out. So parallel work never disturbs order or state, and saved
//! features can be folded again without video.
//!
//! To add an analyzer, write a file with the two halves and a row in [`ANALYZERS`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

use bytes::Bytes;
use cv_core::{
    picture::Picture,
    report::{Analysis, AnalyzerError},
    rgb::Rgb,
};
use serde_json::Value;

mod baseline;
mod busy;
mod cadence;
mod cv_metrics;
mod cycles;
mod function;
mod luma;
mod parameters;
mod plan;
mod pulse;
mod saved;
mod stats;

pub use function::{DESCRIPTIONS as FUNCTIONS, Setup};
pub use luma::{Measures, measure};
pub use parameters::Parameters;
pub use plan::{Catalog, Plan, PlanError};

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
}

/// The ordered half: what features mean in the course of a session.
pub trait Fold: Send {
    /// The finding for the picture at `time` seconds of the source. Called in frame order.
    fn fold(&mut self, time: f64, features: &Features) -> Result<Value, String>;

    /// What there is to say about the whole session, if anything.
    fn finish(&mut self) -> Option<Value> {
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
    build: fn(&Parameters) -> Result<Halves, String>,
}

/// The two halves of one analyzer with its parameters applied.
type Halves = (Arc<dyn Extract>, Box<dyn Fold>);

/// Every analyzer there is.
pub const ANALYZERS: &[Row] = &[stats::ROW, pulse::ROW, cycles::ROW, cv_metrics::ROW, busy::ROW];

/// The pure halves of a session's analyzers, in the order asked for. Cloning shares them.
#[derive(Clone)]
pub struct Extraction {
    extractors: Arc<Mutex<Extractors>>,
    cost: Cost,
    width: Option<usize>,
}

type Extractors = Arc<[Arc<dyn Extract>]>;

/// What the extractors of a session drew from one picture, in the analyzers' order.
pub type Extracted = Vec<Result<Features, String>>;

impl Extraction {
    fn new(extractors: Extractors, cost: Cost, width: Option<usize>) -> Self {
        Self { extractors: Arc::new(Mutex::new(extractors)), cost, width }
    }

    /// Runs every extractor on `input`.
    pub fn run(&self, input: &Input<'_>) -> Extracted {
        let extractors = self.lock().clone();
        extractors.iter().map(|extractor| extractor.extract(input)).collect()
    }

    /// From the next picture on, everywhere it is shared, those of the same plan that was begun anew.
    pub fn renew(&self, fresh: &Self) {
        let extractors = fresh.lock().clone();
        *self.lock() = extractors;
    }

    fn lock(&self) -> MutexGuard<'_, Extractors> {
        self.extractors.lock().expect("nobody panics while holding extractors")
    }

    /// The costliest of its parts.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// How many pictures of the session may be at work at once, where that matters: 1 keeps them in order.
    pub fn width(&self) -> Option<usize> {
        self.width
    }
}

/// The ordered halves of a session's analyzers with their state.
pub struct Folding {
    folds: Vec<(String, Box<dyn Fold>)>,
    cost: Cost,
}

impl Folding {
    /// Findings and failures for the picture at `time`.
    pub fn fold(&mut self, time: f64, extracted: &Extracted) -> (Analysis, Vec<AnalyzerError>) {
        let mut analysis = Analysis(Vec::with_capacity(self.folds.len()));
        let mut errors = Vec::new();
        for ((name, fold), features) in self.folds.iter_mut().zip(extracted) {
            match features.as_ref().map_err(Clone::clone).and_then(|features| fold.fold(time, features)) {
                Ok(finding) => analysis.0.push((name.clone(), finding)),
                Err(message) => errors.push(AnalyzerError { analyzer: name.clone(), message }),
            }
        }
        (analysis, errors)
    }

    /// Whether [`Self::finish`] may wait for another process.
    pub fn waits(&self) -> bool {
        self.cost == Cost::Away
    }

    /// What the analyzers say about the whole session.
    pub fn finish(&mut self) -> Analysis {
        Analysis(self.folds.iter_mut().filter_map(|(name, fold)| Some((name.clone(), fold.finish()?))).collect())
    }

    /// The state that a person may look at, by analyzer.
    pub fn state(&self) -> BTreeMap<String, Value> {
        self.folds.iter().map(|(name, fold)| (name.clone(), fold.state())).collect()
    }
}

/// `value` rounded to `digits` decimals, so that results stay short; negative zero becomes zero.
fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale + 0.0
}
