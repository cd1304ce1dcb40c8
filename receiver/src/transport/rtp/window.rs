//! Packets in order of their sequence numbers, from the next one to hand over up to the newest.

use std::collections::VecDeque;

use super::Packet;

/// A stretch of the stream; sequence numbers are extended to 64 bits and never wrap.
#[derive(Debug)]
pub(super) struct Window {
    next: u64,
    slots: VecDeque<Option<Packet>>,
    bytes: usize,
}

impl Window {
    /// Most packets, present and missing ones, that may lie in the window.
    pub(super) const MAX_PACKETS: usize = 2048;
    /// Most payload bytes that may lie in the window.
    pub(super) const MAX_BYTES: usize = 8 << 20;

    /// An empty window in front of `next`.
    pub(super) fn at(next: u64) -> Self {
        Self { next, slots: VecDeque::new(), bytes: 0 }
    }

    /// The packet to hand over next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// One beyond the newest packet in the window.
    pub(super) fn end(&self) -> u64 {
        self.next + self.slots.len() as u64
    }

    /// Whether the packet that is next has arrived.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.slots.front(), Some(Some(_)))
    }

    /// Whether the next packet is known to be missing.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.slots.front(), Some(None))
    }

    /// Whether no place is left for further packets.
    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= Self::MAX_PACKETS
    }

    /// Whether packet number `at` with `len` bytes is beyond the limits.
    pub(super) fn overflows(&self, at: u64, len: usize) -> bool {
        let too_large = self.bytes > 0 && self.bytes + len > Self::MAX_BYTES;
        too_large || at >= self.next + Self::MAX_PACKETS as u64
    }

    /// Payload bytes in the window.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Opens an empty place behind the newest one.
    pub(super) fn open_back(&mut self) {
        self.slots.push_back(None);
    }

    /// Opens an empty place before the next one.
    pub(super) fn open_front(&mut self) {
        self.next -= 1;
        self.slots.push_front(None);
    }

    /// Puts a packet into its place; false if the place is taken or does not exist.
    pub(super) fn put(&mut self, at: u64, packet: Packet) -> bool {
        let place = at.checked_sub(self.next).and_then(|index| self.slots.get_mut(index as usize));
        match place {
            Some(place @ None) => {
                self.bytes += packet.payload.len();
                *place = Some(packet);
                true
            }
            _ => false,
        }
    }

    /// Takes the next packet if it has arrived.
    pub(super) fn pop(&mut self) -> Option<Packet> {
        if self.is_ready() { self.drop_front() } else { None }
    }

    /// Gives up the next place, and returns what lay there.
    pub(super) fn drop_front(&mut self) -> Option<Packet> {
        let packet = self.slots.pop_front()?;
        self.next += 1;
        self.bytes -= packet.as_ref().map_or(0, |packet| packet.payload.len());
        packet
    }
}
