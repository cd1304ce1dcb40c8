//! Processor time that one sender's pictures cost.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cpu_time::ThreadTime;

/// Processor time, added up from several threads.
#[derive(Debug, Default)]
pub struct Meter {
    nanos: AtomicU64,
}

impl Meter {
    /// Adds `spent`.
    pub fn add(&self, spent: Duration) {
        self.nanos.fetch_add(spent.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Does `work` and adds what it cost this thread.
    pub fn measured<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = ThreadTime::try_now();
        let done = work();
        if let Ok(spent) = before.and_then(|before| before.try_elapsed()) {
            self.add(spent);
        }
        done
    }

    /// The sum so far.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// The time of one whole thread, handed to a meter now and then: a question to the system for every picture
/// would cost more than counting everything else.
#[derive(Debug, Default)]
pub struct ThreadMeter {
    counted: Duration,
    asks: u32,
}

/// Pictures between two questions to the system.
const EVERY: u32 = 4;

impl ThreadMeter {
    /// A picture is done, on the thread whose time is counted.
    pub fn tick(&mut self, meter: &Meter) {
        self.asks = self.asks.wrapping_add(1);
        if !self.asks.is_multiple_of(EVERY) {
            return;
        }
        if let Ok(now) = ThreadTime::try_now() {
            let now = now.as_duration();
            meter.add(now.saturating_sub(self.counted));
            self.counted = now;
        }
    }
}
