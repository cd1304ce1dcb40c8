//! Packets on their way to the socket, no faster than the path takes them.
//!
//! A token bucket: what was saved up while nothing was sent may leave at once, so that on a fast path
//! a picture leaves in one burst; what is more than that leaves at the pacing rate. Packets that are
//! sent again go first, because a whole picture waits for each, and count like all others.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// What may leave at once on any path: less than the ten packets that TCP begins with (RFC 6928).
const MIN_BURST: f64 = 4.0 * 1200.0;
/// And as much as the rate gives in this time, so that timers of a millisecond are fine enough.
const BURST_TIME: f64 = 0.004;
/// Bytes that may leave at once before anything is known of the path.
const FIRST_BURST: f64 = 10.0 * 1200.0;

/// A queue with a rate.
#[derive(Debug)]
pub(super) struct Pacer<T> {
    again: VecDeque<(T, usize)>,
    first: VecDeque<(T, usize)>,
    /// Bytes in both.
    waiting: usize,
    /// Bytes a second.
    rate: f64,
    /// Bytes that may leave now; below zero after the last packet that was let through.
    tokens: f64,
    refilled: Option<Instant>,
}

/// A packet whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Released<T> {
    pub(super) packet: T,
    pub(super) bytes: usize,
    /// Whether it has been sent before.
    pub(super) again: bool,
}

impl<T> Pacer<T> {
    /// An empty queue; `rate` in bits a second.
    pub(super) fn new(rate: f64) -> Self {
        let (again, first) = (VecDeque::new(), VecDeque::new());
        Self { again, first, waiting: 0, rate: rate / 8.0, tokens: FIRST_BURST, refilled: None }
    }

    /// Changes the rate, in bits a second.
    pub(super) fn set_rate(&mut self, now: Instant, rate: f64) {
        self.refill(now);
        self.rate = (rate / 8.0).max(1.0);
    }

    /// Puts a packet at the end.
    pub(super) fn push(&mut self, packet: T, bytes: usize) {
        self.waiting += bytes;
        self.first.push_back((packet, bytes));
    }

    /// Puts a packet that was sent before behind others of its kind, but before all new ones.
    pub(super) fn push_again(&mut self, packet: T, bytes: usize) {
        self.waiting += bytes;
        self.again.push_back((packet, bytes));
    }

    /// The next packet, if it may leave now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Released<T>> {
        if self.is_empty() {
            return None;
        }
        self.refill(now);
        if self.tokens <= 0.0 {
            return None;
        }
        let (again, (packet, bytes)) = match self.again.pop_front() {
            Some(first) => (true, first),
            None => (false, self.first.pop_front()?),
        };
        self.tokens -= bytes as f64;
        self.waiting -= bytes;
        Some(Released { packet, bytes, again })
    }

    /// When the next packet may leave.
    pub(super) fn next(&self) -> Option<Instant> {
        let refilled = self.refilled.filter(|_| !self.is_empty())?;
        // A byte more than nothing, so that rounding never wakes for naught.
        let wait = if self.tokens > 0.0 { 0.0 } else { (1.0 - self.tokens) / self.rate };
        Some(refilled + Duration::from_secs_f64(wait.min(3600.0)))
    }

    /// How long what waits takes to leave.
    pub(super) fn backlog(&self) -> Duration {
        Duration::from_secs_f64((self.waiting as f64 / self.rate).min(3600.0))
    }

    /// Packets that wait.
    pub(super) fn len(&self) -> usize {
        self.again.len() + self.first.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.again.is_empty() && self.first.is_empty()
    }

    fn refill(&mut self, now: Instant) {
        let Some(last) = self.refilled.replace(now) else { return };
        let depth = (self.rate * BURST_TIME).max(MIN_BURST);
        // The first burst is larger than a slow path's depth; it is spent once and not given again.
        let earned = now.saturating_duration_since(last).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + earned).min(depth.max(self.tokens));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGABIT: f64 = 1e6;

    fn released(pacer: &mut Pacer<u32>, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| pacer.pop(now)).map(|released| released.packet).collect()
    }

    fn settled(rate: f64, now: Instant) -> Pacer<u32> {
        let mut pacer = Pacer::new(rate);
        pacer.tokens = MIN_BURST;
        pacer.set_rate(now, rate);
        pacer
    }

    #[test]
    fn on_a_fast_path_a_keyframe_leaves_at_once() {
        let now = Instant::now();
        let mut pacer = settled(100.0 * MEGABIT, now);
        pacer.set_rate(now + Duration::from_millis(33), 100.0 * MEGABIT);
        (0..24).for_each(|number| pacer.push(number, 1200));
        assert_eq!(released(&mut pacer, now + Duration::from_millis(33)).len(), 24);
        assert_eq!(pacer.next(), None);
    }

    #[test]
    fn on_a_slow_path_packets_leave_at_its_rate() {
        let start = Instant::now();
        let mut pacer = settled(MEGABIT, start);
        (0..100).for_each(|number| pacer.push(number, 1250));
        assert_eq!(released(&mut pacer, start).len(), 4, "what may leave at once");
        assert_eq!(pacer.backlog(), Duration::from_millis(960));
        let (mut now, mut count) = (start, 4);
        while let Some(next) = pacer.next() {
            assert!(next > now, "it never wakes for naught");
            now = next;
            count += released(&mut pacer, now).len();
        }
        assert_eq!(count, 100);
        let seconds = (now - start).as_secs_f64();
        assert!((0.94..0.97).contains(&seconds), "{seconds}");
    }

    #[test]
    fn packets_sent_again_go_first_and_count() {
        let now = Instant::now();
        let mut pacer = settled(MEGABIT, now);
        (0..10).for_each(|number| pacer.push(number, 1200));
        (10..13).for_each(|number| pacer.push_again(number, 1200));
        assert_eq!(released(&mut pacer, now), [10, 11, 12, 0]);
        assert_eq!(pacer.len(), 9);
    }

    #[test]
    fn a_pause_saves_up_no_more_than_a_burst() {
        let start = Instant::now();
        let mut pacer = settled(MEGABIT, start);
        (0..50).for_each(|number| pacer.push(number, 1200));
        released(&mut pacer, start);
        assert_eq!(released(&mut pacer, start + Duration::from_secs(60)).len(), 4);
    }
}
