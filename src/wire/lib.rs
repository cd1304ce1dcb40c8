//! What both programs do below DTLS, where the library's own timers are too slow for a bad network.
//!
//! DTLS repeats a flight of its handshake after a second, SCTP a lost line of results after a second, two, four, …
//! (RFC 6347, 4.2.4.1; RFC 9260, 6.3), and the library gives no hold on either. But whatever is said twice below
//! DTLS is dropped by its replay protection, if it was heard the first time. So [`Repeating`] says things again
//! on its own, and peers that agreed on it acknowledge what they heard: only what is missing is said again.
//!
//! Not here: media, whose losses RTP repairs, and addresses, which are ICE's.

mod acknowledgement;
mod flight;
mod heard;
mod memory;
mod repeating;
mod runtime;

pub use self::{
    repeating::{Agreement, Repeating},
    runtime::SocketRuntime,
};
