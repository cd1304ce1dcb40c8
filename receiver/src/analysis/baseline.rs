//! What is normal for a value: its mean and spread over a sliding window of media time.
//!
//! The window is kept as 60 buckets of media time, each the count, mean and squared deviations of what fell
//! into it, so memory and time are the same at 1 and at 1000 pictures a second. The price is that the past leaves in
//! steps of a sixtieth of the window. Several values measured on the same pictures share the buckets.

use std::collections::VecDeque;

/// Buckets in a window.
const BUCKETS: i64 = 60;

/// Beyond this no square of a deviation is finite for certain.
const LARGEST: f64 = 1e100;

/// How a value stands against its baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Standing {
    /// Mean over the window, in the value's unit; 0 while the window holds no value.
    pub mean: f64,
    /// Population standard deviation over the window, in the value's unit.
    pub std: f64,
    /// Standard deviations from the mean to the value; 0 while nothing has varied.
    pub z: f64,
}

/// Sliding window over `N` values that are measured together.
///
/// The current values are part of their own baseline. Times decide alone: a pause longer than the window
/// empties it; a step back into the bucket before the newest, as after a small reordering, is taken in; a step back
/// beyond that is a source that started over, and the window starts over with it.
#[derive(Clone, Debug)]
pub struct Baseline<const N: usize = 1> {
    window: f64,
    /// Oldest first, by rising index; empty stretches of time have none. The first is at most `BUCKETS` before the last.
    buckets: VecDeque<Bucket<N>>,
    /// First and latest time since the window was last empty.
    span: (f64, f64),
}

#[derive(Clone, Debug)]
struct Bucket<const N: usize> {
    /// Time in units of a bucket's length, rounded down.
    index: i64,
    moments: [Moments; N],
}

impl<const N: usize> Baseline<N> {
    /// An empty window of so many seconds of media time.
    ///
    /// # Panics
    /// If `window_seconds` is not a positive, finite number.
    pub fn new(window_seconds: f64) -> Self {
        assert!(window_seconds > 0.0 && window_seconds.is_finite(), "a window of {window_seconds} s holds nothing");
        Self { window: window_seconds, buckets: VecDeque::with_capacity(BUCKETS as usize + 2), span: (0.0, 0.0) }
    }

    /// Takes in what was measured at `time_seconds` of media time. Values that are absent, not finite or beyond ±1e100
    /// are left out; at a time that is not finite, all are.
    pub fn push(&mut self, time_seconds: f64, values: [Option<f64>; N]) {
        if !time_seconds.is_finite() {
            return;
        }
        // Saturates for absurd times, which then share one bucket.
        let index = (time_seconds / self.window * BUCKETS as f64).floor() as i64;
        self.make_room(index);
        if self.buckets.is_empty() {
            self.span = (time_seconds, time_seconds);
        }
        self.span = (self.span.0.min(time_seconds), self.span.1.max(time_seconds));
        let bucket = self.bucket(index);
        for (moments, value) in bucket.moments.iter_mut().zip(values) {
            if let Some(value) = value.filter(|value| value.abs() <= LARGEST) {
                *moments = moments.merge(Moments { count: 1.0, mean: value, deviations: 0.0 });
            }
        }
    }

    /// Mean, spread and `value`'s place in them, for the value at place `which` of those pushed; panics from `N` on.
    pub fn standing(&self, which: usize, value: f64) -> Standing {
        let moments = self.moments(which);
        Standing { mean: moments.mean, std: moments.std(), z: moments.z(value) }
    }

    /// Count, mean and spread of the value at place `which` of those pushed; panics from `N` on.
    pub fn moments(&self, which: usize) -> Moments {
        self.buckets.iter().fold(Moments::default(), |all, bucket| all.merge(bucket.moments[which]))
    }

    /// How full the window is, 0 to 1: media time since it last was empty over its length.
    pub fn progress(&self) -> f64 {
        ((self.span.1 - self.span.0) / self.window).clamp(0.0, 1.0)
    }

    /// Drops what is out of the window that ends with bucket `index`.
    fn make_room(&mut self, index: i64) {
        if self.buckets.back().is_some_and(|newest| index < newest.index.saturating_sub(1)) {
            self.buckets.clear();
        }
        while self.buckets.front().is_some_and(|oldest| oldest.index < index.saturating_sub(BUCKETS)) {
            self.buckets.pop_front();
        }
    }

    /// The bucket `index`, which is no older than the one before the newest.
    fn bucket(&mut self, index: i64) -> &mut Bucket<N> {
        let place = self.buckets.iter().rposition(|bucket| bucket.index <= index);
        let place = match place {
            Some(place) if self.buckets[place].index == index => place,
            before => {
                let place = before.map_or(0, |before| before + 1);
                self.buckets.insert(place, Bucket { index, moments: [Moments::default(); N] });
                place
            }
        };
        &mut self.buckets[place]
    }
}

/// Count, mean and spread of some values, mergeable (Chan, Golub and LeVeque 1979), which does not lose
/// digits as sums of squares do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// How many values: an integer, exact up to 2⁵³.
    pub count: f64,
    /// Their mean; 0 without values.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    deviations: f64,
}

impl Moments {
    /// Population standard deviation; 0 without values.
    pub fn std(self) -> f64 {
        (self.deviations / self.count.max(1.0)).sqrt()
    }

    /// Standard deviations from the mean to `value`: 0 while nothing has varied, or if `value` is not finite.
    pub fn z(self, value: f64) -> f64 {
        let z = (value - self.mean) / self.std();
        if z.is_finite() { z } else { 0.0 }
    }

    /// Both together.
    fn merge(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let delta = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + delta * (other.count / count),
            deviations: self.deviations + other.deviations + delta * delta * (self.count * other.count / count),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Moments {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count.max(1.0);
        Moments { count, mean, deviations: values.iter().map(|value| (value - mean).powi(2)).sum() }
    }

    fn assert_close(a: Moments, b: Moments) {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()));
        assert!(a.count == b.count && close(a.mean, b.mean) && close(a.std(), b.std()), "{a:?} is not {b:?}");
    }

    /// What the window promises, computed from all that was ever pushed.
    fn naive(window: f64, pushed: &[(f64, f64)]) -> (Moments, f64) {
        let index = |time: f64| (time / window * 60.0).floor();
        let mut held: Vec<(f64, f64)> = Vec::new();
        let (mut first, mut newest) = (0.0, f64::MIN);
        for &(time, value) in pushed {
            let last = held.iter().map(|held| index(held.0)).fold(f64::MIN, f64::max);
            if index(time) < last - 1.0 {
                held.clear();
            }
            held.retain(|held| index(held.0) >= index(time) - 60.0);
            if held.is_empty() {
                (first, newest) = (time, time);
            }
            held.push((time, value));
            (first, newest) = (time.min(first), time.max(newest));
        }
        let values: Vec<f64> = held.iter().map(|held| held.1).collect();
        (of(&values), ((newest - first) / window).clamp(0.0, 1.0))
    }

    proptest! {
        #[test]
        fn agrees_with_recomputation_from_all_values(
            window in 0.5..400.0f64,
            steps in prop::collection::vec((prop_oneof![
                20 => 0.0..0.02f64, 5 => -0.03..0.3f64, 1 => -3.0..3.0f64,
            ], -1e3..1e3f64), 1..150),
        ) {
            let mut baseline = Baseline::<1>::new(window);
            let (mut time, mut pushed) = (0.0, Vec::new());
            for (step, value) in steps {
                time += step * window;
                pushed.push((time, value));
                baseline.push(time, [Some(value)]);
                let (moments, progress) = naive(window, &pushed);
                assert_close(baseline.moments(0), moments);
                prop_assert_eq!(baseline.progress(), progress);
                prop_assert!(baseline.buckets.len() <= 61);
                prop_assert!(baseline.buckets.iter().is_sorted_by(|a, b| a.index < b.index));
            }
        }

        #[test]
        fn no_input_panics_or_leaves_the_ranges(
            pushes in prop::collection::vec((any::<f64>(), any::<f64>(), any::<f64>()), 0..50),
        ) {
            let mut baseline = Baseline::<2>::new(60.0);
            for (time, a, b) in pushes {
                baseline.push(time, [Some(a), Some(b)]);
                let Standing { mean, std, z } = baseline.standing(0, a);
                prop_assert!(mean.is_finite() && std.is_finite() && std >= 0.0 && z.is_finite());
                prop_assert!((0.0..=1.0).contains(&baseline.progress()));
                prop_assert!(baseline.buckets.len() <= 61);
            }
        }
    }

    #[test]
    fn an_empty_window_stands_at_zero() {
        let baseline = Baseline::<1>::new(60.0);
        assert_eq!(baseline.standing(0, 5.0), Standing::default());
        assert_eq!(baseline.progress(), 0.0);
    }

    #[test]
    fn one_value_or_equal_values_have_no_spread() {
        let mut baseline = Baseline::new(60.0);
        for tick in 0..1000 {
            baseline.push(f64::from(tick) * 0.04, [Some(0.1)]);
            assert_eq!(baseline.standing(0, 0.1), Standing { mean: 0.1, std: 0.0, z: 0.0 });
            assert_eq!(baseline.standing(0, 7.0).z, 0.0);
        }
    }

    #[test]
    fn the_current_value_is_part_of_its_baseline() {
        let mut baseline = Baseline::new(60.0);
        for (time, value) in [(0.0, 2.0), (1.0, 4.0), (2.0, 4.0), (3.0, 4.0), (4.0, 5.0), (5.0, 5.0), (6.0, 7.0)] {
            baseline.push(time, [Some(value)]);
        }
        baseline.push(7.0, [Some(9.0)]);
        assert_eq!(baseline.standing(0, 9.0), Standing { mean: 5.0, std: 2.0, z: 2.0 });
        assert_eq!(baseline.progress(), 7.0 / 60.0);
    }

    #[test]
    fn memory_is_flat_over_hours_at_any_rate() {
        let mut baseline = Baseline::<4>::new(300.0);
        let before = baseline.buckets.capacity();
        for picture in 0..400_000 {
            baseline.push(f64::from(picture) / 30.0, [Some(1.0); 4]);
        }
        assert_eq!((baseline.buckets.len(), baseline.buckets.capacity()), (61, before));
        assert_eq!(baseline.progress(), 1.0);
    }

    #[test]
    fn a_pause_longer_than_the_window_empties_it() {
        let mut baseline = Baseline::new(60.0);
        baseline.push(0.0, [Some(1.0)]);
        baseline.push(30.0, [Some(3.0)]);
        baseline.push(7200.0, [Some(8.0)]);
        assert_eq!((baseline.moments(0).count, baseline.standing(0, 8.0).mean, baseline.progress()), (1.0, 8.0, 0.0));
    }

    #[test]
    fn a_source_that_starts_over_starts_the_window_over() {
        let mut baseline = Baseline::new(60.0);
        for second in 0..50 {
            baseline.push(f64::from(second), [Some(1.0)]);
        }
        baseline.push(0.0, [Some(2.0)]);
        assert_eq!((baseline.moments(0).count, baseline.progress()), (1.0, 0.0));
    }

    #[test]
    fn a_small_reordering_loses_nothing() {
        let mut baseline = Baseline::new(60.0);
        for time in [10.0, 12.0, 11.9, 12.1] {
            baseline.push(time, [Some(time)]);
        }
        assert_eq!(baseline.moments(0).count, 4.0);
        assert_close(baseline.moments(0), of(&[10.0, 12.0, 11.9, 12.1]));
    }

    #[test]
    fn what_is_no_number_is_ignored() {
        let mut baseline = Baseline::new(60.0);
        baseline.push(0.0, [Some(1.0), Some(1.0)]);
        for nonsense in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            baseline.push(nonsense, [Some(2.0), Some(2.0)]);
            baseline.push(1.0, [Some(nonsense), Some(5.0)]);
        }
        baseline.push(1.0, [None, Some(5.0)]);
        assert_eq!([0, 1].map(|which| baseline.moments(which).count), [1.0, 5.0]);
        assert_eq!(baseline.standing(0, f64::NAN).z, 0.0);
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        let mut baseline = Baseline::new(60.0);
        for tick in 0..600 {
            baseline.push(f64::from(tick) * 0.1, [Some(1e9 + f64::from(tick % 2))]);
        }
        let standing = baseline.standing(0, 1e9);
        assert!((standing.std - 0.5).abs() < 1e-6 && (standing.z + 1.0).abs() < 1e-6, "{standing:?}");
    }
}
