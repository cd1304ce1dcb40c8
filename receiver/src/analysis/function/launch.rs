//! How a process is started.

use std::{
    collections::BTreeMap,
    env, io,
    io::Write,
    os::fd::{AsFd, OwnedFd},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use command_fds::{CommandFdExt, FdMapping};

use super::{DETECT, Parameters, Setup, memory::Format};
use crate::model;

/// What turns a Python function into a program that speaks the protocol.
const BRIDGE: &str = include_str!("bridge.py");

/// The descriptors that a process has beside the usual ones.
const SOCKET: i32 = 3;
const MEMORY: i32 = 4;

/// Everything there is to know to start a process.
pub(super) struct Launch {
    pub(super) kind: Kind,
    pub(super) format: Format,
    /// How long the start may take.
    pub(super) start_timeout: Duration,
    /// Bytes that the process may hold.
    pub(super) memory: u64,
    /// What is passed on.
    pub(super) parameters: BTreeMap<String, String>,
    /// Whether a file that has changed is loaded anew.
    pub(super) reload: bool,
}

/// What is run.
#[derive(Debug)]
pub(super) enum Kind {
    /// A function of a Python file or module.
    Python { interpreter: PathBuf, source: String, function: String },
    /// A program with its arguments.
    Program { path: PathBuf, arguments: Vec<String> },
    /// This program, with a model.
    Model { task: &'static str, program: PathBuf, model: PathBuf, library: Option<PathBuf>, memory: u64 },
}

impl Kind {
    pub(super) fn new(kind: &str, target: &str, setup: &Setup) -> Result<Self, String> {
        if kind == "program" {
            let mut words = target.split_whitespace().map(str::to_owned);
            let path = words.next().ok_or("write program:PATH, for example program:./analyzer")?;
            return Ok(Self::Program { path: path.into(), arguments: words.collect() });
        }
        let usable = target.rsplit_once(':').filter(|(source, function)| !source.is_empty() && !function.is_empty());
        let (source, function) = usable
            .ok_or("write python:FILE.py:FUNCTION or python:MODULE:FUNCTION, for example python:clip.py:analyze")?;
        if is_file(source) && !Path::new(source).is_file() {
            return Err(format!("there is no file {source}"));
        }
        Ok(Self::Python { interpreter: interpreter(setup), source: source.into(), function: function.into() })
    }

    pub(super) fn model(task: &'static str, parameters: &Parameters, setup: &Setup) -> Result<Self, String> {
        let known = if task == DETECT { model::DETECT } else { model::POSE };
        if let Some(key) = parameters.unknown(known) {
            let known: Vec<_> = known.iter().map(|(name, ..)| *name).collect();
            return Err(format!("has no parameter '{key}'; it takes {}", known.join(", ")));
        }
        let model = PathBuf::from(match parameters.text("model") {
            Some(file) => file,
            None if setup.asleep => "",
            None => return Err(format!("needs a model, as in {task}:model=FILE.onnx")),
        });
        if !setup.asleep && !model.is_file() {
            return Err(format!("there is no file {}", model.display()));
        }
        let program = match &setup.program {
            Some(program) => program.clone(),
            None => env::current_exe().map_err(|error| format!("this program cannot be found again: {error}"))?,
        };
        let memory = super::memory_of(parameters)?;
        Ok(Self::Model { task, program, model, library: setup.onnxruntime.clone(), memory })
    }

    /// Whether findings depend on their pictures alone.
    pub(super) fn is_pure(&self, parameters: &Parameters) -> Result<bool, String> {
        match self {
            Self::Python { .. } | Self::Program { .. } => parameters.flag("extract", false),
            Self::Model { task, .. } if *task == DETECT => Ok(true),
            // The crop around a body follows it from picture to picture.
            Self::Model { .. } => parameters.flag("follow", true).map(|follow| !follow),
        }
    }

    /// What findings are called unless somebody says otherwise.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Python { function, .. } => function.clone(),
            Self::Program { path, .. } => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            Self::Model { task, .. } => (*task).to_owned(),
        }
    }

    /// How people know it.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Python { source, function, .. } => format!("{source}:{function}"),
            Self::Program { path, .. } | Self::Model { model: path, .. } => path.display().to_string(),
        }
    }

    /// The files of the code, as far as they are known before it runs.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Python { source, .. } if is_file(source) => vec![source.into()],
            Self::Python { .. } => Vec::new(),
            Self::Program { path, .. } | Self::Model { model: path, .. } => vec![path.clone()],
        }
    }

    fn command(&self) -> Command {
        match self {
            Self::Python { interpreter, source, function } => {
                let mut command = Command::new(interpreter);
                // The bridge comes over stdin, so that nothing needs to be installed beside us.
                command.args(["-", source, function]).stdin(Stdio::piped());
                command
            }
            Self::Program { path, arguments } => {
                let mut command = Command::new(path);
                command.args(arguments).stdin(Stdio::null());
                command
            }
            Self::Model { task, program, library, memory, .. } => {
                let mut command = Command::new(program);
                command.args(["model", task, "--memory"]).arg(memory.to_string());
                if let Some(library) = library {
                    command.arg("--onnxruntime").arg(library);
                }
                command
            }
        }
    }

    /// Starts it with its ends of the socket and the memory. What it prints goes to our log.
    pub(super) fn spawn(&self, socket: UnixStream, memory: OwnedFd) -> Result<Child, String> {
        let mut command = self.command();
        if let Self::Model { .. } = self {
            // The way to a socket that needs no promise about descriptors.
            let cannot = |error| format!("a socket cannot be shared: {error}");
            command.stdin(OwnedFd::from(socket.try_clone().map_err(cannot)?));
        }
        let descriptors = vec![
            FdMapping { parent_fd: socket.into(), child_fd: SOCKET },
            FdMapping { parent_fd: memory, child_fd: MEMORY },
        ];
        let program = command.get_program().to_string_lossy().into_owned();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!("there is no program {program}{}", self.advice()),
            _ => format!("cannot start {program}: {error}"),
        };
        let log = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
        // A group of its own: a Ctrl-C is for us, and what it started ends with it if it has to be ended by force.
        command.stdout(log).process_group(0).fd_mappings(descriptors).map_err(|error| error.to_string())?;
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // An interpreter that ends at once says more in its exit status than a broken pipe does.
            drop(stdin.write_all(BRIDGE.as_bytes()));
        }
        Ok(child)
    }

    fn advice(&self) -> String {
        match self {
            Self::Python { .. } => "; --python names another interpreter".into(),
            // Without a folder it is looked for where the system keeps programs.
            Self::Program { path, .. } if path.components().count() == 1 && path.is_file() => {
                format!(" in the folders of PATH; for the file here write program:./{}", path.display())
            }
            Self::Program { .. } | Self::Model { .. } => String::new(),
        }
    }
}

/// Whether a Python source is a file, not a module.
fn is_file(source: &str) -> bool {
    Path::new(source).extension().is_some_and(|extension| extension == "py") || source.contains('/')
}

/// The interpreter asked for, else that of an active virtual environment, else the usual one.
fn interpreter(setup: &Setup) -> PathBuf {
    let active = || env::var_os("VIRTUAL_ENV").map(|folder| Path::new(&folder).join("bin/python3"));
    setup.python.clone().or_else(active).unwrap_or_else(|| "python3".into())
}
