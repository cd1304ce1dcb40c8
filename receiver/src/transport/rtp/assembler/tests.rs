use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const KEY: &[u8] = &[24, 0, 1, 0x67, 0, 1, 0x68, 0, 2, 0x65, 1];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An assembler, its clock, and packets that are their own proof of order.
struct Receiver {
    assembler: Assembler,
    now: Instant,
}

impl Receiver {
    fn new(mode: Mode) -> Self {
        Self { assembler: Assembler::new(mode), now: Instant::now() }
    }

    /// Packet `sequence` of pictures of one packet each, every tenth of them a keyframe.
    fn packet(&self, sequence: u16) -> Packet {
        let payload = if sequence.is_multiple_of(10) { KEY } else { &[0x41, 2] };
        Packet {
            sequence,
            timestamp: u32::from(sequence) * 3000,
            marker: true,
            payload: Bytes::from_static(payload),
            arrived: self.now,
            abs_capture_time: None,
        }
    }

    fn push(&mut self, sequence: u16) {
        self.assembler.push(self.packet(sequence));
    }

    /// What comes out: pictures by their sequence number, others as they are.
    fn pull(&mut self) -> Vec<Result<u16, Event>> {
        let name = |event| match event {
            Event::Picture(picture) => Ok((picture.timestamp / 3000) as u16),
            other => Err(other),
        };
        std::iter::from_fn(|| self.assembler.pull(self.now)).map(name).collect()
    }

    fn take(&mut self, sequences: &[u16]) -> Vec<Result<u16, Event>> {
        sequences.iter().for_each(|&sequence| self.push(sequence));
        self.pull()
    }
}

fn lost(pictures_at_least: u32) -> Result<u16, Event> {
    Err(Event::Lost { pictures_at_least })
}

#[test]
fn a_picture_is_handed_over_with_its_marker_packet() {
    let mut receiver = Receiver::new(Mode::Live);
    let mut packet = receiver.packet(10);
    packet.marker = false;
    packet.abs_capture_time = Some(5);
    receiver.assembler.push(packet.clone());
    assert_eq!(receiver.pull(), []);
    let first_arrived = receiver.now;
    receiver.now += ms(3);
    receiver.assembler.push(Packet { sequence: 11, marker: true, arrived: receiver.now, ..packet });
    let Some(Event::Picture(picture)) = receiver.assembler.pull(receiver.now) else { panic!() };
    assert!(picture.keyframe);
    assert_eq!((picture.first_arrived, picture.last_arrived), (first_arrived, receiver.now));
    assert_eq!((picture.timestamp, picture.abs_capture_time), (30_000, Some(5)));
}

#[test]
fn reordered_and_doubled_packets_come_out_once_and_in_order() {
    for mode in Mode::ALL {
        let mut receiver = Receiver::new(mode);
        assert_eq!(receiver.take(&[10, 12, 11, 12, 10, 13]), [Ok(10), Ok(11), Ok(12), Ok(13)]);
        assert_eq!(receiver.take(&[12, 13, 14]), [Ok(14)]);
        let counters = receiver.assembler.counters();
        assert_eq!((counters.received, counters.useless, counters.recovered), (9, 4, 0));
        assert_eq!(receiver.assembler.next_wakeup(), None);
    }
}

#[test]
fn the_sequence_number_wraps() {
    for mode in Mode::ALL {
        let mut receiver = Receiver::new(mode);
        let start = receiver.packet(65_530);
        receiver.assembler.push(start);
        let rest: Vec<_> = [65_531, 65_533, 65_532, 65_534, 0, 65_535, 1]
            .map(|sequence: u16| Packet { timestamp: 3000 * u32::from(sequence), ..receiver.packet(sequence) })
            .into_iter()
            .map(|packet| {
                if packet.sequence < 9 {
                    Packet { timestamp: 65_536 * 3000 + packet.timestamp, ..packet }
                } else {
                    packet
                }
            })
            .collect();
        rest.into_iter().for_each(|packet| receiver.assembler.push(packet));
        assert_eq!(receiver.pull(), [65_530, 65_531, 65_532, 65_533, 65_534, 65_535, 0, 1].map(Ok));
    }
}

#[test]
fn live_gives_up_when_patience_ends_and_not_before() {
    let mut receiver = Receiver::new(Mode::Live);
    assert_eq!(receiver.take(&[10, 12, 13]), [Ok(10)]);
    assert_eq!(receiver.assembler.due(receiver.now), [11]);
    let deadline = receiver.now + DEFAULT_PATIENCE;
    while let Some(wakeup) = receiver.assembler.next_wakeup().filter(|&wakeup| wakeup < deadline) {
        receiver.now = wakeup;
        assert_eq!(receiver.pull(), []);
        assert_eq!(receiver.assembler.due(receiver.now), [11]);
    }
    receiver.now = deadline;
    assert_eq!(receiver.assembler.next_wakeup(), Some(deadline));
    assert_eq!(receiver.pull(), [lost(1), Ok(13)], "12 has lost its proof of being whole");
    assert_eq!(receiver.take(&[11, 14]), [Ok(14)]);
    let counters = receiver.assembler.counters();
    assert_eq!((counters.lost, counters.useless, counters.recovered, counters.nacked), (1, 1, 0, 5));
}

#[test]
fn every_frame_asks_for_ever() {
    let mut receiver = Receiver::new(Mode::EveryFrame);
    assert_eq!(receiver.take(&[10, 12]), [Ok(10)]);
    for _ in 0..1000 {
        receiver.now = receiver.assembler.next_wakeup().unwrap();
        assert_eq!(receiver.pull(), []);
        assert_eq!(receiver.assembler.due(receiver.now), [11]);
    }
    assert!(receiver.now.elapsed() < ms(0) + Duration::from_secs(100));
    assert_eq!(receiver.take(&[11]), [Ok(11), Ok(12)]);
    assert_eq!(receiver.assembler.counters().recovered, 1);
}

#[test]
fn the_beginning_may_come_late() {
    for mode in Mode::ALL {
        let mut receiver = Receiver::new(mode);
        assert_eq!(receiver.take(&[12, 13, 11]), []);
        receiver.now += ms(5);
        let asked = receiver.assembler.due(receiver.now);
        assert!(asked.contains(&10) && !asked.contains(&11));
        assert_eq!(receiver.take(&[10]), [10, 11, 12, 13].map(Ok));
        assert!(receiver.assembler.due(receiver.now + ms(500)).is_empty(), "nothing before it is missed");
    }
}

#[test]
fn live_begins_at_the_next_keyframe_or_when_patience_ends() {
    let mut receiver = Receiver::new(Mode::Live);
    assert_eq!(receiver.take(&[17, 18, 19]), []);
    assert_eq!(receiver.take(&[20, 21]), [Ok(20), Ok(21)]);
    let mut receiver = Receiver::new(Mode::Live);
    assert_eq!(receiver.take(&[12, 13]), []);
    receiver.now += DEFAULT_PATIENCE;
    assert_eq!(receiver.pull(), [lost(1), Ok(13)]);
    assert_eq!(receiver.assembler.counters().lost, 0);
}

#[test]
fn every_frame_waits_for_an_earlier_beginning_but_not_for_ever() {
    let mut receiver = Receiver::new(Mode::EveryFrame);
    assert_eq!(receiver.take(&[12, 13]), []);
    receiver.now += DEFAULT_PATIENCE;
    assert_eq!(receiver.pull(), []);
    receiver.now += START_PATIENCE;
    assert_eq!(receiver.pull(), [lost(1), Ok(13)]);
}

#[test]
fn a_beginning_that_was_told_is_waited_for() {
    let mut receiver = Receiver::new(Mode::EveryFrame);
    receiver.assembler = Assembler::new(Mode::EveryFrame).with_first(8);
    assert_eq!(receiver.take(&[10, 11]), []);
    receiver.now += ms(5);
    assert_eq!(receiver.assembler.due(receiver.now), [8, 9]);
    assert_eq!(receiver.take(&[9, 8]), [8, 9, 10, 11].map(Ok));
}

#[test]
fn nothing_is_missed_before_the_first_packet() {
    for mode in Mode::ALL {
        let mut receiver = Receiver::new(mode);
        assert_eq!(receiver.pull(), []);
        assert_eq!(receiver.assembler.next_wakeup(), None);
    }
}

#[test]
fn probes_are_packets_without_a_picture() {
    for mode in Mode::ALL {
        let mut receiver = Receiver::new(mode);
        for sequence in [8, 9, 10, 11, 12, 13] {
            let mut packet = receiver.packet(sequence);
            if sequence != 10 && sequence != 13 {
                packet.payload = Bytes::new();
            }
            receiver.assembler.push(packet);
        }
        assert_eq!(receiver.pull(), [Ok(10), Ok(13)]);
    }
}

#[test]
fn a_restarted_stream_is_followed_after_two_packets() {
    for mode in Mode::ALL {
        let mut receiver = Receiver::new(mode);
        assert_eq!(receiver.take(&[10, 11, 13]), [Ok(10), Ok(11)]);
        assert_eq!(receiver.take(&[30_000]), []);
        assert_eq!(receiver.take(&[30_001]), [lost(1), Ok(30_000), Ok(30_001)]);
        assert_eq!(receiver.take(&[30_002]), [Ok(30_002)]);
    }
}

#[test]
fn one_stray_packet_moves_nothing() {
    for mode in Mode::ALL {
        let mut receiver = Receiver::new(mode);
        assert_eq!(receiver.take(&[10, 40_000, 11, 40_001, 12]), [10, 11, 12].map(Ok));
        assert_eq!(receiver.assembler.counters().useless, 2);
    }
}

#[test]
fn a_full_window_gives_up_the_oldest_live_and_refuses_the_newest_every_frame() {
    let sequences: Vec<u16> = (10..11).chain(12..4000).collect();
    let mut receiver = Receiver::new(Mode::Live);
    let pulled: Vec<_> = sequences.iter().flat_map(|&sequence| receiver.take(&[sequence])).collect();
    assert_eq!(pulled[..3], [Ok(10), lost(1), Ok(13)]);
    assert_eq!(pulled.len(), 2 + (13..4000).len());

    let mut receiver = Receiver::new(Mode::EveryFrame);
    assert_eq!(receiver.take(&sequences), [Ok(10)]);
    assert_eq!(receiver.take(&[11]).last(), Some(&Ok(10 + 2047)));
    receiver.now += ms(5);
    let again = receiver.assembler.due(receiver.now);
    assert_eq!(again, (10 + 2048..4000).collect::<Vec<_>>());
    assert_eq!(receiver.take(&again).last(), Some(&Ok(3999)));
}

#[test]
fn waiting_bytes_are_bounded() {
    for mode in Mode::ALL {
        let mut receiver = Receiver::new(mode);
        receiver.take(&[10]);
        let payload = Bytes::from(vec![0x41; 60_000]);
        for sequence in 12..500 {
            receiver.assembler.push(Packet { payload: payload.clone(), ..receiver.packet(sequence) });
            let waiting = receiver.assembler.window.bytes();
            assert!(waiting <= Window::MAX_BYTES);
            receiver.pull();
        }
        let counters = receiver.assembler.counters();
        assert_eq!(counters.useless > 0, mode == Mode::EveryFrame);
        assert_eq!(counters.lost > 0, mode == Mode::Live);
    }
}

proptest! {
    #[test]
    fn arbitrary_packets_neither_panic_nor_keep_the_caller_busy(
        packets in prop::collection::vec((-9i16..20, 0u32..4000, any::<bool>(), 0u64..60, prop::collection::vec(any::<u8>(), 0..12)), 0..200),
        jumps in prop::collection::vec((0usize..200, any::<i16>(), any::<u32>()), 0..4),
    ) {
        for mode in Mode::ALL {
            let mut receiver = Receiver::new(mode);
            let (mut sequence, mut timestamp) = (65_500u16, u32::MAX - 9000);
            for (index, (step, ticks, marker, pause, payload)) in packets.iter().enumerate() {
                let jump = jumps.iter().find(|jump| jump.0 == index).map_or((0, 0), |jump| (jump.1, jump.2));
                sequence = sequence.wrapping_add_signed(*step).wrapping_add_signed(jump.0);
                timestamp = timestamp.wrapping_add(*ticks).wrapping_add(jump.1);
                receiver.now += ms(*pause);
                let payload = Bytes::copy_from_slice(payload);
                let packet = Packet { timestamp, marker: *marker, payload, ..receiver.packet(sequence) };
                receiver.assembler.push(packet);
                receiver.pull();
                receiver.assembler.due(receiver.now);
                prop_assert!(receiver.assembler.next_wakeup().is_none_or(|wakeup| wakeup > receiver.now));
            }
        }
    }
}
