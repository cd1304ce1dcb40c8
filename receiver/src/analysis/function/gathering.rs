//! Pictures that wait for a process are shown to it together, where the function takes several at once.
//!
//! Nobody waits for company: what has come while all processes were busy goes to the next one that is idle. Whoever
//! waits for an answer asks on behalf of all that wait, so there is no thread for it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard},
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
            let answers = serve(process, &batch);
            desk = self.lock();
            desk.answers.extend(batch.iter().map(|waiting| waiting.ticket).zip(answers));
            // Some have their answer now, and the process is idle for the others.
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().expect(UNBROKEN)
    }
}

const UNBROKEN: &str = "nobody panics at the desk";

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc, Barrier,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
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
}
