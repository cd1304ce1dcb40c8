//! The pulse through crop, encoder and decoder: known rates are found, and where there is none no number is told.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use cv_tests::{Receiver, Sender, clips, lines, models};
use serde_json::Value;

/// The findings of `pulse` for the pictures of a source.
fn findings(receiver: &Receiver, source: &[&str]) -> Vec<Value> {
    let arguments = [source, &["--pace", "max", "--analyze", "pulse"]].concat();
    let sent = Sender::run(&receiver.url(), &arguments).expect(0);
    lines::of_type(&sent.lines, "result").into_iter().map(|line| line["analysis"]["pulse"].clone()).collect()
}

fn found(finding: &Value, bpm: f64, tolerance: f64) {
    let found = finding["bpm"].as_f64().unwrap_or_else(|| panic!("{bpm} was not found: {finding}"));
    assert!((found - bpm).abs() <= tolerance, "{bpm} was not found: {finding}");
    assert!(finding["confidence"].as_f64().unwrap() >= 0.7, "{finding}");
}

fn never_found(receiver: &Receiver, source: &[&str]) {
    for finding in findings(receiver, source) {
        assert_eq!(finding["bpm"], Value::Null, "{source:?}: {finding}");
        assert!(finding["confidence"].as_f64().unwrap() < 0.5, "{source:?}: {finding}");
    }
}

#[test]
fn a_patch_of_skin_beats_as_often_as_it_was_told_to() {
    let receiver = Receiver::start(&[]);
    for bpm in [48, 60, 72, 96, 120, 150, 180] {
        let findings = findings(&receiver, &["--pattern", &format!("pulse:bpm={bpm}"), "--duration", "12"]);
        found(findings.last().unwrap(), f64::from(bpm), 1.0);
        for finding in findings {
            let told = finding["bpm"].as_f64().unwrap_or(f64::from(bpm));
            assert!((told - f64::from(bpm)).abs() <= 3.0, "{bpm}: {finding}");
        }
    }
}

#[test]
fn a_face_has_the_pulse_that_its_recording_has() {
    let Some(clip) = clips::clip("face_pulse_a_loop36s_640x480.mp4") else { return };
    let findings = findings(&Receiver::start(&[]), &["--file", clip.to_str().unwrap()]);
    for finding in findings.iter().filter(|finding| finding["bpm"].is_number()) {
        found(&serde_json::json!({ "bpm": finding["bpm"], "confidence": 1.0 }), 52.7, 2.0);
    }
    found(findings.last().unwrap(), 52.7, 2.0);
}

#[test]
fn in_a_face_that_a_model_finds_it_is_the_same_pulse() {
    let (Some(clip), Some(faces)) =
        (clips::clip("face_pulse_a_loop36s_640x480.mp4"), models::model("yunet_n_320.onnx"))
    else {
        return;
    };
    let list = format!("detect:model={},name=faces,pulse:from=faces", faces.display());
    let receiver = Receiver::start(&["--onnxruntime", models::runtime().to_str().unwrap(), "--analyze", &list]);
    let source = ["--file", clip.to_str().unwrap(), "--pace", "max"];
    let sent = Sender::run(&receiver.url(), &source).expect(0);
    let findings = lines::of_type(&sent.lines, "result").into_iter().map(|line| line["analysis"]["pulse"].clone());
    let told: Vec<f64> = findings.filter_map(|finding| finding["bpm"].as_f64()).collect();
    assert!(told.len() > 500, "{} of 1092 pictures have a number", told.len());
    assert!(told.iter().all(|bpm| (bpm - 52.7).abs() <= 2.0), "{told:?}");
}

#[test]
fn what_has_no_pulse_gets_no_number() {
    let receiver = Receiver::start(&[]);
    for pattern in ["black", "noise", "bars", "texture"] {
        never_found(&receiver, &["--pattern", &format!("{pattern}:size=640x360"), "--duration", "14"]);
    }
    for name in ["variants/v31_still_frame.mp4", "frame_numbers_1280x640.mp4"] {
        let Some(clip) = clips::clip(name) else { return };
        never_found(&receiver, &["--file", clip.to_str().unwrap(), "--loop", "--duration", "16"]);
    }
}

#[test]
fn the_same_pictures_give_the_same_lines_at_any_pace() {
    let receiver = Receiver::start(&[]);
    let run = |pace| {
        let source = ["--pattern", "pulse:size=320x240,motion=20", "--duration", "6", "--session", "again"];
        let arguments = [&source[..], &["--pace", pace, "--analyze", "pulse:waveform=true,cycles"]].concat();
        Sender::run(&receiver.url(), &arguments).expect(0).lines
    };
    lines::assert_same("pace max", &run("4"), &run("max"));
}
