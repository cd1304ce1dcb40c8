//! Pictures a second as an exact fraction, so that presentation times never drift.

use std::{fmt, str::FromStr};

use cv_core::timestamp::{TimeBase, Timestamp};

/// `num / den` pictures a second, within [`Rate::MIN`] and [`Rate::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    num: u32,
    den: u32,
}

/// A rate that no pattern has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a frame rate: write a number from 0.01 to 1000 or a fraction such as 30000/1001")]
pub(super) struct RateError(String);

impl Rate {
    pub(super) const DEFAULT: Self = Self { num: 30, den: 1 };
    const MIN: f64 = 0.01;
    const MAX: f64 = 1000.0;

    /// A simple fraction within a millionth of `fps`, mostly far nearer: 29.97 becomes 2997/100 and 30000.0 / 1001.0 becomes 30000/1001.
    pub(super) fn nearest(fps: f64) -> Result<Self, RateError> {
        if !(Self::MIN..=Self::MAX).contains(&fps) {
            return Err(RateError(fps.to_string()));
        }
        // Convergents of the continued fraction, as numerator and denominator.
        let (mut last, mut this) = ((1.0, 0.0), (fps.floor(), 1.0));
        let mut rest = fps;
        while (this.0 / this.1 - fps).abs() > fps * 1e-9 {
            rest = 1.0 / (rest - rest.floor());
            let next = (rest.floor() * this.0 + last.0, rest.floor() * this.1 + last.1);
            if next.1 > 1e6 {
                break;
            }
            (last, this) = (this, next);
        }
        Self::checked(this.0 as u32, this.1 as u32).ok_or_else(|| RateError(fps.to_string()))
    }

    fn checked(num: u32, den: u32) -> Option<Self> {
        let fits = num > 0 && den > 0 && (Self::MIN..=Self::MAX).contains(&(f64::from(num) / f64::from(den)));
        fits.then_some(Self { num, den })
    }

    /// Pictures a second.
    pub(super) fn fps(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// Presentation time of picture `number`: that many ticks of one picture's length.
    pub(super) fn pts(self, number: u64) -> Timestamp {
        let base = TimeBase::new(self.den, self.num).expect("both parts are checked to be above zero");
        Timestamp::new(i64::try_from(number).unwrap_or(i64::MAX), base)
    }

    /// Seconds from the first picture to picture `number`.
    pub(super) fn seconds(self, number: u64) -> f64 {
        number as f64 * f64::from(self.den) / f64::from(self.num)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.den == 1 { write!(f, "{}", self.num) } else { write!(f, "{}/{}", self.num, self.den) }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || RateError(text.to_owned());
        match text.split_once('/') {
            Some((num, den)) => num.parse().ok().zip(den.parse().ok()).and_then(|(num, den)| Self::checked(num, den)),
            None => text.parse().ok().and_then(|fps| Self::nearest(fps).ok()),
        }
        .ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(text: &str) -> String {
        text.parse::<Rate>().unwrap().to_string()
    }

    #[test]
    fn decimals_and_fractions_are_exact() {
        assert_eq!(rate("30"), "30");
        assert_eq!(rate("29.97"), "2997/100");
        assert_eq!(rate("23.976"), "2997/125");
        assert_eq!(rate("30000/1001"), "30000/1001");
        assert_eq!(rate("12.5"), "25/2");
        assert_eq!(Rate::nearest(30_000.0 / 1001.0).unwrap().to_string(), "30000/1001");
        assert_eq!(Rate::nearest(1.0 / 3.0).unwrap().to_string(), "1/3");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "0", "-1", "nan", "inf", "1/0", "0/1", "5000", "1/200", "a/b", "4294967296/1"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_whole_ticks() {
        let ntsc: Rate = "30000/1001".parse().unwrap();
        assert_eq!(ntsc.pts(30_000).micros(), 1_001_000_000);
        assert_eq!((ntsc.pts(7).base.num(), ntsc.pts(7).base.den(), ntsc.pts(7).ticks), (1001, 30_000, 7));
    }

    proptest! {
        #[test]
        fn every_rate_in_range_has_a_close_fraction(fps in 0.01f64..=1000.0) {
            let found = Rate::nearest(fps).unwrap().fps();
            prop_assert!((found - fps).abs() <= fps * 1e-6, "{found}");
        }
    }
}
