//! Who gives way when there is no room for others: of those that have not shown yet that they are in earnest the
//! oldest, of the address that has the most such now and had the most that went without having shown it. So those that
//! only wait keep nobody out, however many they are.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::{Duration, Instant},
};

use cv_core::process::{self, Stop, Stopper};

use super::network::network;

/// What is known of one that waits: who it is, since when, and how to tell it to go.
struct Waiter<K> {
    key: K,
    since: Instant,
    go: Stopper,
}

/// For so long it is remembered of an address that somebody there waited in vain.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Addresses of which that is remembered.
const MAX_REMEMBERED: usize = 4096;

/// Those that may have to give way, by address. Time is passed in.
pub struct Waiting<K> {
    next: u64,
    networks: HashMap<IpAddr, BTreeMap<u64, Waiter<K>>>,
    /// How many waited in vain, and when the last one went.
    in_vain: HashMap<IpAddr, (usize, Instant)>,
}

/// A place among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    network: IpAddr,
    number: u64,
}

impl<K> Default for Waiting<K> {
    fn default() -> Self {
        Self { next: 0, networks: HashMap::new(), in_vain: HashMap::new() }
    }
}

impl<K> Waiting<K> {
    /// `key` waits from now on, for somebody at `address`; the signal is raised when it has to go.
    pub fn enter(&mut self, key: K, address: IpAddr, now: Instant) -> (Ticket, Stop) {
        let (go, told) = process::stop();
        let ticket = Ticket { network: network(address), number: self.next };
        self.next += 1;
        self.networks.entry(ticket.network).or_default().insert(ticket.number, Waiter { key, since: now, go });
        (ticket, told)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    /// It has shown that it is in earnest, and need not go.
    pub fn settle(&mut self, ticket: Ticket) {
        if self.remove(ticket).is_some() {
            self.in_vain.remove(&ticket.network);
        }
    }

    /// It is gone.
    pub fn leave(&mut self, ticket: Ticket, now: Instant) {
        if self.remove(ticket).is_some() {
            self.remember(ticket.network, now);
        }
    }

    /// Tells the oldest of `address` to go; says which that was, if any waits.
    pub fn evict_from(&mut self, address: IpAddr, now: Instant) -> Option<K> {
        let network = network(address);
        let (&number, _) = self.networks.get(&network)?.first_key_value()?;
        self.evict(Ticket { network, number }, now)
    }

    /// Tells one to go.
    pub fn evict_any(&mut self, now: Instant) -> Option<K> {
        let (ticket, ..) = self.weightiest(now)?;
        self.evict(ticket, now)
    }

    /// Tells one to go in favour of somebody at `address` that deserves it more; after `grace` also of somebody that
    /// deserves it as much.
    pub fn evict_for(&mut self, address: IpAddr, grace: Duration, now: Instant) -> Option<K> {
        let network = network(address);
        let own = self.networks.get(&network).map_or(0, BTreeMap::len) + 1 + self.went_in_vain(&network, now);
        let (ticket, weight, since) = self.weightiest(now)?;
        let is_old = now.saturating_duration_since(since) >= grace;
        (weight > own || (weight == own && is_old)).then(|| self.evict(ticket, now)).flatten()
    }

    /// The first to go, what speaks against its address, and since when it waits.
    fn weightiest(&self, now: Instant) -> Option<(Ticket, usize, Instant)> {
        let firsts = self.networks.iter().filter_map(|(network, waiters)| {
            let (&number, waiter) = waiters.first_key_value()?;
            let weight = waiters.len() + self.went_in_vain(network, now);
            Some((Ticket { network: *network, number }, weight, waiter.since))
        });
        firsts.max_by_key(|(ticket, weight, _)| (*weight, Reverse(ticket.number)))
    }

    fn evict(&mut self, ticket: Ticket, now: Instant) -> Option<K> {
        let waiter = self.remove(ticket)?;
        self.remember(ticket.network, now);
        waiter.go.raise();
        Some(waiter.key)
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Waiter<K>> {
        let waiters = self.networks.get_mut(&ticket.network)?;
        let waiter = waiters.remove(&ticket.number);
        if waiters.is_empty() {
            self.networks.remove(&ticket.network);
        }
        waiter
    }

    fn went_in_vain(&self, network: &IpAddr, now: Instant) -> usize {
        let known = self.in_vain.get(network);
        known.filter(|(_, last)| now.saturating_duration_since(*last) < REMEMBERED).map_or(0, |(count, _)| *count)
    }

    fn remember(&mut self, network: IpAddr, now: Instant) {
        let count = self.went_in_vain(&network, now) + 1;
        if self.in_vain.len() >= MAX_REMEMBERED {
            self.in_vain.retain(|_, (_, last)| now.saturating_duration_since(*last) < REMEMBERED);
            // Looking through all of them every time would be the attacker's work done.
            if self.in_vain.len() > MAX_REMEMBERED / 2 {
                self.in_vain.clear();
            }
        }
        self.in_vain.insert(network, (count, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(1);

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    /// Keys 0, 1, 2 … of the addresses given.
    fn waiting(addresses: &[u32], now: Instant) -> (Waiting<usize>, Vec<(Ticket, Stop)>) {
        let mut waiting = Waiting::default();
        let entered = addresses.iter().enumerate().map(|(key, from)| waiting.enter(key, address(*from), now)).collect();
        (waiting, entered)
    }

    #[test]
    fn the_oldest_of_the_address_with_the_most_goes_first() {
        let now = Instant::now();
        let (mut waiting, entered) = waiting(&[1, 2, 2, 2, 3, 1], now);
        let gone: Vec<usize> = std::iter::from_fn(|| waiting.evict_any(now)).collect();
        // What went speaks against its address, too.
        assert_eq!(gone, [1, 2, 3, 0, 5, 4]);
        assert!(entered.iter().all(|(_, told)| told.is_raised()));
        assert!(waiting.is_empty());
    }

    #[test]
    fn whoever_left_or_settled_is_not_told_to_go() {
        let now = Instant::now();
        let (mut waiting, entered) = waiting(&[1, 1, 1], now);
        waiting.leave(entered[0].0, now);
        waiting.settle(entered[1].0);
        assert_eq!(waiting.evict_from(address(1), now), Some(2));
        assert_eq!(waiting.evict_from(address(1), now), None);
        assert!(!entered[0].1.is_raised() && !entered[1].1.is_raised() && entered[2].1.is_raised());
        waiting.leave(entered[2].0, now);
        assert!(waiting.is_empty());
    }

    #[test]
    fn those_who_came_just_now_go_only_for_an_address_that_has_fewer() {
        let now = Instant::now();
        let (mut waiting, _entered) = waiting(&[1, 1, 2], now);
        assert_eq!(waiting.evict_for(address(1), GRACE, now + GRACE), None, "one of their own is no better");
        assert_eq!(waiting.evict_for(address(3), GRACE, now), Some(0));
        assert_eq!(waiting.evict_for(address(3), GRACE, now), Some(1));
        assert_eq!(waiting.evict_for(address(3), GRACE, now), None, "it is as good as the last one");
        assert_eq!(waiting.evict_for(address(3), GRACE, now + GRACE), Some(2));
    }

    #[test]
    fn an_address_that_waits_in_vain_again_and_again_goes_for_one_that_does_not() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        for number in 0..1000 {
            let (ticket, _) = waiting.enter(number, address(number), now);
            waiting.leave(ticket, now);
        }
        for number in 0..10 {
            waiting.enter(number, address(number), now);
        }
        assert_eq!(waiting.evict_for(address(20), GRACE, now), None, "neither is better");
        assert_eq!(waiting.evict_for(address(5000), GRACE, now), Some(0));
        let (ticket, _) = waiting.enter(7, address(5000), now);
        assert_eq!(waiting.evict_for(address(20), GRACE, now + GRACE), Some(1), "not the better one");
        waiting.settle(ticket);
        let later = now + REMEMBERED;
        assert_eq!(waiting.evict_for(address(20), GRACE, later), Some(2), "all is forgotten, and it is old");
    }

    #[test]
    fn many_addresses_fill_no_memory() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        for number in 0..20_000 {
            let (ticket, _) = waiting.enter((), address(number), now);
            waiting.leave(ticket, now);
        }
        assert!(waiting.in_vain.len() <= MAX_REMEMBERED && waiting.is_empty());
    }
}
