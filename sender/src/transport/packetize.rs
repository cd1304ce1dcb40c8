//! H.264 access units as RTP payloads (RFC 6184, packetization-mode 1).
//!
//! Neighbouring NAL units share a packet as long as they fit (STAP-A), so that parameter sets, the
//! stamp and a small slice cost one datagram; what is larger than a packet is cut into pieces of
//! nearly equal size (FU-A), because a short last piece costs as much on the wire as a full one.

use bytes::{BufMut, Bytes, BytesMut};
use cv_core::annex_b::{self, nal_type};

/// Payload size in bytes that fits into every usual path, tunnels and TURN included.
pub const DEFAULT_MAX_PAYLOAD: usize = 1200;

/// The least payload that carries H.264 with bearable overhead.
const MIN_PAYLOAD: usize = 16;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// FU indicator and FU header.
const FU_HEADERS: usize = 2;

/// Cuts access units into RTP payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packetizer {
    max_payload: usize,
}

impl Default for Packetizer {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_PAYLOAD)
    }
}

impl Packetizer {
    /// Payloads of at most `max_payload` bytes (brought into 16 to 65535), RTP header and extensions not counted.
    pub fn new(max_payload: usize) -> Self {
        Self { max_payload: max_payload.clamp(MIN_PAYLOAD, u16::MAX.into()) }
    }

    /// The payloads of an access unit in Annex B form, in sending order; the last one takes the marker bit.
    ///
    /// Access unit delimiters are left out (the marker says the same), as are NAL unit types that
    /// RTP uses for itself (0 and 24 to 31). The payloads are slices of one buffer.
    pub fn packetize(&self, access_unit: &[u8]) -> Vec<Bytes> {
        let mut out = Payloads::for_input(access_unit.len(), self.max_payload);
        let mut group = Vec::new();
        let mut group_size = 1;
        for nal in annex_b::nals(access_unit).filter(|nal| is_carried(nal)) {
            if group_size + 2 + nal.len() > self.max_payload {
                out.together(&group);
                group.clear();
                group_size = 1;
            }
            if nal.len() > self.max_payload {
                out.fragments(nal, self.max_payload);
            } else {
                group.push(nal);
                group_size += 2 + nal.len();
            }
        }
        out.together(&group);
        out.payloads
    }
}

fn is_carried(nal: &[u8]) -> bool {
    matches!(annex_b::nal_type(nal), 1..=23) && annex_b::nal_type(nal) != nal_type::AUD
}

/// Payloads under construction, one behind the other in one buffer.
struct Payloads {
    buffer: BytesMut,
    payloads: Vec<Bytes>,
}

impl Payloads {
    /// Room for all payloads of `len` bytes of input: what aggregation adds is less than the start codes it replaces.
    fn for_input(len: usize, max_payload: usize) -> Self {
        let fragments = len / (max_payload - FU_HEADERS) + 1;
        Self { buffer: BytesMut::with_capacity(len + fragments * FU_HEADERS), payloads: Vec::with_capacity(fragments) }
    }

    fn end_payload(&mut self) {
        self.payloads.push(self.buffer.split().freeze());
    }

    /// One payload: the unit itself, or several in a STAP-A (RFC 6184, 5.7.1).
    fn together(&mut self, nals: &[&[u8]]) {
        match nals {
            [] => return,
            [nal] => self.buffer.put_slice(nal),
            nals => {
                let forbidden = nals.iter().fold(0, |bits, nal| bits | nal[0] & 0x80);
                let importance = nals.iter().map(|nal| nal[0] & 0x60).max().unwrap_or(0);
                self.buffer.put_u8(forbidden | importance | STAP_A);
                for nal in nals {
                    self.buffer.put_u16(nal.len() as u16);
                    self.buffer.put_slice(nal);
                }
            }
        }
        self.end_payload();
    }

    /// Pieces of a unit that is larger than a payload (FU-A, RFC 6184, 5.8).
    fn fragments(&mut self, nal: &[u8], max_payload: usize) {
        let (header, mut rest) = (nal[0], &nal[1..]);
        let count = rest.len().div_ceil(max_payload - FU_HEADERS);
        for left in (1..=count).rev() {
            let (piece, after) = rest.split_at(rest.len().div_ceil(left));
            rest = after;
            let start = u8::from(left == count) << 7;
            let end = u8::from(left == 1) << 6;
            self.buffer.put_u8(header & 0xe0 | FU_A);
            self.buffer.put_u8(start | end | header & 0x1f);
            self.buffer.put_slice(piece);
            self.end_payload();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(nals: &[Vec<u8>]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [&annex_b::START_CODE[..], nal].concat()).collect()
    }

    fn unit(header: u8, len: usize) -> Vec<u8> {
        let mut nal = vec![0x55; len];
        nal[0] = header;
        nal
    }

    #[test]
    fn parameter_sets_and_stamp_share_a_packet_before_the_fragments() {
        let nals = [unit(0x09, 2), unit(0x67, 12), unit(0x68, 4), unit(0x06, 90), unit(0x65, 2400)];
        let payloads = Packetizer::default().packetize(&stream(&nals));
        assert_eq!(payloads.len(), 4);
        assert_eq!(payloads[0][0], 0x60 | STAP_A, "the highest importance of the three");
        assert_eq!(payloads[0].len(), 1 + 2 + 12 + 2 + 4 + 2 + 90);
        assert_eq!(payloads[0][1..4], [0, 12, 0x67]);
        let headers: Vec<_> = payloads[1..].iter().map(|payload| (payload[0], payload[1])).collect();
        assert_eq!(headers, [(0x7c, 0x85), (0x7c, 0x05), (0x7c, 0x45)]);
        let sizes: Vec<_> = payloads[1..].iter().map(Bytes::len).collect();
        assert_eq!(sizes, [802, 802, 801], "pieces are balanced");
    }

    #[test]
    fn a_unit_of_just_a_packet_stays_whole_and_one_byte_more_is_cut_in_two() {
        let packetizer = Packetizer::new(100);
        assert_eq!(packetizer.packetize(&stream(&[unit(0x41, 100)])), [unit(0x41, 100)]);
        let sizes: Vec<_> = packetizer.packetize(&stream(&[unit(0x41, 101)])).iter().map(Bytes::len).collect();
        assert_eq!(sizes, [52, 52]);
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert!(Packetizer::default().packetize(&[]).is_empty());
        assert!(Packetizer::default().packetize(&[1, 2, 3]).is_empty());
        assert!(Packetizer::default().packetize(&stream(&[unit(0x09, 2), unit(0x18, 9)])).is_empty());
    }

    #[test]
    fn all_payloads_of_an_access_unit_share_one_buffer() {
        let payloads = Packetizer::default().packetize(&stream(&[unit(0x67, 20), unit(0x68, 5), unit(0x65, 9000)]));
        for pair in payloads.windows(2) {
            assert_eq!(pair[0].as_ptr_range().end, pair[1].as_ptr());
        }
    }

    /// What RFC 6184 says a receiver makes of the payloads.
    fn unpack(payloads: &[Bytes]) -> Vec<Vec<u8>> {
        let mut nals: Vec<Vec<u8>> = Vec::new();
        for payload in payloads {
            match payload[0] & 0x1f {
                STAP_A => {
                    let mut rest = &payload[1..];
                    while let Some((size, tail)) = rest.split_first_chunk() {
                        let (nal, after) = tail.split_at(u16::from_be_bytes(*size).into());
                        nals.push(nal.to_vec());
                        rest = after;
                    }
                }
                FU_A => {
                    if payload[1] & 0x80 != 0 {
                        nals.push(vec![payload[0] & 0xe0 | payload[1] & 0x1f]);
                    }
                    nals.last_mut().unwrap().extend(&payload[2..]);
                }
                _ => nals.push(payload.to_vec()),
            }
        }
        nals
    }

    proptest! {
        #[test]
        fn every_unit_comes_out_again_and_no_payload_is_too_large(
            units in prop::collection::vec((1u8..24, 1usize..600), 0..12),
            max_payload in 0usize..300,
        ) {
            let nals: Vec<_> = units.iter().filter(|(kind, _)| *kind != nal_type::AUD)
                .map(|&(kind, len)| unit(0x60 | kind, len)).collect();
            let payloads = Packetizer::new(max_payload).packetize(&stream(&nals));
            prop_assert!(payloads.iter().all(|payload| payload.len() <= max_payload.max(MIN_PAYLOAD)));
            prop_assert_eq!(unpack(&payloads), nals);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(0u8..4, 0..300), max_payload: usize) {
            Packetizer::new(max_payload).packetize(&bytes);
        }
    }
}
