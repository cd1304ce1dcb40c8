use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

fn pulse(parameters: &[&str]) -> Box<dyn Fold> {
    let mut all = Parameters::default();
    parameters.iter().for_each(|parameter| all.add(parameter).unwrap());
    build(&all).unwrap().1
}

/// What a fold says about the last of `pictures`: times with the skin's colour and share.
fn last(mut fold: Box<dyn Fold>, pictures: impl IntoIterator<Item = (f64, [f64; 4])>) -> Value {
    let findings = pictures.into_iter().map(|(time, features)| fold.fold(time, &json!(features).into()).unwrap());
    findings.last().unwrap()
}

/// A number from -1 to 1 that looks random.
fn noise(index: u64) -> f64 {
    let mixed = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Skin that beats `bpm` times a minute, in noise of `level` 8-bit levels, at times that are not quite regular.
fn beating(bpm: f64, level: f64, seconds: f64, fps: f64) -> impl Iterator<Item = (f64, [f64; 4])> {
    (0..(seconds * fps) as u64).map(move |number| {
        let time = (number as f64 + 0.3 * noise(number ^ 0x5555)) / fps;
        let beat = (TAU * bpm / 60.0 * time).sin();
        let [r, g, b] =
            [(201.0, 0.0026), (148.0, 0.0062), (121.0, 0.0042)].map(|(mean, share)| mean * (1.0 + share * beat));
        let noise = [0, 1, 2].map(|channel| level * noise(3 * number + channel));
        (time, [r + noise[0], g + noise[1], b + noise[2], 0.4])
    })
}

#[test]
fn every_rate_of_the_band_is_found_at_irregular_times_and_in_noise() {
    for bpm in [44.0, 48.0, 60.0, 72.0, 96.0, 120.0, 150.0, 180.0, 200.0] {
        for fps in [15.0, 29.97, 60.0] {
            let finding = last(pulse(&[]), beating(bpm, 0.25, 12.0, fps));
            let found = finding["bpm"].as_f64().unwrap_or_else(|| panic!("{bpm} at {fps}: {finding}"));
            assert!((found - bpm).abs() <= 1.0, "{bpm} at {fps}: {finding}");
            assert!(finding["confidence"].as_f64().unwrap() >= 0.7, "{bpm} at {fps}: {finding}");
        }
    }
}

#[test]
fn noise_has_no_pulse() {
    for seconds in [3, 6, 12, 20, 40, 60, 90] {
        let finding = last(pulse(&[]), beating(0.0, 1.0, f64::from(seconds), 30.0));
        assert_eq!(finding["bpm"], Value::Null, "{seconds}: {finding}");
        assert!(finding["confidence"].as_f64().unwrap() < 0.5, "{finding}");
    }
}

#[test]
fn it_says_why_there_is_no_rate() {
    let reason = |pictures: Vec<(f64, [f64; 4])>| last(pulse(&[]), pictures)["reason"].clone();
    assert_eq!(reason(beating(72.0, 0.1, 3.0, 30.0).collect()), "too short");
    let rare = (0..17).map(|number| (0.7 * f64::from(number), [200.0, 150.0, 120.0, 0.4]));
    assert_eq!(reason(rare.collect()), "too few pictures");
    assert_eq!(reason(beating(0.0, 0.0, 12.0, 30.0).collect()), "no clear pulse");
    let away = beating(72.0, 0.1, 13.0, 30.0)
        .map(|(time, [r, g, b, _])| (time, [r, g, b, if time < 12.0 { 0.4 } else { 0.0 }]));
    assert_eq!(reason(away.collect()), "no skin");
    let nothing = pulse(&[]).fold(0.0, &json!([null, null, null, 0.0]).into()).unwrap();
    assert_eq!((&nothing["bpm"], &nothing["reason"]), (&Value::Null, &"no skin".into()));
}

#[test]
fn a_finding_has_these_fields() {
    let finding = last(pulse(&["waveform=true"]), beating(72.0, 0.1, 12.0, 30.0));
    let keys: Vec<&String> = finding.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["bpm", "confidence", "snr_db", "skin", "window_s", "waveform"]);
    assert_eq!(finding["waveform"].as_array().unwrap().len(), 150);
    assert_eq!(finding["skin"], 0.4);
    assert!(finding["window_s"].as_f64().unwrap() > 11.5, "{finding}");
}

#[test]
fn the_overtone_of_a_beat_below_the_band_is_no_beat() {
    let whole = |band: &[&str]| {
        let beats = beating(53.0, 0.1, 12.0, 30.0).zip(beating(106.0, 0.1, 12.0, 30.0));
        // As in real skin the overtone is the weaker one.
        let added = beats.map(|((time, slow), (_, fast))| {
            let [r, g, b, _] = std::array::from_fn(|index| slow[index] + 0.6 * fast[index]);
            (time, [r / 1.6, g / 1.6, b / 1.6, 0.4])
        });
        last(pulse(band), added)["bpm"].as_f64()
    };
    assert!((whole(&[]).unwrap() - 53.0).abs() < 1.0);
    assert_eq!(whole(&["low=90", "high=200"]), None);
    let alone = last(pulse(&["low=90", "high=200"]), beating(106.0, 0.1, 12.0, 30.0));
    assert!((alone["bpm"].as_f64().unwrap() - 106.0).abs() < 1.0, "{alone}");
}

#[test]
fn the_final_word_is_the_mean_of_the_rates_that_were_told() {
    let mut fold = pulse(&[]);
    for (time, features) in beating(90.0, 0.1, 20.0, 30.0) {
        fold.fold(time, &json!(features).into()).unwrap();
    }
    let word = fold.finish().unwrap().unwrap();
    assert!((word["bpm"].as_f64().unwrap() - 90.0).abs() < 0.5 && word["told"].as_f64().unwrap() > 0.4, "{word}");
    assert_eq!(pulse(&[]).finish().unwrap().unwrap(), json!({ "bpm": null, "told": 0.0 }));
}

#[test]
fn parameters_outside_their_ranges_are_refused() {
    let refused = |texts: &[&str]| {
        let mut all = Parameters::default();
        texts.iter().for_each(|text| all.add(text).unwrap());
        build(&all).err().unwrap()
    };
    assert_eq!(refused(&["window=4"]), "window=4 is not a number from 5 to 60");
    assert_eq!(refused(&["low=100", "high=90"]), "low=100 is not below high=90");
    assert_eq!(refused(&["waveform=yes"]), "waveform=yes is neither true nor false");
}

#[test]
fn features_of_another_shape_are_an_error() {
    for features in [json!("x"), json!([1, 2, 3]), json!([1.0, 2.0, 3.0, null]), json!([1.0, 2.0, 3.0, 7.0])] {
        assert!(pulse(&[]).fold(0.0, &features.into()).is_err());
    }
}

proptest! {
    #[test]
    fn no_input_breaks_it(
        pictures in prop::collection::vec((any::<f64>(), any::<[f64; 3]>(), 0.0..=1.0f64), 1..40), step in -1.0..1.0f64,
    ) {
        let mut fold = pulse(&["waveform=true", "window=5"]);
        for (index, (time, [r, g, b], share)) in pictures.into_iter().enumerate() {
            for (time, features) in [(time, json!([r, g, b, share])), (index as f64 * step, json!([r.abs() % 300.0, 90.0, 80.0, share]))] {
                let finding = fold.fold(time, &features.into()).unwrap();
                prop_assert!((0.0..=1.0).contains(&finding["confidence"].as_f64().unwrap()), "{}", finding);
                prop_assert!(!finding["waveform"].as_array().unwrap().contains(&Value::Null));
            }
        }
    }
}

/// Times with the mean colour and share of a patch of skin.
type Recording = Vec<(f64, [f64; 4])>;

/// The patches of skin of a file in the folder of clips.
fn recordings(name: &str) -> Option<Vec<Recording>> {
    let default = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into();
    let path = std::env::var_os("CV_SHARED").map_or_else(default, std::path::PathBuf::from).join("clips").join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: {} is missing; CV_SHARED names the folder with clips", path.display());
        return None;
    };
    let numbers = |line: &str| line.split(',').map(|field| field.parse().unwrap()).collect::<Vec<f64>>();
    let rows: Vec<Vec<f64>> = text.lines().skip(1).map(numbers).collect();
    let patches = (rows[0].len() - 2) / 3;
    let patch =
        |at: usize| rows.iter().map(|row| (row[1], [row[2 + 3 * at], row[3 + 3 * at], row[4 + 3 * at], 0.3])).collect();
    Some((0..patches).map(patch).collect())
}

#[test]
fn skin_whose_pulse_is_lost_in_noise_gives_no_number() {
    for name in ["skin_rgb_india_video9.csv", "skin_rgb_india_video12.csv", "skin_rgb_india_video19.csv"] {
        for (patch, pictures) in recordings(name).unwrap_or_default().into_iter().enumerate() {
            for window in ["window=6", "window=12", "window=30"] {
                let mut fold = pulse(&[window]);
                for (time, features) in &pictures {
                    let finding = fold.fold(*time, &json!(features).into()).unwrap();
                    assert_eq!(finding["bpm"], Value::Null, "{name}, patch {patch}, {window}, {time}: {finding}");
                }
            }
        }
    }
}

#[test]
fn the_pulse_of_a_face_is_found() {
    for pictures in recordings("face_pulse_a_rgb.csv").unwrap_or_default() {
        let finding = last(pulse(&["window=10"]), pictures);
        let bpm = finding["bpm"].as_f64().unwrap_or_else(|| panic!("{finding}"));
        assert!((bpm - 52.7).abs() <= 2.0, "{finding}");
    }
}
