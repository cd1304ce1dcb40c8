//! A picture's way from the transport to its session: decoded, analysed, answered.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use cv_core::{report::Cause, whip::Mode};

use crate::{
    admission::{Meter, Seat, ThreadMeter},
    analysis::{Cost, Course, Input, Leg, Moment, Plan},
    decode::{Decoding, Output, Verdict},
    dispatch::{Job, Lane, Places},
    progress,
    session::{Admitted, Analyzed, Message, Outcome, PeerId, Session},
    sink::pictures::Pictures,
};

/// Access units that may wait for the decoder: live, what a busy machine is behind for a moment, for decoding takes a
/// twentieth of a picture's time; every-frame, more than any sender's credit.
const LIVE_UNITS: usize = 32;
const EVERY_FRAME_UNITS: usize = 256;

/// Live pictures that may wait, analysed, for their turn or for a session that is behind; features may be large.
const LIVE_UNSETTLED: usize = 32;

/// What an accepted sender is connected to.
pub struct Wiring {
    /// The session.
    pub session: Session,
    /// Where the offer came from, if that is known.
    pub client: Option<IpAddr>,
    /// How pictures are to be delivered.
    pub mode: Mode,
    /// The analyzers asked for.
    pub plan: Arc<Plan>,
    /// The first frame that needs an answer, after a break.
    pub next: Option<u64>,
    /// What tells this sender's connections from another sender's, where it said.
    pub run: Option<u64>,
    /// The RTP sequence number that the sender begins with, where it told.
    pub first_sequence: Option<u16>,
    /// Where heavy extraction runs.
    pub places: Places,
    /// Whether pictures are stored.
    pub pictures: Option<Pictures>,
    /// The sender's seat, where its work is measured.
    pub seat: Arc<Seat>,
}

/// What is drawn from a peer's pictures, and the way to where that is done.
pub struct Analyst {
    peer: PeerId,
    course: Course,
    /// The first frame without an answer: a sender that came back repeats some before it, for the decoder alone.
    next: u64,
    places: Places,
    mode: Mode,
    /// Held by every picture that was analysed and is not settled.
    waits: Arc<()>,
    /// Where the pictures are on their course. Locked by the decoder's thread alone.
    at: Mutex<(Leg, Lane)>,
}

impl Analyst {
    /// For a peer that was wired and admitted like this.
    pub fn new(peer: PeerId, Admitted { course, next }: Admitted, wiring: &Wiring) -> Self {
        let (places, mode, leg) = (wiring.places.clone(), wiring.mode, course.leg());
        let lane = lane(&leg, &places, mode);
        Self { peer, course, next, places, mode, waits: Arc::default(), at: Mutex::new((leg, lane)) }
    }

    /// What the next picture is for; nothing where another sender has the session.
    fn at(&self) -> Option<MutexGuard<'_, (Leg, Lane)>> {
        let leg = self.course.leg_of(self.peer)?;
        let mut at = self.at.lock().expect("a decoder that panicked is gone");
        if leg.generation != at.0.generation {
            // An analyzer that goes on sees its pictures in order: those on the lane before come first.
            at.1.drain();
            let lane = lane(&leg, &self.places, self.mode);
            *at = (leg, lane);
        }
        Some(at)
    }

    /// Blocks until nothing is at work. Called also while a panic unwinds, hence without one of its own.
    fn drain(&self) {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).1.drain();
    }
}

fn lane(leg: &Leg, places: &Places, mode: Mode) -> Lane {
    Lane::new(places.of(leg.extraction.cost()).clone(), mode, leg.extraction.width())
}

/// Starts the decoder with the way of its pictures through analysis to the session. The analyst is known once the
/// peer is the sender of its session, which is before its first picture.
pub fn start(id: PeerId, wiring: &Wiring, analyst: Arc<OnceLock<Analyst>>) -> Result<Decoding, crate::decode::Error> {
    let (session, pictures, drained) = (wiring.session.clone(), wiring.pictures.clone(), analyst.clone());
    // The seat is taken until the decoder ends.
    let (seat, mut thread) = (wiring.seat.clone(), ThreadMeter::default());
    let settle = move |order: u64, verdict: Verdict| match verdict {
        Verdict::Picture(output) => {
            if let Some(pictures) = &pictures {
                pictures.offer(&session.id, output.identity.frame, &output.picture);
            }
            let answer = Answer { session: session.clone(), id, order, meter: seat.meter().clone() };
            match analyst.get() {
                Some(analyst) => analyst.analyze(*output, answer),
                None => answer.give(Outcome::Missed(output.identity, Cause::Busy)),
            }
        }
        Verdict::Missed(identity, cause) => {
            session.tell_blocking(Message::Done(id, order, Outcome::Missed(identity, cause)));
        }
        Verdict::Nameless(cause, pictures) => {
            session.tell_blocking(Message::Done(id, order, Outcome::Nameless(cause, pictures)));
        }
    };
    let measured = wiring.seat.meter().clone();
    let verdict = move |order, verdict| {
        settle(order, verdict);
        thread.tick(&measured);
    };
    let session = wiring.session.clone();
    let ended = move || {
        if let Some(analyst) = drained.get() {
            analyst.drain();
        }
        session.tell_blocking(Message::Drained(id));
    };
    let capacity = match wiring.mode {
        Mode::Live => LIVE_UNITS,
        Mode::EveryFrame => EVERY_FRAME_UNITS,
    };
    Decoding::start(&format!("decode-{id}"), capacity, verdict, ended)
}

/// Where the outcome of one picture goes.
#[derive(Clone)]
struct Answer {
    session: Session,
    id: PeerId,
    order: u64,
    /// Where work on other threads than the decoder's is measured.
    meter: Arc<Meter>,
}

impl Answer {
    fn give(self, outcome: Outcome) {
        self.session.tell_blocking(Message::Done(self.id, self.order, outcome));
    }
}

impl Analyst {
    /// Has `output` analysed: here where that is cheap, else wherever extraction runs.
    fn analyze(&self, output: Output, answer: Answer) {
        let Output { identity, timing, picture, previous } = output;
        let (size, moment) = (picture.size(), Moment { frame: identity.frame, time: identity.time });
        if identity.frame < self.next {
            // It has its answer; the session only wants to know that its turn is over.
            return answer.give(Outcome::Missed(identity, Cause::Busy));
        }
        // Nobody waits for an answer any more: the sender that came instead shows this picture again.
        let Some(at) = self.at() else { return };
        let Leg { generation, extraction } = at.0.clone();
        // One more is kept to count by.
        if self.mode == Mode::Live && Arc::strong_count(&self.waits) > LIVE_UNSETTLED {
            return answer.give(Outcome::Missed(identity, Cause::Busy));
        }
        let waits = self.waits.clone();
        let analyzed = move |extracted, analyze| {
            Outcome::Analyzed(Box::new(Analyzed { identity, size, timing, waits, analyze, extracted, generation }))
        };
        if extraction.cost() == Cost::Light {
            drop(at);
            let started = Instant::now();
            let input = Input::new(&picture, previous.as_ref(), moment);
            let extracted = progress::watched(|| extraction.run(&input));
            return answer.give(analyzed(extracted, started.elapsed()));
        }
        let (missed, meter) = (answer.clone(), answer.meter.clone());
        let done = Box::new(move |extracted, spent| answer.give(analyzed(extracted, spent)));
        let job = Job { extraction, picture, previous, moment, meter, done };
        at.1.submit(job, move || missed.give(Outcome::Missed(identity, Cause::Busy)));
    }
}
