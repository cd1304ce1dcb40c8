//! A picture's number painted into it for machines to read.
//!
//! 48 black or white cells in three rows: 32 bits of the number and 16 check bits, highest bit
//! first. It lies inside the centred 70 % of the picture and is coarse enough for H.264 at a low
//! rate, so that a test can prove which picture came through sender, network and decoder.

use cv_core::{geometry::Size, picture::Picture};

use super::{canvas::Canvas, colour::BLACK, colour::WHITE};

const COLUMNS: u32 = 16;
const ROWS: u32 = 3;
const CHECK_BITS: u32 = 16;
/// Largest and smallest side of a cell in pixels: a macroblock is plenty, a transform block the least that survives coding.
const CELL: std::ops::RangeInclusive<u32> = 4..=16;
/// Luma closer to the middle between black and white than this says nothing.
const DOUBT: u32 = 30;

/// Where the code lies in a picture of one size.
#[derive(Clone, Copy, Debug)]
struct Layout {
    left: u32,
    top: u32,
    cell: u32,
}

impl Layout {
    /// `None` where the picture is too small: below 160 columns or 88 rows.
    fn of(full: Size) -> Option<Self> {
        let (width, height) = (full.width(), full.height());
        let cell = ((width / 40).min(height / 22) & !1).min(*CELL.end());
        let (left, top) = (((width - COLUMNS * cell) / 2) & !1, (u64::from(height) * 62 / 100) as u32 & !1);
        CELL.contains(&cell).then_some(Self { left, top, cell })
    }

    /// Top left corners of the cells, with the bit that each carries.
    fn cells(self) -> impl Iterator<Item = (u32, u32, u32)> {
        let bits = COLUMNS * ROWS;
        (0..bits).map(move |index| {
            let (column, row) = (index % COLUMNS, index / COLUMNS);
            (self.left + column * self.cell, self.top + row * self.cell, bits - 1 - index)
        })
    }
}

/// Paints the lower 32 bits of `number`, where a picture of size `full` has room for it.
pub(super) fn paint(canvas: &mut Canvas<'_>, full: Size, number: u64) {
    let Some(layout) = Layout::of(full) else { return };
    let [left, top, cell] = [layout.left, layout.top, layout.cell].map(f64::from);
    let (right, bottom) = (left + cell * f64::from(COLUMNS), top + cell * f64::from(ROWS));
    canvas.rect((left - cell, top - cell), (right + cell, bottom + cell), BLACK);
    let word = encode(number as u32);
    for (x, y, _) in layout.cells().filter(|(_, _, bit)| word >> bit & 1 == 1) {
        let (x, y) = (f64::from(x), f64::from(y));
        canvas.rect((x, y), (x + cell, y + cell), WHITE);
    }
}

/// The number (its lower 32 bits) painted into a picture of the pattern `bars`, or `None` where none can be read without doubt.
///
/// `full` is the size that the pattern was opened with; `picture` is all of it or a centred part
/// of it as [`Rect::centred`](cv_core::geometry::Rect::centred) cuts it, of a share of 0.6 or more.
/// Pictures below 160x88 carry no number.
pub fn read_number(picture: &Picture, full: Size) -> Option<u64> {
    let layout = Layout::of(full)?;
    let cut = |outer: u32, inner: u32| Some((outer.checked_sub(inner)? / 2) & !1);
    let left = cut(full.width(), picture.size().width())?;
    let top = cut(full.height(), picture.size().height())?;
    let mut word = 0;
    for (x, y, bit) in layout.cells() {
        let luma = cell_luma(picture, x.checked_sub(left)?, y.checked_sub(top)?, layout.cell)?;
        let middle = u32::from(BLACK[0]).midpoint(WHITE[0].into());
        if luma.abs_diff(middle) < DOUBT {
            return None;
        }
        word |= u64::from(luma > middle) << bit;
    }
    decode(word).map(u64::from)
}

/// Mean luma of a cell's inner half, which its neighbours' coding errors do not reach.
fn cell_luma(picture: &Picture, left: u32, top: u32, cell: u32) -> Option<u32> {
    let plane = picture.plane(0);
    let (from, side) = (cell / 4, cell / 2);
    let (left, top, side) = ((left + from) as usize, (top + from) as usize, side as usize);
    if left + side > plane.width || top + side > plane.height {
        return None;
    }
    let samples = (top..top + side).flat_map(|y| &plane.row(y)[left..left + side]);
    Some(samples.map(|&sample| u32::from(sample)).sum::<u32>() / (side * side) as u32)
}

fn encode(number: u32) -> u64 {
    u64::from(number) << CHECK_BITS | u64::from(checksum(number))
}

fn decode(word: u64) -> Option<u32> {
    let number = (word >> CHECK_BITS) as u32;
    (encode(number) == word).then_some(number)
}

/// CRC-16 with the polynomial 0x1021 and all ones at the start (ITU-T V.41), so that all black is no valid code.
fn checksum(number: u32) -> u16 {
    number.to_be_bytes().into_iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc >> 15 == 1 { crc << 1 ^ 0x1021 } else { crc << 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::canvas;
    use cv_core::{geometry::Rect, picture::Pool};
    use proptest::prelude::*;

    fn painted(full: Size, number: u64) -> Picture {
        canvas::picture(&Pool::default(), full, |canvas| {
            canvas.clear([180, 90, 200]);
            paint(canvas, full, number);
        })
    }

    #[test]
    fn plain_pictures_carry_no_number() {
        let full = Size::new(320, 180).unwrap();
        for luma in [0, 16, 126, 235, 255] {
            let plain = canvas::picture(&Pool::default(), full, |canvas| canvas.clear([luma, 128, 128]));
            assert_eq!(read_number(&plain, full), None, "luma {luma}");
        }
    }

    #[test]
    fn small_pictures_do_without() {
        for (width, height) in [(1, 1), (159, 88), (160, 87), (16_384, 20)] {
            let full = Size::new(width, height).unwrap();
            assert_eq!(read_number(&painted(full, 5), full), None);
        }
        let smallest = Size::new(160, 88).unwrap();
        assert_eq!(read_number(&painted(smallest, 5), smallest), Some(5));
    }

    #[test]
    fn one_wrong_cell_is_noticed() {
        let word = encode(123_456);
        assert!((0..COLUMNS * ROWS).all(|bit| decode(word ^ 1 << bit).is_none()));
    }

    proptest! {
        #[test]
        fn any_number_is_read_from_the_whole_and_from_the_centre(
            number: u32, width in 160u32..700, height in 88u32..500, share in 0.6f64..=1.0
        ) {
            let full = Size::new(width, height).unwrap();
            let picture = painted(full, number.into());
            prop_assert_eq!(read_number(&picture, full), Some(number.into()));
            let part = picture.crop(Rect::centred(full, share).unwrap());
            prop_assert_eq!(read_number(&part, full), Some(number.into()));
        }

        #[test]
        fn a_picture_of_another_size_never_panics(
            width in 1u32..400, height in 1u32..400, other_width in 1u32..400, other_height in 1u32..400
        ) {
            let full = Size::new(width, height).unwrap();
            let other = Size::new(other_width, other_height).unwrap();
            read_number(&painted(other, 9), full);
        }
    }
}
