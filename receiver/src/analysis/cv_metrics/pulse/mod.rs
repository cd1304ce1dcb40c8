//! The pulse from the colour of the skin: POS, "plane orthogonal to skin" (Wang, den Brinker, Stuijk and de Haan 2017,
//! "Algorithmic principles of remote PPG", section IV), over the last minute, then spectrum and autocorrelation.
//!
//! Everything is computed anew at every frame, since the resampling grid begins with the oldest
//! sample, so the cost is what counts: only frequencies and lags of the band are computed, from tables and several at once, in
//! buffers that stay.

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
    /// How far back it looks, in milliseconds. A rate that has changed needs half of this to be seen, and the
    /// confidence asks for 20 s.
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
        let plane = |[red, green, blue]: Colour| [green - blue, -2.0 * red + green + blue];
        self.colours.clear();
        self.colours.extend(self.detrended.iter().map(|&colour| {
            let [x, y] = plane(colour);
            [x, y, 0.0]
        }));
        let [x, y, _] = lines::moments(&self.colours);
        let alpha = if y.1 > 0.0 { x.1 / y.1 } else { 0.0 };
        self.wave.clear();
        self.wave.extend(self.colours.iter().map(|[x, y, _]| [x + alpha * y]));
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

/// Frequency and repetition where the spectrum says how fast, and the autocorrelation is only asked nearby: both between
/// samples. Half the frequency is taken if the signal repeats itself by that clearly better and has
/// power there: a wave with two humps a beat has its highest power at twice its pulse.
fn accurate(powers: &Powers, spectral: Peak, lags: &[(usize, f64)], rate: f64) -> Option<(f64, f64)> {
    let mut frequency = powers.refined(spectral.frequency);
    let mut repeated = rhythm::top_near(lags, rate, frequency)?;
    let half = frequency / 2.0;
    if rhythm::is_in_band(half) && powers.at(half) > 0.2 * powers.at(spectral.frequency) {
        let slower = rhythm::top_near(lags, rate, half)?;
        if slower.1 > repeated.1 + 0.2 {
            (frequency, repeated) = (powers.refined(half), slower);
        }
    }
    Some((joined(frequency, repeated.0, frequency), repetition(repeated.1)))
}
