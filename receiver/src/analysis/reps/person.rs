//! The people in a finding of `pose`, and which of them is the one that exercises.

use serde_json::Value;

use crate::analysis::bounds::numbers;

/// COCO's points of a body.
const POINTS: usize = 17;

/// Pixels beyond which nothing lies: pictures are far smaller, and squares of it stay finite.
const FARTHEST: f64 = 1e6;

/// People of a picture that are looked at.
const MOST: usize = 64;

/// Seconds without the person after which somebody else may be the one.
const PATIENCE: f64 = 1.0;

/// How far the person can be from where it was last seen, in sizes of its box.
const REACH: f64 = 0.6;

/// A place in the picture in pixels, y downwards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
}

impl Point {
    pub(super) fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    pub(super) fn middle(self, other: Self) -> Self {
        Self { x: f64::midpoint(self.x, other.x), y: f64::midpoint(self.y, other.y) }
    }
}

/// The person's own left or right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Left, Self::Right];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// A joint that there is on either side; the number is the left one's place among COCO's points.
#[derive(Clone, Copy, Debug)]
pub(super) enum Joint {
    Shoulder = 5,
    Elbow = 7,
    Wrist = 9,
    Hip = 11,
    Knee = 13,
    Ankle = 15,
}

/// One person in one picture.
#[derive(Clone, Debug)]
pub(super) struct Person {
    score: f64,
    /// Left, top, width, height.
    bounds: [f64; 4],
    /// Places with confidence, 0 to 1.
    points: [(Point, f64); POINTS],
}

impl Person {
    pub(super) fn at(&self, joint: Joint, side: Side) -> Point {
        self.points[joint as usize + side as usize].0
    }

    /// How certain `joint` is, 0 to 1.
    pub(super) fn confidence(&self, joint: Joint, side: Side) -> f64 {
        self.points[joint as usize + side as usize].1
    }

    fn centre(&self) -> Point {
        let [left, top, width, height] = self.bounds;
        Point { x: left + width / 2.0, y: top + height / 2.0 }
    }

    fn size(&self) -> f64 {
        self.bounds[2].max(self.bounds[3])
    }
}

/// The people in a finding of `pose`.
pub(super) fn people(finding: &Value) -> Result<Vec<Person>, String> {
    let Some(Value::Array(people)) = finding.get("people") else {
        return Err("reps needs people with their points; it follows pose, as in pose,reps:exercise=squat".into());
    };
    let people = people.iter().take(MOST).enumerate();
    people.map(|(index, value)| person(value).ok_or_else(|| refusal(index))).collect()
}

fn refusal(index: usize) -> String {
    format!("person {index} has no score, box and {POINTS} points of x, y and confidence, which reps needs of pose")
}

fn person(value: &Value) -> Option<Person> {
    let points = value.get("points")?.as_array()?.iter().map(point).collect::<Option<Vec<_>>>()?;
    Some(Person {
        score: value.get("score")?.as_f64()?,
        bounds: numbers(value.get("box")?)?.map(|number| number.clamp(-FARTHEST, FARTHEST)),
        points: points.try_into().ok()?,
    })
}

fn point(value: &Value) -> Option<(Point, f64)> {
    let [x, y, confidence] = numbers(value)?;
    let is_somewhere = x.abs() <= FARTHEST && y.abs() <= FARTHEST;
    Some(if is_somewhere { (Point { x, y }, confidence.clamp(0.0, 1.0)) } else { (Point::default(), 0.0) })
}

/// Stays with one person: the nearest to where it last was.
#[derive(Default)]
pub(super) struct Follower {
    last: Option<Last>,
}

struct Last {
    time: f64,
    centre: Point,
    size: f64,
}

impl Follower {
    /// The one among `people` at `time` seconds; `None` where it is not there. To begin with the largest.
    pub(super) fn follow(&mut self, time: f64, people: Vec<Person>) -> Option<Person> {
        let is_old = |last: &Last| (time - last.time).abs() > PATIENCE;
        self.last.take_if(|last| is_old(last));
        let person = match &self.last {
            Some(last) => {
                let far = |person: &Person| person.centre().distance(last.centre);
                let nearest = people.into_iter().min_by(|one, other| far(one).total_cmp(&far(other)))?;
                (far(&nearest) <= REACH * last.size.max(nearest.size())).then_some(nearest)?
            }
            None => {
                let worth = |person: &Person| person.score * person.size();
                people.into_iter().max_by(|one, other| worth(one).total_cmp(&worth(other)))?
            }
        };
        self.last = Some(Last { time, centre: person.centre(), size: person.size() });
        Some(person)
    }
}
