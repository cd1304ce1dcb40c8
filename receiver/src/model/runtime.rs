//! ONNX Runtime, and the networks that it runs.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{HasSelectedOutputs, OutputSelector, RunOptions, Session, SessionOutputs},
    value::{Outlet, TensorElementType, TensorRef, ValueType},
};

use super::graph;

/// The largest file that is read.
const MAX_FILE: u64 = 2 << 30;
#[cfg(target_os = "macos")]
const LIBRARY: &str = "libonnxruntime.dylib";
#[cfg(not(target_os = "macos"))]
const LIBRARY: &str = "libonnxruntime.so";
/// What to do when there is no library.
const ADVICE: &str = "`scripts/setup.sh models` fetches it, --onnxruntime PATH or ORT_DYLIB_PATH names it";
/// What to do when a model fails for want of memory.
const MORE_MEMORY: &str = "memory= grants more";

/// The loaded library.
pub(super) struct Runtime {
    environment: Environment,
    /// What the operator should know of the models.
    warnings: RefCell<Vec<String>>,
}

/// A network: pictures as numbers in, numbers out.
pub(super) struct Network {
    session: Session,
    input: Port,
    outputs: Vec<Port>,
    /// Which outputs were asked for, and how that is said.
    choices: Vec<(Vec<String>, RunOptions<HasSelectedOutputs>)>,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Its name.
    pub(super) name: String,
    /// What its numbers are.
    pub(super) element: Element,
    /// Its shape; -1 is any length.
    pub(super) shape: Vec<i64>,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// 32 bits, floating.
    Float,
    /// 32 bits, whole.
    Integer,
    /// 8 bits.
    Byte,
    /// Anything else.
    Other,
}

/// What a network says.
pub(super) struct Outputs<'a>(SessionOutputs<'a>);

/// An output's shape and its numbers, the last dimension running fastest.
pub(super) type Floats<'a> = (&'a [i64], &'a [f32]);

impl Runtime {
    /// Loads the library at `path`, or in that folder; without one beside this program, or wherever the system looks.
    pub(super) fn load(path: Option<&Path>) -> Result<Self, String> {
        let library = match path {
            Some(folder) if folder.is_dir() => inside(folder)
                .ok_or_else(|| format!("there is no {LIBRARY} in {}; --onnxruntime names another", folder.display()))?,
            Some(file) if !file.exists() => {
                return Err(format!("ONNX Runtime cannot be loaded: there is no {}; {ADVICE}", file.display()));
            }
            Some(file) => std::path::absolute(file).unwrap_or_else(|_| file.to_owned()),
            None => beside_this_program().unwrap_or_else(|| LIBRARY.into()),
        };
        let environment = ort::init_from(&library)
            .map_err(|error| format!("ONNX Runtime cannot be loaded ({error}); {ADVICE}"))?
            .with_name("cv-receiver")
            .with_telemetry(false)
            .build()
            .map_err(|error| format!("ONNX Runtime does not start: {}", sentence(&error)))?;
        environment.set_log_level(LogLevel::Error);
        Ok(Self { environment, warnings: RefCell::default() })
    }

    /// What the operator should know of the models that were loaded.
    pub(super) fn warning(&self) -> Option<String> {
        let warnings = self.warnings.borrow();
        (!warnings.is_empty()).then(|| warnings.join("; "))
    }

    /// The network in a file.
    pub(super) fn network(&self, path: &Path) -> Result<Network, String> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let session = self.session(path).map_err(|error| format!("{name} cannot be used: {error}"))?;
        if let Some(licence) = agpl(&session) {
            self.warnings.borrow_mut().push(format!(
                "{name} says that its licence is {licence}: who offers it over a network has to publish the source of \
                 all that works with it"
            ));
        }
        let [input] = session.inputs() else {
            return Err(format!("{name} has {} inputs, a picture is one", session.inputs().len()));
        };
        let input = Port::new(input);
        let outputs = session.outputs().iter().map(Port::new).collect();
        Ok(Network { session, input, outputs, choices: Vec::new() })
    }

    fn session(&self, path: &Path) -> Result<Session, String> {
        let told = |error: ort::Error| sentence(&error);
        let metadata = path.metadata().map_err(|error| error.to_string())?;
        if metadata.len() > MAX_FILE {
            return Err(format!("it has more than {} GB", MAX_FILE >> 30));
        }
        let file = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::OutOfMemory => format!("{error}; {MORE_MEMORY}"),
            _other => error.to_string(),
        })?;
        // One thread for each session: several sessions share the processors better than one that waits for itself.
        let mut builder = Session::builder(&self.environment)
            .and_then(|builder| Ok(builder.with_intra_threads(1)?.with_inter_threads(1)?))
            .and_then(|builder| Ok(builder.with_intra_op_spinning(false)?.with_inter_op_spinning(false)?))
            .map_err(told)?;
        match graph::without_weights_as_inputs(&file) {
            Some(rewritten) => builder.commit_from_memory(&rewritten).map_err(told),
            // From its file, beside which weights may lie.
            None => builder.commit_from_file(path).map_err(told),
        }
    }
}

/// The library in a folder, whatever version its name carries.
fn inside(folder: &Path) -> Option<PathBuf> {
    let stem = LIBRARY.split('.').next().unwrap_or(LIBRARY);
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('.'))
    };
    let mut found: Vec<_> = folder.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(is_library);
    // Of several versions the newest; what is no number in a name counts as nothing.
    found.sort_by_cached_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version: Vec<u32> = name.split('.').filter_map(|part| part.parse().ok()).collect();
        (version, name)
    });
    found.pop()
}

fn beside_this_program() -> Option<PathBuf> {
    inside(std::env::current_exe().ok()?.parent()?)
}

/// The first line of what ONNX Runtime says, which goes on with places in its source.
fn sentence(error: &ort::Error) -> String {
    let text = error.to_string();
    let line: String = text.lines().next().unwrap_or_default().chars().take(300).collect();
    let wants_memory = ["bad_alloc", "Failed to allocate memory"].iter().any(|sign| text.contains(sign));
    if wants_memory { format!("{line}; {MORE_MEMORY}") } else { line }
}

/// The licence that a model names, if that is an AGPL.
fn agpl(session: &Session) -> Option<String> {
    let metadata = session.metadata().ok()?;
    let said = metadata.custom_keys().unwrap_or_default().into_iter().filter_map(|key| metadata.custom(&key));
    let mut said = said.chain(metadata.description());
    said.find(|text| text.to_ascii_uppercase().contains("AGPL")).map(|text| text.chars().take(80).collect())
}

impl Port {
    fn new(outlet: &Outlet) -> Self {
        let (element, shape) = match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => (Element::of(*ty), shape.to_vec()),
            _ => (Element::Other, Vec::new()),
        };
        Self { name: outlet.name().to_owned(), element, shape }
    }
}

impl Element {
    fn of(element: TensorElementType) -> Self {
        match element {
            TensorElementType::Float32 => Self::Float,
            TensorElementType::Int32 => Self::Integer,
            TensorElementType::Uint8 => Self::Byte,
            _ => Self::Other,
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.name, self.shape)
    }
}

impl Network {
    /// What it takes.
    pub(super) fn input(&self) -> &Port {
        &self.input
    }

    /// The output of this name.
    pub(super) fn output(&self, name: &str) -> Option<&Port> {
        self.outputs.iter().find(|port| port.name == name)
    }

    /// What it gives.
    pub(super) fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// What people need to know to tell what it is.
    pub(super) fn describe(&self) -> String {
        let outputs: Vec<_> = self.outputs.iter().map(ToString::to_string).collect();
        format!("it takes {} and gives {}", self.input, outputs.join(", "))
    }

    /// Runs it on `numbers` in the form of `shape`; of its outputs those `wanted` are computed.
    pub(super) fn run(&mut self, shape: &[i64], numbers: &[f32], wanted: &[&str]) -> Result<Outputs<'_>, String> {
        let told = |error: ort::Error| format!("the model fails: {}", sentence(&error));
        let choice = self.choice(wanted).map_err(told)?;
        let options = &self.choices[choice].1;
        let name = self.input.name.as_str();
        let ran = match self.input.element {
            Element::Float => {
                let tensor = TensorRef::from_array_view((shape, numbers)).map_err(told)?;
                self.session.run_with_options(ort::inputs![name => tensor], options)
            }
            Element::Integer => {
                let numbers: Vec<i32> = numbers.iter().map(|number| *number as i32).collect();
                let tensor = TensorRef::from_array_view((shape, numbers.as_slice())).map_err(told)?;
                self.session.run_with_options(ort::inputs![name => tensor], options)
            }
            Element::Byte => {
                let numbers: Vec<u8> = numbers.iter().map(|number| *number as u8).collect();
                let tensor = TensorRef::from_array_view((shape, numbers.as_slice())).map_err(told)?;
                self.session.run_with_options(ort::inputs![name => tensor], options)
            }
            Element::Other => return Err("the model takes numbers that no picture is made of".into()),
        };
        ran.map(Outputs).map_err(told)
    }

    /// The place of the choice of those outputs.
    fn choice(&mut self, wanted: &[&str]) -> ort::Result<usize> {
        if let Some(known) = self.choices.iter().position(|(names, _)| names == wanted) {
            return Ok(known);
        }
        let selector = wanted.iter().fold(OutputSelector::no_default(), |selector, name| selector.with(*name));
        let names = wanted.iter().map(|name| (*name).to_owned()).collect();
        self.choices.push((names, RunOptions::new()?.with_outputs(selector)));
        Ok(self.choices.len() - 1)
    }
}

impl Outputs<'_> {
    /// The output of this name.
    pub(super) fn floats(&self, name: &str) -> Result<Floats<'_>, String> {
        let value = self.0.get(name).ok_or_else(|| format!("the model did not give {name}"))?;
        let (shape, numbers) = value
            .try_extract_tensor::<f32>()
            .map_err(|_other_element| format!("the model's {name} are not 32-bit floating numbers"))?;
        Ok((shape, numbers))
    }
}
