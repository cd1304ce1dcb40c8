//! `pulse`: the heart rate of a person whose skin is in the centre of the picture, from its colour alone.
//!
//! Blood takes light away with every beat, by less than one 8-bit level. [`skin`] measures the mean colour of what
//! looks like skin, [`trace`] keeps it over a window of media time, [`pos`] turns it into the pulse signal, [`spectrum`]
//! finds its beat, and [`estimate`] decides what that is worth. A beat that does not stand out is not told: the finding
//! then has `"bpm":null` and a reason.
//!
//! **This is no medical device.** Light, movement, make-up and a codec may all look like a pulse or hide one; nobody's
//! health may depend on it.

use std::sync::Arc;

use serde_json::{Value, json};

use self::{
    cells::Cells,
    estimate::{Estimator, Reading},
    face::Face,
    skin::Skin,
    trace::Trace,
};
use super::{Build, Cost, Extract, Features, Fold, Input, Parameters, Row, cadence::Cadence, rounded};

mod cells;
mod estimate;
mod face;
mod pos;
mod skin;
mod spectrum;
mod trace;

pub(super) const ROW: Row = Row {
    name: "pulse",
    help: "heart rate of the person whose skin is in the picture, from its colour (remote photoplethysmography, POS), \
           with a confidence; no medical device",
    parameters: &[
        ("window", "12", "seconds of media time that an estimate looks back, 5 to 60"),
        ("low", "42", "slowest pulse, 42 to 120 beats a minute"),
        ("high", "210", "fastest pulse, 60 to 240 beats a minute, above low"),
        ("from", "", "an analyzer before this one that finds faces: skin is looked for in the surest one alone"),
        ("waveform", "false", "whether the last five seconds of the pulse signal are told, true or false"),
    ],
    cost: Cost::Light,
    build: Build::Pictures(build),
};

fn build(parameters: &Parameters) -> Result<super::Halves, String> {
    let window = parameters.number("window", 12.0, 5.0..=60.0)?;
    let low = parameters.number("low", 42.0, 42.0..=120.0)?;
    let high = parameters.number("high", 210.0, 60.0..=240.0)?;
    if low >= high {
        return Err(format!("low={low} is not below high={high}"));
    }
    let waveform = parameters.flag("waveform", false)?;
    Ok((Arc::new(Colour), Box::new(Pulse::new(window, (low, high), waveform))))
}

/// The features: mean red, green and blue of the skin (0 to 255, or null) and its share of the picture (0 to 1); where
/// another analyzer finds faces, [`Cells`].
struct Colour;

impl Extract for Colour {
    fn extract(&self, input: &Input<'_>) -> Result<Features, String> {
        let skin = skin::measure(input.picture);
        let [r, g, b] = skin.rgb.map_or([None; 3], |rgb| rgb.map(Some));
        Ok(json!([r, g, b, skin.share]).into())
    }

    fn extract_from(&self, input: &Input<'_>, drawn: &Features) -> Result<Features, String> {
        Ok(Features::Bytes(Cells::of(input.picture, drawn.json()?)?.to_bytes().into()))
    }
}

/// Seconds from one estimate to the next, at least; a long window takes longer to change and to compute.
const INTERVAL: f64 = 0.25;
const INTERVALS_A_WINDOW: f64 = 48.0;

/// Below this share of the picture there is no skin, only samples that happen to have its colour.
const LEAST_SKIN: f64 = 0.005;

struct Pulse {
    trace: Trace,
    estimator: Estimator,
    waveform: bool,
    face: Face,
    estimates: Cadence,
    /// The latest estimate, which stands until the next.
    reading: Reading,
    session: Session,
}

/// What is known of the session so far.
#[derive(Default)]
struct Session {
    estimates: u64,
    /// How many of them told a rate, and the sum of these rates.
    told: u64,
    sum: f64,
}

impl Pulse {
    fn new(window: f64, band: (f64, f64), waveform: bool) -> Self {
        Self {
            trace: Trace::new(window),
            estimator: Estimator::new(window, band),
            waveform,
            face: Face::default(),
            estimates: Cadence::every((window / INTERVALS_A_WINDOW).max(INTERVAL)),
            reading: Reading::default(),
            session: Session::default(),
        }
    }

    fn estimate(&mut self, time: f64, share: f64) {
        self.reading = self.estimator.read(time, &self.trace, share);
        self.session.estimates += 1;
        if let Ok(bpm) = self.reading.bpm {
            self.session.told += 1;
            self.session.sum += bpm;
        }
    }

    fn finding(&self, share: f64) -> Value {
        let Reading { bpm, confidence, snr_db, span, signal } = &self.reading;
        let mut finding = json!({
            "bpm": bpm.ok().map(|bpm| rounded(bpm, 1)),
            "confidence": rounded(*confidence, 2),
            "snr_db": snr_db.map(|snr| rounded(snr, 1)),
            "skin": rounded(share, 3),
            "window_s": rounded(*span, 1),
        });
        if let Err(reason) = bpm {
            finding["reason"] = reason.to_string().into();
        }
        if self.waveform {
            finding["waveform"] = signal.iter().map(|value| rounded(*value, 2)).collect();
        }
        finding
    }
}

/// The skin that features without a face tell.
fn of_means(means: &Value) -> Result<Skin, String> {
    let [r, g, b, share] = serde_json::from_value::<[Option<f64>; 4]>(means.clone())
        .map_err(|error| format!("the features of pulse are not four numbers: {error}"))?;
    let share = share.filter(|share| (0.0..=1.0).contains(share)).ok_or("the share of skin is not from 0 to 1")?;
    Ok(Skin { rgb: r.zip(g).zip(b).map(|((r, g), b)| [r, g, b]), share })
}

impl Fold for Pulse {
    fn fold(&mut self, time: f64, features: &Features) -> Result<Value, String> {
        let Skin { rgb, share } = match features {
            Features::Json(means) => of_means(means)?,
            Features::Bytes(bytes) => self.face.skin(time, &Cells::from_bytes(bytes)?),
        };
        self.trace.forget(time);
        if let Some(rgb) = rgb.filter(|rgb| share >= LEAST_SKIN && rgb.iter().all(|mean| (1.0..=1e3).contains(mean))) {
            self.trace.push(time, rgb);
        }
        if self.estimates.is_due(time) {
            self.estimate(time, share);
        }
        Ok(self.finding(share))
    }

    fn finish(&mut self) -> Option<Result<Value, String>> {
        let Session { estimates, told, sum } = self.session;
        let mean = (told > 0).then(|| rounded(sum / told as f64, 1));
        Some(Ok(json!({ "bpm": mean, "told": rounded(told as f64 / estimates.max(1) as f64, 3) })))
    }

    fn state(&self) -> Value {
        let Reading { bpm, confidence, .. } = &self.reading;
        json!({ "bpm": bpm.ok().map(|bpm| rounded(bpm, 1)), "confidence": rounded(*confidence, 2) })
    }
}

#[cfg(test)]
mod tests;
