//! One session: what is kept from frame to frame, and a frame's finding.

use serde_json::{Value, json};

use super::{
    face::Face,
    motion::Motion,
    pulse::{Estimator, Mode, Rate, Series},
    scene::Scene,
    scores::{self, Signals, tenths},
    usual::Usual,
};

/// After so long without a frame, in milliseconds of frame time, a session starts afresh.
const IDLE: i64 = 300_000;
/// So does one whose time steps back by more, in milliseconds: its source has started over.
const STEP_BACK: i64 = 5_000;
/// The highest rate of a source that is reported.
const MOST_FPS: f64 = 120.0;

/// What is said of one frame: numbers in tenths, 0 to 100 where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    brightness: f64,
    motion: f64,
    edge_density: f64,
    activity_zone: &'static str,
    /// Beats a minute.
    pulse_bpm: Option<f64>,
    pulse_confidence: f64,
    skin_coverage: f64,
    stress: f64,
    emotion: &'static str,
    bluff_risk: f64,
    bluff_level: &'static str,
    baseline_progress: f64,
    baseline_stress: f64,
    baseline_bluff: f64,
    /// -100 to 100.
    bluff_delta: f64,
    signal_quality: &'static str,
    /// Frames a second, 0 and up.
    analysis_fps: f64,
    /// Frames a second, 0 to 120.
    stream_fps: f64,
}

impl From<Finding> for Value {
    fn from(finding: Finding) -> Self {
        json!({
            "brightness": finding.brightness,
            "motion": finding.motion,
            "edgeDensity": finding.edge_density,
            "activityZone": finding.activity_zone,
            "pulseBpm": finding.pulse_bpm,
            "pulseConfidence": finding.pulse_confidence,
            "skinCoverage": finding.skin_coverage,
            "stress": finding.stress,
            "emotion": finding.emotion,
            "bluffRisk": finding.bluff_risk,
            "bluffLevel": finding.bluff_level,
            "baselineProgress": finding.baseline_progress,
            "baselineStress": finding.baseline_stress,
            "baselineBluff": finding.baseline_bluff,
            "bluffDelta": finding.bluff_delta,
            "signalQuality": finding.signal_quality,
            "analysisFps": finding.analysis_fps,
            "streamFps": finding.stream_fps,
        })
    }
}

/// The ordered half's state, and what becomes of it with each frame.
#[derive(Clone, Debug)]
pub(super) struct CvMetrics {
    mode: Mode,
    estimator: Estimator,
    session: Session,
}

/// What a session knows.
#[derive(Clone, Debug)]
struct Session {
    /// Time of the frame before and its scene.
    before: Option<(i64, Scene)>,
    /// The latest time so far.
    newest: i64,
    face: Option<Face>,
    series: Series,
    rate: Rate,
    stress: f64,
    usual: Usual,
}

impl CvMetrics {
    /// A session without frames.
    pub(super) fn new(mode: Mode) -> Self {
        Self { mode, estimator: Estimator::new(mode), session: Session::new(mode) }
    }

    /// Takes in a frame: its time in milliseconds, its source's frames a second, 0 where unknown, and what it shows.
    pub(super) fn update(&mut self, time: i64, stream_fps: f64, scene: Scene) -> Finding {
        let elapsed = time.saturating_sub(self.session.newest);
        if self.session.before.is_none() || !(-STEP_BACK..=IDLE).contains(&elapsed) {
            self.session = Session::new(self.mode);
            self.session.newest = time;
        }
        self.session.update(&mut self.estimator, time, stream_fps, scene)
    }

    /// The baseline and the pulse, for people.
    pub(super) fn state(&self) -> Value {
        let usual = self.session.usual.standing();
        json!({
            "baseline": {
                "progress": tenths(100.0 * usual.progress),
                "stress": tenths(usual.stress),
                "bluff": tenths(usual.bluff),
            },
            "pulse": { "bpm": self.session.rate.bpm(), "usual": self.session.rate.usual() },
        })
    }
}

impl Session {
    /// Without frames.
    fn new(mode: Mode) -> Self {
        Self {
            before: None,
            newest: 0,
            face: None,
            series: Series::default(),
            rate: Rate::new(mode),
            stress: 0.0,
            usual: Usual::default(),
        }
    }

    fn update(&mut self, estimator: &mut Estimator, time: i64, stream_fps: f64, scene: Scene) -> Finding {
        let moved = self.before.as_ref().map_or_else(Motion::default, |(_, before)| Motion::between(&scene, before));
        let (brightness, edge_density) = light(&scene);
        let motion = tenths(moved.amount);
        let face = Face::find(&scene, self.face);
        let skin = face.skin(&scene);
        self.face = Some(face);
        self.series.push(time, skin.colour);
        let pulse = estimator.estimate(&self.series);
        let pulse_stress = self.rate.update(pulse, motion);
        let signals = Signals {
            brightness,
            motion,
            skin_coverage: tenths(skin.coverage),
            confidence: pulse.map_or(0.0, |pulse| pulse.confidence),
            pulse_stress,
        };
        let quality = signals.quality();
        let stress = signals.stress(quality);
        let risk = signals.bluff_risk(stress, self.stress);
        self.stress = stress;
        self.usual.push(time.div_euclid(1000), stress, risk);
        let usual = self.usual.standing();
        let analysis_fps = self.analysis_fps(time, stream_fps);
        self.before = Some((time, scene));
        self.newest = self.newest.max(time);
        Finding {
            brightness,
            motion,
            edge_density,
            activity_zone: moved.zone.unwrap_or("none"),
            pulse_bpm: pulse.and(self.rate.bpm()),
            pulse_confidence: signals.confidence,
            skin_coverage: signals.skin_coverage,
            stress,
            emotion: signals.emotion(quality, stress),
            bluff_risk: risk,
            bluff_level: scores::bluff_level(risk, stress, &usual),
            baseline_progress: tenths(100.0 * usual.progress),
            baseline_stress: tenths(usual.stress),
            baseline_bluff: tenths(usual.bluff),
            bluff_delta: tenths(risk - usual.bluff),
            signal_quality: scores::signal_quality(quality),
            analysis_fps: tenths(analysis_fps),
            stream_fps: tenths(stream_fps.clamp(0.0, MOST_FPS)),
        }
    }

    /// Frames a second by the time since the one before.
    fn analysis_fps(&self, time: i64, stream_fps: f64) -> f64 {
        let elapsed = self.before.as_ref().map_or(0, |(before, _)| time.saturating_sub(*before));
        let fps = if elapsed > 0 { 1000.0 / elapsed as f64 } else { 0.0 };
        if stream_fps > 0.0 { fps.min(stream_fps + 0.5) } else { fps }
    }
}

/// Brightness and edge density of a scene, 0 to 100, which its first row and column have no part in.
fn light(scene: &Scene) -> (f64, f64) {
    let [width, height] = scene.sides();
    let (sums, pixels) = (scene.sums(), ((width - 1) * (height - 1)).max(1) as f64);
    (tenths(sums.luma as f64 / pixels / 255.0 * 100.0), tenths(100.0 * sums.edges as f64 / pixels))
}
