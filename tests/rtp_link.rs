//! The sender's packetizer and history against the receiver's assembler, over a bad link in virtual time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cv_core::{annex_b::START_CODE, whip::Mode};
use cv_receiver::transport::rtp::{AssembledPicture, Assembler, Event, MOST_PATIENCE, Packet};
use cv_sender::transport::{history::History, packetize::Packetizer};
use proptest::{prelude::*, test_runner::TestRng};

const FRAME: Duration = Duration::from_millis(33);
/// Pictures that an every-frame sender has in flight at most.
const CREDIT: usize = 8;
const KEYFRAME_INTERVAL: usize = 10;

/// What goes wrong on the way, and how the sender behaves.
#[derive(Clone, Debug)]
struct Conditions {
    loss: f64,
    duplication: f64,
    delay: Duration,
    jitter: Duration,
    first_sequence: u16,
    first_timestamp: u32,
    markers: bool,
    /// Sizes of the slices of every picture in bytes.
    pictures: Vec<Vec<usize>>,
}

fn conditions(most_loss: f64) -> impl Strategy<Value = Conditions> {
    let slices =
        prop::collection::vec(prop_oneof![4 => 1usize..300, 2 => 300usize..4000, 1 => 4000usize..30_000], 1..4);
    ((0.0..=most_loss, 0.0..0.2, 0u64..40, 0u64..20), any::<(u16, u32, bool)>(), prop::collection::vec(slices, 1..60))
        .prop_map(|((loss, duplication, delay, jitter), (first_sequence, first_timestamp, markers), pictures)| {
            let (delay, jitter) = (Duration::from_millis(delay), Duration::from_millis(jitter));
            Conditions { loss, duplication, delay, jitter, first_sequence, first_timestamp, markers, pictures }
        })
}

fn access_unit(number: usize, slices: &[usize], rng: &mut TestRng) -> Vec<u8> {
    let mut out = Vec::new();
    let mut unit = |header: u8, len: usize| {
        out.extend(START_CODE);
        out.push(header);
        out.extend((0..len).map(|_| rng.random_range(4..=255u8)));
    };
    let key = number.is_multiple_of(KEYFRAME_INTERVAL);
    if key {
        unit(0x67, 12);
        unit(0x68, 4);
    }
    unit(0x06, 60);
    for &len in slices {
        unit(if key { 0x65 } else { 0x41 }, len);
    }
    out
}

#[derive(Clone, Debug)]
enum Message {
    Media { sequence: u16, timestamp: u32, marker: bool, payload: Bytes },
    Nack(Vec<u16>),
}

/// Sender, link and receiver with one clock.
struct Simulation {
    conditions: Conditions,
    rng: TestRng,
    start: Instant,
    now: Instant,
    /// By arrival time, then by number; messages lie beside since they need no order.
    arrivals: BinaryHeap<Reverse<(Instant, usize)>>,
    messages: Vec<Message>,
    history: History<Message>,
    sequence: u16,
    sent: Vec<Vec<u8>>,
    assembler: Assembler,
    received: Vec<(Instant, AssembledPicture)>,
    lost: usize,
}

impl Simulation {
    fn new(conditions: Conditions, mode: Mode, mut rng: TestRng) -> Self {
        let sent = conditions.pictures.iter().enumerate().map(|(n, slices)| access_unit(n, slices, &mut rng)).collect();
        let start = Instant::now();
        Self {
            sequence: conditions.first_sequence,
            conditions,
            rng,
            start,
            now: start,
            arrivals: BinaryHeap::new(),
            messages: Vec::new(),
            history: History::new(4096, Duration::from_millis(10)),
            sent,
            assembler: Assembler::new(mode),
            received: Vec::new(),
            lost: 0,
        }
    }

    fn timestamp(&self, number: usize) -> u32 {
        self.conditions.first_timestamp.wrapping_add(number as u32 * 2970)
    }

    fn transmit(&mut self, message: Message) {
        let copies = 1 + usize::from(self.rng.random_bool(self.conditions.duplication));
        for _ in 0..copies {
            if !self.rng.random_bool(self.conditions.loss) {
                let jitter = self.conditions.jitter.mul_f64(self.rng.random_range(0.0..1.0));
                self.arrivals.push(Reverse((self.now + self.conditions.delay + jitter, self.messages.len())));
                self.messages.push(message.clone());
            }
        }
    }

    fn send_picture(&mut self, number: usize) {
        let payloads = Packetizer::default().packetize(&self.sent[number]);
        let count = payloads.len();
        for (index, payload) in payloads.into_iter().enumerate() {
            let last = number + 1 == self.sent.len();
            let marker = index + 1 == count && (self.conditions.markers || last);
            let message =
                Message::Media { sequence: self.sequence, timestamp: self.timestamp(number), marker, payload };
            self.history.insert(self.sequence, message.clone());
            self.sequence = self.sequence.wrapping_add(1);
            self.transmit(message);
        }
    }

    /// Lets everything happen up to `until`.
    fn run_until(&mut self, until: Instant) {
        loop {
            self.drain();
            let arrival = self.arrivals.peek().map(|Reverse((at, _))| *at);
            let wakeup = self.assembler.next_wakeup();
            let Some(next) = arrival.into_iter().chain(wakeup).min().filter(|&next| next <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let Some(Reverse((_, index))) = self.arrivals.pop() else { unreachable!() };
                self.deliver(self.messages[index].clone());
            }
        }
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Media { sequence, timestamp, marker, payload } => {
                let arrived = self.now;
                self.assembler.push(Packet { sequence, timestamp, marker, payload, arrived, abs_capture_time: None });
            }
            Message::Nack(sequences) => {
                for sequence in sequences {
                    if let Some(message) = self.history.resend(sequence, self.now).cloned() {
                        self.transmit(message);
                        self.history.resent(sequence, self.now);
                    }
                }
            }
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.assembler.pull(self.now) {
            match event {
                Event::Picture(picture) => self.received.push((self.now, picture)),
                Event::Lost { pictures_at_least } => self.lost += pictures_at_least as usize,
                Event::Broken => panic!("nothing is broken"),
            }
        }
        let due = self.assembler.due(self.now);
        if !due.is_empty() {
            self.transmit(Message::Nack(due));
        }
        assert!(self.assembler.next_wakeup().is_none_or(|wakeup| wakeup > self.now), "no busy loop");
    }

    /// A sender with credit for some pictures, which sends its last packet again when nothing is answered.
    fn run_every_frame(&mut self) {
        let mut number = 0;
        let deadline = self.start + Duration::from_secs(3600);
        while self.received.len() < self.sent.len() {
            assert!(self.now < deadline, "{} of {} pictures in an hour", self.received.len(), self.sent.len());
            let before = self.received.len();
            // Without markers a picture is complete only when the next one begins.
            if number < self.sent.len() && number < self.received.len() + CREDIT {
                self.send_picture(number);
                number += 1;
            }
            self.run_until(self.now + FRAME / 4);
            if self.received.len() == before && self.arrivals.is_empty() {
                let last = self.history.get(self.sequence.wrapping_sub(1)).cloned();
                self.transmit(last.expect("something was sent"));
            }
        }
    }

    fn run_live(&mut self) {
        for number in 0..self.sent.len() {
            self.send_picture(number);
            self.run_until(self.now + FRAME);
        }
        self.run_until(self.now + Duration::from_secs(2));
    }

    /// Number of the picture, proven by all of its bytes.
    fn number_of(&self, picture: &AssembledPicture) -> usize {
        let step = (picture.timestamp as u32).wrapping_sub(self.conditions.first_timestamp);
        let number = step as usize / 2970;
        assert_eq!(picture.data, self.sent[number], "picture {number}");
        assert_eq!(picture.keyframe, number.is_multiple_of(KEYFRAME_INTERVAL));
        number
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_frame_loses_nothing_at_30_percent_loss(conditions in conditions(0.3), rng in any::<u64>().prop_perturb(|_, rng| rng)) {
        let mut simulation = Simulation::new(conditions, Mode::EveryFrame, rng);
        simulation.run_every_frame();
        let numbers: Vec<_> = simulation.received.iter().map(|(_, picture)| simulation.number_of(picture)).collect();
        prop_assert_eq!(numbers, (0..simulation.sent.len()).collect::<Vec<_>>());
        prop_assert_eq!(simulation.lost, 0);
        prop_assert_eq!(simulation.assembler.counters().lost, 0);
    }

    #[test]
    fn live_is_never_late_and_never_incomplete(conditions in conditions(0.3), rng in any::<u64>().prop_perturb(|_, rng| rng)) {
        let mut simulation = Simulation::new(conditions, Mode::Live, rng);
        simulation.run_live();
        let numbers: Vec<_> = simulation.received.iter().map(|(_, picture)| simulation.number_of(picture)).collect();
        prop_assert!(numbers.is_sorted_by(|a, b| a < b), "in order and once: {:?}", numbers);
        prop_assert!(numbers.len() + simulation.lost <= simulation.sent.len());
        for (at, picture) in &simulation.received {
            // Without markers the next picture has to begin, too.
            prop_assert!(!simulation.conditions.markers || *at <= picture.last_arrived + MOST_PATIENCE);
        }
        let gaps = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        prop_assert!(gaps <= simulation.lost, "every gap is told");
    }

    #[test]
    fn without_loss_live_gives_every_picture_at_its_last_packet(mut conditions in conditions(0.3), rng in any::<u64>().prop_perturb(|_, rng| rng)) {
        (conditions.loss, conditions.markers) = (0.0, true);
        conditions.jitter = Duration::ZERO;
        let mut simulation = Simulation::new(conditions, Mode::Live, rng);
        simulation.run_live();
        prop_assert_eq!(simulation.received.len(), simulation.sent.len());
        prop_assert!(simulation.received.iter().all(|(at, picture)| *at == picture.last_arrived));
        prop_assert_eq!(simulation.assembler.counters().nacked, 0);
    }
}

#[test]
fn moderate_loss_on_a_short_link_is_repaired_within_patience() {
    let mut totals = BTreeMap::new();
    for loss in [2, 10] {
        let conditions = Conditions {
            loss: f64::from(loss) / 100.0,
            duplication: 0.0,
            delay: Duration::from_millis(5),
            jitter: Duration::ZERO,
            first_sequence: 65_000,
            first_timestamp: u32::MAX - 100_000,
            markers: true,
            pictures: vec![vec![5500]; 450],
        };
        let mut simulation = Simulation::new(conditions, Mode::Live, TestRng::deterministic_rng(Default::default()));
        simulation.run_live();
        totals.insert(loss, (simulation.received.len(), simulation.assembler.counters()));
    }
    assert!(totals.values().all(|(received, _)| *received >= 449), "{totals:?}");
}
