//! From RTP packets to H.264 access units: reordering, loss and its repair, RFC 6184.
//!
//! [`Assembler`] is the whole of it for the outside: packets are pushed in as they arrive, pictures
//! are pulled out in decoding order. Nothing here opens a socket, waits or reads a clock; the caller
//! passes the time in, so every case is tested in virtual time.
//!
//! ```text
//! push ─► restart (does it belong to the stream?) ─► window (order, duplicates) ─► depacketize ─► picture ─► pull
//!                                                      └► nack (what is missing, when to ask) ◄─ round trip
//! ```
//!
//! Not here: RTP and RTCP headers, SRTP, the decision when to ask for a keyframe.

mod assembler;
mod depacketize;
mod nack;
mod packet;
mod picture;
mod restart;
mod round_trip;
mod window;

pub use assembler::{Assembler, DEFAULT_PATIENCE};
pub use depacketize::{AssembledPicture, Event};
pub use packet::{Counters, Packet};
pub use round_trip::MOST_PATIENCE;
