//! Repeated movement through crop, encoder and decoder: how often, and when each was at its bottom.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use cv_tests::{Receiver, Sender, clips, lines};
use serde_json::Value;

/// What was counted in a session.
struct Counted {
    /// The last running count.
    running: u64,
    /// The final line's.
    last: u64,
    /// Media times of the bottoms, as they were told while the session ran.
    bottoms: Vec<f64>,
}

fn count(receiver: &Receiver, source: &[&str]) -> Counted {
    let arguments = [source, &["--pace", "max", "--analyze", "cycles"]].concat();
    let sent = Sender::run(&receiver.url(), &arguments).expect(0);
    let findings: Vec<Value> =
        lines::of_type(&sent.lines, "result").into_iter().map(|line| line["analysis"]["cycles"].clone()).collect();
    let told = findings.iter().filter_map(|finding| finding["cycles"].as_array()).flatten();
    Counted {
        running: findings.last().unwrap()["count"].as_u64().unwrap(),
        last: lines::of_type(&sent.lines, "final")[0]["analysis"]["cycles"]["count"].as_u64().unwrap(),
        bottoms: told.map(|cycle| cycle["bottom"].as_f64().unwrap()).collect(),
    }
}

/// Checks that the bottoms are those of `frames`, five frames more or less, at `fps` pictures a second.
fn assert_bottoms(what: &str, counted: &Counted, frames: &[u64], fps: f64) {
    let found: Vec<f64> = counted.bottoms.iter().map(|time| (time * fps).round()).collect();
    assert_eq!(found.len(), frames.len(), "{what}: {found:?} instead of {frames:?}");
    for (found, expected) in found.iter().zip(frames) {
        assert!((found - *expected as f64).abs() <= 5.0, "{what}: {found} instead of {expected}");
    }
    assert_eq!((counted.running, counted.last), (frames.len() as u64, frames.len() as u64), "{what}");
}

/// Counts in the whole picture and in its centre.
fn counts(name: &str, fps: f64, bottoms: &[u64]) {
    let Some(clip) = clips::clip(name) else { return };
    let receiver = Receiver::start(&[]);
    for crop in ["1.0", "0.7"] {
        let counted = count(&receiver, &["--file", clip.to_str().unwrap(), "--crop", crop]);
        assert_bottoms(&format!("{name}, crop {crop}"), &counted, bottoms, fps);
    }
}

#[test]
fn squats_from_the_side_are_counted() {
    counts("squat_side_portrait_2reps.mp4", 29.97, &[311, 517]);
}

#[test]
fn squats_from_the_front_are_counted() {
    counts("squat_front_5reps.mp4", 30.0, &[34, 105, 180, 255, 330]);
}

#[test]
fn squats_from_an_angle_are_counted() {
    counts("squat_threequarter_8reps.mp4", 25.0, &[51, 111, 177, 240, 296, 357, 421, 480]);
}

/// The last one is at its top in the very last picture, so it may be missing.
#[test]
fn fast_push_ups_are_counted() {
    let bottoms = [
        27, 43, 57, 73, 89, 103, 119, 133, 149, 165, 181, 195, 211, 227, 243, 257, 273, 287, 303, 317, 333, 347, 363,
        379, 393, 409, 423, 439, 453,
    ];
    let Some(clip) = clips::clip("pushup_side_29reps.mp4") else { return };
    let receiver = Receiver::start(&[]);
    for crop in ["1.0", "0.7"] {
        let counted = count(&receiver, &["--file", clip.to_str().unwrap(), "--crop", crop]);
        let seen = counted.bottoms.len().clamp(28, 29);
        assert_bottoms(&format!("push-ups, crop {crop}"), &counted, &bottoms[..seen], 27.5);
    }
}

#[test]
fn a_drawn_figure_is_counted_at_any_speed() {
    let receiver = Receiver::start(&[]);
    for (number, period) in [(10, 2.0), (6, 3.5), (20, 0.8), (2, 1.5)] {
        let pattern = format!("reps:count={number},period={period},size=640x360");
        let bottoms = cv_source::pattern::rep_bottoms(number, period, 30.0);
        let frames: Vec<u64> = bottoms.into_iter().collect();
        assert_bottoms(&pattern, &count(&receiver, &["--pattern", &pattern]), &frames, 30.0);
    }
}

#[test]
fn who_walks_stands_or_is_not_there_repeats_nothing() {
    let receiver = Receiver::start(&[]);
    let clips = [
        "people_one_by_one_a.mp4",
        "people_two_walk_corridor.mp4",
        "faces_three_walk_in.mp4",
        "faces_two_head_tilt.mp4",
        "variants/v31_still_frame.mp4",
    ];
    for name in clips {
        let Some(clip) = clips::clip(name) else { return };
        for crop in ["1.0", "0.7"] {
            let counted = count(&receiver, &["--file", clip.to_str().unwrap(), "--crop", crop]);
            assert_bottoms(&format!("{name}, crop {crop}"), &counted, &[], 30.0);
        }
    }
    for pattern in ["black", "noise"] {
        let counted = count(&receiver, &["--pattern", &format!("{pattern}:size=640x360"), "--duration", "15"]);
        assert_bottoms(pattern, &counted, &[], 30.0);
    }
}
