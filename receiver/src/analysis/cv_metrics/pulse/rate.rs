//! The pulse rate as it is reported, and what it usually is.

use super::{super::scores::tenths, Mode, Pulse};

/// Smoothed rate and its baseline.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Rate {
    mode: Mode,
    bpm: Option<f64>,
    usual: Option<f64>,
}

impl Rate {
    /// No rate yet.
    pub(in super::super) fn new(mode: Mode) -> Self {
        Self { mode, bpm: None, usual: None }
    }

    /// What is kept of a rate: in the original tenths, in which the smoothed rate comes to rest before the estimate.
    fn kept(&self, bpm: f64) -> f64 {
        match self.mode {
            Mode::Upstream => tenths(bpm),
            Mode::Accurate => bpm,
        }
    }

    /// Takes in a frame's pulse; the answer is how far the rate is off the usual one, 0 to 100.
    pub(in super::super) fn update(&mut self, pulse: Option<Pulse>, motion: f64) -> f64 {
        let Some(pulse) = pulse else { return 0.0 };
        let estimate = self.kept(pulse.bpm);
        let bpm = self.bpm.map_or(estimate, |old| 0.92 * old + 0.08 * estimate);
        self.bpm = Some(self.kept(bpm));
        match &mut self.usual {
            None if pulse.confidence > 35.0 => self.usual = Some(bpm),
            Some(usual) if pulse.confidence > 25.0 && motion < 35.0 => *usual = 0.992 * *usual + 0.008 * bpm,
            _ => {}
        }
        self.usual.map_or(0.0, |usual| (2.3 * (self.kept(bpm) - usual).abs()).min(100.0))
    }

    /// Beats a minute, in tenths.
    pub(in super::super) fn bpm(&self) -> Option<f64> {
        self.bpm.map(tenths)
    }

    /// What they usually are, in tenths.
    pub(in super::super) fn usual(&self) -> Option<f64> {
        self.usual.map(tenths)
    }
}
