//! Access units into RTP, and what the receiver asks for about them.
//!
//! An interceptor of the WebRTC library: it is given one packet that carries a whole access unit
//! and puts the real packets in its place, so that a picture costs one hand-over to the network
//! task and leaves in one burst where the path allows. It keeps what it sent, answers NACKs
//! (RFC 4585, 6.2.1) from that, and passes on requests for keyframes. What the receiver says of
//! arrivals sets the pace at which packets leave, and tells the encoder how much it may make.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use cv_core::ntp;
use rtc::{
    interceptor::{AttributedPacket, Interceptor, Packet as AnyPacket, StreamInfo, TaggedPacket},
    rtcp::{
        payload_feedbacks::{full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication},
        receiver_report::ReceiverReport,
        reception_report::ReceptionReport,
        transport_feedbacks::{transport_layer_cc::TransportLayerCc, transport_layer_nack::TransportLayerNack},
    },
    rtp,
    sansio::Protocol,
    shared::{TransportContext, error::Error},
};

use super::{
    estimate::{self, Estimator},
    feedback::{Feedback, Share},
    history::History,
    pacer::{Pacer, Released},
    packetize::Packetizer,
    twcc::{self, SendLog},
};

/// Payload bytes of a packet: with SRTP, UDP and IPv6 it stays below any path's MTU of 1280.
const MAX_PAYLOAD: usize = 1180;
/// Packets kept for retransmission: more than a second of 20 Mbit/s.
const HISTORY: usize = 4096;
/// Packets that may wait to leave; a picture that finds so many is not sent. Live, the encoder stops
/// long before; where every frame counts, credit does.
const WAITING: usize = 8192;
/// A packet asked for twice within this time is asked for once too often; a round trip is, too.
const RESEND_INTERVAL: Duration = Duration::from_millis(5);
/// When nothing was heard of the last packet for this long, or for the time it takes, another one
/// follows: if the last one was lost, no later one shows the receiver that it is missing. Doubles
/// up to the limit, which bounds how long the end of an outage goes unnoticed.
const PROBE_AFTER: Duration = Duration::from_millis(60);
const PROBE_LIMIT: Duration = Duration::from_millis(250);
/// Silence of a receiver that reports arrivals every 50 ms: nothing gets through.
const OUTAGE: Duration = Duration::from_millis(500);
/// Bytes of a packet beside its payload: RTP with extensions, SRTP's tag, UDP and IP.
const OVERHEAD: usize = 12 + 12 + 10 + 8 + 20;

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
    feedback: Share,
    packetizer: Packetizer,
    sequence: u16,
    history: History<rtp::Packet>,
    capture_time_id: Option<u8>,
    /// The header extension for numbers on the connection; `None` if the receiver reports no arrivals.
    number_id: Option<u8>,
    pacer: Pacer<rtp::Packet>,
    log: SendLog,
    estimator: Estimator,
    /// Whether nothing is heard of what was sent.
    out: bool,
    /// When to probe, and how long to wait after that.
    probe: Option<(Instant, Duration)>,
    last: Option<rtp::Packet>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Publish {
    pub(super) fn new(stream: StreamId, feedback: Arc<Feedback>) -> Self {
        Self {
            stream,
            feedback: Share::begin(feedback),
            packetizer: Packetizer::new(MAX_PAYLOAD),
            sequence: stream.first_sequence,
            history: History::new(HISTORY, RESEND_INTERVAL),
            capture_time_id: None,
            number_id: None,
            pacer: Pacer::new(2.0 * estimate::START),
            log: SendLog::new(Instant::now()),
            estimator: Estimator::new(),
            out: false,
            probe: None,
            last: None,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
        }
    }

    /// Puts the real packets in the place of a carrier.
    fn unpack(&mut self, now: Instant, carrier: &rtp::Packet) {
        if self.pacer.len() >= WAITING {
            self.feedback.refuse();
            return;
        }
        let Some((capture_time, access_unit)) = carrier.payload.split_at_checked(8) else { return };
        let payloads = self.packetizer.packetize(access_unit);
        let last = payloads.len().saturating_sub(1);
        for (index, payload) in payloads.into_iter().enumerate() {
            let mut header = rtp::Header { marker: index == last, ..carrier.header.clone() };
            // The last packet completes the picture, so its capture time rides on it.
            if let Some(id) = self.capture_time_id.filter(|_| index == last)
                && let Err(error) = header.set_extension(id, Bytes::copy_from_slice(capture_time))
            {
                tracing::debug!(%error, "no abs-capture-time on a packet");
            }
            self.enqueue(rtp::Packet { header, payload });
        }
        self.release(now);
    }

    /// Gives a new packet its place in the queue.
    fn enqueue(&mut self, packet: rtp::Packet) {
        let bytes = packet.payload.len() + OVERHEAD;
        self.pacer.push(packet, bytes);
    }

    /// Lets packets go whose time has come.
    fn release(&mut self, now: Instant) {
        let mut sent = false;
        while let Some(released) = self.pacer.pop(now) {
            self.transmit(now, released);
            sent = true;
        }
        if sent {
            self.probe = Some((now + self.probe_after(), self.probe_after()));
        }
        self.feedback.set_backlog(self.pacer.backlog());
    }

    fn transmit(&mut self, now: Instant, released: Released<rtp::Packet>) {
        let Released { mut packet, bytes, again } = released;
        self.feedback.add_sent(packet.payload.len(), again);
        if again {
            self.history.resent(packet.header.sequence_number, now);
        } else {
            // Numbered as they leave, for a probe overtakes those that wait.
            packet.header.sequence_number = self.sequence;
            self.sequence = self.sequence.wrapping_add(1);
            self.history.insert(packet.header.sequence_number, packet.clone());
            self.last = Some(packet.clone());
        }
        if let Some(id) = self.number_id {
            let number = self.log.stamp(now, bytes, again).to_be_bytes();
            if let Err(error) = packet.header.set_extension(id, Bytes::copy_from_slice(&number)) {
                tracing::debug!(%error, "no transport-wide number on a packet");
            }
        }
        let message = AttributedPacket::new(AnyPacket::Rtp(packet));
        self.writes.push_back(TaggedPacket { now, transport: TransportContext::default(), message });
    }

    fn answer(&mut self, now: Instant, nack: &TransportLayerNack) {
        let sequences = nack.nacks.iter().flat_map(|pair| *pair);
        for sequence in sequences.take(HISTORY) {
            if let Some(packet) = self.history.resend(sequence, now).cloned() {
                let bytes = packet.payload.len() + OVERHEAD;
                self.pacer.push_again(packet, bytes);
            }
        }
        self.release(now);
    }

    fn hear(&mut self, now: Instant, message: &TaggedPacket) {
        let AnyPacket::Rtcp(packets) = &message.message.packet else { return };
        for packet in packets {
            let packet = packet.as_any();
            if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                self.answer(now, nack);
            } else if let Some(feedback) = packet.downcast_ref::<TransportLayerCc>() {
                self.hear_arrivals(now, feedback);
            } else if packet.is::<PictureLossIndication>() || packet.is::<FullIntraRequest>() {
                self.feedback.want_keyframe();
            } else if let Some(report) = packet.downcast_ref::<ReceiverReport>()
                && let Some(ours) = report.reports.iter().find(|block| block.ssrc == self.stream.ssrc)
            {
                self.feedback.set_lost(ours.total_lost);
                self.hear_report(now, ours);
            }
        }
    }

    /// What arrived, from a receiver that tells.
    fn hear_arrivals(&mut self, now: Instant, feedback: &TransportLayerCc) {
        let arrivals = self.log.read(feedback);
        let micros = self.log.micros(now);
        if !arrivals.is_empty() && std::mem::take(&mut self.out) {
            self.feedback.set_out(false);
            self.log.forgive();
            self.estimator.resume(micros);
            // Live, what was lost meanwhile is not asked for any more.
            self.feedback.want_keyframe();
        }
        let fates = self.log.settle();
        self.estimator.hear(micros, &arrivals, (fates.arrived, fates.lost));
        self.follow(now);
    }

    /// Losses and the round trip, from a receiver that tells no more than these.
    fn hear_report(&mut self, now: Instant, report: &ReceptionReport) {
        if self.hears_arrivals() {
            return;
        }
        let micros = self.log.micros(now);
        self.estimator.hear_report(micros, f64::from(report.fraction_lost) / 256.0);
        if report.last_sender_report != 0 {
            // RFC 3550, 6.4.1: the middle 32 bits of NTP times, in 1/65536 s.
            let middle = (ntp::from_time(SystemTime::now()) >> 16) as u32;
            let trip = middle.wrapping_sub(report.last_sender_report).wrapping_sub(report.delay);
            self.estimator.see_round_trip(micros, i64::from(trip as i32) * 15_625 / 1024);
        }
        self.follow(now);
    }

    /// Brings the pace into line with the estimate.
    fn follow(&mut self, now: Instant) {
        self.pacer.set_rate(now, self.estimator.pacing());
        self.feedback.set_rate(self.estimator.rate());
        if let Some(trip) = self.estimator.round_trip() {
            self.history.set_min_interval(RESEND_INTERVAL.max(trip * 4 / 5));
        }
        self.release(now);
    }

    /// How long nothing may be heard of the last packet.
    fn probe_after(&self) -> Duration {
        PROBE_AFTER.max(self.estimator.round_trip().unwrap_or_default() * 3 / 2)
    }

    /// Sends something if nothing was heard of the last packets.
    fn probe(&mut self, now: Instant) {
        self.note_outage(now);
        let Some((at, pause)) = self.probe.filter(|(at, _)| now >= *at) else { return };
        let reported = self.hears_arrivals();
        let unheard = match reported {
            true => self.log.unheard_since().is_some() || self.log.has_unknown_end(),
            false => self.feedback.is_unanswered(),
        };
        let Some(last) = self.last.as_ref().filter(|_| unheard) else {
            self.probe = None;
            return;
        };
        let probe = match reported {
            // A packet without a picture: unlike a copy it is always news to the receiver, so it is reported.
            true => rtp::Packet { header: rtp::Header { marker: false, ..bare(&last.header) }, payload: Bytes::new() },
            false => last.clone(),
        };
        let again = !reported;
        let bytes = probe.payload.len() + OVERHEAD;
        // Past the queue, in which media may wait for an outage to end.
        self.transmit(now, Released { packet: probe, bytes, again });
        let pause = (pause * 2).min(PROBE_LIMIT.max(self.probe_after()));
        self.probe = Some((at.max(now) + pause, pause));
    }

    /// Whether the receiver told of arrivals so far. One that agreed to and never does is no outage.
    fn hears_arrivals(&self) -> bool {
        self.number_id.is_some() && self.log.has_heard()
    }

    /// Notes the beginning of an outage, once.
    fn note_outage(&mut self, now: Instant) {
        let limit = OUTAGE + self.estimator.round_trip().unwrap_or_default() * 2;
        let silent = self.log.unheard_since().is_some_and(|since| now >= since + limit);
        if !self.out && silent && self.hears_arrivals() {
            self.out = true;
            self.feedback.set_out(true);
        }
    }
}

/// A packet's header without its extensions.
fn bare(header: &rtp::Header) -> rtp::Header {
    let (ssrc, timestamp, payload_type) = (header.ssrc, header.timestamp, header.payload_type);
    rtp::Header { version: 2, ssrc, timestamp, payload_type, ..rtp::Header::default() }
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
            AnyPacket::Rtp(packet) if packet.header.ssrc == self.stream.ssrc => {
                self.unpack(message.now, packet);
            }
            _ => self.writes.push_back(message),
        }
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        self.release(now);
        self.probe(now);
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.probe.map(|(at, _)| at).into_iter().chain(self.pacer.next()).min()
    }
}

impl Interceptor for Publish {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        let id = |uri: &str| {
            let extension = info.rtp_header_extensions.iter().find(|extension| extension.uri == uri)?;
            u8::try_from(extension.id).ok().filter(|id| *id > 0)
        };
        self.capture_time_id = id(ntp::ABS_CAPTURE_TIME);
        let reports = info.rtcp_feedback.iter().any(|feedback| feedback.typ == "transport-cc");
        self.number_id = id(twcc::URI).filter(|_| reports);
    }

    fn unbind_local_stream(&mut self, _: &StreamInfo) {}

    fn bind_remote_stream(&mut self, _: &StreamInfo) {}

    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests;
