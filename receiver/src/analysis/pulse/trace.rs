//! The skin's colour over a sliding window of media time, at the times at which it truly was.
//!
//! Pictures closer than a fortieth of a second are averaged, so memory is bounded at any rate and nothing of
//! what a fast camera sees is lost. Where the colour was unknown for longer than a second, and where time steps back, a new
//! trace begins: no signal reaches across.

use std::collections::VecDeque;

/// Samples a second that are kept at most.
const CELLS: f64 = 40.0;

/// Seconds without a sample after which nothing joins what was before to what comes.
const LONGEST_GAP: f64 = 1.0;

/// Samples a second of the uniform series.
pub(super) const RATE: f64 = 30.0;

/// Samples of mean red, green and blue.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    window: f64,
    cells: VecDeque<Cell>,
}

/// The mean of what fell into a fortieth of a second.
#[derive(Clone, Debug)]
struct Cell {
    index: i64,
    count: f64,
    time: f64,
    rgb: [f64; 3],
}

impl Trace {
    /// An empty window of so many seconds.
    pub(super) fn new(window: f64) -> Self {
        Self { window, cells: VecDeque::new() }
    }

    /// Takes in the colour at `time` seconds. A time that is not finite is ignored, as is one little before the
    /// latest; one further back begins a new trace.
    pub(super) fn push(&mut self, time: f64, rgb: [f64; 3]) {
        self.forget(time);
        if !time.is_finite() {
            return;
        }
        // Saturates for absurd times, which then share one cell.
        let index = (time * CELLS).floor() as i64;
        match self.cells.back_mut() {
            Some(last) if index < last.index => return,
            Some(last) if index == last.index => last.add(time, rgb),
            _ => self.cells.push_back(Cell { index, count: 1.0, time, rgb }),
        }
        let oldest = time - self.window;
        while self.cells.front().is_some_and(|cell| cell.time < oldest) {
            self.cells.pop_front();
        }
    }

    /// Empties itself if `time` is not in reach of the latest sample.
    pub(super) fn forget(&mut self, time: f64) {
        if self.cells.back().is_some_and(|last| (time - last.time).abs() > LONGEST_GAP) {
            self.cells.clear();
        }
    }

    /// Seconds from the first to the last sample.
    pub(super) fn span(&self) -> f64 {
        self.ends().map_or(0.0, |(first, last)| last.time - first.time)
    }

    /// Mean samples a second, 0 without a span worth the name.
    pub(super) fn rate(&self) -> f64 {
        let span = self.span();
        if span * CELLS > 0.5 { (self.cells.len() - 1) as f64 / span } else { 0.0 }
    }

    fn ends(&self) -> Option<(&Cell, &Cell)> {
        Some((self.cells.front()?, self.cells.back()?))
    }

    /// The colours [`RATE`] times a second from the first sample to the last, linear between them: `[n]` values of
    /// red, green and blue each.
    pub(super) fn uniform(&self) -> Vec<[f64; 3]> {
        let Some((first, _)) = self.ends() else { return Vec::new() };
        let count = (self.span() * RATE).floor() as usize + 1;
        let mut colours = Vec::with_capacity(count);
        let mut after = 0;
        for step in 0..count {
            let time = first.time + step as f64 / RATE;
            while after + 1 < self.cells.len() && self.cells[after].time < time {
                after += 1;
            }
            let (left, right) = (&self.cells[after.saturating_sub(1)], &self.cells[after]);
            let apart = right.time - left.time;
            let share = if apart > 0.0 { ((time - left.time) / apart).clamp(0.0, 1.0) } else { 1.0 };
            colours.push([0, 1, 2].map(|channel| left.rgb[channel] + (right.rgb[channel] - left.rgb[channel]) * share));
        }
        colours
    }
}

impl Cell {
    fn add(&mut self, time: f64, rgb: [f64; 3]) {
        self.count += 1.0;
        self.time += (time - self.time) / self.count;
        for (mean, value) in self.rgb.iter_mut().zip(rgb) {
            *mean += (value - *mean) / self.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(times: impl IntoIterator<Item = f64>) -> Trace {
        let mut trace = Trace::new(12.0);
        times.into_iter().for_each(|time| trace.push(time, [time, 2.0 * time, 1.0]));
        trace
    }

    #[test]
    fn irregular_times_become_a_regular_series_of_the_same_line() {
        let times = (0..200).map(|n| f64::from(n) / 29.0 + 0.008 * f64::from(n * 7 % 5));
        let trace = filled(times);
        let (first, series) = (trace.cells[0].time, trace.uniform());
        for (step, rgb) in series.iter().enumerate() {
            let time = first + step as f64 / RATE;
            assert!((rgb[0] - time).abs() < 1e-9 && (rgb[1] - 2.0 * time).abs() < 1e-9, "{rgb:?} at {time}");
        }
        assert_eq!(series.len(), (trace.span() * RATE) as usize + 1);
    }

    #[test]
    fn a_fast_camera_fills_no_more_cells_than_there_are() {
        let trace = filled((0..20_000).map(|n| f64::from(n) / 1000.0));
        assert!(trace.cells.len() <= 12 * 40 + 1, "{}", trace.cells.len());
        assert!((trace.span() - 12.0).abs() < 0.05);
    }

    #[test]
    fn a_second_without_skin_or_a_step_back_begins_a_new_trace() {
        for jump in [6.1, -3.0, 1e300] {
            let mut times: Vec<f64> = (0..150).map(|n| f64::from(n) / 30.0).collect();
            times.push(jump);
            assert_eq!(filled(times).cells.len(), 1, "{jump}");
        }
        let small = [0.0, 0.1, 0.2, 0.1, 0.2, 0.9];
        assert_eq!(filled(small).cells.len(), 4, "a little reordering and a little gap change nothing");
    }

    proptest! {
        #[test]
        fn no_times_break_it(times in prop::collection::vec(any::<f64>(), 0..40), step in -2.0..2.0f64) {
            let mut trace = Trace::new(5.0);
            for (index, time) in times.into_iter().enumerate() {
                trace.push(time, [1.0; 3]);
                trace.push(index as f64 * step, [1.0; 3]);
                let series = trace.uniform();
                prop_assert!(series.len() <= 151 && series.iter().flatten().all(|value| (value - 1.0).abs() < 1e-9));
                prop_assert!(trace.span() >= 0.0 && trace.rate().is_finite());
            }
        }
    }
}
