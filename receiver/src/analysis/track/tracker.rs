//! Which sightings of one picture are which of the pictures before.
//!
//! ByteTrack (Zhang et al., ECCV 2022): what is seen clearly is matched first; what is still missing may be one of the
//! doubtful sightings, which hidden or blurred objects are, and which alone begin nothing.

use super::{assignment::Worth, kalman::Motion, sighting::Sighting};
use crate::analysis::bounds::{Bounds, overlap};

/// Overlap with where it is expected from which on a sighting may be a track's: a clear one of a known track, a doubtful one,
/// a clear one of a track that has just begun. The paper's.
const CLEAR: f64 = 0.2;
const DOUBTFUL: f64 = 0.5;
const BEGUN: f64 = 0.3;

/// Tracks at once, those included that have just begun.
const MOST_TRACKS: usize = 256;

/// What is known for an object, and what not.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Score from which on a sighting is clear.
    pub(super) high: f64,
    /// Score from which on it is looked at.
    pub(super) low: f64,
    /// Score from which on it may begin a track.
    pub(super) start: f64,
    /// Pictures in a row in which it must be seen clearly to be told.
    pub(super) confirm: u64,
    /// Seconds without being seen after which it has left.
    pub(super) keep: f64,
    /// Objects at once.
    pub(super) most: usize,
}

/// Something that is followed.
#[derive(Clone, Debug)]
pub(super) struct Track {
    /// Its number, from 1, once it is told and as long as it is.
    pub(super) id: Option<u64>,
    pub(super) label: String,
    /// Seconds at which it was first and last seen.
    pub(super) first: f64,
    pub(super) last: f64,
    /// Pictures in which it was seen.
    pub(super) pictures: u64,
    /// What is seen of it now: the place among the picture's sightings.
    pub(super) seen: Option<usize>,
    motion: Motion,
    /// Sum of scores: how much speaks for it.
    weight: f64,
    /// Whether it was seen often enough.
    settled: bool,
    /// Whether it was seen in the picture before.
    was_seen: bool,
}

impl Track {
    /// Where it is expected, or was just seen.
    pub(super) fn bounds(&self) -> Bounds {
        self.motion.bounds()
    }

    fn take(&mut self, index: usize, sighting: &Sighting, time: f64) {
        self.motion.correct(sighting.bounds);
        self.seen = Some(index);
        self.last = time;
        self.pictures += 1;
        self.weight += sighting.score;
    }
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is told for the first time.
    New,
    /// It is not seen any more.
    Lost,
    /// It is seen again.
    Found,
    /// It will not be told again.
    Left,
}

/// Objects with their numbers.
pub(super) struct Tracker {
    settings: Settings,
    tracks: Vec<Track>,
    /// The time of the latest picture.
    time: Option<f64>,
    /// Numbers that were given.
    given: u64,
}

/// What a picture changed.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) changes: Vec<(u64, Change)>,
    /// The tracks that will not be told again, as they last were.
    pub(super) gone: Vec<Track>,
}

impl Step {
    fn leave(&mut self, mut track: Track) -> Track {
        if let Some(id) = track.id {
            self.changes.push((id, Change::Left));
            self.gone.push(track.clone());
        }
        track.id = None;
        track
    }
}

impl Tracker {
    /// Knows nothing yet.
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, tracks: Vec::new(), time: None, given: 0 }
    }

    /// The objects that are told, by number.
    pub(super) fn told(&self) -> Vec<&Track> {
        let mut told: Vec<_> = self.tracks.iter().filter(|track| track.id.is_some()).collect();
        told.sort_by_key(|track| track.id);
        told
    }

    /// How many numbers were given.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// Takes in the sightings of the picture at `time` seconds.
    pub(super) fn step(&mut self, time: f64, sightings: &[Sighting]) -> Step {
        let mut step = Step::default();
        let time = self.advance(time, &mut step);
        let is_first = self.time.is_none();
        self.time = Some(time);
        let mut free = self.associate(time, sightings);
        free.retain(|&index| sightings[index].score >= self.settings.start);
        let settings = &self.settings;
        self.tracks.retain(|track| track.settled || track.seen.is_some());
        for index in free.into_iter().take(MOST_TRACKS.saturating_sub(self.tracks.len())) {
            self.tracks.push(begun(index, &sightings[index], time));
        }
        for track in &mut self.tracks {
            track.settled |= is_first || track.pictures >= settings.confirm;
        }
        self.tell(&mut step);
        step.changes.sort_by_key(|&(id, _)| id);
        step
    }

    /// Moves on to `time`, or to where the source started over; what has been away too long leaves. The time it is.
    fn advance(&mut self, time: f64, step: &mut Step) -> f64 {
        let Some(latest) = self.time else { return if time.is_finite() { time } else { 0.0 } };
        if time.is_finite() && time < latest - self.settings.keep {
            self.time = None;
            for track in std::mem::take(&mut self.tracks) {
                step.leave(track);
            }
            return time;
        }
        // A time that is none, or a little older than the latest, is as good as the latest.
        let now = if time.is_finite() { latest.max(time) } else { latest };
        let (stay, go) =
            std::mem::take(&mut self.tracks).into_iter().partition(|track| now - track.last <= self.settings.keep);
        self.tracks = stay;
        go.into_iter().for_each(|track| drop(step.leave(track)));
        for track in &mut self.tracks {
            track.was_seen = track.seen.take().is_some();
            track.motion.predict(now - latest);
        }
        now
    }

    /// Gives every track its sighting; the clear ones that nobody took.
    fn associate(&mut self, time: f64, sightings: &[Sighting]) -> Vec<usize> {
        let Settings { high, low, .. } = self.settings;
        let mut clear: Vec<usize> = Vec::new();
        let mut doubtful: Vec<usize> = Vec::new();
        for (index, sighting) in sightings.iter().enumerate() {
            match sighting.score {
                score if score >= high => clear.push(index),
                score if score >= low => doubtful.push(index),
                _ => {}
            }
        }
        let mut round = |wanted: fn(&Track) -> bool, offered: &mut Vec<usize>, least: f64| {
            let tracks: Vec<usize> = (0..self.tracks.len())
                .filter(|&at| self.tracks[at].seen.is_none() && wanted(&self.tracks[at]))
                .collect();
            let worth = Worth::of(tracks.len(), offered.len(), |row, column| {
                let (track, sighting) = (&self.tracks[tracks[row]], &sightings[offered[column]]);
                let overlap = overlap(track.bounds(), sighting.bounds);
                if track.label == sighting.label && overlap >= least { overlap } else { 0.0 }
            });
            for (row, column) in worth.pairs() {
                let index = offered[column];
                self.tracks[tracks[row]].take(index, &sightings[index], time);
            }
            let taken: Vec<usize> = self.tracks.iter().filter_map(|track| track.seen).collect();
            offered.retain(|index| !taken.contains(index));
        };
        round(|track| track.settled, &mut clear, CLEAR);
        round(|track| track.settled && track.was_seen, &mut doubtful, DOUBTFUL);
        round(|track| !track.settled, &mut clear, BEGUN);
        for track in self.tracks.iter_mut().filter(|track| track.seen.is_none()) {
            track.motion.hide();
        }
        clear
    }

    /// Settles who is told, and what is told about them.
    fn tell(&mut self, step: &mut Step) {
        for track in &self.tracks {
            match (track.id, track.was_seen, track.seen) {
                (Some(id), true, None) => step.changes.push((id, Change::Lost)),
                (Some(id), false, Some(_)) => step.changes.push((id, Change::Found)),
                _ => {}
            }
        }
        let mut chosen: Vec<usize> = (0..self.tracks.len()).filter(|&at| self.tracks[at].settled).collect();
        let tracks = &self.tracks;
        // Among equals those that are told already stay.
        chosen.sort_by(|&one, &other| {
            let (one, other) = (&tracks[one], &tracks[other]);
            other.weight.total_cmp(&one.weight).then(other.id.is_some().cmp(&one.id.is_some()))
        });
        for &at in chosen.iter().skip(self.settings.most) {
            let track = self.tracks[at].clone();
            self.tracks[at] = step.leave(track);
        }
        chosen.truncate(self.settings.most);
        chosen.retain(|&at| self.tracks[at].id.is_none() && self.tracks[at].seen.is_some());
        // From left to right, so that numbers mean something to whoever looks.
        chosen.sort_by(|&one, &other| self.tracks[one].bounds()[0].total_cmp(&self.tracks[other].bounds()[0]));
        for at in chosen {
            self.given += 1;
            self.tracks[at].id = Some(self.given);
            step.changes.push((self.given, Change::New));
        }
    }
}

fn begun(index: usize, sighting: &Sighting, time: f64) -> Track {
    Track {
        id: None,
        label: sighting.label.clone(),
        first: time,
        last: time,
        pictures: 1,
        seen: Some(index),
        motion: Motion::new(sighting.bounds),
        weight: sighting.score,
        settled: false,
        was_seen: false,
    }
}
