//! Whether the sender at the other end of a connection is there.

use std::time::{Duration, Instant};

use webrtc::peer_connection::RTCPeerConnectionState;

/// A sender that did not get through in this time will not.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Then a client that offered a channel leaves it to us to open one, or has a long way.
const LEAST_CHANNEL_LIMIT: Duration = Duration::from_secs(2);

/// Whether the sender is there.
#[derive(Clone, Copy)]
pub(super) enum Liveness {
    /// Until the deadline.
    Connecting(Instant),
    /// It is; whether it opened a channel is looked at once, after this time.
    Up { check_channel: Option<Duration> },
    /// It stopped answering consent checks (RFC 7675).
    Doubtful,
}

impl Liveness {
    pub(super) fn begin() -> Self {
        Self::Connecting(Instant::now() + CONNECT_LIMIT)
    }

    pub(super) fn after(self, state: RTCPeerConnectionState) -> Self {
        match state {
            RTCPeerConnectionState::Connected => Self::Up { check_channel: Some(self.channel_limit()) },
            // One that never was there has until its deadline.
            RTCPeerConnectionState::Disconnected | RTCPeerConnectionState::Failed
                if !matches!(self, Self::Connecting(_)) =>
            {
                Self::Doubtful
            }
            _ => self,
        }
    }

    /// How long the sender's own channel may take: as many round trips as connecting took, and then some.
    fn channel_limit(self) -> Duration {
        match self {
            Self::Connecting(deadline) => {
                let connecting = CONNECT_LIMIT.saturating_sub(deadline.saturating_duration_since(Instant::now()));
                (2 * connecting).clamp(LEAST_CHANNEL_LIMIT, 3 * LEAST_CHANNEL_LIMIT)
            }
            _ => LEAST_CHANNEL_LIMIT,
        }
    }

    pub(super) fn next_check(self) -> tokio::time::Instant {
        let from_now = |seconds| tokio::time::Instant::now() + Duration::from_secs(seconds);
        match self {
            Self::Connecting(deadline) => deadline.into(),
            Self::Up { check_channel: Some(limit) } => tokio::time::Instant::now() + limit,
            Self::Up { check_channel: None } => from_now(24 * 3600),
            Self::Doubtful => from_now(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_connecting_took_the_longer_the_senders_channel_may_take() {
        let limit = |connecting: Duration| match Liveness::Connecting(Instant::now() + CONNECT_LIMIT - connecting)
            .after(RTCPeerConnectionState::Connected)
        {
            Liveness::Up { check_channel } => check_channel.unwrap(),
            _ => panic!("it is up"),
        };
        assert_eq!(limit(Duration::from_millis(30)), LEAST_CHANNEL_LIMIT);
        assert!(limit(Duration::from_secs(3)) >= Duration::from_secs(6));
    }
}
