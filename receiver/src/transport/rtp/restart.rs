//! Tells a stream that began anew from stray packets (RFC 3550, appendix A.1).
//!
//! A sender that starts again picks a random sequence number and timestamp. One packet far from the
//! others proves nothing; the stream moves only when a second one follows directly.

use cv_core::whip::Mode;

use super::Packet;

/// How far ahead a live stream may jump; a longer gap is not worth repairing.
const LIVE_AHEAD: i16 = 1024;
/// How far behind a live packet may be without being taken for a new stream.
const LIVE_BEHIND: i16 = -3000;
/// How far every-frame streams may jump: further than any sender's window of unanswered pictures.
const EVERY_FRAME: i16 = 8192;
/// Ten seconds of RTP time: no late packet is older, while a random timestamp is further away in all but 1 of 2000 cases.
const FAR_IN_TIME: i32 = 900_000;

/// Judges packets by their distance from the newest one.
#[derive(Debug)]
pub(super) struct Restart {
    mode: Mode,
    candidate: Option<Packet>,
}

/// Where a packet belongs.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Into the stream as it runs.
    Belongs(Packet),
    /// Far off; it is held until the next one says whether the stream has moved.
    Strange,
    /// The stream begins anew with these two.
    Restarted(Packet, Packet),
}

impl Restart {
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode, candidate: None }
    }

    /// Judges a packet `step` sequence numbers after the newest one and `ticks` of RTP time later.
    pub(super) fn judge(&mut self, packet: Packet, step: i16, ticks: i32) -> Verdict {
        if !self.is_strange(step, ticks.unsigned_abs() > FAR_IN_TIME.unsigned_abs()) {
            self.candidate = None;
            return Verdict::Belongs(packet);
        }
        match self.candidate.take() {
            Some(first) if first.sequence.wrapping_add(1) == packet.sequence => Verdict::Restarted(first, packet),
            _ => {
                self.candidate = Some(packet);
                Verdict::Strange
            }
        }
    }

    fn is_strange(&self, step: i16, far_in_time: bool) -> bool {
        match self.mode {
            Mode::Live => !(LIVE_BEHIND..=LIVE_AHEAD).contains(&step) || (step < 0 && far_in_time),
            Mode::EveryFrame => !(-EVERY_FRAME..=EVERY_FRAME).contains(&step) && far_in_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;

    /// The names of the verdicts on packets given as (sequence number, step, ticks).
    fn verdicts(mode: Mode, packets: &[(u16, i16, i32)]) -> Vec<&'static str> {
        let mut restart = Restart::new(mode);
        let arrived = Instant::now();
        let mut judge = |&(sequence, step, ticks): &(u16, i16, i32)| {
            let payload = Bytes::new();
            let packet = Packet { sequence, timestamp: 0, marker: false, payload, arrived, abs_capture_time: None };
            match restart.judge(packet, step, ticks) {
                Verdict::Belongs(_) => "belongs",
                Verdict::Strange => "strange",
                Verdict::Restarted(..) => "restarted",
            }
        };
        packets.iter().map(&mut judge).collect()
    }

    #[test]
    fn live_follows_a_stream_that_began_anew_just_behind() {
        let packets = [(1, -500, i32::MIN), (2, -499, i32::MIN)];
        assert_eq!(verdicts(Mode::Live, &packets), ["strange", "restarted"]);
        assert_eq!(verdicts(Mode::EveryFrame, &packets), ["belongs", "belongs"]);
    }

    #[test]
    fn late_packets_in_a_row_are_no_restart() {
        for mode in Mode::ALL {
            assert_eq!(verdicts(mode, &[(1, -2000, -800_000), (2, -1999, -800_000)]), ["belongs", "belongs"]);
        }
    }

    #[test]
    fn only_neighbours_prove_a_restart() {
        for mode in Mode::ALL {
            let far = |sequence| (sequence, 9000, i32::MAX);
            assert_eq!(verdicts(mode, &[far(65_535), far(0)]), ["strange", "restarted"]);
            assert_eq!(
                verdicts(mode, &[far(1), far(3), far(3), far(4)]),
                ["strange", "strange", "strange", "restarted"]
            );
            assert_eq!(verdicts(mode, &[far(1), (9, 1, 0), far(2)]), ["strange", "belongs", "strange"]);
        }
    }

    #[test]
    fn a_gap_not_worth_repairing_is_a_restart_in_live_mode_alone() {
        let packets = [(1, 1025, 90_000), (2, 1026, 90_000)];
        assert_eq!(verdicts(Mode::Live, &packets), ["strange", "restarted"]);
        assert_eq!(verdicts(Mode::EveryFrame, &packets), ["belongs", "belongs"]);
    }
}
