//! What was sent lately, so that it can be sent again when the receiver asks (RFC 4585, generic NACK).
//!
//! The receiver's questions repeat until an answer arrives, so several may come for one packet
//! before its first repetition can have got there; [`History::resend`] answers one of them a while.

use std::time::{Duration, Instant};

/// The last packets by sequence number.
#[derive(Clone, Debug)]
pub struct History<T> {
    /// A packet lies at its sequence number modulo the length, which divides 65536, so the wrap needs no care.
    slots: Box<[Option<Sent<T>>]>,
    min_interval: Duration,
}

#[derive(Clone, Debug)]
struct Sent<T> {
    sequence: u16,
    packet: T,
    /// It waits to be sent again.
    waiting: bool,
    resent: Option<Instant>,
}

impl<T> History<T> {
    /// Keeps the last `capacity` packets (rounded up to a power of two, at most 32768); the same
    /// packet is sent again at most once in `min_interval`, best about one round trip.
    pub fn new(capacity: usize, min_interval: Duration) -> Self {
        let capacity = capacity.clamp(1, 1 << 15).next_power_of_two();
        Self { slots: (0..capacity).map(|_| None).collect(), min_interval }
    }

    /// Changes the least time between two repetitions of a packet.
    pub fn set_min_interval(&mut self, min_interval: Duration) {
        self.min_interval = min_interval;
    }

    /// Remembers a packet that is being sent for the first time, in place of the oldest one.
    pub fn insert(&mut self, sequence: u16, packet: T) {
        let slot = self.slot(sequence);
        self.slots[slot] = Some(Sent { sequence, packet, waiting: false, resent: None });
    }

    /// The packet with this sequence number, if it is still known.
    pub fn get(&self, sequence: u16) -> Option<&T> {
        let sent = self.slots[self.slot(sequence)].as_ref()?;
        (sent.sequence == sequence).then_some(&sent.packet)
    }

    /// The packet to send again at `now`; `None` if it is not known any more, was sent again just before, or waits for
    /// that already: [`Self::resent`] says that it did.
    pub fn resend(&mut self, sequence: u16, now: Instant) -> Option<&T> {
        let slot = self.slot(sequence);
        let sent = self.slots[slot].as_mut().filter(|sent| sent.sequence == sequence)?;
        if sent.resent.is_some_and(|last| now.saturating_duration_since(last) < self.min_interval) {
            return None;
        }
        if std::mem::replace(&mut sent.waiting, true) {
            return None;
        }
        Some(&sent.packet)
    }

    /// Notes that a packet was sent again at `now`.
    pub fn resent(&mut self, sequence: u16, now: Instant) {
        let slot = self.slot(sequence);
        if let Some(sent) = self.slots[slot].as_mut().filter(|sent| sent.sequence == sequence) {
            (sent.waiting, sent.resent) = (false, Some(now));
        }
    }

    fn slot(&self, sequence: u16) -> usize {
        usize::from(sequence) % self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(20);

    #[test]
    fn the_last_packets_are_known_across_the_wrap() {
        let mut history = History::new(8, INTERVAL);
        for sequence in (65_530..=u16::MAX).chain(0..4) {
            history.insert(sequence, sequence);
        }
        assert_eq!(history.get(65_531), None);
        for sequence in (65_532..=u16::MAX).chain(0..4) {
            assert_eq!(history.get(sequence), Some(&sequence));
        }
        assert_eq!(history.get(4), None);
    }

    #[test]
    fn a_packet_is_not_resent_twice_within_the_interval() {
        let start = Instant::now();
        let mut history = History::new(5, INTERVAL);
        history.insert(7, "packet");
        assert_eq!(history.resend(7, start), Some(&"packet"));
        assert_eq!(history.resend(7, start + 2 * INTERVAL), None, "it waits still");
        history.resent(7, start);
        assert_eq!(history.resend(7, start + INTERVAL / 2), None);
        assert_eq!(history.resend(7, start + INTERVAL), Some(&"packet"));
        assert_eq!(history.resend(8, start), None);
        assert_eq!(history.get(7), Some(&"packet"), "looking does not count");
    }

    #[test]
    fn any_capacity_is_taken() {
        for capacity in [0, 1, 3, 40_000, usize::MAX] {
            let mut history = History::new(capacity, INTERVAL);
            history.insert(u16::MAX, ());
            assert!(history.get(u16::MAX).is_some());
        }
    }
}
