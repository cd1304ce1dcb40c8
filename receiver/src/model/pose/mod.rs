//! Networks that find body points in a crop around a person.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::{
    Look,
    detector::Detector,
    kind::{self, Kind},
    object::overlap,
    region::{Layout, Region},
    runtime::{Network, Outputs, Runtime},
    view::View,
};
use crate::analysis::{Parameters, bounds::numbers, rounded};

mod blazepose;
mod movenet;
mod rtmpose;

/// Boxes that are looked into for each body that may be told: a crowd of posters shall not stop everybody else.
const PLACES: usize = 3;
/// Two bodies whose boxes share more than this are one, found twice.
const SAME: f32 = 0.5;

/// Finds body points, and follows bodies from picture to picture.
pub(super) struct Poser {
    network: Network,
    skeleton: Box<dyn Skeleton>,
    detector: Option<Detector>,
    most: usize,
    threshold: f32,
    follow: bool,
    /// Seconds between two looks for further people.
    look: f64,
    sessions: BTreeMap<u64, Followed>,
    eye: Eye,
}

/// The bodies of a session.
#[derive(Default)]
struct Followed {
    /// Where they are to be looked for in the next picture.
    regions: Vec<Region>,
    /// The picture's width and height.
    size: (u32, u32),
    /// When further people were looked for.
    looked: f64,
}

/// What is known of a kind of network.
trait Skeleton {
    /// What it sees.
    fn canvas(&self) -> Canvas;

    /// Its outputs that tell the points.
    fn outputs(&self) -> Vec<&str>;

    /// The least score of what is a person, unless somebody says otherwise.
    fn threshold(&self) -> f32;

    /// Where to look for the body in a box `[x, y, width, height]`, or in all of a picture.
    fn region(&self, place: Place) -> Region;

    /// The body that it saw in the picture of this index of those that it was given, the one in `region`.
    fn decode(&self, outputs: &Outputs<'_>, index: usize, region: &Region) -> Result<Body, String>;

    /// How a body may lie in a region when nobody knows yet.
    fn turns(&self) -> &[f32] {
        &[0.0]
    }

    /// The output that tells how clearly the body is seen, where there is one.
    fn evidence(&self) -> Option<&str> {
        None
    }

    /// How clearly that is.
    fn clarity(&self, _: &Outputs<'_>) -> Result<f32, String> {
        Ok(0.0)
    }
}

/// A network's own picture.
#[derive(Clone, Copy, Debug)]
struct Canvas {
    width: usize,
    height: usize,
    layout: Layout,
    /// What is taken off a sample of 0 to 255 of each colour.
    mean: [f32; 3],
    /// What the rest is divided by.
    deviation: [f32; 3],
}

/// What shows a network parts of pictures. Keeps its memory from picture to picture.
struct Eye {
    canvas: Canvas,
    numbers: Vec<f32>,
}

impl Eye {
    /// Shows a network what lies in some regions; of its outputs those `wanted` are computed.
    fn show<'a>(
        &mut self,
        network: &'a mut Network,
        view: &View<'_>,
        regions: &[Region],
        wanted: &[&str],
    ) -> Result<Outputs<'a>, String> {
        let Canvas { width, height, layout, mean, deviation } = self.canvas;
        let (count, [rows, columns]) = (regions.len() as i64, [height as i64, width as i64]);
        let shape = match layout {
            Layout::Packed => [count, rows, columns, 3],
            Layout::Planes => [count, 3, rows, columns],
        };
        let each = 3 * width * height;
        self.numbers.resize(each * regions.len(), 0.0);
        for (region, numbers) in regions.iter().zip(self.numbers.chunks_exact_mut(each)) {
            region.sample(view, (width, height, layout), (mean, deviation), numbers);
        }
        network.run(&shape, &self.numbers, wanted)
    }
}

/// Where somebody may be, `[x, y, width, height]` in pixels.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In the box of a person.
    Box([f32; 4]),
    /// Anywhere in the picture.
    Picture([f32; 4]),
}

/// A person's body, in pixels of the picture.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// How sure the model is that there is one, 0 to 1.
    score: f32,
    /// Around the points: left, top, width and height.
    rect: [f32; 4],
    /// The 17 of COCO: x, y, how sure the model is of it, 0 to 1.
    points: [[f32; 3]; 17],
    /// The model's own points, where it has others: its kind, and x, y, z, visibility and presence of each.
    native: Option<(&'static str, Vec<[f32; 5]>)>,
    /// Where it is to be looked for in the next picture.
    next: Option<Region>,
}

impl Body {
    /// The form in findings.
    pub(super) fn to_json(&self) -> Value {
        let place = |value: f32| rounded(f64::from(value), 2);
        let share = |value: f32| rounded(f64::from(value), 3);
        let points: Vec<_> = self.points.iter().map(|[x, y, sure]| [place(*x), place(*y), share(*sure)]).collect();
        let mut body =
            json!({ "score": rounded(f64::from(self.score), 4), "box": self.rect.map(place), "points": points });
        if let Some((kind, points)) = &self.native {
            let point =
                |[x, y, z, seen, there]: &[f32; 5]| [place(*x), place(*y), place(*z), share(*seen), share(*there)];
            body["native"] = json!({ "kind": kind, "points": points.iter().map(point).collect::<Vec<_>>() });
        }
        body
    }

    fn is_real(&self) -> bool {
        let native = self.native.iter().flat_map(|(_, points)| points.as_flattened());
        let mut places = self.rect.iter().chain(self.points.as_flattened()).chain(native);
        (0.0..=1.0).contains(&self.score) && places.all(|value| value.abs() < 1e6)
    }
}

/// The smallest rectangle around some points.
fn around(points: impl Iterator<Item = [f32; 2]>) -> [f32; 4] {
    let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
    for point in points {
        for axis in [0, 1] {
            low[axis] = low[axis].min(point[axis]);
            high[axis] = high[axis].max(point[axis]);
        }
    }
    if low[0] > high[0] { [0.0; 4] } else { [low[0], low[1], high[0] - low[0], high[1] - low[1]] }
}

/// Says whether a network is of its kind: `None`, or what decodes it.
type Recognise = fn(&Network) -> Option<Box<dyn Skeleton>>;

/// Every kind that there is.
const KINDS: &[Kind<Recognise>] = &[
    Kind {
        name: "blazepose",
        recognise: blazepose::recognise,
        form: "takes [1, 256, 256, 3] and gives [1, 195] and [1, 1]",
    },
    Kind { name: "movenet", recognise: movenet::recognise, form: "takes [1, side, side, 3] and gives [1, 1, 17, 3]" },
    Kind {
        name: "rtmpose",
        recognise: rtmpose::recognise,
        form: "takes [n, 3, height, width] and gives simcc_x and simcc_y [n, 17, bins]",
    },
];

impl Poser {
    /// What parameters describe.
    pub(super) fn load(runtime: &Runtime, parameters: &Parameters) -> Result<Self, String> {
        let path = Path::new(parameters.text("model").ok_or("needs a model, as in pose:model=FILE.onnx")?);
        let network = runtime.network(path)?;
        let wanted = parameters.text("kind");
        let skeleton = kind::recognise(("pose model", KINDS), &network, wanted, |recognise| recognise(&network))
            .map_err(|problem| format!("{}: {problem}", path.display()))?;
        let detector = parameters.text("detector").map(|path| Detector::of_persons(runtime, Path::new(path)));
        let mut poser = Self {
            detector: detector.transpose()?,
            most: parameters.number("most", 1, 1..=16)?,
            threshold: parameters.number("threshold", skeleton.threshold(), 0.01..=1.0)?,
            follow: parameters.flag("follow", true)?,
            look: parameters.number("look", 0.5, 0.0..=60.0)?,
            sessions: BTreeMap::new(),
            eye: Eye { canvas: skeleton.canvas(), numbers: Vec::new() },
            network,
            skeleton,
        };
        // What cannot run is to be known before there is a session.
        let black = [0; 3 * 64 * 64];
        let view = View::of(64, 64, &black);
        poser.begin(&view, Place::Picture([0.0, 0.0, 64.0, 64.0]))?;
        Ok(poser)
    }

    /// The people in a picture: those of the last one first.
    pub(super) fn look(&mut self, look: &Look<'_>) -> Result<Vec<Body>, String> {
        let size = (look.view.width(), look.view.height());
        let mut session =
            if self.follow { self.sessions.remove(&look.key).unwrap_or_default() } else { Followed::default() };
        if session.size != size {
            session = Followed { size, looked: f64::NEG_INFINITY, ..Followed::default() };
        }
        let mut bodies = Vec::new();
        for body in self.see(&look.view, &session.regions)? {
            self.add(&mut bodies, body);
        }
        let is_due = !(look.time >= session.looked && look.time < session.looked + self.look);
        if bodies.is_empty() || bodies.len() < self.most && is_due {
            session.looked = look.time;
            for place in self.places(look, bodies.is_empty())?.into_iter().take(PLACES * self.most) {
                if bodies.len() >= self.most {
                    break;
                }
                let is_known = |body: &Body| matches!(place, Place::Box(rect) if overlap(&body.rect, &rect) > SAME);
                if !bodies.iter().any(is_known)
                    && let Some(body) = self.begin(&look.view, place)?
                {
                    self.add(&mut bodies, body);
                }
            }
        }
        if self.follow {
            session.regions = bodies.iter().filter_map(|body| body.next).collect();
            self.sessions.insert(look.key, session);
        }
        Ok(bodies)
    }

    /// Forgets the bodies of a session.
    pub(super) fn forget(&mut self, key: u64) {
        self.sessions.remove(&key);
    }

    /// Adds a body that is one, and none of those that are known.
    fn add(&self, bodies: &mut Vec<Body>, body: Body) {
        let is_new = bodies.iter().all(|known| overlap(&known.rect, &body.rect) <= SAME);
        if bodies.len() < self.most && body.is_real() && body.score >= self.threshold && is_new {
            bodies.push(body);
        }
    }

    /// Where somebody may be who is not followed.
    fn places(&mut self, look: &Look<'_>, nobody: bool) -> Result<Vec<Place>, String> {
        if let Some(detector) = &mut self.detector {
            let persons = detector.detect(&look.view)?;
            return Ok(persons.iter().map(|person| Place::Box(person.rect)).collect());
        }
        if let Some(given) = look.given {
            return Ok(persons(given)?.into_iter().map(Place::Box).collect());
        }
        let (width, height) = (look.view.width() as f32, look.view.height() as f32);
        Ok(if nobody { vec![Place::Picture([0.0, 0.0, width, height])] } else { Vec::new() })
    }

    /// The body in a place where nobody was followed: as it is seen most clearly, and then once more in its own crop.
    fn begin(&mut self, view: &View<'_>, place: Place) -> Result<Option<Body>, String> {
        let region = self.skeleton.region(place);
        let mut best: Option<(f32, Body)> = None;
        for turn in self.skeleton.turns().to_vec() {
            let (clarity, body) = self.judge(view, &region.turned(turn))?;
            if best.as_ref().is_none_or(|(known, _)| clarity > *known) {
                best = Some((clarity, body));
            }
        }
        let Some((_, body)) = best else { return Ok(None) };
        match body.next.filter(|_| self.skeleton.evidence().is_some()) {
            Some(own) => Ok(self.see(view, &[own])?.pop()),
            None => Ok(Some(body)),
        }
    }

    /// The body in a region, and how clearly it is seen.
    fn judge(&mut self, view: &View<'_>, region: &Region) -> Result<(f32, Body), String> {
        let mut wanted = self.skeleton.outputs();
        wanted.extend(self.skeleton.evidence());
        let outputs = self.eye.show(&mut self.network, view, &[*region], &wanted)?;
        Ok((self.skeleton.clarity(&outputs)?, self.skeleton.decode(&outputs, 0, region)?))
    }

    /// The bodies in some regions: all at once where the network takes several pictures.
    fn see(&mut self, view: &View<'_>, regions: &[Region]) -> Result<Vec<Body>, String> {
        let usable: Vec<_> = regions.iter().filter(|region| region.is_usable()).copied().collect();
        let at_once = if self.network.input().shape[0] < 0 { usable.len().max(1) } else { 1 };
        let mut bodies = Vec::with_capacity(usable.len());
        for regions in usable.chunks(at_once) {
            let wanted = self.skeleton.outputs();
            let outputs = self.eye.show(&mut self.network, view, regions, &wanted)?;
            for (index, region) in regions.iter().enumerate() {
                bodies.push(self.skeleton.decode(&outputs, index, region)?);
            }
        }
        Ok(bodies)
    }
}

/// The boxes of the persons that another analyzer found, the surest first; none where it found nothing.
fn persons(finding: &Value) -> Result<Vec<[f32; 4]>, String> {
    let objects = match (finding, &finding["objects"]) {
        (Value::Null, _) => return Ok(Vec::new()),
        (_, Value::Array(objects)) => objects,
        _ => return Err("pose builds on objects as detect finds them, but there are no objects".into()),
    };
    let is_person = |object: &&Value| object["label"] == "person";
    let rect = |object: &Value| Some(numbers::<4>(&object["box"])?.map(|side| side as f32));
    let rects: Option<_> = objects.iter().filter(is_person).map(rect).collect();
    rects.ok_or_else(|| "a person has no box of four numbers, which pose needs of detect".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persons_are_taken_out_of_a_finding_and_nonsense_is_told() {
        let finding = json!({"objects": [{"label": "dog"}, 7, {"label": "person", "box": [1, 2, 3, 4.5]}]});
        assert_eq!(persons(&finding).unwrap(), [[1.0, 2.0, 3.0, 4.5]]);
        assert!(persons(&json!(null)).unwrap().is_empty());
        let malformed = [json!({"label": "person"}), json!({"label": "person", "box": [1, 2, "3", 4]})];
        for object in malformed {
            assert!(persons(&json!({"objects": [object]})).unwrap_err().contains("no box of four numbers"));
        }
        for nonsense in [json!([]), json!({"objects": 3}), json!(7)] {
            assert!(persons(&nonsense).unwrap_err().contains("there are no objects"), "{nonsense}");
        }
    }

    #[test]
    fn a_rectangle_lies_around_its_points() {
        assert_eq!(around([[3.0, 1.0], [1.0, 5.0]].into_iter()), [1.0, 1.0, 2.0, 4.0]);
        assert_eq!(around(std::iter::empty()), [0.0; 4]);
    }
}
