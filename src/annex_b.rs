//! H.264 byte streams: NAL units behind start codes (H.264 Annex B).

/// NAL unit types that the product tells apart (H.264, table 7-1).
pub mod nal_type {
    /// Coded slice of a non-IDR picture.
    pub const SLICE: u8 = 1;
    /// Coded slice of an IDR picture: decoding can begin here.
    pub const IDR: u8 = 5;
    /// Supplemental enhancement information.
    pub const SEI: u8 = 6;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const AUD: u8 = 9;
}

/// The start code written in front of every NAL unit.
pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Type of a NAL unit without its start code; 0 (unspecified) for an empty one.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// The NAL units of a byte stream in order, without start codes and trailing zeros; empty ones are left out.
pub fn nals(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(stream);
    std::iter::from_fn(move || {
        loop {
            let from = rest?;
            let (nal, next) = match find_start_code(from) {
                Some(at) => (&from[..at], after_start_code(&from[at..])),
                None => (from, None),
            };
            rest = next;
            let end = nal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            if end > 0 {
                return Some(&nal[..end]);
            }
        }
    })
}

/// Position of the next `00 00 01`.
fn find_start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    // Looks at every third byte: one above 1 rules out three positions at once.
    while at + 2 < bytes.len() {
        match bytes[at + 2] {
            0 => at += 1,
            1 if bytes[at] == 0 && bytes[at + 1] == 0 => return Some(at),
            _ => at += 3,
        }
    }
    None
}

fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    find_start_code(bytes).map(|at| &bytes[at + 3..])
}

/// Appends `payload` with emulation prevention bytes, so that it holds no start code (H.264, 7.4.1).
pub fn escape(payload: &[u8], out: &mut Vec<u8>) {
    let mut zeros = 0;
    for &byte in payload {
        if zeros == 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        out.push(byte);
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
}

/// The bytes of a NAL unit with emulation prevention removed.
pub fn unescape(nal: &[u8]) -> impl Iterator<Item = u8> {
    let mut zeros = 0;
    nal.iter().copied().filter(move |&byte| {
        let prevention = zeros >= 2 && byte == 3;
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        !prevention
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_start_codes_separate_units() {
        let stream = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 9, 0, 0];
        let units: Vec<_> = nals(&stream).collect();
        assert_eq!(units, [&[0x67, 1, 2][..], &[0x68, 3], &[0x65, 9]]);
        assert_eq!(nals(&[1, 2, 3]).count(), 0);
        assert_eq!(nals(&[0, 0, 1]).count(), 0);
        assert_eq!(nals(&[]).count(), 0);
    }

    fn zero_heavy() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(3), any::<u8>()], 0..80)
    }

    proptest! {
        #[test]
        fn escaping_hides_every_start_code_and_reverses(payload in zero_heavy()) {
            let mut escaped = Vec::new();
            escape(&payload, &mut escaped);
            prop_assert_eq!(find_start_code(&escaped), None);
            prop_assert_eq!(unescape(&escaped).collect::<Vec<_>>(), payload);
        }

        #[test]
        fn joined_units_come_apart_again(units in prop::collection::vec(prop::collection::vec(4u8.., 1..20), 0..8)) {
            let stream: Vec<u8> = units.iter().flat_map(|unit| [&START_CODE[..], unit].concat()).collect();
            let found: Vec<Vec<u8>> = nals(&stream).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(found, units);
        }
    }
}
