use std::f64::consts::TAU;

use bytes::Bytes;
use proptest::prelude::*;

use super::{thumbnail::CELLS, *};

/// A bar of 40 levels above its background whose upper edge is at `height`, from 0 to 1 of the picture, in noise
/// of `level` levels.
fn bar(height: f64, level: f64, seed: u64) -> Features {
    let mut bytes = Vec::with_capacity(2 * CELLS);
    for cell in 0..CELLS {
        let (x, y) = (cell % 24, 24 - cell / 24);
        let filled = if (9..14).contains(&x) { (height * 24.0 - y as f64 + 1.0).clamp(0.0, 1.0) } else { 0.0 };
        let mixed = (seed * 1000 + cell as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let noise = (mixed >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
        bytes.extend((((100.0 + 40.0 * filled + level * noise) * 256.0).round() as u16).to_le_bytes());
    }
    Features::Bytes(Bytes::from(bytes))
}

/// What is said about pictures of a bar whose height is `height(seconds)`: the last finding, the final word and all bottoms, which
/// are told once while it runs and once more at the end.
fn watched(seconds: f64, fps: f64, level: f64, height: impl Fn(f64) -> f64) -> (Value, Value, Vec<f64>) {
    let mut fold = build(&Parameters::default()).unwrap().1;
    let (mut last, mut told) = (Value::Null, Vec::new());
    for number in 0..(seconds * fps) as u64 {
        let time = number as f64 / fps;
        last = fold.fold(time, &bar(height(time), level, number)).unwrap();
        let cycles = last["cycles"].as_array().into_iter().flatten();
        told.extend(cycles.map(|cycle| cycle["bottom"].as_f64().unwrap()));
    }
    let word = fold.finish().unwrap().unwrap();
    let bottoms: Vec<f64> =
        word["cycles"].as_array().unwrap().iter().map(|cycle| cycle["bottom"].as_f64().unwrap()).collect();
    assert!(bottoms.starts_with(&told), "{told:?} {bottoms:?}");
    (last, word, bottoms)
}

/// A bar that stands for a second, dips `count` times, `period` seconds each, and stands again.
fn dipping(count: u32, period: f64) -> impl Fn(f64) -> f64 {
    move |seconds| {
        let phase = (seconds - 1.0) / period;
        let moves = phase > 0.0 && phase < f64::from(count);
        0.8 - if moves { 0.2 * (1.0 - (TAU * phase).cos()) } else { 0.0 }
    }
}

#[test]
fn dips_of_any_speed_are_counted_with_their_bottoms() {
    for (count, period) in [(2, 2.0), (5, 1.0), (20, 0.6), (7, 3.0), (3, 4.5)] {
        for fps in [12.0, 30.0, 60.0] {
            let seconds = 2.0 + f64::from(count) * period;
            let (_, word, bottoms) = watched(seconds, fps, 1.0, dipping(count, period));
            assert_eq!(word["count"], count, "{count} of {period} s at {fps}");
            for (index, bottom) in bottoms.iter().enumerate() {
                let expected = 1.0 + (index as f64 + 0.5) * period;
                assert!((bottom - expected).abs() < 0.1, "{count} of {period} s at {fps}: {bottom} is not {expected}");
            }
        }
    }
}

#[test]
fn the_running_count_is_never_more_than_a_period_late() {
    let mut fold = build(&Parameters::default()).unwrap().1;
    for number in 0..360u32 {
        let time = f64::from(number) / 30.0;
        let finding = fold.fold(time, &bar(dipping(5, 2.0)(time), 1.0, number.into())).unwrap();
        let (done, count) = (((time - 1.0) / 2.0).clamp(0.0, 5.0), finding["count"].as_f64().unwrap());
        // The first is known for a repetition by the second.
        assert!(count <= done.ceil() && (done < 2.5 || count >= (done - 1.0).floor()), "{time}: {finding}");
    }
}

#[test]
fn while_it_goes_on_there_is_a_rhythm_and_afterwards_none() {
    let (finding, ..) = watched(8.0, 30.0, 1.0, dipping(10, 2.0));
    assert!((finding["period"].as_f64().unwrap() - 2.0).abs() < 0.1, "{finding}");
    assert!((finding["phase"].as_f64().unwrap() - 0.98).abs() < 0.1, "{finding}");
    assert!(finding["confidence"].as_f64().unwrap() > 0.9, "{finding}");
    let (finding, ..) = watched(20.0, 30.0, 1.0, dipping(5, 2.0));
    assert_eq!(
        (&finding["period"], &finding["phase"], &finding["confidence"]),
        (&Value::Null, &Value::Null, &0.0.into())
    );
    assert_eq!(finding["count"], 5);
}

#[test]
fn what_happens_once_or_never_comes_back_or_is_noise_is_not_counted() {
    let count = |height: fn(f64) -> f64, level| watched(20.0, 30.0, level, height).1["count"].clone();
    assert_eq!(count(|_| 0.5, 0.0), 0, "a still picture");
    assert_eq!(count(|_| 0.5, 20.0), 0, "noise");
    assert_eq!(count(|seconds| 0.2 + 0.03 * seconds, 1.0), 0, "one way");
    assert_eq!(count(|seconds| dipping(1, 3.0)(seconds - 5.0), 1.0), 0, "one dip");
}

#[test]
fn a_gap_starts_the_search_over_and_keeps_the_count() {
    let height = |seconds: f64| dipping(3, 2.0)(if seconds < 50.0 { seconds } else { seconds - 100.0 });
    let mut fold = build(&Parameters::default()).unwrap().1;
    for number in (0..240u32).chain(3000..3240) {
        let time = f64::from(number) / 30.0;
        fold.fold(time, &bar(height(time), 1.0, number.into())).unwrap();
    }
    assert_eq!(fold.finish().unwrap().unwrap()["count"], 6);
}

#[test]
fn features_of_another_shape_and_wrong_windows_are_refused() {
    let mut fold = build(&Parameters::default()).unwrap().1;
    assert!(fold.fold(0.0, &json!([1]).into()).is_err());
    assert!(fold.fold(0.0, &Features::Bytes(Bytes::from_static(&[1, 2, 3]))).is_err());
    let mut parameters = Parameters::default();
    parameters.add("window=2").unwrap();
    assert_eq!(build(&parameters).err().unwrap(), "window=2 is not a number from 3 to 60");
}

proptest! {
    #[test]
    fn no_times_and_no_cells_break_it(
        pictures in prop::collection::vec((any::<f64>(), any::<[u8; 32]>()), 1..40), step in -0.5..1.0f64,
    ) {
        let mut fold = build(&Parameters::default()).unwrap().1;
        for (index, (time, cells)) in pictures.into_iter().enumerate() {
            let features = Features::Bytes(Bytes::from(cells.repeat(36)));
            for time in [time, index as f64 * step] {
                let finding = fold.fold(time, &features).unwrap();
                prop_assert!((0.0..=1.0).contains(&finding["confidence"].as_f64().unwrap()), "{}", finding);
            }
        }
        fold.finish();
    }
}
