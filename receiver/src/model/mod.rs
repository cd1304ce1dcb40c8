//! Models: what runs in a process of its own, so that no file can take the daemon down.
//!
//! `cv-receiver model` is started by the daemon with a socket and a memory, speaks the protocol of
//! `docs/own-analyzers.md`, and looks at pictures with networks that ONNX Runtime executes: objects by a
//! [`Detector`], body points by a [`Poser`]. It holds no more memory than it is granted; when it hangs or dies, the
//! daemon replaces it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::{
    channel::{Answer, Channel, Question},
    detector::Detector,
    pose::Poser,
    runtime::Runtime,
    view::View,
};
use crate::analysis::Parameters;

pub use self::graph::without_weights_as_inputs;

mod channel;
mod detector;
mod graph;
mod kind;
mod letterbox;
mod object;
mod pose;
mod region;
mod runtime;
mod view;

/// Parameters of `detect`, with default and meaning.
pub(crate) const DETECT: &[(&str, &str, &str)] = &[
    ("model", "", "the ONNX file: YOLOX, YuNet or UltraFace"),
    ("kind", "", "what the file is, where its names and shapes do not tell: yolox, yunet, ultraface"),
    ("threshold", "0.3 (yunet 0.6, ultraface 0.7)", "the least score of what is told, 0.01 to 1"),
    ("overlap", "0.45 (faces 0.3)", "of two boxes of a label that overlap more, the weaker one goes: IoU, 0 to 1"),
    ("only", "", "labels that are told, others are left out, as in only=person+dog"),
    ("labels", "", "a file with the names of the model's classes, one a line"),
    ("size", "416 (faces 320)", "side of the square that a model of free size is given, a multiple of 32, 32 to 4096"),
    ("name", "detect", "where findings stand in a result"),
    ("processes", "1", "processes that share the sessions, 1 to 64"),
    ("timeout", "10", "seconds that one picture may take, 0.01 to 3600"),
    ("start_timeout", "60", "seconds that the model may take to load, 0.1 to 3600"),
    ("memory", "4096", "megabytes that a process may hold, 16 to 1048576"),
];

/// Parameters of `pose`, with default and meaning.
pub(crate) const POSE: &[(&str, &str, &str)] = &[
    ("model", "", "the ONNX file: BlazePose landmarks, MoveNet single pose or RTMPose"),
    ("kind", "", "what the file is, where its names and shapes do not tell: blazepose, movenet, rtmpose"),
    ("detector", "", "an ONNX file that finds persons, asked where nobody is followed"),
    ("from", "", "an analyzer before this one in the list whose objects are the persons [default: the nearest]"),
    ("most", "1", "people at once, 1 to 16"),
    ("threshold", "0.5 (movenet 0.25, rtmpose 0.3)", "the least score of a person who is told and followed, 0.01 to 1"),
    ("follow", "true", "the crop follows a body from picture to picture; false: every picture for itself"),
    ("look", "0.5", "seconds between two looks for further people while fewer than most are followed, 0 to 60"),
    ("name", "pose", "where findings stand in a result"),
    ("processes", "1", "processes that share the sessions, 1 to 64"),
    ("timeout", "10", "seconds that one picture may take, 0.01 to 3600"),
    ("start_timeout", "60", "seconds that the models may take to load, 0.1 to 3600"),
    ("memory", "4096", "megabytes that a process may hold, 16 to 1048576"),
];

/// How a model's process is started; by the daemon, not by people.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What is looked for.
    #[arg(value_enum)]
    task: Task,
    /// ONNX Runtime's library, or its folder.
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "PATH")]
    onnxruntime: Option<PathBuf>,
    /// Bytes that this process may hold.
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Task {
    /// Objects.
    Detect,
    /// Body points.
    Pose,
}

/// What looks at pictures.
enum Looker {
    Detector(Box<Detector>),
    Poser(Box<Poser>),
}

/// One picture and what is known of it.
struct Look<'a> {
    view: View<'a>,
    /// Names the session.
    key: u64,
    /// Presentation time in seconds.
    time: f64,
    /// What the analyzer before found in it.
    given: Option<&'a Value>,
}

/// Answers the daemon's questions until there are none any more.
///
/// # Errors
/// If this process was not started by the daemon, or the daemon cannot be spoken with any more.
pub fn serve(options: &Options) -> anyhow::Result<()> {
    if let Some(most) = options.memory {
        // Where it cannot be had, the daemon looks at what this process holds every now and then.
        drop(rlimit::setrlimit(rlimit::Resource::DATA, most, most));
    }
    let mut channel = Channel::of_this_process()?;
    let Some(Question::Hello { format, memory, parameters }) = channel.next()? else {
        anyhow::bail!("the first line is no hello");
    };
    anyhow::ensure!(format == "rgb", "pictures are {format}, not rgb");
    let parameters: Parameters = parameters.into_iter().collect();
    let (mut looker, warning) = match Looker::load(options, &parameters) {
        Ok(loaded) => loaded,
        Err(error) => return channel.answer(&Answer::error(error)),
    };
    let pictures = view::Memory::of_this_process(memory)?;
    channel.answer(&Answer::ready(warning))?;
    while let Some(question) = channel.next()? {
        match question {
            Question::Frame { key, time, width, height, given } => {
                let answer = pictures
                    .view(width, height)
                    .and_then(|view| looker.look(&Look { view, key, time, given: given.as_ref() }));
                channel.answer(&answer.map_or_else(Answer::error, Answer::result))?;
            }
            Question::Finish { .. } => channel.answer(&Answer::default())?,
            Question::Forget { key } => looker.forget(key),
            Question::Start { .. } | Question::Hello { .. } => {}
        }
    }
    Ok(())
}

impl Looker {
    /// The models that are asked for, and what the operator should know of them.
    fn load(options: &Options, parameters: &Parameters) -> Result<(Self, Option<String>), String> {
        let runtime = Runtime::load(options.onnxruntime.as_deref())?;
        let looker = match options.task {
            Task::Detect => Self::Detector(Box::new(Detector::load(&runtime, parameters)?)),
            Task::Pose => Self::Poser(Box::new(Poser::load(&runtime, parameters)?)),
        };
        Ok((looker, runtime.warning()))
    }

    fn look(&mut self, look: &Look<'_>) -> Result<Value, String> {
        let (width, height) = (look.view.width(), look.view.height());
        match self {
            Self::Detector(detector) => {
                let objects = detector.detect(&look.view)?;
                let objects: Vec<_> = objects.iter().map(|object| object.to_json(detector.label(object))).collect();
                Ok(json!({ "size": [width, height], "objects": objects }))
            }
            Self::Poser(poser) => {
                let people: Vec<_> = poser.look(look)?.iter().map(pose::Body::to_json).collect();
                Ok(json!({ "size": [width, height], "people": people }))
            }
        }
    }

    fn forget(&mut self, key: u64) {
        if let Self::Poser(poser) = self {
            poser.forget(key);
        }
    }
}
