//! What runs in processes of its own: the operator's code as an analyzer, a Python function or any program, and models.
//!
//! Pictures reach a process through memory that it shares with us, questions and answers as lines of JSON over a
//! socket (`docs/own-analyzers.md` describes both). A function that keeps state sees a session's pictures one after
//! another and always in the same process; one that is declared pure (`extract=true`) sees them in any order, as
//! many at once as there are processes. Whatever happens in there, an exception, a hang, the end of the process,
//! costs the picture at hand an error and the process its life, never the session.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

pub use self::{conversation::answers, group::end_processes};
use self::{
    gathering::Gathering,
    launch::{Kind, Launch},
    member::Member,
    memory::Format,
    seat::{Ask, Hear, Seat},
};
use super::{Gives, Halves, Input, Parameters};
use crate::model;

mod code;
mod conversation;
mod gathering;
mod group;
mod launch;
mod member;
mod memory;
mod message;
mod process;
mod seat;

/// The first words of lists that name code: `python:FILE.py:FUNCTION`, `program:PATH`.
pub const KINDS: [&str; 2] = ["python", "program"];
/// The first words of lists that name a model file: `detect:model=FILE`, `pose:model=FILE`.
pub const MODELS: [&str; 2] = [DETECT, POSE];
const DETECT: &str = "detect";
const POSE: &str = "pose";

const PARAMETERS: &[(&str, &str, &str)] = &[
    ("name", "the function's", "where findings stand in a result"),
    ("from", "", "an analyzer before this one in the list: its findings are in meta"),
    ("format", "rgb", "what a picture is given as: rgb, bgr, gray (the luma as coded) or yuv (I420)"),
    ("extract", "false", "true: a finding depends on its picture alone, so pictures may be analysed in any order"),
    ("processes", "1", "processes that share the sessions, 1 to 64"),
    ("batch", "8", "with extract=true, pictures at once for a file that has analyze_batch(frames, metas), 1 to 64"),
    ("timeout", "10", "seconds that one answer may take, 0.01 to 3600"),
    ("start_timeout", "60", "seconds that the process may take to start, 0.1 to 3600"),
    ("memory", "4096", "megabytes that a process may hold before it is replaced, 16 to 1048576"),
];

/// Those that are not passed on.
const OURS: [&str; 9] =
    ["name", "from", "format", "extract", "processes", "batch", "timeout", "start_timeout", "memory"];

/// Kind, meaning and parameters of what the operator may name beside the built-in analyzers.
pub const DESCRIPTIONS: &[super::Description] = &[
    (
        "python:FILE.py:FUNCTION",
        "a Python function on numpy pictures, def FUNCTION(frame, meta) -> dict or None; named by the operator only",
        PARAMETERS,
    ),
    ("program:PATH", "a program that speaks the same protocol; named by the operator only", PARAMETERS),
    (DETECT, "objects in the picture, by an ONNX model; named by the operator only", model::DETECT),
    (POSE, "body points of people, by an ONNX model; named by the operator only", model::POSE),
];

/// How code is run, whichever it is.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The Python interpreter; the environment's where it is not given.
    pub python: Option<PathBuf>,
    /// Whether a function's file is loaded anew when it changes.
    pub reload: bool,
    /// ONNX Runtime's library, or its folder; looked for where it is not given.
    pub onnxruntime: Option<PathBuf>,
    /// The program that runs models; this one where it is not given.
    pub program: Option<PathBuf>,
    /// Nothing is started, since all that will be asked was answered before.
    pub asleep: bool,
}

/// Code of the operator's with the processes that run it.
pub struct Function {
    name: String,
    /// Whether the operator chose the name.
    named: bool,
    /// Whether findings depend on their pictures alone.
    pure: bool,
    /// The analyzer whose findings it is told.
    from: Option<String>,
    timeout: Duration,
    launch: Launch,
    members: Box<[Member]>,
    /// Pictures that it is shown at once, 1 where it takes one at a time.
    batch: usize,
    gathering: Gathering,
}

impl Function {
    /// Starts the first process, so that code which cannot be run is known at once.
    pub(super) fn new(kind: &str, target: &str, parameters: &Parameters, setup: &Setup) -> Result<Self, String> {
        let kind = match MODELS.iter().find(|known| **known == kind) {
            Some(task) => Kind::model(task, parameters, setup)?,
            None => Kind::new(kind, target, setup)?,
        };
        if let (Kind::Python { .. } | Kind::Program { .. }, Some((key, ours))) = (&kind, parameters.misspelt(&OURS)) {
            return Err(format!("has no parameter '{key}': write {ours}, or call one of your own otherwise"));
        }
        let name = parameters.text("name");
        if name == Some("") {
            return Err("name= is empty: write what findings are to be called, or leave it out".into());
        }
        let seconds = |key, default, range| parameters.number::<f64>(key, default, range).map(Duration::from_secs_f64);
        let own = |key: &str| OURS.contains(&key);
        let launch = Launch {
            format: parameters.choice("format", &Format::NAMES)?.unwrap_or_default(),
            start_timeout: seconds("start_timeout", 60.0, 0.1..=3600.0)?,
            memory: memory_of(parameters)?,
            parameters: parameters.iter().filter(|(key, _)| !own(key)).map(owned).collect::<BTreeMap<_, _>>(),
            reload: setup.reload,
            kind,
        };
        let processes = parameters.number::<u16>("processes", 1, 1..=64)?;
        let most = parameters.number("batch", 8, 1..=64)?;
        let mut function = Self {
            batch: 1,
            gathering: Gathering::default(),
            name: name.map_or_else(|| launch.kind.name(), str::to_owned),
            named: name.is_some(),
            pure: launch.kind.is_pure(parameters)?,
            from: parameters.text("from").map(str::to_owned),
            timeout: seconds("timeout", 10.0, 0.01..=3600.0)?,
            launch,
            members: (0..processes).map(|_| Member::default()).collect(),
        };
        if !setup.asleep {
            let several = function.members[0].lock().running(&function.launch)?.takes_batches();
            if function.pure && several {
                function.batch = most;
            }
        }
        Ok(function)
    }

    /// Where its findings stand in a result.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the operator chose that name.
    pub(super) fn is_named(&self) -> bool {
        self.named
    }

    /// The analyzer whose findings it asks for.
    pub(super) fn from(&self) -> Option<&str> {
        self.from.as_deref()
    }

    /// What it builds on where that is in the list.
    pub(super) fn needs(&self) -> &'static [Gives] {
        match &self.launch.kind {
            Kind::Model { task: POSE, .. } => &[Gives::Objects],
            _ => &[],
        }
    }

    /// What it can make something of where it is told to build on it.
    pub(super) fn takes(&self) -> &'static [Gives] {
        match &self.launch.kind {
            Kind::Model { task: POSE, .. } => &[Gives::Objects],
            _ => &[Gives::Objects, Gives::People],
        }
    }

    /// What its findings hold for others.
    pub(super) fn gives(&self) -> Option<Gives> {
        match &self.launch.kind {
            Kind::Model { task: DETECT, .. } => Some(Gives::Objects),
            Kind::Model { .. } => Some(Gives::People),
            Kind::Python { .. } | Kind::Program { .. } => None,
        }
    }

    /// How many pictures of a session may be at work at once.
    pub(super) fn width(&self) -> usize {
        if self.pure { self.members.len() * self.batch } else { 1 }
    }

    /// The two halves for a session. What it keeps is forgotten with the last of them.
    pub(super) fn begin(function: &Arc<Self>, session: &str) -> Halves {
        let seat = Arc::new(Seat::take(function, session));
        (Arc::new(Ask(seat.clone())), Box::new(Hear(seat)))
    }
}

impl Drop for Function {
    /// All of its processes end at once, not one after another.
    fn drop(&mut self) {
        for member in &self.members {
            if let Some(process) = &member.lock().process {
                process.hang_up();
            }
        }
    }
}

/// Bytes that a process may hold.
fn memory_of(parameters: &Parameters) -> Result<u64, String> {
    parameters.number("memory", 4096, 16..=1 << 20).map(|megabytes: u64| megabytes << 20)
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({})", self.name)
    }
}
