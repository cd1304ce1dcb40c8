//! Access units into RTP, and what the receiver asks for about them.
//!
//! An interceptor of the WebRTC library: it is given one packet that carries a whole access unit
//! and puts the real packets in its place, so that a picture costs one hand-over to the network
//! task and leaves in one burst. It keeps what it sent, answers NACKs (RFC 4585, 6.2.1) from that,
//! and passes on requests for keyframes.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use cv_core::ntp;
use rtc::{
    interceptor::{AttributedPacket, Interceptor, Packet as AnyPacket, StreamInfo, TaggedPacket},
    rtcp::{
        payload_feedbacks::{full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication},
        receiver_report::ReceiverReport,
        transport_feedbacks::transport_layer_nack::TransportLayerNack,
    },
    rtp,
    sansio::Protocol,
    shared::{TransportContext, error::Error},
};

use super::{history::History, packetize::Packetizer};

/// Payload bytes of a packet: with SRTP, UDP and IPv6 it stays below any path's MTU of 1280.
const MAX_PAYLOAD: usize = 1180;
/// Packets kept for retransmission: more than a second of 20 Mbit/s.
const HISTORY: usize = 4096;
/// A packet asked for twice within this time is asked for once too often.
const RESEND_INTERVAL: Duration = Duration::from_millis(5);
/// When nothing was answered for this long the last packet is sent again: if it was lost, no later
/// one shows the receiver that it is missing. Doubles up to the limit.
const PROBE_AFTER: Duration = Duration::from_millis(60);
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// What the receiver's feedback says, and what was sent. Shared between the network task and the encoder.
#[derive(Debug, Default)]
pub struct Feedback {
    /// The receiver needs a keyframe; whoever makes one clears it.
    pub keyframe_wanted: AtomicBool,
    /// Pictures sent that have no answer yet.
    pub unanswered: AtomicU64,
    /// Packets sent, retransmissions included.
    pub packets: AtomicU64,
    /// Their payload bytes.
    pub bytes: AtomicU64,
    /// Packets sent again because the receiver asked for them.
    pub resent: AtomicU64,
    /// Packets that the receiver reports as lost on the way, repaired or not.
    pub lost: AtomicU32,
}

/// What identifies the stream on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamId {
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    /// Sequence number of the first packet.
    pub(super) first_sequence: u16,
}

/// An access unit as the one packet that [`Publish`] takes apart.
pub(super) fn carrier(stream: StreamId, timestamp: u32, access_unit: Bytes, captured: SystemTime) -> rtp::Packet {
    let mut payload = Vec::with_capacity(8 + access_unit.len());
    payload.extend(ntp::from_time(captured).to_be_bytes());
    payload.extend_from_slice(&access_unit);
    let header = rtp::Header {
        version: 2,
        ssrc: stream.ssrc,
        payload_type: stream.payload_type,
        timestamp,
        ..rtp::Header::default()
    };
    rtp::Packet { header, payload: payload.into() }
}

pub(super) struct Publish {
    stream: StreamId,
    feedback: Arc<Feedback>,
    packetizer: Packetizer,
    sequence: u16,
    history: History<rtp::Packet>,
    capture_time_id: Option<u8>,
    /// When to send the last packet again, and how long to wait after that.
    probe: Option<(Instant, Duration)>,
    last: Option<rtp::Packet>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Publish {
    pub(super) fn new(stream: StreamId, feedback: Arc<Feedback>) -> Self {
        Self {
            stream,
            feedback,
            packetizer: Packetizer::new(MAX_PAYLOAD),
            sequence: stream.first_sequence,
            history: History::new(HISTORY, RESEND_INTERVAL),
            capture_time_id: None,
            probe: None,
            last: None,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
        }
    }

    /// Puts the real packets in the place of a carrier.
    fn unpack(&mut self, carrier: &TaggedPacket, packet: &rtp::Packet) {
        let Some((capture_time, access_unit)) = packet.payload.split_at_checked(8) else { return };
        let payloads = self.packetizer.packetize(access_unit);
        let last = payloads.len().saturating_sub(1);
        for (index, payload) in payloads.into_iter().enumerate() {
            let mut header =
                rtp::Header { sequence_number: self.sequence, marker: index == last, ..packet.header.clone() };
            self.sequence = self.sequence.wrapping_add(1);
            // The last packet completes the picture, so its capture time rides on it.
            if let Some(id) = self.capture_time_id.filter(|_| index == last)
                && let Err(error) = header.set_extension(id, Bytes::copy_from_slice(capture_time))
            {
                tracing::debug!(%error, "no abs-capture-time on a packet");
            }
            let packet = rtp::Packet { header, payload };
            self.history.insert(packet.header.sequence_number, packet.clone());
            self.last = Some(packet.clone());
            self.count(&packet);
            self.writes.push_back(TaggedPacket {
                message: AttributedPacket::new(AnyPacket::Rtp(packet)),
                now: carrier.now,
                transport: carrier.transport,
            });
        }
        self.probe = Some((carrier.now + PROBE_AFTER, PROBE_AFTER));
    }

    fn count(&self, packet: &rtp::Packet) {
        self.feedback.packets.fetch_add(1, Ordering::Relaxed);
        self.feedback.bytes.fetch_add(packet.payload.len() as u64, Ordering::Relaxed);
    }

    fn send_again(&mut self, now: Instant, packet: rtp::Packet) {
        self.count(&packet);
        self.feedback.resent.fetch_add(1, Ordering::Relaxed);
        let message = AttributedPacket::new(AnyPacket::Rtp(packet));
        self.writes.push_back(TaggedPacket { now, transport: TransportContext::default(), message });
    }

    fn answer(&mut self, now: Instant, nack: &TransportLayerNack) {
        let sequences = nack.nacks.iter().flat_map(|pair| *pair);
        for sequence in sequences.take(HISTORY) {
            if let Some(packet) = self.history.resend(sequence, now).cloned() {
                self.send_again(now, packet);
            }
        }
    }

    fn hear(&mut self, now: Instant, message: &TaggedPacket) {
        let AnyPacket::Rtcp(packets) = &message.message.packet else { return };
        for packet in packets {
            let packet = packet.as_any();
            if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                self.answer(now, nack);
            } else if packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>() {
                self.feedback.keyframe_wanted.store(true, Ordering::Relaxed);
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>()
                && let Some(ours) = report.reports.iter().find(|block| block.ssrc == self.stream.ssrc)
            {
                self.feedback.lost.store(ours.total_lost & 0x7f_ffff, Ordering::Relaxed);
            }
        }
    }

    /// Sends the last packet again if answers are due and none came.
    fn probe(&mut self, now: Instant) {
        let Some((at, pause)) = self.probe.filter(|(at, _)| now >= *at) else { return };
        if self.feedback.unanswered.load(Ordering::Relaxed) == 0 {
            self.probe = None;
            return;
        }
        let pause = (pause * 2).min(PROBE_LIMIT);
        self.probe = Some((at.max(now) + pause, pause));
        if let Some(last) = self.last.clone() {
            self.send_again(now, last);
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Publish {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.hear(message.now, &message);
        self.reads.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        match &message.message.packet {
            AnyPacket::Rtp(packet) if packet.header.ssrc == self.stream.ssrc => self.unpack(&message, packet),
            _ => self.writes.push_back(message),
        }
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.probe(now);
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.probe.map(|(at, _)| at)
    }
}

impl Interceptor for Publish {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        let extension = info.rtp_header_extensions.iter().find(|extension| extension.uri == ntp::ABS_CAPTURE_TIME);
        self.capture_time_id = extension.and_then(|extension| u8::try_from(extension.id).ok());
    }

    fn unbind_local_stream(&mut self, _: &StreamInfo) {}

    fn bind_remote_stream(&mut self, _: &StreamInfo) {}

    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc::rtcp::transport_feedbacks::transport_layer_nack::nack_pairs_from_sequence_numbers;

    const STREAM: StreamId = StreamId { ssrc: 7, payload_type: 102, first_sequence: u16::MAX };

    fn tagged(now: Instant, packet: AnyPacket) -> TaggedPacket {
        TaggedPacket { now, transport: TransportContext::default(), message: AttributedPacket::new(packet) }
    }

    fn sent(publish: &mut Publish) -> Vec<rtp::Packet> {
        std::iter::from_fn(|| publish.poll_write())
            .filter_map(|message| match message.message.packet {
                AnyPacket::Rtp(packet) => Some(packet),
                _ => None,
            })
            .collect()
    }

    fn publish_one(now: Instant) -> (Publish, Vec<rtp::Packet>, Arc<Feedback>) {
        let feedback = Arc::new(Feedback::default());
        let mut publish = Publish::new(STREAM, feedback.clone());
        let unit = [&[0, 0, 0, 1, 0x65][..], &[9; 4000]].concat();
        let packet = carrier(STREAM, 1234, unit.into(), SystemTime::UNIX_EPOCH);
        publish.handle_write(tagged(now, AnyPacket::Rtp(packet))).unwrap();
        let packets = sent(&mut publish);
        (publish, packets, feedback)
    }

    #[test]
    fn an_access_unit_leaves_as_numbered_packets_with_the_marker_on_the_last() {
        let (_, packets, feedback) = publish_one(Instant::now());
        assert!(packets.len() >= 4);
        let numbers: Vec<u16> = packets.iter().map(|packet| packet.header.sequence_number).collect();
        assert_eq!(numbers[..2], [u16::MAX, 0]);
        let markers: Vec<bool> = packets.iter().map(|packet| packet.header.marker).collect();
        assert_eq!(markers.iter().filter(|marker| **marker).count(), 1);
        assert!(markers.last().unwrap());
        assert!(packets.iter().all(|packet| packet.header.timestamp == 1234 && packet.payload.len() <= MAX_PAYLOAD));
        assert_eq!(feedback.packets.load(Ordering::Relaxed), packets.len() as u64);
    }

    #[test]
    fn a_packet_asked_for_is_sent_again_once() {
        let now = Instant::now();
        let (mut publish, packets, _) = publish_one(now);
        let nack =
            TransportLayerNack { sender_ssrc: 0, media_ssrc: 7, nacks: nack_pairs_from_sequence_numbers(&[0, 999]) };
        for _ in 0..2 {
            let later = now + Duration::from_millis(1);
            publish.handle_read(tagged(later, AnyPacket::Rtcp(vec![Box::new(nack.clone())]))).unwrap();
        }
        assert_eq!(sent(&mut publish), packets[1..2]);
    }

    #[test]
    fn an_unanswered_last_packet_is_sent_again_at_growing_intervals() {
        let now = Instant::now();
        let (mut publish, packets, feedback) = publish_one(now);
        feedback.unanswered.store(1, Ordering::Relaxed);
        let first = publish.poll_timeout().unwrap();
        publish.handle_timeout(first).unwrap();
        assert_eq!(sent(&mut publish), packets[packets.len() - 1..]);
        assert!(publish.poll_timeout().unwrap() - first > PROBE_AFTER);
        feedback.unanswered.store(0, Ordering::Relaxed);
        publish.handle_timeout(first + PROBE_LIMIT).unwrap();
        assert!(sent(&mut publish).is_empty() && publish.poll_timeout().is_none());
    }
}
