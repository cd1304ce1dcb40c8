//! From signals to scores: quality, stress, bluff risk, and the words for them.

use super::usual::Standing;

/// `value` as a number of tenths, the way that decimal places are cut in the original: the nearest of the exact
/// value, and the even one of two that are equally near.
pub(super) fn tenths(value: f64) -> f64 {
    // Formatting is exact, where a product with ten is not. What is printed parses.
    format!("{value:.1}").parse::<f64>().unwrap_or(0.0) + 0.0
}

/// What is known of a frame before it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals {
    /// Mean luma, 0 to 100.
    pub brightness: f64,
    /// 0 to 100.
    pub motion: f64,
    /// 0 to 100.
    pub skin_coverage: f64,
    /// Of the pulse, 0 to 100.
    pub confidence: f64,
    /// How far the pulse is off its usual rate, 0 to 100.
    pub pulse_stress: f64,
}

impl Signals {
    /// How far the signals can be trusted, 0 to 100.
    pub(super) fn quality(&self) -> f64 {
        let light = 100.0 - (1.8 * (self.brightness - 55.0).abs()).min(100.0);
        (0.45 * self.skin_coverage + 0.35 * self.confidence + 0.2 * light).clamp(0.0, 100.0)
    }

    /// Stress, in tenths, at this `quality`.
    pub(super) fn stress(&self, quality: f64) -> f64 {
        tenths(((0.5 * self.motion + 0.5 * self.pulse_stress) * (0.65 + quality / 200.0)).clamp(0.0, 100.0))
    }

    /// Bluff risk, in tenths, at this stress after that of the frame before.
    pub(super) fn bluff_risk(&self, stress: f64, before: f64) -> f64 {
        let still = if self.motion < 20.0 { 60.0 } else { (35.0 - self.motion).max(0.0) };
        let rise = (3.0 * (stress - before)).max(0.0);
        tenths((0.5 * stress + 0.24 * self.pulse_stress + 0.18 * rise + 0.08 * still).clamp(0.0, 100.0))
    }

    /// The word for stress and motion.
    pub(super) fn emotion(&self, quality: f64, stress: f64) -> &'static str {
        match stress {
            _ if quality < 30.0 => "unknown",
            _ if stress < 24.0 && self.motion < 20.0 => "calm",
            _ if stress < 46.0 => "focused",
            _ if stress < 70.0 => "tense",
            _ => "agitated",
        }
    }
}

/// The word for a quality.
pub(super) fn signal_quality(quality: f64) -> &'static str {
    match quality {
        _ if quality >= 70.0 => "good",
        _ if quality >= 45.0 => "fair",
        _ => "poor",
    }
}

/// The word for a bluff risk beside what is usual: a baseline worth something lowers the thresholds.
pub(super) fn bluff_level(risk: f64, stress: f64, usual: &Standing) -> &'static str {
    let excess = (0.68 * (risk - usual.bluff) + 0.32 * (stress - usual.stress)).max(0.0);
    let (mut elevated, mut watch) = (68.0, 42.0);
    if usual.strength >= 0.2 {
        match excess {
            _ if excess >= 28.0 && risk >= 46.0 => return "elevated",
            _ if excess >= 16.0 && risk >= 34.0 => return "watch",
            _ => {}
        }
        elevated -= 5.0 * usual.strength * ((excess - 8.0) / 20.0).clamp(0.0, 1.0);
        watch -= 7.0 * usual.strength * ((excess - 6.0) / 18.0).clamp(0.0, 1.0);
    }
    match risk {
        _ if risk >= elevated => "elevated",
        _ if risk >= watch => "watch",
        _ => "low",
    }
}
