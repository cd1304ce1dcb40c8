//! The operator's own code as an analyzer: a Python function, or any program, in processes of its own.
//!
//! Pictures reach a process through memory that it shares with us, questions and answers as lines of JSON over a
//! socket (`docs/own-analyzers.md` describes both). A function that keeps state sees a session's pictures one after
//! another and always in the same process; one that is declared pure (`extract=true`) sees them in any order, as
//! many at once as there are processes. Whatever happens in there, an exception, a hang, the end of the process,
//! costs the picture at hand an error and the process its life, never the session.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, TryLockError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::{
    launch::{Kind, Launch},
    memory::Format,
    message::{Reply, Request},
    process::{Broken, Process},
};
use super::{Extract, Features, Fold, Halves, Input, Parameters};

mod launch;
mod memory;
mod message;
mod process;

/// The first words of lists that name code: `python:FILE.py:FUNCTION`, `program:PATH`.
pub const KINDS: [&str; 2] = ["python", "program"];

const PARAMETERS: &[(&str, &str, &str)] = &[
    ("name", "the function's", "where findings stand in a result"),
    ("format", "rgb", "what a picture is given as: rgb, bgr, gray (the luma as coded) or yuv (I420)"),
    ("extract", "false", "true: a finding depends on its picture alone, so pictures may be analysed in any order"),
    ("processes", "1", "processes that share the sessions, 1 to 64"),
    ("timeout", "10", "seconds that one answer may take, 0.01 to 3600"),
    ("start_timeout", "60", "seconds that the process may take to start, 0.1 to 3600"),
    ("memory", "4096", "megabytes that a process may hold before it is replaced, 16 to 1048576"),
];

/// Kind, meaning and parameters of what the operator may name beside the built-in analyzers.
pub const DESCRIPTIONS: &[super::Description] = &[
    (
        "python:FILE.py:FUNCTION",
        "a Python function on numpy pictures, def FUNCTION(frame, meta) -> dict or None; named by the operator only",
        PARAMETERS,
    ),
    ("program:PATH", "a program that speaks the same protocol; named by the operator only", PARAMETERS),
];

/// How code is run, whichever it is.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The Python interpreter; the environment's where it is not given.
    pub python: Option<PathBuf>,
    /// Whether a function's file is loaded anew when it changes.
    pub reload: bool,
}

/// The session's task waits for what a function says at the end, and a watchdog for the task.
const FINISH_LIMIT: Duration = Duration::from_secs(10);

/// Code of the operator's with the processes that run it.
pub struct Function {
    name: String,
    /// Whether the operator chose the name.
    named: bool,
    /// Whether findings depend on their pictures alone.
    pure: bool,
    timeout: Duration,
    launch: Launch,
    members: Box<[Member]>,
}

/// One of the processes.
struct Member {
    process: Mutex<Option<Process>>,
    /// Sessions whose state is there.
    sessions: AtomicUsize,
    /// States that nobody wants any more; told with the next question.
    forgotten: Mutex<Vec<u64>>,
}

impl Function {
    /// Starts the first process, so that code which cannot be run is known at once.
    pub(super) fn new(kind: &str, target: &str, parameters: &Parameters, setup: &Setup) -> Result<Self, String> {
        let kind = Kind::new(kind, target, setup)?;
        let name = parameters.text("name");
        let seconds = |key, default, range| parameters.number::<f64>(key, default, range).map(Duration::from_secs_f64);
        let own = |key: &str| PARAMETERS.iter().all(|(known, ..)| *known != key);
        let launch = Launch {
            format: parameters.choice("format", &Format::NAMES)?.unwrap_or_default(),
            start_timeout: seconds("start_timeout", 60.0, 0.1..=3600.0)?,
            memory: parameters.number("memory", 4096, 16..=1 << 20)? << 20,
            parameters: parameters.iter().filter(|(key, _)| own(key)).map(owned).collect::<BTreeMap<_, _>>(),
            reload: setup.reload,
            kind,
        };
        let first = Process::start(&launch).map_err(|error| error.to_string())?;
        let mut members: Box<[Member]> =
            (0..parameters.number("processes", 1, 1..=64)?).map(|_: u16| Member::default()).collect();
        members[0].process = Mutex::new(Some(first));
        Ok(Self {
            name: name.map_or_else(|| launch.kind.name(), str::to_owned),
            named: name.is_some(),
            pure: parameters.choice("extract", &[("false", false), ("true", true)])?.unwrap_or(false),
            timeout: seconds("timeout", 10.0, 0.01..=3600.0)?,
            launch,
            members,
        })
    }

    /// Where its findings stand in a result.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the operator chose that name.
    pub(super) fn is_named(&self) -> bool {
        self.named
    }

    /// How many pictures of a session may be at work at once.
    pub(super) fn width(&self) -> usize {
        if self.pure { self.members.len() } else { 1 }
    }

    /// The two halves for a session. What it keeps is forgotten with the last of them.
    pub(super) fn begin(function: &Arc<Self>, session: &str) -> Halves {
        static KEYS: AtomicU64 = AtomicU64::new(1);
        let fewest = |(_, member): &(usize, &Member)| member.sessions.load(Ordering::Relaxed);
        let member = function.members.iter().enumerate().min_by_key(fewest).map_or(0, |(index, _)| index);
        function.members[member].sessions.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat {
            function: function.clone(),
            session: session.to_owned(),
            key: KEYS.fetch_add(1, Ordering::Relaxed),
            member,
            begun: AtomicU64::new(0),
        });
        (Arc::new(Ask(seat.clone())), Box::new(Hear(seat)))
    }
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({})", self.name)
    }
}

impl Default for Member {
    fn default() -> Self {
        Self { process: Mutex::default(), sessions: AtomicUsize::new(0), forgotten: Mutex::default() }
    }
}

impl Member {
    /// The process, once nobody else asks it. What a panic left behind there is replaced.
    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(|poisoned| {
            let mut process = poisoned.into_inner();
            *process = None;
            process
        })
    }

    /// The same within `limit`.
    fn lock_within(&self, limit: Duration) -> Option<MutexGuard<'_, Option<Process>>> {
        let deadline = Instant::now() + limit;
        loop {
            match self.process.try_lock() {
                Ok(process) => return Some(process),
                Err(TryLockError::Poisoned(_)) => return Some(self.lock()),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(TryLockError::WouldBlock) => return None,
            }
        }
    }
}

/// A session's place in a process.
struct Seat {
    function: Arc<Function>,
    session: String,
    /// Names the session's state in the process.
    key: u64,
    member: usize,
    /// The process in which the state began; 0 before the first.
    begun: AtomicU64,
}

impl Seat {
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
    fn ask(&self, input: &Input<'_>) -> Result<Value, String> {
        let (member, mut place) = self.process();
        let process = self.running(&mut place)?;
        let answer = self.put(member, process, input);
        self.conclude(&mut place, answer).map(|found| found.unwrap_or(Value::Null))
    }

    /// Asks about a picture in a process that runs.
    fn put(&self, member: usize, process: &mut Process, input: &Input<'_>) -> Result<Reply, Broken> {
        let forgotten = std::mem::take(&mut *self.function.members[member].forgotten.lock().expect(UNBROKEN));
        for key in forgotten {
            process.tell(&Request::Forget { key })?;
        }
        if !self.function.pure && self.begun.swap(process.serial(), Ordering::Relaxed) != process.serial() {
            process.tell(&Request::Start { key: self.key, session: &self.session })?;
        }
        process.show(input, (self.key, &self.session), self.function.timeout)
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
        self.conclude(&mut place, answer)
    }

    /// The running process, started now if there is none or it is out of date.
    fn running<'a>(&self, place: &'a mut MutexGuard<'_, Option<Process>>) -> Result<&'a mut Process, String> {
        if place.as_mut().is_some_and(|process| process.is_stale(&self.function.launch)) {
            tracing::info!(analyzer = self.function.name, "its file has changed: it is loaded anew");
            **place = None;
        }
        if place.is_none() {
            **place = Some(Process::start(&self.function.launch).map_err(|error| error.to_string())?);
        }
        Ok(place.as_mut().expect("it was started if it was not there"))
    }

    /// The answer as a finding or an error; a broken process is ended, and another one takes its place next time.
    fn conclude(
        &self,
        place: &mut MutexGuard<'_, Option<Process>>,
        answer: Result<Reply, Broken>,
    ) -> Result<Option<Value>, String> {
        let name = &self.function.name;
        let broken = match answer {
            Ok(reply) => {
                let most = self.function.launch.memory;
                if let Some(held) = place.as_mut().and_then(|process| process.excess(most)) {
                    let (held, most) = (held >> 20, most >> 20);
                    tracing::warn!(analyzer = name, "its process holds {held} MB, more than {most}: it is replaced");
                    **place = None;
                }
                return reply.into();
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
struct Ask(Arc<Seat>);

impl Extract for Ask {
    fn extract(&self, input: &Input<'_>) -> Result<Features, String> {
        self.0.ask(input).map(Features::Json)
    }
}

/// The half that passes on what was answered.
struct Hear(Arc<Seat>);

impl Fold for Hear {
    fn fold(&mut self, _: f64, features: &Features) -> Result<Value, String> {
        features.json().cloned()
    }

    fn finish(&mut self) -> Option<Value> {
        if self.0.function.pure {
            return None;
        }
        self.0.finish().unwrap_or_else(|error| Some(json!({ "error": error })))
    }
}
