//! What the receiver says of what is sent, as far as others than the network need to know.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What the receiver's feedback says, and what was sent. Shared between the network task and the encoder.
#[derive(Debug, Default)]
pub struct Feedback {
    /// The receiver needs a keyframe; whoever makes one clears it.
    pub keyframe_wanted: AtomicBool,
    /// Pictures sent that have no answer yet.
    pub unanswered: AtomicU64,
    /// Packets sent, retransmissions included.
    pub packets: AtomicU64,
    /// Their payload bytes.
    pub bytes: AtomicU64,
    /// Packets sent again because the receiver asked for them.
    pub resent: AtomicU64,
    /// Packets that the receiver reports as lost on the way, repaired or not, on all connections.
    pub lost: AtomicU32,
    /// Bits a second that the path takes; 0 while nothing is known of it.
    pub rate: AtomicU64,
    /// Milliseconds that the packets which wait to be sent will take.
    pub backlog: AtomicU32,
    /// Nothing is heard of what was sent.
    pub out: AtomicBool,
    /// Pictures that found too many packets waiting.
    pub refused: AtomicU64,
    /// The newest connection.
    connection: AtomicU64,
}

/// One connection's access to it. What an old connection, not closed yet, has to say of its path is of no interest.
#[derive(Debug)]
pub(super) struct Share {
    feedback: Arc<Feedback>,
    connection: u64,
    /// Packets lost on the connections before.
    lost_before: u32,
}

impl Share {
    /// That of a new connection, about whose path nothing is known.
    pub(super) fn begin(feedback: Arc<Feedback>) -> Self {
        let connection = feedback.connection.fetch_add(1, Ordering::Relaxed) + 1;
        let share = Self { lost_before: feedback.lost.load(Ordering::Relaxed), connection, feedback };
        share.feedback.rate.store(0, Ordering::Relaxed);
        share.set_backlog(Duration::ZERO);
        share.set_out(false);
        share
    }

    fn is_newest(&self) -> bool {
        self.feedback.connection.load(Ordering::Relaxed) == self.connection
    }

    /// Counts a packet, with the bytes of its payload.
    pub(super) fn add_sent(&self, bytes: usize, again: bool) {
        self.feedback.packets.fetch_add(1, Ordering::Relaxed);
        self.feedback.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.feedback.resent.fetch_add(u64::from(again), Ordering::Relaxed);
    }

    /// Counts a picture that is not sent, after which the next one has to stand for itself.
    pub(super) fn refuse(&self) {
        self.feedback.refused.fetch_add(1, Ordering::Relaxed);
        self.want_keyframe();
    }

    pub(super) fn want_keyframe(&self) {
        if self.is_newest() {
            self.feedback.keyframe_wanted.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn set_backlog(&self, backlog: Duration) {
        if self.is_newest() {
            self.feedback.backlog.store(backlog.as_millis() as u32, Ordering::Relaxed);
        }
    }

    pub(super) fn set_rate(&self, bits: f64) {
        if self.is_newest() {
            self.feedback.rate.store(bits as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn set_out(&self, out: bool) {
        if self.is_newest() {
            self.feedback.out.store(out, Ordering::Relaxed);
        }
    }

    /// Takes the cumulative number of packets lost from a receiver report: 24 bits with a sign, below zero where
    /// more arrived than were sent once (RFC 3550, 6.4.1).
    pub(super) fn set_lost(&self, total: u32) {
        let lost = if total & 0x80_0000 == 0 { total & 0x7f_ffff } else { 0 };
        if self.is_newest() {
            self.feedback.lost.store(self.lost_before.saturating_add(lost), Ordering::Relaxed);
        }
    }

    pub(super) fn is_unanswered(&self) -> bool {
        self.feedback.unanswered.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_connection_says_nothing_of_the_new_ones_path() {
        let feedback = Arc::<Feedback>::default();
        let old = Share::begin(feedback.clone());
        old.set_out(true);
        let new = Share::begin(feedback.clone());
        assert!(!feedback.out.load(Ordering::Relaxed), "nothing is known of it yet");
        old.set_out(true);
        old.set_backlog(Duration::from_secs(9));
        old.want_keyframe();
        assert!(!feedback.out.load(Ordering::Relaxed) && !feedback.keyframe_wanted.load(Ordering::Relaxed));
        assert_eq!(feedback.backlog.load(Ordering::Relaxed), 0);
        new.set_out(true);
        assert!(feedback.out.load(Ordering::Relaxed));
    }

    #[test]
    fn losses_add_up_over_connections_and_are_never_below_none() {
        let feedback = Arc::<Feedback>::default();
        let lost = || feedback.lost.load(Ordering::Relaxed);
        let first = Share::begin(feedback.clone());
        first.set_lost(5);
        let second = Share::begin(feedback.clone());
        assert_eq!(lost(), 5);
        second.set_lost(2);
        assert_eq!(lost(), 7);
        second.set_lost(0xff_ffff);
        assert_eq!(lost(), 5, "minus one is none");
    }
}
