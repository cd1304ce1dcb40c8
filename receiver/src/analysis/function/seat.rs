//! A session's place in a process, and the two halves of an analyzer that use it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, TryLockError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Function,
    conversation::Broken,
    gathering::{Answer, Waiting},
    message::{Reply, Request},
    process::Process,
};
use crate::analysis::{Extract, Features, Fold, Input};

/// The session's task waits for what a function says at the end, and a watchdog for the task.
const FINISH_LIMIT: Duration = Duration::from_secs(10);

/// One of the processes.
#[derive(Default)]
pub(super) struct Member {
    pub(super) process: Mutex<Option<Process>>,
    /// Sessions whose state is there.
    sessions: AtomicUsize,
    /// States that nobody wants any more; told with the next question.
    forgotten: Mutex<Vec<u64>>,
}

impl Member {
    /// The process, once nobody else asks it. What a panic left behind there is replaced.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(|poisoned| self.recovered(poisoned.into_inner()))
    }

    /// The place after a panic, whose process may be in the middle of an answer.
    fn recovered<'a>(&'a self, mut place: MutexGuard<'a, Option<Process>>) -> MutexGuard<'a, Option<Process>> {
        *place = None;
        self.process.clear_poison();
        place
    }

    /// The same within `limit`.
    fn lock_within(&self, limit: Duration) -> Option<MutexGuard<'_, Option<Process>>> {
        let deadline = Instant::now() + limit;
        loop {
            match self.process.try_lock() {
                Ok(process) => return Some(process),
                Err(TryLockError::Poisoned(poisoned)) => return Some(self.recovered(poisoned.into_inner())),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(TryLockError::WouldBlock) => return None,
            }
        }
    }
}

/// A session's place in a process.
pub(super) struct Seat {
    function: Arc<Function>,
    session: String,
    /// Names the session's state in the process.
    key: u64,
    member: usize,
    /// The process in which the state began; 0 before the first.
    begun: AtomicU64,
}

impl Seat {
    /// The place of a session that begins, in the process that has the fewest.
    pub(super) fn take(function: &Arc<Function>, session: &str) -> Self {
        static KEYS: AtomicU64 = AtomicU64::new(1);
        let fewest = |(_, member): &(usize, &Member)| member.sessions.load(Ordering::Relaxed);
        let member = function.members.iter().enumerate().min_by_key(fewest).map_or(0, |(index, _)| index);
        function.members[member].sessions.fetch_add(1, Ordering::Relaxed);
        Self {
            function: function.clone(),
            session: session.to_owned(),
            key: KEYS.fetch_add(1, Ordering::Relaxed),
            member,
            begun: AtomicU64::new(0),
        }
    }

    /// The process to ask: the session's own, or for a pure function one that is idle.
    fn process(&self) -> (usize, MutexGuard<'_, Option<Process>>) {
        let members = &self.function.members;
        if self.function.pure {
            for (index, member) in members.iter().enumerate() {
                match member.process.try_lock() {
                    Ok(process) => return (index, process),
                    Err(TryLockError::Poisoned(_) | TryLockError::WouldBlock) => {}
                }
            }
        }
        (self.member, members[self.member].lock())
    }

    /// The finding for a picture.
    fn ask(&self, input: &Input<'_>, from: Option<&Value>) -> Result<Value, String> {
        if self.function.batch > 1 {
            return self.ask_with_others(input, from).map(|found| found.unwrap_or(Value::Null));
        }
        let (member, mut place) = self.process();
        let process = self.running(&mut place)?;
        let answer = self.put(member, process, (input, from));
        Answer::from(self.conclude(&mut place, answer)?).map(|found| found.unwrap_or(Value::Null))
    }

    /// The same together with other pictures that wait.
    fn ask_with_others(&self, input: &Input<'_>, given: Option<&Value>) -> Answer {
        let waiting = |ticket| Waiting {
            ticket,
            picture: input.picture.clone(),
            moment: input.moment,
            session: self.session.clone(),
            given: given.cloned(),
        };
        let members = &self.function.members;
        let idle = || members.iter().find_map(|member| member.lock_within(Duration::ZERO));
        self.function.gathering.ask(self.function.batch, waiting, idle, |mut place, batch| {
            let answers = match self.running(&mut place) {
                Ok(process) => process.show_all(batch, self.function.timeout),
                Err(error) => return vec![Err(error); batch.len()],
            };
            self.conclude(&mut place, answers).unwrap_or_else(|error| vec![Err(error); batch.len()])
        })
    }

    /// Asks about a picture in a process that runs.
    fn put(
        &self,
        member: usize,
        process: &mut Process,
        picture: (&Input<'_>, Option<&Value>),
    ) -> Result<Reply, Broken> {
        let forgotten = std::mem::take(&mut *self.function.members[member].forgotten.lock().expect(UNBROKEN));
        for key in forgotten {
            process.tell(&Request::Forget { key }, self.function.timeout)?;
        }
        if !self.function.pure && self.begun.swap(process.serial(), Ordering::Relaxed) != process.serial() {
            process.tell(&Request::Start { key: self.key, session: &self.session }, self.function.timeout)?;
        }
        process.show(picture, (self.key, &self.session), self.function.timeout)
    }

    /// What the function says about the whole session; `None` if nothing.
    fn finish(&self) -> Result<Option<Value>, String> {
        let limit = self.function.timeout.min(FINISH_LIMIT);
        let Some(mut place) = self.function.members[self.member].lock_within(limit) else {
            return Err(format!("its process was busy with other sessions for {} s", limit.as_secs_f64()));
        };
        let begun = self.begun.load(Ordering::Relaxed);
        let Some(process) = place.as_mut().filter(|process| process.serial() == begun) else {
            return Ok(None);
        };
        let answer = process.ask(&Request::Finish { key: self.key }, limit);
        self.conclude(&mut place, answer)?.into()
    }

    /// The running process, started now if there is none or it is out of date.
    fn running<'a>(&self, place: &'a mut MutexGuard<'_, Option<Process>>) -> Result<&'a mut Process, String> {
        if place.as_mut().is_some_and(|process| process.is_stale(&self.function.launch)) {
            tracing::info!(analyzer = self.function.name, "its file has changed: it is loaded anew");
            **place = None;
        }
        if place.is_none() {
            **place = Some(Process::start(&self.function.launch)?);
        }
        Ok(place.as_mut().expect("it was started if it was not there"))
    }

    /// What was answered, or why nothing was; a broken process is ended, and another one takes its place next time.
    fn conclude<T>(&self, place: &mut MutexGuard<'_, Option<Process>>, answer: Result<T, Broken>) -> Result<T, String> {
        let name = &self.function.name;
        let broken = match answer {
            Ok(reply) => {
                let most = self.function.launch.memory;
                if let Some(held) = place.as_mut().and_then(|process| process.excess(most)) {
                    let (held, most) = (held >> 20, most >> 20);
                    tracing::warn!(analyzer = name, "its process holds {held} MB, more than {most}: it is replaced");
                    **place = None;
                }
                return Ok(reply);
            }
            Err(broken) => broken,
        };
        **place = None;
        tracing::warn!(analyzer = name, session = self.session, "{broken}; the process is replaced");
        Err(format!("{broken}; the process was replaced and its sessions begin anew"))
    }
}

const UNBROKEN: &str = "nobody panics while holding a list of numbers";

impl Drop for Seat {
    fn drop(&mut self) {
        let member = &self.function.members[self.member];
        member.sessions.fetch_sub(1, Ordering::Relaxed);
        if self.begun.load(Ordering::Relaxed) != 0 {
            member.forgotten.lock().expect(UNBROKEN).push(self.key);
        }
    }
}

/// The half that asks.
pub(super) struct Ask(pub(super) Arc<Seat>);

impl Extract for Ask {
    fn extract(&self, input: &Input<'_>) -> Result<Features, String> {
        self.0.ask(input, None).map(Features::Json)
    }

    fn extract_from(&self, input: &Input<'_>, drawn: &Features) -> Result<Features, String> {
        self.0.ask(input, Some(drawn.json()?)).map(Features::Json)
    }
}

/// The half that passes on what was answered.
pub(super) struct Hear(pub(super) Arc<Seat>);

impl Fold for Hear {
    fn fold(&mut self, _: f64, features: &Features) -> Result<Value, String> {
        features.json().cloned()
    }

    fn finish(&mut self) -> Option<Result<Value, String>> {
        if self.0.function.pure {
            return None;
        }
        self.0.finish().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_where_somebody_panicked_is_taken_again_and_again() {
        let member = Arc::new(Member::default());
        for _ in 0..3 {
            let other = member.clone();
            let panicked = std::thread::spawn(move || {
                let _place = other.lock();
                panic!("on purpose");
            });
            assert!(panicked.join().is_err());
            assert!(member.lock_within(Duration::ZERO).is_some());
            assert!(!member.process.is_poisoned());
        }
    }
}
