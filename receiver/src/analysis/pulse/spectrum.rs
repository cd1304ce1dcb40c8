//! The power of a short signal over beats a minute, its peak, and how far that stands out.

use std::f64::consts::{PI, TAU};

use super::trace::RATE;

/// Beats a minute from one bin to the next.
const STEP: f64 = 0.25;

/// Half the width around a beat's frequency that counts as signal, in beats a minute: 0.1 Hz (de Haan and Jeanne
/// 2013, "Robust pulse rate from chrominance-based rPPG", IEEE Transactions on Biomedical Engineering 60(10)), or
/// half the main lobe of the window function where the signal is so short that this is wider.
fn half_width(count: usize) -> f64 {
    (120.0 * RATE / count as f64).max(6.0)
}

/// How much an overtone counts when the fundamental is chosen: with less a fundamental weaker than its overtone would be
/// missed, with more a pure tone would pass for the overtone of half its frequency.
const OVERTONE: f64 = 0.5;

/// Power from `low` beats a minute on.
#[derive(Clone, Debug)]
pub(super) struct Spectrum {
    low: f64,
    power: Vec<f64>,
    half_width: f64,
}

/// What stands out of a spectrum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Peak {
    /// Beats a minute.
    pub(super) bpm: f64,
    /// Power around it and its first overtone over the power of the rest of the band, in decibels, -40 to 40.
    pub(super) snr_db: f64,
    /// By how much that is more than of power spread evenly over the band, where short windows leave little that is not
    /// near a beat.
    pub(super) gain_db: f64,
}

impl Spectrum {
    /// The power of `signal`, [`RATE`] samples a second, over a band of beats a minute, through a Hann window.
    pub(super) fn of(signal: &[f64], (low, high): (f64, f64)) -> Self {
        let windowed = hann(signal);
        let bins = ((high - low) / STEP).floor().max(0.0) as usize + 1;
        let omega = |bin: usize| TAU * (low + bin as f64 * STEP) / 60.0 / RATE;
        let mut power = Vec::with_capacity(bins + LANES);
        for first in (0..bins).step_by(LANES) {
            power.extend(goertzel(&windowed, std::array::from_fn(|lane| 2.0 * omega(first + lane).cos())));
        }
        power.truncate(bins);
        Self { low, power, half_width: half_width(signal.len()) }
    }

    /// Its strongest beat; `None` of a signal that is 0 throughout.
    pub(super) fn peak(&self) -> Option<Peak> {
        let best = (0..self.power.len()).max_by(|&one, &other| self.score(one).total_cmp(&self.score(other)))?;
        let total: f64 = self.power.iter().sum();
        if total <= 0.0 {
            return None;
        }
        let bpm = self.low + (best as f64 + self.offset(best)) * STEP;
        let is_signal = |bin: &usize| {
            let here = self.low + *bin as f64 * STEP;
            (here - bpm).abs().min((here - 2.0 * bpm).abs()) <= self.half_width
        };
        let bins: Vec<usize> = (0..self.power.len()).filter(is_signal).collect();
        let signal: f64 = bins.iter().map(|&bin| self.power[bin]).sum();
        let snr_db = ratio_db(signal, total);
        Some(Peak { bpm, snr_db, gain_db: snr_db - ratio_db(bins.len() as f64, self.power.len() as f64) })
    }

    /// How well bin `bin` explains the signal as a fundamental.
    fn score(&self, bin: usize) -> f64 {
        let overtone = 2.0 * (self.low + bin as f64 * STEP);
        self.power[bin] + OVERTONE * self.at(overtone)
    }

    /// Whether a fundamental within a signal's width of `one` explains the signal better than one there of `other`.
    pub(super) fn prefers(&self, one: f64, other: f64) -> bool {
        let best = |bpm: f64| {
            let bins = (0..self.power.len())
                .filter(|bin| (self.low + *bin as f64 * STEP - bpm).abs() <= self.half_width / 2.0);
            bins.map(|bin| self.score(bin)).fold(0.0, f64::max)
        };
        best(one) > best(other)
    }

    /// The power at so many beats a minute, 0 outside the band.
    fn at(&self, bpm: f64) -> f64 {
        let bin = ((bpm - self.low) / STEP).round() as usize;
        self.power.get(bin).copied().unwrap_or(0.0)
    }

    /// Where between its neighbours the peak of bin `bin` lies, -0.5 to 0.5 bins: the vertex of a parabola.
    fn offset(&self, bin: usize) -> f64 {
        let Some(&[before, here, after]) =
            bin.checked_sub(1).and_then(|from| self.power.get(from..from + 3)?.first_chunk())
        else {
            return 0.0;
        };
        let bend = before - 2.0 * here + after;
        if bend < 0.0 { ((before - after) / (2.0 * bend)).clamp(-0.5, 0.5) } else { 0.0 }
    }
}

/// `part` over the rest of `whole` in decibels, -40 to 40.
fn ratio_db(part: f64, whole: f64) -> f64 {
    (10.0 * (part / (whole - part).max(f64::MIN_POSITIVE)).log10()).clamp(-40.0, 40.0)
}

/// `signal` without its straight line (least squares), through a Hann window.
fn hann(signal: &[f64]) -> Vec<f64> {
    let count = signal.len() as f64;
    let centre = (count - 1.0) / 2.0;
    let place = |index: usize| index as f64 - centre;
    let mean = signal.iter().sum::<f64>() / count.max(1.0);
    let spread: f64 = (0..signal.len()).map(|index| place(index).powi(2)).sum();
    let along: f64 = signal.iter().enumerate().map(|(index, value)| place(index) * value).sum();
    let slope = if spread > 0.0 { along / spread } else { 0.0 };
    let window = |index: usize| (PI * (index as f64 + 0.5) / count).sin().powi(2);
    signal.iter().enumerate().map(|(i, value)| (value - mean - slope * place(i)) * window(i)).collect()
}

/// Frequencies that are measured side by side, so that the processor has something to do while it waits for each.
const LANES: usize = 8;

/// The power of `signal` at frequencies given as twice the cosine of radians a sample (Goertzel 1958).
fn goertzel(signal: &[f64], turns: [f64; LANES]) -> [f64; LANES] {
    let (mut last, mut before) = ([0.0; LANES], [0.0; LANES]);
    for value in signal {
        for lane in 0..LANES {
            let next = value + turns[lane] * last[lane] - before[lane];
            before[lane] = last[lane];
            last[lane] = next;
        }
    }
    std::array::from_fn(|i| (last[i] * last[i] + before[i] * before[i] - turns[i] * last[i] * before[i]).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 12 s of tones, each given as beats a minute and amplitude.
    fn tones(tones: &[(f64, f64)]) -> Vec<f64> {
        let at = |step: usize| {
            let wave = |(bpm, amplitude): &(f64, f64)| amplitude * (TAU * bpm / 60.0 * step as f64 / RATE + 0.4).sin();
            tones.iter().map(wave).sum()
        };
        (0..360).map(at).collect()
    }

    fn peak(signal: &[f64]) -> Option<Peak> {
        Spectrum::of(signal, (42.0, 210.0)).peak()
    }

    #[test]
    fn a_tone_is_found_to_a_third_of_a_beat() {
        for bpm in [45.3, 60.0, 71.87, 120.4, 179.9, 205.0] {
            let peak = peak(&tones(&[(bpm, 1.0)])).unwrap();
            assert!((peak.bpm - bpm).abs() < 0.35 && peak.snr_db > 15.0, "{bpm}: {peak:?}");
        }
    }

    #[test]
    fn neither_a_strong_overtone_nor_a_pure_tone_is_taken_for_its_octave() {
        assert!((peak(&tones(&[(60.0, 1.0), (120.0, 1.1)])).unwrap().bpm - 60.0).abs() < 1.0);
        assert!((peak(&tones(&[(120.0, 1.0)])).unwrap().bpm - 120.0).abs() < 1.0);
        assert!((peak(&tones(&[(120.0, 1.0), (60.0, 0.3)])).unwrap().bpm - 120.0).abs() < 1.0);
    }

    #[test]
    fn a_straight_line_is_no_beat_and_silence_has_no_peak() {
        let mut signal = tones(&[(75.0, 1.0)]);
        signal.iter_mut().enumerate().for_each(|(index, value)| *value += 0.5 * index as f64);
        assert!((peak(&signal).unwrap().bpm - 75.0).abs() < 0.3);
        assert_eq!(peak(&[0.0; 360]), None);
        assert_eq!(Spectrum::of(&[], (42.0, 210.0)).peak(), None);
    }

    #[test]
    fn what_is_spread_over_the_band_does_not_stand_out() {
        // In phase at the middle only, so that nothing but their number makes a difference.
        let everywhere = |step: usize| {
            (0..32)
                .map(|n| (TAU * (44.0 + 5.0 * f64::from(n)) / 60.0 * step as f64 / RATE + f64::from(n * n)).sin())
                .sum()
        };
        let peak = peak(&(0..360).map(everywhere).collect::<Vec<f64>>()).unwrap();
        assert!(peak.snr_db < 0.0 && peak.gain_db < 5.0, "{peak:?}");
    }
}
