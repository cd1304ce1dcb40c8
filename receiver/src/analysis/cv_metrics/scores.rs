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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_are_those_of_the_exact_value() {
        // 0.25 and 0.75 are exact and go to the even tenth; 0.35 is a little less than it looks, 0.45 a little more.
        assert_eq!([0.25, 0.75, 0.35, 0.45, -0.04, 99.96].map(tenths), [0.2, 0.8, 0.3, 0.5, 0.0, 100.0]);
        assert!(tenths(-0.01).is_sign_positive());
    }

    #[test]
    fn a_baseline_worth_something_lowers_the_thresholds() {
        let level = |risk, strength, usual| {
            bluff_level(risk, usual, &Standing { stress: usual, bluff: usual, progress: strength, strength })
        };
        assert_eq!([41.9, 42.0, 67.9, 68.0].map(|risk| level(risk, 0.19, 0.0)), ["low", "watch", "watch", "elevated"]);
        // 46 is 42 above what is usual; times 0.68 that is more than 28.
        assert_eq!(level(46.0, 0.2, 4.0), "elevated");
        assert_eq!([33.9, 34.0].map(|risk| level(risk, 0.2, 4.0)), ["low", "watch"]);
        assert_eq!(level(45.0, 1.0, 45.0), "watch");
    }

    #[test]
    fn words_follow_stress_motion_and_quality() {
        let signals =
            |motion| Signals { brightness: 55.0, motion, skin_coverage: 100.0, confidence: 100.0, pulse_stress: 0.0 };
        assert_eq!(signals(0.0).quality(), 100.0);
        let emotion = |motion, stress| signals(motion).emotion(50.0, stress);
        assert_eq!([emotion(19.9, 23.9), emotion(20.0, 23.9), emotion(0.0, 24.0)], ["calm", "focused", "focused"]);
        assert_eq!(
            [emotion(0.0, 46.0), emotion(0.0, 70.0), signals(0.0).emotion(29.9, 99.0)],
            ["tense", "agitated", "unknown"]
        );
        assert_eq!([44.9, 45.0, 70.0].map(signal_quality), ["poor", "fair", "good"]);
    }
}
