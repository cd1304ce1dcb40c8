//! How often one address may ask for something.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

/// Askers remembered. Whoever commands more networks than this is not limited by address anyway.
const MAX_ASKERS: usize = 4096;

/// Who asks, as far as limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Somebody without a token, where none is needed.
    Stranger,
    /// The holder of a right token, who is not to suffer from strangers at the same address.
    Holder(usize),
    /// Somebody with a wrong token, or without one where one is needed.
    Refused,
}

/// A rate with a burst: each asker has a bucket that holds `burst` requests and fills again steadily.
///
/// Of a bucket is kept when it will be full again (GCRA), so a full one need not be kept at all.
pub struct Rates {
    interval: Duration,
    burst: u32,
    /// Locked to look at one entry only, hence a plain mutex.
    full_again: Mutex<HashMap<(IpAddr, Who), Instant>>,
}

impl Rates {
    /// `rate` requests a second each, and twice as many at once; `None` limits nothing.
    pub fn new(rate: Option<f64>) -> Self {
        let interval = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        let burst = rate.map_or(1, |rate| (rate * 2.0).ceil().max(1.0) as u32);
        Self { interval, burst, full_again: Mutex::default() }
    }

    /// Takes one request out of the bucket of `who` at `network`; if it is empty, says when to come again.
    pub fn take(&self, network: IpAddr, who: Who, now: Instant) -> Result<(), Duration> {
        if self.interval.is_zero() {
            return Ok(());
        }
        let mut full_again = self.full_again.lock().expect("nobody panics while holding the buckets");
        let filled = full_again.get(&(network, who)).map_or(now, |filled| (*filled).max(now)) + self.interval;
        let wait = (filled - now).saturating_sub(self.interval * self.burst);
        if !wait.is_zero() {
            return Err(wait);
        }
        if full_again.len() >= MAX_ASKERS {
            full_again.retain(|_, filled| *filled > now);
            // Looking through all of them for every request would be the attacker's work done.
            if full_again.len() > MAX_ASKERS / 2 {
                full_again.clear();
            }
        }
        full_again.insert((network, who), filled);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (rates, start) = (Rates::new(Some(10.0)), Instant::now());
        let ask = |after: u64| rates.take(address(1), Who::Stranger, start + Duration::from_millis(after));
        assert!((0..20).all(|_| ask(0).is_ok()));
        assert_eq!(ask(0), Err(Duration::from_millis(100)));
        assert_eq!(ask(50), Err(Duration::from_millis(50)));
        assert!(ask(100).is_ok() && ask(100).is_err());
        assert!((0..20).all(|_| ask(10_000).is_ok()) && ask(10_000).is_err(), "no more than a burst gathers");
    }

    #[test]
    fn one_asker_does_not_use_up_what_another_has() {
        let (rates, now) = (Rates::new(Some(1.0)), Instant::now());
        while rates.take(address(1), Who::Refused, now).is_ok() {}
        for (number, who) in [(1, Who::Stranger), (1, Who::Holder(0)), (1, Who::Holder(1)), (2, Who::Refused)] {
            assert!(rates.take(address(number), who, now).is_ok(), "{who:?}");
        }
    }

    #[test]
    fn many_askers_fill_no_memory() {
        let (rates, now) = (Rates::new(Some(1.0)), Instant::now());
        for number in 0..100_000 {
            assert!(rates.take(address(number), Who::Stranger, now).is_ok());
        }
        assert!(rates.full_again.lock().unwrap().len() <= MAX_ASKERS);
    }

    #[test]
    fn without_a_rate_nothing_is_limited() {
        let (rates, now) = (Rates::new(None), Instant::now());
        assert!((0..10_000).all(|_| rates.take(address(1), Who::Stranger, now).is_ok()));
    }
}
