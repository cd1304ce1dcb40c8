//! The encoder's way to the connection of the moment, and its credit there.
//!
//! Connections come and go, the encoder's thread stays: it alone publishes, so that access units
//! leave in order even where a new connection has to be given again what the old one lost.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, atomic::Ordering},
    time::{Duration, SystemTime},
};

use cv_core::{access_unit::AccessUnit, timestamp::Timestamp, whip::Mode};

use crate::transport::{feedback::Feedback, peer::Publisher};

/// Pictures in flight at most in every-frame mode: enough to keep the encoder, the network and the
/// receiver busy at once, few enough that nothing piles up anywhere.
pub const WINDOW: u64 = 8;

/// Milliseconds that what waits to be sent may take before more is added to it, where nothing is ever left out.
const MOST_BACKLOG: u32 = 500;

/// One access unit with what the transport needs to know.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its number.
    pub frame: u64,
    /// Its presentation time.
    pub pts: Timestamp,
    /// When it was taken.
    pub captured: SystemTime,
    /// The compressed picture.
    pub access_unit: AccessUnit,
}

/// What the encoder may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Encode the next picture.
    Go,
    /// Encode the next picture as a keyframe: the connection is new.
    Anew,
    /// Leave the next picture out: there is no connection.
    Skip,
    /// Stop: nobody will want anything any more.
    End,
}

/// The way. Cloning shares it.
#[derive(Clone)]
pub struct Outlet {
    shared: Arc<Shared>,
}

/// Locked for moments only, never while publishing, hence a plain mutex.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    mode: Mode,
    feedback: Arc<Feedback>,
}

#[derive(Default)]
struct State {
    publisher: Option<Publisher>,
    /// A connection that must be given the retained units before anything new.
    pending: Option<Publisher>,
    /// Numbers sent and answered: the first not sent yet, the first not answered yet.
    next_sent: u64,
    next_answered: u64,
    /// Whether credit is waited for: not where answers do not come back.
    credited: bool,
    /// What a new connection would need: from the keyframe on that the first unanswered picture builds on.
    retained: VecDeque<Sent>,
    closed: bool,
}

impl Outlet {
    /// An outlet without a connection. Without `answers` there is no credit to wait for.
    pub fn new(mode: Mode, answers: bool, feedback: Arc<Feedback>) -> Self {
        let state = State { credited: answers && mode == Mode::EveryFrame, ..State::default() };
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), mode, feedback };
        Self { shared: Arc::new(shared) }
    }

    /// Gives the encoder a connection.
    pub fn connect(&self, publisher: Publisher) {
        self.lock().pending = Some(publisher);
        self.shared.changed.notify_all();
    }

    /// Waits for no answers any more: this server gives none.
    pub fn expect_no_answers(&self) {
        let mut state = self.lock();
        state.credited = false;
        state.retained.clear();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Takes the connection away.
    pub fn disconnect(&self) {
        let mut state = self.lock();
        state.publisher = None;
        state.pending = None;
    }

    /// The first picture that was not sent.
    pub fn next_sent(&self) -> u64 {
        self.lock().next_sent
    }

    /// Everything below `next` is answered.
    pub fn answered(&self, next: u64) {
        let mut state = self.lock();
        state.next_answered = state.next_answered.max(next);
        state.forget_answered();
        self.shared.note_unanswered(&state);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Ends the encoder's waits for good.
    pub fn close(&self) {
        self.lock().closed = true;
        self.shared.changed.notify_all();
    }

    /// Whether the encoder's waits have ended for good.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// What the encoder may do now. In every-frame mode waits for a connection and for credit.
    pub fn turn(&self) -> Turn {
        loop {
            let mut state = self.lock();
            let waits = |state: &mut State| {
                let no_credit = state.credited && state.next_sent >= state.next_answered.saturating_add(WINDOW);
                let no_way = self.shared.mode == Mode::EveryFrame && state.publisher.is_none();
                !state.closed && state.pending.is_none() && (no_credit || no_way)
            };
            state = self.shared.changed.wait_while(state, waits).expect("nobody panics while holding an outlet");
            if state.closed {
                return Turn::End;
            }
            let Some(publisher) = state.pending.take() else {
                return if state.publisher.is_some() { Turn::Go } else { Turn::Skip };
            };
            state.publisher = Some(publisher.clone());
            if self.shared.mode == Mode::Live {
                return Turn::Anew;
            }
            let again: Vec<Sent> = state.retained.iter().cloned().collect();
            drop(state);
            self.publish_again(&publisher, again);
        }
    }

    /// Gives a new connection what the old one lost, no faster than it leaves.
    fn publish_again(&self, publisher: &Publisher, again: Vec<Sent>) {
        for sent in again {
            self.let_packets_leave();
            if !self.lock().has_way() {
                return;
            }
            publish(publisher, sent);
        }
    }

    /// Waits while much waits to be sent already, as long as that may change.
    pub fn let_packets_leave(&self) {
        let waits = || self.shared.feedback.backlog.load(Ordering::Relaxed) > MOST_BACKLOG;
        while waits() && self.lock().has_way() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Publishes what the encoder made.
    pub fn send(&self, sent: Sent) {
        let mut state = self.lock();
        state.next_sent = sent.frame + 1;
        if state.credited {
            state.retained.push_back(sent.clone());
        }
        self.shared.note_unanswered(&state);
        let publisher = state.publisher.clone();
        drop(state);
        if let Some(publisher) = publisher {
            publish(&publisher, sent);
        }
    }

    /// After the last picture: gives new connections what they need until the outlet is closed.
    pub fn serve_until_closed(&self) {
        loop {
            let nothing_to_do = |state: &mut State| !state.closed && state.pending.is_none();
            drop(
                self.shared
                    .changed
                    .wait_while(self.lock(), nothing_to_do)
                    .expect("nobody panics while holding an outlet"),
            );
            if self.turn_without_credit() == Turn::End {
                return;
            }
        }
    }

    /// A turn of an encoder that has nothing to send: only resends.
    fn turn_without_credit(&self) -> Turn {
        let mut state = self.lock();
        if state.closed {
            return Turn::End;
        }
        let Some(publisher) = state.pending.take() else { return Turn::Skip };
        state.publisher = Some(publisher.clone());
        let again: Vec<Sent> = state.retained.iter().cloned().collect();
        drop(state);
        self.publish_again(&publisher, again);
        Turn::Go
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("nobody panics while holding an outlet")
    }
}

impl Shared {
    fn note_unanswered(&self, state: &State) {
        let unanswered = if state.credited { state.next_sent.saturating_sub(state.next_answered) } else { 0 };
        self.feedback.unanswered.store(unanswered, Ordering::Relaxed);
    }
}

impl State {
    /// Whether a connection is there, and not about to give way to another one.
    fn has_way(&self) -> bool {
        !self.closed && self.pending.is_none() && self.publisher.is_some()
    }

    /// Lets go of units that no new connection would need: those before the keyframe at or before the
    /// last answered picture. That picture is decoded again, too: motion is measured against it.
    fn forget_answered(&mut self) {
        let last_answered = self.next_answered.saturating_sub(1);
        let needed = self.retained.iter().rposition(|sent| sent.access_unit.keyframe && sent.frame <= last_answered);
        self.retained.drain(..needed.unwrap_or(0));
    }
}

fn publish(publisher: &Publisher, sent: Sent) {
    if !publisher.publish_blocking(sent.access_unit.data, sent.pts, sent.captured) {
        tracing::debug!(frame = sent.frame, "published on a connection that is gone");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn sent(frame: u64, keyframe: bool) -> Sent {
        let access_unit = AccessUnit { data: Bytes::new(), keyframe };
        Sent { frame, pts: Timestamp::from_micros(0), captured: SystemTime::UNIX_EPOCH, access_unit }
    }

    #[test]
    fn units_are_retained_from_the_keyframe_of_the_last_answered_picture() {
        let outlet = Outlet::new(Mode::EveryFrame, true, Arc::default());
        for frame in 0..7 {
            outlet.send(sent(frame, frame % 3 == 0));
        }
        let first = || outlet.lock().retained.front().map(|sent| sent.frame);
        assert_eq!(first(), Some(0));
        outlet.answered(3);
        assert_eq!(first(), Some(0), "picture 3 is compared with picture 2, which builds on 0");
        outlet.answered(4);
        assert_eq!(first(), Some(3));
        outlet.answered(7);
        assert_eq!(first(), Some(6));
    }

    #[test]
    fn live_pictures_are_skipped_while_there_is_no_connection() {
        let outlet = Outlet::new(Mode::Live, true, Arc::default());
        assert_eq!(outlet.turn(), Turn::Skip);
        outlet.close();
        assert_eq!(outlet.turn(), Turn::End);
    }

    #[test]
    fn closing_frees_an_encoder_that_waits_for_credit() {
        let outlet = Outlet::new(Mode::EveryFrame, true, Arc::default());
        let waiting = {
            let outlet = outlet.clone();
            std::thread::spawn(move || outlet.turn())
        };
        outlet.close();
        assert_eq!(waiting.join().unwrap(), Turn::End);
        outlet.serve_until_closed();
    }
}
