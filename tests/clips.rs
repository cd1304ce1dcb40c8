//! Containers and codecs as they come: count, size and time of every picture.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::path::Path;

use cv_tests::{Finished, Receiver, Sender, clips, lines};

fn run(receiver: &Receiver, path: &Path) -> Finished {
    Sender::run(&receiver.url(), &["--file", path.to_str().expect("plain names"), "--pace", "max", "--session", "clip"])
}

/// What of `sent` is not as it should be for a clip of `count` pictures of `size`.
fn problems(sent: &Finished, count: u64, size: (u64, u64), times: Option<Vec<f64>>) -> Vec<String> {
    let mut problems = Vec::new();
    let results = lines::of_type(&sent.lines, "result");
    if lines::accounted(&sent.lines) != (0..count).collect::<Vec<_>>() || results.len() as u64 != count {
        let last = results.last().map(|result| result["frame"].to_string());
        problems.push(format!("{} results for {count} pictures, the last for {last:?}", results.len()));
    }
    let kept = |side: u64| (side * 7 / 10) & !1;
    let wanted = (kept(size.0), kept(size.1));
    let measured = |key: &str, result: &serde_json::Value| result[key].as_u64().unwrap_or_default();
    let of_other_size = results.iter().find(|result| (measured("width", result), measured("height", result)) != wanted);
    problems.extend(
        of_other_size.map(|result| {
            format!("size {}x{} in place of {}x{}", result["width"], result["height"], wanted.0, wanted.1)
        }),
    );
    // Streams without a container have no times of their own.
    let times = times.filter(|times| times.len() == results.len()).unwrap_or_default();
    let late = results.iter().zip(&times).find(|(result, time)| {
        (result["time"].as_f64().unwrap_or(f64::NAN) - **time).abs().partial_cmp(&1.5e-6)
            != Some(std::cmp::Ordering::Less)
    });
    problems.extend(late.map(|(result, time)| format!("frame {} at {} not {time}", result["frame"], result["time"])));
    problems
}

fn check(clips: &[(&str, u64, (u64, u64))]) {
    let receiver = Receiver::start(&["--no-print"]);
    let mut wrong = Vec::new();
    for &(name, count, size) in clips {
        let Some(path) = clips::clip(name) else { continue };
        let times = clips::probe(&path);
        if times.as_ref().is_some_and(|times| times.len() as u64 != count) {
            clips::skipped(&format!("the times of {name}: ffprobe gives none"));
        }
        let sent = run(&receiver, &path);
        let mut problems = problems(&sent, count, size, times);
        if sent.code != Some(0) {
            problems.push(format!("exit {:?}: {}", sent.code, sent.stderr));
        }
        wrong.extend(problems.into_iter().map(|problem| format!("{name}: {problem}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const SMALL: (u64, u64) = (640, 360);

#[test]
fn a_clip_of_numbered_pictures_is_answered_in_full() {
    check(&[("frame_numbers_1280x640.mp4", 180, (1280, 640))]);
}

#[test]
fn h264_in_mp4_is_answered_in_full_in_every_variant() {
    check(&[
        ("variants/v01_h264_baseline.mp4", 90, SMALL),
        ("variants/v02_h264_main_b2.mp4", 90, SMALL),
        ("variants/v03_h264_high_b3_opengop.mp4", 90, SMALL),
        ("variants/v04_h264.mov", 90, SMALL),
        ("variants/v10_vfr.mp4", 59, SMALL),
        ("variants/v11_rotate90_metadata.mp4", 90, SMALL),
        ("variants/v12_h264_322x182_cropped.mp4", 90, (322, 182)),
        ("variants/v19_h264_with_audio.mp4", 90, SMALL),
        ("variants/v20_fragmented.mp4", 90, SMALL),
        ("variants/v22_h264_full_range.mp4", 90, SMALL),
        ("variants/v26_start_offset.mp4", 90, SMALL),
        ("variants/v28_one_frame.mp4", 1, SMALL),
        ("variants/v30_black.mp4", 90, SMALL),
        ("variants/v31_still_frame.mp4", 90, SMALL),
    ]);
}

#[test]
fn other_codecs_and_containers_are_answered_in_full() {
    check(&[
        ("variants/v05_hevc.mp4", 90, SMALL),
        ("variants/v06_vp9.webm", 90, SMALL),
        ("variants/v07_vp8.webm", 90, SMALL),
        ("variants/v08_av1.mp4", 90, SMALL),
        ("variants/v09_mjpeg.avi", 45, SMALL),
        ("variants/v13_vp9_odd_319x181.webm", 90, (319, 181)),
        ("variants/v14_mjpeg_odd_319x181.avi", 30, (319, 181)),
        ("variants/v21_h264_high10.mp4", 90, SMALL),
        ("variants/v23_annexb.h264", 90, SMALL),
        ("variants/v24_h264.ts", 90, SMALL),
        ("variants/v25_h264.mkv", 90, SMALL),
        ("variants/v29_interlaced.mp4", 45, (240, 240)),
    ]);
}

#[test]
fn a_clip_that_is_cut_off_is_answered_as_far_as_it_goes_and_then_fails() {
    let Some(path) = clips::clip("variants/v15_truncated_moov_first.mp4") else { return };
    let receiver = Receiver::start(&["--no-print"]);
    let sent = run(&receiver, &path).expect(1).says("v15_truncated_moov_first.mp4");
    assert_eq!(problems(&sent, 48, SMALL, clips::probe(&path)), [""; 0]);
    let closed = lines::parse(&sent.lines).pop().unwrap();
    assert_eq!(closed["event"], "closed", "the session ends well all the same");
}

#[test]
fn files_without_pictures_are_refused_with_a_sentence() {
    let receiver = Receiver::start(&["--no-print"]);
    for name in ["v16_truncated_no_moov.mp4", "v17_zero_bytes.mp4", "v18_audio_only.mp4", "v27_not_a_video.mp4"] {
        let Some(path) = clips::clip(&format!("variants/{name}")) else { continue };
        let sent = run(&receiver, &path).expect(1).says(name);
        assert!(sent.lines.is_empty(), "{name}: {:?}", sent.lines);
        let said: Vec<&str> = sent.stderr.lines().filter(|line| line.starts_with("cv-sender: ")).collect();
        assert_eq!(said.len(), 1, "{name}: {}", sent.stderr);
    }
}

#[test]
fn a_still_picture_has_hardly_any_motion() {
    let Some(path) = clips::clip("variants/v31_still_frame.mp4") else { return };
    let receiver = Receiver::start(&["--no-print"]);
    let sent = run(&receiver, &path).expect(0);
    let results = lines::of_type(&sent.lines, "result");
    let motion = |result: &serde_json::Value| result["analysis"]["stats"]["motion"].as_f64().unwrap();
    let mut motions: Vec<f64> = results.iter().map(motion).collect();
    motions.sort_by(f64::total_cmp);
    // A keyframe is encoded afresh and differs a little; between keyframes nothing may move.
    assert!(motions[motions.len() / 2] < 0.05, "{motions:?}");
}
