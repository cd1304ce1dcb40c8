//! Against what the original says of pictures whose truth is known.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::*;

const CASES: [&str; 12] = [
    "agitated90s_64x48",
    "baseline95s_64x48",
    "black_160x120",
    "fps5_96x72",
    "fps60_96x72",
    "gap6s_120x90",
    "jitter_repeats_96x72",
    "noskin_160x120",
    "pulse72_160x120",
    "pulse96_161x91",
    "resize_160x120_97x73",
    "ttl_gap301s_96x72",
];

/// One frame of a case.
struct Frame {
    time: i64,
    fps: f64,
    size: Size,
    samples: Vec<u8>,
    expected: Value,
}

/// The folder of the case called `name`, or `None` with a loud word where it is missing.
fn folder(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("CV_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let folder = shared.join("golden/cv_metrics").join(name);
    if !folder.is_dir() {
        eprintln!("SKIPPED: no {} (set CV_SHARED)", folder.display());
        return None;
    }
    let has_zstd = Command::new("zstd").arg("--version").stdout(Stdio::null()).status().is_ok();
    assert!(has_zstd, "the pictures are packed by zstd, which is missing; scripts/setup.sh tests installs it");
    Some(folder)
}

fn frames(folder: &Path) -> Vec<Frame> {
    let unpacked = Command::new("zstd").args(["-d", "-c", "-q"]).arg(folder.join("frames.rgb.zst")).output().unwrap();
    let mut rest = unpacked.stdout.as_slice();
    let lines = std::fs::read_to_string(folder.join("expected.ndjson")).unwrap();
    let frames = lines.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let side = |name: &str| line[name].as_u64().unwrap() as u32;
        let size = Size::new(side("width"), side("height")).unwrap();
        let samples = rest.split_off(..cv_core::rgb::bytes(size)).unwrap().to_vec();
        let (time, fps) = (line["timestamp_ms"].as_i64().unwrap(), line["streamFps"].as_f64().unwrap());
        Frame { time, fps, size, samples, expected: line["metrics"].clone() }
    });
    frames.collect()
}

fn findings(frames: &[Frame], mode: Mode) -> Vec<Value> {
    let mut watched = Watched::new(mode);
    frames.iter().map(|frame| watched.watch(frame.time, frame.fps, frame.size, &frame.samples)).collect()
}

#[test]
fn every_value_is_what_the_original_says() {
    for (case, folder) in CASES.iter().filter_map(|case| Some((case, folder(case)?))) {
        let frames = frames(&folder);
        for (index, (finding, frame)) in findings(&frames, Mode::Upstream).iter().zip(&frames).enumerate() {
            let [got, expected] = [finding, &frame.expected].map(|value| value.as_object().unwrap());
            assert!(got.keys().eq(expected.keys()), "{got:?}");
            for (name, expected) in expected {
                assert_eq!(got[name], *expected, "{name} in frame {index} of {case}");
            }
        }
    }
}

/// How many findings have a pulse at all, and how many within 3 beats a minute of the true one, from so many seconds on.
fn near(findings: &[Value], frames: &[Frame], from: f64, truth: impl Fn(f64) -> f64) -> (usize, usize) {
    let times = frames.iter().map(|frame| (frame.time - frames[0].time) as f64 / 1000.0);
    let pulses = findings.iter().zip(times).filter(|(_, time)| *time >= from);
    let errors = pulses.filter_map(|(finding, time)| Some((finding["pulseBpm"].as_f64()? - truth(time)).abs()));
    errors.fold((0, 0), |(all, near), error| (all + 1, near + usize::from(error <= 3.0)))
}

#[test]
fn accurate_finds_the_true_pulse_wherever_the_original_does_and_where_it_takes_a_multiple_of_the_period() {
    for (case, folder) in CASES.iter().filter_map(|case| Some((case, folder(case)?))) {
        let described = std::fs::read_to_string(folder.join("case.json")).unwrap();
        let truth = serde_json::from_str::<Value>(&described).unwrap()["truth"].take();
        let Some(bpm) = truth["bpm"].as_f64() else { continue };
        let step = truth["bpm_step_s"].as_f64().zip(truth["bpm_after_step"].as_f64());
        let truth = |time: f64| step.filter(|step| time >= step.0).map_or(bpm, |step| step.1);
        let frames = frames(&folder);
        let [original, accurate] = [Mode::Upstream, Mode::Accurate].map(|mode| findings(&frames, mode));
        let [original, all] = [&original, &accurate].map(|findings| near(findings, &frames, 0.0, truth));
        assert_eq!(original.0, all.0, "{case}");
        assert!(original.1 <= all.1, "{case}: {} of {} are near, {} in the original", all.1, all.0, original.1);
        if step.is_some() {
            let (all, near) = near(&accurate, &frames, 20.0, truth);
            assert!(all > 0 && near * 4 >= all * 3, "{case}: {near} of {all} are near");
        }
    }
}
