//! Whether the sender at the other end of a connection is there.

use std::time::{Duration, Instant};

use webrtc::peer_connection::RTCPeerConnectionState;

/// A sender that did not get through in this time will not.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Whether the sender is there.
#[derive(Clone, Copy)]
pub(super) enum Liveness {
    /// Until the deadline.
    Connecting(Instant),
    /// It is; `check_channel` once after a while.
    Up { check_channel: bool },
    /// It stopped answering consent checks (RFC 7675).
    Doubtful,
}

impl Liveness {
    pub(super) fn begin() -> Self {
        Self::Connecting(Instant::now() + CONNECT_LIMIT)
    }

    pub(super) fn after(self, state: RTCPeerConnectionState) -> Self {
        match state {
            RTCPeerConnectionState::Connected => Self::Up { check_channel: true },
            // One that never was there has until its deadline.
            RTCPeerConnectionState::Disconnected | RTCPeerConnectionState::Failed
                if !matches!(self, Self::Connecting(_)) =>
            {
                Self::Doubtful
            }
            _ => self,
        }
    }

    pub(super) fn next_check(self) -> tokio::time::Instant {
        let from_now = |seconds| tokio::time::Instant::now() + Duration::from_secs(seconds);
        match self {
            Self::Connecting(deadline) => deadline.into(),
            Self::Up { check_channel: true } => from_now(2),
            Self::Up { check_channel: false } => from_now(24 * 3600),
            Self::Doubtful => from_now(1),
        }
    }
}
