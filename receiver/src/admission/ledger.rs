//! What live sessions use, and whether there is room for one more.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use cv_core::{session_id::SessionId, whip::Mode};

use super::{Meter, Refusal};

/// How often meters are read.
pub(super) const SAMPLE: Duration = Duration::from_secs(1);
/// Readings closer together than this say more about single pictures than about load.
const SHORTEST: Duration = Duration::from_millis(500);
/// How far back the average of a session's use reaches.
const MEMORY: Duration = Duration::from_secs(5);
/// How long a new session counts as much as was expected of it, should it use less: it is still connecting.
const SETTLING: Duration = Duration::from_secs(10);
/// Processors that a session is expected to use while there is no other to go by: three times what decoding and light
/// analyzers cost at 896x504 and 30 fps.
const EXPECTED: f64 = 0.1;

/// Number of a seat.
pub(super) type SeatId = u64;

/// The accounts of all seats. Time is passed in.
#[derive(Default)]
pub(super) struct Ledger {
    accounts: BTreeMap<SeatId, Account>,
    next: SeatId,
}

struct Account {
    session: SessionId,
    mode: Mode,
    meter: Arc<Meter>,
    opened: Instant,
    /// The last reading of the meter.
    read: (Instant, Duration),
    /// Processors in use, averaged.
    rate: f64,
    /// What was expected of it when it came.
    expected: f64,
}

impl Account {
    fn sample(&mut self, now: Instant) {
        let (read_at, total) = self.read;
        let passed = now.saturating_duration_since(read_at);
        if passed < SHORTEST {
            return;
        }
        self.read = (now, self.meter.total());
        let rate = self.read.1.saturating_sub(total).as_secs_f64() / passed.as_secs_f64();
        // While the session is young, the average of all its readings; later of the last few seconds.
        let age = now.saturating_duration_since(self.opened).min(MEMORY);
        let weight = (passed.as_secs_f64() / age.as_secs_f64()).min(1.0);
        self.rate += (rate - self.rate) * weight;
    }

    /// Processors that it needs.
    fn demand(&self, now: Instant) -> f64 {
        if now.saturating_duration_since(self.opened) < SETTLING { self.rate.max(self.expected) } else { self.rate }
    }
}

impl Ledger {
    /// Opens an account for a sender to `session`.
    pub(super) fn open(&mut self, session: SessionId, mode: Mode, now: Instant) -> (SeatId, Arc<Meter>) {
        let expected = self.expected(now);
        let meter = Arc::new(Meter::default());
        let account = Account {
            session,
            mode,
            meter: meter.clone(),
            opened: now,
            read: (now, Duration::ZERO),
            rate: 0.0,
            expected,
        };
        self.next += 1;
        self.accounts.insert(self.next, account);
        (self.next, meter)
    }

    /// Closes an account.
    pub(super) fn close(&mut self, seat: SeatId) {
        self.accounts.remove(&seat);
    }

    /// Closes every account of `session`.
    pub(super) fn discount(&mut self, session: &SessionId) {
        self.accounts.retain(|_, account| account.session != *session);
    }

    /// Whether there is a sender to `session` already.
    pub(super) fn knows(&self, session: &SessionId) -> bool {
        self.accounts.values().any(|account| account.session == *session)
    }

    /// Reads every meter.
    pub(super) fn sample(&mut self, now: Instant) {
        self.accounts.values_mut().for_each(|account| account.sample(now));
    }

    /// Processors that live sessions need.
    pub(super) fn committed(&self, now: Instant) -> f64 {
        // An empty sum of its own would be minus zero.
        self.live().fold(0.0, |sum, account| sum + account.demand(now))
    }

    /// Whether one more live session fits below `limit`. The first one always does: it harms nobody.
    pub(super) fn check(&self, limit: Option<f64>, now: Instant) -> Result<(), Refusal> {
        let (used, needed) = (self.committed(now), self.expected(now));
        match limit {
            Some(limit) if self.live().next().is_some() && used + needed > limit => {
                Err(Refusal::Load { used, limit, needed })
            }
            _ => Ok(()),
        }
    }

    /// Processors that one more live session is expected to need: as many as the others on average.
    fn expected(&self, now: Instant) -> f64 {
        match self.live().count() {
            0 => EXPECTED,
            count => self.committed(now) / count as f64,
        }
    }

    fn live(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values().filter(|account| account.mode == Mode::Live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ledger in time that passes when it is told to.
    struct World {
        ledger: Ledger,
        now: Instant,
        seats: Vec<(SeatId, Arc<Meter>, f64)>,
    }

    impl World {
        fn new() -> Self {
            Self { ledger: Ledger::default(), now: Instant::now(), seats: Vec::new() }
        }

        fn open(&mut self, mode: Mode, cores: f64) {
            let (seat, meter) = self.ledger.open(SessionId::generate(), mode, self.now);
            self.seats.push((seat, meter, cores));
        }

        /// Every session uses for `seconds` what it uses.
        fn run(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.now += SAMPLE;
                self.seats.iter().for_each(|(_, meter, cores)| meter.add(SAMPLE.mul_f64(*cores)));
                self.ledger.sample(self.now);
            }
        }

        fn has_room(&self, limit: f64) -> bool {
            self.ledger.check(Some(limit), self.now).is_ok()
        }

        fn committed(&self) -> f64 {
            self.ledger.committed(self.now)
        }
    }

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 0.01
    }

    #[test]
    fn there_is_room_until_one_more_of_the_same_would_be_too_many() {
        let mut world = World::new();
        let limit = 1.8;
        let mut taken = 0;
        while world.has_room(limit) {
            world.open(Mode::Live, 0.4);
            world.run(20);
            taken += 1;
        }
        assert_eq!(taken, 4);
        assert!(near(world.committed(), 1.6), "{}", world.committed());
    }

    #[test]
    fn sessions_that_come_all_at_once_count_before_they_use_anything() {
        let mut world = World::new();
        world.open(Mode::Live, 0.5);
        world.run(20);
        for _ in 0..2 {
            assert!(world.has_room(1.8));
            world.open(Mode::Live, 0.5);
        }
        assert!(near(world.committed(), 1.5), "{}", world.committed());
        assert!(!world.has_room(1.8));
    }

    #[test]
    fn a_session_that_turns_out_light_makes_room_again() {
        let mut world = World::new();
        world.open(Mode::Live, 0.8);
        world.run(20);
        world.open(Mode::Live, 0.1);
        assert!(!world.has_room(1.8));
        world.run(20);
        assert!(world.has_room(1.8), "{}", world.committed());
    }

    #[test]
    fn a_session_that_turns_out_heavy_counts_within_two_seconds() {
        let mut world = World::new();
        world.open(Mode::Live, 1.7);
        world.run(2);
        assert!(!world.has_room(1.8), "{}", world.committed());
    }

    #[test]
    fn every_frame_sessions_take_what_is_left_and_count_for_nothing() {
        let mut world = World::new();
        world.open(Mode::EveryFrame, 1.9);
        world.run(20);
        assert_eq!(world.committed(), 0.0);
        assert!(world.has_room(0.5));
    }

    #[test]
    fn the_first_live_session_is_taken_whatever_the_limit_and_the_second_is_not() {
        let mut world = World::new();
        assert!(world.has_room(0.001));
        world.open(Mode::Live, 0.0);
        assert!(!world.has_room(0.001));
        assert!(world.ledger.check(None, world.now).is_ok(), "without a limit there is always room");
    }

    #[test]
    fn a_sender_that_was_told_to_go_counts_for_nothing() {
        let mut world = World::new();
        world.open(Mode::Live, 0.5);
        world.run(20);
        let told = SessionId::generate();
        world.ledger.open(told.clone(), Mode::Live, world.now);
        assert!(!world.has_room(1.2));
        world.ledger.discount(&told);
        assert!(world.has_room(1.2));
    }

    #[test]
    fn use_that_ends_is_forgotten_within_seconds_and_a_closed_account_at_once() {
        let mut world = World::new();
        world.open(Mode::Live, 1.0);
        world.run(30);
        world.seats[0].2 = 0.0;
        world.run(15);
        assert!(world.committed() < 0.1, "{}", world.committed());
        world.ledger.close(world.seats[0].0);
        assert_eq!(world.committed(), 0.0);
    }

    #[test]
    fn many_looks_within_a_moment_change_nothing() {
        let mut world = World::new();
        world.open(Mode::Live, 0.3);
        world.run(30);
        for _ in 0..100 {
            world.now += Duration::from_millis(1);
            world.ledger.sample(world.now);
        }
        assert!(near(world.committed(), 0.3), "{}", world.committed());
    }
}
