//! Noise: the hardest pictures there are for an encoder.
//!
//! Every row is a piece of one table of random samples, taken from a random place: as new in
//! every picture as samples drawn one by one, at the price of a copy.

use cv_core::{
    geometry::{MAX_SIDE, Size},
    picture::{Picture, Pool, Range},
};

use super::{Kind, Moment, Painter, prng::SplitMix64};

pub(super) const KIND: Kind = Kind {
    name: "noise",
    help: "noise, different in every picture (seed=0: which noise, level=64: up to how far from grey, 1 to 109)",
    parameters: &["seed", "level"],
    open: |size, parameters| {
        let seed = parameters.number("seed", 0..=u64::MAX)?.unwrap_or(0);
        let level = parameters.number("level", 1..=109)?.unwrap_or(64);
        Ok(Box::new(Noise::new(size, seed, level)))
    },
};

/// Places in the table where a row may start; a power of two, well above the rows of a picture.
const STARTS: usize = 1 << 16;
/// Middle of luma's range 16 to 235, near enough that of chroma.
const GREY: f32 = 126.0;

struct Noise {
    size: Size,
    seed: u64,
    table: Vec<u8>,
    pool: Pool,
}

impl Noise {
    fn new(size: Size, seed: u64, level: u8) -> Self {
        let mut random = SplitMix64::new(seed);
        let mut sample = || (GREY + random.symmetric() * f32::from(level)).round() as u8;
        let table = (0..STARTS + MAX_SIDE as usize).map(|_| sample()).collect();
        Self { size, seed, table, pool: Pool::default() }
    }
}

impl Painter for Noise {
    fn paint(&mut self, moment: Moment) -> Picture {
        let mut random = SplitMix64::part(self.seed, moment.number);
        let mut picture = self.pool.picture(self.size, Range::Limited);
        for mut plane in picture.planes_mut() {
            for y in 0..plane.height {
                let start = random.next() as usize % STARTS;
                let width = plane.width;
                plane.row_mut(y).copy_from_slice(&self.table[start..][..width]);
            }
        }
        picture.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(number: u64, seed: u64, level: u8) -> Picture {
        Noise::new(Size::new(320, 180).unwrap(), seed, level).paint(Moment { number, seconds: 0.0 })
    }

    #[test]
    fn pictures_and_seeds_differ() {
        let first = picture(0, 1, 64);
        assert_ne!(first.luma(), picture(1, 1, 64).luma());
        assert_ne!(first.luma(), picture(0, 2, 64).luma());
    }

    #[test]
    fn samples_fill_the_level_around_grey() {
        let picture = picture(3, 1, 20);
        let luma: Vec<f64> = picture.luma().iter().map(|&sample| f64::from(sample)).collect();
        let mean = luma.iter().sum::<f64>() / luma.len() as f64;
        assert!((mean - 126.0).abs() < 0.5, "mean {mean}");
        assert!(luma.iter().all(|sample| (106.0..=146.0).contains(sample)));
    }
}
