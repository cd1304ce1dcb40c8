//! How long a question for a packet takes to be answered.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The median of so many answers counts: one may come early, if a packet was overtaken and not lost,
/// or late, if the question or the answer got lost first.
const ANSWERS: usize = 9;
/// Live, no missing packet is waited for longer than this; a keyframe is sooner there.
pub const MOST_PATIENCE: Duration = Duration::from_millis(400);
/// What a packet may be overtaken by where waiting for an answer is hopeless.
const OVERTAKEN: Duration = Duration::from_millis(60);
/// After a silence as long as this, old questions were most likely not heard.
const SILENCE: Duration = Duration::from_millis(500);
/// What sender and receiver take for question and answer beside the way.
const MARGIN: Duration = Duration::from_millis(50);

/// The times that the last answers took.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    answers: VecDeque<Duration>,
    /// When the last packet came, and when the last silence ended.
    arrived: Option<Instant>,
    resumed: Option<Instant>,
}

impl RoundTrip {
    /// A packet came.
    pub(super) fn note(&mut self, now: Instant) {
        if self.arrived.replace(now).is_some_and(|last| now.saturating_duration_since(last) >= SILENCE) {
            self.resumed = Some(now);
        }
    }

    /// A packet came that was first asked for at `asked`.
    pub(super) fn answered(&mut self, asked: Instant, now: Instant) {
        if self.resumed.is_none_or(|resumed| asked >= resumed) {
            self.answers.truncate(ANSWERS - 1);
            self.answers.push_front(now.saturating_duration_since(asked));
        }
    }

    pub(super) fn median(&self) -> Option<Duration> {
        let mut answers: Vec<Duration> = self.answers.iter().copied().collect();
        answers.sort_unstable();
        answers.get(answers.len() / 2).copied()
    }

    /// How long a live stream waits for a missing packet: `least`, or two round trips if they are longer,
    /// but only as long as one of them is worth it.
    pub(super) fn patience(&self, least: Duration) -> Duration {
        let Some(round_trip) = self.median() else { return least };
        if round_trip + MARGIN > MOST_PATIENCE {
            return OVERTAKEN;
        }
        (round_trip * 2 + MARGIN).min(MOST_PATIENCE).max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_few_strange_answers_do_not_count() {
        let mut round_trip = RoundTrip::default();
        assert_eq!(round_trip.median(), None);
        let start = Instant::now();
        for answer in [100, 1, 2, 100, 101, 900, 102, 100, 99] {
            round_trip.answered(start, start + ms(answer));
        }
        assert_eq!(round_trip.median(), Some(ms(100)));
    }

    #[test]
    fn what_an_outage_delayed_does_not_count() {
        let mut round_trip = RoundTrip::default();
        let start = Instant::now();
        round_trip.note(start);
        round_trip.note(start + ms(5000));
        round_trip.answered(start + ms(10), start + ms(5000));
        assert_eq!(round_trip.median(), None);
        round_trip.answered(start + ms(5000), start + ms(5040));
        assert_eq!(round_trip.median(), Some(ms(40)));
    }

    #[test]
    fn patience_suits_the_round_trip_within_bounds() {
        for (answer, patience) in [(1, 200), (80, 210), (170, 390), (300, 400), (1000, 60)] {
            let mut round_trip = RoundTrip::default();
            let start = Instant::now();
            round_trip.answered(start, start + ms(answer));
            assert_eq!(round_trip.patience(ms(200)), ms(patience), "{answer}");
        }
    }
}
