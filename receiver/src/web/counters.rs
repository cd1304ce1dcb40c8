//! What the HTTP server did so far, to be read by whoever watches it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the HTTP server; each only grows.
#[derive(Debug, Default)]
pub struct HttpCounters {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections closed at once because every place was taken.
    pub refused_full: AtomicU64,
    /// Connections closed at once because their address has as many as it may.
    pub refused_address: AtomicU64,
    /// Connections that gave way to others before they made a whole request.
    pub evicted: AtomicU64,
    /// Times that the system could not give a connection, for want of file descriptors for example.
    pub accept_errors: AtomicU64,
    /// TLS handshakes that failed.
    pub handshakes_failed: AtomicU64,
    /// TLS handshakes that took too long.
    pub handshake_timeouts: AtomicU64,
    /// Connections closed because no whole request head came in time; idle ones among them.
    pub head_timeouts: AtomicU64,
    /// Requests refused because their body did not come in time.
    pub body_timeouts: AtomicU64,
    /// Connections closed because their reader took nothing for too long.
    pub stalled: AtomicU64,
    /// Requests answered with 401.
    pub unauthorized: AtomicU64,
    /// Requests refused because their token is not good for them.
    pub forbidden: AtomicU64,
    /// Requests answered with 429.
    pub rate_limited: AtomicU64,
}

/// Adds one to `counter`.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl HttpCounters {
    /// Why connections and requests were turned away or closed, each with its count.
    pub fn turned_away(&self) -> [(&'static str, u64); 9] {
        [
            ("full", &self.refused_full),
            ("address_full", &self.refused_address),
            ("evicted", &self.evicted),
            ("accept_error", &self.accept_errors),
            ("handshake_failed", &self.handshakes_failed),
            ("handshake_timeout", &self.handshake_timeouts),
            ("head_timeout", &self.head_timeouts),
            ("body_timeout", &self.body_timeouts),
            ("stalled", &self.stalled),
        ]
        .map(|(reason, counter)| (reason, counter.load(Ordering::Relaxed)))
    }
}
