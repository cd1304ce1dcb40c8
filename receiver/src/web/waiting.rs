//! Who gives way when there is no room for others: the oldest of those that have not shown yet that they are in
//! earnest, of the address that has the most such. So those that only wait keep nobody out, however many they are.

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

/// Those that may have to give way, by address. Time is passed in.
pub struct Waiting<K> {
    next: u64,
    networks: HashMap<IpAddr, BTreeMap<u64, Waiter<K>>>,
}

/// A place among those that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    network: IpAddr,
    number: u64,
}

impl<K> Default for Waiting<K> {
    fn default() -> Self {
        Self { next: 0, networks: HashMap::new() }
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

    /// It waits no more, and need not go.
    pub fn leave(&mut self, ticket: Ticket) {
        let Some(waiters) = self.networks.get_mut(&ticket.network) else { return };
        waiters.remove(&ticket.number);
        if waiters.is_empty() {
            self.networks.remove(&ticket.network);
        }
    }

    /// Tells the oldest of `address` to go; says which that was, if any waits.
    pub fn evict_from(&mut self, address: IpAddr) -> Option<K> {
        let network = network(address);
        let (&number, _) = self.networks.get(&network)?.first_key_value()?;
        self.evict(Ticket { network, number })
    }

    /// Tells the oldest to go of the address that has the most.
    pub fn evict_any(&mut self) -> Option<K> {
        let ticket = self.weightiest()?.0;
        self.evict(ticket)
    }

    /// The same in favour of somebody at `address`, unless it waits for less than `grace` and its address has no
    /// more such than that one would have then.
    pub fn evict_for(&mut self, address: IpAddr, grace: Duration, now: Instant) -> Option<K> {
        let own = self.networks.get(&network(address)).map_or(0, BTreeMap::len) + 1;
        let (ticket, count, since) = self.weightiest()?;
        (count > own || now.saturating_duration_since(since) >= grace).then(|| self.evict(ticket)).flatten()
    }

    /// The first to go, how many of its address wait, and since when it does.
    fn weightiest(&self) -> Option<(Ticket, usize, Instant)> {
        let firsts = self.networks.iter().filter_map(|(network, waiters)| {
            let (&number, waiter) = waiters.first_key_value()?;
            Some((Ticket { network: *network, number }, waiters.len(), waiter.since))
        });
        firsts.max_by_key(|(ticket, count, _)| (*count, Reverse(ticket.number)))
    }

    fn evict(&mut self, ticket: Ticket) -> Option<K> {
        let waiter = self.networks.get_mut(&ticket.network)?.remove(&ticket.number)?;
        self.leave(ticket);
        waiter.go.raise();
        Some(waiter.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_millis(500);

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
        let (mut waiting, entered) = waiting(&[1, 2, 2, 2, 3], Instant::now());
        let gone: Vec<usize> = std::iter::from_fn(|| waiting.evict_any()).collect();
        assert_eq!(gone, [1, 2, 0, 3, 4]);
        assert!(entered.iter().all(|(_, told)| told.is_raised()));
        assert!(waiting.is_empty());
    }

    #[test]
    fn whoever_left_is_not_told_to_go() {
        let (mut waiting, entered) = waiting(&[1, 1], Instant::now());
        waiting.leave(entered[0].0);
        assert_eq!(waiting.evict_from(address(1)), Some(1));
        assert_eq!(waiting.evict_from(address(1)), None);
        assert!(!entered[0].1.is_raised() && entered[1].1.is_raised());
        waiting.leave(entered[1].0);
        assert!(waiting.is_empty());
    }

    #[test]
    fn those_who_came_just_now_go_only_for_an_address_that_has_fewer() {
        let now = Instant::now();
        let (mut waiting, _entered) = waiting(&[1, 1, 1], now);
        assert_eq!(waiting.evict_for(address(1), GRACE, now), None);
        assert_eq!(waiting.evict_for(address(2), GRACE, now), Some(0));
        assert_eq!(waiting.evict_for(address(2), GRACE, now), Some(1));
        assert_eq!(waiting.evict_for(address(2), GRACE, now), None, "it is as good as the last one");
        assert_eq!(waiting.evict_for(address(1), GRACE, now + GRACE), Some(2));
    }
}
