//! Durations in buckets that are found without a search.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds in use: two an octave, from 250 µs to 8.192 s. A quantile is off by a quarter of its value at most.
const BOUNDS: usize = 31;
/// Half the first bound.
const UNIT_US: u64 = 125;

/// How long something took, counted by size.
#[derive(Debug)]
pub struct Histogram {
    /// One for each bound, and one for what is beyond.
    buckets: [AtomicU64; BOUNDS + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    pub(super) const fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BOUNDS + 1], sum_us: AtomicU64::new(0) }
    }

    /// Counts `duration`.
    pub fn observe(&self, duration: Duration) {
        self.observe_us(duration.as_micros().try_into().unwrap_or(u64::MAX));
    }

    /// Counts milliseconds; less than none, which clocks that disagree tell of, count as none.
    pub fn observe_ms(&self, millis: f64) {
        // The cast saturates.
        self.observe_us((millis * 1e3) as u64);
    }

    fn observe_us(&self, micros: u64) {
        // What a wrong clock claims must not spoil the sum for good.
        let micros = micros.min(86_400_000_000);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// The upper bound of each bucket in seconds with its count; the last bound is infinite.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = (0..BOUNDS).map(bound_us).map(|micros| micros as f64 / 1e6).chain([f64::INFINITY]);
        bounds.zip(self.buckets.iter().map(|count| count.load(Ordering::Relaxed))).collect()
    }

    /// The sum of all durations in seconds.
    pub fn sum(&self) -> f64 {
        self.sum_us.load(Ordering::Relaxed) as f64 / 1e6
    }
}

/// 2, 3, 4, 6, 8, 12, 16 … units.
fn bound_us(index: usize) -> u64 {
    let octave = 2 << (index / 2);
    UNIT_US * if index.is_multiple_of(2) { octave } else { octave + octave / 2 }
}

/// The first bucket whose bound is not below `micros`.
fn bucket(micros: u64) -> usize {
    let units = micros.div_ceil(UNIT_US);
    if units <= 2 {
        return 0;
    }
    let octave = (units - 1).ilog2();
    let upper_half = units > 3 << (octave - 1);
    (2 * octave as usize - 1 + usize::from(upper_half)).min(BOUNDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_first_bucket_that_holds_it() {
        for micros in (0..20_000).chain([8_192_000, 8_192_001, u64::MAX]) {
            let expected = (0..BOUNDS).find(|index| bound_us(*index) >= micros).unwrap_or(BOUNDS);
            assert_eq!(bucket(micros), expected, "{micros} us");
        }
    }

    #[test]
    fn sums_and_counts_survive_clocks_that_disagree() {
        let histogram = Histogram::new();
        for millis in [1.0, -3.0, f64::NAN, f64::INFINITY] {
            histogram.observe_ms(millis);
        }
        let buckets = histogram.buckets();
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 4);
        assert_eq!((buckets[0].1, buckets[BOUNDS].1), (2, 1));
        assert_eq!(histogram.sum(), 86_400.001);
    }
}
