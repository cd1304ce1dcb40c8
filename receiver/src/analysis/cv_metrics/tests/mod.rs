//! The analyzer as a whole: against reference data, on drawn pulses, on input that no camera sends.

use std::time::Instant;

use cv_core::{
    geometry::Size,
    picture::{Picture, Pool, Range},
};
use serde_json::{Value, json};

use super::*;

mod drawn;
mod golden;

/// A metrics session that is given packed samples.
struct Watched(CvMetrics);

impl Watched {
    fn new(mode: Mode) -> Self {
        Self(CvMetrics::new(mode))
    }

    fn watch(&mut self, time: i64, fps: f64, size: Size, samples: &[u8]) -> Value {
        let scene = Scene::read(&Scene::draw(size, samples)).unwrap();
        self.0.update(time, fps, scene).into()
    }
}

fn halves(parameters: &[&str]) -> Result<super::super::Halves, String> {
    let mut all = Parameters::default();
    parameters.iter().for_each(|text| all.add(text).unwrap());
    build(&all)
}

fn fold(parameters: &[&str]) -> Box<dyn Fold> {
    halves(parameters).unwrap().1
}

fn features(width: u32, height: u32, value: u8) -> Features {
    let size = Size::new(width, height).unwrap();
    Features::Bytes(Scene::draw(size, &vec![value; cv_core::rgb::bytes(size)]))
}

/// A grey picture.
fn grey(width: u32, height: u32) -> Picture {
    let mut picture = Pool::default().picture(Size::new(width, height).unwrap(), Range::Full);
    for mut plane in picture.planes_mut() {
        for row in 0..plane.height {
            plane.row_mut(row).fill(128);
        }
    }
    picture.freeze()
}

#[test]
fn a_finding_has_the_fields_of_the_original_in_its_order() {
    let finding = fold(&["fps=30"]).fold(0.0, &features(8, 6, 128)).unwrap();
    let expected = json!({
        "brightness": 50.2, "motion": 0.0, "edgeDensity": 0.0, "activityZone": "none", "pulseBpm": null,
        "pulseConfidence": 0.0, "skinCoverage": 0.0, "stress": 0.0, "emotion": "unknown", "bluffRisk": 4.8,
        "bluffLevel": "low", "baselineProgress": 0.0, "baselineStress": 0.0, "baselineBluff": 4.8, "bluffDelta": 0.0,
        "signalQuality": "poor", "analysisFps": 0.0, "streamFps": 30.0,
    });
    assert_eq!(finding.to_string(), expected.to_string());
}

#[test]
fn a_picture_gives_the_features_of_its_colours() {
    let picture = grey(33, 7);
    let features = halves(&[]).unwrap().0.extract(&Input::new(&picture, None, Default::default())).unwrap();
    assert_eq!(features, super::tests::features(33, 7, 128), "neutral chroma is grey");
}

#[test]
fn parameters_out_of_range_are_refused_with_a_sentence() {
    let refusal = |parameter| halves(&[parameter]).err().unwrap();
    assert_eq!(refusal("mode=best"), "mode=best is none of upstream, accurate");
    assert_eq!(refusal("fps=-1"), "fps=-1 is not a number from 0 to 1000");
    assert_eq!(refusal("fps=NaN"), "fps=NaN is not a number from 0 to 1000");
}

#[test]
fn features_of_something_else_are_an_error() {
    let mut fold = fold(&[]);
    assert!(fold.fold(0.0, &json!([1, 2]).into()).is_err());
    for bytes in [vec![], vec![0; 71], vec![0; 72], vec![255; 500]] {
        let sentence = format!("{} bytes are no features of cv-metrics", bytes.len());
        assert_eq!(fold.fold(0.0, &Features::Bytes(bytes.into())).unwrap_err(), sentence);
    }
}

#[test]
fn the_state_for_people_is_baseline_and_pulse() {
    let mut fold = fold(&["mode=accurate"]);
    for second in 0..31 {
        fold.fold(f64::from(second), &features(8, 6, 128)).unwrap();
    }
    let baseline = json!({"progress": 10.0, "stress": 0.0, "bluff": 4.8});
    assert_eq!(fold.state(), json!({"baseline": baseline, "pulse": {"bpm": null, "usual": null}}));
}

#[test]
fn times_become_whole_milliseconds_and_the_source_bounds_the_rate() {
    let fps = |parameters: &[&str]| {
        let mut fold = fold(parameters);
        [0.0, 0.0333, 0.0333, 0.1, 0.0999].map(|time| {
            let finding = fold.fold(time, &features(8, 6, 128)).unwrap();
            finding["analysisFps"].as_f64().unwrap()
        })
    };
    assert_eq!(fps(&[]), [0.0, 30.3, 0.0, 14.9, 0.0]);
    assert_eq!(fps(&["fps=24.3"]), [0.0, 24.8, 0.0, 14.9, 0.0]);
}

#[test]
fn five_minutes_without_a_frame_and_a_source_that_starts_over_begin_afresh() {
    let progress = |pause: f64| {
        let mut fold = fold(&[]);
        for second in 0..100 {
            fold.fold(f64::from(second), &features(8, 6, 128)).unwrap();
        }
        fold.fold(99.0 + pause, &features(8, 6, 128)).unwrap()["baselineProgress"].as_f64().unwrap()
    };
    assert_eq!([-5.0, 1.0, 300.0].map(progress), [33.0, 33.3, 100.0]);
    assert_eq!([-5.1, 300.1, -99.0].map(progress), [0.0; 3]);
}

#[test]
fn sizes_and_times_of_any_kind_give_finite_findings_within_their_ranges() {
    let sizes =
        [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3), (1, 9), (64, 1), (65, 3), (640, 2), (5, 700), (131, 67), (97, 73)];
    let times = [0.0, 0.0, f64::NAN, -1.0, 1e300, f64::INFINITY, -1e300, 5.0, 4.9, 1e12, -7.5, f64::MIN_POSITIVE];
    for parameters in [["mode=upstream"], ["mode=accurate"]] {
        let mut fold = fold(&parameters);
        for step in 0..600_usize {
            let (width, height) = sizes[step * 7 % sizes.len()];
            let size = Size::new(width, height).unwrap();
            // Skin, mostly, of changing shade.
            let pixel = |place: usize| [200 + (step * 31 + place * 7) % 50, 140, 100].map(|sample| sample as u8);
            let samples: Vec<u8> = (0..size.pixels() as usize).flat_map(pixel).collect();
            let time = if step % 3 == 0 { times[step / 3 % times.len()] } else { step as f64 * 0.04 };
            let finding = fold.fold(time, &Features::Bytes(Scene::draw(size, &samples))).unwrap();
            for (name, value) in finding.as_object().unwrap() {
                let range = match name.as_str() {
                    "bluffDelta" => -100.0..=100.0,
                    "analysisFps" => 0.0..=1000.0,
                    "pulseBpm" => 40.0..=240.0,
                    _ => 0.0..=100.0,
                };
                assert!(value.as_f64().is_none_or(|value| range.contains(&value)), "{name} of {finding}");
            }
        }
    }
}

#[test]
fn the_largest_picture_of_a_camera_is_taken() {
    let mut fold = fold(&[]);
    let features = features(4096, 4096, 255);
    for time in [0.0, 0.1, 0.2] {
        assert_eq!(fold.fold(time, &features).unwrap()["brightness"], 100.0);
    }
}

#[test]
fn the_same_pictures_give_the_same_bytes() {
    let lines = || {
        let mut watched = Watched::new(Mode::Accurate);
        let mut face = drawn::Face::new(15.0, 90.0);
        (0..200).map(|_| face.watched(&mut watched).to_string()).collect::<Vec<_>>()
    };
    assert_eq!(lines(), lines());
}

/// Medians of both halves, for people: `cargo test --release -p cv-receiver --lib cost_of_a_frame -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn cost_of_a_frame() {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    for (width, height) in [(448, 252), (896, 504), (1344, 756)] {
        for mode in [Mode::Upstream, Mode::Accurate] {
            let size = Size::new(width, height).unwrap();
            let pictures: Vec<_> = (0..8).map(|seed| drawn::noisy_face(size, seed)).collect();
            let mut metrics = CvMetrics::new(mode);
            let (mut drawing, mut folding) = (Vec::new(), Vec::new());
            for frame in 0..2100_u32 {
                let started = Instant::now();
                let bytes = Scene::draw(size, &pictures[frame as usize % 8]);
                let drawn = Instant::now();
                let scene = Scene::read(&bytes).unwrap();
                let finding: Value = metrics.update((f64::from(frame) * 1000.0 / 30.0) as i64, 30.0, scene).into();
                let folded = Instant::now();
                assert!(finding.is_object());
                // The first minute fills the window.
                if frame >= 1800 {
                    drawing.push((drawn - started).as_secs_f64() * 1e3);
                    folding.push((folded - drawn).as_secs_f64() * 1e3);
                }
            }
            let (drawing, folding) = (median(drawing), median(folding));
            println!("{width}x{height} {mode:?}: extract {drawing:.3} ms, fold {folding:.3} ms");
        }
    }
}
