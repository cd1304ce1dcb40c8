//! Where a box is and where it goes: a Kalman filter with true time steps.
//!
//! The model of SORT and ByteTrack, a constant velocity with noise in proportion to the object's height, in which no number
//! of a box depends on another: four filters of two numbers each, for centre and size. Their noise is given a second
//! instead of a picture, so pictures may come at any rate and any distance.

use crate::analysis::bounds::Bounds;

/// Standard deviation of a measured coordinate, as a share of the object's height.
const MEASURED: f64 = 1.0 / 20.0;

/// Variance that a coordinate gains in a second besides what its velocity brings, in squared heights: 1/20 of the height a
/// picture, at 30 a second.
const WANDER: f64 = 30.0 / 400.0;

/// Variance that a velocity gains in a second, in squared heights a second: 1/160 of the height a picture, at 30 a second.
const PUSH: f64 = 30.0 * (30.0 / 160.0) * (30.0 / 160.0);

/// Standard deviation of the velocity of what was just seen for the first time, in heights a second.
const UNKNOWN: f64 = 1.0;

/// Seconds beyond which nothing more is expected of a prediction.
const LONGEST_STEP: f64 = 60.0;

/// The state of one box.
#[derive(Clone, Debug)]
pub(super) struct Motion {
    /// Centre x, centre y, width, height.
    coordinates: [Coordinate; 4],
}

/// A number, how fast it changes, and how sure of both one is.
#[derive(Clone, Copy, Debug)]
struct Coordinate {
    place: f64,
    velocity: f64,
    /// Variances of place and velocity, and their covariance.
    places: f64,
    velocities: f64,
    both: f64,
}

impl Motion {
    /// Stands where it was seen, as far as is known.
    pub(super) fn new(bounds: Bounds) -> Self {
        let [.., height] = bounds;
        let measured = (MEASURED * height).powi(2);
        let coordinates = centred(bounds).map(|place| Coordinate {
            place,
            velocity: 0.0,
            places: 4.0 * measured,
            velocities: (UNKNOWN * height).powi(2),
            both: 0.0,
        });
        Self { coordinates }
    }

    /// The box that is expected now.
    pub(super) fn bounds(&self) -> Bounds {
        let [x, y, width, height] = self.coordinates.map(|coordinate| coordinate.place);
        // A size that shrank on its way comes to no less than a pixel.
        let (width, height) = (width.max(1.0), height.max(1.0));
        [x - width / 2.0, y - height / 2.0, width, height]
    }

    /// Moves on by so many seconds.
    pub(super) fn predict(&mut self, seconds: f64) {
        let seconds = seconds.clamp(0.0, LONGEST_STEP);
        let height = self.bounds()[3];
        for coordinate in &mut self.coordinates {
            coordinate.predict(seconds, height * height);
        }
    }

    /// Takes in that it was seen.
    pub(super) fn correct(&mut self, bounds: Bounds) {
        let measured = (MEASURED * self.bounds()[3]).powi(2);
        for (coordinate, seen) in self.coordinates.iter_mut().zip(centred(bounds)) {
            coordinate.correct(seen, measured);
        }
    }

    /// Is not seen any more: what is hidden step by step seems to shrink, and must not go on to.
    pub(super) fn hide(&mut self) {
        for coordinate in &mut self.coordinates[2..] {
            coordinate.velocity = 0.0;
        }
    }
}

impl Coordinate {
    fn predict(&mut self, seconds: f64, unit: f64) {
        self.place += seconds * self.velocity;
        // White noise in the acceleration, and in the place itself.
        let push = PUSH * unit;
        self.places += seconds * (2.0 * self.both + seconds * self.velocities);
        self.places += seconds * (WANDER * unit + push * seconds * seconds / 3.0);
        self.both += seconds * (self.velocities + push * seconds / 2.0);
        self.velocities += seconds * push;
    }

    fn correct(&mut self, seen: f64, measured: f64) {
        let total = self.places + measured;
        if total <= 0.0 {
            return;
        }
        let (gain, push) = (self.places / total, self.both / total);
        let surprise = seen - self.place;
        self.place += gain * surprise;
        self.velocity += push * surprise;
        self.velocities -= push * self.both;
        self.both *= 1.0 - gain;
        self.places *= 1.0 - gain;
    }
}

fn centred([left, top, width, height]: Bounds) -> [f64; 4] {
    [left + width / 2.0, top + height / 2.0, width, height]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_steadily_is_expected_where_it_comes_at_any_rate() {
        for fps in [5.0, 30.0, 120.0] {
            let mut motion = Motion::new([0.0, 50.0, 40.0, 100.0]);
            let mut time = 0.0;
            while time < 2.0 {
                motion.predict(1.0 / fps);
                time += 1.0 / fps;
                motion.correct([80.0 * time, 50.0, 40.0, 100.0]);
            }
            motion.predict(0.5);
            let [left, top, width, height] = motion.bounds();
            assert!((left - 80.0 * (time + 0.5)).abs() < 3.0, "{fps}: {left}");
            assert!((top - 50.0).abs() < 0.5 && (width - 40.0).abs() < 0.5 && (height - 100.0).abs() < 0.5);
        }
    }

    #[test]
    fn what_is_hidden_keeps_its_size() {
        let mut motion = Motion::new([0.0, 0.0, 40.0, 100.0]);
        for step in 1..30 {
            motion.predict(0.03);
            motion.correct([0.0, 0.0, 40.0, 100.0 - f64::from(step)]);
        }
        motion.hide();
        let before = motion.bounds()[3];
        motion.predict(2.0);
        assert_eq!(motion.bounds()[3], before);
    }
}
