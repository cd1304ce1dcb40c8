//! When which packet arrived, told to the sender (transport-wide congestion control,
//! draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! Not the library's: that one wakes up ten times a second as long as a connection lasts. This one
//! tells when a picture is complete, and needs a timer only for what the end of a picture left over.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rtc::rtcp::transport_feedbacks::transport_layer_cc::{
    PacketStatusChunk, RecvDelta, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc, SymbolTypeTcc,
    TransportLayerCc,
};

/// The header extension with a packet's number on its connection.
pub(super) const URI: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// Least time between two reports, and the longest that an arrival stays untold.
const INTERVAL: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_millis(50);
/// The first report comes after so many packets: it says whether the first picture must wait.
const FIRST: usize = 8;
/// Numbers in one report, and numbers behind the newest that may still arrive.
const REPORT: u64 = 512;
const WINDOW: usize = 2048;
/// A status vector of two bits each holds this many.
const SYMBOLS: usize = 7;
/// Microseconds of the ticks of reference time and of deltas.
const REFERENCE_TICK: i64 = 64_000;
const TICK: i64 = 250;

/// Arrivals of one connection.
#[derive(Debug)]
pub(super) struct Arrivals {
    epoch: Instant,
    /// Microseconds of arrival from `base` on.
    window: VecDeque<Option<i64>>,
    base: u64,
    /// The first number that no report has covered.
    next: u64,
    /// The lowest number that arrived and was not told.
    untold: Option<u64>,
    untold_since: Option<Instant>,
    untold_count: usize,
    reported: Option<Instant>,
    reports: u8,
}

impl Arrivals {
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            window: VecDeque::new(),
            base: 0,
            next: 0,
            untold: None,
            untold_since: None,
            untold_count: 0,
            reported: None,
            reports: 0,
        }
    }

    /// A packet with these low bits of its number arrived.
    pub(super) fn note(&mut self, low: u16, now: Instant) {
        if self.window.is_empty() {
            // Numbers begin high enough that one before the first is no special case.
            self.base = (1 << 32) + u64::from(low);
            self.next = self.base;
        }
        let end = self.base + self.window.len() as u64;
        let number = end.saturating_add_signed(i64::from(low.wrapping_sub(end as u16) as i16));
        if number >= end + WINDOW as u64 {
            // The sender counts from elsewhere now; what lies between was never sent.
            self.window.clear();
            (self.base, self.next, self.untold) = (number, number, None);
        }
        let Some(index) = number.checked_sub(self.base).map(|index| index as usize) else { return };
        if index >= self.window.len() {
            self.window.resize(index + 1, None);
        }
        let place = &mut self.window[index];
        if place.is_none() {
            *place = Some(now.saturating_duration_since(self.epoch).as_micros() as i64);
            self.untold = Some(self.untold.map_or(number, |lowest| lowest.min(number)));
            self.untold_since.get_or_insert(now);
            self.untold_count += 1;
        }
        while self.window.len() > WINDOW {
            self.window.pop_front();
            self.base += 1;
        }
    }

    /// When [`Self::report`] has something if nothing arrives.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        Some(self.untold_since? + LIMIT)
    }

    /// What is to be told now; `complete` if a picture just came to its end.
    pub(super) fn report(&mut self, now: Instant, complete: bool, media_ssrc: u32) -> Option<TransportLayerCc> {
        let rested = self.reported.is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL);
        let first = self.reported.is_none() && self.untold_count >= FIRST;
        let due = first || (complete && rested) || self.next_wakeup()? <= now;
        due.then(|| self.make_report(now, media_ssrc)).flatten()
    }

    fn make_report(&mut self, now: Instant, media_ssrc: u32) -> Option<TransportLayerCc> {
        // After a gap longer than a report what lies furthest back is left out: a report has to have an arrival.
        let untold = self.untold?;
        let from = untold.min(self.next).max(untold.saturating_sub(REPORT - 1)).max(self.base);
        let end = (self.base + self.window.len() as u64).min(from + REPORT);
        let statuses = self.window.range((from - self.base) as usize..(end - self.base) as usize);
        let first = statuses.clone().flatten().next().copied()?;
        let mut clock = first - first % REFERENCE_TICK;
        let reference_time = (clock / REFERENCE_TICK) as u32 & 0xff_ffff;
        let (mut symbols, mut recv_deltas) = (Vec::with_capacity((end - from) as usize), Vec::new());
        for arrived in statuses {
            let ticks = arrived.map(|arrived| (arrived - clock) / TICK);
            let symbol = match ticks {
                None => SymbolTypeTcc::PacketNotReceived,
                Some(0..=255) => SymbolTypeTcc::PacketReceivedSmallDelta,
                Some(-32_768..=32_767) => SymbolTypeTcc::PacketReceivedLargeDelta,
                // Too far apart for one report; the rest is in the next.
                Some(_) => break,
            };
            if let Some(ticks) = ticks {
                clock += ticks * TICK;
                recv_deltas.push(RecvDelta { type_tcc_packet: symbol, delta: ticks * TICK });
            }
            symbols.push(symbol);
        }
        self.told(now, from + symbols.len() as u64);
        self.reports = self.reports.wrapping_add(1);
        Some(TransportLayerCc {
            sender_ssrc: 0,
            media_ssrc,
            base_sequence_number: from as u16,
            packet_status_count: symbols.len() as u16,
            reference_time,
            fb_pkt_count: self.reports.wrapping_sub(1),
            packet_chunks: symbols.chunks(SYMBOLS).map(chunk).collect(),
            recv_deltas,
        })
    }

    /// All before `end` is told.
    fn told(&mut self, now: Instant, end: u64) {
        self.next = self.next.max(end);
        let rest = self.window.range((end - self.base) as usize..);
        self.untold_count = rest.clone().flatten().count();
        self.untold = rest.clone().position(Option::is_some).map(|index| end + index as u64);
        self.untold_since = self.untold.map(|_| now);
        self.reported = Some(now);
    }
}

fn chunk(symbols: &[SymbolTypeTcc]) -> PacketStatusChunk {
    let mut symbol_list = symbols.to_vec();
    symbol_list.resize(SYMBOLS, SymbolTypeTcc::PacketNotReceived);
    let (type_tcc, symbol_size) = (StatusChunkTypeTcc::StatusVectorChunk, SymbolSizeTypeTcc::TwoBit);
    PacketStatusChunk::StatusVectorChunk(StatusVectorChunk { type_tcc, symbol_size, symbol_list })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use rtc::shared::marshal::{Marshal, MarshalSize, Unmarshal};

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Numbers and times of arrival in milliseconds, as a sender reads them from the wire.
    fn read(report: &TransportLayerCc) -> Vec<(u16, Option<i64>)> {
        let mut wire = BytesMut::zeroed(report.marshal_size());
        report.marshal_to(&mut wire).unwrap();
        let report = TransportLayerCc::unmarshal(&mut wire.freeze()).unwrap();
        let mut clock = i64::from(report.reference_time) * REFERENCE_TICK;
        let mut deltas = report.recv_deltas.iter();
        let symbols = report.packet_chunks.iter().flat_map(|chunk| match chunk {
            PacketStatusChunk::StatusVectorChunk(vector) => vector.symbol_list.clone(),
            PacketStatusChunk::RunLengthChunk(_) => panic!(),
        });
        let read = symbols.take(report.packet_status_count.into()).enumerate().map(|(index, symbol)| {
            let arrived = (symbol != SymbolTypeTcc::PacketNotReceived).then(|| {
                clock += deltas.next().unwrap().delta;
                clock / 1000
            });
            (report.base_sequence_number.wrapping_add(index as u16), arrived)
        });
        read.collect()
    }

    #[test]
    fn what_arrived_and_what_is_missing_is_told_at_the_end_of_a_picture() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        for (number, at) in [(65_534, 1000), (65_535, 1001), (2, 1200)] {
            arrivals.note(number, start + ms(at));
        }
        let report = arrivals.report(start + ms(1200), true, 7).unwrap();
        let expected = [(65_534, Some(1000)), (65_535, Some(1001)), (0, None), (1, None), (2, Some(1200))];
        assert_eq!(read(&report), expected);
        assert_eq!(arrivals.report(start + ms(1300), true, 7), None, "nothing new");
        assert_eq!(arrivals.next_wakeup(), None);
    }

    #[test]
    fn a_packet_that_was_told_missing_is_told_when_it_comes() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        arrivals.note(10, start);
        arrivals.note(12, start);
        arrivals.report(start, true, 7).unwrap();
        arrivals.note(11, start + ms(30));
        let report = arrivals.report(start + ms(30), true, 7).unwrap();
        assert_eq!(read(&report), [(11, Some(30)), (12, Some(0))]);
    }

    #[test]
    fn what_no_picture_ended_is_told_after_a_while_and_the_first_packets_at_once() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        (0..7).for_each(|number| arrivals.note(number, start));
        assert_eq!(arrivals.report(start, false, 7), None);
        arrivals.note(7, start);
        assert_eq!(read(&arrivals.report(start, false, 7).unwrap()).len(), 8);
        arrivals.note(8, start + ms(1));
        assert_eq!(arrivals.report(start + ms(1), true, 7), None, "just told");
        let wakeup = arrivals.next_wakeup().unwrap();
        assert_eq!(wakeup, start + ms(51));
        assert_eq!(read(&arrivals.report(wakeup, false, 7).unwrap()), [(8, Some(1))]);
    }

    #[test]
    fn what_comes_after_a_gap_longer_than_a_report_is_told() {
        let start = Instant::now();
        for gap in [REPORT - 1, REPORT, REPORT + 1, WINDOW as u64 - 1] {
            let mut arrivals = Arrivals::new(start);
            arrivals.note(10, start);
            arrivals.report(start, true, 7).unwrap();
            let after = 10 + gap as u16;
            arrivals.note(after, start + ms(30));
            let told = read(&arrivals.report(start + ms(30), true, 7).unwrap());
            assert_eq!(told.last(), Some(&(after, Some(30))), "{gap}");
            assert_eq!(arrivals.next_wakeup(), None, "{gap}: it would wake for naught, for ever");
        }
    }

    #[test]
    fn any_numbers_are_taken_within_bounds() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        let mut number = 7u16;
        for step in 0..20_000u32 {
            number = number.wrapping_mul(31_421).wrapping_add(6927);
            let now = start + ms(u64::from(step) * 11);
            arrivals.note(number, now);
            assert!(arrivals.window.len() <= WINDOW);
            if let Some(report) = arrivals.report(now, step % 3 == 0, 7) {
                assert!(!read(&report).is_empty());
            }
            assert!(arrivals.next_wakeup().is_none_or(|wakeup| wakeup > now));
        }
    }
}
