//! What the WHIP client and server agree on beyond RFC 9725.

use std::{fmt, str::FromStr};

/// Media type of offers and answers.
pub const SDP: &str = "application/sdp";

/// Media type of ICE credentials and candidates on their own (RFC 8840, 9).
pub const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Label of the data channel that carries results back.
pub const RESULTS_CHANNEL: &str = "results";

/// `rel` of the Link in a 201 that leads to the session's results over HTTP (RFC 9725, 4.7).
///
/// A server that sends it understands the query parameters below as well, and acknowledges what it hears below DTLS.
pub const RESULTS_REL: &str = "urn:ietf:params:whip:ext:cv:results";

/// Query parameters of the endpoint and of the session URL.
pub mod query {
    /// POST: the session's id.
    pub const SESSION: &str = "session";
    /// POST: the delivery mode, see [`super::Mode`].
    pub const MODE: &str = "mode";
    /// POST: the analyzers asked for.
    pub const ANALYZE: &str = "analyze";
    /// POST: the first frame number that still needs an answer, after a break.
    pub const NEXT: &str = "next";
    /// POST: a number that the sender chose by chance when it started. It is in every POST of one run, so that a
    /// sender that comes back too late does not take the session from another one that has it since. Who sends it
    /// acknowledges what it hears below DTLS.
    pub const RUN: &str = "run";
    /// POST: the RTP sequence number that the sender begins with, so that not even its first packet can be missed.
    pub const FIRST_SEQUENCE: &str = "seq";
    /// DELETE: how many pictures the sender numbered in all.
    pub const FRAMES: &str = "frames";
    /// DELETE: `1` keeps the session's analysis state.
    pub const KEEP: &str = "keep";
}

/// What gives way when a stage is slower than the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The newest picture wins; what is left out is counted and reported.
    #[default]
    Live,
    /// Nothing is left out; the sender waits.
    EveryFrame,
}

impl Mode {
    /// Both modes.
    pub const ALL: [Self; 2] = [Self::Live, Self::EveryFrame];

    /// `live` or `every-frame`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::EveryFrame => "every-frame",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Text that names no delivery mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a delivery mode: use live or every-frame")]
pub struct ModeError(String);

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| ModeError(text.to_owned()))
    }
}
