//! What the peer said as far as it was heard, and what it is told of that.

use std::time::{Duration, Instant};

use crate::acknowledgement::Acknowledgement;

/// So many of the first records are acknowledged without being asked for: those that open the channel, of which
/// each waits for the one before.
pub(crate) const OPENING: u64 = 8;
/// While a network loses things, so many records ahead are promised an acknowledgement …
const PROMISE: u64 = 64;
/// … until nothing was missing for so long.
const ROUGH: Duration = Duration::from_secs(10);

/// The records heard so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    highest: Option<u64>,
    /// As in [`Acknowledgement::heard`].
    map: u64,
    /// Up to this number everything is acknowledged.
    promise: u64,
    /// When something was missing last.
    rough: Option<Instant>,
}

impl Heard {
    /// Takes note of record `number`; gives what the peer is to be told.
    pub(crate) fn hear(&mut self, now: Instant, number: u64) -> Option<Acknowledgement> {
        let highest = *self.highest.get_or_insert_with(|| {
            self.promise = number + OPENING;
            number
        });
        let missing = match number.checked_sub(highest) {
            Some(ahead) => {
                self.map = if ahead < 64 { self.map << ahead | 1 } else { 1 };
                ahead > 1
            }
            None => {
                let back = highest - number;
                let bit = if back < 64 { 1 << back } else { 0 };
                let again = self.map & bit != 0;
                self.map |= bit;
                again
            }
        };
        let highest = highest.max(number);
        self.highest = Some(highest);
        if missing {
            self.rough = Some(now);
        }
        if self.rough.is_some_and(|rough| now.saturating_duration_since(rough) < ROUGH) {
            self.promise = self.promise.max(highest.saturating_add(PROMISE));
        }
        let promise = self.promise;
        (number <= promise).then_some(Acknowledgement { highest, heard: self.map, promise })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_opening_nothing_is_told_as_long_as_nothing_is_missing() {
        let (now, mut heard) = (Instant::now(), Heard::default());
        let told = (1000..2000).filter(|number| heard.hear(now, *number).is_some()).count();
        assert_eq!(told as u64, OPENING + 1);
    }

    #[test]
    fn once_something_is_missing_all_is_told_that_was_promised() {
        let (start, mut heard) = (Instant::now(), Heard::default());
        (1..50).for_each(|number| _ = heard.hear(start, number));
        let told = heard.hear(start, 51).unwrap();
        assert!(told.misses(50) && told.covers(51) && told.covers(49));
        assert_eq!(told.promise, 51 + PROMISE);
        assert!(heard.hear(start, 50).unwrap().covers(50));
        // Good weather again: nothing more is promised, and what was is kept.
        let later = start + ROUGH;
        let told = (52..1000).filter(|number| heard.hear(later, *number).is_some()).count();
        assert_eq!(told as u64, PROMISE);
    }

    #[test]
    fn what_is_heard_again_is_told_again() {
        let (now, mut heard) = (Instant::now(), Heard::default());
        (1..100).for_each(|number| _ = heard.hear(now, number));
        assert!(heard.hear(now, 90).unwrap().covers(90));
        assert!(heard.hear(now, 3).is_some_and(|told| !told.covers(3)), "longer ago than is remembered");
    }
}
