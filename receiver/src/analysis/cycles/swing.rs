//! Swings: movements away from a place and back to it, cut out of the way along one direction.

use std::collections::VecDeque;

use super::{
    thumbnail::CELLS,
    window::{Motion, Sample, Window, distance_squared, dot},
};

/// How far the way must turn back before a turn is one, as a share of its range.
const HYSTERESIS: f64 = 0.35;

/// The range leaves out so large a share of the samples on either side.
const OUTLIERS: f64 = 0.02;

/// How much of the way out must be gone back before a swing has ended.
const RETURN: f64 = 0.4;

/// The same for a swing whose way back may go on.
const RETURN_SO_FAR: f64 = 0.75;

/// Depths, as shares of the way out, at which the way there is compared with the way back.
const COMPARED: [f64; 3] = [0.25, 0.5, 0.75];

/// Depth at which the cells are those of the bottom.
const DEEP: f64 = 0.97;

/// Share of the farthest place along a swing's own shape from which on it stays at its bottom.
const STAY: f64 = 0.95;

/// Depth up to which a swing is at rest.
const REST: f64 = 0.1;

/// Samples at the edge of a window that slides in which no swing begins.
const EDGE: usize = 5;

/// A movement to a bottom and back. Which of two turns is the bottom is for others to say: both are given.
#[derive(Clone, Debug)]
pub(super) struct Swing {
    /// When it left its rest, in seconds.
    pub(super) start: f64,
    /// The middle of its stay at the bottom.
    pub(super) bottom: f64,
    /// When it was back.
    pub(super) end: f64,
    /// Seconds in the deeper half.
    pub(super) width: f64,
    /// Root mean square of what changed in the cells from rest to bottom, in levels.
    pub(super) depth: f64,
    /// What changed, as cells of length 1.
    pub(super) shape: Vec<f32>,
    /// How far the way back was from the way there, in depths: near 0 for a movement that retraces itself, about 1 and
    /// more for one that passes by.
    pub(super) detour: f64,
}

/// The swings in a window, in order. The last may still go on.
pub(super) fn swings(window: &Window, motion: &Motion) -> Vec<Swing> {
    let turns = turns(&motion.places, HYSTERESIS * range(&motion.places));
    // A way that the window's edge cuts off in its midst looks like a turn there.
    let edge = window.samples().get(EDGE).filter(|_| window.slides()).map_or(f64::NEG_INFINITY, |sample| sample.time);
    let way = Way { samples: window.samples(), places: &motion.places };
    let last = turns.last().copied();
    let swing = |turns: &[usize]| {
        let least = if Some(turns[2]) == last { RETURN_SO_FAR } else { RETURN };
        way.swing([turns[0], turns[1], turns[2]], least).filter(|swing| swing.start >= edge)
    };
    turns.windows(3).filter_map(swing).collect()
}

/// The distance between almost the lowest and almost the highest of `places`.
fn range(places: &[f64]) -> f64 {
    let mut sorted = places.to_vec();
    sorted.sort_by(f64::total_cmp);
    let outliers = (sorted.len() as f64 * OUTLIERS) as usize;
    sorted.len().checked_sub(1 + outliers).map_or(0.0, |last| sorted[last] - sorted[outliers])
}

/// The indices of alternating highest and lowest places, at least `least` apart; the last is the farthest so far.
fn turns(places: &[f64], least: f64) -> Vec<usize> {
    let mut turns = Vec::new();
    let (mut low, mut high, mut rising) = (0, 0, None);
    for (index, place) in places.iter().enumerate() {
        if rising != Some(false) && *place > places[high] {
            high = index;
        }
        if rising != Some(true) && *place < places[low] {
            low = index;
        }
        if rising != Some(false) && places[high] - place > least {
            turns.push(high);
            (rising, low) = (Some(false), index);
        } else if rising != Some(true) && place - places[low] > least {
            turns.push(low);
            (rising, high) = (Some(true), index);
        }
    }
    turns.extend(rising.map(|rising| if rising { high } else { low }));
    turns
}

/// Thumbnails with their places along a direction.
struct Way<'a> {
    samples: &'a VecDeque<Sample>,
    places: &'a [f64],
}

impl Way<'_> {
    /// The swing from the turn `before` to the turn `bottom` and back to `after`, if it came back.
    fn swing(&self, [before, bottom, after]: [usize; 3], least: f64) -> Option<Swing> {
        let out = self.places[before] - self.places[bottom];
        let back = self.places[after] - self.places[bottom];
        if back.abs() < least * out.abs() {
            return None;
        }
        let depth = out.abs().min(back.abs()) * out.signum();
        let flanks = [before, after].map(|rest| Flank::new(self, bottom, rest, depth));
        let at = |share: f64| flanks.each_ref().map(|flank| flank.at(share));
        let [first, last] = at(DEEP);
        let [half, half_back] = at(0.5);
        let [start, end] = at(REST);
        let (deep, rest) = (middle(&first.cells, &last.cells), middle(&start.cells, &end.cells));
        let length = distance(&deep, &rest);
        let apart = COMPARED.map(|share| {
            let [there, back] = at(share);
            distance(&there.cells, &back.cells)
        });
        let shape: Vec<f32> = deep.iter().zip(&rest).map(|(deep, rest)| (deep - rest) / length as f32).collect();
        (length > 0.0).then(|| Swing {
            start: start.time,
            bottom: self.stay(flanks[0].half, flanks[1].half, &shape),
            end: end.time,
            width: half_back.time - half.time,
            depth: length / (CELLS as f64).sqrt(),
            shape,
            detour: apart.iter().sum::<f64>() / COMPARED.len() as f64 / length,
        })
    }
}

impl Way<'_> {
    /// The middle of the stay at the bottom, between the samples `from` and `to`. It is sought along the swing's own `shape`: the
    /// window's direction also serves whatever else moves in it, and bends where the swing is deepest.
    fn stay(&self, from: usize, to: usize, shape: &[f32]) -> f64 {
        let along = |index: usize| f64::from(dot(shape, &self.samples[index].cells));
        let places: Vec<f64> = (from..=to).map(along).collect();
        let rest = places[0].min(places[places.len() - 1]);
        let farthest = places.iter().copied().fold(rest, f64::max);
        let level = rest + STAY * (farthest - rest);
        let time = |place: usize| self.samples[from + place].time;
        let crossing = |inner: usize, outer: usize| {
            let apart = places[inner] - places[outer];
            let share = if apart > 0.0 { (places[inner] - level) / apart } else { 0.0 };
            time(inner) + (time(outer) - time(inner)) * share.clamp(0.0, 1.0)
        };
        let first = places.iter().position(|place| *place >= level).unwrap_or(0);
        let last = places.iter().rposition(|place| *place >= level).unwrap_or(0);
        (crossing(first, first.saturating_sub(1)) + crossing(last, (last + 1).min(places.len() - 1))) / 2.0
    }
}

/// One side of a swing: from its bottom to its rest, in whichever direction of time.
struct Flank<'a> {
    way: &'a Way<'a>,
    bottom: usize,
    rest: usize,
    /// From the place of the bottom to that of no depth.
    depth: f64,
    /// The sample nearest to the bottom that is in the upper half.
    half: usize,
}

/// A moment between two samples.
struct Moment {
    time: f64,
    cells: Vec<f32>,
}

impl<'a> Flank<'a> {
    fn new(way: &'a Way<'a>, bottom: usize, rest: usize, depth: f64) -> Self {
        let mut flank = Self { way, bottom, rest, depth, half: rest };
        flank.half = steps(bottom, rest).find(|&index| flank.depth_of(index) < 0.5).unwrap_or(rest);
        flank
    }

    /// How deep sample `index` is, from 0 at rest to 1 at the bottom.
    fn depth_of(&self, index: usize) -> f64 {
        1.0 - (self.way.places[index] - self.way.places[self.bottom]) / self.depth
    }

    /// When the way crosses the depth `share`. It may cross more than once: what counts is the crossing nearest to half of the
    /// depth, so that neither a tremor at the bottom nor one at rest moves it.
    fn at(&self, share: f64) -> Moment {
        let (inner, outer) = if share > 0.5 {
            let inner =
                steps(self.half, self.bottom).find(|&index| self.depth_of(index) >= share).unwrap_or(self.bottom);
            (inner, step(inner, self.rest))
        } else {
            let outer = steps(self.half, self.rest).find(|&index| self.depth_of(index) < share).unwrap_or(self.rest);
            (step(outer, self.bottom), outer)
        };
        let apart = self.depth_of(outer) - self.depth_of(inner);
        let share = if apart < 0.0 { ((share - self.depth_of(inner)) / apart).clamp(0.0, 1.0) } else { 0.0 };
        let (inner, outer) = (&self.way.samples[inner], &self.way.samples[outer]);
        let cells = inner.cells.iter().zip(&outer.cells).map(|(inner, outer)| inner + (outer - inner) * share as f32);
        Moment { time: inner.time + (outer.time - inner.time) * share, cells: cells.collect() }
    }
}

/// The index next to `from` towards `to`.
fn step(from: usize, to: usize) -> usize {
    match from.cmp(&to) {
        std::cmp::Ordering::Less => from + 1,
        std::cmp::Ordering::Equal => from,
        std::cmp::Ordering::Greater => from - 1,
    }
}

/// The indices from `from` to `to`, both included, in either direction.
fn steps(from: usize, to: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(from), move |&index| (index != to).then(|| step(index, to)))
}

fn middle(one: &[f32], other: &[f32]) -> Vec<f32> {
    one.iter().zip(other).map(|(one, other)| (one + other) / 2.0).collect()
}

fn distance(one: &[f32], other: &[f32]) -> f64 {
    f64::from(distance_squared(one, other)).sqrt()
}
