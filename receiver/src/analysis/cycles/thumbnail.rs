//! A picture's luma as a small square of means: what is left of it when only movement counts.
//!
//! Layout of the features: 24 rows of 24 cells from top to bottom and left to right, each the mean luma of its part of the
//! picture in 256ths of a level, 16 bits, low byte first: 1152 bytes, whatever the picture's size and shape.

use bytes::Bytes;
use ndarray::ArrayView2;

/// Cells a side.
const SIDE: usize = 24;

/// Cells of a thumbnail.
pub(super) const CELLS: usize = SIDE * SIDE;

/// Rows of the picture that are read for a row of cells at most: neighbouring rows say much the same, and reading all of
/// them would take longer than it is worth.
const ROWS: usize = 8;

/// The means of `luma`, as the module's head describes them.
///
/// # Panics
/// If `luma` is empty, or the samples of a row are not adjacent in memory; those of a picture's luma are.
pub(super) fn of(luma: ArrayView2<'_, u8>) -> Bytes {
    let (height, width) = luma.dim();
    let mut bytes = Vec::with_capacity(2 * CELLS);
    for cell in 0..SIDE {
        let (top, bottom) = part(cell, height);
        let step = (bottom - top).div_ceil(ROWS);
        let mut sums = [0u32; SIDE];
        for y in (top..bottom).step_by(step) {
            let row = luma.row(y).to_slice().expect("the samples of a row are adjacent");
            for (column, sum) in sums.iter_mut().enumerate() {
                let (left, right) = part(column, width);
                *sum += row[left..right].iter().map(|&sample| u32::from(sample)).sum::<u32>();
            }
        }
        let rows = (bottom - top).div_ceil(step);
        for (column, sum) in sums.into_iter().enumerate() {
            let (left, right) = part(column, width);
            let mean = u64::from(sum) * 256 / (rows * (right - left)) as u64;
            bytes.extend((mean as u16).to_le_bytes());
        }
    }
    bytes.into()
}

/// Where cell `cell` of a side of `length` samples begins and ends; at least one sample, shared where there are fewer samples
/// than cells.
fn part(cell: usize, length: usize) -> (usize, usize) {
    let from = cell * length / SIDE;
    (from, ((cell + 1) * length / SIDE).max(from + 1))
}

/// The cells of a thumbnail in levels without their mean, so that light that changes everywhere is no movement.
pub(super) fn cells(bytes: &[u8]) -> Result<Vec<f32>, String> {
    if bytes.len() != 2 * CELLS {
        return Err(format!("the features of cycles are {} bytes instead of {}", bytes.len(), 2 * CELLS));
    }
    let levels: Vec<u16> = bytes.as_chunks().0.iter().map(|&pair| u16::from_le_bytes(pair)).collect();
    let mean = levels.iter().map(|&level| u32::from(level)).sum::<u32>() as f32 / CELLS as f32;
    Ok(levels.into_iter().map(|level| (f32::from(level) - mean) / 256.0).collect())
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn levels(luma: &Array2<u8>) -> Vec<f64> {
        of(luma.view()).as_chunks().0.iter().map(|&pair| f64::from(u16::from_le_bytes(pair)) / 256.0).collect()
    }

    #[test]
    fn cells_are_the_means_of_their_parts() {
        let luma = Array2::from_shape_fn((48, 72), |(y, x)| (y / 2 * 4 + x / 3) as u8);
        for (index, level) in levels(&luma).into_iter().enumerate() {
            assert_eq!(level, (index / 24 * 4 + index % 24) as f64);
        }
        let board = Array2::from_shape_fn((504, 896), |(y, x)| 200 * ((x + y) % 2) as u8);
        assert!(levels(&board).into_iter().all(|level| (level - 100.0).abs() < 3.0));
    }

    #[test]
    fn pictures_of_any_size_have_a_thumbnail() {
        for (height, width) in [(1, 1), (1, 50), (23, 25), (4096, 4096), (2, 16_384)] {
            assert!(levels(&Array2::from_elem((height, width), 255)).into_iter().all(|level| level == 255.0));
        }
    }

    #[test]
    fn light_that_changes_everywhere_changes_no_cell() {
        let picture = |light: u8| Array2::from_shape_fn((48, 48), |(y, x)| light + (x * y % 50) as u8);
        let [dark, bright] = [20, 120].map(|light| cells(&of(picture(light).view())).unwrap());
        assert!(dark.iter().zip(bright).all(|(one, other)| (one - other).abs() < 0.01));
        assert!(cells(&[0; 7]).is_err());
    }
}
