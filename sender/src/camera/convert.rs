//! From a camera's buffer straight to I420: every encoding in one pass, never through RGB.
//!
//! Chroma of 4:2:2 is averaged over two rows, as 4:2:0 sits between them. Buffers may be longer
//! than the picture (drivers round up) and rows longer than their samples; a short buffer is no picture.

use cv_core::{
    geometry::Size,
    picture::{Picture, PictureBuf, Pool, Range},
};

use super::{format::Encoding, jpeg};

/// How the samples of an encoding lie in a buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    pub encoding: Encoding,
    pub size: Size,
    /// Bytes from one row to the next; a shorter value than a row takes means no padding.
    pub stride: usize,
    pub range: Range,
}

/// A buffer that holds no whole picture.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Damaged(pub(super) String);

/// Turns buffers of one layout into pictures.
pub(super) struct Converter {
    layout: Layout,
    pool: Pool,
    jpeg: jpeg::Decoder,
}

impl Converter {
    pub(super) fn new(layout: Layout) -> Self {
        Self { layout, pool: Pool::default(), jpeg: jpeg::Decoder::default() }
    }

    /// The picture in `data`.
    pub(super) fn picture(&mut self, data: &[u8]) -> Result<Picture, Damaged> {
        let Layout { encoding, size, range, .. } = self.layout;
        let fill = match encoding {
            Encoding::Mjpeg => return self.jpeg.decode(data, size, &self.pool),
            Encoding::Yuyv => yuyv,
            Encoding::Nv12 => nv12,
            Encoding::Gray => gray,
            Encoding::Rgb => rgb::<0, 2>,
            Encoding::Bgr => rgb::<2, 0>,
        };
        let (row, rows) = extent(encoding, size);
        let stride = self.layout.stride.max(row);
        let needed = stride * (rows - 1) + row;
        if data.len() < needed {
            return Err(Damaged(format!("{} bytes where {size} {encoding} takes {needed}", data.len())));
        }
        let mut picture = self.pool.picture(size, range);
        fill(Rows { data, stride, row }, &mut picture);
        Ok(picture.freeze())
    }
}

/// Bytes in a row and number of rows, over all planes.
fn extent(encoding: Encoding, size: Size) -> (usize, usize) {
    let (width, height) = (size.width() as usize, size.height() as usize);
    match encoding {
        Encoding::Yuyv => (width.div_ceil(2) * 4, height),
        Encoding::Nv12 => (width.next_multiple_of(2), height + height.div_ceil(2)),
        Encoding::Gray | Encoding::Mjpeg => (width, height),
        Encoding::Rgb | Encoding::Bgr => (width * 3, height),
    }
}

/// The rows of a buffer that is known to hold them.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [u8],
    stride: usize,
    row: usize,
}

impl<'a> Rows<'a> {
    fn row(&self, y: usize) -> &'a [u8] {
        &self.data[y * self.stride..][..self.row]
    }

    /// Rows `2y` and `2y + 1`; the last one twice where the height is odd.
    fn pair(&self, y: usize, height: usize) -> [&'a [u8]; 2] {
        [self.row(2 * y), self.row((2 * y + 1).min(height - 1))]
    }
}

/// The mean, halves up.
pub(super) fn mean(a: u8, b: u8) -> u8 {
    ((u16::from(a) + u16::from(b) + 1) >> 1) as u8
}

/// Bytes 0, 2, 4 ... Words and a mask become SIMD in every compiler, ten times as fast as picking bytes.
fn evens(from: &[u8], to: &mut [u8]) {
    for (to, two) in to.iter_mut().zip(from.as_chunks().0) {
        *to = u16::from_le_bytes(*two) as u8;
    }
}

/// Bytes 1, 3, 5 ...
fn odds(from: &[u8], to: &mut [u8]) {
    for (to, two) in to.iter_mut().zip(from.as_chunks().0) {
        *to = (u16::from_le_bytes(*two) >> 8) as u8;
    }
}

fn yuyv(rows: Rows<'_>, picture: &mut PictureBuf) {
    let [mut luma, mut u, mut v] = picture.planes_mut();
    let (mut mixed, mut chroma) = (vec![0; rows.row], vec![0; rows.row / 2]);
    for y in 0..u.height {
        let pair = rows.pair(y, luma.height);
        for (row, y) in pair.iter().zip(2 * y..luma.height) {
            evens(row, luma.row_mut(y));
        }
        for (mixed, (top, bottom)) in mixed.iter_mut().zip(pair[0].iter().zip(pair[1])) {
            *mixed = mean(*top, *bottom);
        }
        odds(&mixed, &mut chroma);
        evens(&chroma, u.row_mut(y));
        odds(&chroma, v.row_mut(y));
    }
}

fn nv12(rows: Rows<'_>, picture: &mut PictureBuf) {
    let [mut luma, mut u, mut v] = picture.planes_mut();
    luma.copy_from(rows.data, rows.stride);
    for y in 0..u.height {
        let chroma = rows.row(luma.height + y);
        evens(chroma, u.row_mut(y));
        odds(chroma, v.row_mut(y));
    }
}

fn gray(rows: Rows<'_>, picture: &mut PictureBuf) {
    let [mut luma, u, v] = picture.planes_mut();
    luma.copy_from(rows.data, rows.stride);
    u.data.fill(128);
    v.data.fill(128);
}

/// BT.601, limited range, 8-bit coefficients; `R` and `B` are the places of red and blue in a pixel.
fn rgb<const R: usize, const B: usize>(rows: Rows<'_>, picture: &mut PictureBuf) {
    let [mut luma, mut u, mut v] = picture.planes_mut();
    for y in 0..luma.height {
        for (luma, pixel) in luma.row_mut(y).iter_mut().zip(rows.row(y).as_chunks::<3>().0) {
            let [r, g, b] = [pixel[R], pixel[1], pixel[B]].map(i32::from);
            *luma = (((66 * r + 129 * g + 25 * b + 128) >> 8) + 16) as u8;
        }
    }
    for y in 0..u.height {
        let [top, bottom] = rows.pair(y, luma.height).map(|row| row.as_chunks::<3>().0);
        for (x, (u, v)) in u.row_mut(y).iter_mut().zip(v.row_mut(y)).enumerate() {
            let (left, right) = (2 * x, (2 * x + 1).min(luma.width - 1));
            let sum = |place: usize| -> i32 {
                [top[left], top[right], bottom[left], bottom[right]].iter().map(|pixel| i32::from(pixel[place])).sum()
            };
            let [r, g, b] = [R, 1, B].map(|place| (sum(place) + 2) >> 2);
            *u = (((-38 * r - 74 * g + 112 * b + 128) >> 8) + 128) as u8;
            *v = (((112 * r - 94 * g - 18 * b + 128) >> 8) + 128) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(encoding: Encoding, width: u32, height: u32, padding: usize) -> Layout {
        let size = Size::new(width, height).unwrap();
        Layout { encoding, size, stride: extent(encoding, size).0 + padding, range: Range::Limited }
    }

    fn bytes(layout: Layout, seed: u32) -> Vec<u8> {
        let length = layout.stride * extent(layout.encoding, layout.size).1;
        let mut state = seed | 1;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// One sample of a plane, computed as slowly and plainly as possible.
    fn expected(layout: Layout, data: &[u8], plane: usize, x: usize, y: usize) -> u8 {
        let (width, height) = (layout.size.width() as usize, layout.size.height() as usize);
        let at = |y: usize, offset: usize| data[y * layout.stride + offset];
        let below = (2 * y + 1).min(height - 1);
        let half_up = |sum: u32, n: u32| ((sum + n / 2) / n) as u8;
        match (layout.encoding, plane) {
            (Encoding::Yuyv, 0) => at(y, x * 2),
            (Encoding::Yuyv, _) => {
                let offset = x * 4 + if plane == 1 { 1 } else { 3 };
                half_up(u32::from(at(2 * y, offset)) + u32::from(at(below, offset)), 2)
            }
            (Encoding::Nv12, 1 | 2) => at(height + y, 2 * x + plane - 1),
            (Encoding::Rgb | Encoding::Bgr, 0) => {
                let [r, g, b] = reds_first(layout.encoding, [0, 1, 2].map(|n| f64::from(at(y, 3 * x + n))));
                ((66.0 * r + 129.0 * g + 25.0 * b + 128.0) / 256.0).floor() as u8 + 16
            }
            (Encoding::Rgb | Encoding::Bgr, _) => {
                let right = (2 * x + 1).min(width - 1);
                let [r, g, b] = reds_first(
                    layout.encoding,
                    [0, 1, 2].map(|n| {
                        let four = [(2 * y, 2 * x), (2 * y, right), (below, 2 * x), (below, right)];
                        f64::from(half_up(four.iter().map(|(y, x)| u32::from(at(*y, 3 * x + n))).sum(), 4))
                    }),
                );
                let sum = if plane == 1 { -38.0 * r - 74.0 * g + 112.0 * b } else { 112.0 * r - 94.0 * g - 18.0 * b };
                (((sum + 128.0) / 256.0).floor() + 128.0) as u8
            }
            (_, 0) => at(y, x),
            _ => 128,
        }
    }

    fn reds_first(encoding: Encoding, [a, b, c]: [f64; 3]) -> [f64; 3] {
        if encoding == Encoding::Rgb { [a, b, c] } else { [c, b, a] }
    }

    proptest! {
        #[test]
        fn every_sample_is_what_the_plain_formula_gives(
            encoding in prop::sample::select(vec![Encoding::Yuyv, Encoding::Nv12, Encoding::Gray, Encoding::Rgb, Encoding::Bgr]),
            width in 1u32..70, height in 1u32..20, padding in 0usize..40, seed: u32,
        ) {
            let layout = layout(encoding, width, height, padding);
            let data = bytes(layout, seed);
            let picture = Converter::new(layout).picture(&data).unwrap();
            prop_assert_eq!(picture.size(), layout.size);
            for index in 0..3 {
                for (y, row) in picture.plane(index).rows().enumerate() {
                    for (x, sample) in row.iter().enumerate() {
                        prop_assert_eq!(*sample, expected(layout, &data, index, x, y), "plane {} at {},{}", index, x, y);
                    }
                }
            }
        }

        #[test]
        fn no_buffer_makes_it_panic(
            encoding in prop::sample::select(vec![Encoding::Yuyv, Encoding::Nv12, Encoding::Gray, Encoding::Rgb, Encoding::Mjpeg]),
            data in prop::collection::vec(any::<u8>(), 0..3000), width in 1u32..40, height in 1u32..40, stride in 0usize..100,
        ) {
            let layout = Layout { stride, ..layout(encoding, width, height, 0) };
            drop(Converter::new(layout).picture(&data));
        }
    }

    #[test]
    fn a_short_buffer_is_no_picture_and_a_long_one_is() {
        let layout = layout(Encoding::Yuyv, 8, 4, 0);
        let mut data = bytes(layout, 1);
        data.pop();
        let error = Converter::new(layout).picture(&data).unwrap_err();
        assert_eq!(error.to_string(), "63 bytes where 8x4 YUYV takes 64");
        data.extend([0; 4096]);
        assert!(Converter::new(layout).picture(&data).is_ok());
    }

    #[test]
    fn grey_camera_colours_stay_neutral() {
        let layout = layout(Encoding::Rgb, 4, 2, 0);
        let white = Converter::new(layout).picture(&[255; 24]).unwrap();
        assert_eq!([0, 1, 2].map(|index| white.plane(index).row(0)[0]), [235, 128, 128]);
    }

    /// Prints milliseconds a 720p picture: `cargo test --release -p cv-sender -- --ignored --nocapture a_720p`.
    #[test]
    #[ignore = "a measurement"]
    fn a_720p_picture_takes_well_under_a_millisecond() {
        for encoding in [Encoding::Yuyv, Encoding::Nv12, Encoding::Rgb] {
            let layout = layout(encoding, 1280, 720, 0);
            let (data, mut converter) = (bytes(layout, 1), Converter::new(layout));
            let mut times: Vec<_> = (0..300)
                .map(|_| {
                    let start = std::time::Instant::now();
                    drop(converter.picture(&data));
                    start.elapsed()
                })
                .collect();
            times.sort();
            eprintln!("{encoding}: median {:?}, fastest {:?}", times[150], times[0]);
        }
    }
}
