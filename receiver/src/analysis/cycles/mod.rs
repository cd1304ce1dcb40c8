//! `cycles`: counts repeated movement of any kind, without a model of who or what moves.
//!
//! Every picture becomes a small [`thumbnail`]. Of those of the last seconds, [`window`] finds the one direction in which they
//! move most: for somebody who squats, from standing to sitting. Along it, [`swing`] cuts out movements away from a place
//! and back. A swing that retraces itself and resembles another one is a repetition: [`counter`] counts those.
//!
//! What only passes by, once or several times, does not retrace itself; a movement made once has no like; noise and light have
//! no depth: they count nothing. Two repetitions are the least that is known for one, so the first is counted together
//! with the second, with its own time. Limits: what moves must fill some hundredths of the picture, the camera must stand
//! still, of several movements the largest wins, and what goes round without coming back the same way is not counted.

use std::{collections::VecDeque, sync::Arc};

use serde_json::{Value, json};

use self::{
    counter::{Counter, Cycle},
    window::Window,
};
use super::{Build, Cost, Extract, Features, Fold, Input, Parameters, Row, cadence::Cadence, rounded};

mod counter;
mod swing;
mod thumbnail;
mod window;

pub(super) const ROW: Row = Row {
    name: "cycles",
    help: "counts repeated movement there and back (squats, push-ups, a pump) without a model, with the time of each bottom",
    parameters: &[(
        "window",
        "12",
        "seconds of media time that are searched, 3 to 60: at least two repetitions and the pause between them",
    )],
    cost: Cost::Light,
    build: Build::Pictures(build),
};

fn build(parameters: &Parameters) -> Result<super::Halves, String> {
    let window = parameters.number("window", 12.0, 3.0..=60.0)?;
    Ok((Arc::new(Thumbnail), Box::new(Cycles::new(window))))
}

/// The features are a thumbnail, in the layout of its module.
struct Thumbnail;

impl Extract for Thumbnail {
    fn extract(&self, input: &Input<'_>) -> Result<Features, String> {
        Ok(Features::Bytes(thumbnail::of(input.picture.luma())))
    }
}

/// Searches in a window's time.
const SEARCHES: f64 = 48.0;

/// Repetitions that the final line lists.
const LISTED: usize = 1000;

/// Share of all change in the window that its main direction must be, or else nothing in particular moves.
const LEAST_SHARE: f64 = 0.25;

struct Cycles {
    window: Window,
    counter: Counter,
    searches: Cadence,
    /// The latest repetitions, for the end.
    latest: VecDeque<Cycle>,
}

impl Cycles {
    fn new(window: f64) -> Self {
        let searches = Cadence::every(window / SEARCHES);
        Self { window: Window::new(window), counter: Counter::new(window), searches, latest: VecDeque::new() }
    }

    /// Searches the window; the repetitions that it adds, in order.
    fn search(&mut self) -> Vec<Cycle> {
        let Some(motion) = self.window.motion().filter(|motion| motion.share >= LEAST_SHARE) else { return Vec::new() };
        let swings = swing::swings(&self.window, &motion);
        let mut cycles: Vec<Cycle> = swings.into_iter().flat_map(|swing| self.counter.take(swing)).collect();
        cycles.sort_by(|one, other| one.bottom.total_cmp(&other.bottom));
        self.latest.extend(cycles.iter().copied());
        self.latest.drain(..self.latest.len().saturating_sub(LISTED));
        cycles
    }
}

/// `cycles` as they are told.
fn told<'a>(cycles: impl IntoIterator<Item = &'a Cycle>) -> Value {
    cycles
        .into_iter()
        .map(|cycle| json!({ "bottom": rounded(cycle.bottom, 3), "seconds": rounded(cycle.seconds, 2) }))
        .collect()
}

impl Fold for Cycles {
    fn fold(&mut self, time: f64, features: &Features) -> Result<Value, String> {
        let cells = thumbnail::cells(features.bytes()?)?;
        if !self.window.push(time, cells) {
            self.counter.start_over();
        }
        let mut cycles = Vec::new();
        if self.searches.is_due(time) {
            cycles = self.search();
        }
        let rhythm = self.counter.rhythm(time);
        let phase = rhythm.map(|rhythm| ((time - rhythm.bottom) / rhythm.period).fract());
        let mut finding = json!({
            "count": self.counter.count(),
            "period": rhythm.map(|rhythm| rounded(rhythm.period, 2)),
            "phase": phase.map(|phase| rounded(phase, 2)),
            "confidence": rounded(rhythm.map_or(0.0, |rhythm| rhythm.likeness), 2),
        });
        if !cycles.is_empty() {
            finding["cycles"] = told(&cycles);
        }
        Ok(finding)
    }

    fn finish(&mut self) -> Option<Result<Value, String>> {
        self.search();
        Some(Ok(json!({ "count": self.counter.count(), "cycles": told(&self.latest) })))
    }

    fn state(&self) -> Value {
        json!({ "count": self.counter.count() })
    }
}

#[cfg(test)]
mod tests;
