//! The way from arriving packets to pictures, and what is given up on it.

use std::time::{Duration, Instant};

use cv_core::whip::Mode;

use super::{
    Counters, Packet,
    depacketize::{Depacketizer, Event, begins_picture},
    nack::Nacks,
    restart::{Restart, Verdict},
    round_trip::RoundTrip,
    window::Window,
};

/// How long a live stream waits for a missing packet: some round trips, and still no visible stop.
pub const DEFAULT_PATIENCE: Duration = Duration::from_millis(200);

/// How long an every-frame stream waits for packets before the first one that came, where that begins no picture
/// for certain: some senders begin with a SEI unit, and nothing was ever before it.
const START_PATIENCE: Duration = Duration::from_secs(1);

const DEFAULT_ROUND_TRIP: Duration = Duration::from_millis(20);
/// Packets to ask for at a time when the first one that came is not the first of a picture.
const STEP_BACK: u64 = 16;
/// Extended sequence numbers begin here, so that there is room before the first one.
const ORIGIN: u64 = 1 << 32;

/// Puts packets in order, asks for missing ones and assembles pictures.
///
/// After every [`push`](Self::push), and at [`next_wakeup`](Self::next_wakeup), call [`pull`](Self::pull)
/// until it returns `None`, then [`due`](Self::due).
///
/// Bounded to 2048 waiting packets, 8 MiB in these, and 16 MiB in the picture under construction.
/// Live, the oldest missing packets are given up for newer ones beyond that; every-frame, the newest
/// packets are dropped and asked for again later.
#[derive(Debug)]
pub struct Assembler {
    mode: Mode,
    patience: Duration,
    least_patience: Duration,
    counters: Counters,
    restart: Restart,
    nacks: Nacks,
    round_trip: RoundTrip,
    window: Window,
    depacketizer: Depacketizer,
    phase: Phase,
    /// The newest packet heard of, and its RTP time if it has come.
    newest: u64,
    newest_timestamp: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No packet has come.
    Idle,
    /// The first packet was `anchor`, but it begins no picture: those before it are awaited.
    Starting {
        anchor: u64,
        since: Instant,
    },
    Running,
}

impl Assembler {
    /// For one stream in the given mode.
    ///
    /// It begins with the first packet that certainly begins a picture (an SPS, a delimiter). If the
    /// very first packet to come is another one, those before it are asked for: in live mode until one of
    /// any picture comes or patience ends, in every-frame mode until one before it does, for a second at most.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            patience: DEFAULT_PATIENCE,
            least_patience: DEFAULT_PATIENCE,
            counters: Counters::default(),
            restart: Restart::new(mode),
            nacks: Nacks::new(DEFAULT_ROUND_TRIP),
            round_trip: RoundTrip::default(),
            window: Window::at(ORIGIN),
            depacketizer: Depacketizer::new(),
            phase: Phase::Idle,
            newest: ORIGIN - 1,
            newest_timestamp: None,
        }
    }

    /// How long a missing packet is waited for in live mode, 200 ms unless told; longer where one round trip
    /// more is still worth waiting for, shorter where none is.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        (self.patience, self.least_patience) = (patience, patience);
        self
    }

    /// Says which packet is the stream's first, for senders that tell; nothing before it is waited for,
    /// and nothing from it on is overlooked. Without effect once a packet has come.
    #[must_use]
    pub fn with_first(mut self, sequence: u16) -> Self {
        if self.phase == Phase::Idle {
            self.begin_at(self.ahead(sequence), Phase::Running);
        }
        self
    }

    /// The round trip to the sender, as far as questions and their answers showed it.
    pub fn round_trip(&self) -> Duration {
        self.round_trip.median().unwrap_or(DEFAULT_ROUND_TRIP)
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        Counters { unsupported: self.depacketizer.unsupported(), ..self.counters }
    }

    /// Takes a packet. Constant time, but for what a gap before it costs.
    pub fn push(&mut self, packet: Packet) {
        self.round_trip.note(packet.arrived);
        self.counters.received += 1;
        self.counters.bytes += packet.payload.len() as u64;
        if self.phase == Phase::Idle {
            // Probes before the first picture do not belong to any.
            if !packet.payload.is_empty() {
                self.begin(packet);
            }
            return;
        }
        let step = packet.sequence.wrapping_sub(self.newest as u16) as i16;
        let ticks = self.newest_timestamp.map_or(0, |newest| packet.timestamp.wrapping_sub(newest) as i32);
        match self.restart.judge(packet, step, ticks) {
            Verdict::Belongs(packet) => self.place(self.newest.saturating_add_signed(step.into()), packet),
            Verdict::Strange => self.counters.useless += 1,
            Verdict::Restarted(first, second) => {
                // The first one was counted while it was strange.
                self.counters.useless -= 1;
                self.counters.lost += self.nacks.forget_before(u64::MAX);
                self.depacketizer.gap();
                self.begin(first);
                self.place(self.newest + 1, second);
            }
        }
    }

    /// The next picture, or what is missing before it.
    pub fn pull(&mut self, now: Instant) -> Option<Event> {
        loop {
            if let Some(event) = self.depacketizer.pop() {
                return Some(event);
            }
            if !matches!(self.phase, Phase::Starting { .. })
                && let Some(packet) = self.window.pop()
            {
                self.depacketizer.push(&packet);
            } else if self.deadline().is_some_and(|deadline| deadline <= now) {
                self.give_up();
            } else {
                self.open_before(self.newest + 1, now);
                return None;
            }
        }
    }

    /// The sequence numbers to ask the sender for now, in order; empty at most calls.
    pub fn due(&mut self, now: Instant) -> Vec<u16> {
        let due = self.nacks.due(now);
        self.counters.nacked += due.len() as u64;
        due
    }

    /// When to call [`pull`](Self::pull) and [`due`](Self::due) again even if no packet comes; may lie in the past.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.nacks.next_wakeup().into_iter().chain(self.deadline()).min()
    }

    /// When the next packet is given up.
    fn deadline(&self) -> Option<Instant> {
        let (since, patience) = match (self.phase, self.mode) {
            // What came before the first packet is a guess, so even every-frame waits for it only so long.
            (Phase::Starting { since, .. }, Mode::EveryFrame) => (since, START_PATIENCE),
            (Phase::Starting { since, .. }, Mode::Live) => (since, self.patience),
            (_, Mode::Live) => (self.nacks.oldest()?, self.patience),
            (_, Mode::EveryFrame) => return None,
        };
        since.checked_add(patience)
    }

    /// The first packet of all, or of a stream that began anew.
    fn begin(&mut self, packet: Packet) {
        let anchor = self.ahead(packet.sequence);
        self.begin_at(anchor, Phase::Starting { anchor, since: packet.arrived });
        self.place(anchor, packet);
    }

    fn begin_at(&mut self, at: u64, phase: Phase) {
        self.window = Window::at(at);
        self.newest = at - 1;
        self.newest_timestamp = None;
        self.phase = phase;
    }

    /// The extended form of a sequence number that is newer than all before.
    fn ahead(&self, sequence: u16) -> u64 {
        let next = self.newest + 1;
        next + u64::from(sequence.wrapping_sub(next as u16))
    }

    /// Puts a packet into its place in the stream.
    fn place(&mut self, at: u64, packet: Packet) {
        if !self.make_room(at, &packet) {
            self.counters.useless += 1;
            return;
        }
        if at > self.newest {
            self.nacks.newer_arrived();
            self.open_before(at, packet.arrived);
            self.window.open_back();
            self.note_newest(at, &packet);
        }
        let (arrived, begins) = (packet.arrived, self.may_start(at) && begins_picture(&packet.payload));
        if !self.window.put(at, packet) {
            self.counters.useless += 1;
        } else if let Some(asked) = self.nacks.arrived(at) {
            self.counters.recovered += 1;
            self.learn(asked, arrived);
        }
        if begins {
            self.start(at);
        } else if matches!(self.phase, Phase::Starting { .. }) && self.window.is_ready() {
            self.step_back(arrived);
        }
    }

    /// Suits the pace of questions, and how long answers are waited for, to the time that one took.
    fn learn(&mut self, asked: Instant, now: Instant) {
        self.round_trip.answered(asked, now);
        let round_trip = self.round_trip();
        self.nacks.set_round_trip(round_trip);
        self.patience = self.round_trip.patience(self.least_patience);
    }

    /// Whether there is room for a packet; in live mode older ones make it.
    fn make_room(&mut self, at: u64, packet: &Packet) -> bool {
        if at < self.window.next() {
            return false;
        }
        let len = packet.payload.len();
        if self.mode == Mode::Live {
            while self.window.overflows(at, len) && (self.window.is_ready() || self.window.is_waiting()) {
                self.drop_next();
            }
        }
        // The packet that is next leaves the window at once.
        let fits = at == self.window.next() || !self.window.overflows(at, len);
        if !fits && at > self.newest {
            self.note_newest(at, packet);
        }
        fits
    }

    fn note_newest(&mut self, at: u64, packet: &Packet) {
        (self.newest, self.newest_timestamp) = (at, Some(packet.timestamp));
    }

    /// Notes all packets before `end` that have not come as missing, as far as the window's size allows.
    fn open_before(&mut self, end: u64, now: Instant) {
        while self.window.end() < end && !self.window.is_full() {
            self.nacks.miss(self.window.end(), now);
            self.window.open_back();
        }
    }

    /// Whether the stream may begin with packet `at`. An every-frame stream never skips what came first.
    fn may_start(&self, at: u64) -> bool {
        matches!(self.phase, Phase::Starting { anchor, .. } if at <= anchor || self.mode == Mode::Live)
    }

    fn start(&mut self, at: u64) {
        while self.window.next() < at {
            self.window.drop_front();
        }
        self.nacks.forget_before(at);
        self.phase = Phase::Running;
    }

    /// All from the first packet heard of on is here, but begins no picture: asks for some packets more.
    fn step_back(&mut self, now: Instant) {
        for _ in 0..STEP_BACK {
            if self.window.is_full() {
                self.give_up();
                return;
            }
            self.window.open_front();
            self.nacks.miss(self.window.next(), now);
        }
    }

    /// Gives up the missing packets that keep those behind them waiting.
    fn give_up(&mut self) {
        while self.window.is_waiting() {
            self.window.drop_front();
        }
        let given_up = self.nacks.forget_before(self.window.next());
        if self.phase == Phase::Running {
            self.counters.lost += given_up;
        }
        self.phase = Phase::Running;
        self.depacketizer.gap();
    }

    /// Gives up the next packet, whether it has come or not.
    fn drop_next(&mut self) {
        self.window.drop_front();
        self.nacks.forget_before(self.window.next());
        self.counters.lost += 1;
        self.phase = Phase::Running;
        self.depacketizer.gap();
    }
}

#[cfg(test)]
mod tests {
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
}
