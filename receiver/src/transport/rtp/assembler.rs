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
mod tests;
