//! Media time as an exact number of ticks, with its time base.

use std::{cmp::Ordering, fmt};

/// Seconds per tick as the fraction `num / den`, both at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeBase {
    num: u32,
    den: u32,
}

impl TimeBase {
    /// RTP's video clock (RFC 6184, section 8.2.1): 90 000 ticks a second.
    pub const RTP: Self = Self { num: 1, den: 90_000 };
    /// Microseconds, what cameras and clocks give.
    pub const MICROS: Self = Self { num: 1, den: 1_000_000 };

    /// A time base, or `None` where a part is zero.
    pub fn new(num: u32, den: u32) -> Option<Self> {
        (num > 0 && den > 0).then_some(Self { num, den })
    }

    /// Numerator.
    pub fn num(self) -> u32 {
        self.num
    }

    /// Denominator.
    pub fn den(self) -> u32 {
        self.den
    }
}

/// A presentation time: `ticks` of `base` since the source's own zero. May be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// Ticks since zero.
    pub ticks: i64,
    /// Length of a tick.
    pub base: TimeBase,
}

impl Timestamp {
    /// `ticks` of `base`.
    pub fn new(ticks: i64, base: TimeBase) -> Self {
        Self { ticks, base }
    }

    /// Microseconds, as cameras count.
    pub fn from_micros(micros: i64) -> Self {
        Self::new(micros, TimeBase::MICROS)
    }

    /// Seconds as ffprobe prints them: rounded to six decimals from the exact fraction.
    ///
    /// Goes through the same decimal text, so that both print the same digits.
    pub fn seconds(self) -> f64 {
        let exact = self.ticks as f64 * (f64::from(self.base.num) / f64::from(self.base.den));
        format!("{exact:.6}").parse().unwrap_or(exact)
    }

    /// The same time in another base, rounded to the nearest tick, halves away from zero;
    /// saturates at the ends of the range.
    pub fn rescale(self, base: TimeBase) -> Self {
        let num = i128::from(self.ticks) * i128::from(self.base.num) * i128::from(base.den);
        let den = i128::from(self.base.den) * i128::from(base.num);
        let half = den / 2 * num.signum();
        let ticks = (num + half) / den;
        Self::new(ticks.clamp(i64::MIN.into(), i64::MAX.into()) as i64, base)
    }

    /// Whole microseconds.
    pub fn micros(self) -> i64 {
        self.rescale(TimeBase::MICROS).ticks
    }

    /// The RTP timestamp of this time relative to a random `origin`; wraps as RTP does.
    pub fn rtp(self, origin: u32) -> u32 {
        origin.wrapping_add(self.rescale(TimeBase::RTP).ticks as u32)
    }
}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let scaled = |a: Self, b: Self| i128::from(a.ticks) * i128::from(a.base.num) * i128::from(b.base.den);
        Some(scaled(*self, *other).cmp(&scaled(*other, *self)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.seconds())
    }
}

/// Turns RTP's wrapping 32-bit timestamps into ticks that never wrap.
///
/// Follows the shortest way round from the last one, so that reordered packets count backwards
/// correctly (RFC 3550, section 5.1).
#[derive(Clone, Debug, Default)]
pub struct RtpUnwrapper {
    last: Option<i64>,
}

impl RtpUnwrapper {
    /// Ticks of `timestamp`, in line with those returned before; the first one is returned as it is.
    pub fn unwrap(&mut self, timestamp: u32) -> i64 {
        let ticks = match self.last {
            None => i64::from(timestamp),
            Some(last) => last + i64::from(timestamp.wrapping_sub(last as u32) as i32),
        };
        self.last = Some(ticks);
        ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ticks: i64, num: u32, den: u32) -> Timestamp {
        Timestamp::new(ticks, TimeBase::new(num, den).unwrap())
    }

    #[test]
    fn seconds_have_the_digits_that_ffprobe_prints() {
        assert_eq!(at(132_000, 1, 90_000).seconds(), 1.466667);
        assert_eq!(at(1001, 1, 30_000).seconds(), 0.033367);
        assert_eq!(at(0, 1, 600).seconds(), 0.0);
        assert_eq!(at(-512, 1, 12_800).seconds(), -0.04);
    }

    #[test]
    fn ten_hours_of_ntsc_do_not_drift() {
        let frame = 10 * 3600 * 30_000 / 1001;
        assert_eq!(at(frame * 1001, 1, 30_000).micros(), (frame * 1001 * 1_000_000 + 15_000) / 30_000);
    }

    #[test]
    fn times_of_different_bases_compare() {
        assert_eq!(at(1, 1, 2).partial_cmp(&at(45_000, 1, 90_000)), Some(Ordering::Equal));
        assert!(at(-1, 1, 2) < at(0, 1, 90_000));
    }

    #[test]
    fn rtp_time_survives_its_wrap() {
        let mut unwrapper = RtpUnwrapper::default();
        assert_eq!(unwrapper.unwrap(u32::MAX - 1), i64::from(u32::MAX) - 1);
        assert_eq!(unwrapper.unwrap(2), i64::from(u32::MAX) + 3);
        assert_eq!(unwrapper.unwrap(u32::MAX), i64::from(u32::MAX));
    }

    proptest! {
        #[test]
        fn rescaling_never_panics(ticks: i64, num in 1u32.., den in 1u32.., other in 1u32..) {
            let stamp = at(ticks, num, den);
            stamp.rescale(TimeBase::new(1, other).unwrap());
            stamp.rtp(7);
            stamp.seconds();
        }

        #[test]
        fn unwrapped_steps_equal_rtp_steps(start: u32, steps in prop::collection::vec(-1_000_000i32..1_000_000, 1..50)) {
            let mut unwrapper = RtpUnwrapper::default();
            let mut ticks = unwrapper.unwrap(start);
            let mut rtp = start;
            for step in steps {
                rtp = rtp.wrapping_add(step as u32);
                let next = unwrapper.unwrap(rtp);
                prop_assert_eq!(next - ticks, i64::from(step));
                ticks = next;
            }
        }
    }
}
