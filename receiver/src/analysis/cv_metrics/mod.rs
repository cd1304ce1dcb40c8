//! `cv-metrics`: cues of a face on camera without a model: light, motion, pulse by skin colour, and stress and bluff risk
//! made of these, beside what they usually are over five minutes.
//!
//! Compatible with the first, model-free analyser of the poker bluff meter `poker-bot`: the same fields of its
//! `CvMetrics` message in the same order and, on the same RGB pictures and millisecond times, the same numbers to the tenth
//! that they are rounded to. Two fields are missing: `updatedAt`, a time of day, and `analysisSource`. The source's
//! `streamFps`, which came with each frame there, is the parameter `fps` here.
//!
//! **The cues are no lie detector and this is no medical device.** Stress is motion and a pulse off its mean, bluff risk is
//! mostly stress; light, make-up, skin tone and a turned head change all of them. The thresholds were chosen for a
//! game and validated on nobody.
//!
//! `mode=accurate` keeps fields and rules but finds the pulse better. The original takes a multiple of the pulse's period
//! for the period, with high confidence, where frames are few: 110 beats a minute become 56, 150 become 50, and
//! the change alone drives stress and bluff risk. There the spectrum decides, between its frequencies, and the
//! autocorrelation is only asked nearby; a wave with two humps a beat is counted once; 20 s are looked at instead of 60; and the
//! smoothed rate is not kept in tenths, in which the original's rests up to 0.6 beside its estimates.
//!
//! The pure half ([`scene`]) draws from a picture what it says by itself. The ordered half ([`session`]) knows where the face
//! has been, so it reads the colours of the skin, and what moved, out of that.

use std::sync::Arc;

use serde_json::Value;

use super::{Build, Cost, Extract, Features, Fold, Input, Parameters, Row};

mod face;
mod motion;
mod pixels;
mod pulse;
mod scene;
mod scores;
mod session;
#[cfg(test)]
mod tests;
mod usual;

use pulse::Mode;
use scene::Scene;
use session::CvMetrics;

pub(super) const ROW: Row = Row {
    name: "cv-metrics",
    help: "cues of a face without a model: brightness, motion, pulse by skin colour, stress, bluff risk, each beside a \
           baseline of 300 s; no lie detector and no medical device",
    parameters: &[
        (
            "mode",
            "upstream",
            "upstream: the original's numbers, errors included; accurate: without its errors of the pulse",
        ),
        (
            "fps",
            "0",
            "frames a second of the source, 0 to 1000, where 0 is unknown: bounds and accompanies analysisFps",
        ),
    ],
    cost: Cost::Light,
    build: Build::Pictures(build),
};

/// The highest rate of a source that can be told.
const MOST_FPS: f64 = 1000.0;

fn build(parameters: &Parameters) -> Result<super::Halves, String> {
    let modes = [("upstream", Mode::Upstream), ("accurate", Mode::Accurate)];
    let mode = parameters.choice("mode", &modes)?.unwrap_or(Mode::Upstream);
    let stream_fps = parameters.number("fps", 0.0, 0.0..=MOST_FPS)?;
    Ok((Arc::new(Draw), Box::new(Session { metrics: CvMetrics::new(mode), stream_fps, time: 0 })))
}

/// The pure half.
struct Draw;

impl Extract for Draw {
    fn extract(&self, input: &Input<'_>) -> Result<Features, String> {
        let rgb = input.rgb();
        Ok(Features::Bytes(Scene::draw(rgb.size(), rgb.samples())))
    }
}

/// The ordered half.
struct Session {
    metrics: CvMetrics,
    stream_fps: f64,
    /// Of the newest frame, in milliseconds.
    time: i64,
}

impl Fold for Session {
    fn fold(&mut self, time: f64, features: &Features) -> Result<Value, String> {
        let scene = Scene::read(features.bytes()?)?;
        if time.is_finite() {
            // Saturates for absurd times, which then are one and the same.
            self.time = (time * 1000.0).round() as i64;
        }
        Ok(self.metrics.update(self.time, self.stream_fps, scene).into())
    }

    fn state(&self) -> Value {
        self.metrics.state()
    }
}
