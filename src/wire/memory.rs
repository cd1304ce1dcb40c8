//! What was said to the peer and may have to be said again: records with application data.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{acknowledgement::Acknowledgement, heard::OPENING};

/// Silence of a peer that may be an outage. Longer than a packet loss, shorter than anybody minds.
const SILENCE: Duration = Duration::from_millis(700);
/// What left so shortly before the silence may have been lost, too.
const BEFORE: Duration = Duration::from_millis(500);
/// For so long a peer can tell that something is missing.
const REMEMBERED: Duration = Duration::from_millis(2500);
/// Datagrams kept: seconds of lines and what SCTP repeats of them.
const KEPT: usize = 128;
/// A round trip before one was measured.
const ROUND_TRIP: Duration = Duration::from_millis(80);
/// What a peer may take to acknowledge.
const MARGIN: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often one datagram is said again. By then SCTP has done so, too.
const TIMES: u32 = 12;
/// A promise further ahead than this is nobody's.
const FURTHEST: u64 = 256;

/// Records said.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Those that were not acknowledged, the oldest first.
    said: VecDeque<Said>,
    /// When anything was heard last.
    heard: Option<Instant>,
    /// Up to this number the peer acknowledges everything.
    promise: Option<u64>,
    round_trip: Option<Duration>,
}

#[derive(Debug)]
struct Said {
    number: u64,
    to: SocketAddr,
    datagram: Vec<u8>,
    first: Instant,
    last: Instant,
    /// How often again.
    times: u32,
    /// The peer heard later ones and not this.
    missing: bool,
}

impl Said {
    fn again(&mut self, now: Instant) -> (SocketAddr, Vec<u8>) {
        (self.last, self.times, self.missing) = (now, self.times + 1, false);
        (self.to, self.datagram.clone())
    }
}

impl Memory {
    /// Record `number` left. `agreed`: the peer acknowledges.
    pub(crate) fn say(&mut self, now: Instant, to: SocketAddr, (number, datagram): (u64, &[u8]), agreed: bool) {
        if agreed {
            self.promise.get_or_insert(number + OPENING);
        }
        if self.said.len() == KEPT {
            self.said.pop_front();
        }
        let datagram = datagram.to_vec();
        self.said.push_back(Said { number, to, datagram, first: now, last: now, times: 0, missing: false });
    }

    /// Something was heard: after a silence, what is to be said again, the oldest first.
    pub(crate) fn hear(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        let last = self.heard.replace(now);
        let silent = last.filter(|last| now.saturating_duration_since(*last) >= SILENCE);
        let lost = self.said.iter_mut().filter(|said| silent.is_some_and(|since| said.last + BEFORE >= since));
        let again: Vec<_> = lost.map(|said| said.again(now)).collect();
        while self.said.front().is_some_and(|said| said.first + REMEMBERED < now && self.deadline_of(said).is_none()) {
            self.said.pop_front();
        }
        if silent.is_some() && self.promise.is_none() {
            self.said.clear();
        }
        again
    }

    /// The peer told what it heard.
    pub(crate) fn acknowledged(&mut self, now: Instant, told: &Acknowledgement) {
        let Some(newest) = self.said.back().map(|said| said.number) else { return };
        let promise = told.promise.min(newest.saturating_add(FURTHEST));
        self.promise = Some(self.promise.map_or(promise, |known| known.max(promise)));
        self.said.retain_mut(|said| {
            said.missing |= told.misses(said.number);
            if said.number == told.highest && said.times == 0 {
                let sample = now.saturating_duration_since(said.first);
                self.round_trip = Some(self.round_trip.map_or(sample, |known| (known * 7 + sample) / 8));
            }
            !told.covers(said.number)
        });
    }

    /// When [`Self::due`] has something.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // Numbers grow, so where the oldest waits for nothing, none does.
        let oldest = self.said.front().filter(|said| self.is_promised(said.number));
        oldest.and_then(|_| self.said.iter().filter_map(|said| self.deadline_of(said)).min())
    }

    /// What is to be said again now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        let due: Vec<bool> =
            self.said.iter().map(|said| self.deadline_of(said).is_some_and(|deadline| deadline <= now)).collect();
        let again = self.said.iter_mut().zip(due).filter(|(_, due)| *due);
        again.map(|(said, _)| said.again(now)).collect()
    }

    fn is_promised(&self, number: u64) -> bool {
        self.promise.is_some_and(|promise| number <= promise)
    }

    fn deadline_of(&self, said: &Said) -> Option<Instant> {
        let round_trip = self.round_trip.unwrap_or(ROUND_TRIP);
        let pause = match said.missing {
            true => round_trip * 9 / 8,
            false => (round_trip * 5 / 4 + MARGIN) * (1 << said.times.saturating_sub(1).min(6)),
        };
        (self.is_promised(said.number) && said.times < TIMES)
            .then(|| said.last + pause.min(LONGEST_PAUSE.max(round_trip * 5 / 4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn say(memory: &mut Memory, now: Instant, number: u64, agreed: bool) {
        memory.say(now, TO.into(), (number, &[23, number as u8]), agreed);
    }

    fn numbers(again: Vec<(SocketAddr, Vec<u8>)>) -> Vec<u8> {
        again.into_iter().map(|(_, datagram)| datagram[1]).collect()
    }

    #[test]
    fn what_left_during_an_outage_is_said_again_in_order_and_once() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        say(&mut memory, start, 0, false);
        assert!(memory.hear(start + ms(1000)).is_empty(), "nothing had been heard before");
        for (at, number) in [(1400, 1), (2000, 2), (4000, 3)] {
            say(&mut memory, start + ms(at), number, false);
        }
        assert_eq!(numbers(memory.hear(start + ms(6000))), [1, 2, 3]);
        assert!(memory.hear(start + ms(8000)).is_empty());
    }

    #[test]
    fn nothing_is_said_again_while_a_peer_is_heard_and_memory_is_bounded() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        for step in 0..1000 {
            let now = start + ms(step * 33);
            say(&mut memory, now, step, true);
            if step <= OPENING {
                memory.acknowledged(now, &Acknowledgement { highest: step, heard: u64::MAX, promise: OPENING });
            }
            assert!(memory.hear(now).is_empty());
            assert_eq!(memory.deadline(), None);
            assert!(memory.said.len() <= 77);
        }
        (0..1000).for_each(|number| say(&mut memory, start, number, false));
        assert_eq!(memory.said.len(), KEPT);
    }

    #[test]
    fn what_is_promised_and_not_acknowledged_is_said_again_with_growing_pauses() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        say(&mut memory, start, 1, true);
        let mut times = Vec::new();
        while let Some(deadline) = memory.deadline() {
            assert!(memory.due(deadline - ms(1)).is_empty());
            assert_eq!(numbers(memory.due(deadline)), [1]);
            times.push((deadline - start).as_millis());
        }
        assert_eq!(times[..5], [120, 240, 480, 960, 1920]);
        assert_eq!(times.len(), TIMES as usize);
    }

    #[test]
    fn what_a_peer_misses_is_said_again_after_a_round_trip() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        (1..=4).for_each(|number| say(&mut memory, start, number, true));
        let told = |highest, heard| Acknowledgement { highest, heard, promise: 100 };
        memory.acknowledged(start + ms(40), &told(1, 0b1));
        memory.acknowledged(start + ms(40), &told(4, 0b1011));
        assert_eq!(memory.deadline(), Some(start + ms(45)));
        assert_eq!(numbers(memory.due(start + ms(45))), [2]);
        memory.acknowledged(start + ms(90), &told(4, 0b1111));
        assert_eq!(memory.deadline(), None);
        // A promise that cannot be meant binds to no more than it may.
        memory.say(start, TO.into(), (5, &[23, 5]), true);
        memory.acknowledged(start + ms(90), &Acknowledgement { highest: 4, heard: 1, promise: u64::MAX });
        assert_eq!(memory.promise, Some(5 + FURTHEST));
    }
}
