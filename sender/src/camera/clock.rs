//! When a picture was taken, and its presentation time.
//!
//! Drivers stamp pictures by the monotonic clock and nokhwa hands that over as wall time. The
//! presentation time is computed back from it on our own monotonic clock, so that setting the
//! computer's time during a recording moves nothing. Stamps that cannot be true give way to the
//! moment of arrival.

use std::time::{Duration, Instant, SystemTime};

use cv_core::timestamp::Timestamp;

/// The oldest a picture can be when it arrives: a driver queues four of them, and one a second is the slowest rate.
const OLDEST: Duration = Duration::from_secs(5);

/// One moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub instant: Instant,
    pub wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }
}

/// Gives each picture of a camera its time.
#[derive(Debug, Default)]
pub(super) struct Clock {
    origin: Option<Instant>,
    last: Option<i64>,
}

impl Clock {
    /// Presentation time in microseconds since the first picture, strictly increasing, and the
    /// wall time at which the picture was taken.
    ///
    /// `stamp` is what the driver says, `arrival` when the picture came out of it.
    pub(super) fn time(&mut self, stamp: Option<SystemTime>, arrival: Moment) -> (Timestamp, SystemTime) {
        let age = stamp.and_then(|stamp| arrival.wall.duration_since(stamp).ok()).filter(|age| *age <= OLDEST);
        let taken = age.and_then(|age| Some((arrival.instant.checked_sub(age)?, arrival.wall - age)));
        let (instant, wall) = taken.unwrap_or((arrival.instant, arrival.wall));
        let origin = *self.origin.get_or_insert(instant);
        let micros = i64::try_from(instant.saturating_duration_since(origin).as_micros()).unwrap_or(i64::MAX);
        let micros = self.last.map_or(micros, |last| micros.max(last.saturating_add(1)));
        self.last = Some(micros);
        (Timestamp::from_micros(micros), wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn later(start: Moment, by: Duration) -> Moment {
        Moment { instant: start.instant + by, wall: start.wall + by }
    }

    /// Far from the start of the monotonic clock, so that pictures can be older than it.
    fn start() -> Moment {
        later(Moment::now(), Duration::from_secs(100))
    }

    #[test]
    fn the_drivers_stamp_counts_not_the_arrival() {
        let (mut clock, start) = (Clock::default(), start());
        assert_eq!(clock.time(Some(start.wall - 20 * MS), start), (Timestamp::from_micros(0), start.wall - 20 * MS));
        let arrival = later(start, 50 * MS);
        let taken = start.wall + 13 * MS;
        assert_eq!(clock.time(Some(taken), arrival), (Timestamp::from_micros(33_000), taken));
    }

    #[test]
    fn stamps_of_the_future_of_long_ago_or_missing_give_way_to_the_arrival() {
        let (mut clock, start) = (Clock::default(), start());
        for (n, stamp) in
            [Some(start.wall + 3600 * 1000 * MS), Some(SystemTime::UNIX_EPOCH), None].into_iter().enumerate()
        {
            let arrival = later(start, n as u32 * 40 * MS);
            assert_eq!(clock.time(stamp, arrival), (Timestamp::from_micros(n as i64 * 40_000), arrival.wall));
        }
    }

    #[test]
    fn setting_the_computers_clock_leaves_no_jump() {
        let (mut clock, start) = (Clock::default(), start());
        clock.time(Some(start.wall), start);
        let hour = 3_600_000 * MS;
        let stepped = Moment { instant: start.instant + 33 * MS, wall: start.wall + 33 * MS + hour };
        assert_eq!(clock.time(Some(stepped.wall), stepped).0, Timestamp::from_micros(33_000));
    }

    proptest! {
        #[test]
        fn presentation_times_strictly_increase(steps in prop::collection::vec((0u64..50_000, prop::option::of(0u64..9_000_000)), 2..50)) {
            let (mut clock, mut now, mut last) = (Clock::default(), start(), -1);
            for (step, age) in steps {
                now = later(now, Duration::from_micros(step));
                let (pts, wall) = clock.time(age.map(|age| now.wall - Duration::from_micros(age)), now);
                prop_assert!(pts.ticks > last && wall <= now.wall);
                last = pts.ticks;
            }
        }
    }
}
