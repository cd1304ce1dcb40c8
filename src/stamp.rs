//! The stamp that travels with every picture inside the H.264 stream.
//!
//! It is a user-data-unregistered SEI message (H.264, D.1.7) with a UUID of our own, so it
//! survives re-packetising, relays and recording, and any other decoder skips it. Payload,
//! big-endian, behind the UUID:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | frame number |
//! | 8 | presentation time in ticks, signed |
//! | 4 + 4 | time base, numerator and denominator |
//! | 8 | capture, microseconds since 1970 by the sender's clock, signed |
//! | 4 | microseconds from capture to the encoder's start |
//! | 4 | microseconds in the encoder |
//! | 4 | pictures that the sender itself left out just before this one |
//!
//! A longer payload of the same version is read up to what is known here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    annex_b::{self, nal_type},
    timestamp::{TimeBase, Timestamp},
};

/// Marks our SEI messages among those of others.
const UUID: [u8; 16] = *b"cv-frame-stamp\xc5\x01";
const VERSION: u8 = 1;
const PAYLOAD_LEN: usize = 16 + 1 + 8 + 8 + 4 + 4 + 8 + 4 + 4 + 4;
/// SEI payload type "user data unregistered".
const USER_DATA_UNREGISTERED: u8 = 5;

/// What identifies one picture, exactly as its sender knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The sender's number of the picture.
    pub frame: u64,
    /// Presentation time in the source.
    pub pts: Timestamp,
    /// When the picture was taken, by the sender's clock; whole microseconds.
    pub captured: SystemTime,
    /// From capture to the encoder's start; whole microseconds, at most 71 minutes.
    pub waited: Duration,
    /// Time in the encoder; likewise.
    pub encoding: Duration,
    /// Pictures with the numbers just below `frame` that the sender left out on purpose.
    pub skipped: u32,
}

impl Stamp {
    /// Appends the stamp as an SEI NAL unit behind a start code.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut sei = Vec::with_capacity(PAYLOAD_LEN + 4);
        sei.extend([nal_type::SEI, USER_DATA_UNREGISTERED, PAYLOAD_LEN as u8]);
        sei.extend(UUID);
        sei.push(VERSION);
        sei.extend(self.frame.to_be_bytes());
        sei.extend(self.pts.ticks.to_be_bytes());
        sei.extend(self.pts.base.num().to_be_bytes());
        sei.extend(self.pts.base.den().to_be_bytes());
        sei.extend(unix_micros(self.captured).to_be_bytes());
        sei.extend(saturated_micros(self.waited).to_be_bytes());
        sei.extend(saturated_micros(self.encoding).to_be_bytes());
        sei.extend(self.skipped.to_be_bytes());
        sei.push(0x80);
        out.extend(annex_b::START_CODE);
        annex_b::escape(&sei, out);
    }

    /// The stamp in a NAL unit (without start code), if it is an SEI that holds one.
    pub fn read(nal: &[u8]) -> Option<Self> {
        if annex_b::nal_type(nal) != nal_type::SEI {
            return None;
        }
        // One SEI NAL unit may hold several messages; ours is small, so a bounded copy is enough.
        let sei: Vec<u8> = annex_b::unescape(&nal[1..]).take(4096).collect();
        messages(&sei)
            .find_map(|(kind, payload)| (kind == u32::from(USER_DATA_UNREGISTERED)).then(|| parse(payload)).flatten())
    }

    /// The stamp of an access unit in Annex B form.
    pub fn find(access_unit: &[u8]) -> Option<Self> {
        annex_b::nals(access_unit).find_map(Self::read)
    }
}

/// SEI messages as (payload type, payload), up to the first one that does not fit (H.264, 7.3.2.3.1).
fn messages(mut sei: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let kind = varying_length(&mut sei)?;
        let size = varying_length(&mut sei)? as usize;
        let payload = sei.get(..size)?;
        sei = &sei[size..];
        Some((kind, payload))
    })
}

/// A number coded as a run of 0xFF bytes and a last byte.
fn varying_length(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value = value.checked_add(byte.into())?;
        if byte != 0xff {
            return Some(value);
        }
    }
}

fn parse(payload: &[u8]) -> Option<Stamp> {
    let mut rest = payload.strip_prefix(&UUID)?.strip_prefix(&[VERSION])?;
    let frame = u64::from_be_bytes(take(&mut rest)?);
    let ticks = i64::from_be_bytes(take(&mut rest)?);
    let num = u32::from_be_bytes(take(&mut rest)?);
    let den = u32::from_be_bytes(take(&mut rest)?);
    let captured = i64::from_be_bytes(take(&mut rest)?);
    let waited = u32::from_be_bytes(take(&mut rest)?);
    let encoding = u32::from_be_bytes(take(&mut rest)?);
    let skipped = u32::from_be_bytes(take(&mut rest)?);
    Some(Stamp {
        frame,
        pts: Timestamp::new(ticks, TimeBase::new(num, den)?),
        captured: from_unix_micros(captured)?,
        waited: Duration::from_micros(waited.into()),
        encoding: Duration::from_micros(encoding.into()),
        skipped,
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

/// Microseconds since 1970, negative before; saturates.
pub fn unix_micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    }
}

fn from_unix_micros(micros: i64) -> Option<SystemTime> {
    let distance = Duration::from_micros(micros.unsigned_abs());
    if micros < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}

fn saturated_micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_stamp() -> impl Strategy<Value = Stamp> {
        (any::<(u64, i64, i64, u32, u32, u32)>(), 1u32.., 1u32..).prop_filter_map(
            "beyond the clock",
            |((frame, ticks, captured, waited, encoding, skipped), num, den)| {
                Some(Stamp {
                    frame,
                    pts: Timestamp::new(ticks, TimeBase::new(num, den)?),
                    captured: from_unix_micros(captured / 1000)?,
                    waited: Duration::from_micros(waited.into()),
                    encoding: Duration::from_micros(encoding.into()),
                    skipped,
                })
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_found_among_other_units(stamp in any_stamp()) {
            let mut stream = vec![0, 0, 0, 1, 0x67, 0x42, 0, 0, 0, 1];
            stream.truncate(6);
            stamp.write(&mut stream);
            stream.extend([0, 0, 1, 0x65, 0x88, 0x84]);
            prop_assert_eq!(Stamp::find(&stream), Some(stamp));
            prop_assert_eq!(annex_b::nals(&stream).count(), 3);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Stamp::find(&bytes);
            Stamp::read(&bytes);
            let mut sei = vec![nal_type::SEI];
            sei.extend(&bytes);
            Stamp::read(&sei);
        }
    }

    #[test]
    fn the_first_microsecond_of_the_range_survives() {
        assert_eq!(from_unix_micros(i64::MIN).map(unix_micros), Some(i64::MIN));
        assert_eq!(from_unix_micros(i64::MAX).map(unix_micros), Some(i64::MAX));
    }

    #[test]
    fn user_data_of_others_is_skipped() {
        let mut stream = Vec::new();
        stream.extend([0, 0, 0, 1, 6, 5, 17]);
        stream.extend([9; 17]);
        stream.push(0x80);
        assert_eq!(Stamp::find(&stream), None);
    }
}
