//! Limbs: how far one is bent, seen from any side.
//!
//! The angle at a joint shows only from the side. What shows from everywhere is how high the limb's upper end stands above its
//! joint: a thigh's length while it stands, nothing at the bottom of a squat. In lengths of the limb that is a cosine, and
//! its angle that of a joint whose lower half stands upright: 180 degrees straight, 90 with the upper half level.

use super::person::{Joint, Person, Point, Side};

/// Upper end, joint and lower end.
pub(super) type Limb = [Joint; 3];

pub(super) const LEG: Limb = [Joint::Hip, Joint::Knee, Joint::Ankle];
pub(super) const ARM: Limb = [Joint::Shoulder, Joint::Elbow, Joint::Wrist];
pub(super) const BODY: Limb = [Joint::Shoulder, Joint::Hip, Joint::Ankle];

/// By how much one side's weight must exceed the other's to be the side that is seen.
const CLEARLY: f64 = 2.0;

/// A limb of one side in one picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) upper: Point,
    pub(super) joint: Point,
    pub(super) lower: Point,
    /// How certain its least certain point is, 0 to 1.
    pub(super) confidence: f64,
}

impl Seen {
    pub(super) fn of(person: &Person, limb: Limb, side: Side) -> Self {
        let [upper, joint, lower] = limb.map(|joint| person.at(joint, side));
        let confidence = limb.map(|joint| person.confidence(joint, side)).into_iter().fold(1.0, f64::min);
        Self { upper, joint, lower, confidence }
    }

    /// The length of its longer half, at least a pixel: the other half may point at the camera.
    pub(super) fn half(&self) -> f64 {
        self.upper.distance(self.joint).max(self.joint.distance(self.lower)).max(1.0)
    }

    /// Both halves together.
    pub(super) fn length(&self) -> f64 {
        (self.upper.distance(self.joint) + self.joint.distance(self.lower)).max(1.0)
    }

    /// How it is bent, out of heights: 180 degrees straight, 90 with its upper half level.
    pub(super) fn bend(&self) -> f64 {
        let rise = (self.joint.y - self.upper.y) / self.half();
        180.0 - rise.clamp(-1.0, 1.0).acos().to_degrees()
    }

    /// The angle at its joint as the picture shows it, 0 to 180 degrees.
    pub(super) fn angle(&self) -> f64 {
        interior(self.upper, self.joint, self.lower)
    }
}

/// The angle at `joint` between the ways to `one` and `other`, 0 to 180 degrees; 180 where a way has no length.
pub(super) fn interior(one: Point, joint: Point, other: Point) -> f64 {
    let (ax, ay) = (one.x - joint.x, one.y - joint.y);
    let (bx, by) = (other.x - joint.x, other.y - joint.y);
    let (dot, cross) = (ax * bx + ay * by, ax * by - ay * bx);
    if dot == 0.0 && cross == 0.0 { 180.0 } else { cross.abs().atan2(dot).to_degrees() }
}

/// A number measured on both sides: the better a side is seen, the more it counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighed {
    pub(super) value: f64,
    /// The side that is clearly seen better.
    pub(super) side: Option<Side>,
    /// How certain the better side is, 0 to 1.
    pub(super) confidence: f64,
}

/// Left and right limb together; `None` if both are less certain than `least`.
///
/// No side is chosen, since a choice that changes makes a jump, and jumps are repetitions. The weight is the square of the
/// confidence, which leaves a tenth to what is hidden behind the body.
pub(super) fn weigh(limbs: [Seen; 2], least: f64, measure: impl Fn(&Seen) -> f64) -> Option<Weighed> {
    let confidence = limbs[0].confidence.max(limbs[1].confidence);
    if confidence < least || confidence <= 0.0 {
        return None;
    }
    let [left, right] = limbs.map(|limb| limb.confidence * limb.confidence);
    let value = (left * measure(&limbs[0]) + right * measure(&limbs[1])) / (left + right);
    let side = if left > CLEARLY * right {
        Some(Side::Left)
    } else if right > CLEARLY * left {
        Some(Side::Right)
    } else {
        None
    };
    Some(Weighed { value, side, confidence })
}

/// `limb` on both sides.
pub(super) fn both(person: &Person, limb: Limb) -> [Seen; 2] {
    Side::BOTH.map(|side| Seen::of(person, limb, side))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limb(points: [(f64, f64); 3], confidence: f64) -> Seen {
        let [upper, joint, lower] = points.map(|(x, y)| Point { x, y });
        Seen { upper, joint, lower, confidence }
    }

    #[test]
    fn a_limb_is_bent_alike_from_the_side_and_from_the_front() {
        let standing = limb([(0.0, 0.0), (0.0, 100.0), (0.0, 200.0)], 1.0);
        let side = limb([(-100.0, 100.0), (0.0, 100.0), (0.0, 200.0)], 1.0);
        // The thigh points at the camera.
        let front = limb([(0.0, 100.0), (0.0, 100.0), (0.0, 200.0)], 1.0);
        assert_eq!((standing.bend(), side.bend(), front.bend()), (180.0, 90.0, 90.0));
        assert_eq!((standing.angle(), side.angle()), (180.0, 90.0));
    }

    #[test]
    fn the_side_that_is_seen_better_counts_more() {
        let limbs = [limb([(0.0, 0.0), (0.0, 1.0), (0.0, 2.0)], 0.9), limb([(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)], 0.3)];
        let weighed = weigh(limbs, 0.5, Seen::angle).unwrap();
        assert!((weighed.value - 171.0).abs() < 1e-9);
        assert_eq!(weighed.side, Some(Side::Left));
        assert!(weigh(limbs, 0.95, Seen::angle).is_none());
        assert_eq!(weigh([limbs[0]; 2], 0.5, Seen::angle).unwrap().side, None);
    }

    #[test]
    fn points_upon_each_other_have_an_angle_too() {
        let nowhere = limb([(5.0, 5.0); 3], 1.0);
        assert_eq!((nowhere.angle(), nowhere.bend()), (180.0, 90.0));
    }
}
