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
use rhythm::{Peak, Spectrum};
pub(super) use rate::Rate;
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

    /// The pulse over the whole series; `None` while it is too short, too sparse or does not vary.
    pub(super) fn estimate(&mut self, series: &Series) -> Option<Pulse> {
        let (rate, duration) = (series.rate()?, series.duration());
        if series.len() < LEAST_SAMPLES || rate < LEAST_RATE || duration < LEAST_DURATION {
            return None;
        }
        let rate = rate.clamp(RATES[0], RATES[1]);
        self.trace(series, rate)?;
        let signal = self.flat.as_flattened();
        let spectral = rhythm::strongest(self.spectrum.powers(signal, rate, &mut [(0.0, 0.0); 16]))?;
        rhythm::autocorrelation(signal, rate, &mut self.lags);
        let (lag, alike) = self.lags.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
        let repeated = Peak { frequency: rate / lag as f64, score: ((alike - 0.15) / 0.55).clamp(0.0, 1.0) };
        let confidence = 0.55 * spectral.score + 0.35 * repeated.score + 0.10 * (duration / 20.0).clamp(0.0, 1.0);
        let bpm = tenths(60.0 * upstream(spectral, repeated));
        Some(Pulse { bpm, confidence: tenths((100.0 * confidence).clamp(0.0, 100.0)) })
    }

    /// The blood volume by POS, at `rate` a second, into `flat`: of deviation about 1, its peaks compressed.
    fn trace(&mut self, series: &Series, rate: f64) -> Option<()> {
        series.resample(rate, &mut self.colours);
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

/// Which frequency to believe, as the original does: both where they agree, else the autocorrelation where it
/// is the more distinct by far.
fn upstream(spectral: Peak, repeated: Peak) -> f64 {
    if (repeated.frequency - spectral.frequency).abs() <= 0.22 {
        0.7 * spectral.frequency + 0.3 * repeated.frequency
    } else if repeated.score > spectral.score + 0.12 {
        repeated.frequency
    } else {
        spectral.frequency
    }
}
