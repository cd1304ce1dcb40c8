//! Colours as video carries them: BT.601, limited range.

/// A colour as 8-bit Y, U and V.
pub(super) type Colour = [u8; 3];

/// Y = 16.
pub(super) const BLACK: Colour = [16, 128, 128];
/// Y = 235.
pub(super) const WHITE: Colour = [235, 128, 128];

/// Unrounded Y, U and V of red, green and blue in 0 to 255 (ITU-R BT.601-7, section 2.5.1 and 2.5.3).
pub(super) fn yuv([r, g, b]: [f64; 3]) -> [f64; 3] {
    let y = 0.299 * r + 0.587 * g + 0.114 * b;
    [16.0 + y * 219.0 / 255.0, 128.0 + (b - y) / 1.772 * 224.0 / 255.0, 128.0 + (r - y) / 1.402 * 224.0 / 255.0]
}

/// The colour nearest to red, green and blue in 0 to 255.
pub(super) fn rgb(r: u8, g: u8, b: u8) -> Colour {
    yuv([r, g, b].map(f64::from)).map(|sample| sample.round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primaries_have_the_standard_values() {
        assert_eq!(rgb(0, 0, 0), BLACK);
        assert_eq!(rgb(255, 255, 255), WHITE);
        assert_eq!(rgb(255, 0, 0), [81, 90, 240]);
        assert_eq!(rgb(0, 255, 0), [145, 54, 34]);
        assert_eq!(rgb(0, 0, 255), [41, 240, 110]);
    }
}
