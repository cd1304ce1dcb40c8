//! Sizes and rectangles of pictures, and the one crop rule of the product.

use std::{fmt, str::FromStr};

/// The largest width or height that any part of the product accepts, in pixels.
///
/// H.264 level 6.2 ends at 16 384; no camera and no analyzer here is served by more, and a
/// header that claims more is an attack on memory.
pub const MAX_SIDE: u32 = 16_384;

/// Largest number of pixels in one picture: 8192 x 4320 (8K).
pub const MAX_PIXELS: u64 = 8192 * 4320;

/// Width and height of a picture in pixels, both at least 1 and within [`MAX_SIDE`] and [`MAX_PIXELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    width: u32,
    height: u32,
}

/// A size that no picture can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Zero, or beyond the limits.
    #[error("a picture of {width}x{height} pixels is outside 1x1 to 8192x4320 (16384 a side)")]
    OutOfRange {
        /// Claimed width.
        width: u64,
        /// Claimed height.
        height: u64,
    },
    /// Text that is not `WIDTHxHEIGHT`.
    #[error("'{0}' is not a size: write WIDTHxHEIGHT, for example 640x360")]
    Syntax(String),
}

impl Size {
    /// A checked size.
    pub fn new(width: u32, height: u32) -> Result<Self, SizeError> {
        let fits = |side: u32| (1..=MAX_SIDE).contains(&side);
        if fits(width) && fits(height) && u64::from(width) * u64::from(height) <= MAX_PIXELS {
            Ok(Self { width, height })
        } else {
            Err(SizeError::OutOfRange { width: width.into(), height: height.into() })
        }
    }

    /// Pixels in a row.
    pub fn width(self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(self) -> u32 {
        self.height
    }

    /// Pixels in all.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Size of a 4:2:0 chroma plane of this picture: half, rounded up.
    pub fn chroma(self) -> Self {
        Self { width: self.width.div_ceil(2), height: self.height.div_ceil(2) }
    }

    /// Both sides rounded down to even, or `None` where nothing is left.
    pub fn even(self) -> Option<Self> {
        Self::new(self.width & !1, self.height & !1).ok()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || SizeError::Syntax(text.to_owned());
        let (width, height) = text.split_once(['x', 'X']).ok_or_else(syntax)?;
        let side = |digits: &str| digits.parse::<u32>().ok();
        Self::new(side(width).ok_or_else(syntax)?, side(height).ok_or_else(syntax)?)
    }
}

/// A rectangle inside a picture, in luma pixels. `x` and `y` are even so that a 4:2:0 view of it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// Columns left of it, even.
    pub x: u32,
    /// Rows above it, even.
    pub y: u32,
    /// Its size.
    pub size: Size,
}

impl Rect {
    /// The centred rectangle that keeps `share` (0 < share <= 1) of `whole`'s width and height.
    ///
    /// Both sides are rounded down to even, as 4:2:0 coding needs; the offsets are halves of
    /// what is left, rounded down to even. `None` where fewer than 2x2 pixels would remain.
    pub fn centred(whole: Size, share: f64) -> Option<Self> {
        // 0.7 has no exact binary form: 10 x 0.7 must still give 7.
        let keep = |side: u32| (f64::from(side) * share + 1e-6).floor() as u32;
        let size = Size::new(keep(whole.width).min(whole.width), keep(whole.height).min(whole.height)).ok()?.even()?;
        let offset = |outer: u32, inner: u32| ((outer - inner) / 2) & !1;
        Some(Self { x: offset(whole.width, size.width), y: offset(whole.height, size.height), size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn crop(width: u32, height: u32) -> (u32, u32, u32, u32) {
        let rect = Rect::centred(Size::new(width, height).unwrap(), 0.7).unwrap();
        (rect.x, rect.y, rect.size.width, rect.size.height)
    }

    #[test]
    fn seventy_percent_of_hd_is_896x504() {
        assert_eq!(crop(1280, 720), (192, 108, 896, 504));
        assert_eq!(crop(10, 10), (2, 2, 6, 6));
    }

    #[test]
    fn odd_sizes_round_down_to_even() {
        assert_eq!(crop(319, 181), (48, 26, 222, 126));
        assert_eq!(crop(322, 182), (48, 28, 224, 126));
    }

    #[test]
    fn a_picture_too_small_to_crop_has_no_centre() {
        assert_eq!(Rect::centred(Size::new(2, 2).unwrap(), 0.7), None);
        assert!(Rect::centred(Size::new(3, 3).unwrap(), 0.7).is_some());
    }

    #[test]
    fn sizes_are_read_from_text() {
        assert_eq!("640x360".parse(), Size::new(640, 360));
        assert!("640".parse::<Size>().is_err());
        assert!("0x4".parse::<Size>().is_err());
        assert!("100000x100000".parse::<Size>().is_err());
    }

    proptest! {
        #[test]
        fn a_crop_lies_inside_its_picture(width in 1u32..5000, height in 1u32..5000, share in 0.01f64..=1.0) {
            let whole = Size::new(width, height).unwrap();
            if let Some(rect) = Rect::centred(whole, share) {
                prop_assert!(rect.x % 2 == 0 && rect.y % 2 == 0);
                prop_assert!(rect.size.width % 2 == 0 && rect.size.height % 2 == 0);
                prop_assert!(rect.x + rect.size.width <= width && rect.y + rect.size.height <= height);
            }
        }
    }
}
