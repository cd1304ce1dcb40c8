//! The pulse rate as it is reported, and what it usually is.

use super::{Mode, Pulse};
use super::super::scores::tenths;

/// Smoothed rate and its baseline.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Rate {
    bpm: Option<f64>,
    usual: Option<f64>,
}

impl Rate {
    /// Takes in a frame's pulse; the answer is how far the rate is off the usual one, 0 to 100.
    pub(in super::super) fn update(&mut self, pulse: Option<Pulse>, motion: f64) -> f64 {
        let Some(pulse) = pulse else { return 0.0 };
        let bpm = self.bpm.map_or(pulse.bpm, |old| 0.92 * old + 0.08 * pulse.bpm);
        self.bpm = Some(tenths(bpm));
        match &mut self.usual {
            None if pulse.confidence > 35.0 => self.usual = Some(bpm),
            Some(usual) if pulse.confidence > 25.0 && motion < 35.0 => *usual = 0.992 * *usual + 0.008 * bpm,
            _ => {}
        }
        self.usual.map_or(0.0, |usual| (2.3 * (tenths(bpm) - usual).abs()).min(100.0))
    }

    /// Beats a minute, in tenths.
    pub(in super::super) fn bpm(&self) -> Option<f64> {
        self.bpm
    }

    /// What they usually are.
    pub(in super::super) fn usual(&self) -> Option<f64> {
        self.usual
    }
}
