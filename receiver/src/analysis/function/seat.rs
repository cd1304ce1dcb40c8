//! A session's place in a process, and the two halves of an analyzer that use it.

use std::{
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    Function,
    conversation::Broken,
    gathering::{Answer, Waiting},
    member::{Member, Place},
    message::{Reply, Request},
    process::Process,
};
use crate::analysis::{Extract, Features, Fold, Input};

/// The session's task waits for what a function says at the end, and a watchdog for the task.
const FINISH_LIMIT: Duration = Duration::from_secs(10);

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

    /// Where to ask: in the session's own place, or for a pure function in one that is idle.
    fn place(&self) -> (usize, MutexGuard<'_, Place>) {
        let members = &self.function.members;
        let idle = |index: usize| members[index].lock_if_idle().map(|place| (index, place));
        let found = if self.function.pure { (0..members.len()).find_map(idle) } else { None };
        found.unwrap_or_else(|| (self.member, members[self.member].lock()))
    }

    /// The finding for a picture.
    fn ask(&self, input: &Input<'_>, from: Option<&Value>) -> Result<Value, String> {
        if self.function.batch > 1 {
            return self.ask_with_others(input, from).map(|found| found.unwrap_or(Value::Null));
        }
        let (member, mut place) = self.place();
        let process = place.running(&self.function.launch)?;
        let answer = self.put(member, process, (input, from));
        let reply = self.conclude(&mut place, answer)?;
        self.check_memory(&mut place)?;
        Answer::from(reply).map(|found| found.unwrap_or(Value::Null))
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
        let idle = || members.iter().find_map(Member::lock_if_idle);
        self.function.gathering.ask(self.function.batch, waiting, idle, |mut place, batch| {
            let answers = self.show_all(&mut place, batch);
            answers.unwrap_or_else(|error| vec![Err(error); batch.len()])
        })
    }

    /// The answers for several pictures.
    fn show_all(&self, place: &mut Place, batch: &[Waiting]) -> Result<Vec<Answer>, String> {
        let answers = place.running(&self.function.launch)?.show_all(batch, self.function.timeout);
        let answers = self.conclude(place, answers)?;
        self.check_memory(place)?;
        Ok(answers)
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
        let begin = Instant::now();
        // What is left for the answer is no less, so that a process is not ended for what others took.
        let Some(mut place) = self.function.members[self.member].lock_until(begin + limit / 2) else {
            return Err(format!("its process was busy with other sessions for {} s", (limit / 2).as_secs_f64()));
        };
        let begun = self.begun.load(Ordering::Relaxed);
        let Some(process) = place.process.as_mut().filter(|process| process.serial() == begun) else {
            return Ok(None);
        };
        let left = (begin + limit).saturating_duration_since(Instant::now()).max(limit / 2);
        let answer = process.ask(&Request::Finish { key: self.key }, left).map_err(|broken| match broken {
            // Lines do not tell how long others took.
            Broken::Silent(_) => Broken::Silent(limit),
            other => other,
        });
        self.conclude(&mut place, answer)?.into()
    }

    /// What was answered, or why nothing was; a broken process is ended, and another one takes its place next time.
    fn conclude<T>(&self, place: &mut Place, answer: Result<T, Broken>) -> Result<T, String> {
        answer.map_err(|broken| {
            place.process = None;
            tracing::warn!(analyzer = self.function.name, session = self.session, "{broken}; the process is replaced");
            format!("{broken}; the process was replaced and its sessions begin anew")
        })
    }

    /// Ends a process that holds too much. Where states are lost by that, it is an error of the picture at hand.
    fn check_memory(&self, place: &mut Place) -> Result<(), String> {
        let most = self.function.launch.memory;
        let Some(held) = place.process.as_mut().and_then(|process| process.excess(most)) else { return Ok(()) };
        let (held, most) = (held >> 20, most >> 20);
        place.process = None;
        let name = &self.function.name;
        tracing::warn!(analyzer = name, "its process holds {held} MB, more than {most}: it is replaced");
        if self.function.pure {
            return Ok(());
        }
        // In results no number that is another one each time.
        Err(format!("its process held more than memory={most} MB; it was replaced and its sessions begin anew"))
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
