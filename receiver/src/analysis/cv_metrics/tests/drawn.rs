//! Pictures of a face whose skin follows a known pulse.

use super::*;

/// A stream of integers that any language computes alike.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 16
    }

    /// Within ±0.5.
    fn even(&mut self) -> f64 {
        f64::from(self.next()) / 65_536.0 - 0.5
    }

    /// Of deviation 1, nearly normal.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.even()).sum()
    }
}

/// Whether a pixel is of the face, an ellipse.
fn is_face(x: u32, y: u32, size: Size) -> bool {
    let off = |place: u32, side: u32, centre: f64, radius: f64| {
        ((f64::from(place) - centre * f64::from(side)) / (radius * f64::from(side))).powi(2)
    };
    off(x, size.width(), 0.5, 0.17) + off(y, size.height(), 0.46, 0.34) <= 1.0
}

/// The colours of skin and background.
fn colour(x: u32, y: u32, size: Size) -> [f64; 3] {
    if is_face(x, y, size) {
        return [201.0, 148.0, 121.0];
    }
    let block = f64::from((x / 8 * 13 + y / 8 * 7) % 40);
    [60.0 + block, 70.0 + block, 110.0 + block]
}

/// A face with a pulse before a camera.
pub(super) struct Face {
    fps: f64,
    bpm: f64,
    frame: u32,
    noise: Noise,
    size: Size,
    /// Of each sample, in levels: so means of many tell differences below one.
    offsets: Vec<f64>,
}

impl Face {
    pub(super) fn new(fps: f64, bpm: f64) -> Self {
        let (mut noise, size) = (Noise(7), Size::new(64, 48).unwrap());
        let offsets = (0..cv_core::rgb::bytes(size)).map(|_| noise.even()).collect();
        Self { fps, bpm, frame: 0, noise, size, offsets }
    }

    /// Seconds of the frame to come.
    fn time(&self) -> f64 {
        f64::from(self.frame) / self.fps
    }

    fn samples(&mut self) -> Vec<u8> {
        let phase = std::f64::consts::TAU * (self.bpm / 60.0 * self.time() + 0.3);
        let drift = 1.0 + 0.04 * (std::f64::consts::TAU * self.time() / 34.0).sin();
        let gains = [0.00264, 0.00616, 0.00424].map(|amplitude| 1.0 + amplitude * phase.sin());
        let common = [0.30, 0.12, 0.30].map(|deviation| deviation * self.noise.normal());
        let mut samples = Vec::with_capacity(self.offsets.len());
        for (place, offsets) in (0..).zip(self.offsets.chunks(3)) {
            let (x, y) = (place % self.size.width(), place / self.size.width());
            let (face, colour) = (is_face(x, y, self.size), colour(x, y, self.size));
            for channel in 0..3 {
                let (gain, noise) = if face { (gains[channel], common[channel]) } else { (1.0, 0.0) };
                samples.push((colour[channel] * gain * drift + noise + offsets[channel]).round() as u8);
            }
        }
        samples
    }

    /// What is said of the next frame.
    pub(super) fn watched(&mut self, watched: &mut Watched) -> Value {
        let (time, samples) = ((self.time() * 1000.0).round() as i64, self.samples());
        self.frame += 1;
        watched.watch(time, self.fps, self.size, &samples)
    }
}

/// A face with the noise of a camera.
pub(super) fn noisy_face(size: Size, seed: u32) -> Vec<u8> {
    let mut noise = Noise(seed);
    let pixels = (0..size.height()).flat_map(|y| (0..size.width()).map(move |x| colour(x, y, size)));
    pixels.flatten().map(|sample| (sample + 3.0 * noise.normal()).round() as u8).collect()
}

#[test]
fn accurate_finds_constant_pulses_at_few_and_many_frames_a_second() {
    for fps in [10.0, 15.0, 30.0] {
        for bpm in [60.0, 90.0, 110.0, 130.0, 150.0, 170.0] {
            let (mut watched, mut face) = (Watched::new(Mode::Accurate), Face::new(fps, bpm));
            let (mut all, mut near) = (0, 0);
            while face.time() < 35.0 {
                let finding = face.watched(&mut watched);
                if face.time() > 20.0 {
                    let pulse = finding["pulseBpm"].as_f64().unwrap_or_default();
                    (all, near) = (all + 1, near + usize::from((pulse - bpm).abs() <= 3.0));
                }
            }
            assert!(near * 10 >= all * 9, "{bpm} at {fps} frames a second: {near} of {all} are near");
        }
    }
}

#[test]
fn the_original_takes_a_multiple_of_the_period_for_the_period() {
    let (mut watched, mut face) = (Watched::new(Mode::Upstream), Face::new(10.0, 150.0));
    let mut finding = Value::Null;
    while face.time() < 30.0 {
        finding = face.watched(&mut watched);
    }
    // Half or a third of it.
    assert!((45.0..80.0).contains(&finding["pulseBpm"].as_f64().unwrap()), "{finding}");
    assert!(finding["pulseConfidence"].as_f64().unwrap() > 60.0, "{finding}");
}
