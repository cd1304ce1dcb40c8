//! What stress and bluff risk usually are: their means over five minutes of frame time, and how much of it is known.

use std::collections::VecDeque;

/// How far back it looks, in seconds.
const WINDOW: i64 = 300;
/// A shorter span says nothing yet.
const LEAST_SPAN: i64 = 20;

/// One bucket for each whole second of frame time in the window, oldest first; seconds without frames have none.
#[derive(Clone, Debug, Default)]
pub(super) struct Usual {
    buckets: VecDeque<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    second: i64,
    count: f64,
    /// Stress and bluff risk, added up.
    sums: [f64; 2],
}

/// The baseline as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Standing {
    /// Mean stress, 0 to 100.
    pub stress: f64,
    /// Mean bluff risk, 0 to 100.
    pub bluff: f64,
    /// How much of the window is covered, 0 to 1.
    pub progress: f64,
    /// How much the baseline is worth: `progress`, but 0 before 20 s.
    pub strength: f64,
}

impl Usual {
    /// Takes in a frame of the second `second`; one up to a window older than the newest is taken in too.
    pub(super) fn push(&mut self, second: i64, stress: f64, bluff: f64) {
        let newest = self.buckets.back().map_or(second, |bucket| bucket.second.max(second));
        let oldest = newest.saturating_sub(WINDOW);
        while self.buckets.front().is_some_and(|bucket| bucket.second < oldest) {
            self.buckets.pop_front();
        }
        let place = self.buckets.partition_point(|bucket| bucket.second < second);
        if self.buckets.get(place).is_none_or(|bucket| bucket.second != second) {
            self.buckets.insert(place, Bucket { second, count: 0.0, sums: [0.0; 2] });
        }
        let bucket = &mut self.buckets[place];
        bucket.count += 1.0;
        bucket.sums[0] += stress;
        bucket.sums[1] += bluff;
    }

    /// The means of all frames in the window; zeros before the first.
    pub(super) fn standing(&self) -> Standing {
        let (Some(first), Some(last)) = (self.buckets.front(), self.buckets.back()) else { return Standing::default() };
        let (mut count, mut sums) = (0.0, [0.0; 2]);
        for bucket in &self.buckets {
            count += bucket.count;
            sums = [sums[0] + bucket.sums[0], sums[1] + bucket.sums[1]];
        }
        let span = last.second - first.second;
        let progress = (span as f64 / WINDOW as f64).clamp(0.0, 1.0);
        let strength = if span < LEAST_SPAN { 0.0 } else { progress };
        Standing { stress: sums[0] / count, bluff: sums[1] / count, progress, strength }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_weighted_by_frames_and_the_span_counts_whole_seconds() {
        let mut usual = Usual::default();
        assert_eq!(usual.standing(), Standing::default());
        for (second, stress) in [(100, 10.0), (100, 20.0), (100, 30.0), (119, 60.0)] {
            usual.push(second, stress, stress / 2.0);
        }
        let expected = Standing { stress: 30.0, bluff: 15.0, progress: 19.0 / 300.0, strength: 0.0 };
        assert_eq!(usual.standing(), expected);
        usual.push(120, 30.0, 15.0);
        assert_eq!(usual.standing().strength, 20.0 / 300.0);
    }

    #[test]
    fn what_is_older_than_five_minutes_is_gone() {
        let mut usual = Usual::default();
        for second in 0..5000 {
            usual.push(second, if second < 4000 { 90.0 } else { 7.0 }, 3.0);
            assert!(usual.buckets.len() <= 301);
        }
        assert_eq!(usual.standing(), Standing { stress: 7.0, bluff: 3.0, progress: 1.0, strength: 1.0 });
    }

    #[test]
    fn steps_back_are_taken_in_where_they_belong() {
        let mut usual = Usual::default();
        for second in [50, 52, 49, 52, 51] {
            usual.push(second, 1.0, 1.0);
        }
        assert!(usual.buckets.iter().map(|bucket| bucket.second).eq(49..=52));
    }
}
