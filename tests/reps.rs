//! Exercises counted by body points, through crop, encoder, decoder and model: each repetition with its bottom, and none where
//! nobody exercises.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::path::Path;

use cv_tests::{
    Finished, Receiver, Sender, clips, lines, models,
    program::{self, LIMIT, Program},
};
use serde_json::Value;
use tempfile::TempDir;

const EXERCISES: [&str; 5] = ["squat", "pushup", "lunge", "shouldertap", "plank"];

/// A clip whose body points were found once and saved, to be folded in many ways.
struct Posed {
    pose: String,
    /// The lines with what was found.
    features: Vec<String>,
    /// What was said to the sender, the exercise counted.
    said: Vec<String>,
    folder: TempDir,
}

impl Posed {
    /// Sends the middle of a clip; `None` where the clip or a model is missing.
    fn new(name: &str, crop: &str, exercise: &str) -> Option<Self> {
        let clip = clips::clip(name)?;
        let (landmarks, yolox) = (models::model("pose_landmark_lite.onnx")?, models::model("yolox_nano_416.onnx")?);
        let pose = format!("pose:model={},detector={}", landmarks.display(), yolox.display());
        let (runtime, list) = (models::runtime(), format!("{pose},reps:exercise={exercise}"));
        let own = ["--onnxruntime", runtime.to_str().unwrap(), "--emit", "features", "--analyze", &list];
        let receiver = Receiver::start(&own);
        let source = ["--file", clip.to_str().unwrap(), "--crop", crop, "--pace", "max", "--session", "posed"];
        let said = Sender::run(&receiver.url(), &source).expect(0).lines;
        receiver.lines_until_closed("posed");
        receiver.program.signal("TERM");
        receiver.program.wait(LIMIT);
        let features = receiver.program.stdout().into_iter().filter(|line| !line.contains("\"type\":\"result\""));
        Some(Self { pose, features: features.collect(), said, folder: tempfile::tempdir().unwrap() })
    }

    /// The final word on every `step`th picture by other parameters.
    fn again(&self, parameters: &str, step: u64) -> Value {
        let is_kept = |line: &&String| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["frame"].as_u64().is_none_or(|frame| frame % step == 0)
        };
        let kept: Vec<_> = self.features.iter().filter(is_kept).cloned().collect();
        let file = self.folder.path().join("features.ndjson");
        std::fs::write(&file, kept.join("\n")).unwrap();
        let folded = analyze(&file, &format!("{},reps:{parameters}", self.pose)).expect(0);
        last(&folded.lines)
    }
}

fn analyze(file: &Path, list: &str) -> Finished {
    let mut command = program::command("cv-receiver");
    command.args(["analyze", "--analyze", list, "--features"]).arg(file);
    let program = Program::start(command);
    let code = program.wait(LIMIT);
    Finished { code, lines: program.stdout(), stderr: program.stderr() }
}

/// What reps says of a whole session.
fn last(lines: &[String]) -> Value {
    lines::of_type(lines, "final")[0]["analysis"]["reps"].clone()
}

/// Checks that the bottoms of a final word are those of `frames`, five frames more or less, at `fps` pictures a second.
fn assert_bottoms(what: &str, last: &Value, frames: &[u64], fps: f64) {
    let reps = last["reps"].as_array().unwrap();
    let found: Vec<f64> = reps.iter().map(|rep| (rep["bottom"].as_f64().unwrap() * fps).round()).collect();
    assert_eq!(found.len(), frames.len(), "{what}: {found:?} instead of {frames:?}");
    for (found, expected) in found.iter().zip(frames) {
        assert!((found - *expected as f64).abs() <= 5.0, "{what}: {found} instead of {expected}");
    }
    assert_eq!(last["count"], frames.len());
}

/// Counts in the whole picture and in its centre, then in every third picture, then what is done as something else.
fn counts(name: &str, exercise: &str, fps: f64, bottoms: &[u64]) {
    for crop in ["1", "0.7"] {
        let Some(posed) = Posed::new(name, crop, exercise) else { return };
        let what = format!("{name}, crop {crop}");
        let said = last(&posed.said);
        assert_bottoms(&what, &said, bottoms, fps);
        let events =
            lines::of_type(&posed.said, "result").into_iter().map(|line| line["analysis"]["reps"]["event"].clone());
        let events: Vec<Value> = events.filter(|event| !event.is_null()).collect();
        assert_eq!(Value::from(events), said["reps"], "{what}: told as they happen");
        assert_eq!(posed.again(&format!("exercise={exercise}"), 1), said, "{what}, folded again");
        let thinned = posed.again(&format!("exercise={exercise}"), 3)["count"].as_u64().unwrap();
        // Push-ups of 0.6 seconds are five pictures each then, and some get lost.
        let (all, missed) = (bottoms.len() as u64, if exercise == "pushup" { 8 } else { 0 });
        assert!((all - missed..=all).contains(&thinned), "{what}, every third picture: {thinned}");
        for other in EXERCISES.into_iter().filter(|other| ![exercise, "plank"].contains(other)) {
            assert_eq!(posed.again(&format!("exercise={other}"), 1)["count"], 0, "{what} as {other}");
        }
    }
}

#[test]
fn squats_from_the_side_are_counted() {
    counts("squat_side_portrait_2reps.mp4", "squat", 29.97, &[311, 517]);
}

#[test]
fn squats_from_the_front_are_counted() {
    counts("squat_front_5reps.mp4", "squat", 30.0, &[34, 105, 180, 255, 330]);
}

#[test]
fn squats_from_an_angle_are_counted() {
    counts("squat_threequarter_8reps.mp4", "squat", 25.0, &[51, 111, 177, 240, 296, 357, 421, 480]);
}

#[test]
fn fast_push_ups_are_counted() {
    let bottoms = [
        27, 43, 57, 73, 89, 103, 119, 133, 149, 165, 181, 195, 211, 227, 243, 257, 273, 287, 303, 317, 333, 347, 363,
        379, 393, 409, 423, 439, 453,
    ];
    counts("pushup_side_29reps.mp4", "pushup", 27.5, &bottoms);
}

/// Counts nothing of any exercise.
fn counts_nothing(names: &[&str]) {
    for (name, crop) in names.iter().flat_map(|name| [(name, "1"), (name, "0.7")]) {
        let Some(posed) = Posed::new(name, crop, "squat") else { return };
        for exercise in EXERCISES {
            let last = posed.again(&format!("exercise={exercise}"), 1);
            let nothing = if exercise == "plank" { &last["total_s"] } else { &last["count"] };
            assert_eq!(nothing.as_f64(), Some(0.0), "{name}, crop {crop}, {exercise}: {last}");
        }
    }
}

#[test]
fn people_who_come_and_go_do_no_exercise() {
    counts_nothing(&["people_one_by_one_a.mp4", "people_two_walk_corridor.mp4"]);
}

#[test]
fn people_of_whom_only_heads_are_seen_do_no_exercise() {
    counts_nothing(&["faces_three_walk_in.mp4", "faces_two_head_tilt.mp4", "face_pulse_a.mp4"]);
}

#[test]
fn the_pixel_rules_of_the_other_tracker_say_what_they_say_there() {
    let Some(posed) = Posed::new("squat_front_5reps.mp4", "1", "squat") else { return };
    let last = posed.again("exercise=squat,rules=upstream", 1);
    // With one threshold instead of two, who stays near it is counted more than once.
    assert!(last["exercise"] == "squat" && (5..=12).contains(&last["rep_count"].as_u64().unwrap()), "{last}");
    assert_eq!((&last["plank_duration"], &last["shoulder_tap_count"]), (&0.0.into(), &0.into()));
}

#[test]
fn without_a_pose_before_it_there_is_nothing_to_count() {
    let receiver = Receiver::start(&[]);
    let source = ["--pattern", "bars:size=320x240", "--frames", "1", "--analyze", "reps:exercise=squat"];
    Sender::run(&receiver.url(), &source).expect(1).says("reps needs pose before it in the list");
}
