//! Bytes as RTP and RTCP that a receiver decrypted, one after the other and with time between them.
//!
//! The modules are taken in by path: they are private to the receiver's transport.

#![no_main]

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use cv_core::{
    annex_b,
    mailbox::{self, Receiver},
    whip::Mode,
};
use cv_receiver::{decode, metrics};
use libfuzzer_sys::fuzz_target;
use rtc::{
    interceptor::{AttributedPacket, Interceptor, Packet, RTPHeaderExtension, StreamInfo, TaggedPacket},
    rtcp::transport_feedbacks::{transport_layer_cc::TransportLayerCc, transport_layer_nack::TransportLayerNack},
    sansio::Protocol,
    shared::{
        TransportContext,
        marshal::{Marshal, MarshalSize, Unmarshal},
    },
};

#[path = "../../../receiver/src/transport/arrivals.rs"]
#[allow(dead_code, unreachable_pub)]
mod arrivals;
#[path = "../../../receiver/src/transport/ingest.rs"]
#[allow(dead_code, unreachable_pub)]
mod ingest;
#[path = "../../../receiver/src/transport/rtp/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod rtp;

use decode::Work;
use ingest::{Ingest, Intake};

/// It is easily guessed.
const SSRC: u32 = 0x0101_0101;
const CAPTURE_TIME_ID: u16 = 2;
const NUMBER_ID: u16 = 3;
/// Units that the decoder has room for: few, so that it often has none.
const UNITS: usize = 4;
/// Packets that may be missing at once, as `docs/architecture.md` has it.
const MISSING: usize = 2048;
/// Turns that a script may make the receiver take.
const TURNS: usize = 2048;

fuzz_target!(|script: &[u8]| {
    let Some((&[options], script)) = script.split_first_chunk() else { return };
    let mode = if options & 1 == 0 { Mode::Live } else { Mode::EveryFrame };
    let first = (options & 2 != 0).then_some(u16::from(options) << 8);
    Stream::new(mode, first).play(script);
});

/// A connection's receiving end, with a decoder that takes its time.
struct Stream {
    ingest: Ingest,
    mode: Mode,
    decoder: Receiver<Work>,
    wants_keyframe: Arc<AtomicBool>,
    now: Instant,
    turns: usize,
}

impl Stream {
    fn new(mode: Mode, first: Option<u16>) -> Self {
        let (work, decoder) = mailbox::mailbox(UNITS);
        let wants_keyframe = Arc::new(AtomicBool::new(false));
        let mut ingest = Ingest::new(Intake::new(work), mode, first, wants_keyframe.clone());
        let extension = |uri: &str, id| RTPHeaderExtension { uri: uri.into(), id };
        ingest.bind_remote_stream(&StreamInfo {
            ssrc: SSRC,
            mime_type: "video/H264".into(),
            rtp_header_extensions: vec![
                extension(cv_core::ntp::ABS_CAPTURE_TIME, CAPTURE_TIME_ID),
                extension(arrivals::URI, NUMBER_ID),
            ],
            ..StreamInfo::default()
        });
        Self { ingest, mode, decoder, wants_keyframe, now: Instant::now(), turns: 0 }
    }

    /// Each step is written as: what, how long after the last, length and bytes of a packet.
    fn play(&mut self, mut script: &[u8]) {
        while let Some((&[what, pause, len], rest)) = script.split_first_chunk() {
            let (packet, rest) = rest.split_at(rest.len().min(len.into()));
            script = rest;
            self.wait(Duration::from_millis(u64::from(pause) << (what >> 2 & 3)));
            if what & 2 != 0 {
                self.decode();
            }
            if what & 0x10 != 0 {
                self.wants_keyframe.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            let message = if what & 1 == 0 { Self::media(packet) } else { Self::control(packet) };
            if let Some(packet) = message {
                let (now, transport) = (self.now, TransportContext::default());
                let message = TaggedPacket { now, transport, message: AttributedPacket::new(packet) };
                self.ingest.handle_read(message).expect("it reads whatever there is");
                while self.ingest.poll_read().is_some() {}
            }
            self.check();
        }
    }

    // As the library reads what it decrypted.
    fn media(packet: &[u8]) -> Option<Packet> {
        let mut packet = rtc::rtp::Packet::unmarshal(&mut Bytes::copy_from_slice(packet)).ok()?;
        packet.header.ssrc = SSRC;
        Some(Packet::Rtp(packet))
    }

    fn control(mut packet: &[u8]) -> Option<Packet> {
        rtc::rtcp::packet::unmarshal(&mut packet).ok().map(Packet::Rtcp)
    }

    /// Lets time pass as the library does: up to each moment that the receiver asks for.
    fn wait(&mut self, pause: Duration) {
        let until = self.now + pause;
        while let Some(at) = self.ingest.poll_timeout().filter(|at| *at <= until && self.turns < TURNS) {
            self.now = self.now.max(at);
            self.turns += 1;
            self.ingest.handle_timeout(self.now).expect("it is always right to wait");
            assert!(self.ingest.poll_timeout().is_none_or(|next| next > self.now), "a busy loop");
            self.check();
        }
        self.now = until;
    }

    fn decode(&self) {
        let Ok(Some(work)) = self.decoder.recv_timeout(Duration::ZERO) else { return };
        if let Work::Unit(unit) | Work::Dropped(unit) = work {
            assert!(unit.access_unit.data.starts_with(&annex_b::START_CODE));
            assert!(unit.received.1 <= self.now);
        }
    }

    /// What is said to the sender makes sense on the wire, and within bounds.
    fn check(&mut self) {
        while let Some(message) = self.ingest.poll_write() {
            let Packet::Rtcp(packets) = message.message.packet else { panic!("a receiver sends no media") };
            for packet in packets {
                let packet = packet.as_any();
                if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                    let asked = nack.nacks.iter().flat_map(|pair| *pair).count();
                    assert!((1..=MISSING).contains(&asked), "{asked} packets asked for");
                    assert_eq!(&read_again(nack), nack);
                } else if let Some(report) = packet.downcast_ref::<TransportLayerCc>() {
                    assert!(report.packet_status_count > 0);
                    let again = read_again(report);
                    assert_eq!(again.recv_deltas, report.recv_deltas);
                    assert_eq!(again.packet_chunks, report.packet_chunks);
                } else {
                    assert_eq!(self.mode, Mode::Live, "only live asks for keyframes");
                }
            }
        }
    }
}

/// The packet as its reader has it.
fn read_again<T: Marshal + MarshalSize + Unmarshal>(packet: &T) -> T {
    let mut wire = BytesMut::zeroed(packet.marshal_size());
    packet.marshal_to(&mut wire).expect("it can be written");
    T::unmarshal(&mut wire.freeze()).expect("and read")
}
