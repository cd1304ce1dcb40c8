//! `reps`: counts an exercise by the body's joints, from any side.
//!
//! Works on the people that `pose` found. [`person`] stays with one of them, [`exercise`] says what is measured of its body and
//! when that cannot be, [`limb`] measures so that the view matters little, and [`swing`] counts what goes down and up again
//! (planks are held, [`hold`]). All times are media time, so pictures may come at any rate.
//!
//! `rules=upstream` counts by the pixel rules of an exercise tracker that others use ([`upstream`]), mistakes included, for
//! who must get the same numbers.

use std::collections::VecDeque;

use serde_json::{Value, json};

use self::{
    exercise::{Exercise, Measure, Reason},
    hold::{Held, Hold},
    person::{Follower, Person, Side, people},
    swing::{Phase, Swing},
};
use super::{Build, Cost, Features, Fold, Gives, Parameters, Row, rounded};

mod exercise;
mod hold;
mod limb;
mod person;
mod swing;
mod upstream;

/// Repetitions and holds that the final word names; memory is the same after days.
const REMEMBERED: usize = 1000;

pub(super) const ROW: Row = Row {
    name: "reps",
    help: "counts squats, push-ups, lunges or shoulder taps of a person that pose found, with the time of each bottom; times planks",
    parameters: PARAMETERS,
    cost: Cost::Light,
    build: Build::Findings(&[Gives::People], build),
};

const PARAMETERS: &[(&str, &str, &str)] = &[
    ("from", "", "the analyzer before this one that found people [default: the nearest pose]"),
    ("exercise", "squat", "squat, pushup, lunge, shouldertap or plank"),
    ("visible", "0.4", "confidence that a joint must have to be used, 0 to 1"),
    (
        "rules",
        "body",
        "body: joints, from any side; upstream: an exercise tracker's pixel rules on BlazePose's 33 points",
    ),
];

#[derive(Clone, Copy)]
enum Rules {
    Body,
    Upstream,
}

/// The ordered half, out of its parameters; it folds findings of `pose`.
fn build(parameters: &Parameters) -> Result<Box<dyn Fold>, String> {
    let exercise = parameters.choice("exercise", exercise::NAMES)?.unwrap_or(Exercise::Squat);
    let visible = parameters.number("visible", 0.4, 0.0..=1.0)?;
    let rules = parameters.choice("rules", &[("body", Rules::Body), ("upstream", Rules::Upstream)])?;
    Ok(match (rules.unwrap_or(Rules::Body), exercise) {
        (Rules::Upstream, _) => Box::new(upstream::Tracker::new(exercise)),
        (Rules::Body, Exercise::Plank) => Box::new(Plank::new(visible)),
        (Rules::Body, _) => Box::new(Reps::new(exercise, visible)),
    })
}

fn name_of(exercise: Exercise) -> &'static str {
    exercise::NAMES.iter().find(|(_, known)| *known == exercise).map_or("", |(name, _)| name)
}

/// Who exercises and when, out of findings.
#[derive(Default)]
struct Watch {
    follower: Follower,
    time: f64,
}

impl Watch {
    /// The person in a finding, or why there is none, and the time it is: one that is no number is the latest again.
    fn see(&mut self, time: f64, features: &Features) -> Result<(f64, Result<Person, Reason>), String> {
        let people = people(features.json()?)?;
        if time.is_finite() {
            self.time = time;
        }
        let reason = if people.is_empty() { "no person" } else { "the person is not in the picture" };
        Ok((self.time, self.follower.follow(self.time, people).ok_or(reason)))
    }
}

/// Counts what goes down and up.
struct Reps {
    exercise: Exercise,
    visible: f64,
    watch: Watch,
    /// One, or one for each hand.
    swings: Vec<Swing>,
    count: u64,
    latest: VecDeque<Value>,
}

impl Reps {
    fn new(exercise: Exercise, visible: f64) -> Self {
        let swings = if exercise == Exercise::ShoulderTap { 2 } else { 1 };
        let swings = (0..swings).map(|_| Swing::new(exercise::levels(exercise))).collect();
        Self { exercise, visible, watch: Watch::default(), swings, count: 0, latest: VecDeque::new() }
    }

    /// What there is to measure of `person`, for each swing.
    fn measure(&self, person: &Person) -> Result<[Option<Measure>; 2], Reason> {
        let one = match self.exercise {
            Exercise::ShoulderTap => return exercise::taps(person, self.visible),
            Exercise::Pushup => exercise::pushup(person, self.visible),
            Exercise::Lunge => exercise::lunge(person, self.visible),
            Exercise::Squat | Exercise::Plank => exercise::squat(person, self.visible),
        };
        Ok([Some(one?), None])
    }

    /// Counts what `measure` ends, in the swing of its number.
    fn count(&mut self, swing: usize, time: f64, measure: &Measure) -> Option<Value> {
        let Measure { value, is_true, ground, .. } = *measure;
        let bottom = self.swings[swing].push(swing::Value { time, value, is_true, ground })?;
        self.count += 1;
        let mut event = json!({ "rep": self.count, "bottom": rounded(bottom, 3) });
        if self.exercise == Exercise::ShoulderTap {
            event["side"] = measure.side.map(Side::name).into();
        }
        remember(&mut self.latest, event.clone());
        Some(event)
    }
}

impl Fold for Reps {
    fn fold(&mut self, time: f64, features: &Features) -> Result<Value, String> {
        let (time, person) = self.watch.see(time, features)?;
        let measures = person.and_then(|person| self.measure(&person));
        let mut event = None;
        for (index, measure) in measures.iter().flatten().enumerate() {
            if let Some(measure) = measure {
                event = event.or(self.count(index, time, measure));
            }
        }
        // Of two hands that which moves is told of.
        let phases = self.swings.iter().filter_map(|swing| swing.phase(time));
        let phase = phases.reduce(|one, other| if one == Phase::Down { one } else { other });
        let told = measures.map(|measures| measures.into_iter().flatten().reduce(lower));
        let mut finding = json!({
            "exercise": name_of(self.exercise),
            "count": self.count,
            "phase": phase.map(Phase::name),
        });
        tell(&mut finding, told.map_err(Some).and_then(|measure| measure.ok_or(None)));
        if let Some(event) = event {
            finding["event"] = event;
        }
        Ok(finding)
    }

    fn finish(&mut self) -> Option<Result<Value, String>> {
        Some(Ok(json!({ "exercise": name_of(self.exercise), "count": self.count, "reps": self.latest })))
    }

    fn state(&self) -> Value {
        json!({ "exercise": name_of(self.exercise), "count": self.count })
    }
}

fn lower(one: Measure, other: Measure) -> Measure {
    if one.value <= other.value { one } else { other }
}

/// Adds what was measured, or why nothing was.
fn tell(finding: &mut Value, measure: Result<Measure, Option<Reason>>) {
    let seen = measure.as_ref().ok();
    finding["angle"] = seen.map(|measure| rounded(measure.angle, 1)).into();
    finding["side"] = seen.and_then(|measure| measure.side).map(Side::name).into();
    finding["confidence"] = rounded(seen.map_or(0.0, |measure| measure.confidence), 2).into();
    if let Err(Some(reason)) = measure {
        finding["reason"] = reason.into();
    }
}

fn remember(latest: &mut VecDeque<Value>, event: Value) {
    if latest.len() == REMEMBERED {
        latest.pop_front();
    }
    latest.push_back(event);
}

/// Times planks.
struct Plank {
    visible: f64,
    watch: Watch,
    hold: Hold,
    latest: VecDeque<Value>,
}

impl Plank {
    fn new(visible: f64) -> Self {
        Self { visible, watch: Watch::default(), hold: Hold::default(), latest: VecDeque::new() }
    }

    fn remember(&mut self, held: Held) -> Value {
        let event = json!({ "start": rounded(held.start, 3), "seconds": rounded(held.seconds, 2) });
        remember(&mut self.latest, event.clone());
        event
    }

    fn times(&self) -> Value {
        let (total, longest) = self.hold.total();
        json!({
            "exercise": name_of(Exercise::Plank),
            "hold_s": rounded(self.hold.seconds(), 2),
            "longest_s": rounded(longest, 2),
            "total_s": rounded(total, 2),
        })
    }
}

impl Fold for Plank {
    fn fold(&mut self, time: f64, features: &Features) -> Result<Value, String> {
        let (time, person) = self.watch.see(time, features)?;
        let measure = person.and_then(|person| exercise::plank(&person, self.visible));
        let held = self.hold.push(time, measure.as_ref().ok().map(|measure| measure.value));
        let mut finding = self.times();
        let phase = if self.hold.seconds() > 0.0 { "hold" } else { "rest" };
        finding["phase"] = measure.as_ref().ok().map(|_| phase).into();
        tell(&mut finding, measure.map_err(Some));
        if let Some(held) = held {
            finding["event"] = self.remember(held);
        }
        Ok(finding)
    }

    fn finish(&mut self) -> Option<Result<Value, String>> {
        if let Some(held) = self.hold.end() {
            self.remember(held);
        }
        let mut times = self.times();
        times["holds"] = self.latest.iter().cloned().collect();
        Some(Ok(times))
    }

    fn state(&self) -> Value {
        self.times()
    }
}

#[cfg(test)]
mod tests;
