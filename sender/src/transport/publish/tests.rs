use std::sync::atomic::Ordering;

use super::*;
use rtc::rtcp::transport_feedbacks::{
    transport_layer_cc::{PacketStatusChunk, RecvDelta, RunLengthChunk, SymbolTypeTcc},
    transport_layer_nack::nack_pairs_from_sequence_numbers,
};

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
    let nack = TransportLayerNack { sender_ssrc: 0, media_ssrc: 7, nacks: nack_pairs_from_sequence_numbers(&[0, 999]) };
    for _ in 0..2 {
        let later = now + Duration::from_millis(1);
        publish.handle_read(tagged(later, AnyPacket::Rtcp(vec![Box::new(nack.clone())]))).unwrap();
    }
    assert_eq!(sent(&mut publish), packets[1..2]);
}

#[test]
fn a_packet_that_waits_to_be_sent_again_waits_once() {
    let start = Instant::now();
    let (mut publish, packets, _) = numbered(start);
    let asked: Vec<u16> = packets.iter().map(|packet| packet.header.sequence_number).collect();
    let nacks = nack_pairs_from_sequence_numbers(&asked);
    let nack = TransportLayerNack { sender_ssrc: 0, media_ssrc: 7, nacks };
    let waiting = publish.pacer.len();
    // Nothing may leave in this moment, however often it is asked for.
    for micros in 0..1000 {
        let now = start + Duration::from_micros(micros);
        publish.handle_read(tagged(now, AnyPacket::Rtcp(vec![Box::new(nack.clone())]))).unwrap();
        publish.history.set_min_interval(Duration::ZERO);
    }
    assert!(publish.pacer.len() <= waiting + asked.len(), "{} packets wait", publish.pacer.len());
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

/// What a receiver says that took all packets numbered below `end`, the last one at `micros`.
fn arrived(end: u16, micros: i64) -> TransportLayerCc {
    let symbol = SymbolTypeTcc::PacketReceivedLargeDelta;
    let run = RunLengthChunk { packet_status_symbol: symbol, run_length: end, ..RunLengthChunk::default() };
    let delta = |index| RecvDelta { type_tcc_packet: symbol, delta: if index == 0 { micros } else { 0 } };
    TransportLayerCc {
        packet_status_count: end,
        packet_chunks: vec![PacketStatusChunk::RunLengthChunk(run)],
        recv_deltas: (0..end).map(delta).collect(),
        ..TransportLayerCc::default()
    }
}

fn numbered(now: Instant) -> (Publish, Vec<rtp::Packet>, Arc<Feedback>) {
    let feedback = Arc::new(Feedback::default());
    let mut publish = Publish::new(STREAM, feedback.clone());
    (publish.number_id, publish.log) = (Some(3), SendLog::new(now));
    let unit = [&[0, 0, 0, 1, 0x65][..], &[9; 30_000]].concat();
    let packet = carrier(STREAM, 1234, unit.into(), SystemTime::UNIX_EPOCH);
    publish.handle_write(tagged(now, AnyPacket::Rtp(packet))).unwrap();
    let packets = sent(&mut publish);
    (publish, packets, feedback)
}

#[test]
fn packets_are_numbered_as_they_leave_those_sent_again_too() {
    let now = Instant::now();
    let (mut publish, mut packets, _) = numbered(now);
    let lost = packets[2].header.sequence_number;
    let nacks = nack_pairs_from_sequence_numbers(&[lost]);
    let nack = TransportLayerNack { sender_ssrc: 0, media_ssrc: 7, nacks };
    while packets.len() < 20 {
        let next = publish.poll_timeout().unwrap();
        publish.handle_timeout(next).unwrap();
        packets.extend(sent(&mut publish));
        if packets.len() == 15 {
            publish.handle_read(tagged(next, AnyPacket::Rtcp(vec![Box::new(nack.clone())]))).unwrap();
        }
    }
    assert_eq!(packets.iter().filter(|packet| packet.header.sequence_number == lost).count(), 2);
    for (number, packet) in packets.iter().enumerate() {
        assert_eq!(packet.header.get_extension(3).unwrap()[..], (number as u16).to_be_bytes());
    }
}

#[test]
fn silence_is_an_outage_that_probes_with_empty_packets_find_the_end_of() {
    let start = Instant::now();
    let (mut publish, packets, feedback) = numbered(start);
    publish.handle_read(tagged(start, AnyPacket::Rtcp(vec![Box::new(arrived(1, 1000))]))).unwrap();
    sent(&mut publish);
    let mut probes = Vec::new();
    while !feedback.out.load(Ordering::Relaxed) {
        let next = publish.poll_timeout().unwrap();
        assert!(next < start + 2 * OUTAGE, "it would take too long");
        publish.handle_timeout(next).unwrap();
        probes.extend(sent(&mut publish).into_iter().filter(|packet| packet.payload.is_empty()));
    }
    assert!(!probes.is_empty() && packets.iter().all(|packet| !packet.payload.is_empty()));
    let later = start + Duration::from_secs(5);
    publish.handle_read(tagged(later, AnyPacket::Rtcp(vec![Box::new(arrived(2, 5_000_000))]))).unwrap();
    assert!(!feedback.out.load(Ordering::Relaxed), "it is over");
    assert!(feedback.keyframe_wanted.load(Ordering::Relaxed));
}

#[test]
fn a_lost_last_packet_is_probed_for_though_a_repetition_after_it_arrived() {
    let start = Instant::now();
    let (mut publish, packets, _) = publish_one(start);
    (publish.number_id, publish.log) = (Some(3), SendLog::new(start));
    for (number, _) in packets.iter().enumerate() {
        assert_eq!(publish.log.stamp(start, 1200, false), number as u16);
    }
    let last = packets.len() as u16 - 1;
    let hear = |publish: &mut Publish, now, packet| {
        publish.handle_read(tagged(now, AnyPacket::Rtcp(vec![packet]))).unwrap();
    };
    hear(&mut publish, start, Box::new(arrived(last, 1000)));
    let nacks = nack_pairs_from_sequence_numbers(&[packets[0].header.sequence_number]);
    hear(&mut publish, start, Box::new(TransportLayerNack { sender_ssrc: 0, media_ssrc: 7, nacks }));
    assert_eq!(sent(&mut publish).len(), 1, "the repetition");
    hear(&mut publish, start, Box::new(TransportLayerCc { base_sequence_number: last + 1, ..arrived(1, 2000) }));
    assert_eq!(publish.log.unheard_since(), None);
    publish.handle_timeout(start + PROBE_AFTER).unwrap();
    assert_eq!(sent(&mut publish).len(), 1, "nothing else tells the receiver of the last packet");
}

#[test]
fn a_probe_that_overtakes_what_waits_leaves_no_hole_in_the_numbers() {
    let start = Instant::now();
    let (mut publish, mut packets, _) = numbered(start);
    publish.handle_read(tagged(start, AnyPacket::Rtcp(vec![Box::new(arrived(1, 1000))]))).unwrap();
    // A path so slow that packets wait for seconds.
    publish.pacer.set_rate(start, 8000.0);
    let mut now = start;
    while now < start + Duration::from_secs(3) {
        now = publish.poll_timeout().unwrap();
        publish.handle_timeout(now).unwrap();
        packets.extend(sent(&mut publish));
    }
    assert!(packets.iter().any(|packet| packet.payload.is_empty()) && !publish.pacer.is_empty(), "a probe overtook");
    for (number, packet) in packets.iter().enumerate() {
        assert_eq!(packet.header.sequence_number, STREAM.first_sequence.wrapping_add(number as u16));
    }
}

#[test]
fn a_fast_path_lets_a_keyframe_through_at_once() {
    let start = Instant::now();
    let (mut publish, packets, feedback) = numbered(start);
    assert!((8..14).contains(&packets.len()), "{} packets before anything is known", packets.len());
    let told = start + Duration::from_millis(1);
    let feedbacks = arrived(packets.len() as u16, 1000);
    publish.handle_read(tagged(told, AnyPacket::Rtcp(vec![Box::new(feedbacks)]))).unwrap();
    assert!(feedback.rate.load(Ordering::Relaxed) > 1_000_000);
}
