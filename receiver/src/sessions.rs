//! The sessions there are, by id.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use cv_core::session_id::SessionId;

use crate::session::{Printing, Session};

/// The registry. Cloning shares it.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

/// Locked for a look-up or a change of the map only, hence a plain mutex.
struct Shared {
    map: Mutex<HashMap<SessionId, (u64, Session)>>,
    limit: usize,
    ttl: Duration,
    printing: Option<Printing>,
}

/// There are as many sessions as may be remembered.
#[derive(Debug, thiserror::Error)]
#[error("this receiver remembers {0} sessions already; try again later or forget one with DELETE /cv/session/ID")]
pub struct Full(usize);

impl Sessions {
    /// A registry of at most `limit` sessions, each forgotten when it had no sender for `ttl`.
    pub fn new(limit: usize, ttl: Duration, printing: Option<Printing>) -> Self {
        Self { shared: Arc::new(Shared { map: Mutex::default(), limit, ttl, printing }) }
    }

    /// The session called `id`, begun now if there is none.
    pub fn enter(&self, id: &SessionId) -> Result<Session, Full> {
        let mut map = self.lock();
        if let Some((_, session)) = map.get(id) {
            return Ok(session.clone());
        }
        if map.len() >= self.shared.limit {
            return Err(Full(self.shared.limit));
        }
        let serial = map.values().map(|(serial, _)| serial + 1).max().unwrap_or(0);
        let (registry, key) = (self.clone(), id.clone());
        let session = Session::start(id.clone(), self.shared.ttl, self.shared.printing.clone(), move || {
            let mut map = registry.lock();
            // Another session of this name may have begun since.
            if map.get(&key).is_some_and(|(current, _)| *current == serial) {
                map.remove(&key);
            }
        });
        map.insert(id.clone(), (serial, session.clone()));
        Ok(session)
    }

    /// The session called `id`, if there is one.
    pub fn find(&self, id: &SessionId) -> Option<Session> {
        self.lock().get(id).map(|(_, session)| session.clone())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// All sessions, by name.
    pub fn all(&self) -> Vec<Session> {
        let mut sessions: Vec<_> = self.lock().values().map(|(_, session)| session.clone()).collect();
        sessions.sort_by(|a, b| a.id.cmp(&b.id));
        sessions
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, (u64, Session)>> {
        self.shared.map.lock().expect("nobody panics while holding the registry")
    }
}
