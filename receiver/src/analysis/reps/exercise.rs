//! What each exercise measures of a body, and when it cannot.

use super::{
    limb::{self, ARM, BODY, LEG, Seen, Weighed},
    person::{Joint, Person, Point, Side},
    swing::Levels,
};

/// The exercises that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exercise {
    Squat,
    Pushup,
    Lunge,
    ShoulderTap,
    Plank,
}

/// Their names as people write them.
pub(super) const NAMES: &[(&str, Exercise)] = &[
    ("squat", Exercise::Squat),
    ("pushup", Exercise::Pushup),
    ("lunge", Exercise::Lunge),
    ("shouldertap", Exercise::ShoulderTap),
    ("plank", Exercise::Plank),
];

/// Why nothing can be told of a picture.
pub(super) type Reason = &'static str;

/// What one picture says of a movement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    /// Compared with [`levels`].
    pub(super) value: f64,
    /// The angle that a person is told, in degrees.
    pub(super) angle: f64,
    /// The side that is seen, or that moves.
    pub(super) side: Option<Side>,
    /// 0 to 1.
    pub(super) confidence: f64,
    /// Whether it may be part of a bottom.
    pub(super) is_true: bool,
    /// What must stay where it is in a repetition, and a length to judge that by.
    pub(super) ground: Option<(Point, f64)>,
}

/// Thigh level enough and straight enough. Who squats down goes below 105 and stands above 165 in every view; where who lies
/// on the floor presses hastily, the arm reaches no more than 140.
const SQUAT: Levels = Levels { down: 120.0, up: 145.0, straight: 180.0 };
const PUSHUP: Levels = Levels { down: 110.0, up: 130.0, straight: 180.0 };
const LUNGE: Levels = Levels { down: 125.0, up: 150.0, straight: 180.0 };

/// From the wrist to the other shoulder, in lengths of an arm: a hand on the floor is at 1, one at the shoulder near 0.
const TAP: Levels = Levels { down: 0.45, up: 0.7, straight: 1.0 };

/// Share of the arm that a hand which bears the body is away from the other shoulder, at least.
const BEARS: f64 = 0.55;

/// What rises between shoulder and hip of who lies, in lengths of the torso, at most; and of who stands, at least.
const LIES: f64 = 0.6;
const STANDS: f64 = 0.3;

/// Lunges: by how much the knee behind is below the one in front, at least, and how upright the shank behind is, at most, in
/// lengths of the thigh. Who marches has a straight leg on the ground, who squats has both knees at one height.
const KNEELS: f64 = 0.25;
const SHANK: f64 = 0.75;

/// Shoulders are as wide as this share of the torso is long, from the front.
const BROAD: f64 = 0.8;

/// The levels of an exercise's movement.
pub(super) fn levels(exercise: Exercise) -> Levels {
    match exercise {
        Exercise::Squat => SQUAT,
        Exercise::Pushup => PUSHUP,
        Exercise::Lunge => LUNGE,
        Exercise::ShoulderTap | Exercise::Plank => TAP,
    }
}

/// Squats: both legs, of somebody upright whose feet stay.
pub(super) fn squat(person: &Person, least: f64) -> Result<Measure, Reason> {
    let legs = limb::both(person, LEG);
    let bend = limb::weigh(legs, least, Seen::bend).ok_or("legs not visible")?;
    stands(person)?;
    let ground = (legs[0].lower.middle(legs[1].lower), legs[0].half().max(legs[1].half()));
    Ok(measured(bend, Some(ground)))
}

/// Push-ups: both arms, of somebody who lies above hands that stay.
pub(super) fn pushup(person: &Person, least: f64) -> Result<Measure, Reason> {
    let arms = limb::both(person, ARM);
    let bend = limb::weigh(arms, least, Seen::bend).ok_or("arms not visible")?;
    lies(person, least)?;
    let ground = (arms[0].lower.middle(arms[1].lower), arms[0].half().max(arms[1].half()));
    Ok(measured(bend, Some(ground)))
}

/// Lunges: the leg in front, and the knee behind that goes down with it.
pub(super) fn lunge(person: &Person, least: f64) -> Result<Measure, Reason> {
    let legs = limb::both(person, LEG);
    // In a lunge the legs are apart, so neither hides the other altogether.
    if legs[0].confidence.max(legs[1].confidence) < least || legs[0].confidence.min(legs[1].confidence) < least / 2.0 {
        return Err("legs not visible");
    }
    stands(person)?;
    let [left, right] = legs;
    let (side, front, behind) =
        if left.bend() < right.bend() { (Side::Left, left, right) } else { (Side::Right, right, left) };
    let unit = front.half().max(behind.half());
    let kneels = behind.joint.y - front.joint.y >= KNEELS * unit;
    let is_true = kneels && behind.lower.y - behind.joint.y <= SHANK * unit;
    let bend = front.bend();
    let confidence = left.confidence.min(right.confidence);
    Ok(Measure { value: bend, angle: bend, side: Some(side), confidence, is_true, ground: None })
}

/// Shoulder taps: each hand for itself, by its way to the other shoulder; the other one must bear the body meanwhile.
pub(super) fn taps(person: &Person, least: f64) -> Result<[Option<Measure>; 2], Reason> {
    lies(person, least)?;
    let arms = limb::both(person, ARM);
    let length = arms[0].length().max(arms[1].length());
    let ways = Side::BOTH.map(|side| {
        let shoulder = person.at(Joint::Shoulder, side.other());
        person.at(Joint::Wrist, side).distance(shoulder) / length
    });
    let of = |side: Side| {
        let (arm, way, other) = (arms[side as usize], ways[side as usize], ways[side.other() as usize]);
        let is_seen = arm.confidence >= least && (other >= BEARS || way >= TAP.up);
        is_seen.then(|| Measure {
            value: way,
            angle: arm.angle(),
            side: Some(side),
            confidence: arm.confidence,
            is_true: true,
            ground: None,
        })
    };
    let taps = Side::BOTH.map(of);
    if taps.iter().all(Option::is_none) { Err("arms not visible") } else { Ok(taps) }
}

/// Planks: how straight the body is, seen from the side, of somebody who lies on hands or elbows.
pub(super) fn plank(person: &Person, least: f64) -> Result<Measure, Reason> {
    let bodies = limb::both(person, BODY);
    let straight = limb::weigh(bodies, least, Seen::angle).ok_or("body not visible")?;
    lies(person, least)?;
    let [shoulders, hips] = [Joint::Shoulder, Joint::Hip].map(|joint| Side::BOTH.map(|side| person.at(joint, side)));
    let torso = shoulders[0].middle(shoulders[1]).distance(hips[0].middle(hips[1]));
    if shoulders[0].distance(shoulders[1]) > BROAD * torso {
        return Err("seen from the front");
    }
    Ok(measured(straight, None))
}

fn measured(weighed: Weighed, ground: Option<(Point, f64)>) -> Measure {
    let Weighed { value, side, confidence } = weighed;
    Measure { value, angle: value, side, confidence, is_true: true, ground }
}

/// The torso: by how much its hips are below its shoulders, and how long it is in the picture.
fn torso(person: &Person) -> (f64, f64) {
    let [shoulder, hip] =
        [Joint::Shoulder, Joint::Hip].map(|joint| person.at(joint, Side::Left).middle(person.at(joint, Side::Right)));
    (hip.y - shoulder.y, hip.distance(shoulder))
}

fn stands(person: &Person) -> Result<(), Reason> {
    let (drop, length) = torso(person);
    if drop >= STANDS * length { Ok(()) } else { Err("not upright") }
}

/// Whether the body lies above its hands or elbows, seen from any side: from the front its torso is short, and the arms or
/// the shoulders tell its true size.
fn lies(person: &Person, least: f64) -> Result<(), Reason> {
    let confidence = |joint| person.confidence(joint, Side::Left).max(person.confidence(joint, Side::Right));
    if confidence(Joint::Shoulder).min(confidence(Joint::Hip)) < least {
        return Err("body not visible");
    }
    let (drop, length) = torso(person);
    let [left, right] = limb::both(person, ARM);
    let breadth = left.upper.distance(right.upper);
    let size = length.max(1.1 * breadth).max(left.length()).max(right.length());
    let shoulders = left.upper.middle(right.upper).y;
    let below = left.joint.y.max(left.lower.y).max(right.joint.y).max(right.lower.y) > shoulders;
    if drop.abs() <= LIES * size && below { Ok(()) } else { Err("not lying on hands or elbows") }
}
