//! What a result tells of times.

use std::time::{Duration, Instant, SystemTime};

use cv_core::report::{self, Clock, Stages};

use crate::decode::Timing;

/// The clock of a result that is made now, of a picture that came this way and took `analyze` to analyse.
pub(super) fn of(timing: &Timing, analyze: Duration) -> Clock {
    let (now, emitted) = (Instant::now(), SystemTime::now());
    let (received, received_at) = timing.received;
    let (captured, source) = timing.captured;
    let inside = now.saturating_duration_since(received_at);
    let network =
        timing.sender.map(|(_, until_sent)| report::millis_between(captured, received) - report::millis(until_sent));
    Clock {
        captured,
        source,
        received,
        emitted,
        age_ms: report::millis_between(captured, emitted),
        stages_ms: Stages {
            encode: timing.sender.map(|(encode, _)| report::millis(encode)),
            network: network.map(|network| (network * 1e3).round() / 1e3),
            decode: report::millis(timing.decode),
            queue: report::millis(inside.saturating_sub(timing.decode + analyze)),
            analyze: report::millis(analyze),
        },
    }
}
