//! RTP payloads, in order, to access units (RFC 6184, sections 5.6 to 5.8, packetization modes 0 and 1).
//!
//! A payload that does not parse breaks its picture, never the program and never another picture:
//! pieces of different NAL units are not joined, and the rest of the picture is left out.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use cv_core::{
    annex_b::{self, nal_type},
    timestamp::RtpUnwrapper,
};

use super::{
    Packet,
    picture::{Broken, Picture},
};

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FORBIDDEN: u8 = 0x80;

/// What comes out of a stream, in decoding order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A picture with all its packets.
    Picture(AssembledPicture),
    /// Packets were given up: pictures are missing here, and those that follow refer to them up to the next keyframe.
    Lost {
        /// How many pictures are missing for certain, the one that lost its beginning or end included; at least 1.
        pictures_at_least: u32,
    },
    /// A picture arrived, but its payloads do not make sense; likewise.
    Broken,
}

/// An access unit and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssembledPicture {
    /// NAL units behind start codes `00 00 00 01`.
    pub data: Bytes,
    /// Whether it is an IDR picture. Parameter sets that came earlier are put in front if it has none itself.
    pub keyframe: bool,
    /// RTP time in ticks of 1/90000 s from an arbitrary origin; does not wrap.
    pub timestamp: i64,
    /// Arrival of its earliest packet.
    pub first_arrived: Instant,
    /// Arrival of its latest packet, sent again ones included.
    pub last_arrived: Instant,
    /// The header extension abs-capture-time, if one of the packets had it: NTP time, 32 bits of seconds and 32 of fraction.
    pub abs_capture_time: Option<u64>,
}

/// Where in the stream of pictures the next packet stands.
#[derive(Debug)]
enum State {
    /// It begins a picture.
    Between,
    /// It continues the picture with this RTP time or begins the next one.
    Inside(Times),
    /// What is left of the picture with this RTP time is of no use.
    Dropping(u32),
    /// Packets before it were given up.
    AfterGap { pictures: u32, cut: Option<u32> },
}

#[derive(Clone, Copy, Debug)]
struct Times {
    timestamp: u32,
    first_arrived: Instant,
    last_arrived: Instant,
    abs_capture_time: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Depacketizer {
    state: State,
    picture: Picture,
    unwrapper: RtpUnwrapper,
    /// One packet makes at most three.
    events: VecDeque<Event>,
    unsupported: u64,
}

/// Whether a payload stands at the beginning of an access unit beyond doubt (H.264, 7.4.1.2.3): only
/// an SPS or a delimiter does, since any slice may be the second one of its picture.
pub(super) fn begins_picture(payload: &[u8]) -> bool {
    let begins = |nal: &[u8]| matches!(annex_b::nal_type(nal), nal_type::SPS | nal_type::AUD);
    match annex_b::nal_type(payload) {
        STAP_A => Aggregated(&payload[1..]).map_while(Result::ok).any(begins),
        _ => begins(payload),
    }
}

impl Depacketizer {
    pub(super) fn new() -> Self {
        Self {
            state: State::Between,
            picture: Picture::default(),
            unwrapper: RtpUnwrapper::default(),
            events: VecDeque::new(),
            unsupported: 0,
        }
    }

    /// Takes the packet that follows the last one, or the last gap. Empty ones (probes) say nothing.
    pub(super) fn push(&mut self, packet: &Packet) {
        if packet.payload.is_empty() {
            return;
        }
        self.cross_boundary(packet);
        if let State::Between = self.state {
            self.state = State::Inside(Times::of(packet));
        }
        if let State::Inside(times) = &mut self.state {
            times.add(packet);
            if self.unpack(&packet.payload).is_err() {
                self.drop_picture(packet.timestamp);
            }
        }
        if packet.marker {
            self.end_picture();
        }
    }

    /// Packets that would have come next never will.
    pub(super) fn gap(&mut self) {
        let (pictures, cut) = match self.state {
            State::AfterGap { .. } => return,
            State::Between => (0, None),
            State::Inside(Times { timestamp, .. }) => (1, Some(timestamp)),
            State::Dropping(timestamp) => (0, Some(timestamp)),
        };
        self.picture.clear();
        self.state = State::AfterGap { pictures, cut };
    }

    /// What has come out, oldest first.
    pub(super) fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Payloads of types that packetization modes 0 and 1 do not have.
    pub(super) fn unsupported(&self) -> u64 {
        self.unsupported
    }

    /// Another RTP time is another picture, for senders that set no marker (RFC 6184, 5.1).
    fn cross_boundary(&mut self, packet: &Packet) {
        match self.state {
            State::Inside(Times { timestamp, .. }) | State::Dropping(timestamp) if timestamp != packet.timestamp => {
                self.end_picture();
            }
            State::AfterGap { pictures, cut } => self.resume(packet, pictures, cut),
            _ => {}
        }
    }

    /// The first packet after a gap, which cut off the picture `cut`.
    fn resume(&mut self, packet: &Packet, pictures: u32, cut: Option<u32>) {
        let rest = cut == Some(packet.timestamp);
        let whole = !rest && begins_picture(&packet.payload);
        let unseen = u32::from(cut.is_none() && whole);
        let headless = u32::from(!rest && !whole);
        let pictures_at_least = pictures + unseen + headless;
        if pictures_at_least > 0 {
            self.events.push_back(Event::Lost { pictures_at_least });
        }
        self.state = if whole { State::Between } else { State::Dropping(packet.timestamp) };
    }

    fn end_picture(&mut self) {
        if let State::Inside(times) = self.state {
            match self.picture.finish() {
                Ok(Some((data, keyframe))) => {
                    let timestamp = self.unwrapper.unwrap(times.timestamp);
                    self.events.push_back(Event::Picture(times.picture(data, keyframe, timestamp)));
                }
                Ok(None) => {}
                Err(Broken) => self.drop_picture(times.timestamp),
            }
        }
        self.state = State::Between;
    }

    fn drop_picture(&mut self, timestamp: u32) {
        self.picture.clear();
        self.events.push_back(Event::Broken);
        self.state = State::Dropping(timestamp);
    }

    fn unpack(&mut self, payload: &[u8]) -> Result<(), Broken> {
        match annex_b::nal_type(payload) {
            1..=23 => self.whole(payload),
            STAP_A => self.aggregate(payload),
            FU_A => self.fragment(payload),
            _ => {
                self.unsupported += 1;
                Ok(())
            }
        }
    }

    fn whole(&mut self, nal: &[u8]) -> Result<(), Broken> {
        let carried = matches!(annex_b::nal_type(nal), 1..=23) && nal[0] & FORBIDDEN == 0;
        if carried { self.picture.push(nal) } else { Err(Broken) }
    }

    fn aggregate(&mut self, payload: &[u8]) -> Result<(), Broken> {
        if payload.len() < 2 || payload[0] & FORBIDDEN != 0 {
            return Err(Broken);
        }
        Aggregated(&payload[1..]).try_for_each(|nal| self.whole(nal?))
    }

    fn fragment(&mut self, payload: &[u8]) -> Result<(), Broken> {
        let &[indicator, header, ref piece @ ..] = payload else { return Err(Broken) };
        let kind = header & 0x1f;
        if indicator & FORBIDDEN != 0 || !matches!(kind, 1..=23) {
            return Err(Broken);
        }
        let (start, end) = (header & 0x80 != 0, header & 0x40 != 0);
        match (start, end) {
            (true, true) => Err(Broken),
            (true, false) => self.picture.push_first(indicator & 0x60 | kind, piece),
            (false, last) => self.picture.push_next(kind, piece, last),
        }
    }
}

impl Times {
    fn of(packet: &Packet) -> Self {
        Self {
            timestamp: packet.timestamp,
            first_arrived: packet.arrived,
            last_arrived: packet.arrived,
            abs_capture_time: None,
        }
    }

    fn add(&mut self, packet: &Packet) {
        self.first_arrived = self.first_arrived.min(packet.arrived);
        self.last_arrived = self.last_arrived.max(packet.arrived);
        self.abs_capture_time = self.abs_capture_time.or(packet.abs_capture_time);
    }

    fn picture(self, data: Bytes, keyframe: bool, timestamp: i64) -> AssembledPicture {
        let Self { first_arrived, last_arrived, abs_capture_time, .. } = self;
        AssembledPicture { data, keyframe, timestamp, first_arrived, last_arrived, abs_capture_time }
    }
}

/// The units of a STAP-A behind its header (RFC 6184, 5.7.1); ends after the first one that does not fit.
struct Aggregated<'a>(&'a [u8]);

impl<'a> Iterator for Aggregated<'a> {
    type Item = Result<&'a [u8], Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.0);
        if rest.is_empty() {
            return None;
        }
        let unit =
            rest.split_first_chunk().and_then(|(size, tail)| tail.split_at_checked(u16::from_be_bytes(*size).into()));
        Some(match unit {
            Some((nal @ [_, ..], tail)) => {
                self.0 = tail;
                Ok(nal)
            }
            _ => Err(Broken),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds payloads as one picture with a marker on the last, then says what came out.
    struct Stream {
        depacketizer: Depacketizer,
        packet: Packet,
    }

    impl Stream {
        fn new() -> Self {
            let packet = Packet {
                sequence: 0,
                timestamp: 3000,
                marker: false,
                payload: Bytes::new(),
                arrived: Instant::now(),
                abs_capture_time: None,
            };
            Self { depacketizer: Depacketizer::new(), packet }
        }

        fn payload(&mut self, payload: &[u8], marker: bool) {
            let payload = Bytes::copy_from_slice(payload);
            self.depacketizer.push(&Packet { payload, marker, ..self.packet.clone() });
        }

        fn picture(&mut self, payloads: &[&[u8]]) -> Vec<Event> {
            self.packet.timestamp += 3000;
            for (index, payload) in payloads.iter().enumerate() {
                self.payload(payload, index + 1 == payloads.len());
            }
            self.events()
        }

        fn events(&mut self) -> Vec<Event> {
            std::iter::from_fn(|| self.depacketizer.pop()).collect()
        }
    }

    fn data_of(events: &[Event]) -> Vec<(&[u8], bool)> {
        let whole = |event| match event {
            &Event::Picture(AssembledPicture { ref data, keyframe, .. }) => (&data[..], keyframe),
            other => panic!("{other:?}"),
        };
        events.iter().map(whole).collect()
    }

    #[test]
    fn single_units_aggregates_and_fragments_become_one_access_unit() {
        let events = Stream::new().picture(&[
            &[24, 0, 2, 0x67, 1, 0, 2, 0x68, 2],
            &[0x06, 3],
            &[0x7c, 0x85, 4],
            &[0x7c, 0x05],
            &[0x7c, 0x05, 5],
            &[0x7c, 0x45, 6],
        ]);
        let expected = [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x06, 3, 0, 0, 0, 1, 0x65, 4, 5, 6];
        assert_eq!(data_of(&events), [(&expected[..], true)]);
    }

    #[test]
    fn senseless_payloads_break_their_picture_and_no_other() {
        let start: &[u8] = &[0x7c, 0x85, 1];
        let end: &[u8] = &[0x7c, 0x45, 2];
        let cases: &[(&str, &[&[u8]])] = &[
            ("a unit and half a size field", &[&[24, 0, 1, 0x65, 0]]),
            ("a size beyond the end", &[&[24, 0, 9, 0x65, 0]]),
            ("a size of zero", &[&[24, 0, 0]]),
            ("an empty aggregate", &[&[24]]),
            ("an aggregate in an aggregate", &[&[24, 0, 2, 24, 0]]),
            ("no start", &[&[0x7c, 0x05, 1], end]),
            ("an end alone", &[end]),
            ("no end", &[start]),
            ("two starts", &[start, start, end]),
            ("start and end in one", &[&[0x7c, 0xc5, 1]]),
            ("another unit in between", &[start, &[0x41, 1], end]),
            ("an aggregate in between", &[start, &[24, 0, 1, 0x41], end]),
            ("another type in between", &[start, &[0x7c, 0x01, 1], end]),
            ("no fragment header", &[&[0x7c]]),
            ("a fragmented aggregate", &[&[0x7c, 0x98, 1], &[0x7c, 0x58, 1]]),
            ("a fragment of type 0", &[&[0x7c, 0x80, 1], &[0x7c, 0x40, 1]]),
            ("the forbidden bit", &[&[0xe5, 1]]),
            ("the forbidden bit of a fragment", &[&[0xfc, 0x85, 1], end]),
            ("the forbidden bit in an aggregate", &[&[24, 0, 1, 0xe5]]),
        ];
        for (name, payloads) in cases {
            let mut stream = Stream::new();
            assert_eq!(stream.picture(payloads), [Event::Broken], "{name}");
            assert_eq!(data_of(&stream.picture(&[&[0x41, 7]])), [(&[0, 0, 0, 1, 0x41, 7][..], false)], "{name}");
        }
    }

    #[test]
    fn types_of_other_modes_are_counted_and_left_out() {
        let mut stream = Stream::new();
        let events = stream.picture(&[&[0x41, 1], &[25, 1], &[26], &[27, 0], &[29, 1], &[30], &[31], &[0]]);
        assert_eq!(data_of(&events), [(&[0, 0, 0, 1, 0x41, 1][..], false)]);
        assert_eq!(stream.depacketizer.unsupported(), 7);
    }

    #[test]
    fn a_new_time_ends_a_picture_without_marker() {
        let mut stream = Stream::new();
        stream.payload(&[0x41, 1], false);
        stream.packet.timestamp += 1;
        stream.payload(&[0x41, 2], true);
        assert_eq!(data_of(&stream.events()).len(), 2);
        stream.payload(&[0x7c, 0x81, 1], false);
        stream.packet.timestamp += 1;
        stream.payload(&[0x7c, 0x41, 2], true);
        assert_eq!(stream.events(), [Event::Broken, Event::Broken], "fragments of two pictures are not joined");
    }

    #[test]
    fn an_idr_picture_without_parameter_sets_gets_those_seen_last() {
        let mut stream = Stream::new();
        assert!(stream.picture(&[&[0x67, 1]]).is_empty(), "not a picture yet");
        let first = [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 3];
        assert_eq!(data_of(&stream.picture(&[&[0x68, 2], &[0x65, 3]])), [(&first[..], true)]);
        assert_eq!(data_of(&stream.picture(&[&[0x65, 3]])), [(&first[..], true)]);
        stream.picture(&[&[0x67, 9], &[0x68, 9], &[0x85, 1]]);
        assert_eq!(
            data_of(&stream.picture(&[&[0x65, 3]])),
            [(&first[..], true)],
            "those of a broken picture do not count"
        );
        for _ in 0..10_000 {
            stream.picture(&[&[0x68, 2], &[0x65, 3]]);
        }
        let own = [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x68, 2, 0, 0, 0, 1, 0x65, 3];
        assert_eq!(data_of(&stream.picture(&[&[0x68, 2], &[0x65, 3]])), [(&own[..], true)]);
    }

    #[test]
    fn after_a_gap_only_a_certain_beginning_counts() {
        let mut stream = Stream::new();
        stream.payload(&[0x41, 1], false);
        stream.depacketizer.gap();
        stream.payload(&[0x41, 2], true);
        assert_eq!(stream.events(), [Event::Lost { pictures_at_least: 1 }], "the picture lost its middle");
        stream.depacketizer.gap();
        assert_eq!(stream.picture(&[&[0x41, 1]]), [Event::Lost { pictures_at_least: 1 }], "maybe its second slice");
        stream.payload(&[0x41, 1], false);
        stream.depacketizer.gap();
        assert_eq!(stream.picture(&[&[0x41, 1]]), [Event::Lost { pictures_at_least: 2 }]);
        stream.depacketizer.gap();
        let events = stream.picture(&[&[24, 0, 1, 0x06, 0, 1, 0x67], &[0x65, 3]]);
        assert_eq!(events[0], Event::Lost { pictures_at_least: 1 });
        assert_eq!(data_of(&events[1..]).len(), 1, "a keyframe directly behind the gap is good");
    }

    #[test]
    fn an_access_unit_does_not_grow_without_bound() {
        let mut stream = Stream::new();
        let payload = [0x06; 60_000];
        for _ in 0..=crate::transport::rtp::picture::MAX_ACCESS_UNIT / payload.len() {
            stream.payload(&payload, true);
        }
        assert_eq!(stream.events(), [Event::Broken]);
    }

    proptest! {
        #[test]
        fn arbitrary_payloads_never_panic(
            packets in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), any::<bool>(), 0u32..3, 0u8..8), 0..60)
        ) {
            let mut stream = Stream::new();
            for (mut payload, marker, step, shape) in packets {
                if let Some(first) = payload.first_mut() {
                    *first = [24, 28, 28, 0x41, 0x65, 0x67, 0x7c, *first][usize::from(shape)];
                }
                stream.packet.timestamp += step;
                if shape == 0 {
                    stream.depacketizer.gap();
                }
                stream.payload(&payload, marker);
                begins_picture(&payload);
                prop_assert!(stream.events().len() <= 3);
            }
        }
    }
}
