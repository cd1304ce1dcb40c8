//! Networks that find objects.

use std::path::Path;

use super::{
    kind::{self, Kind},
    letterbox::{Canvas, Letterbox},
    object::{Object, strongest},
    runtime::{Network, Outputs, Runtime},
    view::View,
};
use crate::analysis::Parameters;

mod coco;
mod ultraface;
mod yolox;
mod yunet;

/// Finds objects in pictures.
pub(super) struct Detector {
    network: Network,
    letterbox: Letterbox,
    decoder: Box<dyn Decode>,
    labels: Vec<String>,
    /// Which classes are told.
    told: Vec<bool>,
    threshold: f32,
    overlap: f32,
}

/// What is known of a kind of network.
trait Decode {
    /// What it sees.
    fn canvas(&self) -> Canvas;

    /// Its outputs.
    fn outputs(&self) -> Vec<&str>;

    /// Names of its classes.
    fn labels(&self) -> Vec<String>;

    /// The least score of what is told, and the most overlap of two objects, unless somebody says otherwise.
    fn defaults(&self) -> (f32, f32);

    /// What it found, in pixels of the canvas, with at least this score.
    fn decode(&self, outputs: &Outputs<'_>, threshold: f32) -> Result<Vec<Object>, String>;

    /// Refuses a network whose answer to a gray picture shows that it is another one.
    fn check(&self, _: &Outputs<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// Says whether a network is of its kind, with the side of the square that it is given if its size is free: `None`, or
/// what decodes it.
type Recognise = fn(&Network, Option<i64>) -> Option<Box<dyn Decode>>;

/// Every kind that there is.
const KINDS: &[Kind<Recognise>] = &[
    Kind {
        name: "yolox",
        recognise: yolox::recognise,
        form: "has one output [1, boxes, 5 + classes] at strides 8, 16, 32",
    },
    Kind {
        name: "yunet",
        recognise: yunet::recognise,
        form: "has cls_8, obj_8, bbox_8, kps_8 and the same at 16 and 32",
    },
    Kind {
        name: "ultraface",
        recognise: ultraface::recognise,
        form: "has scores [1, boxes, 2] and boxes [1, boxes, 4]",
    },
];

impl Detector {
    /// The detector that parameters describe.
    pub(super) fn load(runtime: &Runtime, parameters: &Parameters) -> Result<Self, String> {
        let path = parameters.text("model").ok_or("needs a model, as in detect:model=FILE.onnx")?;
        let mut detector = Self::of_file(runtime, Path::new(path), parameters)?;
        if let Some(file) = parameters.text("labels") {
            detector.rename(file)?;
        }
        if let Some(only) = parameters.text("only") {
            detector.tell_only(&only.split('+').collect::<Vec<_>>())?;
        }
        Ok(detector)
    }

    /// The detector in a file that tells persons and nothing else.
    pub(super) fn of_persons(runtime: &Runtime, path: &Path) -> Result<Self, String> {
        let mut detector = Self::of_file(runtime, path, &Parameters::default())?;
        detector.tell_only(&["person"]).map_err(|problem| format!("detector={}: {problem}", path.display()))?;
        // A body that lies is found with less certainty; what is no body has no clear body points either.
        detector.threshold = 0.25;
        Ok(detector)
    }

    fn of_file(runtime: &Runtime, path: &Path, parameters: &Parameters) -> Result<Self, String> {
        let network = runtime.network(path)?;
        let side = match parameters.text("size") {
            Some(_) => Some(parameters.number("size", 0, 32..=4096)?),
            None => None,
        };
        if let Some(side) = side.filter(|side| side % 32 != 0) {
            return Err(format!("size={side} is no multiple of 32"));
        }
        let wanted = parameters.text("kind");
        let decoder = kind::recognise(("detector", KINDS), &network, wanted, |recognise| recognise(&network, side))
            .map_err(|problem| format!("{}: {problem}", path.display()))?;
        let Canvas { width, height, .. } = decoder.canvas();
        if let Some(side) = side.filter(|side| [width, height].into_iter().any(|given| i64::from(given) != *side)) {
            return Err(format!("size={side} is for a model of any size; this one takes {width}x{height}"));
        }
        let (threshold, overlap) = decoder.defaults();
        let labels = decoder.labels();
        let mut detector = Self {
            letterbox: Letterbox::new(decoder.canvas()),
            told: vec![true; labels.len()],
            threshold: parameters.number("threshold", threshold, 0.01..=1.0)?,
            overlap: parameters.number("overlap", overlap, 0.0..=1.0)?,
            labels,
            network,
            decoder,
        };
        detector.try_out()?;
        Ok(detector)
    }

    /// Looks at a gray picture, so that what cannot run is known before there is a session.
    fn try_out(&mut self) -> Result<(), String> {
        let Canvas { width, height, normal: (mean, deviation), .. } = *self.letterbox.canvas();
        let gray = vec![(114.0 - mean) / deviation; 3 * width as usize * height as usize];
        let shape = [1, 3, i64::from(height), i64::from(width)];
        let outputs = self.network.run(&shape, &gray, &self.decoder.outputs())?;
        self.decoder.check(&outputs)?;
        self.decoder.decode(&outputs, self.threshold).map(drop)
    }

    /// What is in a picture, the surest first.
    pub(super) fn detect(&mut self, view: &View<'_>) -> Result<Vec<Object>, String> {
        let Canvas { width, height, .. } = *self.letterbox.canvas();
        let (numbers, scale) = self.letterbox.fill(view)?;
        let shape = [1, 3, i64::from(height), i64::from(width)];
        let outputs = self.network.run(&shape, numbers, &self.decoder.outputs())?;
        let mut objects = self.decoder.decode(&outputs, self.threshold)?;
        objects.retain(|object| self.told.get(object.class).is_some_and(|told| *told));
        for object in &mut objects {
            let places = object.rect.chunks_exact_mut(2).chain(object.points.iter_mut().map(<[f32; 2]>::as_mut_slice));
            for place in places {
                place[0] /= scale[0];
                place[1] /= scale[1];
            }
        }
        Ok(strongest(objects, self.overlap))
    }

    /// What an object is called.
    pub(super) fn label(&self, object: &Object) -> &str {
        self.labels.get(object.class).map_or("", String::as_str)
    }

    /// Takes the classes' names from a file.
    fn rename(&mut self, file: &str) -> Result<(), String> {
        let text = std::fs::read_to_string(file).map_err(|error| format!("labels={file} cannot be read: {error}"))?;
        let labels: Vec<_> = text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
        if labels.len() != self.labels.len() {
            let (there, wanted) = (labels.len(), self.labels.len());
            return Err(format!("labels={file} has {there} names, but the model has {wanted} classes"));
        }
        self.labels = labels;
        Ok(())
    }

    fn tell_only(&mut self, only: &[&str]) -> Result<(), String> {
        self.told = self.labels.iter().map(|label| only.contains(&label.as_str())).collect();
        match only.iter().find(|name| !self.labels.iter().any(|label| label == *name)) {
            Some(name) => Err(format!("the model knows no '{name}'; it knows {}", self.labels.join(", "))),
            None => Ok(()),
        }
    }
}

/// Width and height of a network that takes three planes of 32-bit numbers; `side` where they are free.
fn planes(network: &Network, side: i64) -> Option<(u32, u32)> {
    use super::runtime::Element;
    let input = network.input();
    let &[-1..=1, 3, height, width] = input.shape.as_slice() else { return None };
    let length = |length: i64| if length < 0 { side } else { length };
    let usable = |length: i64| u32::try_from(length).ok().filter(|length| (8..=4096).contains(length));
    (input.element == Element::Float).then_some(())?;
    Some((usable(length(width))?, usable(length(height))?))
}

/// Whether a shape is that of `expected`, where -1 on either side is any length.
fn fits(shape: &[i64], expected: &[i64]) -> bool {
    let alike = |(one, other): (&i64, &i64)| *one < 0 || *other < 0 || one == other;
    shape.len() == expected.len() && shape.iter().zip(expected).all(alike)
}
