//! Skin that beats as blood makes it: by less than one 8-bit level.
//!
//! Each block of the patch rounds with its own fixed offset, so that the share of blocks that are
//! one level brighter carries the fraction and means over an area follow the sinusoid exactly.

use std::f64::consts::TAU;

use cv_core::{
    geometry::Size,
    picture::{Picture, PlaneMut, Pool, Range},
};

use super::{
    Kind, Moment, Painter,
    canvas::{self, Canvas},
    colour,
};

pub(super) const KIND: Kind = Kind {
    name: "pulse",
    help: "a patch of skin that beats (bpm=72: beats a minute, 20 to 300; motion=0: pixels it sways to each side)",
    parameters: &["bpm", "motion"],
    open: |size, parameters| {
        let bpm = parameters.number("bpm", 20.0..=300.0)?.unwrap_or(72.0);
        let motion = parameters.number("motion", 0.0..=1000.0)?.unwrap_or(0.0);
        Ok(Box::new(Pulse::new(size, bpm, motion)))
    },
};

/// Mean red, green and blue of lit skin.
const SKIN: [f64; 3] = [201.0, 148.0, 121.0];
/// By what share of its mean each of them beats to either side.
const BEAT: [f64; 3] = [0.0026, 0.0062, 0.0042];
/// Share of the picture's width and height that the patch fills, around the centre.
const PATCH: f64 = 0.6;
/// Samples that share one rounding offset, a side: H.264's transform block, so that a step is all DC and the coarsest quantiser keeps it longest.
const BLOCK: usize = 4;
/// How often the patch sways, in hertz: slower than any pulse.
const SWAY: f64 = 0.25;

struct Pulse {
    bpm: f64,
    motion: f64,
    background: Picture,
    pool: Pool,
}

/// Where the patch is in one picture: its first column and row and those behind its last.
#[derive(Clone, Copy)]
struct Patch {
    columns: (usize, usize),
    rows: (usize, usize),
}

impl Pulse {
    fn new(size: Size, bpm: f64, motion: f64) -> Self {
        let pool = Pool::default();
        let background = canvas::picture(&pool, size, |canvas| canvas.clear(colour::rgb(88, 96, 104)));
        Self { bpm, motion, background, pool }
    }

    /// Unrounded Y, U and V of the skin.
    fn skin(&self, seconds: f64) -> [f64; 3] {
        let beat = (TAU * self.bpm / 60.0 * seconds).sin();
        let [r, g, b] = [0, 1, 2].map(|index| SKIN[index] * (1.0 + BEAT[index] * beat));
        colour::yuv([r, g, b])
    }

    fn patch(&self, seconds: f64) -> Patch {
        let span = |side: u32, shift: f64| {
            let side = f64::from(side);
            let even = |at: f64| (at.clamp(0.0, side) / 2.0).round() as usize * 2;
            (even(side * (1.0 - PATCH) / 2.0 + shift), even(side * (1.0 + PATCH) / 2.0 + shift))
        };
        let size = self.background.size();
        let sway = self.motion * (TAU * SWAY * seconds).sin();
        Patch { columns: span(size.width(), sway), rows: span(size.height(), 0.0) }
    }
}

impl Painter for Pulse {
    fn paint(&mut self, moment: Moment) -> Picture {
        let mut picture = self.pool.picture(self.background.size(), Range::Limited);
        Canvas::new(&mut picture).copy(&self.background);
        let Patch { columns, rows } = self.patch(moment.seconds);
        let skin = self.skin(moment.seconds);
        for ((mut plane, level), scale) in picture.planes_mut().into_iter().zip(skin).zip([1, 2, 2]) {
            let area = Patch {
                columns: (columns.0 / scale, (columns.1 / scale).min(plane.width)),
                rows: (rows.0 / scale, (rows.1 / scale).min(plane.height)),
            };
            dither(&mut plane, area, level);
        }
        picture.freeze()
    }
}

/// Fills `area` so that its mean is `level`.
fn dither(plane: &mut PlaneMut<'_>, area: Patch, level: f64) {
    let (dark, fraction) = (level as u8, (level.fract() * f64::from(u32::MAX)) as u32);
    let mut row = vec![0; area.columns.1.saturating_sub(area.columns.0)];
    for (block_y, top) in (area.rows.0..area.rows.1).step_by(BLOCK).enumerate() {
        for (block_x, block) in row.chunks_mut(BLOCK).enumerate() {
            block.fill(dark + u8::from(offset(block_x as u32, block_y as u32) < fraction));
        }
        for y in top..(top + BLOCK).min(area.rows.1) {
            plane.row_mut(y)[area.columns.0..][..row.len()].copy_from_slice(&row);
        }
    }
}

/// The rounding offset of a block, in 2^-32 levels: Roberts' R2 sequence, whose values are spread
/// evenly over every part of the plane, large or small.
fn offset(x: u32, y: u32) -> u32 {
    x.wrapping_mul(0xc13f_a9a9).wrapping_add(y.wrapping_mul(0x91e1_0da5))
}
