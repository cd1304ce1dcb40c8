//! Bytes as a script of RTCP that a sender hears while it sends: NACKs, reports of arrivals, receiver reports.
//!
//! The modules are taken in by path, so that neither the encoder nor a camera needs building for them.

#![no_main]

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rtc::{
    interceptor::{AttributedPacket, Interceptor, Packet, RTCPFeedback, RTPHeaderExtension, StreamInfo, TaggedPacket},
    sansio::Protocol,
    shared::TransportContext,
};

#[path = "../../../sender/src/transport/estimate.rs"]
#[allow(dead_code, unreachable_pub)]
mod estimate;
#[path = "../../../sender/src/transport/feedback.rs"]
#[allow(dead_code, unreachable_pub)]
mod feedback;
#[path = "../../../sender/src/transport/history.rs"]
#[allow(dead_code, unreachable_pub)]
mod history;
#[path = "../../../sender/src/transport/pacer.rs"]
#[allow(dead_code, unreachable_pub)]
mod pacer;
#[path = "../../../sender/src/transport/packetize.rs"]
#[allow(dead_code, unreachable_pub)]
mod packetize;
#[path = "../../../sender/src/transport/publish.rs"]
#[allow(dead_code, unreachable_pub)]
mod publish;
#[path = "../../../sender/src/transport/twcc.rs"]
#[allow(dead_code, unreachable_pub)]
mod twcc;

use feedback::Feedback;
use publish::{Publish, StreamId, carrier};

/// Its SSRC is easily guessed.
const STREAM: StreamId = StreamId { ssrc: 0x0101_0101, payload_type: 102, first_sequence: 65_530 };
const NUMBER_ID: u8 = 3;
/// Turns that a script may make the sender take.
const TURNS: usize = 4096;

fuzz_target!(|script: &[u8]| {
    let Some((&[options], script)) = script.split_first_chunk() else { return };
    Sender::new(options & 1 == 0).play(script);
});

/// A sender with what it sent so far.
struct Sender {
    publish: Publish,
    feedback: Arc<Feedback>,
    now: Instant,
    /// The sequence number that is due, and every packet by its own.
    next: u16,
    sent: HashMap<u16, Bytes>,
    /// The number on the connection that is due.
    number: u16,
    turns: usize,
}

impl Sender {
    fn new(numbered: bool) -> Self {
        let feedback = Arc::new(Feedback::default());
        let mut publish = Publish::new(STREAM, feedback.clone());
        if numbered {
            publish.bind_local_stream(&StreamInfo {
                ssrc: STREAM.ssrc,
                rtp_header_extensions: vec![RTPHeaderExtension { uri: twcc::URI.into(), id: NUMBER_ID.into() }],
                rtcp_feedback: vec![RTCPFeedback { typ: "transport-cc".into(), parameter: String::new() }],
                ..StreamInfo::default()
            });
        }
        let (now, next) = (Instant::now(), STREAM.first_sequence);
        Self { publish, feedback, now, next, sent: HashMap::new(), number: 0, turns: 0 }
    }

    /// Each step is written as: what, how long after the last, and then the length and the bytes of an RTCP packet.
    fn play(&mut self, mut script: &[u8]) {
        while let Some((&[what, pause, len], rest)) = script.split_first_chunk() {
            self.wait(Duration::from_millis(u64::from(pause) << (what & 3)));
            script = rest;
            match what >> 6 {
                0 => self.send(usize::from(len) << (what >> 2 & 7)),
                1 => self.feedback.unanswered.store(len.into(), Ordering::Relaxed),
                _ => {
                    let (rtcp, rest) = rest.split_at(rest.len().min(len.into()));
                    script = rest;
                    self.hear(rtcp);
                }
            }
            self.check();
        }
    }

    fn send(&mut self, len: usize) {
        let unit = [&[0, 0, 0, 1, 0x65][..], &vec![9; len]].concat();
        let packet = carrier(STREAM, self.sent.len() as u32, unit.into(), SystemTime::UNIX_EPOCH);
        self.publish.handle_write(self.tagged(Packet::Rtp(packet))).expect("it takes what it is given");
    }

    fn hear(&mut self, mut rtcp: &[u8]) {
        // As the library reads what it decrypted.
        let Ok(packets) = rtc::rtcp::packet::unmarshal(&mut rtcp) else { return };
        self.publish.handle_read(self.tagged(Packet::Rtcp(packets))).expect("it reads whatever there is");
        assert!(self.publish.poll_read().is_some() && self.publish.poll_read().is_none(), "reports are passed on");
    }

    /// Lets time pass as the library does: up to each moment that the sender asks for.
    fn wait(&mut self, pause: Duration) {
        let until = self.now + pause;
        while let Some(at) = self.publish.poll_timeout().filter(|at| *at <= until && self.turns < TURNS) {
            self.now = self.now.max(at);
            self.turns += 1;
            self.publish.handle_timeout(self.now).expect("it is always right to wait");
            assert!(self.publish.poll_timeout().is_none_or(|next| next > self.now), "a busy loop");
            self.check();
        }
        self.now = until;
        self.publish.handle_timeout(until).expect("it is always right to wait");
    }

    /// What leaves is new and numbered without a hole, or known from before; nothing said of the path is senseless.
    fn check(&mut self) {
        while let Some(message) = self.publish.poll_write() {
            let Packet::Rtp(packet) = message.message.packet else { panic!("a sender of media sends nothing else") };
            assert_eq!(packet.header.ssrc, STREAM.ssrc);
            if let Some(number) = packet.header.get_extension(NUMBER_ID) {
                assert_eq!(number[..], self.number.to_be_bytes());
                self.number = self.number.wrapping_add(1);
            }
            let sequence = packet.header.sequence_number;
            if sequence == self.next {
                self.next = self.next.wrapping_add(1);
                self.sent.insert(sequence, packet.payload);
            } else {
                assert_eq!(self.sent.get(&sequence), Some(&packet.payload), "sent again as it was, or not at all");
            }
        }
        let rate = self.feedback.rate.load(Ordering::Relaxed);
        assert!(rate == 0 || (100_000..=1_000_000_000).contains(&rate), "{rate} bit/s");
        assert!(self.feedback.resent.load(Ordering::Relaxed) <= self.feedback.packets.load(Ordering::Relaxed));
    }

    fn tagged(&self, packet: Packet) -> TaggedPacket {
        let (now, transport) = (self.now, TransportContext::default());
        TaggedPacket { now, transport, message: AttributedPacket::new(packet) }
    }
}
