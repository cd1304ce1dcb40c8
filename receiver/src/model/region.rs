//! A turned rectangle of a picture, and what a network sees of it.

use super::view::View;

/// A rectangle whose upper side may point anywhere, in pixels of the picture; it may reach outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Region {
    /// Its centre.
    pub(super) centre: [f32; 2],
    /// Its width and height.
    pub(super) size: [f32; 2],
    /// How far it is turned, in radians, clockwise as seen: at π/2, what points right in the picture points up in it.
    pub(super) angle: f32,
}

/// The order of the numbers of a crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Three numbers a pixel (NHWC).
    Packed,
    /// A plane after the other (NCHW).
    Planes,
}

impl Region {
    /// The square of this side around the middle of a rectangle `[x, y, width, height]`.
    pub(super) fn square([x, y, width, height]: [f32; 4], side: f32) -> Self {
        Self { centre: [x + width / 2.0, y + height / 2.0], size: [side, side], angle: 0.0 }
    }

    /// The same, turned.
    pub(super) fn turned(self, angle: f32) -> Self {
        Self { angle, ..self }
    }

    /// Whether it can be looked at.
    pub(super) fn is_usable(&self) -> bool {
        let finite = self.centre.iter().chain(&self.size).all(|value| value.abs() < 1e6) && self.angle.is_finite();
        finite && self.size.iter().all(|side| *side >= 1.0)
    }

    /// The point of the picture at `across` and `down`, from 0 to 1 inside.
    pub(super) fn point(&self, across: f32, down: f32) -> [f32; 2] {
        let (sin, cos) = self.angle.sin_cos();
        let (u, v) = ((across - 0.5) * self.size[0], (down - 0.5) * self.size[1]);
        [self.centre[0] + u * cos - v * sin, self.centre[1] + u * sin + v * cos]
    }

    /// What lies in it, as `width` by `height` pixels between four of the picture each, in samples of 0 to 255 less
    /// `mean` and divided by `deviation`, a value a colour. What lies outside of the picture is black.
    ///
    /// # Panics
    /// If `numbers` are not three for each of these pixels.
    pub(super) fn sample(
        &self,
        view: &View<'_>,
        (width, height, layout): (usize, usize, Layout),
        (mean, deviation): ([f32; 3], [f32; 3]),
        numbers: &mut [f32],
    ) {
        assert_eq!(numbers.len(), 3 * width * height, "three numbers are a pixel");
        let factor = deviation.map(|deviation| 1.0 / deviation);
        // The middle of the first pixel, and the steps to those right of it and below it.
        let corner = self.point(0.5 / width as f32, 0.5 / height as f32);
        let right = self.point(1.5 / width as f32, 0.5 / height as f32);
        let below = self.point(0.5 / width as f32, 1.5 / height as f32);
        let [right, below] = [right, below].map(|point| [point[0] - corner[0], point[1] - corner[1]]);
        let mut colours = vec![[0.0; 3]; width];
        for row in 0..height {
            // Samples lie in the middle of their pixels.
            let [x, y] = [0, 1].map(|axis| corner[axis] + row as f32 * below[axis] - 0.5);
            let place = |column: usize| [x + column as f32 * right[0], y + column as f32 * right[1]];
            // What lies between two places inside lies inside.
            if [place(0), place(width - 1)].iter().all(|place| is_inside(view, place)) {
                for (column, colour) in colours.iter_mut().enumerate() {
                    *colour = between(view, place(column));
                }
            } else {
                for (column, colour) in colours.iter_mut().enumerate() {
                    let place = place(column);
                    *colour = if is_inside(view, &place) { between(view, place) } else { at_the_edge(view, place) };
                }
            }
            match layout {
                Layout::Packed => {
                    let pixels = numbers[3 * width * row..][..3 * width].as_chunks_mut().0;
                    for (pixel, colour) in pixels.iter_mut().zip(&colours) {
                        *pixel = [0, 1, 2].map(|index| (colour[index] - mean[index]) * factor[index]);
                    }
                }
                Layout::Planes => {
                    for (index, plane) in numbers.chunks_exact_mut(width * height).enumerate() {
                        for (number, colour) in plane[width * row..][..width].iter_mut().zip(&colours) {
                            *number = (colour[index] - mean[index]) * factor[index];
                        }
                    }
                }
            }
        }
    }
}

/// Whether there are samples around a point, and one more to its right.
fn is_inside(view: &View<'_>, [x, y]: &[f32; 2]) -> bool {
    let inside = |place: f32, most: u32| place >= 0.0 && place < most.saturating_sub(2) as f32;
    inside(*x, view.width()) && inside(*y, view.height())
}

/// The colour between the four samples around a point inside.
#[inline(always)]
fn between(view: &View<'_>, [x, y]: [f32; 2]) -> [f32; 3] {
    let width = view.width() as usize;
    // What is not negative is cut to whole numbers in an instruction; rounding down is a call on some processors.
    let (column, row) = (x as i32 as usize, y as i32 as usize);
    let (across, down) = (x - column as i32 as f32, y - row as i32 as f32);
    let at = 3 * (row * width + column);
    // Four samples are read at once, one more than a pixel has.
    let (upper, lower) = (&view.samples()[at..at + 7], &view.samples()[at + 3 * width..at + 3 * width + 7]);
    let [left, right, below_left, below_right] = [&upper[..4], &upper[3..], &lower[..4], &lower[3..]].map(four);
    let mut colour = [0.0; 4];
    for index in 0..4 {
        let above = left[index] + (right[index] - left[index]) * across;
        let below = below_left[index] + (below_right[index] - below_left[index]) * across;
        colour[index] = above + (below - above) * down;
    }
    [colour[0], colour[1], colour[2]]
}

/// Four samples as numbers, together.
#[inline(always)]
fn four(samples: &[u8]) -> [f32; 4] {
    samples.first_chunk().map_or([0.0; 4], |samples: &[u8; 4]| samples.map(|sample| i32::from(sample) as f32))
}

/// The same anywhere: of the four samples those that lie outside are black.
#[cold]
fn at_the_edge(view: &View<'_>, [x, y]: [f32; 2]) -> [f32; 3] {
    let (left, top) = (x.floor(), y.floor());
    let (across, down) = (x - left, y - top);
    let weights = [(1.0 - across) * (1.0 - down), across * (1.0 - down), (1.0 - across) * down, across * down];
    let mut colour = [0.0; 3];
    for (corner, weight) in [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]].into_iter().zip(weights) {
        let [x, y] = [left + corner[0], top + corner[1]];
        if x >= 0.0 && y >= 0.0 && x < view.width() as f32 && y < view.height() as f32 {
            let at = 3 * (y as usize * view.width() as usize + x as usize);
            for (sum, sample) in colour.iter_mut().zip(&view.samples()[at..at + 3]) {
                *sum += f32::from(*sample) * weight;
            }
        }
    }
    colour
}

#[cfg(test)]
mod tests {
    use std::f32::consts::FRAC_PI_2;

    use super::*;

    const RAW: ([f32; 3], [f32; 3]) = ([0.0; 3], [1.0; 3]);

    /// 4x2 pixels whose first colour tells where they are: the column and ten times the row.
    fn view() -> Vec<u8> {
        (0..8).flat_map(|index| [index % 4 + 10 * (index / 4), 0, 255]).collect()
    }

    fn first_colour(region: Region, width: usize, height: usize) -> Vec<f32> {
        let (samples, mut numbers) = (view(), vec![0.0; 3 * width * height]);
        region.sample(&View::of(4, 2, &samples), (width, height, Layout::Planes), RAW, &mut numbers);
        numbers[..width * height].iter().map(|number| number.round()).collect()
    }

    #[test]
    fn an_upright_region_of_the_picture_is_the_picture() {
        let region = Region { centre: [2.0, 1.0], size: [4.0, 2.0], angle: 0.0 };
        assert_eq!(first_colour(region, 4, 2), [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0]);
    }

    #[test]
    fn turned_by_a_quarter_what_points_right_points_up() {
        let region = Region { centre: [2.0, 1.0], size: [2.0, 4.0], angle: FRAC_PI_2 };
        assert_eq!(first_colour(region, 2, 4), [3.0, 13.0, 2.0, 12.0, 1.0, 11.0, 0.0, 10.0]);
    }

    #[test]
    fn what_lies_outside_is_black() {
        let region = Region { centre: [100.0, -100.0], size: [4.0, 2.0], angle: 1.0 };
        assert_eq!(first_colour(region, 4, 2), [0.0; 8]);
    }

    #[test]
    fn inside_and_at_the_edge_colours_are_the_same() {
        let samples: Vec<u8> = (0..3 * 20 * 20).map(|index| (index * index % 251) as u8).collect();
        let view = View::of(20, 20, &samples);
        for place in [[0.0, 0.0], [3.25, 7.5], [17.9, 17.9], [0.001, 12.999]] {
            assert!(is_inside(&view, &place));
            for (one, other) in between(&view, place).into_iter().zip(at_the_edge(&view, place)) {
                assert!((one - other).abs() < 1e-3, "{place:?}");
            }
        }
    }

    #[test]
    fn numbers_are_normalised_in_either_layout() {
        let (samples, mut numbers) = (view(), vec![0.0; 24]);
        let region = Region { centre: [2.0, 1.0], size: [4.0, 2.0], angle: 0.0 };
        let packed = (4, 2, Layout::Packed);
        region.sample(&View::of(4, 2, &samples), packed, ([0.0, 0.0, 55.0], [1.0, 1.0, 2.0]), &mut numbers);
        assert_eq!(numbers[..6], [0.0, 0.0, 100.0, 1.0, 0.0, 100.0]);
    }
}
