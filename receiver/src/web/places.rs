//! Who may hold a connection when more want one than there are places.
//!
//! A connection has to earn its place with a whole request that is not refused. Where places run out the oldest
//! that has not done so gives way, of the address that has the most such: so connections that only wait keep
//! nobody out, however many they are.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::{mpsc, oneshot};

use super::network::network;

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
    next: u64,
    networks: HashMap<IpAddr, Held>,
}

/// What one address holds.
#[derive(Default)]
struct Held {
    taken: usize,
    /// Those that may be asked to give way, oldest first.
    unproven: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A connection's place; free again when dropped.
pub struct Place {
    places: Places,
    network: IpAddr,
    number: u64,
}

/// Lets a connection keep its place. Cloning is cheap.
#[derive(Clone)]
pub struct Proof {
    counts: Arc<Mutex<Counts>>,
    network: IpAddr,
    number: u64,
}

/// Tells a connection that it has to give way.
pub struct Eviction(oneshot::Receiver<()>);

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

    /// A place for a connection from `address`, and how it is told to give way.
    pub fn take(&self, address: IpAddr) -> Result<(Place, Eviction), Refusal> {
        let network = network(address);
        let per_address = if network.is_loopback() { self.limits.total } else { self.limits.per_address };
        let mut counts = lock(&self.counts);
        let own = counts.networks.get(&network).map_or(0, |held| held.taken);
        if own >= per_address && !counts.evict(network) {
            return Err(Refusal::AddressFull);
        }
        if own < per_address && counts.taken >= self.limits.total && !counts.evict_any() {
            return Err(Refusal::Full);
        }
        let (tell, evicted) = oneshot::channel();
        let number = counts.next;
        counts.next += 1;
        counts.taken += 1;
        let held = counts.networks.entry(network).or_default();
        held.taken += 1;
        held.unproven.insert(number, tell);
        Ok((Place { places: self.clone(), network, number }, Eviction(evicted)))
    }

    /// Makes the oldest connection give way that has not earned its place; `false` if all have.
    pub fn evict(&self) -> bool {
        lock(&self.counts).evict_any()
    }
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().expect("nobody panics while counting")
}

impl Counts {
    /// The connection keeps counting until it is gone, so for a moment there are more than the limit.
    fn evict(&mut self, network: IpAddr) -> bool {
        let oldest = self.networks.get_mut(&network).and_then(|held| held.unproven.pop_first());
        // One that is not there to hear it is leaving anyway.
        oldest.map(|(_, tell)| tell.send(()).ok()).is_some()
    }

    fn evict_any(&mut self) -> bool {
        let most = self.networks.iter().max_by_key(|(_, held)| held.unproven.len());
        most.map(|(network, _)| *network).is_some_and(|network| self.evict(network))
    }
}

impl Place {
    /// What lets this connection keep it.
    pub fn proof(&self) -> Proof {
        Proof { counts: self.places.counts.clone(), network: self.network, number: self.number }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.places.counts);
        counts.taken -= 1;
        let Some(held) = counts.networks.get_mut(&self.network) else { return };
        held.taken -= 1;
        held.unproven.remove(&self.number);
        if held.taken == 0 {
            counts.networks.remove(&self.network);
        }
    }
}

impl Proof {
    /// The connection made a whole request that was not refused.
    pub fn earn(&self) {
        if let Some(held) = lock(&self.counts).networks.get_mut(&self.network) {
            held.unproven.remove(&self.number);
        }
    }
}

impl Eviction {
    /// Completes when the connection has to give way; never, once it has earned its place.
    pub async fn told(self) {
        if self.0.await.is_err() {
            std::future::pending().await
        }
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
        let _second = places.take(address(2)).unwrap();
        assert!(evicted.0.is_empty());
        let _third = places.take(address(3)).unwrap();
        // Which of two addresses with one connection each gives way is open; that one does is not.
        assert_eq!(lock(&places.counts).networks.values().map(|held| held.unproven.len()).sum::<usize>(), 2);
    }

    #[test]
    fn the_address_with_the_most_waiting_gives_way() {
        let places = places(4, 4);
        let (_honest, kept) = places.take(address(1)).unwrap();
        let mut kept = kept.told().boxed();
        let (_flood, mut told): (Vec<_>, Vec<_>) =
            (0..3).map(|_| places.take(address(2)).unwrap()).map(|(place, told)| (place, told.told().boxed())).unzip();
        let _newcomer = places.take(address(3)).unwrap();
        assert!((&mut kept).now_or_never().is_none());
        assert!((&mut told[0]).now_or_never().is_some() && (&mut told[1]).now_or_never().is_none());
    }

    #[test]
    fn a_place_that_was_earned_is_kept_until_it_is_left() {
        let places = places(1, 1);
        let (place, told) = places.take(address(1)).unwrap();
        place.proof().earn();
        assert_eq!(places.take(address(2)).map(|_| ()), Err(Refusal::Full));
        assert_eq!(places.take(address(1)).map(|_| ()), Err(Refusal::AddressFull));
        assert!(told.told().now_or_never().is_none());
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
