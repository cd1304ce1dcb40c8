//! What one picture says by itself: its sums, where it looks like skin, and its samples by channel.
//!
//! The bytes are the analyzer's features. After a header of nine little-endian 64-bit numbers (width, height, [`Sums`])
//! comes row after row: red, green, blue, luma, each a byte a pixel, then the skin mask, a bit a pixel in whole
//! 64-bit words, the leftmost pixel lowest. Where the face is, so which colours count, and what moved since the picture before, is
//! for the ordered half to say, which therefore needs them all.

use bytes::Bytes;
use cv_core::{geometry::Size, rgb};

use super::pixels;

/// Numbers in the header.
const NUMBERS: usize = 9;
/// Bytes of the header.
const HEADER: usize = 8 * NUMBERS;

/// Sums over a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Luma of all pixels but the first row and column.
    pub luma: u64,
    /// Edges among these.
    pub edges: u64,
    /// Pixels that look like skin, of all.
    pub skin: u64,
    /// Sum of their columns, and of the squares of these.
    pub columns: [u64; 2],
    /// Sum of their rows, and of the squares of these.
    pub rows: [u64; 2],
}

/// One picture's features, ready to read. Cloning is cheap.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    size: Size,
    sums: Sums,
    bytes: Bytes,
}

/// Bytes of a row of a picture so wide.
fn row_bytes(width: usize) -> usize {
    4 * width + 8 * width.div_ceil(64)
}

impl Scene {
    /// Draws the features from packed `rgb` samples.
    ///
    /// # Panics
    /// If there are not three samples a pixel.
    pub(super) fn draw(size: Size, samples: &[u8]) -> Bytes {
        assert_eq!(samples.len(), rgb::bytes(size), "a packed picture of {size} has another length");
        let [width, height] = [size.width(), size.height()].map(|side| side as usize);
        let mut bytes = Vec::with_capacity(HEADER + height * row_bytes(width));
        bytes.resize(HEADER, 0);
        let mut drawing = Drawing::new(width);
        for (y, packed) in samples.chunks_exact(3 * width).enumerate() {
            drawing.add(y, packed);
            bytes.extend_from_slice(&drawing.row);
        }
        let sums = drawing.finish();
        let [columns, rows] = [sums.columns, sums.rows];
        let header = [
            size.width().into(),
            size.height().into(),
            sums.luma,
            sums.edges,
            sums.skin,
            columns[0],
            columns[1],
            rows[0],
            rows[1],
        ];
        for (place, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(header) {
            *place = number.to_le_bytes();
        }
        bytes.into()
    }

    /// Reads what [`draw`](Self::draw) made, or says why it cannot be that.
    pub(super) fn read(bytes: &Bytes) -> Result<Self, String> {
        let wrong = || format!("{} bytes are no features of cv-metrics", bytes.len());
        let (header, _) = bytes.get(..HEADER).ok_or_else(wrong)?.as_chunks::<8>();
        let number = |index: usize| u64::from_le_bytes(header[index]);
        let side = |index| u32::try_from(number(index)).ok();
        let size = side(0).zip(side(1)).and_then(|(width, height)| Size::new(width, height).ok()).ok_or_else(wrong)?;
        if bytes.len() != HEADER + size.height() as usize * row_bytes(size.width() as usize) {
            return Err(wrong());
        }
        let sums = Sums {
            luma: number(2),
            edges: number(3),
            skin: number(4),
            columns: [number(5), number(6)],
            rows: [number(7), number(8)],
        };
        Ok(Self { size, sums, bytes: bytes.clone() })
    }

    /// Its size.
    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// Width and height.
    pub(super) fn sides(&self) -> [usize; 2] {
        [self.size.width() as usize, self.size.height() as usize]
    }

    /// Its sums.
    pub(super) fn sums(&self) -> Sums {
        self.sums
    }

    /// Row `y`, which exists.
    pub(super) fn row(&self, y: usize) -> Row<'_> {
        let [width, _] = self.sides();
        let length = row_bytes(width);
        let row = &self.bytes[HEADER + y * length..][..length];
        let (samples, skin) = row.split_at(4 * width);
        let channel = |index: usize| &samples[index * width..][..width];
        Row { colours: [channel(0), channel(1), channel(2)], luma: channel(3), skin }
    }
}

/// One row of a scene.
pub(super) struct Row<'a> {
    /// Red, green and blue samples.
    pub colours: [&'a [u8]; 3],
    /// Luma samples.
    pub luma: &'a [u8],
    /// The skin mask: a bit a pixel, the first lowest, in whole 64-bit words.
    pub skin: &'a [u8],
}

impl Row<'_> {
    /// The skin mask of the 64 columns from `start` on; what is outside the picture is none.
    pub(super) fn bits(&self, start: i64) -> u64 {
        let word = |index: i64| {
            let words = self.skin.as_chunks::<8>().0;
            usize::try_from(index).ok().and_then(|index| words.get(index)).map_or(0, |word| u64::from_le_bytes(*word))
        };
        let (index, shift) = (start.div_euclid(64), start.rem_euclid(64));
        // Two shifts, since one by 64 is none.
        word(index) >> shift | word(index + 1) << 1 << (63 - shift)
    }

    /// How many of the columns from `start` to before `end` are skin.
    pub(super) fn count(&self, start: i64, end: i64) -> u32 {
        let mut count = 0;
        let mut at = start;
        while at < end {
            let rest = (end - at).min(64);
            count += (self.bits(at) & (u64::MAX >> (64 - rest))).count_ones();
            at += rest;
        }
        count
    }
}

/// A picture on its way through the loops, row by row.
struct Drawing {
    width: usize,
    /// The row as it goes into the features.
    row: Vec<u8>,
    /// Luma of the row above.
    above: Vec<u8>,
    /// Edges, then skin of the row: 1 or 0.
    mask: Vec<u8>,
    /// Skin pixels of each column: in the rows since the last carry, fewer than 256, and before.
    recent: Vec<u8>,
    columns: Vec<u32>,
    sums: Sums,
}

impl Drawing {
    fn new(width: usize) -> Self {
        Self {
            width,
            row: vec![0; row_bytes(width)],
            above: vec![0; width],
            mask: vec![0; width],
            recent: vec![0; width],
            columns: vec![0; width],
            sums: Sums::default(),
        }
    }

    /// Takes in row `y`.
    fn add(&mut self, y: usize, packed: &[u8]) {
        let width = self.width;
        let (colours, rest) = self.row.split_at_mut(3 * width);
        let (luma, bits) = rest.split_at_mut(width);
        let (red, rest) = colours.split_at_mut(width);
        let (green, blue) = rest.split_at_mut(width);
        rgb::split(packed, [&mut *red, &mut *green, &mut *blue]);
        pixels::luma(red, green, blue, luma);
        if y > 0 {
            self.sums.luma += pixels::sum(&luma[1..]);
            self.sums.edges += pixels::edges(&self.above, luma, &mut self.mask);
        }
        self.above.copy_from_slice(luma);
        pixels::skin(red, green, blue, &mut self.mask);
        pixels::pack(&self.mask, &mut bits[..width.div_ceil(8)]);
        let (count, y) = (pixels::sum(&self.mask), y as u64);
        self.sums.skin += count;
        self.sums.rows[0] += count * y;
        self.sums.rows[1] += count * y * y;
        pixels::add_to_columns(&self.mask, &mut self.recent);
        if y % 255 == 254 {
            self.carry();
        }
    }

    fn carry(&mut self) {
        pixels::add_to_columns(&self.recent, &mut self.columns);
        self.recent.fill(0);
    }

    fn finish(mut self) -> Sums {
        self.carry();
        for (x, &count) in (0u64..).zip(&self.columns) {
            self.sums.columns[0] += u64::from(count) * x;
            self.sums.columns[1] += u64::from(count) * x * x;
        }
        self.sums
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Skin-like and other pixels, near the thresholds more often than chance would have it.
    fn pictures() -> impl Strategy<Value = (Size, Vec<u8>)> {
        let pixel = prop_oneof![
            any::<[u8; 3]>(),
            (30..80u8, 20..60u8, 10..50u8).prop_map(|(r, g, b)| [r, g, b]),
            (190..210u8, 140..150u8, 110..130u8).prop_map(|(r, g, b)| [r, g, b]),
        ];
        (1..200u32, 1..9u32).prop_flat_map(move |(width, height)| {
            let samples = prop::collection::vec(pixel.clone(), (width * height) as usize);
            samples.prop_map(move |samples| (Size::new(width, height).unwrap(), samples.into_flattened()))
        })
    }

    /// The definitions, pixel by pixel: luma and skin.
    fn naive(samples: &[u8]) -> (Vec<i32>, Vec<bool>) {
        let pixels = samples.chunks(3).map(|pixel| [0, 1, 2].map(|channel| i32::from(pixel[channel])));
        let each = pixels.map(|[r, g, b]| {
            let range = r.max(g).max(b) - r.min(g).min(b);
            let skin = r > 45 && g > 30 && b > 20 && r > g && r > b && range > 15 && (r - g).abs() > 10;
            ((77 * r + 150 * g + 29 * b) >> 8, skin)
        });
        each.unzip()
    }

    proptest! {
        #[test]
        fn sums_mask_and_samples_are_those_of_the_definitions((size, samples) in pictures()) {
            let scene = Scene::read(&Scene::draw(size, &samples)).unwrap();
            let (luma, skin) = naive(&samples);
            let [width, height] = scene.sides();
            let mut sums = Sums::default();
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let (place, row) = (y * width + x, scene.row(y));
                prop_assert_eq!(row.colours.map(|samples| samples[x]), &samples[3 * place..][..3]);
                prop_assert_eq!(i32::from(row.luma[x]), luma[place]);
                prop_assert_eq!(row.bits(x as i64) & 1 == 1, skin[place]);
                if skin[place] {
                    sums.skin += 1;
                    sums.columns = [sums.columns[0] + x as u64, sums.columns[1] + (x * x) as u64];
                    sums.rows = [sums.rows[0] + y as u64, sums.rows[1] + (y * y) as u64];
                }
                if x > 0 && y > 0 {
                    let steps = (luma[place] - luma[place - 1]).abs() + (luma[place] - luma[place - width]).abs();
                    sums.edges += u64::from(steps > 54);
                    sums.luma += luma[place] as u64;
                }
            }
            prop_assert_eq!(scene.sums(), sums);
        }

        #[test]
        fn skin_is_counted_between_any_columns(
            (size, samples) in pictures(), start in -90..290i64, width in -5..220i64,
        ) {
            let scene = Scene::read(&Scene::draw(size, &samples)).unwrap();
            let (_, skin) = naive(&samples);
            let inside = (start..start + width).filter_map(|x| usize::try_from(x).ok()).filter(|x| *x < scene.sides()[0]);
            let expected = inside.filter(|x| skin[*x]).count();
            prop_assert_eq!(scene.row(0).count(start, start + width), expected as u32);
        }
    }

    #[test]
    fn columns_of_more_rows_than_a_byte_counts_add_up() {
        let size = Size::new(3, 1000).unwrap();
        let scene = Scene::read(&Scene::draw(size, &[200, 140, 110].repeat(3000))).unwrap();
        let rows = [3 * 999 * 500, 3 * 999 * 1000 * 1999 / 6];
        assert_eq!(scene.sums(), Sums { skin: 3000, columns: [3000, 5000], rows, ..scene.sums() });
    }
}
