//! Who may come in: as many live senders as the machine can carry, and no more.
//!
//! A live picture has to be decoded and analysed before the next one comes. Once live sessions use
//! nearly all processors, one more would make every one of them drop pictures, so it is turned
//! away and told to come back. An every-frame session slows down instead: it is never turned away for load,
//! and what it uses counts for nothing here. Its threads have no lower priority, so live sessions do feel it: where they
//! must not, a receiver of their own is the answer.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use cv_core::{session_id::SessionId, whip::Mode};

use crate::metrics::METRICS;

mod ledger;
mod memory;
mod meter;

use ledger::{Ledger, SeatId};
pub use meter::{Meter, ThreadMeter};

/// Why a sender is turned away.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The processors are spoken for.
    #[error(
        "live sessions use {used:.2} of the {limit:.2} processors that --max-load grants them, and this one would \
         need about {needed:.2}; try again later, or send with --mode every-frame, which only takes longer"
    )]
    Load {
        /// What they use.
        used: f64,
        /// What they may use.
        limit: f64,
        /// What the new one is expected to use.
        needed: f64,
    },
    /// The memory is.
    #[error("this receiver uses {used_mb} of the {limit_mb} MB that its control group grants it; try again later")]
    Memory {
        /// What it uses, in megabytes.
        used_mb: u64,
        /// What it may use.
        limit_mb: u64,
    },
}

impl Refusal {
    /// Counts and logs that a sender to `session` was turned away.
    pub fn note(&self, session: &SessionId, mode: Mode) {
        METRICS.refused_offers.count(self.label());
        tracing::info!(event = "offer-refused", %session, mode = mode.name(), short_of = self.label(), "{self}");
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Load { .. } => "load",
            Self::Memory { .. } => "memory",
        }
    }
}

/// The door. Cloning shares it.
#[derive(Clone)]
pub struct Admission {
    shared: Arc<Shared>,
}

struct Shared {
    /// Locked to look at or change an account only, hence a plain mutex.
    ledger: Mutex<Ledger>,
    /// Processors that live sessions may use together.
    limit: Option<f64>,
}

/// A sender that was let in; drop it when its decoder is gone.
pub struct Seat {
    id: SeatId,
    meter: Arc<Meter>,
    shared: Arc<Shared>,
}

impl Admission {
    /// Lets live sessions use `share` of the processors of this process; all they want if it is zero.
    pub fn new(share: f64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let limit = (share > 0.0).then_some(share * cores as f64);
        Self { shared: Arc::new(Shared { ledger: Mutex::default(), limit }) }
    }

    /// A seat for a sender to `session`. One that takes its own session over adds nothing and is always let in.
    pub fn admit(&self, session: &SessionId, mode: Mode) -> Result<Seat, Refusal> {
        let (id, meter) = self.shared.admit(session, mode)?;
        Ok(Seat { id, meter, shared: self.shared.clone() })
    }

    /// The sender to `session` is told to go, so nothing is expected of it any more.
    pub fn discount(&self, session: &SessionId) {
        self.shared.ledger(Instant::now()).discount(session);
    }

    /// Whether a new live sender would be let in now.
    pub fn check(&self) -> Result<(), Refusal> {
        memory::check()?;
        let now = Instant::now();
        self.shared.ledger(now).check(self.shared.limit, now)
    }

    /// Processors that live sessions use, and that they may use.
    pub fn load(&self) -> (f64, Option<f64>) {
        let now = Instant::now();
        (self.shared.ledger(now).committed(now), self.shared.limit)
    }

    /// Looks at what sessions use, often enough to know when one asks. Never completes.
    pub async fn watch(self) {
        let mut ticks = tokio::time::interval(ledger::SAMPLE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            drop(self.shared.ledger(Instant::now()));
        }
    }
}

impl Shared {
    fn admit(&self, session: &SessionId, mode: Mode) -> Result<(SeatId, Arc<Meter>), Refusal> {
        let now = Instant::now();
        let mut ledger = self.ledger(now);
        if !ledger.knows(session) {
            memory::check()?;
            if mode == Mode::Live {
                ledger.check(self.limit, now)?;
            }
        }
        Ok(ledger.open(session.clone(), mode, now))
    }

    /// The ledger, up to date.
    fn ledger(&self, now: Instant) -> MutexGuard<'_, Ledger> {
        let mut ledger = self.ledger.lock().expect("nobody panics while holding the ledger");
        ledger.sample(now);
        ledger
    }
}

impl Seat {
    /// Where its work is measured.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.ledger(Instant::now()).close(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_seat_is_free_again_once_it_is_dropped() {
        let admission = Admission::new(0.9);
        let seat = admission.admit(&SessionId::generate(), Mode::Live).unwrap();
        seat.meter().add(Duration::from_secs(3));
        assert!(admission.load().0 > 0.0);
        drop(seat);
        assert_eq!(admission.load().0, 0.0);
    }
}
