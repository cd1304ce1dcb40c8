//! The mean colours of the skin over the last minute.

use std::collections::VecDeque;

/// How far the estimate looks back, in milliseconds.
const WINDOW: i64 = 60_000;

/// The most samples held, whatever the rate: a minute at 240 a second.
const MOST: usize = 14_400;

/// Mean red, green and blue of the skin, 0 to 1 each.
pub(in super::super) type Colour = [f64; 3];

/// Colours by time, which strictly increases.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Series {
    samples: VecDeque<(i64, Colour)>,
    /// The intervals between neighbours, in seconds, sorted: their median is at hand at every frame.
    intervals: Vec<f64>,
}

impl Series {
    /// Takes in a colour at `time` in milliseconds, unless time has not advanced.
    pub(in super::super) fn push(&mut self, time: i64, colour: Colour) {
        if self.samples.back().is_some_and(|last| time <= last.0) {
            return;
        }
        if let Some(last) = self.samples.back() {
            let interval = seconds(last.0, time);
            self.intervals.insert(self.place(interval), interval);
        }
        self.samples.push_back((time, colour));
        while self.samples.len() > MOST || self.samples.front().is_some_and(|first| time.saturating_sub(first.0) > WINDOW) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some(first) = self.samples.pop_front() else { return };
        if let Some(next) = self.samples.front() {
            self.intervals.remove(self.place(seconds(first.0, next.0)));
        }
    }

    /// Where `interval` stands or would stand.
    fn place(&self, interval: f64) -> usize {
        self.intervals.partition_point(|&other| other < interval)
    }

    /// How many colours.
    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Seconds from the first to the last.
    pub(super) fn duration(&self) -> f64 {
        match (self.samples.front(), self.samples.back()) {
            (Some(first), Some(last)) => seconds(first.0, last.0),
            _ => 0.0,
        }
    }

    /// Samples a second by the median interval; `None` where there is none.
    pub(super) fn rate(&self) -> Option<f64> {
        let upper = *self.intervals.get(self.intervals.len() / 2)?;
        let lower = self.intervals[(self.intervals.len() - 1) / 2];
        Some(1.0 / ((lower + upper) / 2.0))
    }

    /// Colours at `rate` a second, from the first on and before the last, on straight lines between what was measured.
    /// `colours` is replaced.
    pub(super) fn resample(&self, rate: f64, colours: &mut Vec<Colour>) {
        colours.clear();
        let Some(&(start, _)) = self.samples.front() else { return };
        let step = 1.0 / rate;
        let count = (self.duration() / step).ceil() as usize;
        let mut pairs = self.samples.iter().zip(self.samples.iter().skip(1)).map(|(one, next)| Line::new(start, one, next));
        let Some(mut line) = pairs.next() else { return };
        for index in 0..count {
            let time = index as f64 * step;
            while time >= line.end {
                match pairs.next() {
                    Some(next) => line = next,
                    None => break,
                }
            }
            colours.push(line.at(time));
        }
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
    fn new(start: i64, one: &(i64, Colour), next: &(i64, Colour)) -> Self {
        let (begin, end) = (seconds(start, one.0), seconds(start, next.0));
        let slope = std::array::from_fn(|channel| (next.1[channel] - one.1[channel]) / (end - begin));
        Self { begin, end, colour: one.1, slope }
    }

    fn at(&self, time: f64) -> Colour {
        let since = time - self.begin;
        std::array::from_fn(|channel| self.slope[channel] * since + self.colour[channel])
    }
}
