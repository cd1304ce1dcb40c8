//! Periods of a signal: the power of the frequencies in the pulse's band, and how alike it is to itself some time later.

use std::f64::consts::TAU;

/// The slowest and the fastest pulse looked for, in Hz.
pub(super) const BAND: [f64; 2] = [0.7, 3.2];

/// Seconds of a segment, whose spectra are added.
const SEGMENT: f64 = 6.0;
/// The first of the frequencies computed, in cycles a segment. A segment of 6 s, rounded down by less than one of its at
/// least 144 samples, has frequencies 1/6 to 1/5.95 Hz apart, so that those of the band are among the 5th to the 19th.
const FIRST: usize = 4;
/// How many: the band's and the one before it.
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
    /// The powers of `signal` at `rate` samples a second; all 0 if it is shorter than a segment.
    pub(super) fn powers(&mut self, signal: &[f64], rate: f64) -> Powers {
        self.prepare((SEGMENT * rate) as usize);
        let mut sums = [0.0; BINS];
        for start in (0..).step_by((self.segment / 2).max(1)) {
            let Some(segment) = signal.get(start..start + self.segment) else { break };
            let mean = segment.iter().sum::<f64>() / segment.len() as f64;
            let [cosines, sines] = self.amplitudes(segment, mean);
            sums = std::array::from_fn(|bin| sums[bin] + (cosines[bin].powi(2) + sines[bin].powi(2)));
        }
        Powers { sums, step: rate / self.segment as f64 }
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

/// What a [`Spectrum`] shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Powers {
    sums: [f64; BINS],
    /// From one frequency to the next, in Hz.
    step: f64,
}

impl Powers {
    /// The highest power and how much it stands out: from the band, and from the second highest.
    pub(super) fn strongest(&self) -> Option<Peak> {
        /// How near to the peak power counts as the peak's, in Hz.
        const NEAR: f64 = 0.08;
        let band = || {
            (0..BINS)
                .map(|bin| (bin, (FIRST + bin) as f64 * self.step, self.sums[bin]))
                .filter(|(_, frequency, _)| is_in_band(*frequency))
        };
        let (peak, frequency, highest) = band().reduce(|a, b| if b.2 > a.2 { b } else { a })?;
        let total: f64 = band().map(|(.., power)| power).sum();
        let near: f64 = band().filter(|(_, other, _)| (other - frequency).abs() <= NEAR).map(|(.., power)| power).sum();
        let second = band().filter(|(bin, ..)| *bin != peak).map(|(.., power)| power).fold(0.0, f64::max);
        if total <= 0.0 {
            return None;
        }
        let ratio = highest / second.max(1e-12);
        let score = 0.6 * (near / total) + 0.4 * ((ratio - 1.0) / 2.0).clamp(0.0, 1.0);
        Some(Peak { frequency, score: score.clamp(0.0, 1.0) })
    }

    /// The peak next to `frequency`, between those computed: the top of a parabola through the logarithms of
    /// three powers, which under a Hann window is right to a fiftieth of the step.
    pub(super) fn refined(&self, frequency: f64) -> f64 {
        let bin = (frequency / self.step).round() as usize;
        let Some(middle) = bin.checked_sub(FIRST + 1) else { return frequency };
        let Some(&[left, top, right]) = self.sums.get(middle..).and_then(|sums| sums.first_chunk::<3>()) else {
            return frequency;
        };
        if left.min(right) <= 0.0 {
            return frequency;
        }
        frequency + self.step * top_of_parabola([left.ln(), top.ln(), right.ln()]).0
    }

    /// The power at `frequency`, 0 beyond those computed.
    pub(super) fn at(&self, frequency: f64) -> f64 {
        let bin = (frequency / self.step).round() as usize;
        bin.checked_sub(FIRST).and_then(|bin| self.sums.get(bin)).copied().unwrap_or(0.0)
    }
}

/// Whether a pulse may have this frequency, in Hz.
pub(super) fn is_in_band(frequency: f64) -> bool {
    (BAND[0]..=BAND[1]).contains(&frequency)
}

/// Where a parabola through three equally spaced values has its top, from the middle in steps, and how high it is.
/// The middle itself where it is not the highest.
fn top_of_parabola([left, middle, right]: [f64; 3]) -> (f64, f64) {
    let (slope, bend) = ((right - left) / 2.0, 2.0 * middle - left - right);
    if bend <= 0.0 || slope.abs() > bend {
        return (0.0, middle);
    }
    (slope / bend, middle + slope * slope / (2.0 * bend))
}

/// How alike `signal` is to itself by lags of the band, relative to lag 0: lag in samples and value, lowest lag first.
/// `values` is replaced.
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

/// The top of the autocorrelation, as [`autocorrelation`] gave it, next to the lag of `frequency`, between lags:
/// frequency in Hz and value.
pub(super) fn top_near(values: &[(usize, f64)], rate: f64, frequency: f64) -> Option<(f64, f64)> {
    let first = values.first()?.0;
    let nearest = ((rate / frequency).round() as usize).clamp(first, first + values.len() - 1) - first;
    let around = nearest.saturating_sub(1)..(nearest + 2).min(values.len());
    let place = around.reduce(|a, b| if values[b].1 > values[a].1 { b } else { a })?;
    let neighbours =
        place.checked_sub(1).and_then(|start| values.get(start..)).and_then(|values| values.first_chunk::<3>());
    let (offset, top) = neighbours.map_or((0.0, values[place].1), |three| top_of_parabola(three.map(|value| value.1)));
    Some((rate / (values[place].0 as f64 + offset), top))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Two waves and noise that repeats late.
    fn signal(count: usize, rate: f64, frequency: f64) -> Vec<f64> {
        let at = |n: usize| n as f64 / rate;
        let noise = |n: usize| ((n * 7919 % 101) as f64 / 101.0 - 0.5) * 0.2;
        (0..count).map(|n| (TAU * frequency * at(n)).sin() + 0.3 * (TAU * 2.2 * at(n)).cos() + noise(n)).collect()
    }

    /// Powers by the definition: segments without their mean under a Hann window, sine by sine.
    fn naive(signal: &[f64], rate: f64) -> [f64; BINS] {
        let length = (6.0 * rate) as usize;
        let mut sums = [0.0; BINS];
        for segment in signal.windows(length).step_by(length / 2) {
            let mean = segment.iter().sum::<f64>() / length as f64;
            for (bin, sum) in sums.iter_mut().enumerate() {
                let (mut re, mut im) = (0.0, 0.0);
                for (n, value) in segment.iter().enumerate() {
                    let window = 0.5 - 0.5 * (TAU * n as f64 / (length - 1) as f64).cos();
                    let angle = TAU * ((FIRST + bin) * n) as f64 / length as f64;
                    re += (value - mean) * window * angle.cos();
                    im += (value - mean) * window * angle.sin();
                }
                *sum += re * re + im * im;
            }
        }
        sums
    }

    #[test]
    fn powers_are_those_of_the_definition_for_even_and_odd_segments() {
        let mut spectrum = Spectrum::default();
        for (count, rate) in [(700, 30.0), (411, 24.0), (900, 30.303), (2700, 45.0), (192, 24.0)] {
            let signal = signal(count, rate, 1.3);
            let (got, expected) = (spectrum.powers(&signal, rate), naive(&signal, rate));
            for (got, expected) in got.sums.iter().zip(expected) {
                assert!((got - expected).abs() <= 1e-9 * (1.0 + expected), "{got} is not {expected}");
            }
        }
    }

    #[test]
    fn all_frequencies_of_the_band_are_computed_at_any_rate() {
        for rate in (2400..=4500).map(|rate| f64::from(rate) / 100.0) {
            let step = rate / f64::from((6.0 * rate) as u32);
            assert!(!is_in_band(FIRST as f64 * step) && !is_in_band((FIRST + BINS) as f64 * step), "{rate}");
        }
    }

    #[test]
    fn a_peak_between_frequencies_is_found() {
        for tenths in 8..=30 {
            let frequency = f64::from(tenths) / 10.0 + 0.037;
            let powers = Spectrum::default().powers(&signal(900, 30.0, frequency), 30.0);
            let peak = powers.strongest().unwrap();
            assert!((peak.frequency - frequency).abs() < 0.09, "{frequency}: {peak:?}");
            let refined = powers.refined(peak.frequency);
            assert!((refined - frequency).abs() < 0.03, "{frequency}: {refined}");
        }
    }

    #[test]
    fn silence_has_no_peak() {
        assert_eq!(Spectrum::default().powers(&[0.0; 400], 30.0).strongest(), None);
    }

    #[test]
    fn the_autocorrelation_is_that_of_the_definition() {
        for (count, rate) in [(700, 30.0), (192, 24.0), (2700, 45.0), (901, 30.303)] {
            let (signal, mut values) = (signal(count, rate, 1.1), Vec::new());
            autocorrelation(&signal, rate, &mut values);
            let lags = (rate / 3.2) as usize..=(rate / 0.7) as usize;
            assert!(values.iter().map(|value| value.0).eq(lags));
            let product = |lag: usize| signal.iter().zip(&signal[lag..]).map(|(a, b)| a * b).sum::<f64>();
            for (lag, value) in &values {
                assert!((value - product(*lag) / product(0)).abs() < 1e-12, "{lag}");
            }
            let (frequency, top) = top_near(&values, rate, 1.15).unwrap();
            assert!((frequency - 1.1).abs() < 0.05 && top > 0.8, "{frequency} {top}");
        }
    }
}
