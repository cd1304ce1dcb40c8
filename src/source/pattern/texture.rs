//! A natural-looking texture under a moving camera: what a benchmark encodes.
//!
//! Every picture is a view of one large picture, so giving one costs nothing and what is measured
//! is the encoder.

use std::f64::consts::TAU;

use cv_core::{
    geometry::{MAX_PIXELS, MAX_SIDE, Rect, Size},
    picture::{Picture, PlaneMut, Pool, Range},
};

use super::{Kind, Moment, Painter, prng::SplitMix64};

pub(super) const KIND: Kind = Kind {
    name: "texture",
    help: "a natural texture under a moving camera, without cost (seed=0: which texture)",
    parameters: &["seed"],
    open: |size, parameters| Ok(Box::new(Texture::new(size, parameters.number("seed", 0..=u64::MAX)?.unwrap_or(0)))),
};

/// Pixels a second that the camera drifts to the right and down.
const DRIFT: (f64, f64) = (30.0, 17.0);
/// How far it shakes to each side, in pixels, and how long a shake takes, in seconds.
const SHAKE: (f64, f64) = (3.0, 0.7);

struct Texture {
    size: Size,
    /// Larger than `size` by the room to move in.
    whole: Picture,
}

impl Texture {
    fn new(size: Size, seed: u64) -> Self {
        let mut whole = Pool::default().picture(with_room(size), Range::Limited);
        let [mut y, mut u, mut v] = whole.planes_mut();
        fill(&mut y, SplitMix64::part(seed, 0), &LUMA);
        fill(&mut u, SplitMix64::part(seed, 1), &CHROMA);
        fill(&mut v, SplitMix64::part(seed, 2), &CHROMA);
        Self { size, whole: whole.freeze() }
    }
}

impl Painter for Texture {
    fn paint(&mut self, moment: Moment) -> Picture {
        let whole = self.whole.size();
        let x = position(moment.seconds, DRIFT.0, 0.0, whole.width() - self.size.width());
        let y = position(moment.seconds, DRIFT.1, 0.25, whole.height() - self.size.height());
        self.whole.crop(Rect { x, y, size: self.size })
    }
}

/// `size` and up to a third more each way; less, down to nothing, where that is more than a picture may have.
fn with_room(size: Size) -> Size {
    let larger = |percent: u64, side: u32| (u64::from(side) * (100 + percent) / 100 + 16).min(MAX_SIDE.into());
    let fitting = (0..=33).rev().step_by(3).find_map(|percent| {
        let (width, height) = (larger(percent, size.width()), larger(percent, size.height()));
        (width * height <= MAX_PIXELS).then(|| Size::new(width as u32, height as u32).ok())?
    });
    fitting.unwrap_or(size)
}

/// Where the camera is on one axis, an even pixel from 0 to `room`: it drifts to and fro and shakes, `phase` turns ahead.
fn position(seconds: f64, drift: f64, phase: f64, room: u32) -> u32 {
    let room = f64::from(room);
    let shake = SHAKE.0.min(room / 4.0);
    let way = room - 2.0 * shake;
    // A triangle wave: back from the edge at the same speed.
    let drifted = if way > 0.0 { way - (seconds * drift % (2.0 * way) - way).abs() } else { 0.0 };
    let shaken = shake * (1.0 + (TAU * (seconds / SHAKE.1 + phase)).sin());
    (drifted + shaken).clamp(0.0, room) as u32 & !1
}

/// Noise of one coarseness: a value every `spacing` samples, smooth between them.
#[derive(Clone, Copy)]
struct Octave {
    spacing: usize,
    amplitude: f32,
}

const fn octave(spacing: usize, amplitude: f32) -> Octave {
    Octave { spacing, amplitude }
}

/// Amplitudes fall with the size of the detail, as they do in photographs; the last is grain.
const LUMA: [Octave; 8] = [
    octave(256, 40.0),
    octave(128, 30.0),
    octave(64, 22.0),
    octave(32, 15.0),
    octave(16, 9.0),
    octave(8, 5.0),
    octave(4, 3.0),
    octave(1, 2.0),
];
const CHROMA: [Octave; 4] = [octave(128, 14.0), octave(64, 9.0), octave(16, 4.0), octave(4, 1.0)];

/// Sum of the octaves around the middle of the range, one row after the other.
fn fill(plane: &mut PlaneMut<'_>, mut random: SplitMix64, octaves: &[Octave]) {
    let mut layers: Vec<Layer> = octaves.iter().map(|octave| Layer::new(*octave, plane.width, random.next())).collect();
    let mut sum = vec![0.0; plane.width];
    for y in 0..plane.height {
        sum.fill(128.0);
        layers.iter_mut().for_each(|layer| layer.add(y, &mut sum));
        for (sample, value) in plane.row_mut(y).iter_mut().zip(&sum) {
            *sample = value.clamp(16.0, 235.0) as u8;
        }
    }
}

/// An octave on its way down the plane: only the values above and below the present row are held.
struct Layer {
    octave: Octave,
    random: SplitMix64,
    above: Vec<f32>,
    below: Vec<f32>,
    /// Weight of the right or lower neighbour for each place between two values.
    weights: Vec<f32>,
}

impl Layer {
    fn new(octave: Octave, width: usize, seed: u64) -> Self {
        let smooth = |at: f32| at * at * (3.0 - 2.0 * at);
        let weights = (0..octave.spacing).map(|at| smooth(at as f32 / octave.spacing as f32)).collect();
        let values = vec![0.0; width / octave.spacing + 2];
        let mut layer = Self { octave, random: SplitMix64::new(seed), above: values.clone(), below: values, weights };
        layer.descend();
        layer
    }

    fn descend(&mut self) {
        std::mem::swap(&mut self.above, &mut self.below);
        self.below.fill_with(|| self.random.symmetric() * self.octave.amplitude);
    }

    /// Adds row `y` to `sum`; rows are asked for in order.
    fn add(&mut self, y: usize, sum: &mut [f32]) {
        let down = y % self.octave.spacing;
        if down == 0 {
            self.descend();
        }
        let down = self.weights[down];
        let value = |column: usize| self.above[column] + (self.below[column] - self.above[column]) * down;
        for (column, chunk) in sum.chunks_mut(self.octave.spacing).enumerate() {
            let (left, right) = (value(column), value(column + 1));
            for (sample, weight) in chunk.iter_mut().zip(&self.weights) {
                *sample += left + (right - left) * weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_views_that_move_a_few_pixels() {
        let size = Size::new(640, 360).unwrap();
        let mut texture = Texture::new(size, 0);
        let whole = texture.whole.plane(0).data.as_ptr_range();
        let moment = |number| Moment { number, seconds: number as f64 / 30.0 };
        for number in 0..600 {
            let picture = texture.paint(moment(number));
            assert_eq!(picture.size(), size);
            assert!(whole.contains(&picture.plane(0).data.as_ptr()));
        }
        let place = |number: u64| position(number as f64 / 30.0, DRIFT.0, 0.0, 211);
        let steps: Vec<u32> = (0..600).map(|number| place(number).abs_diff(place(number + 1))).collect();
        assert!(steps.iter().all(|&step| step <= 4), "{steps:?}");
        assert!(steps.iter().filter(|&&step| step > 0).count() > 200);
    }

    #[test]
    fn the_largest_picture_has_no_room_left() {
        let largest = Size::new(8192, 4320).unwrap();
        assert_eq!(with_room(largest), largest);
        assert_eq!(position(5.0, DRIFT.0, 0.0, 0), 0);
        assert_eq!(with_room(Size::new(16_384, 100).unwrap()).width(), 16_384);
        assert_eq!(with_room(Size::new(1280, 720).unwrap()), Size::new(1718, 973).unwrap());
    }

    #[test]
    fn seeds_differ() {
        let size = Size::new(64, 64).unwrap();
        assert_ne!(Texture::new(size, 1).whole.luma(), Texture::new(size, 2).whole.luma());
    }
}
