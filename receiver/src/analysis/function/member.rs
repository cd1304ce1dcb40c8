//! A place for one process of a function: who runs there, or why nobody can be started.

use std::{
    sync::{Mutex, MutexGuard, TryLockError, atomic::AtomicUsize},
    thread,
    time::{Duration, Instant},
};

use super::{
    code::Code,
    launch::Launch,
    process::{Process, Unstarted},
};

/// Between a start that failed and the next one, at first and at most. Meanwhile pictures have the same error.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(10)];

/// One of the processes.
#[derive(Default)]
pub(super) struct Member {
    place: Mutex<Place>,
    /// Sessions whose state is there.
    pub(super) sessions: AtomicUsize,
    /// States that nobody wants any more; told with the next question.
    pub(super) forgotten: Mutex<Vec<u64>>,
}

/// Who runs in a place, if somebody does.
#[derive(Default)]
pub(super) struct Place {
    pub(super) process: Option<Process>,
    failed: Option<Failed>,
}

/// A start that failed.
struct Failed {
    error: String,
    code: Code,
    pause: Duration,
    /// When it is tried again.
    again: Instant,
}

impl Member {
    /// The place, once nobody else asks there. What a panic left behind in it is replaced.
    pub(super) fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(|poisoned| self.recovered(poisoned.into_inner()))
    }

    /// The place after a panic, whose process may be in the middle of an answer.
    fn recovered<'a>(&'a self, mut place: MutexGuard<'a, Place>) -> MutexGuard<'a, Place> {
        place.process = None;
        self.place.clear_poison();
        place
    }

    /// The same until `deadline`.
    pub(super) fn lock_until(&self, deadline: Instant) -> Option<MutexGuard<'_, Place>> {
        loop {
            match self.place.try_lock() {
                Ok(place) => return Some(place),
                Err(TryLockError::Poisoned(poisoned)) => return Some(self.recovered(poisoned.into_inner())),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                Err(TryLockError::WouldBlock) => return None,
            }
        }
    }

    /// The same if nobody asks there now.
    pub(super) fn lock_if_idle(&self) -> Option<MutexGuard<'_, Place>> {
        self.lock_until(Instant::now())
    }
}

impl Place {
    /// The running process, started now if there is none or it is out of date.
    ///
    /// A start that failed is tried again after a pause, or when the code has changed. One that ended later is not such a
    /// case: what a picture is answered must not depend on how long ago that was.
    pub(super) fn running(&mut self, launch: &Launch) -> Result<&mut Process, String> {
        if self.process.as_ref().is_some_and(Process::is_stale) {
            tracing::info!("{}: its code has changed and is loaded anew", launch.kind.title());
            self.process = None;
        }
        if self.process.is_none() {
            if let Some(failed) = self.failed.as_ref().filter(|failed| failed.stands(Instant::now())) {
                return Err(failed.error.clone());
            }
            match Process::start(launch) {
                Ok(process) => (self.process, self.failed) = (Some(process), None),
                Err(unstarted) => {
                    let failed = Failed::after(self.failed.take(), unstarted, Instant::now());
                    tracing::warn!("{}; tried again in {} s", failed.error, failed.pause.as_secs_f64());
                    return Err(self.failed.insert(failed).error.clone());
                }
            }
        }
        Ok(self.process.as_mut().expect("it was started if it was not there"))
    }
}

impl Failed {
    /// A start that failed `now`, `before` which another one may have.
    fn after(before: Option<Self>, Unstarted { error, code }: Unstarted, now: Instant) -> Self {
        let [first, most] = PAUSES;
        let pause = before.map_or(first, |before| (before.pause * 2).min(most));
        Self { error, code, pause, again: now + pause }
    }

    /// Whether another start is not worth it yet.
    fn stands(&self, now: Instant) -> bool {
        now < self.again && !self.code.has_changed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_place_where_somebody_panicked_is_taken_again_and_again() {
        let member = Arc::new(Member::default());
        for _ in 0..3 {
            let other = member.clone();
            let panicked = thread::spawn(move || {
                let _place = other.lock();
                panic!("on purpose");
            });
            assert!(panicked.join().is_err());
            assert!(member.lock_if_idle().is_some());
            assert!(!member.place.is_poisoned());
        }
    }

    #[test]
    fn a_start_that_failed_is_tried_again_in_growing_pauses() {
        let unstarted = || Unstarted { error: "no".into(), code: Code::default() };
        let (begin, mut failed, mut pauses) = (Instant::now(), None, Vec::new());
        for _ in 0..8 {
            let next = Failed::after(failed, unstarted(), begin);
            assert!(next.stands(begin) && !next.stands(begin + next.pause));
            pauses.push(next.pause.as_secs_f64());
            failed = Some(next);
        }
        assert_eq!(pauses, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
    }
}
