//! Objects with numbers, through crop, encoder, decoder and detector: as many as there are, each with its own.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::path::Path;

use cv_tests::{Receiver, Sender, clips, lines, models};
use serde_json::Value;

/// What was said of a clip by a receiver that detects persons and follows them.
fn run(clip: &Path, yolox: &Path, crop: &str) -> Vec<String> {
    let list = format!("detect:model={},only=person,threshold=0.1,track", yolox.display());
    let receiver = Receiver::start(&["--onnxruntime", models::runtime().to_str().unwrap(), "--analyze", &list]);
    let source = ["--file", clip.to_str().unwrap(), "--crop", crop, "--pace", "max", "--session", "tracked"];
    Sender::run(&receiver.url(), &source).expect(0).lines
}

fn findings(lines: &[String]) -> Vec<Value> {
    lines::of_type(lines, "result").into_iter().map(|line| line["analysis"]["track"].clone()).collect()
}

/// The objects of the final line: number, first and last second.
fn lives(lines: &[String]) -> Vec<(u64, f64, f64)> {
    let last = &lines::of_type(lines, "final")[0]["analysis"]["track"];
    let objects = last["objects"].as_array().unwrap();
    assert_eq!(last["count"], objects.len(), "{last}");
    let life = |object: &Value| {
        (object["id"].as_u64().unwrap(), object["first"].as_f64().unwrap(), object["last"].as_f64().unwrap())
    };
    objects.iter().map(life).collect()
}

/// The middle of an object's box, from left to right.
fn middle(object: &Value) -> f64 {
    object["box"][0].as_f64().unwrap() + object["box"][2].as_f64().unwrap() / 2.0
}

#[test]
fn three_who_come_one_after_another_are_three() {
    let (Some(clip), Some(yolox)) = (clips::clip("people_one_by_one_a.mp4"), models::model("yolox_nano_416.onnx"))
    else {
        return;
    };
    // In its centre people are seen later and lost earlier.
    for (crop, late) in [("1", 8.0), ("0.7", 16.0)] {
        let lines = run(&clip, &yolox, crop);
        let lives = lives(&lines);
        assert_eq!(lives.iter().map(|life| life.0).collect::<Vec<_>>(), [1, 2, 3], "crop {crop}: {lives:?}");
        for ((_, first, last), (from, to)) in lives.iter().zip([(60.0, 195.0), (230.0, 450.0), (505.0, 700.0)]) {
            assert!((first * 10.0 - from).abs() <= late, "crop {crop}: {first} s is not frame {from}");
            assert!((last * 10.0 + 1.0 - to).abs() <= late, "crop {crop}: {last} s is not frame {to}");
        }
        for (frame, finding) in findings(&lines).iter().enumerate() {
            assert!(finding["objects"].as_array().unwrap().len() <= 1, "crop {crop}, {frame}: {finding}");
        }
    }
}

/// The middles of the two fencers in every frame.
fn truth(boxes: &str) -> Vec<[f64; 2]> {
    let row = |line: &str| {
        let numbers: Vec<f64> = line.split(',').map(|number| number.parse().unwrap()).collect();
        [numbers[1] + numbers[3] / 2.0, numbers[5] + numbers[7] / 2.0]
    };
    boxes.lines().skip(1).map(row).collect()
}

#[test]
fn two_fencers_keep_their_numbers_in_every_picture() {
    let (Some(clip), Some(boxes), Some(yolox)) = (
        clips::clip("fencers_two_composite.mp4"),
        clips::clip("fencers_two_composite_boxes.csv"),
        models::model("yolox_nano_416.onnx"),
    ) else {
        return;
    };
    let truth = truth(&std::fs::read_to_string(boxes).unwrap());
    let findings = findings(&run(&clip, &yolox, "1"));
    assert_eq!(findings.len(), 100);
    for (frame, (finding, middles)) in findings.iter().zip(truth).enumerate() {
        let objects = finding["objects"].as_array().unwrap();
        let numbers: Vec<_> = objects.iter().map(|object| object["id"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [1, 2], "{frame}: {finding}");
        for (object, truth) in objects.iter().zip(middles) {
            assert!((middle(object) - truth).abs() < 60.0, "{frame}: {object} is not at {truth}");
        }
    }
}

#[test]
fn a_fencer_who_comes_into_the_picture_later_does_not_take_the_others_number() {
    let (Some(clip), Some(yolox)) = (clips::clip("fencers_two_composite.mp4"), models::model("yolox_nano_416.onnx"))
    else {
        return;
    };
    let lines = run(&clip, &yolox, "0.7");
    assert_eq!(lives(&lines).len(), 2);
    for (frame, finding) in findings(&lines).iter().enumerate() {
        let objects = finding["objects"].as_array().unwrap();
        assert_eq!(objects[0]["id"], 1, "{frame}: {finding}");
        if let Some(left) = objects.get(1) {
            assert!(middle(left) < middle(&objects[0]), "{frame}: {finding}");
        }
    }
}

#[test]
fn the_same_pictures_give_the_same_numbers() {
    let (Some(clip), Some(yolox)) = (clips::clip("people_two_walk_corridor.mp4"), models::model("yolox_nano_416.onnx"))
    else {
        return;
    };
    let [one, other] = [(); 2].map(|()| run(&clip, &yolox, "1"));
    lines::assert_same("tracked again", &one, &other);
    assert_eq!(lives(&one).len(), 2);
}

#[test]
fn without_a_detector_before_it_there_is_nothing_to_track() {
    let receiver = Receiver::start(&[]);
    let source = ["--pattern", "bars:size=320x240", "--frames", "1", "--analyze", "stats,track"];
    Sender::run(&receiver.url(), &source).expect(1).says("track needs detect or pose before it in the list");
}
