//! Sequence parameter sets (H.264, section 7.3.2.1.1): just enough to know whether the built-in
//! decoder can do the stream, how large its pictures are and what its samples mean.

use cv_core::{annex_b, geometry::Size};

/// What a sequence parameter set says of its pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`: 66 Baseline, 77 Main, 100 High, and so on.
    pub profile: u8,
    /// `level_idc`, ten times the level: 40 is level 4, 52 is level 5.2.
    pub level: u8,
    /// `chroma_format_idc`: 1 is 4:2:0.
    pub chroma: u32,
    /// Bits in a sample, the larger of luma and chroma.
    pub depth: u32,
    /// Whether every picture is a whole frame.
    pub progressive: bool,
    /// Size after cropping.
    pub size: Size,
    /// Whether samples span 0 to 255, where the stream says so.
    pub full_range: Option<bool>,
}

impl Sps {
    /// Reads a NAL unit of type 7, without its start code; `None` where it is cut off or makes no sense.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let bytes: Vec<u8> = annex_b::unescape(nal.get(1..)?).collect();
        let mut bits = Bits { bytes: &bytes, at: 0 };
        let profile = bits.take(8)? as u8;
        bits.take(8)?;
        let level = bits.take(8)? as u8;
        bits.ue()?;
        let (chroma, depth) = if HIGH_PROFILES.contains(&profile) { high(&mut bits)? } else { (1, 8) };
        bits.ue()?;
        order_count(&mut bits)?;
        bits.ue()?;
        bits.take(1)?;
        let (width, height) = (bits.ue()?.checked_add(1)?, bits.ue()?.checked_add(1)?);
        let progressive = bits.flag()?;
        if !progressive {
            bits.take(1)?;
        }
        bits.take(1)?;
        let fields = if progressive { 1 } else { 2 };
        let size = cropped(&mut bits, [width.checked_mul(16)?, height.checked_mul(16 * fields)?], [chroma, fields])?;
        let full_range = full_range(&mut bits);
        Some(Self { profile, level, chroma, depth, progressive, size, full_range })
    }

    /// Why the built-in decoder cannot do such a stream, or `None` where it can.
    pub fn obstacle(&self) -> Option<&'static str> {
        match self {
            Self { depth: 9.., .. } => Some("its samples have more than 8 bits"),
            Self { chroma: 0 | 2.., .. } => Some("its pictures are not 4:2:0"),
            Self { progressive: false, .. } => Some("its pictures are interlaced"),
            Self { level: 53.., .. } => Some("its level is above 5.2"),
            Self { profile: 66 | 77 | 100, .. } => None,
            _ => Some("its profile is not Baseline, Main or High"),
        }
    }
}

/// Profiles whose parameter sets describe chroma and depth (H.264, section 7.3.2.1.1).
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Chroma format and bit depth; reads past the scaling lists.
fn high(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    let chroma = bits.ue()?;
    if chroma == 3 {
        bits.take(1)?;
    }
    let depth = bits.ue()?.max(bits.ue()?).checked_add(8)?;
    bits.take(1)?;
    if bits.flag()? {
        for list in 0..if chroma == 3 { 12 } else { 8 } {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some((chroma, depth))
}

/// H.264, section 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8i64, 8i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + i64::from(bits.se()?)).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

/// Reads past what says how pictures are numbered in output order.
fn order_count(bits: &mut Bits<'_>) -> Option<()> {
    match bits.ue()? {
        0 => bits.ue().map(drop),
        1 => {
            bits.take(1)?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue()?.min(255) {
                bits.se()?;
            }
            Some(())
        }
        _ => Some(()),
    }
}

/// Size without what the cropping rectangle takes away (H.264, equations 7-19 to 7-22).
fn cropped(bits: &mut Bits<'_>, [width, height]: [u32; 2], [chroma, fields]: [u32; 2]) -> Option<Size> {
    let (unit_x, unit_y) = (if matches!(chroma, 1 | 2) { 2 } else { 1 }, if chroma == 1 { 2 } else { 1 } * fields);
    let [mut x, mut y] = [0u32; 2];
    if bits.flag()? {
        x = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_x)?;
        y = bits.ue()?.checked_add(bits.ue()?)?.checked_mul(unit_y)?;
    }
    Size::new(width.checked_sub(x)?, height.checked_sub(y)?).ok()
}

/// The range flag of the usability information (H.264, section E.1.1).
fn full_range(bits: &mut Bits<'_>) -> Option<bool> {
    const EXTENDED_ASPECT: u32 = 255;
    if !bits.flag()? {
        return None;
    }
    if bits.flag()? && bits.take(8)? == EXTENDED_ASPECT {
        bits.take(32)?;
    }
    if bits.flag()? {
        bits.take(1)?;
    }
    if !bits.flag()? {
        return None;
    }
    bits.take(3)?;
    bits.flag()
}

/// Bits from the most significant on.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// The next `count` bits, at most 32.
    fn take(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value: u32, _| {
            let byte = self.bytes.get(self.at / 8)?;
            let bit = byte >> (7 - self.at % 8) & 1;
            self.at += 1;
            Some(value << 1 | u32::from(bit))
        })
    }

    fn flag(&mut self) -> Option<bool> {
        self.take(1).map(|bit| bit == 1)
    }

    /// An unsigned Exp-Golomb code (H.264, section 9.1) below 2^31.
    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
        }
        (zeros < 31).then_some(())?;
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }

    /// A signed Exp-Golomb code.
    fn se(&mut self) -> Option<i32> {
        let code = self.ue()?;
        let half = code.div_ceil(2) as i32;
        Some(if code % 2 == 1 { half } else { -half })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A parameter set of x264 for 4096x4096 pixels, which takes level 6.
    const LARGE: &[u8] = &[
        0x67, 0x64, 0x00, 0x3c, 0xac, 0xd9, 0x40, 0x10, 0x00, 0x08, 0x06, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04,
        0x00, 0x00, 0x03, 0x00, 0x28, 0x3c, 0x20, 0x10, 0x65, 0x80,
    ];
    use proptest::prelude::*;

    #[test]
    fn exp_golomb_codes_are_those_of_the_standard() {
        let mut bits = Bits { bytes: &[0b1010_0110, 0b0100_0010, 0b1000_0000], at: 0 };
        assert_eq!([bits.ue(), bits.ue(), bits.ue(), bits.ue(), bits.ue()], [0, 1, 2, 3, 4].map(Some));
        let mut bits = Bits { bytes: &[0b0100_1100, 0b1000_0101, 0], at: 0 };
        assert_eq!([bits.se(), bits.se(), bits.se(), bits.se()], [1, -1, 2, -2].map(Some));
    }

    #[test]
    fn pictures_beyond_level_5_2_are_not_for_the_built_in_decoder() {
        let large = Sps::parse(LARGE).unwrap();
        assert_eq!((large.level, large.size), (60, Size::new(4096, 4096).unwrap()));
        assert_eq!(large.obstacle(), Some("its level is above 5.2"));
        assert_eq!(Sps { level: 52, ..large }.obstacle(), None);
    }

    #[test]
    fn a_cut_off_set_is_none() {
        assert_eq!(Sps::parse(&[]), None);
        assert_eq!(Sps::parse(&[0x67, 0x42]), None);
        assert_eq!(Sps::parse(&[0x67, 0x42, 0xc0, 0x1e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200), profile in prop::sample::select(&HIGH_PROFILES[..])) {
            let mut nal = vec![0x67, profile];
            nal.extend(noise);
            Sps::parse(&nal);
        }
    }
}
