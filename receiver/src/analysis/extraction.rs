//! The pure halves of a session's analyzers, side by side.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard},
};

use super::{Cost, Extract, Features, Input};

/// The pure halves of a session's analyzers, in the order asked for. Cloning shares them.
#[derive(Clone)]
pub struct Extraction {
    extractors: Arc<Mutex<Extractors>>,
    cost: Cost,
    width: Option<usize>,
}

type Extractors = Arc<[Extractor]>;

/// What the extractors of a session drew from one picture, in their order.
pub type Extracted = Vec<Result<Features, String>>;

/// One analyzer's pure half.
pub(super) struct Extractor {
    pub(super) extract: Arc<dyn Extract>,
    /// The earlier one that it builds on, and the name of that analyzer.
    pub(super) from: Option<(usize, String)>,
}

impl Extractor {
    /// Features of `input`; `earlier` has those of the extractors before this one.
    fn run(&self, input: &Input<'_>, earlier: &Extracted) -> Result<Features, String> {
        let Some((index, name)) = &self.from else { return self.extract.extract(input) };
        match &earlier[*index] {
            Ok(drawn) => self.extract.extract_from(input, drawn),
            Err(_) => Err(format!("{name} failed, on which it builds")),
        }
    }
}

impl Extraction {
    pub(super) fn new(extractors: Vec<Extractor>, cost: Cost, width: Option<usize>) -> Self {
        Self { extractors: Arc::new(Mutex::new(extractors.into())), cost, width }
    }

    /// Runs every extractor on `input`.
    pub fn run(&self, input: &Input<'_>) -> Extracted {
        let extractors = self.lock().clone();
        let mut extracted = Extracted::with_capacity(extractors.len());
        for extractor in &*extractors {
            // Somebody waits for every picture: a fault of an analyzer must not keep it. What extractors keep behind a
            // lock a panic poisons, and the next picture fails as well.
            let drawn = catch_unwind(AssertUnwindSafe(|| extractor.run(input, &extracted)));
            extracted.push(drawn.unwrap_or_else(|_told| Err("the analyzer panicked, see the receiver's log".into())));
        }
        extracted
    }

    /// From the next picture on, everywhere it is shared, those of the same plan that was begun anew.
    pub fn renew(&self, fresh: &Self) {
        let extractors = fresh.lock().clone();
        *self.lock() = extractors;
    }

    fn lock(&self) -> MutexGuard<'_, Extractors> {
        self.extractors.lock().expect("nobody panics while holding extractors")
    }

    /// The pure half with that index.
    pub(super) fn extract(&self, index: usize) -> Option<Arc<dyn Extract>> {
        self.lock().get(index).map(|extractor| extractor.extract.clone())
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
