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
