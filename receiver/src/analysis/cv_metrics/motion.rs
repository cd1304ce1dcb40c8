//! What moved since the picture before, and where.

use super::{pixels, scene::Scene};

/// Rows whose differences, each below 256, fit 16 bits together.
const ROWS: usize = 257;

/// Motion of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Motion {
    /// 0 to 100.
    pub amount: f64,
    /// Which third of the picture moved most.
    pub zone: Option<&'static str>,
}

impl Motion {
    /// Compares the luma of two scenes but for the first row and column; scenes of different sizes tell nothing.
    pub(super) fn between(scene: &Scene, before: &Scene) -> Self {
        let [width, height] = scene.sides();
        if scene.size() != before.size() || width < 2 || height < 2 {
            return Self::default();
        }
        let (mut recent, mut columns) = (vec![0u16; width - 1], vec![0u64; width - 1]);
        for y in 1..height {
            pixels::add_motion(&scene.row(y).luma[1..], &before.row(y).luma[1..], &mut recent);
            if y % ROWS == 0 || y + 1 == height {
                for (column, recent) in columns.iter_mut().zip(&mut recent) {
                    *column += u64::from(std::mem::take(recent));
                }
            }
        }
        let total: u64 = columns.iter().sum();
        let moment: u64 = columns.iter().zip(1..).map(|(column, x)| column * x).sum();
        let pixels = ((width - 1) * (height - 1)) as f64;
        let (total, centre, width) = (total as f64, moment as f64 / total as f64, width as f64);
        let zone = || match centre {
            _ if centre < width / 3.0 => "left",
            _ if centre > 2.0 * width / 3.0 => "right",
            _ => "center",
        };
        Self { amount: (total / (pixels * 255.0) * 300.0).min(100.0), zone: (total > 8.0 * pixels).then(zone) }
    }
}

#[cfg(test)]
mod tests {
    use cv_core::geometry::Size;

    use super::*;

    /// A black picture with a white, or grey, box.
    fn scene(width: u32, height: u32, columns: std::ops::Range<u32>, level: u8) -> Scene {
        let pixels = (0..height).flat_map(|_| 0..width).map(|x| [if columns.contains(&x) { level } else { 0 }; 3]);
        let samples: Vec<u8> = pixels.flatten().collect();
        Scene::read(&Scene::draw(Size::new(width, height).unwrap(), &samples)).unwrap()
    }

    #[test]
    fn a_third_that_moves_is_told() {
        let still = scene(91, 600, 0..0, 255);
        let zone = |columns| Motion::between(&scene(91, 600, columns, 255), &still).zone;
        assert_eq!([zone(1..30), zone(31..60), zone(62..91)], [Some("left"), Some("center"), Some("right")]);
        assert_eq!(zone(1..3), None, "a few pixels are no zone");
        assert_eq!(zone(0..1), None, "the first column does not count");
    }

    #[test]
    fn the_amount_is_the_mean_difference_of_moving_pixels() {
        let before = scene(101, 601, 0..0, 0);
        let motion = |level| Motion::between(&scene(101, 601, 1..11, level), &before).amount;
        assert_eq!(motion(14), 0.0, "noise does not count");
        // A tenth of the pixels.
        assert!((motion(51) - 0.1 * 51.0 / 255.0 * 300.0).abs() < 1e-12);
        assert_eq!(Motion::between(&scene(9, 9, 0..9, 255), &scene(9, 9, 0..0, 0)).amount, 100.0);
    }

    #[test]
    fn scenes_of_different_sizes_and_of_one_row_have_not_moved() {
        assert_eq!(Motion::between(&scene(20, 9, 0..20, 255), &scene(9, 20, 0..0, 0)), Motion::default());
        assert_eq!(Motion::between(&scene(20, 1, 0..20, 255), &scene(20, 1, 0..0, 0)), Motion::default());
        assert_eq!(Motion::between(&scene(1, 20, 0..1, 255), &scene(1, 20, 0..0, 0)), Motion::default());
    }
}
