//! What became of datagrams, second by second.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

/// One datagram that came to the bottleneck.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    bytes: usize,
    /// Time in the queue; `None` if it found the queue full.
    queued: Option<Duration>,
}

/// The datagrams of one direction.
#[derive(Debug, Default)]
pub struct Timeline {
    samples: Mutex<Vec<Sample>>,
}

/// What happened in a stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Bits a second that got through.
    pub rate: f64,
    /// 95th percentile of the time in the queue.
    pub queued: Duration,
    /// Share of the datagrams that found the queue full.
    pub dropped: f64,
}

impl Timeline {
    pub(crate) fn add(&self, at: Instant, bytes: usize, queued: Option<Duration>) {
        self.samples.lock().expect("nobody panics while holding it").push(Sample { at, bytes, queued });
    }

    /// The stretch from `from` to `to`, counted from the first datagram on.
    ///
    /// # Panics
    /// If there was no datagram at all.
    pub fn stretch(&self, from: Duration, to: Duration) -> Stretch {
        let samples = self.samples.lock().expect("nobody panics while holding it");
        let start = samples.first().expect("some datagram").at;
        let within: Vec<_> = samples.iter().filter(|sample| (start + from..start + to).contains(&sample.at)).collect();
        let mut queued: Vec<Duration> = within.iter().filter_map(|sample| sample.queued).collect();
        queued.sort_unstable();
        let bytes: usize = within.iter().filter(|sample| sample.queued.is_some()).map(|sample| sample.bytes).sum();
        Stretch {
            rate: bytes as f64 * 8.0 / (to - from).as_secs_f64(),
            queued: queued.get(queued.len() * 95 / 100).copied().unwrap_or_default(),
            dropped: 1.0 - queued.len() as f64 / within.len().max(1) as f64,
        }
    }
}
