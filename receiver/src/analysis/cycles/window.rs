//! The thumbnails of the last seconds, and the one direction in which they move most.
//!
//! That direction is the first principal component of the window, found by power iteration that goes on from the one before.
//! Pictures closer than a 240th of the window are averaged, so memory and time are bounded at any rate.

use std::collections::VecDeque;

use super::thumbnail::CELLS;

/// Samples that a window holds at most.
const SAMPLES: f64 = 240.0;

/// Seconds without a picture after which nothing joins what was before to what comes.
const LONGEST_GAP: f64 = 2.0;

/// Steps of the power iteration each time: the window has changed little since the last.
const STEPS: usize = 4;

/// The thumbnails of a window of media time.
pub(super) struct Window {
    seconds: f64,
    samples: VecDeque<Sample>,
    direction: Vec<f32>,
    /// Whether samples have left the window, so that its first one is in the midst of something.
    slides: bool,
}

/// The mean of the pictures of a 240th of the window.
pub(super) struct Sample {
    index: i64,
    count: f32,
    /// Mean time in seconds.
    pub(super) time: f64,
    /// Mean cells, in levels.
    pub(super) cells: Vec<f32>,
}

/// How the window moves along its direction.
pub(super) struct Motion {
    /// The place of each sample along the direction, in levels times the root of the number of cells.
    pub(super) places: Vec<f64>,
    /// The share of all that changes in the window that this direction is, 0 to 1.
    pub(super) share: f64,
}

impl Window {
    /// An empty window of so many seconds.
    pub(super) fn new(seconds: f64) -> Self {
        Self { seconds, samples: VecDeque::new(), direction: Vec::new(), slides: false }
    }

    /// Takes in the cells at `time` seconds; `false` if they began a new window, as after a gap or a step back.
    pub(super) fn push(&mut self, time: f64, cells: Vec<f32>) -> bool {
        if !time.is_finite() {
            return true;
        }
        let goes_on = self.samples.back().is_none_or(|last| (time - last.time).abs() <= LONGEST_GAP);
        if !goes_on {
            self.samples.clear();
            self.slides = false;
        }
        // Saturates for absurd times, which then share one sample.
        let index = (time / self.seconds * SAMPLES).floor() as i64;
        match self.samples.back_mut() {
            Some(last) if index < last.index => {}
            Some(last) if index == last.index => last.add(time, &cells),
            _ => self.samples.push_back(Sample { index, count: 1.0, time, cells }),
        }
        while self.samples.front().is_some_and(|sample| sample.time < time - self.seconds) {
            self.samples.pop_front();
            self.slides = true;
        }
        goes_on
    }

    /// Whether the first samples are in the midst of something that began before.
    pub(super) fn slides(&self) -> bool {
        self.slides
    }

    /// The samples, oldest first.
    pub(super) fn samples(&self) -> &VecDeque<Sample> {
        &self.samples
    }

    /// The direction of most movement, and the window along it; `None` while nothing moves.
    pub(super) fn motion(&mut self) -> Option<Motion> {
        let count = self.samples.len();
        let mut mean = vec![0.0; CELLS];
        self.samples.iter().for_each(|sample| add(&mut mean, 1.0 / count as f32, &sample.cells));
        let total = self.samples.iter().map(|sample| f64::from(distance_squared(&sample.cells, &mean))).sum::<f64>();
        if self.direction.is_empty() || dot(&self.direction, &self.direction) == 0.0 {
            self.direction = self.farthest(&mean)?;
        }
        let mut places = Vec::new();
        for _ in 0..STEPS {
            let centre = dot(&self.direction, &mean);
            places =
                self.samples.iter().map(|sample| dot(&self.direction, &sample.cells) - centre).collect::<Vec<f32>>();
            let mut next = vec![0.0; CELLS];
            for (sample, place) in self.samples.iter().zip(&places) {
                add(&mut next, *place, &sample.cells);
            }
            add(&mut next, -places.iter().sum::<f32>(), &mean);
            let length = dot(&next, &next).sqrt();
            if !(length > 0.0 && length.is_finite()) {
                self.direction.clear();
                return None;
            }
            self.direction = next.into_iter().map(|value| value / length).collect();
        }
        let along: f64 = places.iter().map(|place| f64::from(place * place)).sum();
        let share = if total > 0.0 { (along / total).min(1.0) } else { 0.0 };
        Some(Motion { places: places.into_iter().map(f64::from).collect(), share })
    }

    /// From the mean to the sample that is farthest from it: a direction that is none of chance.
    fn farthest(&self, mean: &[f32]) -> Option<Vec<f32>> {
        let far = self
            .samples
            .iter()
            .max_by(|one, other| distance_squared(&one.cells, mean).total_cmp(&distance_squared(&other.cells, mean)))?;
        Some(far.cells.iter().zip(mean).map(|(cell, mean)| cell - mean).collect())
    }
}

impl Sample {
    fn add(&mut self, time: f64, cells: &[f32]) {
        self.count += 1.0;
        self.time += (time - self.time) / f64::from(self.count);
        for (mean, cell) in self.cells.iter_mut().zip(cells) {
            *mean += (cell - *mean) / self.count;
        }
    }
}

/// Sums that are formed side by side, always the same way, so that the processor can.
const LANES: usize = 8;

fn sum_of(one: &[f32], other: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    for (one, other) in one.as_chunks::<LANES>().0.iter().zip(other.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            sums[lane] += term(one[lane], other[lane]);
        }
    }
    sums.iter().sum()
}

/// The scalar product of two sets of cells.
pub(super) fn dot(one: &[f32], other: &[f32]) -> f32 {
    sum_of(one, other, |one, other| one * other)
}

/// The squared distance of two sets of cells.
pub(super) fn distance_squared(one: &[f32], other: &[f32]) -> f32 {
    sum_of(one, other, |one, other| (one - other) * (one - other))
}

/// Adds `factor` times `cells` to `sum`.
fn add(sum: &mut [f32], factor: f32, cells: &[f32]) {
    sum.iter_mut().zip(cells).for_each(|(sum, cell)| *sum += factor * cell);
}
