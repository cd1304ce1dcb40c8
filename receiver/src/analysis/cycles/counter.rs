//! Which swings are repetitions, and how many there were.
//!
//! A swing alone is a movement; two alike are a repetition. So the first swing is kept until another one like it comes, and then
//! both are counted, late but with their times. From then on, every swing like the last is counted as it ends.

use std::collections::VecDeque;

use super::{swing::Swing, window::dot};

/// Root mean square of change in the cells from which on a swing is a movement, in levels. Noise, breath and a codec stay well
/// below; a squat of somebody who fills a hundredth of the picture is above.
const LEAST_DEPTH: f64 = 2.5;

/// Seconds that the deeper half of a swing must take, and share of the window that it may.
const LEAST_WIDTH: f64 = 0.08;
const MOST_WIDTH: f64 = 0.33;

/// What makes two swings alike.
struct Likeness {
    /// Cosine of their shapes, at least.
    cosine: f64,
    /// Detour of each, at most: a movement retraces itself.
    detour: f64,
    /// By what factor depths and widths may differ.
    ratio: f64,
}

/// Two swings that make the first repetitions.
const FIRST: Likeness = Likeness { cosine: 0.85, detour: 0.6, ratio: 1.4 };

/// One that follows others.
const FOLLOWING: Likeness = Likeness { cosine: 0.8, detour: 0.8, ratio: 1.7 };

/// Cosine up to which one is the way back from the other.
const OPPOSITE: f64 = -0.3;

/// Share of the shorter of two swings that may be part of the other.
const MOST_COMMON: f64 = 0.25;

/// Swings that wait for their like at most.
const MOST_WAITING: usize = 8;

/// Counted repetitions that are remembered, to know them again: more than there are turns one way in a window.
const REMEMBERED: usize = 128;

/// Repetitions that the rhythm is taken from.
const RHYTHM: usize = 4;

/// A repetition that was counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cycle {
    /// Seconds of media time at its bottom.
    pub(super) bottom: f64,
    /// Seconds from leaving the rest to being back.
    pub(super) seconds: f64,
}

/// How the latest repetitions follow each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rhythm {
    /// Seconds of media time at the latest bottom.
    pub(super) bottom: f64,
    /// Seconds from one bottom to the next, the median of the latest: one pause is no period.
    pub(super) period: f64,
    /// Cosine of the latest two shapes, 0 to 1.
    pub(super) likeness: f64,
}

/// Counts repetitions.
pub(super) struct Counter {
    /// Seconds within which two swings can be repetitions of each other.
    window: f64,
    count: u64,
    waiting: VecDeque<Swing>,
    /// The counted repetitions in the order of their bottoms.
    counted: VecDeque<Swing>,
}

impl Counter {
    /// Has counted nothing, in windows of so many seconds.
    pub(super) fn new(window: f64) -> Self {
        Self { window, count: 0, waiting: VecDeque::new(), counted: VecDeque::new() }
    }

    /// How many were counted.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The rhythm at `time` seconds; `None` where there is none or none any more.
    pub(super) fn rhythm(&self, time: f64) -> Option<Rhythm> {
        let mut latest = self.counted.iter().rev();
        let (last, before) = (latest.next()?, latest.next()?);
        let bottoms: Vec<f64> = self.counted.iter().rev().take(RHYTHM).map(|swing| swing.bottom).collect();
        let mut intervals: Vec<f64> = bottoms.windows(2).map(|pair| pair[0] - pair[1]).collect();
        intervals.sort_by(f64::total_cmp);
        let period = intervals[(intervals.len() - 1) / 2];
        let goes_on = period > 0.0 && (0.0..=2.0 * period).contains(&(time - last.bottom));
        goes_on.then(|| Rhythm { bottom: last.bottom, period, likeness: cosine(last, before).clamp(0.0, 1.0) })
    }

    /// Takes in a swing, known or not, and tells what was newly counted.
    pub(super) fn take(&mut self, swing: Swing) -> Vec<Cycle> {
        if !self.is_clear(&swing) || self.is_known(&swing) {
            return Vec::new();
        }
        let mut alike: Vec<Swing> = Vec::new();
        if self.counted.iter().any(|counted| self.are_alike(counted, &swing, &FOLLOWING)) {
            alike.push(swing);
        } else if self.is_return(&swing) {
            return Vec::new();
        } else if let Some(place) = self.waiting.iter().position(|waiting| self.are_alike(waiting, &swing, &FIRST)) {
            alike.extend(self.waiting.remove(place));
            alike.push(swing);
        } else {
            self.wait(swing);
        }
        alike.into_iter().map(|swing| self.add(swing)).collect()
    }

    /// Forgets what waits and what was, but not how many there were: nothing that comes is near it in time.
    pub(super) fn start_over(&mut self) {
        self.waiting.clear();
        self.counted.clear();
    }

    fn is_clear(&self, swing: &Swing) -> bool {
        let width = LEAST_WIDTH..=MOST_WIDTH * self.window;
        swing.depth >= LEAST_DEPTH && swing.detour <= FOLLOWING.detour && width.contains(&swing.width)
    }

    /// Whether two swings are the same movement at two times.
    fn are_alike(&self, one: &Swing, other: &Swing, likeness: &Likeness) -> bool {
        let near = |one: f64, other: f64| one <= other * likeness.ratio && other <= one * likeness.ratio;
        !overlap(one, other)
            && (one.bottom - other.bottom).abs() <= self.window
            && one.detour.max(other.detour) <= likeness.detour
            && near(one.depth, other.depth)
            && near(one.width, other.width)
            && cosine(one, other) >= likeness.cosine
    }

    /// Whether `swing` was seen before, or overlaps with one that was: along another direction its times differ a little.
    fn is_known(&self, swing: &Swing) -> bool {
        self.counted.iter().any(|counted| overlap(counted, swing))
    }

    /// Whether `swing` is the way from one bottom to the next: between two repetitions the rest is a turn, too. What
    /// came first is the bottom, for who begins to move leaves a rest.
    fn is_return(&self, swing: &Swing) -> bool {
        let near = |other: &Swing| (other.bottom - swing.bottom).abs() <= self.window;
        let opposite = |other: &Swing| near(other) && cosine(other, swing) <= OPPOSITE;
        self.counted.iter().any(opposite)
            || self.waiting.iter().any(|waiting| waiting.bottom < swing.bottom && opposite(waiting))
    }

    fn wait(&mut self, swing: Swing) {
        // The same one seen again, but better, as the direction has become clearer.
        self.waiting.retain(|waiting| !(overlap(waiting, &swing) && cosine(waiting, &swing) > 0.0));
        self.waiting.push_back(swing);
        if self.waiting.len() > MOST_WAITING {
            self.waiting.pop_front();
        }
    }

    fn add(&mut self, swing: Swing) -> Cycle {
        let cycle = Cycle { bottom: swing.bottom, seconds: swing.end - swing.start };
        self.waiting.retain(|waiting| !overlap(waiting, &swing));
        let place = self.counted.partition_point(|counted| counted.bottom < swing.bottom);
        self.counted.insert(place, swing);
        if self.counted.len() > REMEMBERED {
            self.counted.pop_front();
        }
        self.count += 1;
        cycle
    }
}

/// Whether two swings take the same time: neighbours touch at most, and the way from one bottom to the next takes half of both.
fn overlap(one: &Swing, other: &Swing) -> bool {
    let common = one.end.min(other.end) - one.start.max(other.start);
    common > MOST_COMMON * (one.end - one.start).min(other.end - other.start)
}

/// Cosine of what changed in two swings, -1 to 1.
fn cosine(one: &Swing, other: &Swing) -> f64 {
    f64::from(dot(&one.shape, &other.shape))
}
