//! Pictures that wait for a process are shown to it together, where the function takes several at once.
//!
//! Nobody waits for company: what has come while all processes were busy goes to the next one that is idle. Whoever
//! waits for an answer asks on behalf of all that wait, so there is no thread for it.

use std::{
    collections::{BTreeMap, VecDeque},
    iter, mem,
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

use cv_core::picture::Picture;
use serde_json::Value;

use crate::analysis::Moment;

/// A picture that waits.
pub(super) struct Waiting {
    pub(super) ticket: u64,
    pub(super) picture: Picture,
    pub(super) moment: Moment,
    pub(super) session: String,
    /// What the analyzer that the function builds on found in it.
    pub(super) given: Option<Value>,
}

/// What is said of a picture.
pub(super) type Answer = Result<Option<Value>, String>;

/// The pictures that wait for the processes of a function, and the answers that wait for those who asked.
#[derive(Default)]
pub(super) struct Gathering {
    desk: Mutex<Desk>,
    changed: Condvar,
}

#[derive(Default)]
struct Desk {
    tickets: u64,
    waiting: VecDeque<Waiting>,
    answers: BTreeMap<u64, Answer>,
}

impl Gathering {
    /// The answer for a picture. `serve` is called with what waits, `most` pictures at once, when it finds an idle
    /// process, and says what each of those is answered; it gives nothing where no process is idle.
    pub(super) fn ask<P>(
        &self,
        most: usize,
        waiting: impl FnOnce(u64) -> Waiting,
        idle: impl Fn() -> Option<P>,
        serve: impl Fn(P, &[Waiting]) -> Vec<Answer>,
    ) -> Answer {
        let mut desk = self.lock();
        desk.tickets += 1;
        let ticket = desk.tickets;
        desk.waiting.push_back(waiting(ticket));
        loop {
            if let Some(answer) = desk.answers.remove(&ticket) {
                return answer;
            }
            let process = if desk.waiting.is_empty() { None } else { idle() };
            let Some(process) = process else {
                desk = self.changed.wait(desk).expect(UNBROKEN);
                continue;
            };
            let count = desk.waiting.len().min(most);
            let batch: Vec<_> = desk.waiting.drain(..count).collect();
            drop(desk);
            let mut served = Served { gathering: self, asker: ticket, batch: &batch, answers: Vec::new() };
            served.answers = serve(process, &batch);
            drop(served);
            desk = self.lock();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect(UNBROKEN)
    }
}

const UNBROKEN: &str = "nobody panics at the desk";

/// Pictures that are being served. Whatever becomes of that, everybody has an answer in the end.
struct Served<'a> {
    gathering: &'a Gathering,
    /// The ticket of who asks on behalf of all.
    asker: u64,
    batch: &'a [Waiting],
    answers: Vec<Answer>,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        let mut desk = self.gathering.lock();
        let answers = mem::take(&mut self.answers).into_iter();
        let answers = answers.chain(iter::repeat_with(|| Err("it was not answered: see the log".into())));
        desk.answers.extend(self.batch.iter().map(|waiting| waiting.ticket).zip(answers));
        if thread::panicking() {
            // Who asked will not come for an answer.
            desk.answers.remove(&self.asker);
            desk.waiting.retain(|waiting| waiting.ticket != self.asker);
        }
        drop(desk);
        // Some have their answer now, and the process is idle for the others.
        self.gathering.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering},
    };

    use cv_core::{
        geometry::Size,
        picture::{Pool, Range},
    };

    use super::*;

    fn waiting(ticket: u64, frame: u64) -> Waiting {
        let picture = Pool::default().picture(Size::new(2, 2).unwrap(), Range::Limited).freeze();
        Waiting { ticket, picture, moment: Moment { frame, time: 0.0 }, session: "s".into(), given: None }
    }

    #[test]
    fn everybody_is_answered_and_what_waits_goes_together() {
        let (gathering, places) = (Arc::new(Gathering::default()), Arc::new(Mutex::new(())));
        let (largest, begun) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(2)));
        let held = places.lock().unwrap();
        let askers: Vec<_> = (0..20)
            .map(|frame| {
                let (gathering, places, largest) = (gathering.clone(), places.clone(), largest.clone());
                let begun = (frame == 0).then(|| begun.clone());
                thread::spawn(move || {
                    if let Some(begun) = begun {
                        begun.wait();
                    }
                    let serve = |_: MutexGuard<'_, ()>, batch: &[Waiting]| {
                        largest.fetch_max(batch.len(), Ordering::Relaxed);
                        batch.iter().map(|waiting| Ok(Some(waiting.moment.frame.into()))).collect()
                    };
                    gathering.ask(8, |ticket| waiting(ticket, frame), || places.try_lock().ok(), serve)
                })
            })
            .collect();
        // While the only process is busy, pictures gather.
        while gathering.lock().waiting.len() < 19 {
            thread::yield_now();
        }
        drop(held);
        // The last one to come finds an idle process and asks for all.
        begun.wait();
        for (frame, asker) in askers.into_iter().enumerate() {
            assert_eq!(asker.join().unwrap(), Ok(Some(frame.into())));
        }
        assert_eq!(largest.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn a_panic_while_pictures_are_served_leaves_nobody_waiting() {
        let (gathering, place) = (Arc::new(Gathering::default()), Arc::new(Mutex::new(true)));
        let held = place.lock().unwrap();
        let askers: Vec<_> = (0..3)
            .map(|frame| {
                let (gathering, place) = (gathering.clone(), place.clone());
                thread::spawn(move || {
                    let idle = || match place.try_lock() {
                        Err(std::sync::TryLockError::WouldBlock) => None,
                        Ok(place) => Some(place),
                        Err(std::sync::TryLockError::Poisoned(place)) => Some(place.into_inner()),
                    };
                    let serve = |mut place: MutexGuard<'_, bool>, batch: &[Waiting]| {
                        assert!(!mem::take(&mut *place), "on purpose, at {} pictures", batch.len());
                        Vec::new()
                    };
                    gathering.ask(8, |ticket| waiting(ticket, frame), idle, serve)
                })
            })
            .collect();
        while gathering.lock().waiting.len() < 3 {
            thread::yield_now();
        }
        drop(held);
        gathering.changed.notify_all();
        let ends: Vec<_> = askers.into_iter().map(thread::JoinHandle::join).collect();
        assert_eq!(ends.iter().filter(|end| end.is_err()).count(), 1);
        assert!(ends.iter().flatten().all(|answer| answer.is_err()));
        let desk = gathering.lock();
        assert!(desk.answers.is_empty() && desk.waiting.is_empty());
    }
}
