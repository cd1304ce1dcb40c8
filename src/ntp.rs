//! Times as RTP and its companions write them: 32 bits of seconds since 1900, 32 of fraction (RFC 5905, 6).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// RTP header extension with the capture time of a picture as an NTP timestamp.
pub const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";

/// Seconds from NTP's zero, 1900, to UNIX's, 1970.
const TO_UNIX: u64 = 2_208_988_800;

/// `time` as an NTP timestamp; times before 1970 count as 1970.
pub fn from_time(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    (since.as_secs().wrapping_add(TO_UNIX) << 32) | fraction
}

/// The time of an NTP timestamp, to the microsecond; `None` before 1970.
pub fn to_time(ntp: u64) -> Option<SystemTime> {
    let seconds = (ntp >> 32).checked_sub(TO_UNIX)?;
    // Rounded, so that a time survives the way there and back.
    let micros = ((ntp & 0xffff_ffff) * 1_000_000 + (1 << 31)) >> 32;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds) + Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn half_a_second_is_half_of_the_fraction() {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        assert_eq!(from_time(time), (TO_UNIX + 1_700_000_000) << 32 | 0x8000_0000);
        assert_eq!(to_time(5), None);
    }

    proptest! {
        #[test]
        fn microseconds_survive_the_way_there_and_back(micros in 0u64..2_000_000_000_000_000) {
            let time = UNIX_EPOCH + Duration::from_micros(micros);
            prop_assert_eq!(to_time(from_time(time)), Some(time));
        }
    }
}
