//! The pulse from the colour of the skin: POS, "plane orthogonal to skin" (Wang, den Brinker, Stuijk and de Haan 2017,
//! "Algorithmic principles of remote PPG", section IV), then spectrum and autocorrelation.
//!
//! Everything is computed anew at every frame, since the resampling grid begins with the oldest sample. So cost is what
//! counts: only frequencies and lags of the band are computed, from tables and several at once, in buffers that stay.

mod lines;
mod rate;
mod rhythm;
mod series;

use super::scores::tenths;
pub(super) use rate::Rate;
use rhythm::{Peak, Powers, Spectrum};
use series::Recent;
pub(super) use series::{Colour, Series};

/// Colours needed.
const LEAST_SAMPLES: usize = 60;
/// Seconds needed.
const LEAST_DURATION: f64 = 8.0;
/// Colours a second needed.
const LEAST_RATE: f64 = 8.0;
/// Between these rates the colours are resampled at their own rate, beyond at the nearest.
const RATES: [f64; 2] = [24.0, 45.0];

/// A pulse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pulse {
    /// Beats a minute.
    pub bpm: f64,
    /// 0 to 100.
    pub confidence: f64,
}

/// How the pulse is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As the original does, its errors included.
    Upstream,
    /// Without these.
    Accurate,
}

impl Mode {
    /// How far back it looks, in milliseconds: 20 s are all that the confidence asks for, and a rate that has changed is
    /// seen after half the time.
    fn window(self) -> i64 {
        match self {
            Self::Upstream => series::WINDOW,
            Self::Accurate => 20_000,
        }
    }
}

/// Finds the pulse in a series.
#[derive(Clone, Debug)]
pub(super) struct Estimator {
    mode: Mode,
    spectrum: Spectrum,
    colours: Vec<Colour>,
    detrended: Vec<Colour>,
    /// The two axes of the plane orthogonal to skin.
    plane: Vec<[f64; 2]>,
    wave: Vec<[f64; 1]>,
    flat: Vec<[f64; 1]>,
    lags: Vec<(usize, f64)>,
}

impl Estimator {
    /// An estimator with empty buffers.
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            spectrum: Spectrum::default(),
            colours: Vec::new(),
            detrended: Vec::new(),
            plane: Vec::new(),
            wave: Vec::new(),
            flat: Vec::new(),
            lags: Vec::new(),
        }
    }

    /// The pulse at the end of `series`; `None` while that is too short, too sparse or does not vary.
    pub(super) fn estimate(&mut self, series: &Series) -> Option<Pulse> {
        let recent = series.recent(self.mode.window());
        let (rate, duration) = (series.rate()?, recent.duration());
        if recent.len() < LEAST_SAMPLES || rate < LEAST_RATE || duration < LEAST_DURATION {
            return None;
        }
        let rate = rate.clamp(RATES[0], RATES[1]);
        self.trace(&recent, rate)?;
        let signal = self.flat.as_flattened();
        let powers = self.spectrum.powers(signal, rate);
        let spectral = powers.strongest()?;
        rhythm::autocorrelation(signal, rate, &mut self.lags);
        let (frequency, alike) = match self.mode {
            Mode::Upstream => upstream(spectral, &self.lags, rate)?,
            Mode::Accurate => accurate(&powers, spectral, &self.lags, rate)?,
        };
        let confidence = 0.55 * spectral.score + 0.35 * alike + 0.10 * (duration / 20.0).clamp(0.0, 1.0);
        Some(Pulse { bpm: 60.0 * frequency, confidence: tenths((100.0 * confidence).clamp(0.0, 100.0)) })
    }

    /// The blood volume by POS, at `rate` a second, into `flat`: of deviation about 1, its peaks compressed.
    fn trace(&mut self, recent: &Recent<'_>, rate: f64) -> Option<()> {
        recent.resample(rate, &mut self.colours);
        lines::without_trend(&self.colours, ((1.2 * rate) as usize).max(3), &mut self.detrended);
        lines::normalise(&mut self.detrended)?;
        self.plane.clear();
        self.plane.extend(self.detrended.iter().map(|[red, green, blue]| [green - blue, -2.0 * red + green + blue]));
        let [x, y] = lines::moments(&self.plane);
        let alpha = if y.1 > 0.0 { x.1 / y.1 } else { 0.0 };
        self.wave.clear();
        self.wave.extend(self.plane.iter().map(|[x, y]| [x + alpha * y]));
        lines::without_trend(&self.wave, ((0.8 * rate) as usize).max(3), &mut self.flat);
        lines::normalise(&mut self.flat)?;
        lines::tanh(&mut self.flat, 1.4);
        let [(mean, _)] = lines::moments(&self.flat);
        self.flat.iter_mut().for_each(|value| value[0] -= mean);
        Some(())
    }
}

/// How much a peak of the autocorrelation says, 0 to 1.
fn repetition(value: f64) -> f64 {
    ((value - 0.15) / 0.55).clamp(0.0, 1.0)
}

/// One frequency of two: both where they agree, else `contested`.
fn joined(spectral: f64, repeated: f64, contested: f64) -> f64 {
    if (repeated - spectral).abs() <= 0.22 { 0.7 * spectral + 0.3 * repeated } else { contested }
}

/// Frequency and repetition as the original finds them: the highest peak of the autocorrelation, which is believed where
/// it is more distinct than the spectrum's by far. At few samples a period some multiple of the period falls nearer to a
/// whole lag than the period, and wins.
fn upstream(spectral: Peak, lags: &[(usize, f64)], rate: f64) -> Option<(f64, f64)> {
    let (lag, value) = lags.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
    let (repeated, alike) = (rate / lag as f64, repetition(value));
    let contested = if alike > spectral.score + 0.12 { repeated } else { spectral.frequency };
    Some((joined(spectral.frequency, repeated, contested), alike))
}

/// Frequency and repetition where the spectrum says how fast and the autocorrelation is only asked nearby, both between
/// samples. Half the frequency is taken if the signal has power there and repeats itself clearly better by
/// it: a wave with two humps a beat has its highest power at twice its pulse.
fn accurate(powers: &Powers, spectral: Peak, lags: &[(usize, f64)], rate: f64) -> Option<(f64, f64)> {
    let mut frequency = powers.refined(spectral.frequency);
    let mut repeated = rhythm::top_near(lags, rate, frequency)?;
    let half = frequency / 2.0;
    if rhythm::is_in_band(half) && powers.at(half) > 0.1 * powers.at(spectral.frequency) {
        let slower = rhythm::top_near(lags, rate, half)?;
        if slower.1 > repeated.1 + 0.2 {
            (frequency, repeated) = (half, slower);
        }
    }
    Some((joined(frequency, repeated.0, frequency), repetition(repeated.1)))
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    /// The pulse after 20 s at `rate` frames a second, of skin whose blood volume is `volume` of the time in seconds.
    fn pulse(mode: Mode, rate: f64, volume: impl Fn(f64) -> f64) -> Option<Pulse> {
        let mut series = Series::default();
        for frame in 0..=(20.0 * rate) as u32 {
            let time = f64::from(frame) / rate;
            let noise = f64::from(frame * 7919 % 101) / 101.0 * 2e-4;
            let shades = [0.79, 0.58, 0.47].map(|shade| shade + noise);
            let volume = volume(time) * 1e-2;
            let colour = [shades[0] + 0.26 * volume, shades[1] + 0.62 * volume, shades[2] + 0.42 * volume];
            series.push((time * 1000.0).round() as i64, colour);
        }
        Estimator::new(mode).estimate(&series)
    }

    #[test]
    fn a_wave_with_two_humps_a_beat_is_counted_once() {
        for bpm in [55.0, 70.0, 85.0] {
            let angle = |time: f64| TAU * bpm / 60.0 * time;
            let humps = |time: f64| angle(time).sin() + 1.2 * (2.0 * angle(time) + 0.7).sin();
            let pulse = pulse(Mode::Accurate, 30.0, humps).unwrap();
            assert!((pulse.bpm - bpm).abs() < 2.0, "{bpm}: {pulse:?}");
        }
    }

    #[test]
    fn a_pure_wave_is_never_halved() {
        for bpm in (50..190).step_by(7).map(f64::from) {
            for rate in [9.0, 12.5, 24.0, 30.0, 60.0] {
                let pulse = pulse(Mode::Accurate, rate, |time| (TAU * bpm / 60.0 * time).sin()).unwrap();
                assert!((pulse.bpm - bpm).abs() < 2.0, "{bpm} at {rate} frames a second: {pulse:?}");
            }
        }
    }

    #[test]
    fn too_few_too_sparse_and_unchanging_colours_have_no_pulse() {
        let mut estimator = Estimator::new(Mode::Upstream);
        let mut estimate = |count: i64, interval: i64| {
            let mut series = Series::default();
            (0..count).for_each(|frame| series.push(frame * interval, [0.5, (frame % 7) as f64 / 100.0, 0.3]));
            estimator.estimate(&series).is_some()
        };
        assert!(estimate(241, 34) && estimate(65, 125));
        assert!(!estimate(200, 40), "less than 8 s");
        assert!(!estimate(200, 126), "less than 8 a second");
        let mut black = Series::default();
        (0..500).for_each(|frame| black.push(frame * 33, [0.0; 3]));
        assert_eq!(Estimator::new(Mode::Accurate).estimate(&black), None);
    }
}
