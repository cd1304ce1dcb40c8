//! Brightness, contrast, sharpness and motion of a picture, from its luma alone.
//!
//! All sums are exact integers and only the last division is floating point, so a picture gives
//! the same bits on every machine. The loops are shaped for the vectoriser: one row at a time while it is in the
//! first cache, simple sums over blocks of fixed size, 16 bits where 16 bits do.

use ndarray::ArrayView2;

/// What the luma of one picture says. Samples count as they are, whatever their range means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measures {
    /// Mean luma, 0 to 255.
    pub brightness: f64,
    /// Population standard deviation of luma, 0 to 127.5.
    pub contrast: f64,
    /// Population variance of the 4-neighbour Laplacian, mirrored at the borders without repeating them: what OpenCV
    /// gives for `cv2.Laplacian(luma, cv2.CV_64F).var()`. 0 and up; the softer the picture, the lower.
    pub sharpness: f64,
    /// Mean absolute difference to the previous picture's luma, 0 to 255; `None` without one of the same size.
    pub motion: Option<f64>,
}

/// Measures one picture, and what changed in it since `previous`. An empty picture measures 0.
///
/// # Panics
/// If the samples of a row are not adjacent in memory; those of a picture's luma are, crops included.
pub fn measure(luma: ArrayView2<'_, u8>, previous: Option<ArrayView2<'_, u8>>) -> Measures {
    let previous = previous.filter(|previous| previous.dim() == luma.dim());
    let (height, width) = luma.dim();
    let mut laplacian = vec![0; width];
    let mut row_sums = Vec::with_capacity(height);
    let mut sums = Sums::default();
    for y in 0..height {
        let (above, below) = neighbours(y, height);
        let this = row(&luma, y);
        row_sums.push(sum(this));
        sums.luma_squares += sum_of_squares(this);
        fill_laplacian(row(&luma, above), this, row(&luma, below), &mut laplacian);
        sums.laplacian += sum_of_second_differences(this);
        sums.laplacian_squares += sum_of_squares(&laplacian);
        sums.differences += previous.map_or(0, |previous| sum_of_differences(this, row(&previous, y)));
    }
    sums.luma = row_sums.iter().sum();
    sums.laplacian += sum_of_second_differences(&row_sums);
    // At least 1: the sums of an empty picture are 0, and so is what is made of them.
    let count = luma.len().max(1) as i64;
    Measures {
        brightness: sums.luma as f64 / count as f64,
        contrast: variance(sums.luma, sums.luma_squares, count).sqrt(),
        sharpness: variance(sums.laplacian, sums.laplacian_squares, count),
        motion: previous.map(|_| sums.differences as f64 / count as f64),
    }
}

/// Over all samples of a picture. 63 bits hold the squares of eight million megapixels.
#[derive(Default)]
struct Sums {
    luma: i64,
    luma_squares: i64,
    laplacian: i64,
    laplacian_squares: i64,
    differences: i64,
}

/// Population variance, exact up to the conversion of numerator and denominator.
fn variance(sum: i64, squares: i64, count: i64) -> f64 {
    let [sum, squares, count] = [sum, squares, count].map(i128::from);
    (count * squares - sum * sum) as f64 / (count * count) as f64
}

fn row<'a>(luma: &'a ArrayView2<'_, u8>, y: usize) -> &'a [u8] {
    luma.row(y).to_slice().expect("the samples of a row are adjacent")
}

/// The places before and after `index` among `length`, at least one, mirrored at the ends without repeating them
/// (OpenCV's `BORDER_REFLECT_101`); a single place is its own neighbour.
fn neighbours(index: usize, length: usize) -> (usize, usize) {
    let before = index.checked_sub(1).unwrap_or(1.min(length - 1));
    let after = if index + 1 < length { index + 1 } else { length.saturating_sub(2) };
    (before, after)
}

/// The 4-neighbour Laplacian of `row`, whose four slices are equally long. Its values span -1020 to 1020.
fn fill_laplacian(above: &[u8], row: &[u8], below: &[u8], laplacian: &mut [i16]) {
    let at = |above: u8, below: u8, left: u8, right: u8, centre: u8| {
        i16::from(above) + i16::from(below) + i16::from(left) + i16::from(right) - 4 * i16::from(centre)
    };
    let width = row.len();
    let Some(last) = width.checked_sub(1) else { return };
    for x in [0, last] {
        let (left, right) = neighbours(x, width);
        laplacian[x] = at(above[x], below[x], row[left], row[right], row[x]);
    }
    let Some(inner) = width.checked_sub(2) else { return };
    // Equal lengths known beforehand take the bounds checks out of the loop.
    let (above, below, out) = (&above[1..][..inner], &below[1..][..inner], &mut laplacian[1..][..inner]);
    let (left, centre, right) = (&row[..inner], &row[1..][..inner], &row[2..][..inner]);
    for x in 0..inner {
        out[x] = at(above[x], below[x], left[x], right[x], centre[x]);
    }
}

/// The sum of left + right - 2 · centre along a line with mirrored ends. All that lies inside cancels out.
fn sum_of_second_differences<T: Copy + Into<i64>>(line: &[T]) -> i64 {
    let Some(last) = line.len().checked_sub(1) else { return 0 };
    let [first, second, before_last, last] = [0, 1.min(last), last.saturating_sub(1), last].map(|x| line[x].into());
    second - first + before_last - last
}

/// Samples to add up at a time. In a loop over a whole row the compiler takes as many samples a step as sums fit
/// a register, four; in a block it fills the registers with samples.
const BLOCK: usize = 32;

fn sum(row: &[u8]) -> i64 {
    let add = |samples: &[u8]| samples.iter().map(|&sample| u32::from(sample)).sum::<u32>();
    let (blocks, rest) = row.as_chunks::<BLOCK>();
    i64::from(blocks.iter().map(|block| add(block)).sum::<u32>() + add(rest))
}

fn sum_of_differences(one: &[u8], other: &[u8]) -> i64 {
    let add = |one: &[u8], other: &[u8]| {
        one.iter().zip(other).map(|(&one, &other)| u32::from(one.abs_diff(other))).sum::<u32>()
    };
    let ((ones, one_rest), (others, other_rest)) = (one.as_chunks::<BLOCK>(), other.as_chunks::<BLOCK>());
    i64::from(ones.iter().zip(others).map(|(one, other)| add(one, other)).sum::<u32>() + add(one_rest, other_rest))
}

fn sum_of_squares<T: Copy + Into<i32>>(row: &[T]) -> i64 {
    let add = |samples: &[T]| i64::from(samples.iter().map(|&v| v.into() * v.into()).sum::<i32>());
    let (blocks, rest) = row.as_chunks::<BLOCK>();
    blocks.iter().map(|block| add(block)).sum::<i64>() + add(rest)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, ShapeBuilder, s};
    use proptest::prelude::*;

    use super::*;

    /// Samples that any language computes alike: bits 13 to 20 of the index times Knuth's constant.
    fn hashed(width: usize, height: usize) -> Array2<u8> {
        Array2::from_shape_fn((height, width), |(y, x)| (((y * width + x) as u64 * 2_654_435_761) >> 13) as u8)
    }

    fn board(width: usize, height: usize) -> Array2<u8> {
        Array2::from_shape_fn((height, width), |(y, x)| 255 * ((x + y) % 2) as u8)
    }

    /// The samples moved right by one, the last column first.
    fn rolled(luma: &Array2<u8>) -> Array2<u8> {
        let width = luma.ncols();
        Array2::from_shape_fn(luma.dim(), |(y, x)| luma[[y, (x + width - 1) % width]])
    }

    fn assert_measures(luma: &Array2<u8>, expected: [f64; 4]) {
        let measures = measure(luma.view(), Some(rolled(luma).view()));
        let got = [measures.brightness, measures.contrast, measures.sharpness, measures.motion.unwrap()];
        for (got, expected) in got.into_iter().zip(expected) {
            assert!((got - expected).abs() <= 1e-12 * expected, "{:?}: {got} is not {expected}", luma.dim());
        }
    }

    /// The definition, pixel by pixel in floating point.
    fn naive(luma: ArrayView2<'_, u8>, previous: ArrayView2<'_, u8>) -> Measures {
        let (height, width) = (luma.nrows() as i64, luma.ncols() as i64);
        let mirror = |i: i64, n: i64| if n == 1 { 0 } else { (n - 1 - (n - 1 - i.abs()).abs()) as usize };
        let at = |y: i64, x: i64| f64::from(luma[[mirror(y, height), mirror(x, width)]]);
        let pixels = || (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let variance = |values: &[f64]| {
            let centre = mean(values);
            values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / values.len() as f64
        };
        let samples: Vec<f64> = pixels().map(|(y, x)| at(y, x)).collect();
        let laplacian: Vec<f64> =
            pixels().map(|(y, x)| at(y - 1, x) + at(y + 1, x) + at(y, x - 1) + at(y, x + 1) - 4.0 * at(y, x)).collect();
        let moved: Vec<f64> = luma.iter().zip(previous).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).collect();
        Measures {
            brightness: mean(&samples),
            contrast: variance(&samples).sqrt(),
            sharpness: variance(&laplacian),
            motion: Some(mean(&moved)),
        }
    }

    fn assert_close(a: Measures, b: Measures) {
        let all = |m: Measures| [m.brightness, m.contrast, m.sharpness, m.motion.unwrap()];
        for (a, b) in all(a).into_iter().zip(all(b)) {
            assert!((a - b).abs() <= 1e-9 * (1.0 + b), "{a} is not {b}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition_on_parts_of_pictures(
            (width, height, left, top) in (1usize..140, 1usize..12, 0usize..40, 0usize..4),
            samples in prop::collection::vec(any::<u8>(), 180 * 16 * 2),
        ) {
            let pictures: Vec<_> =
                samples.chunks(180 * 16).map(|s| ArrayView2::from_shape((16, 180), s).unwrap()).collect();
            let [part, before] = [0, 1].map(|i| pictures[i].slice(s![top..top + height, left..left + width]));
            assert_close(measure(part, Some(before)), naive(part, before));
        }
    }

    /// numpy `mean()` and `std()`, OpenCV 5.0.0 `cv2.Laplacian(luma, cv2.CV_64F).var()` and the mean of
    /// `cv2.absdiff` to `numpy.roll(luma, 1, axis=1)`.
    #[test]
    fn agrees_with_opencv() {
        assert_measures(&hashed(1, 1), [0.0, 0.0, 0.0, 0.0]);
        assert_measures(&hashed(2, 2), [89.25, 70.47827679505225, 274550.0, 127.5]);
        assert_measures(&hashed(7, 1), [124.14285714285714, 76.173539784267, 49379.38775510205, 107.14285714285714]);
        assert_measures(&hashed(1, 5), [119.2, 86.95838084969154, 82362.56, 0.0]);
        assert_measures(
            &hashed(64, 48),
            [127.36946614583333, 73.92049866154348, 55482.373914930555, 99.86653645833333],
        );
        assert_measures(
            &hashed(897, 505),
            [127.49920416790843, 73.90028068327658, 52112.66055479147, 100.06885879223374],
        );
        assert_measures(&board(3, 3), [113.33333333333333, 126.71051872498808, 1027555.5555555554, 170.0]);
    }

    #[test]
    fn the_largest_sums_fit() {
        assert_measures(&board(896, 504), [127.5, 127.5, 1040400.0, 255.0]);
        assert_measures(&board(16_384, 4), [127.5, 127.5, 1040400.0, 255.0]);
    }

    #[test]
    fn a_flat_picture_has_neither_contrast_nor_sharpness() {
        let flat = Array2::from_elem((33, 65), 77);
        let expected = Measures { brightness: 77.0, contrast: 0.0, sharpness: 0.0, motion: Some(0.0) };
        assert_eq!(measure(flat.view(), Some(flat.view())), expected);
    }

    #[test]
    fn samples_between_the_rows_do_not_count() {
        let tight = hashed(50, 20);
        let mut wide = vec![255; 64 * 20];
        for (row, samples) in wide.chunks_mut(64).zip(tight.rows()) {
            row[..50].copy_from_slice(samples.to_slice().unwrap());
        }
        let strided = ArrayView2::from_shape((20, 50).strides((64, 1)), &wide).unwrap();
        assert_eq!(measure(strided, None), measure(tight.view(), None));
    }

    #[test]
    fn motion_needs_a_picture_of_the_same_size() {
        let (one, other) = (hashed(8, 6), hashed(6, 8));
        assert_eq!(measure(one.view(), None).motion, None);
        assert_eq!(measure(one.view(), Some(other.view())).motion, None);
        assert_eq!(measure(one.view(), Some(one.view())).motion, Some(0.0));
    }

    #[test]
    fn an_empty_picture_measures_nothing() {
        for dim in [(0, 0), (0, 5), (5, 0)] {
            let empty = Array2::zeros(dim);
            let expected = Measures { brightness: 0.0, contrast: 0.0, sharpness: 0.0, motion: None };
            assert_eq!(measure(empty.view(), None), expected);
        }
    }
}
