//! What a run came to, for people and for programs.

use serde::Serialize;

use crate::ledger::Ledger;

/// The last line of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "summary")]
pub struct Summary {
    /// The session's id.
    pub session: String,
    /// Pictures numbered, left out ones included.
    pub frames_sent: u64,
    /// Pictures with a result.
    pub results: u64,
    /// Pictures without one.
    pub gaps: u64,
    /// Results in which an analyzer failed.
    pub errors: u64,
    /// From the first picture to the last answer.
    pub seconds: f64,
    /// Results a second.
    pub fps: f64,
    /// What was sent, on average.
    pub bitrate_kbps: f64,
    /// Packets that the receiver missed at first.
    pub packets_lost: u64,
    /// From a picture's capture to its result.
    pub latency_ms: Latency,
    /// From the offer until media could flow.
    pub connect_ms: f64,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// What `ledger` knows.
    pub fn of(ledger: &Ledger) -> Self {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| round(ledger.latency(share), 2));
        Self { p50, p95, p99, max: round(ledger.max_latency(), 2) }
    }
}

impl Summary {
    /// The summary for a person, in a line.
    pub fn sentence(&self) -> String {
        let Self { frames_sent, results, seconds, fps, bitrate_kbps, packets_lost, latency_ms, connect_ms, .. } = self;
        let mut text = format!(
            "{results} of {frames_sent} frames answered in {seconds:.1} s ({fps:.1} fps, {bitrate_kbps:.0} kbit/s"
        );
        text += &format!(", {packets_lost} packets lost); ");
        if self.gaps > 0 {
            text += &format!("{} frames without a result; ", self.gaps);
        }
        if self.errors > 0 {
            text += &format!("{} results with an error; ", self.errors);
        }
        let Latency { p50, p95, p99, max } = latency_ms;
        text + &format!(
            "latency p50 {p50:.1} p95 {p95:.1} p99 {p99:.1} max {max:.1} ms; connected in {connect_ms:.0} ms"
        )
    }
}

/// `value` with so many decimals.
pub fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}
