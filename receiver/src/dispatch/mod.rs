//! Places to run extraction.
//!
//! A dispatcher takes pictures with what is to be drawn from them and answers each exactly once,
//! in any order; the session puts the answers in order again. To add a place, write a file with a
//! type that implements [`Dispatch`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cv_core::picture::Picture;

use crate::{
    admission::Meter,
    analysis::{Cost, Extracted, Extraction, Input, Moment},
    progress,
};

mod lane;
mod local;

pub use lane::Lane;
pub use local::Threads;

/// One picture to draw features from.
pub struct Job {
    /// What is to be drawn.
    pub extraction: Extraction,
    /// The picture.
    pub picture: Picture,
    /// The one before it.
    pub previous: Option<Picture>,
    /// Which picture it is.
    pub moment: Moment,
    /// Where the processor time of this process goes to account.
    pub meter: Arc<Meter>,
    /// Told of the outcome and of the time it took. Called once, on the thread that did the work.
    pub done: Box<dyn FnOnce(Extracted, Duration) + Send>,
}

impl Job {
    /// Does the work here and now.
    pub fn run(self) {
        let started = Instant::now();
        let input = Input::new(&self.picture, self.previous.as_ref(), self.moment);
        let run = || self.extraction.run(&input);
        let extracted = self.meter.measured(|| match self.extraction.cost() {
            // Another process has a time limit of its own, which may be long.
            Cost::Away => run(),
            Cost::Light | Cost::Heavy => progress::watched(run),
        });
        (self.done)(extracted, started.elapsed());
    }
}

/// The places there are.
#[derive(Clone)]
pub struct Places {
    /// For what keeps a processor busy.
    pub here: Arc<dyn Dispatch>,
    /// For what waits for other processes.
    pub away: Arc<dyn Dispatch>,
}

impl Places {
    /// The place for an extraction of this cost.
    pub fn of(&self, cost: Cost) -> &Arc<dyn Dispatch> {
        if cost == Cost::Away { &self.away } else { &self.here }
    }
}

/// A place to run extraction.
pub trait Dispatch: Send + Sync {
    /// How many jobs of one session it can work on at once.
    fn width(&self) -> usize;

    /// Takes a job; never blocks for long. The caller keeps at most `width` of a session in flight.
    fn submit(&self, job: Job);
}
