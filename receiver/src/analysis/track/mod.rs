//! `track`: several objects with numbers that last, through misses and occlusion.
//!
//! Works on what another analyzer found: the objects of `detect` or the people of `pose`. [`sighting`] reads them, [`tracker`]
//! tells which is which from picture to picture (ByteTrack), by where [`kalman`] expects each to be and by the best
//! [`assignment`] of all. Nothing is known of looks: two that hide behind each other for long may come out changed.
//!
//! An object has its number until it has not been seen for `keep` seconds; then the number is never used again, and the same
//! person coming back is somebody else.

use std::collections::VecDeque;

use serde_json::{Value, json};

use self::{
    sighting::{Sighting, sightings},
    tracker::{Change, Settings, Step, Track, Tracker},
};
use super::{Build, Cost, Features, Fold, Gives, Parameters, Row, rounded};

mod assignment;
mod kalman;
mod sighting;
mod tracker;

/// Objects that have left that the final word still names; memory is the same after days.
const REMEMBERED: usize = 1000;

pub(super) const ROW: Row = Row {
    name: "track",
    help: "objects of detect or people of pose with numbers that last, through misses and occlusion (ByteTrack)",
    parameters: PARAMETERS,
    cost: Cost::Light,
    build: Build::Findings(&[Gives::Objects, Gives::People], build),
};

const PARAMETERS: &[(&str, &str, &str)] = &[
    ("from", "", "the analyzer before this one that found them [default: the nearest detect or pose]"),
    ("label", "", "what is followed, as detect calls it; everything if it is not given"),
    ("high", "0.5", "score from which on a sighting is clear, 0 to 1"),
    ("low", "0.1", "score from which on a doubtful sighting may be an object that is known already, 0 to 1"),
    ("start", "0.6", "score from which on a sighting may begin a new object, 0 to 1"),
    (
        "confirm",
        "3",
        "pictures in a row that make a new object, 1 to 1000; what the first picture shows clearly is one at once",
    ),
    (
        "keep",
        "2",
        "seconds without a sighting after which an object has left, 0.1 to 600; more than from picture to picture",
    ),
    ("most", "64", "objects at once, 1 to 256: those that were seen longest and most clearly"),
];

/// The ordered half, out of its parameters; it folds findings of another analyzer.
fn build(parameters: &Parameters) -> Result<Box<dyn Fold>, String> {
    let score = |key, default| parameters.number(key, default, 0.0..=1.0);
    let settings = Settings {
        high: score("high", 0.5)?,
        low: score("low", 0.1)?,
        start: score("start", 0.6)?,
        confirm: parameters.number("confirm", 3, 1..=1000)?,
        keep: parameters.number("keep", 2.0, 0.1..=600.0)?,
        most: parameters.number("most", 64, 1..=256)?,
    };
    let label = parameters.text("label").map(str::to_owned);
    Ok(Box::new(Tracking { label, tracker: Tracker::new(settings), gone: VecDeque::new() }))
}

struct Tracking {
    label: Option<String>,
    tracker: Tracker,
    /// The latest objects that have left.
    gone: VecDeque<Track>,
}

impl Fold for Tracking {
    fn fold(&mut self, time: f64, features: &Features) -> Result<Value, String> {
        let sightings = sightings(features.json()?, self.label.as_deref())?;
        let Step { changes, gone } = self.tracker.step(time, &sightings);
        self.gone.extend(gone);
        self.gone.drain(..self.gone.len().saturating_sub(REMEMBERED));
        let told = self.tracker.told();
        let objects: Vec<Value> = told.into_iter().filter_map(|track| object(track, &sightings)).collect();
        let mut finding = json!({ "objects": objects });
        if !changes.is_empty() {
            finding["events"] = changes.into_iter().map(event).collect();
        }
        Ok(finding)
    }

    fn finish(&mut self) -> Option<Result<Value, String>> {
        let mut all: Vec<&Track> = self.gone.iter().chain(self.tracker.told()).collect();
        all.sort_by_key(|track| track.id);
        let objects: Vec<Value> = all.into_iter().map(life).collect();
        Some(Ok(json!({ "count": self.tracker.given(), "objects": objects })))
    }

    fn state(&self) -> Value {
        let objects: Vec<Value> = self.tracker.told().into_iter().map(standing).collect();
        json!({ "count": self.tracker.given(), "objects": objects })
    }
}

/// An object as it is seen in the picture; `None` for one that is not.
fn object(track: &Track, sightings: &[Sighting]) -> Option<Value> {
    let sighting = &sightings[track.seen?];
    let mut object = json!({
        "id": track.id,
        "label": track.label,
        "score": rounded(sighting.score, 3),
        "box": sighting.bounds.map(|coordinate| rounded(coordinate, 2)),
    });
    if let Some(points) = &sighting.points {
        object["points"] = points.clone();
    }
    Some(object)
}

fn event((id, change): (u64, Change)) -> Value {
    let name = match change {
        Change::New => "new",
        Change::Lost => "lost",
        Change::Found => "found",
        Change::Left => "left",
    };
    json!({ "event": name, "id": id })
}

/// An object from its first picture to its last.
fn life(track: &Track) -> Value {
    json!({
        "id": track.id,
        "label": track.label,
        "first": rounded(track.first, 3),
        "last": rounded(track.last, 3),
        "pictures": track.pictures,
    })
}

/// An object as it is known now.
fn standing(track: &Track) -> Value {
    let mut life = life(track);
    life["seen"] = track.seen.is_some().into();
    life["box"] = track.bounds().map(|coordinate| rounded(coordinate, 2)).to_vec().into();
    life
}

#[cfg(test)]
mod tests;
