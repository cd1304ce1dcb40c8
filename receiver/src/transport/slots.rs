//! Places for sessions with a sender: as many as the operator allows.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, Weak},
};

use cv_core::session_id::SessionId;

/// Connections of one session at once: the newest, and those that it took over from, as long as they take to close.
const CONNECTIONS: usize = 8;

/// The places there are. Cloning shares them.
#[derive(Clone)]
pub struct Slots {
    shared: Arc<Shared>,
}

/// Locked for a look-up only, hence a plain mutex.
struct Shared {
    /// The places taken, by the session that has them; none once the receiver shuts down.
    taken: Mutex<Option<HashMap<SessionId, Weak<Slot>>>>,
    limit: usize,
}

/// A place of a session. Its connections share it, so a sender that takes the session over needs no other one; it
/// is free again when the last of them is over.
pub struct Slot {
    session: SessionId,
    shared: Arc<Shared>,
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
        Self { shared: Arc::new(Shared { taken: Mutex::new(Some(HashMap::new())), limit }) }
    }

    /// A connection's share in the place of `session`, a new place if it has none.
    pub fn take(&self, session: &SessionId) -> Result<Arc<Slot>, NoSlot> {
        // Outlives the lock: giving up a share may be what frees the place, which locks again.
        let known;
        let mut taken = self.shared.lock();
        let taken = taken.as_mut().ok_or(NoSlot::Closed)?;
        known = taken.get(session).and_then(Weak::upgrade);
        if let Some(slot) = &known {
            // One of the shares counted is the one just made.
            return if Arc::strong_count(slot) <= CONNECTIONS { Ok(slot.clone()) } else { Err(NoSlot::Contested) };
        }
        if !taken.contains_key(session) && taken.len() >= self.shared.limit {
            return Err(NoSlot::Full);
        }
        let slot = Arc::new(Slot { session: session.clone(), shared: self.shared.clone() });
        taken.insert(session.clone(), Arc::downgrade(&slot));
        Ok(slot)
    }

    /// Whether there is no place for another session.
    pub fn is_full(&self) -> bool {
        self.shared.lock().as_ref().is_none_or(|taken| taken.len() >= self.shared.limit)
    }

    /// Gives out no more.
    pub fn close(&self) {
        self.shared.lock().take();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<SessionId, Weak<Slot>>>> {
        self.taken.lock().expect("nobody panics while holding it")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.shared.lock();
        let Some(taken) = taken.as_mut() else { return };
        // The session may have a new place by now.
        if taken.get(&self.session).is_some_and(|slot| slot.strong_count() == 0) {
            taken.remove(&self.session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> SessionId {
        name.parse().unwrap()
    }

    #[test]
    fn connections_of_one_session_share_a_place_until_the_last_is_over() {
        let slots = Slots::new(1);
        let first = slots.take(&id("a")).unwrap();
        assert_eq!(slots.take(&id("b")).err(), Some(NoSlot::Full));
        let second = slots.take(&id("a")).unwrap();
        drop(first);
        assert_eq!(slots.take(&id("b")).err(), Some(NoSlot::Full));
        drop(second);
        assert!(slots.take(&id("b")).is_ok());
        assert!(slots.take(&id("c")).is_ok(), "a place that nobody kept is free");
    }

    #[test]
    fn a_contested_session_has_no_end_of_connections() {
        let slots = Slots::new(1);
        let shares: Vec<_> = (0..CONNECTIONS).map(|_| slots.take(&id("a")).unwrap()).collect();
        assert_eq!(slots.take(&id("a")).err(), Some(NoSlot::Contested));
        drop(shares);
        slots.close();
        assert_eq!(slots.take(&id("a")).err(), Some(NoSlot::Closed));
    }
}
