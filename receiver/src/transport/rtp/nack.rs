//! Which packets are missing and when to ask for them (RFC 4585, generic NACK).
//!
//! The first question waits a moment, because a packet that was only overtaken comes by itself;
//! then it is repeated no sooner than an answer can be there, and ever less often, because
//! repetitions are likeliest to be lost where the network is full.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long a packet may be overtaken by one other packet before it is asked for.
const REORDERING: Duration = Duration::from_millis(5);
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// Questions for one packet are never further apart than this, or than a slow round trip.
const MAX_INTERVAL: Duration = Duration::from_millis(100);
const MAX_ROUND_TRIP: Duration = Duration::from_secs(2);

/// The missing packets, by extended sequence number.
#[derive(Debug)]
pub(super) struct Nacks {
    missing: BTreeMap<u64, Missing>,
    /// Least time between two questions for one packet.
    interval: Duration,
    /// Packets so far that were newer than all before.
    newer: u64,
}

#[derive(Debug)]
struct Missing {
    since: Instant,
    /// [`Nacks::newer`] at that time.
    newer: u64,
    ask: Instant,
    /// When it was first asked for.
    asked: Option<Instant>,
    /// Time from the last question to the next; zero before the first.
    interval: Duration,
}

impl Nacks {
    pub(super) fn new(round_trip: Duration) -> Self {
        let mut nacks = Self { missing: BTreeMap::new(), interval: MIN_INTERVAL, newer: 0 };
        nacks.set_round_trip(round_trip);
        nacks
    }

    pub(super) fn set_round_trip(&mut self, round_trip: Duration) {
        self.interval = (round_trip.min(MAX_ROUND_TRIP) * 6 / 5).max(MIN_INTERVAL);
    }

    /// Counts a packet that is newer than all before; call it before [`Self::miss`] for those that it overtook.
    pub(super) fn newer_arrived(&mut self) {
        self.newer += 1;
    }

    /// Notes a packet as missing.
    pub(super) fn miss(&mut self, at: u64, now: Instant) {
        let missing =
            Missing { since: now, newer: self.newer, ask: now + REORDERING, asked: None, interval: Duration::ZERO };
        self.missing.insert(at, missing);
    }

    /// A packet arrived: when it was first asked for, if it had been missing so long.
    pub(super) fn arrived(&mut self, at: u64) -> Option<Instant> {
        if self.missing.is_empty() {
            return None;
        }
        self.missing.remove(&at)?.asked
    }

    /// Since when the first missing packet has been missing.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.missing.first_key_value().map(|(_, missing)| missing.since)
    }

    /// Sequence numbers to ask for now, in order.
    pub(super) fn due(&mut self, now: Instant) -> Vec<u16> {
        let mut due = Vec::new();
        for (&at, missing) in &mut self.missing {
            if missing.ask_at(self.newer) <= now {
                let interval = missing.interval.max(self.interval);
                missing.asked.get_or_insert(now);
                missing.ask = now + interval;
                missing.interval = (interval * 3 / 2).min(MAX_INTERVAL.max(self.interval));
                due.push(at as u16);
            }
        }
        due
    }

    /// When [`Self::due`] has something again if nothing arrives.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.missing.values().map(|missing| missing.ask_at(self.newer)).min()
    }

    /// Forgets the missing packets before `at`; how many those were.
    pub(super) fn forget_before(&mut self, at: u64) -> u64 {
        let mut forgotten = 0;
        while self.missing.first_key_value().is_some_and(|(&first, _)| first < at) {
            self.missing.pop_first();
            forgotten += 1;
        }
        forgotten
    }
}

impl Missing {
    /// A second newer packet makes loss likelier than reordering.
    fn ask_at(&self, newer: u64) -> Instant {
        if self.interval.is_zero() && newer > self.newer { self.since } else { self.ask }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(20);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_question_waits_for_five_milliseconds_or_a_second_packet() {
        let start = Instant::now();
        let mut nacks = Nacks::new(ROUND_TRIP);
        nacks.newer_arrived();
        nacks.miss(65_536 + 7, start);
        assert!(nacks.due(start).is_empty());
        assert_eq!(nacks.next_wakeup(), Some(start + ms(5)));
        nacks.newer_arrived();
        assert_eq!(nacks.next_wakeup(), Some(start));
        assert_eq!(nacks.due(start + ms(1)), [7]);
        nacks.newer_arrived();
        nacks.miss(65_536 + 9, start + ms(2));
        assert_eq!(nacks.due(start + ms(7)), [9]);
    }

    #[test]
    fn questions_repeat_ever_more_slowly_up_to_the_cap() {
        let start = Instant::now();
        let mut nacks = Nacks::new(ROUND_TRIP);
        nacks.miss(1, start);
        let mut asked = Vec::new();
        while asked.len() < 8 {
            let wakeup = nacks.next_wakeup().unwrap();
            assert_eq!(nacks.due(wakeup), [1]);
            asked.push((wakeup - start).as_millis());
        }
        assert_eq!(asked, [5, 29, 65, 119, 200, 300, 400, 500]);
    }

    #[test]
    fn a_slow_round_trip_is_waited_for() {
        let start = Instant::now();
        let mut nacks = Nacks::new(ms(300));
        nacks.miss(1, start);
        assert_eq!(nacks.due(start + ms(5)), [1]);
        assert_eq!(nacks.next_wakeup(), Some(start + ms(365)));
        nacks.set_round_trip(Duration::MAX);
        nacks.set_round_trip(Duration::ZERO);
    }

    #[test]
    fn only_a_packet_that_was_asked_for_counts_as_recovered() {
        let start = Instant::now();
        let mut nacks = Nacks::new(ROUND_TRIP);
        nacks.miss(1, start);
        nacks.miss(2, start);
        assert_eq!(nacks.arrived(1), None, "it was only overtaken");
        assert_eq!(nacks.due(start + ms(5)), [2]);
        assert_eq!(nacks.due(start + ms(40)), [2]);
        assert_eq!(nacks.arrived(2), Some(start + ms(5)));
        assert_eq!(nacks.arrived(2), None);
        assert_eq!(nacks.next_wakeup(), None);
    }
}
