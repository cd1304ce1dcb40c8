//! One session's way to a dispatcher: at most `width` pictures at work and one waiting.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use cv_core::whip::Mode;

use super::{Dispatch, Job};
use crate::metrics::METRICS;

/// What waits, and what happens to it when a newer picture comes.
pub struct Lane {
    shared: Arc<Shared>,
    mode: Mode,
}

/// A job with what to do if it never runs.
struct Waiting {
    job: Job,
    replaced: Box<dyn FnOnce() + Send>,
}

/// Locked to move jobs and counters only, hence a plain mutex.
struct Shared {
    state: Mutex<State>,
    freed: Condvar,
    place: Arc<dyn Dispatch>,
    width: usize,
}

#[derive(Default)]
struct State {
    running: usize,
    waiting: Option<Waiting>,
}

impl Lane {
    /// A lane to `place` for at most `width` pictures at once; 1 keeps them in order.
    pub fn new(place: Arc<dyn Dispatch>, mode: Mode, width: Option<usize>) -> Self {
        let width = width.unwrap_or(usize::MAX).min(place.width());
        Self { shared: Arc::new(Shared { state: Mutex::default(), freed: Condvar::new(), place, width }), mode }
    }

    /// Hands `job` over. Where all places are taken it waits; in live mode it takes the place of
    /// the one that waits already, whose `replaced` is called; in every-frame mode the caller blocks.
    pub fn submit(&self, job: Job, replaced: impl FnOnce() + Send + 'static) {
        METRICS.queues.analysis.add(1);
        let mut state = self.shared.lock();
        if self.mode == Mode::EveryFrame {
            let taken = |state: &mut State| state.waiting.is_some();
            state = self.shared.freed.wait_while(state, taken).expect("nobody panics while holding a lane");
        }
        if state.running < self.shared.width {
            state.running += 1;
            drop(state);
            Shared::start(&self.shared, job);
            return;
        }
        let displaced = state.waiting.replace(Waiting { job, replaced: Box::new(replaced) });
        drop(state);
        if let Some(displaced) = displaced {
            METRICS.queues.analysis.sub(1);
            (displaced.replaced)();
        }
    }

    /// Blocks until nothing of this session runs or waits.
    pub fn drain(&self) {
        let at_work = |state: &mut State| state.running > 0;
        drop(self.shared.freed.wait_while(self.shared.lock(), at_work).expect("nobody panics while holding a lane"));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding a lane")
    }

    /// Runs `job` at the place, and after it whatever waits then.
    fn start(shared: &Arc<Self>, job: Job) {
        let (next, done) = (shared.clone(), job.done);
        let done = Box::new(move |extracted, spent| {
            METRICS.queues.analysis.sub(1);
            done(extracted, spent);
            Self::finished(&next);
        });
        shared.place.submit(Job { done, ..job });
    }

    fn finished(shared: &Arc<Self>) {
        let mut state = shared.lock();
        let waiting = state.waiting.take();
        if waiting.is_none() {
            state.running -= 1;
        }
        shared.freed.notify_all();
        drop(state);
        if let Some(waiting) = waiting {
            Self::start(shared, waiting.job);
        }
    }
}
