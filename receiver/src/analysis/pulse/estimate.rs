//! What a trace of skin says about the heart rate, and how much that is worth.
//!
//! The confidence is a product of four shares, each 0 to 1, so that one bad sign is enough:
//!
//! | Share of | is 0 at | is 1 at |
//! |---|---|---|
//! | clearness: signal-to-noise ratio of the beat in the window, | 0 dB | 5 dB |
//! | or, if less, by how much it is above that of power spread evenly | 6 dB | 10 dB |
//! | steadiness: the beat's presence in each third of the window, least of the last three seconds | absent in one | equal in all |
//! | stability: mean distance of the last three seconds' estimates from this one | 10 bpm | 2 bpm |
//! | filling of the window | 30 % | 80 % |

use std::collections::VecDeque;

use super::{
    LEAST_SKIN, pos,
    spectrum::{Peak, Spectrum},
    trace::{RATE, Trace},
};

/// Below this confidence no rate is told.
const LEAST_CONFIDENCE: f64 = 0.5;

/// Seconds over which estimates are compared.
const MEMORY: f64 = 3.0;

/// Estimates that are compared at most: those of [`MEMORY`] at the shortest interval.
const MOST_RECENT: usize = 13;

/// The share of half the rate of pictures up to which a beat is told from its alias.
const NYQUIST_SHARE: f64 = 0.9;

/// The slowest beat that may hide below the band, in beats a minute; what is slower in skin is breath and movement.
const SLOWEST: f64 = 40.0;

/// What lies closer to the band than this, in beats a minute, may be part of a beat in it.
const BESIDE: f64 = 6.0;

/// Seconds of the signal that are shown.
const SHOWN: f64 = 5.0;

/// Why no rate is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Nothing in the picture has the colour of skin.
    NoSkin,
    /// The skin has not been seen for long enough.
    #[default]
    TooShort,
    /// Beats would fall between the pictures.
    TooFewPictures,
    /// Nothing stands out in the spectrum, or not for long.
    NoClearPulse,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoSkin => "no skin",
            Self::TooShort => "too short",
            Self::TooFewPictures => "too few pictures",
            Self::NoClearPulse => "no clear pulse",
        })
    }
}

/// One estimate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    /// Beats a minute, or why there are none.
    pub(super) bpm: Result<f64, Unknown>,
    /// 0 to 1.
    pub(super) confidence: f64,
    /// Of the strongest beat, told or not.
    pub(super) snr_db: Option<f64>,
    /// Seconds of the window that are filled.
    pub(super) span: f64,
    /// The last seconds of the pulse signal, in units of its standard deviation; what is told may be less.
    pub(super) signal: Vec<f64>,
}

impl Default for Reading {
    fn default() -> Self {
        Self::none(Unknown::default(), 0.0)
    }
}

impl Reading {
    fn none(reason: Unknown, span: f64) -> Self {
        Self { bpm: Err(reason), confidence: 0.0, snr_db: None, span, signal: Vec::new() }
    }
}

/// The strongest beat of one estimate.
struct Beat {
    time: f64,
    bpm: f64,
    steadiness: f64,
}

/// Makes readings, and remembers the latest.
pub(super) struct Estimator {
    window: f64,
    band: (f64, f64),
    /// The strongest beats of the last [`MEMORY`], told or not.
    recent: VecDeque<Beat>,
}

impl Estimator {
    /// For windows of so many seconds and a band of beats a minute.
    pub(super) fn new(window: f64, band: (f64, f64)) -> Self {
        Self { window, band, recent: VecDeque::new() }
    }

    /// Reads `trace` at `time` seconds; `share` of the latest picture is skin.
    pub(super) fn read(&mut self, time: f64, trace: &Trace, share: f64) -> Reading {
        let span = trace.span();
        let signal = pos::pulse(&trace.uniform());
        let nyquist = NYQUIST_SHARE * trace.rate() * 30.0;
        let high = self.band.1.min(nyquist);
        let spectrum = || Spectrum::of(&signal, (self.band.0, high));
        let peak = match () {
            () if share < LEAST_SKIN => Err(Unknown::NoSkin),
            () if self.filling(span) <= 0.0 => Err(Unknown::TooShort),
            () if high <= self.band.0 => Err(Unknown::TooFewPictures),
            () => spectrum().peak().filter(|peak| !self.is_overtone(&signal, peak, high)).ok_or(Unknown::NoClearPulse),
        };
        match peak {
            Ok(peak) => self.judge(time, peak, span, &signal),
            Err(reason) => {
                self.recent.clear();
                Reading::none(reason, span)
            }
        }
    }

    /// Whether a beat of half that rate, clearly below the band, explains the signal better.
    fn is_overtone(&self, signal: &[f64], peak: &Peak, high: f64) -> bool {
        let half = peak.bpm / 2.0;
        (SLOWEST..self.band.0 - BESIDE).contains(&half) && Spectrum::of(signal, (SLOWEST, high)).prefers(half, peak.bpm)
    }

    fn judge(&mut self, time: f64, peak: Peak, span: f64, signal: &[f64]) -> Reading {
        let confidence = ramp(peak.snr_db, 0.0, 5.0).min(ramp(peak.gain_db, 6.0, 10.0))
            * self.filling(span)
            * self.stability(Beat { time, bpm: peak.bpm, steadiness: steadiness(signal, peak.bpm) });
        let bpm = match () {
            () if confidence >= LEAST_CONFIDENCE => Ok(peak.bpm),
            () if self.filling(span) < LEAST_CONFIDENCE => Err(Unknown::TooShort),
            () => Err(Unknown::NoClearPulse),
        };
        Reading { bpm, confidence, snr_db: Some(peak.snr_db), span, signal: shown(signal) }
    }

    /// How far the window is filled, 0 to 1.
    fn filling(&self, span: f64) -> f64 {
        ramp(span / self.window, 0.3, 0.8)
    }

    /// How alike the latest beats are, and how steady the least steady of them is, 0 to 1; `beat` joins them.
    fn stability(&mut self, beat: Beat) -> f64 {
        let (time, bpm) = (beat.time, beat.bpm);
        self.recent.retain(|earlier| (0.0..=MEMORY).contains(&(time - earlier.time)));
        self.recent.push_back(beat);
        if self.recent.len() > MOST_RECENT {
            self.recent.pop_front();
        }
        let distance = self.recent.iter().map(|beat| (beat.bpm - bpm).abs()).sum::<f64>() / self.recent.len() as f64;
        let steadiness = self.recent.iter().map(|beat| beat.steadiness).fold(1.0, f64::min);
        steadiness * ramp(distance, 10.0, 2.0)
    }
}

/// 0 at `zero`, 1 at `one`, a straight line between and no more beyond.
fn ramp(value: f64, zero: f64, one: f64) -> f64 {
    ((value - zero) / (one - zero)).clamp(0.0, 1.0)
}

/// Parts of a window in which the beat must be.
const PARTS: usize = 3;

/// Whether all parts of `signal` have the beat, 0 to 1: the weakest amplitude over the mean, times how well phases agree.
fn steadiness(signal: &[f64], bpm: f64) -> f64 {
    let omega = std::f64::consts::TAU * bpm / 60.0 / RATE;
    let mut parts = [[0.0; 2]; PARTS];
    for (index, value) in signal.iter().enumerate() {
        let (sin, cos) = (omega * index as f64).sin_cos();
        let part = &mut parts[index * PARTS / signal.len()];
        *part = [part[0] + value * cos, part[1] + value * sin];
    }
    let lengths = parts.map(|[x, y]| x.hypot(y));
    let (least, sum) = (lengths.iter().copied().fold(f64::MAX, f64::min), lengths.iter().sum::<f64>());
    if sum <= 0.0 {
        return 0.0;
    }
    let [x, y] = [0, 1].map(|axis| parts.iter().map(|part| part[axis]).sum::<f64>());
    let (weakest, agreement) = (least * PARTS as f64 / sum, x.hypot(y) / sum);
    ramp(weakest, 0.1, 0.5) * ramp(agreement, 0.3, 0.7)
}

/// The end of `signal` in units of its standard deviation.
fn shown(signal: &[f64]) -> Vec<f64> {
    let std = (signal.iter().map(|value| value * value).sum::<f64>() / signal.len() as f64).sqrt();
    let from = signal.len().saturating_sub((SHOWN * RATE) as usize);
    signal[from..].iter().map(|value| if std > 0.0 { value / std } else { 0.0 }).collect()
}
