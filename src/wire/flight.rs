//! A flight of the DTLS handshake, said again until the peer has gone on.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// When a flight is said again for the first time; each further time takes twice as long.
const FIRST: Duration = Duration::from_millis(80);
/// How often.
const TIMES: u32 = 6;
/// Datagrams of a flight: a certificate fits into two.
const LONGEST: usize = 8;

/// The last flight said.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    said: Vec<(SocketAddr, Vec<u8>)>,
    last: Option<Instant>,
    times: u32,
    /// Something of the handshake was heard since, so what is said now is the next flight.
    answered: bool,
    over: bool,
}

impl Flight {
    pub(crate) fn say(&mut self, now: Instant, to: SocketAddr, datagram: &[u8]) {
        if self.over {
            return;
        }
        if std::mem::take(&mut self.answered) {
            self.said.clear();
        }
        if self.said.len() == LONGEST {
            self.said.remove(0);
        }
        self.said.push((to, datagram.to_vec()));
        (self.last, self.times) = (Some(now), 0);
    }

    /// Something of the handshake was heard. It may be no more than what was heard before.
    pub(crate) fn hear(&mut self) {
        self.answered = true;
    }

    /// The peer said something that it can say only after the handshake.
    pub(crate) fn end(&mut self) {
        self.over = true;
        self.said = Vec::new();
    }

    /// When [`Self::due`] has something.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let waiting = !self.said.is_empty() && self.times < TIMES;
        self.last.filter(|_| waiting).map(|last| last + FIRST * (1 << self.times))
    }

    /// What is to be said again now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        (self.last, self.times) = (Some(now), self.times + 1);
        self.said.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

    #[test]
    fn a_flight_is_said_again_until_the_next_one_takes_its_place() {
        let (start, to) = (Instant::now(), TO.into());
        let mut flight = Flight::default();
        assert_eq!(flight.deadline(), None);
        flight.say(start, to, &[22, 1]);
        flight.say(start, to, &[22, 2]);
        assert!(flight.due(start + FIRST / 2).is_empty());
        assert_eq!(flight.due(start + FIRST).len(), 2);
        assert!(flight.due(start + FIRST * 2).is_empty(), "the pauses grow");
        flight.hear();
        assert_eq!(flight.due(start + FIRST * 3).len(), 2, "it may have been an old one");
        flight.say(start + FIRST * 3, to, &[22, 3]);
        assert_eq!(flight.due(start + FIRST * 4), [(to, vec![22, 3])]);
    }

    #[test]
    fn it_ends_with_the_handshake_and_is_bounded_without_end() {
        let (mut now, to) = (Instant::now(), TO.into());
        let mut flight = Flight::default();
        (0..100).for_each(|number| flight.say(now, to, &[22, number]));
        let mut said = 0;
        while let Some(deadline) = flight.deadline() {
            now = deadline;
            said += flight.due(now).len();
        }
        assert_eq!(said, LONGEST * TIMES as usize);
        flight.say(now, to, &[22, 0]);
        flight.end();
        flight.say(now, to, &[21, 0]);
        assert_eq!(flight.deadline(), None);
    }
}
