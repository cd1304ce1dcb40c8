//! What this process did and what waits in it, counted where it happens.
//!
//! There is one [`METRICS`] for the process, as there is one processor time of it: a metric is not
//! state that anybody decides by, and handing it through every constructor on a picture's way would
//! hide that way. Counting is one relaxed atomic operation, never a lock. [`crate::ops`] shows them;
//! `docs/metrics.md` says what they mean.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use cv_core::report::{Cause, Clock};

mod histogram;

pub use histogram::Histogram;

/// The metrics of this process.
pub static METRICS: Metrics = Metrics::new();

/// Something that only ever grows.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Something that is there now.
#[derive(Debug)]
pub struct Gauge(AtomicI64);

impl Gauge {
    const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    /// So many come.
    pub fn add(&self, more: usize) {
        self.0.fetch_add(more as i64, Ordering::Relaxed);
    }

    /// So many go.
    pub fn sub(&self, less: usize) {
        self.0.fetch_sub(less as i64, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter for each of a closed set of labels.
#[derive(Debug)]
pub struct Labelled<const N: usize> {
    labels: [&'static str; N],
    counters: [Counter; N],
}

impl<const N: usize> Labelled<N> {
    const fn new(labels: [&'static str; N]) -> Self {
        Self { labels, counters: [const { Counter::new() }; N] }
    }

    /// Counts one of `label`.
    pub fn count(&self, label: &str) {
        let index = self.labels.iter().position(|known| *known == label);
        debug_assert!(index.is_some(), "{label} is missing among {:?}", self.labels);
        if let Some(index) = index {
            self.counters[index].add(1);
        }
    }

    /// Every label with its count.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.labels.into_iter().zip(self.counters.iter().map(Counter::value))
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    /// Senders that were answered and are not through yet.
    pub connecting: Gauge,
    /// Senders that are connected.
    pub connected: Gauge,
    /// Connections that ended, by reason.
    pub ended: Labelled<{ ENDS.len() }>,
    /// Pictures by what became of them.
    pub frames: Frames,
    /// RTP packets of pictures.
    pub packets: Packets,
    /// How unevenly pictures arrive.
    pub jitter: Histogram,
    /// Where the time of a picture with a result went.
    pub stages: Stages,
    /// What waits.
    pub queues: Queues,
    /// Lines that readers were too slow for.
    pub missed_lines: MissedLines,
    /// Requests over HTTP.
    pub requests: Requests,
    /// Offers refused for want of room, by what is short.
    pub refused_offers: Labelled<{ REFUSALS.len() }>,
    /// Datagrams at the media port that reached no connection.
    pub dropped_datagrams: DroppedDatagrams,
}

/// Why connections end.
const ENDS: [&str; 10] = [
    "asked",
    "never-connected",
    "gave-way",
    "channel-closed",
    "connection-closed",
    "silent",
    "taken-over",
    "came-back",
    "forgotten",
    "shutdown",
];
/// What offers are refused for want of.
const REFUSALS: [&str; 2] = ["load", "memory"];

/// Datagrams at the media port that reached no connection.
#[derive(Debug)]
pub struct DroppedDatagrams {
    /// From addresses that belong to nobody.
    pub unknown: Counter,
    /// Asked for a connection without knowing its password, or from an address that is another's.
    pub refused: Counter,
    /// For connections that did not keep up.
    pub overflow: Counter,
    /// On their way out, for relays that did not keep up.
    pub relay: Counter,
}

/// Pictures by what became of them: the totals of all sessions there ever were.
#[derive(Debug)]
pub struct Frames {
    /// See [`cv_core::report::Totals`] for these.
    pub received: Counter,
    /// Gave a picture that was analysed.
    pub decoded: Counter,
    /// Have a result.
    pub analyzed: Counter,
    /// Have a result in which an analyzer failed.
    pub errors: Counter,
    /// Without a result, in the order of [`Cause::ALL`].
    missed: [Counter; 4],
}

impl Frames {
    /// Counts `pictures` without a result. As with totals, a reader's own losses are not the session's.
    pub fn miss(&self, cause: Cause, pictures: u64) {
        // A hostile stamp may claim any number of pictures; a counter that wraps would look like a restart.
        let pictures = pictures.min(u64::from(u32::MAX));
        match cause {
            Cause::Lost => self.missed[0].add(pictures),
            Cause::Late => self.missed[1].add(pictures),
            Cause::Busy => self.missed[2].add(pictures),
            Cause::Undecodable => self.missed[3].add(pictures),
            Cause::SlowReader => {}
        }
    }

    /// Every fate with its count.
    pub fn fates(&self) -> [(&'static str, u64); 8] {
        let missed = |index: usize| self.missed[index].value();
        [
            ("received", self.received.value()),
            ("decoded", self.decoded.value()),
            ("analyzed", self.analyzed.value()),
            ("errors", self.errors.value()),
            ("lost", missed(0)),
            ("late", missed(1)),
            ("busy", missed(2)),
            ("undecodable", missed(3)),
        ]
    }
}

/// RTP packets of pictures.
#[derive(Debug)]
pub struct Packets {
    /// Received, duplicates left out.
    pub received: Counter,
    /// Bytes of payload in them.
    pub bytes: Counter,
    /// Never came.
    pub lost: Counter,
    /// Came again, or after they were given up.
    pub useless: Counter,
    /// Asked for again.
    pub nacked: Counter,
    /// Keyframes asked for.
    pub plis: Counter,
}

/// Where the time of a picture with a result went.
#[derive(Debug)]
pub struct Stages {
    encode: Histogram,
    network: Histogram,
    decode: Histogram,
    queue: Histogram,
    analyze: Histogram,
    total: Histogram,
}

impl Stages {
    /// Counts the times of one result.
    pub fn observe(&self, clock: &Clock) {
        let stages = &clock.stages_ms;
        for (histogram, millis) in [(&self.encode, stages.encode), (&self.network, stages.network)] {
            if let Some(millis) = millis {
                histogram.observe_ms(millis);
            }
        }
        self.decode.observe_ms(stages.decode);
        self.queue.observe_ms(stages.queue);
        self.analyze.observe_ms(stages.analyze);
        self.total.observe_ms(clock.age_ms);
    }

    /// Every stage by name, in the order of a picture's way.
    pub fn all(&self) -> [(&'static str, &Histogram); 6] {
        [
            ("encode", &self.encode),
            ("network", &self.network),
            ("decode", &self.decode),
            ("queue", &self.queue),
            ("analyze", &self.analyze),
            ("total", &self.total),
        ]
    }
}

/// What waits between the stages; the table in `receiver.rs` says how much may.
#[derive(Debug)]
pub struct Queues {
    /// Access units in front of decoders.
    pub decoder: Gauge,
    /// Pictures at or in front of heavy analyzers.
    pub analysis: Gauge,
    /// Lines for data channels and HTTP readers.
    pub readers: Gauge,
    /// Lines for stdout.
    pub stdout: Gauge,
}

/// Lines that readers were too slow for.
#[derive(Debug)]
pub struct MissedLines {
    /// Of data channels and HTTP.
    pub readers: Counter,
    /// Of stdout.
    pub stdout: Counter,
}

/// Requests over HTTP by route and class of status.
#[derive(Debug)]
pub struct Requests {
    /// In the order of [`ROUTES`], and of the classes 1xx to 5xx in each.
    answered: [[Counter; 5]; ROUTES.len()],
    /// In the order of [`REFUSED_STATUSES`].
    refused: [Counter; REFUSED_STATUSES.len()],
}

/// Routes that are counted by name; the last one stands for all others.
pub const ROUTES: [&str; 7] =
    ["/whip", "/whip/{secret}", "/cv/sessions", "/cv/session", "/cv/session/{id}", "/cv/session/{id}/results", "other"];
/// Statuses that are counted by themselves: who was turned away.
pub const REFUSED_STATUSES: [u16; 4] = [401, 403, 429, 503];

impl Requests {
    /// Counts an answer with `status` at `route`.
    pub fn count(&self, route: &str, status: u16) {
        let index = ROUTES.iter().position(|known| *known == route).unwrap_or(ROUTES.len() - 1);
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.answered[index][class].add(1);
        if let Some(index) = REFUSED_STATUSES.iter().position(|known| *known == status) {
            self.refused[index].add(1);
        }
    }

    /// Route, class and count of every pair.
    pub fn answered(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        ROUTES.iter().zip(&self.answered).flat_map(|(route, classes)| {
            CLASSES.iter().zip(classes).map(|(class, counter)| (*route, *class, counter.value()))
        })
    }

    /// Status and count of those turned away.
    pub fn refused(&self) -> impl Iterator<Item = (u16, u64)> {
        REFUSED_STATUSES.iter().zip(&self.refused).map(|(status, counter)| (*status, counter.value()))
    }
}

impl Metrics {
    const fn new() -> Self {
        Self {
            connecting: Gauge::new(),
            connected: Gauge::new(),
            ended: Labelled::new(ENDS),
            frames: Frames {
                received: Counter::new(),
                decoded: Counter::new(),
                analyzed: Counter::new(),
                errors: Counter::new(),
                missed: [const { Counter::new() }; 4],
            },
            packets: Packets {
                received: Counter::new(),
                bytes: Counter::new(),
                lost: Counter::new(),
                useless: Counter::new(),
                nacked: Counter::new(),
                plis: Counter::new(),
            },
            jitter: Histogram::new(),
            stages: Stages {
                encode: Histogram::new(),
                network: Histogram::new(),
                decode: Histogram::new(),
                queue: Histogram::new(),
                analyze: Histogram::new(),
                total: Histogram::new(),
            },
            queues: Queues {
                decoder: Gauge::new(),
                analysis: Gauge::new(),
                readers: Gauge::new(),
                stdout: Gauge::new(),
            },
            missed_lines: MissedLines { readers: Counter::new(), stdout: Counter::new() },
            requests: Requests {
                answered: [const { [const { Counter::new() }; 5] }; ROUTES.len()],
                refused: [const { Counter::new() }; REFUSED_STATUSES.len()],
            },
            refused_offers: Labelled::new(REFUSALS),
            dropped_datagrams: DroppedDatagrams {
                unknown: Counter::new(),
                refused: Counter::new(),
                overflow: Counter::new(),
                relay: Counter::new(),
            },
        }
    }
}

/// A sender in the gauges of connections: connecting until it is through, gone when dropped.
#[derive(Debug)]
pub struct Presence {
    gauge: &'static Gauge,
}

impl Presence {
    /// A sender was answered.
    pub fn connecting() -> Self {
        METRICS.connecting.add(1);
        Self { gauge: &METRICS.connecting }
    }

    /// It is through.
    pub fn connected(&mut self) {
        self.gauge.sub(1);
        self.gauge = &METRICS.connected;
        self.gauge.add(1);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.gauge.sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_once_by_route_and_class_and_again_where_it_was_turned_away() {
        let metrics = Metrics::new();
        metrics.requests.count("/whip", 201);
        metrics.requests.count("/whip", 503);
        metrics.requests.count("/made/up/by/a/client", 404);
        metrics.requests.count("/whip", 999);
        let counted: Vec<_> = metrics.requests.answered().filter(|(.., count)| *count > 0).collect();
        assert_eq!(counted, [("/whip", "2xx", 1), ("/whip", "5xx", 2), ("other", "4xx", 1)]);
        assert_eq!(metrics.requests.refused().filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [(503, 1)]);
    }

    #[test]
    fn a_hostile_number_of_lost_pictures_does_not_wrap_the_counter() {
        let metrics = Metrics::new();
        for _ in 0..3 {
            metrics.frames.miss(Cause::Lost, u64::MAX);
        }
        assert_eq!(metrics.frames.missed[0].value(), 3 * u64::from(u32::MAX));
    }
}
