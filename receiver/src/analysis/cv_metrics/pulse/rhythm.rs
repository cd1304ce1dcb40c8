//! Periods of a signal: the power of the frequencies in the pulse's band, and how alike it is to itself some time later.

use std::f64::consts::TAU;

/// The slowest and the fastest pulse looked for, in Hz.
pub(super) const BAND: [f64; 2] = [0.7, 3.2];

/// Seconds of a segment, whose spectra are added.
const SEGMENT: f64 = 6.0;
/// The first of the frequencies computed, in cycles a segment. A segment of 6 s, rounded down by less than one of its at
/// least 144 samples, has frequencies 1/6 to 1/5.95 Hz apart, so that the band begins and ends between the 5th and the 19th.
const FIRST: usize = 5;
/// How many: one more than needed fills registers.
const BINS: usize = 16;
/// Lags computed at a time.
const LAGS: usize = 8;

/// A peak of a spectrum or of an autocorrelation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Peak {
    /// Where, in Hz.
    pub frequency: f64,
    /// How distinct, 0 to 1.
    pub score: f64,
}

/// Powers by frequency, after Welch (1967): of half-overlapping segments under a Hann window, added.
#[derive(Clone, Debug, Default)]
pub(super) struct Spectrum {
    segment: usize,
    /// For the first half of a segment, the middle included: cosines and sines about the middle, times the window.
    waves: Vec<[[f64; BINS]; 2]>,
}

impl Spectrum {
    /// The powers of `signal` at `rate` samples a second in the band, lowest frequency first: frequency, power.
    /// Empty if it is shorter than a segment.
    pub(super) fn powers<'a>(&mut self, signal: &[f64], rate: f64, powers: &'a mut [(f64, f64); BINS]) -> &'a [(f64, f64)] {
        self.prepare((SEGMENT * rate) as usize);
        let mut sums = [0.0; BINS];
        for start in (0..).step_by((self.segment / 2).max(1)) {
            let Some(segment) = signal.get(start..start + self.segment) else { break };
            let mean = segment.iter().sum::<f64>() / segment.len() as f64;
            let waves = self.amplitudes(segment, mean);
            sums = std::array::from_fn(|bin| sums[bin] + (waves[0][bin].powi(2) + waves[1][bin].powi(2)));
        }
        for (bin, (place, sum)) in powers.iter_mut().zip(sums).enumerate() {
            *place = ((FIRST + bin) as f64 * rate / self.segment as f64, sum);
        }
        let inside = |power: &&(f64, f64)| (BAND[0]..=BAND[1]).contains(&power.0);
        let first = powers.iter().position(|power| inside(&power)).unwrap_or(BINS);
        let count = powers[first..].iter().take_while(inside).count();
        &powers[first..first + count]
    }

    /// Cosine and sine amplitudes of one segment. About the middle cosines are even and sines are odd, so that
    /// what lies as far before as after it is added or subtracted first.
    fn amplitudes(&self, segment: &[f64], mean: f64) -> [[f64; BINS]; 2] {
        let [mut cosines, mut sines] = [[0.0; BINS]; 2];
        for ((&early, &late), [cosine, sine]) in segment.iter().zip(segment.iter().rev()).zip(&self.waves) {
            let (even, odd) = (early + late - 2.0 * mean, late - early);
            for bin in 0..BINS {
                cosines[bin] += even * cosine[bin];
                sines[bin] += odd * sine[bin];
            }
        }
        [cosines, sines]
    }

    /// Fills the table for segments of `segment` samples, unless it is there already.
    fn prepare(&mut self, segment: usize) {
        if segment == self.segment {
            return;
        }
        self.segment = segment;
        self.waves.clear();
        self.waves.extend((0..segment.div_ceil(2)).map(|index| {
            let window = 0.5 - 0.5 * (TAU * index as f64 / (segment - 1) as f64).cos();
            // The middle of an odd segment meets itself.
            let weight = if 2 * index + 1 == segment { window / 2.0 } else { window };
            let distance = (segment - 1) as f64 / 2.0 - index as f64;
            let angle = |bin: usize| TAU * (FIRST + bin) as f64 * distance / segment as f64;
            [std::array::from_fn(|bin| weight * angle(bin).cos()), std::array::from_fn(|bin| weight * angle(bin).sin())]
        }));
    }
}

/// The highest power and how much it stands out: from the band, and from the second highest.
pub(super) fn strongest(powers: &[(f64, f64)]) -> Option<Peak> {
    /// How near to the peak power counts as the peak's, in Hz.
    const NEAR: f64 = 0.08;
    let (place, &(frequency, highest)) = powers.iter().enumerate().reduce(|a, b| if b.1.1 > a.1.1 { b } else { a })?;
    let total: f64 = powers.iter().map(|power| power.1).sum();
    let near: f64 = powers.iter().filter(|power| (power.0 - frequency).abs() <= NEAR).map(|power| power.1).sum();
    let others = powers.iter().enumerate().filter(|(other, _)| *other != place);
    let second = others.map(|(_, power)| power.1).fold(0.0, f64::max);
    if total <= 0.0 {
        return None;
    }
    let ratio = highest / second.max(1e-12);
    let score = 0.6 * (near / total) + 0.4 * ((ratio - 1.0) / 2.0).clamp(0.0, 1.0);
    Some(Peak { frequency, score: score.clamp(0.0, 1.0) })
}

/// How alike `signal` is to itself by lags of the band, lowest lag first, relative to lag 0: lag in samples, value. `values` is replaced.
pub(super) fn autocorrelation(signal: &[f64], rate: f64, values: &mut Vec<(usize, f64)>) {
    let lags = (rate / BAND[1]) as usize..=((rate / BAND[0]) as usize).min(signal.len().saturating_sub(LAGS));
    let zero: f64 = signal.iter().map(|value| value * value).sum();
    values.clear();
    for first in lags.clone().step_by(LAGS) {
        let products = products(signal, first);
        let group = products.iter().zip(first..).filter(|(_, lag)| lags.contains(lag));
        values.extend(group.map(|(product, lag)| (lag, product / zero)));
    }
}

/// Sums of products of `signal` with itself [`LAGS`] lags from `first` on later.
fn products(signal: &[f64], first: usize) -> [f64; LAGS] {
    let mut sums = [0.0; LAGS];
    let later = signal.get(first..).unwrap_or_default();
    for (value, later) in signal.iter().zip(later.windows(LAGS)) {
        for (sum, later) in sums.iter_mut().zip(later) {
            *sum += value * later;
        }
    }
    // What the windows, all equally long, left out at the end.
    for (offset, sum) in sums.iter_mut().enumerate() {
        let done = (later.len() + 1).saturating_sub(LAGS);
        let rest = signal.iter().zip(later.iter().skip(offset)).skip(done);
        *sum += rest.map(|(value, later)| value * later).sum::<f64>();
    }
    sums
}
