//! The rules of an exercise tracker that others use (`AI-Exercise-Tracker`), number for number.
//!
//! They count pixels of the picture, so they hold for one distance and one resolution, and they count a limb that was never
//! seen before as bent. They are here for who must get the numbers that it gives. It looks at the mirrored picture: there the
//! model takes left for right, which is why the points of the other side are used here.
//!
//! | exercise | measured | counted |
//! |---|---|---|
//! | pushup | height from shoulder to wrist, the mirrored right one first | below 300 pixels, then above |
//! | squat | height from hip to knee, the same | below 35 pixels, then above |
//! | lunge | both knees' angles, after 80 pictures with a body | one below 100, then both above 150 |
//! | shouldertap | each elbow's angle, after 80 pictures with a body | below 120, then above 150, each arm |
//! | plank | angle at the hip, the mirrored left one first | seconds above 170 |

use serde_json::{Value, json};

use super::{exercise::Exercise, limb, person::Point};
use crate::analysis::{Features, Fold, bounds::numbers, rounded};

/// Points of BlazePose.
const POINTS: usize = 33;

/// Visibility and presence that a point must have.
const LEAST: f64 = 0.5;

/// Heights in pixels between down and up.
const PUSHUP: f64 = 300.0;
const SQUAT: f64 = 35.0;

/// Pictures with a body before lunges and taps are judged.
const WARM_UP: u64 = 80;

/// Places of the points, the left one of each pair.
const SHOULDER: usize = 11;
const ELBOW: usize = 13;
const WRIST: usize = 15;
const HIP: usize = 23;
const KNEE: usize = 25;
const ANKLE: usize = 27;

/// Counts as that tracker does.
pub(super) struct Tracker {
    exercise: Exercise,
    count: u64,
    taps: u64,
    /// Whether the lower half of a repetition, or of each arm's tap, was seen.
    performed: [bool; 2],
    /// The latest angles on the left and on the right of the mirrored picture; 0 until they are seen.
    angles: [f64; 2],
    /// Pictures with a body.
    pictures: u64,
    plank: PlankTimer,
}

#[derive(Default)]
struct PlankTimer {
    angle: f64,
    since: Option<f64>,
    seconds: f64,
}

/// Where the mirrored picture's points are, in whole pixels; `None` for those that are not used.
type Places = [Option<Point>; POINTS];

impl Tracker {
    pub(super) fn new(exercise: Exercise) -> Self {
        Self {
            exercise,
            count: 0,
            taps: 0,
            performed: [false; 2],
            angles: [0.0; 2],
            pictures: 0,
            plank: PlankTimer::default(),
        }
    }

    fn take(&mut self, time: f64, places: &Places) {
        self.pictures += 1;
        match self.exercise {
            Exercise::Pushup => self.height(places, SHOULDER, WRIST, PUSHUP),
            Exercise::Squat => self.height(places, HIP, KNEE, SQUAT),
            Exercise::Lunge => self.lunge(places),
            Exercise::ShoulderTap => self.tap(places),
            Exercise::Plank => self.plank.take(time, places),
        }
    }

    /// One repetition for every height below `threshold` and one above; exactly on it nothing changes.
    fn height(&mut self, places: &Places, upper: usize, lower: usize, threshold: f64) {
        let either = |left: usize| places[left + 1].or(places[left]);
        let (Some(upper), Some(lower)) = (either(upper), either(lower)) else { return };
        let height = (upper.y - lower.y).abs();
        if height < threshold {
            self.performed[0] = true;
        } else if height > threshold && std::mem::take(&mut self.performed[0]) {
            self.count += 1;
        }
    }

    fn lunge(&mut self, places: &Places) {
        self.measure(places, [HIP, KNEE, ANKLE]);
        if self.pictures <= WARM_UP {
            return;
        }
        if self.angles.iter().any(|&angle| angle < 100.0) {
            self.performed[0] = true;
        }
        if self.angles.iter().all(|&angle| angle > 150.0) && std::mem::take(&mut self.performed[0]) {
            self.count += 1;
        }
    }

    fn tap(&mut self, places: &Places) {
        self.measure(places, [SHOULDER, ELBOW, WRIST]);
        if self.pictures <= WARM_UP {
            return;
        }
        for (performed, angle) in self.performed.iter_mut().zip(self.angles) {
            if angle < 120.0 {
                *performed = true;
            } else if angle > 150.0 && std::mem::take(performed) {
                self.taps += 1;
            }
        }
    }

    fn measure(&mut self, places: &Places, limb: [usize; 3]) {
        for (side, angle) in self.angles.iter_mut().enumerate() {
            *angle = angle_of(places, limb, side).unwrap_or(*angle);
        }
    }

    fn told(&self) -> Value {
        let name = match self.exercise {
            Exercise::Squat => "squat",
            Exercise::Pushup => "pushup",
            Exercise::Lunge => "lunges",
            Exercise::ShoulderTap => "shouldertap",
            Exercise::Plank => "plank",
        };
        json!({
            "exercise": name,
            "rep_count": self.count,
            "plank_duration": rounded(self.plank.seconds, 3),
            "shoulder_tap_count": self.taps,
        })
    }
}

impl PlankTimer {
    /// The timer starts with the first straight picture and goes on through pictures without a body. What it showed last
    /// stays until it starts again.
    fn take(&mut self, time: f64, places: &Places) {
        let body = [SHOULDER, HIP, ANKLE];
        self.angle = angle_of(places, body, 0).or(angle_of(places, body, 1)).unwrap_or(self.angle);
        if self.angle <= 170.0 {
            self.since = None;
            return;
        }
        match self.since {
            Some(since) => self.seconds = (time - since).max(0.0),
            None => self.since = Some(time),
        }
    }
}

impl Fold for Tracker {
    fn fold(&mut self, time: f64, features: &Features) -> Result<Value, String> {
        let places = mirrored(features.json()?)?;
        if let (Some(places), true) = (places, time.is_finite()) {
            self.take(time, &places);
        }
        Ok(self.told())
    }

    fn finish(&mut self) -> Option<Result<Value, String>> {
        Some(Ok(self.told()))
    }

    fn state(&self) -> Value {
        self.told()
    }
}

fn angle_of(places: &Places, limb: [usize; 3], side: usize) -> Option<f64> {
    let [one, joint, other] = limb.map(|left| places[left + side]);
    Some(limb::interior(one?, joint?, other?))
}

/// The first person's points as the mirrored picture has them; `None` without a person.
fn mirrored(finding: &Value) -> Result<Option<Places>, String> {
    let wrong = || "rules=upstream needs people with BlazePose's 33 native points and the picture's size".to_owned();
    let people = finding.get("people").and_then(Value::as_array).ok_or_else(wrong)?;
    let Some(person) = people.first() else { return Ok(None) };
    let size = finding.get("size").and_then(numbers).filter(|size: &[f64; 2]| size.iter().all(|&side| side >= 1.0));
    let points = person.get("native").and_then(|native| native.get("points")).and_then(Value::as_array);
    let (Some(size), Some(points)) = (size, points.filter(|points| points.len() == POINTS)) else {
        return Err(wrong());
    };
    let mut places = [None; POINTS];
    for (index, point) in points.iter().enumerate() {
        places[opposite(index)] = place(numbers(point).ok_or_else(wrong)?, size);
    }
    Ok(Some(places))
}

/// A point's pixel in the mirrored picture, if it is certain enough and inside.
fn place([x, y, _, visibility, presence]: [f64; 5], [width, height]: [f64; 2]) -> Option<Point> {
    let (right, down) = (1.0 - x / width, y / height);
    let is_inside = (0.0..=1.0).contains(&right) && (0.0..=1.0).contains(&down);
    let pixel = |share: f64, side: f64| (share * side).floor().min(side - 1.0);
    let is_used = visibility >= LEAST && presence >= LEAST && is_inside;
    is_used.then(|| Point { x: pixel(right, width), y: pixel(down, height) })
}

/// The place of the same point on the other side of the body: pairs are neighbours from the ears on, and triples in the
/// face.
fn opposite(index: usize) -> usize {
    match index {
        0 => 0,
        1..=3 => index + 3,
        4..=6 => index - 3,
        _ if index % 2 == 1 => index + 1,
        _ => index - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole pixels of named points in a picture of 1000 x 1000; what is not named is not seen. The names are those of the mirrored
    /// picture.
    fn features(points: &[(usize, f64, f64)]) -> Features {
        let mut all = vec![json!([0.0, 0.0, 0.0, 0.1, 0.9]); POINTS];
        for &(index, x, y) in points {
            all[opposite(index)] = json!([1000.0 - x - 0.5, y + 0.5, 0.0, 0.9, 0.9]);
        }
        let person = json!({"score": 1.0, "native": {"kind": "blazepose", "points": all}});
        json!({"people": [person], "size": [1000, 1000]}).into()
    }

    fn last(exercise: Exercise, pictures: impl IntoIterator<Item = Features>) -> Value {
        let mut tracker = Tracker::new(exercise);
        let pictures = pictures.into_iter().enumerate();
        pictures.map(|(index, picture)| tracker.fold(index as f64 / 10.0, &picture).unwrap()).last().unwrap()
    }

    fn heights(exercise: Exercise, upper: usize, lower: usize, heights: &[f64]) -> Value {
        let picture = |height: &f64| features(&[(upper, 500.0, 100.0), (lower, 500.0, 100.0 + height)]);
        last(exercise, heights.iter().map(picture))["rep_count"].clone()
    }

    /// A limb of three points bent by so many degrees at its joint.
    fn bent([one, joint, other]: [usize; 3], degrees: f64) -> [(usize, f64, f64); 3] {
        let (sin, cos) = degrees.to_radians().sin_cos();
        [
            (one, 500.0, 300.0),
            (joint, 500.0, 500.0),
            (other, (500.0 + 200.0 * sin).round(), (500.0 - 200.0 * cos).round()),
        ]
    }

    fn both(limb: [usize; 3], left: f64, right: f64) -> Features {
        let mut points = bent(limb, left).to_vec();
        points.extend(bent(limb.map(|point| point + 1), right));
        features(&points)
    }

    #[test]
    fn a_push_up_is_below_300_pixels_and_then_above() {
        assert_eq!(heights(Exercise::Pushup, 12, 16, &[320.0, 280.0, 320.0, 250.0, 310.0]), 2);
        assert_eq!(heights(Exercise::Pushup, 12, 16, &[280.0, 300.0, 280.0, 300.0]), 0, "300 is neither");
        assert_eq!(heights(Exercise::Pushup, 11, 15, &[280.0, 320.0]), 1, "the other side where one is not seen");
        assert_eq!(heights(Exercise::Pushup, 11, 16, &[280.0, 320.0]), 1, "each point for itself");
    }

    #[test]
    fn a_squat_is_below_35_pixels_and_then_above_and_the_right_side_comes_first() {
        assert_eq!(heights(Exercise::Squat, 24, 26, &[20.0, 36.0, 34.0, 35.0, 36.0]), 2);
        let picture = |left: f64| {
            let legs = [(23, 1.0, 100.0), (25, 1.0, 100.0 + left), (24, 1.0, 100.0), (26, 1.0, 200.0)];
            features(&legs)
        };
        assert_eq!(last(Exercise::Squat, [10.0, 90.0].map(picture))["rep_count"], 0);
    }

    #[test]
    fn lunges_wait_for_80_pictures_and_both_legs() {
        let limb = [HIP, KNEE, ANKLE];
        let pictures = |early: u32| {
            let standing = (0..early).map(move |_| both(limb, 175.0, 175.0));
            standing.chain([both(limb, 90.0, 175.0), both(limb, 160.0, 140.0), both(limb, 160.0, 160.0)])
        };
        assert_eq!(last(Exercise::Lunge, pictures(80))["rep_count"], 1);
        assert_eq!(last(Exercise::Lunge, pictures(79))["rep_count"], 0);
        assert_eq!(last(Exercise::Lunge, pictures(80))["exercise"], "lunges");
    }

    #[test]
    fn a_limb_that_was_never_seen_counts_as_bent() {
        let hidden = || (0..81).map(|_| features(&[(0, 500.0, 500.0)]));
        let lunge = hidden().chain([both([HIP, KNEE, ANKLE], 175.0, 175.0)]);
        assert_eq!(last(Exercise::Lunge, lunge)["rep_count"], 1);
        let taps = last(Exercise::ShoulderTap, hidden().chain([both([SHOULDER, ELBOW, WRIST], 175.0, 175.0)]));
        assert_eq!((&taps["shoulder_tap_count"], &taps["rep_count"]), (&json!(2), &json!(0)));
    }

    #[test]
    fn each_arm_taps_for_itself() {
        let limb = [SHOULDER, ELBOW, WRIST];
        let arms = [(175.0, 175.0), (110.0, 175.0), (140.0, 110.0), (160.0, 160.0), (175.0, 130.0)];
        let standing = (0..80).map(|_| (175.0, 175.0));
        let pictures = standing.chain(arms).map(|(left, right)| both(limb, left, right));
        assert_eq!(last(Exercise::ShoulderTap, pictures)["shoulder_tap_count"], 2);
    }

    #[test]
    fn a_plank_lasts_while_straight_and_what_was_last_stays() {
        let run = |angles: &[f64]| {
            let pictures = angles.iter().map(|&angle| features(&bent([SHOULDER, HIP, ANKLE], angle)));
            last(Exercise::Plank, pictures)["plank_duration"].clone()
        };
        assert_eq!(run(&[175.0; 11]), 1.0);
        assert_eq!(run(&[175.0, 175.0, 175.0, 160.0, 175.0]), 0.2, "the timer has started, and shows the last one");
        assert_eq!(run(&[175.0, 175.0, 175.0, 160.0, 175.0, 175.0]), 0.1);
        let right = |_| features(&bent([SHOULDER + 1, HIP + 1, ANKLE + 1], 175.0));
        assert_eq!(last(Exercise::Plank, (0..6).map(right))["plank_duration"], 0.5);
    }

    #[test]
    fn points_that_are_uncertain_or_outside_are_not_used() {
        let size = [640.0, 480.0];
        assert_eq!(place([100.5, 20.9, 0.0, 0.5, 0.5], size), Some(Point { x: 539.0, y: 20.0 }));
        assert_eq!(place([0.0, 480.0, 0.0, 0.9, 0.9], size), Some(Point { x: 639.0, y: 479.0 }));
        for [x, y, visibility, presence] in
            [[100.0, 20.0, 0.49, 0.9], [100.0, 20.0, 0.9, 0.49], [-1.0, 20.0, 0.9, 0.9], [100.0, 481.0, 0.9, 0.9]]
        {
            assert_eq!(place([x, y, 0.0, visibility, presence], size), None);
        }
        assert!((0..POINTS).all(|index| opposite(opposite(index)) == index));
        assert_eq!([4, 7, 12, 31].map(opposite), [1, 8, 11, 32]);
    }

    #[test]
    fn what_has_no_native_points_is_refused() {
        let mut tracker = Tracker::new(Exercise::Squat);
        for finding in
            [json!({}), json!({"people": [{}], "size": [9, 9]}), json!({"people": [{"native": {"points": []}}]})]
        {
            assert!(tracker.fold(0.0, &finding.into()).unwrap_err().contains("33 native points"));
        }
        assert_eq!(tracker.fold(0.0, &json!({"people": []}).into()).unwrap()["rep_count"], 0);
    }
}
