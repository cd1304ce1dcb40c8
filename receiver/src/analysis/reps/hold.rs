//! How long something is held: an angle above a threshold, with breaks that are too short to be any.

/// Degrees from which on the body is straight, and below which it is not any more.
const STRAIGHT: f64 = 160.0;
const BENT: f64 = 150.0;

/// Seconds that a hold must last to be one, since who bends down is straight for a moment, too; and that a break may last.
const LEAST_HOLD: f64 = 1.0;
const MOST_BREAK: f64 = 0.5;

/// Seconds without a picture after which nothing joins what was to what comes.
const LONGEST_GAP: f64 = 1.0;

/// A hold that ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    /// Seconds of media time when it began.
    pub(super) start: f64,
    pub(super) seconds: f64,
}

/// Times what is held.
#[derive(Default)]
pub(super) struct Hold {
    /// When the current one began, and when it was last straight.
    current: Option<(f64, f64)>,
    /// Whether the latest measurement was one of holding.
    is_straight: bool,
    /// Seconds of those that ended.
    total: f64,
    longest: f64,
}

impl Hold {
    /// Takes in the angle at `time` seconds, if there is one; a hold that this ends.
    pub(super) fn push(&mut self, time: f64, angle: Option<f64>) -> Option<Held> {
        let ended = self.current.filter(|&(_, last)| !(0.0..=LONGEST_GAP).contains(&(time - last)));
        let mut held = if ended.is_some() { self.end() } else { None };
        if let Some(angle) = angle {
            self.is_straight = angle >= if self.is_straight { BENT } else { STRAIGHT };
        }
        if angle.is_some() && self.is_straight {
            let (start, _) = self.current.unwrap_or((time, time));
            self.current = Some((start, time));
        } else if self.current.is_some_and(|(_, last)| time - last > MOST_BREAK) {
            held = self.end();
        }
        held
    }

    /// Ends what is held.
    pub(super) fn end(&mut self) -> Option<Held> {
        self.is_straight = false;
        let (start, last) = self.current.take()?;
        let seconds = last - start;
        if seconds < LEAST_HOLD {
            return None;
        }
        self.total += seconds;
        self.longest = self.longest.max(seconds);
        Some(Held { start, seconds })
    }

    /// Seconds of the current hold, 0 without one.
    pub(super) fn seconds(&self) -> f64 {
        self.current.map(|(start, last)| last - start).filter(|&seconds| seconds >= LEAST_HOLD).unwrap_or(0.0)
    }

    /// Seconds of all holds together, and of the longest.
    pub(super) fn total(&self) -> (f64, f64) {
        (self.total + self.seconds(), self.longest.max(self.seconds()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_breaks_are_none_and_short_holds_are_none() {
        let mut hold = Hold::default();
        let mut ended = Vec::new();
        for picture in 0..200 {
            let time = f64::from(picture) / 10.0;
            let angle = match time {
                1.0..5.0 => Some(if (2.0..2.3).contains(&time) { 120.0 } else { 172.0 }),
                5.0..6.0 => None,
                8.0..8.3 => Some(175.0),
                _ => Some(90.0),
            };
            ended.extend(hold.push(time, angle));
        }
        assert_eq!(ended.len(), 1);
        assert!((ended[0].start - 1.0).abs() < 1e-9 && (ended[0].seconds - 3.9).abs() < 1e-9);
        assert_eq!(hold.total(), (ended[0].seconds, ended[0].seconds));
    }

    #[test]
    fn a_gap_ends_a_hold_where_it_was_last_seen() {
        let mut hold = Hold::default();
        for time in [0.0, 0.5, 1.0] {
            assert_eq!(hold.push(time, Some(170.0)), None);
        }
        assert_eq!(hold.seconds(), 1.0);
        assert_eq!(hold.push(60.0, Some(170.0)), Some(Held { start: 0.0, seconds: 1.0 }));
        assert_eq!(hold.push(0.0, Some(170.0)), None, "a source that starts over");
        assert_eq!(hold.total(), (1.0, 1.0));
    }
}
