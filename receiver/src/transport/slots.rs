//! Places for sessions with a sender: as many as the operator allows.
//!
//! Whoever never connects keeps nobody out: a place whose sender has not connected yet is given up for another one
//! ([`Slots::make_room`]).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::{Duration, Instant},
};

use cv_core::{process::Stop, session_id::SessionId};

use crate::web::waiting::{Ticket, Waiting};

/// Connections of one session at once: the newest, and those that it took over from, as long as they take to close.
const CONNECTIONS: usize = 8;
/// Within this time most senders connect, so they are let be.
const GRACE: Duration = Duration::from_secs(1);

/// The places there are. Cloning shares them.
#[derive(Clone)]
pub struct Slots {
    shared: Arc<Shared>,
}

/// Locked for a look-up only, hence a plain mutex.
struct Shared {
    /// The places taken; none once the receiver shuts down.
    taken: Mutex<Option<Taken>>,
    limit: usize,
}

#[derive(Default)]
struct Taken {
    /// By the session that has them.
    slots: HashMap<SessionId, Weak<Slot>>,
    /// Those whose sender has not connected yet.
    waiting: Waiting<SessionId>,
    /// How many there are beside those that were told to go, and how many of those are not gone yet.
    kept: usize,
    leaving: usize,
}

/// A place of a session. Its connections share it, so a sender that takes the session over needs no other one; it
/// is free again when the last of them is over.
pub struct Slot {
    session: SessionId,
    shared: Arc<Shared>,
    ticket: Ticket,
    wanted: Stop,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// Others have them all.
    #[error("this receiver has as many senders as it takes (--max-sessions)")]
    Full,
    /// The session has been taken over again and again.
    #[error("this session changes hands faster than connections close; give each sender its own --session")]
    Contested,
    /// No new sender is taken any more.
    #[error("this receiver is shutting down")]
    Closed,
}

impl Slots {
    /// `limit` places.
    pub fn new(limit: usize) -> Self {
        Self { shared: Arc::new(Shared { taken: Mutex::new(Some(Taken::default())), limit }) }
    }

    /// The share of a connection to `client` in the place of `session`, a new place if it has none.
    pub fn take(&self, session: &SessionId, client: IpAddr) -> Result<Arc<Slot>, NoSlot> {
        // Outlives the lock: giving up a share may be what frees the place, which locks again.
        let known;
        let mut taken = self.shared.lock();
        let taken = taken.as_mut().ok_or(NoSlot::Closed)?;
        known = taken.slots.get(session).and_then(Weak::upgrade);
        if let Some(slot) = known.as_ref().filter(|slot| !slot.wanted.is_raised()) {
            // One of the shares counted is the one just made.
            return if Arc::strong_count(slot) <= CONNECTIONS { Ok(slot.clone()) } else { Err(NoSlot::Contested) };
        }
        if taken.kept >= self.shared.limit {
            return Err(NoSlot::Full);
        }
        taken.kept += 1;
        let (ticket, wanted) = taken.waiting.enter(session.clone(), client, Instant::now());
        let slot = Arc::new(Slot { session: session.clone(), shared: self.shared.clone(), ticket, wanted });
        taken.slots.insert(session.clone(), Arc::downgrade(&slot));
        Ok(slot)
    }

    /// Takes the place of a session away whose sender has not connected yet, in favour of one from `client`; says
    /// whose, if there is one to be had.
    pub fn make_room(&self, client: IpAddr) -> Option<SessionId> {
        let mut taken = self.shared.lock();
        // Those that are about to go still use memory, so they have a bound, too.
        let taken = taken.as_mut().filter(|taken| taken.leaving < self.shared.limit)?;
        let session = taken.waiting.evict_for(client, GRACE, Instant::now())?;
        taken.kept -= 1;
        taken.leaving += 1;
        Some(session)
    }

    /// Whether there is no place for another session, and none to be had.
    pub fn is_full(&self) -> bool {
        let full = |taken: &Taken| taken.kept >= self.shared.limit && taken.waiting.is_empty();
        self.shared.lock().as_ref().is_none_or(full)
    }

    /// Gives out no more.
    pub fn close(&self) {
        self.shared.lock().take();
    }

    /// Whether none is given out any more.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().is_none()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Taken>> {
        self.taken.lock().expect("nobody panics while holding it")
    }
}

impl Slot {
    /// Its sender has connected: nobody else gets this place.
    pub fn settle(&self) {
        if let Some(taken) = self.shared.lock().as_mut() {
            taken.waiting.settle(self.ticket);
        }
    }

    /// Raised when somebody else needs it.
    pub fn wanted(&self) -> Stop {
        self.wanted.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.shared.lock();
        let Some(taken) = taken.as_mut() else { return };
        taken.waiting.leave(self.ticket, Instant::now());
        *if self.wanted.is_raised() { &mut taken.leaving } else { &mut taken.kept } -= 1;
        // The session may have a new place by now.
        if taken.slots.get(&self.session).is_some_and(|slot| slot.strong_count() == 0) {
            taken.slots.remove(&self.session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> SessionId {
        name.parse().unwrap()
    }

    fn address(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    fn take(slots: &Slots, name: &str) -> Result<Arc<Slot>, NoSlot> {
        slots.take(&id(name), address(1))
    }

    #[test]
    fn connections_of_one_session_share_a_place_until_the_last_is_over() {
        let slots = Slots::new(1);
        let first = take(&slots, "a").unwrap();
        assert_eq!(take(&slots, "b").err(), Some(NoSlot::Full));
        let second = take(&slots, "a").unwrap();
        drop(first);
        assert_eq!(take(&slots, "b").err(), Some(NoSlot::Full));
        drop(second);
        assert!(take(&slots, "b").is_ok());
        assert!(take(&slots, "c").is_ok(), "a place that nobody kept is free");
    }

    #[test]
    fn a_contested_session_has_no_end_of_connections() {
        let slots = Slots::new(1);
        let shares: Vec<_> = (0..CONNECTIONS).map(|_| take(&slots, "a").unwrap()).collect();
        assert_eq!(take(&slots, "a").err(), Some(NoSlot::Contested));
        drop(shares);
        slots.close();
        assert_eq!(take(&slots, "a").err(), Some(NoSlot::Closed));
    }

    #[test]
    fn whoever_has_not_connected_gives_way_and_whoever_has_does_not() {
        let slots = Slots::new(2);
        let (settled, idle) = (take(&slots, "settled").unwrap(), take(&slots, "idle").unwrap());
        settled.settle();
        assert!(!slots.is_full());
        assert_eq!(slots.make_room(address(2)), None, "it came just now");
        let more: Vec<_> = ["idle", "idle"].map(|name| take(&slots, name).unwrap()).into();
        assert_eq!(slots.make_room(address(2)), None, "its session has one place however many connections");
        drop(more);
        idle.settle();
        assert!(slots.is_full());
        assert!(!idle.wanted().is_raised() && !settled.wanted().is_raised());
    }

    #[test]
    fn of_many_from_one_address_the_oldest_gives_way_at_once() {
        let slots = Slots::new(3);
        let flood: Vec<_> = ["a", "b", "c"].iter().map(|name| take(&slots, name).unwrap()).collect();
        assert_eq!(slots.make_room(address(1)), None, "one of their own is no better than they are");
        assert_eq!(slots.make_room(address(2)), Some(id("a")));
        assert!(flood[0].wanted().is_raised() && !flood[1].wanted().is_raised());
        let honest = slots.take(&id("honest"), address(2)).unwrap();
        assert_eq!(slots.take(&id("late"), address(2)).err(), Some(NoSlot::Full));
        // Its place is taken already when it is gone.
        drop(flood);
        let taken: Vec<_> = ["d", "e"].iter().map(|name| take(&slots, name).unwrap()).collect();
        assert_eq!(take(&slots, "f").err(), Some(NoSlot::Full));
        drop((taken, honest));
        assert!(take(&slots, "f").is_ok());
    }

    #[test]
    fn a_session_that_gave_way_may_come_again() {
        let slots = Slots::new(2);
        let first: Vec<_> = ["a", "b"].iter().map(|name| take(&slots, name).unwrap()).collect();
        assert_eq!(slots.make_room(address(2)), Some(id("a")));
        let again = take(&slots, "a").unwrap();
        assert!(!again.wanted().is_raised());
        drop(first);
        let _shared = take(&slots, "a").unwrap();
        assert_eq!(Arc::strong_count(&again), 2);
    }

    #[test]
    fn those_who_leave_slowly_have_a_bound() {
        let slots = Slots::new(2);
        let mut held: Vec<_> = ["a", "b"].iter().map(|name| take(&slots, name).unwrap()).collect();
        for name in ["c", "d"] {
            assert!(slots.make_room(address(2)).is_some());
            held.push(take(&slots, name).unwrap());
        }
        assert_eq!(slots.make_room(address(2)), None);
        held.drain(..1);
        assert!(slots.make_room(address(2)).is_some());
    }
}
