//! The speed at which recorded pictures are played.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

use cv_core::timestamp::Timestamp;

/// How fast a file or pattern is played. A camera has its own pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many seconds of the source in a second.
    Speed(f64),
    /// As fast as results come back.
    Max,
}

/// Text that names no pace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a pace: use 1 for real time, another factor from 0.01 to 1000, or max")]
pub struct PaceError(String);

impl FromStr for Pace {
    type Err = PaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let speed = || text.parse().ok().filter(|speed| (0.01..=1000.0).contains(speed));
        match text {
            "max" => Ok(Self::Max),
            _ => speed().map(Self::Speed).ok_or_else(|| PaceError(text.to_owned())),
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Speed(speed) => speed.fmt(f),
            Self::Max => f.write_str("max"),
        }
    }
}

/// When each picture of a source is due.
#[derive(Clone, Debug)]
pub struct Schedule {
    pace: Pace,
    start: Option<(Instant, i64)>,
}

impl Schedule {
    /// A schedule that begins with the first picture asked about.
    pub fn new(pace: Pace) -> Self {
        Self { pace, start: None }
    }

    /// How long the picture at `pts` has to wait at `now`; nothing if it is due or late.
    pub fn wait(&mut self, pts: Timestamp, now: Instant) -> Duration {
        let Pace::Speed(speed) = self.pace else { return Duration::ZERO };
        let (start, first) = *self.start.get_or_insert((now, pts.micros()));
        let played = (pts.micros().saturating_sub(first)).max(0) as f64 / 1e6 / speed;
        (start + Duration::try_from_secs_f64(played).unwrap_or(Duration::MAX / 4)).saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_due_by_their_time_and_the_speed() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Pace::Speed(2.0));
        assert_eq!(schedule.wait(Timestamp::from_micros(5_000_000), now), Duration::ZERO);
        assert_eq!(schedule.wait(Timestamp::from_micros(6_000_000), now), Duration::from_millis(500));
        let late = now + Duration::from_secs(1);
        assert_eq!(schedule.wait(Timestamp::from_micros(6_000_000), late), Duration::ZERO);
    }

    #[test]
    fn a_pace_is_a_factor_or_max() {
        assert_eq!("max".parse(), Ok(Pace::Max));
        assert_eq!("0.5".parse(), Ok(Pace::Speed(0.5)));
        for text in ["0", "-1", "fast", "NaN", "inf"] {
            assert!(text.parse::<Pace>().is_err());
        }
    }
}
