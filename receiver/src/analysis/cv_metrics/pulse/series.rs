//! The mean colours of the skin over the last minute.

/// How far it looks back, in milliseconds.
pub(super) const WINDOW: i64 = 60_000;

/// The most samples held, whatever the rate: a minute at 240 a second.
const MOST: usize = 14_400;

/// Mean red, green and blue of the skin, 0 to 1 each.
pub(in super::super) type Colour = [f64; 3];

/// Colours by time, which strictly increases.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Series {
    /// In one piece, which many passes go over; those before `first` are gone.
    samples: Vec<(i64, Colour)>,
    first: usize,
    /// The intervals between neighbours, in seconds, sorted: their median is at hand at every frame.
    intervals: Vec<f64>,
}

impl Series {
    /// Takes in a colour at `time` in milliseconds, unless time has not advanced.
    pub(in super::super) fn push(&mut self, time: i64, colour: Colour) {
        if let Some(last) = self.samples.last() {
            if time <= last.0 {
                return;
            }
            let interval = seconds(last.0, time);
            self.intervals.insert(self.place(interval), interval);
        }
        self.samples.push((time, colour));
        while self.held().len() > MOST || time.saturating_sub(self.held()[0].0) > WINDOW {
            let interval = seconds(self.held()[0].0, self.held()[1].0);
            self.intervals.remove(self.place(interval));
            self.first += 1;
        }
        // Many at a time, so that moving the rest costs next to nothing a frame.
        if self.first > MOST.min(self.samples.len() / 2) {
            self.samples.drain(..self.first);
            self.first = 0;
        }
    }

    fn held(&self) -> &[(i64, Colour)] {
        &self.samples[self.first..]
    }

    /// Where `interval` stands or would stand.
    fn place(&self, interval: f64) -> usize {
        self.intervals.partition_point(|&other| other < interval)
    }

    /// The colours of the last so many milliseconds.
    pub(super) fn recent(&self, window: i64) -> Recent<'_> {
        let held = self.held();
        let newest = held.last().map_or(0, |last| last.0);
        Recent(&held[held.partition_point(|sample| newest.saturating_sub(sample.0) > window)..])
    }

    /// Samples a second by the median interval; `None` where there is none.
    pub(super) fn rate(&self) -> Option<f64> {
        let upper = *self.intervals.get(self.intervals.len() / 2)?;
        let lower = self.intervals[(self.intervals.len() - 1) / 2];
        Some(1.0 / ((lower + upper) / 2.0))
    }
}

/// The newest part of a series.
pub(super) struct Recent<'a>(&'a [(i64, Colour)]);

impl Recent<'_> {
    /// How many colours.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Seconds from the first to the last.
    pub(super) fn duration(&self) -> f64 {
        self.0.first().zip(self.0.last()).map_or(0.0, |(first, last)| seconds(first.0, last.0))
    }

    /// Colours at `rate` a second, from the first on and before the last, on straight lines between what was measured.
    /// `colours` is replaced.
    pub(super) fn resample(&self, rate: f64, colours: &mut Vec<Colour>) {
        colours.clear();
        let step = 1.0 / rate;
        let count = (self.duration() / step).ceil() as usize;
        let mut lines = self.0.windows(2).map(|pair| Line::new(self.0[0].0, pair[0], pair[1]));
        let Some(mut line) = lines.next() else { return };
        colours.extend((0..count).map(|index| {
            let time = index as f64 * step;
            while time >= line.end {
                let Some(next) = lines.next() else { break };
                line = next;
            }
            line.at(time)
        }));
    }
}

/// Milliseconds to seconds, from one time to another.
fn seconds(from: i64, to: i64) -> f64 {
    to.saturating_sub(from) as f64 / 1000.0
}

/// The way from one sample to the next.
struct Line {
    begin: f64,
    end: f64,
    colour: Colour,
    slope: Colour,
}

impl Line {
    fn new(start: i64, one: (i64, Colour), next: (i64, Colour)) -> Self {
        let (begin, end) = (seconds(start, one.0), seconds(start, next.0));
        let share = 1.0 / (end - begin);
        let slope = std::array::from_fn(|channel| (next.1[channel] - one.1[channel]) * share);
        Self { begin, end, colour: one.1, slope }
    }

    fn at(&self, time: f64) -> Colour {
        let since = time - self.begin;
        std::array::from_fn(|channel| self.slope[channel] * since + self.colour[channel])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(times: impl IntoIterator<Item = i64>) -> Series {
        let mut series = Series::default();
        times.into_iter().for_each(|time| series.push(time, [time as f64, 0.5, -(time as f64)]));
        series
    }

    proptest! {
        #[test]
        fn the_rate_is_that_of_the_median_interval(steps in prop::collection::vec(-20..900i64, 2..400)) {
            let mut time = 0;
            let times: Vec<i64> = steps.iter().map(|step| { time += step; time }).collect();
            let series = series(times.iter().copied());
            let mut kept: Vec<i64> = Vec::new();
            for time in times {
                if kept.last().is_none_or(|last| time > *last) {
                    kept.push(time);
                }
            }
            let newest = *kept.last().unwrap();
            kept.retain(|time| newest - time <= 60_000);
            prop_assert!(series.held().iter().map(|sample| sample.0).eq(kept.iter().copied()));
            let mut intervals: Vec<i64> = kept.windows(2).map(|pair| pair[1] - pair[0]).collect();
            intervals.sort_unstable();
            let count = intervals.len();
            prop_assert_eq!(series.rate().is_some(), count > 0);
            if let Some(rate) = series.rate() {
                let median = (intervals[count / 2] + intervals[(count - 1) / 2]) as f64 / 2000.0;
                prop_assert!((rate * median - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn memory_is_bounded_at_any_rate_and_for_days() {
        let fast = series(0..100_000);
        assert_eq!((fast.held().len(), fast.intervals.len()), (MOST, MOST - 1));
        assert!(fast.samples.len() <= 2 * MOST + 1);
        let slow = series((0..500_000).map(|frame| frame * 33));
        assert!(slow.held().len() == 1819 && slow.samples.len() < 4000, "{} {}", slow.held().len(), slow.samples.len());
    }

    #[test]
    fn colours_between_samples_lie_on_straight_lines() {
        let mut colours = Vec::new();
        series([0, 40, 100, 500, 1000]).recent(WINDOW).resample(30.0, &mut colours);
        assert_eq!(colours.len(), 30, "from the first on, before the last");
        for (index, [time, constant, negative]) in colours.into_iter().enumerate() {
            assert!((time - index as f64 * 1000.0 / 30.0).abs() < 1e-9 && constant == 0.5 && negative == -time);
        }
        series([7]).recent(WINDOW).resample(30.0, &mut Vec::new());
    }

    #[test]
    fn a_shorter_look_back_holds_the_newest() {
        let series = series((0..100).map(|second| second * 1000));
        let recent = series.recent(20_000);
        assert_eq!((recent.len(), recent.duration()), (21, 20.0));
        assert_eq!((series.recent(WINDOW).len(), series.recent(WINDOW).duration()), (61, 60.0));
    }
}
