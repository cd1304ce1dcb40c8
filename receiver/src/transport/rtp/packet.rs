//! What goes into an [`Assembler`](super::Assembler), and what is counted of it.

use std::time::Instant;

use bytes::Bytes;

/// One RTP packet of the stream, decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Sequence number.
    pub sequence: u16,
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
    /// Marker bit: the last packet of a picture.
    pub marker: bool,
    /// Payload without padding; empty for probes.
    pub payload: Bytes,
    /// When it came in.
    pub arrived: Instant,
    /// The header extension abs-capture-time, NTP format.
    pub abs_capture_time: Option<u64>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that came in, useless ones included.
    pub received: u64,
    /// Payload bytes of these.
    pub bytes: u64,
    /// Packets that came twice, too late, from nowhere, or that there was no room for.
    pub useless: u64,
    /// Packets given up; those that came after all count as useless too.
    pub lost: u64,
    /// Packets asked for, each time anew.
    pub nacked: u64,
    /// Packets that came after they had been asked for.
    pub recovered: u64,
    /// Payloads of types that do not belong to packetization modes 0 and 1.
    pub unsupported: u64,
}
