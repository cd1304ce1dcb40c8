//! Bodies made of sticks that do exercises, seen from anywhere, at any size and rate, with noise and drop-outs.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::Features, Fold, Parameters, build};

fn fold_with(parameters: &[&str]) -> Box<dyn Fold> {
    let mut all = Parameters::default();
    parameters.iter().for_each(|text| all.add(text).unwrap());
    build(&all).unwrap()
}

/// A place in the room in units of a thigh: to the body's front, to its left, up.
type Place = [f64; 3];

/// COCO's 17 points of a body in the room; the five of the head are one.
type Body = [Place; 17];

/// A body out of its head and its pairs of shoulders, elbows, wrists, hips, knees and ankles, left before right.
fn body(head: Place, pairs: [[Place; 2]; 6]) -> Body {
    let mut body = [head; 17];
    for (pair, points) in pairs.into_iter().zip(body[5..].chunks_exact_mut(2)) {
        points.copy_from_slice(&pair);
    }
    body
}

/// Both sides of something at the body's middle.
fn wide(half: f64, [front, left, up]: Place) -> [Place; 2] {
    [[front, left + half, up], [front, left - half, up]]
}

/// Somebody who stands, thighs `degrees` from upright, arms down.
fn squatting(degrees: f64) -> Body {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let hip = [-sin, 0.0, 1.0 + cos];
    // The torso leans over the feet.
    let shoulder = [hip[0] + 0.5 * sin, 0.0, hip[2] + 1.25 - 0.1 * sin];
    let arm = |length: f64| [shoulder[0], 0.0, shoulder[2] - length];
    body(
        [shoulder[0], 0.0, shoulder[2] + 0.5],
        [
            wide(0.4, shoulder),
            wide(0.45, arm(0.7)),
            wide(0.45, arm(1.3)),
            wide(0.25, hip),
            wide(0.3, [0.0, 0.0, 1.0]),
            wide(0.3, [0.0; 3]),
        ],
    )
}

/// Somebody with one foot in front, as low as `down` says, 0 to 1; the left one in front.
fn lunging(down: f64) -> Body {
    let degrees = 85.0 * down;
    let (sin, cos) = degrees.to_radians().sin_cos();
    let hip = [-sin, 0.0, 1.0 + cos];
    // Behind, the thigh stays nearly upright, and the shank swings back.
    let knee = [hip[0] - 0.15, hip[2] - 0.98];
    let shank = (1.0 - knee[1].clamp(0.0, 1.0)).acos();
    let ankle = [knee[0] - shank.cos().min(1.0) * down, 0.12 * down];
    let shoulder = [hip[0], 0.0, hip[2] + 1.25];
    let arm = |length: f64| [shoulder[0], 0.0, shoulder[2] - length];
    body(
        [shoulder[0], 0.0, shoulder[2] + 0.5],
        [
            wide(0.4, shoulder),
            wide(0.45, arm(0.7)),
            wide(0.45, arm(1.3)),
            wide(0.25, hip),
            [[0.0, 0.25, 1.0], [knee[0], -0.25, knee[1]]],
            [[0.0, 0.25, 0.0], [ankle[0], -0.25, ankle[1]]],
        ],
    )
}

/// Somebody who lies on hands, the head to the front, upper arms `degrees` from upright; `tap` is how far each hand is on its
/// way to the other shoulder, `sag` how far the hips hang.
fn lying(degrees: f64, tap: [f64; 2], sag: f64) -> Body {
    // Forearms stay nearly upright above the hands.
    let (upper, fore) = (degrees.to_radians(), degrees.to_radians() / 4.0);
    let height = 0.7 * (upper.cos() + fore.cos());
    let shoulders = wide(0.4, [0.0, 0.0, height]);
    let hands = wide(0.45, [0.0; 3]);
    let between =
        |one: Place, other: Place, share: f64| [0, 1, 2].map(|axis| one[axis] + share * (other[axis] - one[axis]));
    let wrists = [between(hands[0], shoulders[1], tap[0]), between(hands[1], shoulders[0], tap[1])];
    let elbow = |side: usize, out: f64| {
        let lifted = between(wrists[side], shoulders[side], 0.5);
        let bears = [-0.7 * fore.sin(), hands[side][1] + out * upper.sin(), 0.7 * fore.cos()];
        between(bears, [lifted[0] - 0.5, lifted[1], lifted[2]], tap[side])
    };
    let hip = [-1.25, 0.0, 0.75 * height - sag];
    body(
        [0.4, 0.0, height + 0.1],
        [
            shoulders,
            [elbow(0, 0.3), elbow(1, -0.3)],
            wrists,
            wide(0.25, hip),
            wide(0.25, [-2.2, 0.0, 0.45 * height - sag / 2.0]),
            wide(0.25, [-3.1, 0.0, 0.15]),
        ],
    )
}

/// From where and how well a body is seen.
#[derive(Clone, Copy)]
struct View {
    /// Degrees around the body: 0 from the front, 90 from its left.
    around: f64,
    /// Pixels of a thigh.
    thigh: f64,
    fps: f64,
    /// Pixels by which points are wrong.
    noise: f64,
    /// Every so manieth picture shows nobody; 0 for none.
    missing: u32,
}

const CLEAR: View = View { around: 90.0, thigh: 100.0, fps: 30.0, noise: 0.0, missing: 0 };

/// What looks like chance, from -1 to 1.
fn chance(seed: u32) -> f64 {
    let mixed = seed.wrapping_mul(2_654_435_761) ^ (seed.wrapping_mul(40_503) >> 7);
    f64::from(mixed.wrapping_mul(2_246_822_519) >> 8) / f64::from(1u32 << 23) - 1.0
}

impl View {
    /// The finding of `pose` for `body` in a picture.
    fn seen(&self, body: &Body, picture: u32) -> Features {
        if self.missing > 0 && picture % self.missing == 1 {
            return json!({"people": [], "size": [1280, 720]}).into();
        }
        let (sin, cos) = self.around.to_radians().sin_cos();
        let points: Vec<[f64; 3]> = body
            .iter()
            .enumerate()
            .map(|(index, [front, left, up])| {
                let seed = picture * 64 + 2 * index as u32;
                // What is on the far side is less certain.
                let near = if index >= 5 { if index % 2 == 1 { sin } else { -sin } } else { 0.0 };
                let x = 640.0 + self.thigh * (front * sin + left * cos) + self.noise * chance(seed);
                let y = 600.0 - self.thigh * up + self.noise * chance(seed + 1);
                [x, y, if near < -0.5 { 0.45 } else { 0.95 }]
            })
            .collect();
        let side =
            |axis: usize, better: fn(f64, f64) -> f64| points.iter().map(|point| point[axis]).reduce(better).unwrap();
        let (left, top) = (side(0, f64::min), side(1, f64::min));
        let bounds = [left, top, side(0, f64::max) - left, side(1, f64::max) - top];
        json!({"people": [{"score": 0.99, "box": bounds, "points": points}], "size": [1280, 720]}).into()
    }

    /// The final word, and all findings, on `seconds` of a moving body.
    fn watch(&self, parameters: &[&str], seconds: f64, body: impl Fn(f64) -> Body) -> (Value, Vec<Value>) {
        let mut fold = fold_with(parameters);
        let pictures = 0..(seconds * self.fps) as u32;
        let findings = pictures.map(|picture| {
            let time = f64::from(picture) / self.fps;
            fold.fold(time, &self.seen(&body(time), picture)).unwrap()
        });
        let findings: Vec<Value> = findings.collect();
        (fold.finish().unwrap().unwrap(), findings)
    }

    fn count(&self, exercise: &str, seconds: f64, body: impl Fn(f64) -> Body) -> u64 {
        let parameter = format!("exercise={exercise}");
        self.watch(&[&parameter], seconds, body).0["count"].as_u64().unwrap()
    }
}

/// Views from all around at several sizes and rates, clear and bad.
fn views(around: &[f64]) -> Vec<View> {
    let mut views = Vec::new();
    for &around in around {
        for (thigh, fps, noise, missing) in
            [(100.0, 30.0, 0.0, 0), (40.0, 10.0, 1.0, 0), (160.0, 60.0, 5.0, 7), (90.0, 25.0, 4.0, 4)]
        {
            views.push(View { around, thigh, fps, noise, missing });
        }
    }
    views
}

/// Down and up again, 0 to 1, `count` times of `period` seconds after a second of rest.
fn cycle(time: f64, count: f64, period: f64) -> f64 {
    let phase = (time - 1.0) / period;
    if (0.0..count).contains(&phase) { 0.5 - 0.5 * (std::f64::consts::TAU * phase).cos() } else { 0.0 }
}

#[test]
fn squats_are_counted_from_all_around() {
    for view in views(&[0.0, 30.0, 60.0, 90.0, 180.0, 225.0, 270.0]) {
        for (count, period) in [(1.0, 2.0), (5.0, 1.2), (3.0, 5.0)] {
            let (last, _) = view.watch(&[], 2.0 + count * period, |time| squatting(92.0 * cycle(time, count, period)));
            assert_eq!(last["count"], count as u64, "{} degrees, {} fps, {period} s", view.around, view.fps);
            for (index, rep) in last["reps"].as_array().unwrap().iter().enumerate() {
                let bottom = 1.0 + (index as f64 + 0.5) * period;
                assert!((rep["bottom"].as_f64().unwrap() - bottom).abs() < 0.05 * period + 0.1, "{rep}, not {bottom}");
            }
        }
    }
}

#[test]
fn half_squats_are_none() {
    for view in views(&[0.0, 45.0, 90.0]) {
        assert_eq!(view.count("squat", 12.0, |time| squatting(45.0 * cycle(time, 5.0, 2.0))), 0);
    }
}

#[test]
fn push_ups_are_counted_from_all_around() {
    for view in views(&[0.0, 30.0, 60.0, 90.0, 120.0, 270.0]) {
        for (count, period) in [(6.0, 0.6), (4.0, 2.0)] {
            let bend = |time| lying(85.0 * cycle(time, count, period), [0.0; 2], 0.0);
            let counted = view.count("pushup", 2.0 + count * period, bend);
            assert_eq!(counted, count as u64, "{} degrees, {} fps, {period} s", view.around, view.fps);
        }
    }
}

#[test]
fn lunges_are_counted_with_the_leg_in_front() {
    for view in views(&[0.0, 45.0, 90.0, 270.0]) {
        let (last, findings) = view.watch(&["exercise=lunge"], 10.0, |time| lunging(cycle(time, 4.0, 2.0)));
        assert_eq!(last["count"], 4, "{} degrees, {} fps", view.around, view.fps);
        let down = findings.iter().find(|finding| finding["phase"] == "down").unwrap();
        assert_eq!(down["side"], "left");
    }
}

#[test]
fn one_exercise_is_not_another() {
    for view in views(&[0.0, 45.0, 90.0, 270.0]) {
        let squats = |time| squatting(92.0 * cycle(time, 4.0, 2.0));
        let lunges = |time| lunging(cycle(time, 4.0, 2.0));
        let presses = |time| lying(85.0 * cycle(time, 4.0, 2.0), [0.0; 2], 0.0);
        for other in ["pushup", "lunge", "shouldertap"] {
            assert_eq!(view.count(other, 10.0, squats), 0, "squats as {other} at {} degrees", view.around);
        }
        for other in ["pushup", "shouldertap"] {
            assert_eq!(view.count(other, 10.0, lunges), 0, "lunges as {other} at {} degrees", view.around);
        }
        for other in ["squat", "lunge", "shouldertap"] {
            assert_eq!(view.count(other, 10.0, presses), 0, "push-ups as {other} at {} degrees", view.around);
        }
    }
}

#[test]
fn taps_are_counted_for_each_hand() {
    for view in views(&[0.0, 30.0, 60.0]) {
        let body = |time: f64| {
            let (left, right) = (cycle(time, 3.0, 2.0), cycle(time - 1.0, 3.0, 2.0));
            // Each hand has half a period.
            let one = |share: f64, is_its| if is_its { share.powi(2) } else { 0.0 };
            lying(0.0, [one(left, left > 0.5), one(right, right > 0.5)], 0.0)
        };
        let (last, _) = view.watch(&["exercise=shouldertap"], 10.0, body);
        assert_eq!(last["count"], 6, "{} degrees, {} fps: {last}", view.around, view.fps);
        let sides: Vec<&str> =
            last["reps"].as_array().unwrap().iter().map(|rep| rep["side"].as_str().unwrap()).collect();
        assert_eq!(sides, ["left", "right", "left", "right", "left", "right"]);
    }
}

#[test]
fn a_plank_is_timed_from_the_side_and_only_while_the_body_is_straight() {
    for view in views(&[60.0, 90.0, 270.0]) {
        let sag = |time: f64| lying(0.0, [0.0; 2], if (4.0..6.0).contains(&time) { 0.7 } else { 0.0 });
        let (last, _) = view.watch(&["exercise=plank"], 10.0, sag);
        let holds = last["holds"].as_array().unwrap();
        assert_eq!(holds.len(), 2, "{} degrees, {} fps: {last}", view.around, view.fps);
        assert!((last["total_s"].as_f64().unwrap() - 8.0).abs() < 0.5, "{last}");
        assert!((holds[1]["start"].as_f64().unwrap() - 6.0).abs() < 0.3, "{last}");
    }
    let view = View { around: 0.0, ..CLEAR };
    let (last, findings) = view.watch(&["exercise=plank"], 3.0, |_| lying(0.0, [0.0; 2], 0.0));
    assert_eq!((&last["total_s"], &findings[9]["reason"]), (&json!(0.0), &json!("seen from the front")));
}

#[test]
fn who_walks_by_counts_nothing() {
    for around in [0.0, 45.0, 90.0] {
        let view = View { around, ..CLEAR };
        let walking = |time: f64| {
            let swing = (std::f64::consts::TAU * time).sin();
            let mut body = squatting(0.0);
            for (index, sign) in [(13, 1.0), (14, -1.0), (15, 1.0), (16, -1.0)] {
                body[index][0] += if index < 15 { 0.35 } else { 0.6 } * sign * swing;
                body[index][2] += 0.1 * (sign * swing).max(0.0);
            }
            body.map(|[front, left, up]| [front + time, left, up])
        };
        for exercise in ["squat", "pushup", "lunge", "shouldertap"] {
            assert_eq!(view.count(exercise, 10.0, walking), 0, "{exercise}");
        }
    }
}

#[test]
fn a_finding_says_what_is_seen_or_why_nothing_is() {
    let (last, findings) = CLEAR.watch(&[], 4.0, |time| squatting(92.0 * cycle(time, 1.0, 2.0)));
    let standing = json!({
        "exercise": "squat", "count": 0, "phase": "up", "angle": 180.0, "side": "left", "confidence": 0.95,
    });
    assert_eq!(findings[5], standing);
    assert_eq!(findings[60]["phase"], "down");
    let events: Vec<&Value> = findings.iter().filter_map(|finding| finding.get("event")).collect();
    assert_eq!(events, [&json!({"rep": 1, "bottom": 2.0})]);
    assert_eq!(last, json!({"exercise": "squat", "count": 1, "reps": [{"rep": 1, "bottom": 2.0}]}));

    let mut fold = fold_with(&["visible=0.99"]);
    let reason = |fold: &mut Box<dyn Fold>, features: &Features| fold.fold(0.0, features).unwrap()["reason"].clone();
    assert_eq!(reason(&mut fold, &CLEAR.seen(&squatting(0.0), 0)), "legs not visible");
    assert_eq!(reason(&mut fold, &json!({"people": []}).into()), "no person");
    assert_eq!(reason(&mut fold_with(&[]), &CLEAR.seen(&lying(0.0, [0.0; 2], 0.0), 0)), "not upright");
}

#[test]
fn one_person_is_followed_among_others() {
    // Somebody larger comes after the first picture and squats, too; the first one is counted.
    let mut fold = fold_with(&[]);
    for picture in 0..300 {
        let time = f64::from(picture) / 30.0;
        let person = |thigh: f64, shift: f64, count: f64| {
            let view = View { thigh, ..CLEAR };
            let Features::Json(finding) = view.seen(&squatting(92.0 * cycle(time, count, 2.0)), picture) else {
                panic!()
            };
            let mut person = finding["people"][0].clone();
            for point in person["points"].as_array_mut().unwrap() {
                point[0] = json!(point[0].as_f64().unwrap() + shift);
            }
            person["box"][0] = json!(person["box"][0].as_f64().unwrap() + shift);
            person
        };
        let mut people = vec![person(80.0, 0.0, 2.0)];
        if picture > 0 {
            people.insert(0, person(120.0, 500.0, 4.0));
        }
        fold.fold(time, &json!({"people": people}).into()).unwrap();
    }
    assert_eq!(fold.finish().unwrap().unwrap()["count"], 2);
}

#[test]
fn a_break_of_seconds_joins_nothing() {
    let mut fold = fold_with(&[]);
    for (picture, degrees, time) in
        [(0, 0.0, 0.0), (1, 92.0, 0.3), (2, 92.0, 0.6), (3, 0.0, 9.0), (4, 92.0, 9.3), (5, 0.0, 9.6)]
    {
        fold.fold(time, &CLEAR.seen(&squatting(degrees), picture)).unwrap();
    }
    assert_eq!(fold.finish().unwrap().unwrap()["count"], 1);
}

#[test]
fn wrong_parameters_and_findings_are_refused() {
    let refused = |text: &str| {
        let mut parameters = Parameters::default();
        parameters.add(text).unwrap();
        build(&parameters).err().unwrap()
    };
    assert_eq!(refused("exercise=jump"), "exercise=jump is none of squat, pushup, lunge, shouldertap, plank");
    assert_eq!(refused("visible=2"), "visible=2 is not a number from 0 to 1");
    assert!(refused("rules=none").contains("body, upstream"));
    let message = |finding: Value| fold_with(&[]).fold(0.0, &finding.into()).unwrap_err();
    assert!(message(json!({"objects": []})).contains("pose,reps"));
    for person in [json!({}), json!({"score": 1, "box": [1, 2, 3, 4], "points": [[1, 2, 3]]}), json!(null)] {
        assert!(message(json!({"people": [person]})).contains("person 0 has no score, box and 17 points"));
    }
}

proptest! {
    #[test]
    fn no_times_and_no_points_break_it(
        pictures in prop::collection::vec((any::<f64>(), prop::collection::vec(any::<f64>(), 51)), 1..30),
        exercise in 0..5usize, step in -0.5..1.5f64,
    ) {
        let exercise = ["squat", "pushup", "lunge", "shouldertap", "plank"][exercise];
        let mut fold = fold_with(&[&format!("exercise={exercise}")]);
        for (index, (time, numbers)) in pictures.into_iter().enumerate() {
            let points: Vec<Vec<f64>> = numbers.chunks(3).map(<[f64]>::to_vec).collect();
            let wild = json!({"people": [{"score": 1, "box": numbers[..4], "points": points}]});
            let points: Vec<[f64; 3]> = numbers.chunks(3).map(|n| [n[0] % 640.0, n[1] % 640.0, 1.0]).collect();
            let tame = json!({"people": [{"score": 1, "box": [0, 0, 640, 640], "points": points}]});
            for (time, finding) in [(time, wild), (index as f64 * step, tame)] {
                if let Ok(finding) = fold.fold(time, &finding.into()) {
                    prop_assert!((0.0..=1.0).contains(&finding["confidence"].as_f64().unwrap()), "{}", finding);
                }
            }
        }
        fold.finish();
    }
}
