//! Received RTP into access units for the decoder, right where the packets arrive.
//!
//! An interceptor of the WebRTC library: it sees every packet once decrypted, on the task that
//! read it from the socket. So a picture goes to the decoder the moment its last packet is there,
//! with no queue of packets in between, and requests for what is missing leave at once.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use cv_core::{
    access_unit::AccessUnit,
    mailbox::{self, Refused},
    ntp,
    report::{ClockSource, Packets},
    stamp::Stamp,
    whip::Mode,
};
use rtc::{
    interceptor::{AttributedPacket, Interceptor, Packet as AnyPacket, StreamInfo, TaggedPacket},
    rtcp::{
        self,
        payload_feedbacks::picture_loss_indication::PictureLossIndication,
        sender_report::SenderReport,
        transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers},
    },
    rtp,
    sansio::Protocol,
    shared::{TransportContext, error::Error},
};

use super::{
    arrivals::{self, Arrivals},
    rtp::{AssembledPicture, Assembler, Event, Packet},
};
use crate::{
    decode::{Unit, Work},
    metrics::METRICS,
};

/// A keyframe costs twenty pictures' worth of bits: ask again only when the last request must have been lost.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(300);

/// What the rest of the connection knows of an [`Ingest`]. Cloning shares it.
#[derive(Clone)]
pub(super) struct Intake {
    shared: Arc<Shared>,
}

struct Shared {
    /// Gone once the connection ends, which ends the decoder.
    decoder: Mutex<Option<mailbox::Sender<Work>>>,
    started: Instant,
    /// Milliseconds from `started` to the last media packet.
    last_packet: AtomicU64,
    received: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
    useless: AtomicU64,
    nacked: AtomicU64,
    plis: AtomicU64,
}

impl Intake {
    pub(super) fn new(decoder: mailbox::Sender<Work>) -> Self {
        Self {
            shared: Arc::new(Shared {
                decoder: Mutex::new(Some(decoder)),
                started: Instant::now(),
                last_packet: AtomicU64::new(0),
                received: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                lost: AtomicU64::new(0),
                useless: AtomicU64::new(0),
                nacked: AtomicU64::new(0),
                plis: AtomicU64::new(0),
            }),
        }
    }

    /// Takes nothing more; the decoder ends after what it has.
    pub(super) fn close(&self) {
        drop(self.shared.decoder.lock().expect("nobody panics while holding it").take());
    }

    /// How long there has been no media.
    pub(super) fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.shared.last_packet.load(Ordering::Relaxed));
        self.shared.started.elapsed().saturating_sub(last)
    }

    /// What became of the packets so far.
    pub(super) fn packets(&self) -> Packets {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Packets {
            received: count(&self.shared.received),
            lost: count(&self.shared.lost),
            useless: count(&self.shared.useless),
            nacked: count(&self.shared.nacked),
            plis: count(&self.shared.plis),
        }
    }

    fn offer(&self, work: Work) -> Result<(), Refused<Work>> {
        match &*self.shared.decoder.lock().expect("nobody panics while holding it") {
            Some(decoder) => {
                decoder.try_send(work)?;
                METRICS.queues.decoder.add(1);
                Ok(())
            }
            None => Err(Refused::Closed(work)),
        }
    }
}

/// The video stream, once its first packet has come.
struct Stream {
    ssrc: u32,
    capture_time_id: Option<u8>,
    /// Where packets carry their number on the connection.
    number_id: Option<u8>,
}

pub(super) struct Ingest {
    intake: Intake,
    mode: Mode,
    stream: Option<Stream>,
    assembler: Assembler,
    /// What the sender is told of arrivals, where it numbers its packets.
    arrivals: Arrivals,
    /// Set by the decoder when only a keyframe helps.
    wants_keyframe: Arc<AtomicBool>,
    keyframe_asked: Option<Instant>,
    /// Units that the decoder had no room for, told to it as soon as it has.
    overflow: VecDeque<Work>,
    /// When the decoder is asked again whether it has room.
    retry: Option<Instant>,
    /// The last sender report: NTP time and RTP time of one instant.
    report: Option<(u64, u32)>,
    /// When the picture before began to arrive, and its RTP time.
    previous: Option<(Instant, i64)>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

/// Units remembered while the decoder has no room; beyond it numbers come out as lost, and units without are counted.
const MAX_OVERFLOW: usize = 64;
/// How soon a decoder that had no room is asked again, should nothing else come.
const OVERFLOW_RETRY: Duration = Duration::from_millis(20);

impl Ingest {
    /// `first` is the sequence number that the sender begins with, where it told.
    pub(super) fn new(intake: Intake, mode: Mode, first: Option<u16>, wants_keyframe: Arc<AtomicBool>) -> Self {
        let assembler = Assembler::new(mode);
        Self {
            intake,
            mode,
            stream: None,
            assembler: match first {
                Some(first) => assembler.with_first(first),
                None => assembler,
            },
            arrivals: Arrivals::new(Instant::now()),
            wants_keyframe,
            keyframe_asked: None,
            overflow: VecDeque::new(),
            retry: None,
            report: None,
            previous: None,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
        }
    }

    fn media(&mut self, now: Instant, packet: rtp::Packet) {
        let Some(stream) = self.stream.as_ref().filter(|stream| stream.ssrc == packet.header.ssrc) else { return };
        let elapsed = now.saturating_duration_since(self.intake.shared.started).as_millis() as u64;
        self.intake.shared.last_packet.store(elapsed, Ordering::Relaxed);
        let abs_capture_time = stream
            .capture_time_id
            .and_then(|id| packet.header.get_extension(id))
            .and_then(|value| Some(u64::from_be_bytes(*value.first_chunk()?)));
        let number = stream.number_id.and_then(|id| packet.header.get_extension(id));
        if let Some(number) = number.and_then(|value| Some(u16::from_be_bytes(*value.first_chunk()?))) {
            self.arrivals.note(number, now);
        }
        let (ssrc, complete) = (stream.ssrc, packet.header.marker);
        if let Some(report) = self.arrivals.report(now, complete, ssrc) {
            self.send(now, Box::new(report));
        }
        self.assembler.push(Packet {
            sequence: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: packet.payload,
            arrived: now,
            abs_capture_time,
        });
        self.advance(now);
    }

    /// Hands over what is complete and asks for what is missing.
    fn advance(&mut self, now: Instant) {
        self.flush_overflow();
        while let Some(event) = self.assembler.pull(now) {
            match event {
                Event::Picture(picture) => self.hand_over(picture),
                Event::Lost { .. } | Event::Broken => self.queue(Work::Broken),
            }
        }
        self.retry = (!self.overflow.is_empty()).then_some(now + OVERFLOW_RETRY);
        let missing = self.assembler.due(now);
        if let (false, Some(stream)) = (missing.is_empty(), &self.stream) {
            let nack = TransportLayerNack {
                sender_ssrc: 0,
                media_ssrc: stream.ssrc,
                nacks: nack_pairs_from_sequence_numbers(&missing),
            };
            self.send(now, Box::new(nack));
        }
        self.ask_for_keyframe(now);
        self.publish_counters();
    }

    fn hand_over(&mut self, picture: AssembledPicture) {
        self.observe_jitter(&picture);
        let received_at = picture.last_arrived;
        let received = SystemTime::now() - received_at.elapsed();
        let captured = self.captured(&picture).unwrap_or_else(|| {
            let spread = received_at.saturating_duration_since(picture.first_arrived);
            (received - spread, ClockSource::Arrival)
        });
        let unit = Unit {
            access_unit: AccessUnit { data: picture.data, keyframe: picture.keyframe },
            ticks: picture.timestamp,
            captured,
            received: (received, received_at),
        };
        self.queue(Work::Unit(unit));
    }

    /// How much later or earlier than its RTP time says a picture begins to arrive, after the one before (the D of
    /// RFC 3550, 6.4.1). Only live: in every-frame mode the answers set the pace.
    fn observe_jitter(&mut self, picture: &AssembledPicture) {
        let now = (picture.first_arrived, picture.timestamp);
        let before = self.previous.replace(now);
        if let (Mode::Live, Some((arrived, ticks))) = (self.mode, before) {
            let due = Duration::from_micros((now.1.saturating_sub(ticks).max(0) as u64).saturating_mul(100) / 9);
            METRICS.jitter.observe(now.0.saturating_duration_since(arrived).abs_diff(due));
        }
    }

    /// When the picture was taken, by what the sender's packets say.
    fn captured(&self, picture: &AssembledPicture) -> Option<(SystemTime, ClockSource)> {
        if let Some(time) = picture.abs_capture_time {
            return Some((ntp::to_time(time)?, ClockSource::AbsCaptureTime));
        }
        let (time, rtp) = self.report?;
        // The shorter way round from the report's RTP time to the picture's, 90 000 ticks a second.
        let ticks = (picture.timestamp as u32).wrapping_sub(rtp) as i32;
        let distance = Duration::from_micros(u64::from(ticks.unsigned_abs()) * 100 / 9);
        let reported = ntp::to_time(time)?;
        let captured = if ticks < 0 { reported.checked_sub(distance) } else { reported.checked_add(distance) };
        Some((captured?, ClockSource::RtcpSr))
    }

    /// Tells the decoder of units that it had no room for.
    fn flush_overflow(&mut self) {
        while let Some(waiting) = self.overflow.pop_front() {
            if let Err(Refused::Full(waiting)) = self.intake.offer(waiting) {
                self.overflow.push_front(waiting);
                return;
            }
        }
    }

    /// Gives `work` to the decoder. Where it has no room, units wait as dropped ones: decoding can only
    /// go on at a keyframe then.
    fn queue(&mut self, work: Work) {
        self.flush_overflow();
        let refused = if self.overflow.is_empty() { self.intake.offer(work) } else { Err(Refused::Full(work)) };
        let Err(Refused::Full(work)) = refused else { return };
        if self.overflow.len() == MAX_OVERFLOW {
            self.forget_oldest();
        }
        self.overflow.push_back(match work {
            Work::Unit(unit) => Work::Dropped(unit),
            other => other,
        });
    }

    /// Makes room for one more: of the two oldest nothing is kept but how many of them only a count accounts for.
    fn forget_oldest(&mut self) {
        let units = |work| match work {
            Work::Dropped(unit) => u64::from(Stamp::find(&unit.access_unit.data).is_none()),
            Work::Forgotten(units) => units,
            Work::Unit(_) | Work::Broken => 0,
        };
        let forgotten = self.overflow.drain(..2).map(units).sum();
        self.overflow.push_front(Work::Forgotten(forgotten));
    }

    /// Asks the sender for a keyframe when the decoder wants one. In every-frame mode it never does:
    /// what is missing arrives, and a picture encoded again would have other pixels.
    fn ask_for_keyframe(&mut self, now: Instant) {
        let Some(stream) = &self.stream else { return };
        let interval = KEYFRAME_INTERVAL.max(self.assembler.round_trip() * 3 / 2);
        let due = self.keyframe_asked.is_none_or(|asked| now.saturating_duration_since(asked) >= interval);
        if self.mode == Mode::EveryFrame || !due || !self.wants_keyframe.swap(false, Ordering::Relaxed) {
            return;
        }
        self.keyframe_asked = Some(now);
        self.intake.shared.plis.fetch_add(1, Ordering::Relaxed);
        METRICS.packets.plis.add(1);
        let request = PictureLossIndication { sender_ssrc: 0, media_ssrc: stream.ssrc };
        self.send(now, Box::new(request));
    }

    fn send(&mut self, now: Instant, packet: Box<dyn rtcp::Packet>) {
        let message = AttributedPacket::new(AnyPacket::Rtcp(vec![packet]));
        self.writes.push_back(TaggedPacket { now, transport: TransportContext::default(), message });
    }

    /// Publishes how far the counters came. Only this task writes them, so no other can come in between.
    fn publish_counters(&self) {
        let (counters, shared, all) = (self.assembler.counters(), &self.intake.shared, &METRICS.packets);
        for (counter, total, value) in [
            (&shared.received, &all.received, counters.received),
            (&shared.bytes, &all.bytes, counters.bytes),
            (&shared.lost, &all.lost, counters.lost),
            (&shared.useless, &all.useless, counters.useless),
            (&shared.nacked, &all.nacked, counters.nacked),
        ] {
            let before = counter.load(Ordering::Relaxed);
            if value != before {
                counter.store(value, Ordering::Relaxed);
                total.add(value.saturating_sub(before));
            }
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Ingest {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    /// Media ends here: audio is not analysed, video goes to the decoder. Control passes.
    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        match message.message.packet {
            AnyPacket::Rtp(packet) => self.media(message.now, packet),
            AnyPacket::Rtcp(ref packets) => {
                let ssrc = self.stream.as_ref().map(|stream| stream.ssrc);
                let mut reports = packets.iter().filter_map(|packet| packet.as_any().downcast_ref::<SenderReport>());
                if let Some(report) = reports.rfind(|report| Some(report.ssrc) == ssrc) {
                    self.report = Some((report.ntp_time, report.rtp_time));
                }
                self.reads.push_back(message);
            }
            _ => self.reads.push_back(message),
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.reads.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.writes.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let ssrc = self.stream.as_ref().map_or(0, |stream| stream.ssrc);
        if let Some(report) = self.arrivals.report(now, false, ssrc) {
            self.send(now, Box::new(report));
        }
        self.advance(now);
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        [self.assembler.next_wakeup(), self.arrivals.next_wakeup(), self.retry].into_iter().flatten().min()
    }
}

impl Interceptor for Ingest {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}

    fn unbind_local_stream(&mut self, _: &StreamInfo) {}

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        let id = |uri: &str| {
            let extension = info.rtp_header_extensions.iter().find(|extension| extension.uri == uri)?;
            u8::try_from(extension.id).ok().filter(|id| *id > 0)
        };
        if info.mime_type.eq_ignore_ascii_case("video/h264") && self.stream.is_none() {
            self.stream = Some(Stream {
                ssrc: info.ssrc,
                capture_time_id: id(ntp::ABS_CAPTURE_TIME),
                number_id: id(arrivals::URI),
            });
        }
    }

    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
