//! Who may hold a connection when more want one than there are places.
//!
//! A connection has to earn its place with a whole request that is not refused. Where places run out one that has
//! not done so gives way ([`super::waiting`]).

use std::{
    collections::HashMap,
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use cv_core::process::Stop;
use tokio::sync::mpsc;

use super::{
    network::network,
    waiting::{Ticket, Waiting},
};

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In all.
    pub total: usize,
    /// From one address; this machine may use all.
    pub per_address: usize,
}

/// The places for connections. Cloning shares them.
#[derive(Clone)]
pub struct Places {
    limits: Limits,
    /// Locked to count only, hence a plain mutex.
    counts: Arc<Mutex<Counts>>,
    /// Held by every place: when the last is gone, so are all connections.
    _alive: mpsc::Sender<Infallible>,
}

#[derive(Default)]
struct Counts {
    taken: usize,
    /// By address.
    networks: HashMap<IpAddr, usize>,
    /// Those that may be asked to give way.
    unproven: Waiting<()>,
}

/// A connection's place; free again when dropped.
pub struct Place {
    places: Places,
    network: IpAddr,
    ticket: Ticket,
}

/// Lets a connection keep its place. Cloning is cheap.
#[derive(Clone)]
pub struct Proof {
    counts: Arc<Mutex<Counts>>,
    ticket: Ticket,
}

/// There is no place left, and nobody who could give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// For anybody.
    Full,
    /// For this address.
    AddressFull,
}

/// Completes when every place is free and nobody can take one any more.
pub struct Emptied(mpsc::Receiver<Infallible>);

impl Places {
    /// Free places, and a way to wait until they are free again.
    pub fn new(limits: Limits) -> (Self, Emptied) {
        let (alive, emptied) = mpsc::channel(1);
        (Self { limits, counts: Arc::default(), _alive: alive }, Emptied(emptied))
    }

    /// A place for a connection from `address`, and what is raised when it has to give way. One that gives way keeps
    /// counting until it is gone, but for a moment there is one more.
    pub fn take(&self, address: IpAddr) -> Result<(Place, Stop), Refusal> {
        let network = network(address);
        let per_address = if network.is_loopback() { self.limits.total } else { self.limits.per_address };
        let (now, mut counts) = (Instant::now(), lock(&self.counts));
        let own = counts.networks.get(&network).copied().unwrap_or_default();
        if own >= per_address && counts.unproven.evict_from(network, now).is_none() {
            return Err(Refusal::AddressFull);
        }
        if own < per_address && counts.taken >= self.limits.total && counts.unproven.evict_any(now).is_none() {
            return Err(Refusal::Full);
        }
        let (ticket, evicted) = counts.unproven.enter((), network, now);
        counts.taken += 1;
        *counts.networks.entry(network).or_default() += 1;
        Ok((Place { places: self.clone(), network, ticket }, evicted))
    }

    /// Makes the oldest connection give way that has not earned its place; `false` if all have.
    pub fn evict(&self) -> bool {
        lock(&self.counts).unproven.evict_any(Instant::now()).is_some()
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().expect("nobody panics while counting")
}

impl Place {
    /// What lets this connection keep it.
    pub fn proof(&self) -> Proof {
        Proof { counts: self.places.counts.clone(), ticket: self.ticket }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.places.counts);
        counts.taken -= 1;
        counts.unproven.leave(self.ticket, Instant::now());
        if let Some(held) = counts.networks.get_mut(&self.network) {
            *held -= 1;
            if *held == 0 {
                counts.networks.remove(&self.network);
            }
        }
    }
}

impl Proof {
    /// The connection made a whole request that was not refused.
    pub fn earn(&self) {
        lock(&self.counts).unproven.settle(self.ticket);
    }
}

impl Emptied {
    /// Waits for the last connection to go.
    pub async fn wait(mut self) {
        self.0.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(number).into()
    }

    fn places(total: usize, per_address: usize) -> Places {
        Places::new(Limits { total, per_address }).0
    }

    #[test]
    fn the_oldest_of_those_who_only_wait_gives_way() {
        let places = places(2, 2);
        let (_first, evicted) = places.take(address(1)).unwrap();
        let (_second, kept) = places.take(address(2)).unwrap();
        assert!(!evicted.is_raised());
        let _third = places.take(address(3)).unwrap();
        assert!(evicted.is_raised() && !kept.is_raised());
    }

    #[test]
    fn the_address_with_the_most_waiting_gives_way() {
        let places = places(4, 4);
        let (_honest, kept) = places.take(address(1)).unwrap();
        let flood: Vec<_> = (0..3).map(|_| places.take(address(2)).unwrap()).collect();
        let _newcomer = places.take(address(3)).unwrap();
        let told: Vec<bool> = flood.iter().map(|(_, told)| told.is_raised()).collect();
        assert!(!kept.is_raised());
        assert_eq!(told, [true, false, false]);
    }

    #[test]
    fn a_place_that_was_earned_is_kept_until_it_is_left() {
        let places = places(1, 1);
        let (place, told) = places.take(address(1)).unwrap();
        place.proof().earn();
        assert_eq!(places.take(address(2)).map(|_| ()), Err(Refusal::Full));
        assert_eq!(places.take(address(1)).map(|_| ()), Err(Refusal::AddressFull));
        assert!(!told.is_raised());
        drop(place);
        assert!(places.take(address(2)).is_ok());
    }

    #[test]
    fn one_address_does_not_take_what_others_need() {
        let places = places(4, 2);
        let kept: Vec<_> = (0..2).map(|_| places.take(address(1)).unwrap().0).collect();
        kept.iter().for_each(|place| place.proof().earn());
        assert_eq!(places.take(address(1)).map(|_| ()), Err(Refusal::AddressFull));
        assert!(places.take(address(2)).is_ok());
    }

    #[test]
    fn this_machine_may_use_all() {
        let places = places(4, 1);
        let kept: Vec<_> = (0..4).map(|_| places.take([127, 0, 0, 1].into()).unwrap().0).collect();
        assert_eq!(kept.len(), 4);
    }

    #[tokio::test]
    async fn all_are_waited_for() {
        let (places, emptied) = Places::new(Limits { total: 1, per_address: 1 });
        let (place, _told) = places.take(address(1)).unwrap();
        drop(places);
        let mut waiting = emptied.wait().boxed();
        assert!((&mut waiting).now_or_never().is_none());
        drop(place);
        waiting.await;
    }
}
