//! Filled shapes on a picture. Coordinates are luma pixels; what lies outside is left out.

use cv_core::{
    geometry::Size,
    picture::{Picture, PictureBuf, PlaneMut, Pool, Range},
};

use super::colour::Colour;

/// A point in luma pixels, x to the right and y down.
pub(super) type Point = (f64, f64);

/// A picture that is drawn on.
pub(super) struct Canvas<'a> {
    planes: [PlaneMut<'a>; 3],
}

impl<'a> Canvas<'a> {
    pub(super) fn new(picture: &'a mut PictureBuf) -> Self {
        Self { planes: picture.planes_mut() }
    }

    /// Everything in one colour.
    pub(super) fn clear(&mut self, colour: Colour) {
        for (plane, sample) in self.planes.iter_mut().zip(colour) {
            plane.data.fill(sample);
        }
    }

    /// The whole of a picture of the same size.
    pub(super) fn copy(&mut self, picture: &Picture) {
        for (index, plane) in self.planes.iter_mut().enumerate() {
            let source = picture.plane(index);
            plane.copy_from(source.data, source.stride);
        }
    }

    /// An upright rectangle between two corners.
    pub(super) fn rect(&mut self, (left, top): Point, (right, bottom): Point, colour: Colour) {
        self.fill((top, bottom), colour, |_| Some((left, right)));
    }

    /// An upright ellipse with the half axes `rx` and `ry`.
    pub(super) fn ellipse(&mut self, (x, y): Point, (rx, ry): (f64, f64), colour: Colour) {
        self.fill((y - ry, y + ry), colour, |at| {
            let half = rx * (1.0 - ((at - y) / ry).powi(2)).max(0.0).sqrt();
            Some((x - half, x + half))
        });
    }

    /// A straight limb of the width `2 * radius` with round ends.
    pub(super) fn limb(&mut self, from: Point, to: Point, radius: f64, colour: Colour) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy).max(1e-9);
        let (nx, ny) = (-dy / length * radius, dx / length * radius);
        let corner = |point: Point, side: f64| (point.0 + side * nx, point.1 + side * ny);
        self.convex(&[corner(from, 1.0), corner(to, 1.0), corner(to, -1.0), corner(from, -1.0)], colour);
        self.ellipse(from, (radius, radius), colour);
        self.ellipse(to, (radius, radius), colour);
    }

    /// A convex polygon.
    fn convex(&mut self, corners: &[Point], colour: Colour) {
        let heights = || corners.iter().map(|corner| corner.1);
        let rows = (heights().fold(f64::MAX, f64::min), heights().fold(f64::MIN, f64::max));
        let edges = || corners.iter().zip(corners.iter().cycle().skip(1));
        self.fill(rows, colour, |at| {
            let crossings = edges().filter(|(a, b)| (a.1 <= at) != (b.1 <= at));
            let columns = crossings.map(|(a, b)| a.0 + (b.0 - a.0) * (at - a.1) / (b.1 - a.1));
            columns.fold(None, |span, x| {
                span.map_or(Some((x, x)), |(left, right): (f64, f64)| Some((left.min(x), right.max(x))))
            })
        });
    }

    /// The rows from top to bottom, each from where `span` says to where it says, given the row's middle.
    fn fill(&mut self, (top, bottom): (f64, f64), colour: Colour, span: impl Fn(f64) -> Option<(f64, f64)>) {
        for ((plane, sample), scale) in self.planes.iter_mut().zip(colour).zip([1.0, 2.0, 2.0]) {
            // Float to integer conversion saturates: what is left of or above the picture becomes 0.
            let edge = |at: f64, limit: usize| ((at / scale).round() as usize).min(limit);
            for y in edge(top, plane.height)..edge(bottom, plane.height) {
                let Some((left, right)) = span((y as f64 + 0.5) * scale) else { continue };
                let (left, right) = (edge(left, plane.width), edge(right, plane.width));
                if left < right {
                    plane.row_mut(y)[left..right].fill(sample);
                }
            }
        }
    }
}

/// A new picture with what `draw` puts on it, which must cover all of it.
pub(super) fn picture(pool: &Pool, size: Size, draw: impl FnOnce(&mut Canvas<'_>)) -> Picture {
    let mut picture = pool.picture(size, Range::Limited);
    draw(&mut Canvas::new(&mut picture));
    picture.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::colour::{BLACK, WHITE};

    fn drawn(width: u32, height: u32, draw: impl FnOnce(&mut Canvas<'_>)) -> Picture {
        picture(&Pool::default(), Size::new(width, height).unwrap(), |canvas| {
            canvas.clear(BLACK);
            draw(canvas);
        })
    }

    fn white(picture: &Picture) -> usize {
        picture.luma().iter().filter(|&&sample| sample == WHITE[0]).count()
    }

    #[test]
    fn a_rectangle_covers_its_pixels_and_no_others() {
        let picture = drawn(16, 16, |canvas| canvas.rect((2.0, 4.0), (6.0, 14.0), WHITE));
        assert_eq!(white(&picture), 4 * 10);
        assert_eq!((picture.luma()[[4, 2]], picture.luma()[[13, 5]], picture.luma()[[14, 5]]), (235, 235, 16));
    }

    #[test]
    fn shapes_have_the_area_that_geometry_says() {
        let ellipse = drawn(200, 200, |canvas| canvas.ellipse((100.0, 100.0), (60.0, 40.0), WHITE));
        assert!((white(&ellipse) as f64 - std::f64::consts::PI * 2400.0).abs() < 80.0);
        let limb = drawn(200, 200, |canvas| canvas.limb((60.0, 60.0), (140.0, 120.0), 10.0, WHITE));
        assert!((white(&limb) as f64 - (2000.0 + std::f64::consts::PI * 100.0)).abs() < 60.0);
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let picture = drawn(9, 7, |canvas| {
            canvas.rect((-50.0, -50.0), (3.0, 2.0), WHITE);
            canvas.ellipse((-40.0, 400.0), (30.0, 30.0), WHITE);
            canvas.limb((1e9, -1e9), (1e9, 1e9), 5.0, WHITE);
        });
        assert_eq!(white(&picture), 6);
    }
}
