//! What left when, and what the receiver says of its arrival (transport-wide congestion control,
//! draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::time::{Duration, Instant};

use rtc::rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc, TransportLayerCc};

use super::estimate::Arrival;

/// The header extension with the packet's number on this connection, retransmissions counted.
pub(super) const URI: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// Packets remembered: ten seconds of 6 Mbit/s, a round trip of the fastest path. Divides 65536.
const CAPACITY: usize = 8192;
/// A packet that others overtook by less than this may still arrive.
const REORDERING: Duration = Duration::from_millis(100);
/// Microseconds of a tick of the feedback's reference time, and how many bits it has.
const REFERENCE_TICK: i64 = 64_000;
const REFERENCE_BITS: u32 = 24;

/// The packets sent lately, by their number.
#[derive(Debug)]
pub(super) struct SendLog {
    slots: Box<[Option<Sent>]>,
    epoch: Instant,
    /// The number of the next packet.
    next: u64,
    /// Bytes sent so far.
    total: u64,
    /// The first packet whose fate has not been counted.
    settled: u64,
    /// One beyond the newest packet that arrived.
    heard: u64,
    /// One beyond the newest packet sent for the first time, and beyond the newest of these that arrived.
    first: u64,
    first_heard: u64,
    /// The last feedback's reference time, unwrapped.
    reference: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    at: Instant,
    bytes: u32,
    total: u64,
    again: bool,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// No feedback on it came, which may itself have been lost.
    Unknown,
    Missing,
    Arrived,
}

/// How packets fared that were sent for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fates {
    pub(super) arrived: u32,
    pub(super) lost: u32,
}

impl SendLog {
    pub(super) fn new(epoch: Instant) -> Self {
        let slots = vec![None; CAPACITY].into_boxed_slice();
        Self { slots, epoch, next: 0, total: 0, settled: 0, heard: 0, first: 0, first_heard: 0, reference: None }
    }

    /// Numbers a packet that leaves now.
    pub(super) fn stamp(&mut self, now: Instant, bytes: usize, again: bool) -> u16 {
        let number = self.next;
        self.next += 1;
        self.total += bytes as u64;
        let sent = Sent { number, at: now, bytes: bytes as u32, total: self.total, again, fate: Fate::Unknown };
        self.slots[number as usize % CAPACITY] = Some(sent);
        if !again {
            self.first = self.next;
        }
        number as u16
    }

    /// Microseconds on the clock of [`Arrival::sent`].
    pub(super) fn micros(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.epoch).as_micros() as i64
    }

    /// Whether the receiver reports arrivals at all.
    pub(super) fn has_heard(&self) -> bool {
        self.heard > 0
    }

    /// Since when nothing that was sent has been heard of.
    pub(super) fn unheard_since(&self) -> Option<Instant> {
        (self.heard < self.next).then(|| self.get(self.heard).map(|sent| sent.at)).flatten()
    }

    /// Whether the receiver may not know yet of the last packet that was sent for the first time. That later
    /// ones arrived says nothing where these were repetitions: no gap in the stream shows what came after them.
    pub(super) fn has_unknown_end(&self) -> bool {
        self.first_heard < self.first
    }

    /// Forgets to count the fate of all that was sent so far: an outage says nothing of the path's rate.
    pub(super) fn forgive(&mut self) {
        self.settled = self.next;
    }

    /// The packets that arrived according to `feedback` and were not known to have.
    pub(super) fn read(&mut self, feedback: &TransportLayerCc) -> Vec<Arrival> {
        let mut clock = self.unwrap_reference(feedback.reference_time);
        let base = self.unwrap_number(feedback.base_sequence_number);
        let mut deltas = feedback.recv_deltas.iter();
        let mut arrivals = Vec::new();
        let symbols = feedback.packet_chunks.iter().flat_map(symbols).take(feedback.packet_status_count.into());
        for (index, symbol) in symbols.enumerate() {
            let number = base + index as i64;
            let arrived = match symbol {
                SymbolTypeTcc::PacketNotReceived => None,
                SymbolTypeTcc::PacketReceivedWithoutDelta => continue,
                _ => {
                    let Some(delta) = deltas.next() else { break };
                    clock += delta.delta;
                    Some(clock)
                }
            };
            arrivals.extend(self.note(number, arrived));
        }
        arrivals
    }

    /// Notes what became of a packet; gives its arrival if that is new.
    fn note(&mut self, number: i64, arrived: Option<i64>) -> Option<Arrival> {
        let number = u64::try_from(number).ok().filter(|number| *number < self.next)?;
        let epoch = self.epoch;
        let slot = self.slots[number as usize % CAPACITY].as_mut().filter(|sent| sent.number == number)?;
        let Some(arrived) = arrived else {
            if slot.fate == Fate::Unknown {
                slot.fate = Fate::Missing;
            }
            return None;
        };
        if slot.fate == Fate::Arrived {
            return None;
        }
        slot.fate = Fate::Arrived;
        let sent = slot.at.saturating_duration_since(epoch).as_micros() as i64;
        let arrival = Arrival { number, sent, arrived, bytes: slot.bytes, total: slot.total };
        self.heard = self.heard.max(number + 1);
        if !slot.again {
            self.first_heard = self.first_heard.max(number + 1);
        }
        Some(arrival)
    }

    /// Counts the fates of packets that nothing more will be heard of. Packets sent again are left out:
    /// a receiver that has them already drops the second copy before it is counted.
    pub(super) fn settle(&mut self) -> Fates {
        let mut fates = Fates::default();
        let Some(newest) = self.heard.checked_sub(1).and_then(|number| self.get(number)).map(|sent| sent.at) else {
            return fates;
        };
        self.settled = self.settled.max(self.next.saturating_sub(CAPACITY as u64));
        while let Some(sent) = self.get(self.settled).filter(|sent| sent.at + REORDERING < newest) {
            match sent.fate {
                Fate::Arrived if !sent.again => fates.arrived += 1,
                Fate::Missing if !sent.again => fates.lost += 1,
                _ => {}
            }
            self.settled += 1;
        }
        fates
    }

    fn get(&self, number: u64) -> Option<Sent> {
        self.slots[number as usize % CAPACITY].filter(|sent| sent.number == number)
    }

    /// The number that a packet with these low bits has, nearest to those that were sent last.
    fn unwrap_number(&self, low: u16) -> i64 {
        let next = self.next as i64;
        next + i64::from(low.wrapping_sub(next as u16) as i16)
    }

    fn unwrap_reference(&mut self, low: u32) -> i64 {
        let unused = i32::BITS - REFERENCE_BITS;
        let reference = match self.reference {
            None => i64::from(low),
            Some(last) => last + i64::from((low.wrapping_sub(last as u32) << unused) as i32 >> unused),
        };
        self.reference = Some(reference);
        reference * REFERENCE_TICK
    }
}

fn symbols(chunk: &PacketStatusChunk) -> Box<dyn Iterator<Item = SymbolTypeTcc> + '_> {
    match chunk {
        PacketStatusChunk::RunLengthChunk(run) => {
            Box::new(std::iter::repeat_n(run.packet_status_symbol, run.run_length.into()))
        }
        PacketStatusChunk::StatusVectorChunk(vector) => Box::new(vector.symbol_list.iter().copied()),
    }
}

#[cfg(test)]
mod tests {
    use rtc::rtcp::transport_feedbacks::transport_layer_cc::{RecvDelta, StatusVectorChunk, SymbolSizeTypeTcc};

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A log of `count` packets of 1000 bytes, sent a millisecond apart, every tenth of them again.
    fn log(count: u64) -> (SendLog, Instant) {
        let start = Instant::now();
        let mut log = SendLog::new(start);
        for number in 0..count {
            assert_eq!(log.stamp(start + ms(number), 1000, number % 10 == 9), number as u16);
        }
        (log, start)
    }

    /// What a receiver says of `count` packets from `base` on, those in `missing` excepted, a millisecond apart.
    fn feedback(base: u64, count: u16, missing: &[u64]) -> TransportLayerCc {
        let mut packet = TransportLayerCc {
            base_sequence_number: base as u16,
            packet_status_count: count,
            reference_time: 3,
            ..TransportLayerCc::default()
        };
        let mut symbols = Vec::new();
        for number in base..base + u64::from(count) {
            let arrived = !missing.contains(&number);
            let symbol =
                if arrived { SymbolTypeTcc::PacketReceivedSmallDelta } else { SymbolTypeTcc::PacketNotReceived };
            symbols.push(symbol);
            if arrived {
                packet.recv_deltas.push(RecvDelta { type_tcc_packet: symbol, delta: 1000 });
            }
        }
        for symbols in symbols.chunks(7) {
            let (symbol_list, symbol_size) = (symbols.to_vec(), SymbolSizeTypeTcc::TwoBit);
            let chunk = StatusVectorChunk { symbol_list, symbol_size, ..StatusVectorChunk::default() };
            packet.packet_chunks.push(PacketStatusChunk::StatusVectorChunk(chunk));
        }
        packet
    }

    #[test]
    fn arrivals_are_news_once_and_losses_count_when_they_are_certain() {
        let (mut log, start) = log(200);
        assert_eq!(log.unheard_since(), Some(start));
        let arrivals = log.read(&feedback(0, 50, &[3, 4, 9]));
        assert_eq!(arrivals.len(), 47);
        let first = arrivals[0];
        assert_eq!((first.number, first.sent, first.arrived, first.total), (0, 0, 3 * REFERENCE_TICK + 1000, 1000));
        assert_eq!(log.settle(), Fates::default(), "too early to say");
        assert_eq!(log.read(&feedback(3, 2, &[4])).len(), 1, "3 was only late");
        assert!(log.read(&feedback(0, 3, &[])).is_empty(), "known already");
        assert_eq!(log.unheard_since(), Some(start + ms(50)));
        // The feedback on 50 to 149 was lost: nothing is known of them.
        assert_eq!(log.read(&feedback(150, 50, &[])).len(), 50);
        assert_eq!(log.settle(), Fates { arrived: 44, lost: 1 }, "those sent again are left out");
        assert_eq!(log.unheard_since(), None);
    }

    #[test]
    fn a_repetition_that_arrived_does_not_tell_of_the_end() {
        let (mut log, _) = log(10);
        assert!(log.has_unknown_end());
        log.read(&feedback(0, 10, &[8]));
        assert_eq!((log.unheard_since(), log.has_unknown_end()), (None, true), "the tenth was sent again");
        log.read(&feedback(8, 1, &[]));
        assert!(!log.has_unknown_end());
    }

    #[test]
    fn numbers_wrap_and_the_oldest_are_forgotten() {
        let (mut log, _) = log(70_000);
        assert!(log.read(&feedback(40_000, 10, &[])).is_empty());
        let arrivals = log.read(&feedback(65_530, 10, &[]));
        let numbers: Vec<u64> = arrivals.iter().map(|arrival| arrival.number).collect();
        assert_eq!(numbers, (65_530..65_540).collect::<Vec<_>>());
        assert!(log.read(&feedback(70_000, 5, &[])).is_empty(), "not sent yet");
        assert!(log.has_heard());
    }

    #[test]
    fn the_clock_of_the_receiver_wraps() {
        let (mut log, _) = log(20);
        let mut late = feedback(0, 1, &[]);
        late.reference_time = 0xff_ffff;
        let mut later = feedback(1, 1, &[]);
        later.reference_time = 1;
        let (late, later) = (log.read(&late)[0], log.read(&later)[0]);
        assert_eq!(later.arrived - late.arrived, 2 * REFERENCE_TICK);
    }

    #[test]
    fn feedback_that_contradicts_itself_does_no_harm() {
        let (mut log, _) = log(100);
        let mut short = feedback(10, 30, &[]);
        short.recv_deltas.truncate(5);
        assert_eq!(log.read(&short).len(), 5);
        let mut long = feedback(50, 7, &[]);
        long.packet_status_count = u16::MAX;
        assert_eq!(log.read(&long).len(), 7);
    }
}
