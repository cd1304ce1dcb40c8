//! The JSON lines that come out, as the README documents them.
//!
//! Everything that may differ between two runs over the same clip lives in a `clock` object and
//! nowhere else, so that a comparison only has to drop that key.

use std::time::SystemTime;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Version of the result line's shape.
pub const VERSION: u32 = 1;

/// One line of output.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Line {
    /// What the analyzers say about one picture.
    Result(Result),
    /// Numbers of pictures that have no result, and why.
    Gap(Gap),
    /// A session began, went on or ended.
    Session(Session),
    /// What the analyzers say about the whole session.
    Final(Final),
    /// What the analyzers drew from one picture.
    Features(Features),
}

/// What the analyzers drew from one picture, to be folded again without it.
#[derive(Clone, Debug, Serialize)]
pub struct Features {
    /// [`VERSION`].
    pub v: u32,
    /// The session's id.
    pub session: String,
    /// The sender's number of the picture.
    pub frame: u64,
    /// Presentation time in the source, in seconds.
    pub time: f64,
    /// Seconds on the session's own axis of time, which goes on where a baseline is kept for another run.
    pub session_time: f64,
    /// Width of the analysed picture in pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Features by analyzer.
    pub features: Analysis,
}

/// What the analyzers say about one picture.
#[derive(Clone, Debug, Serialize)]
pub struct Result {
    /// [`VERSION`].
    pub v: u32,
    /// The session's id.
    pub session: String,
    /// The sender's number of the picture.
    pub frame: u64,
    /// Presentation time in the source, in seconds.
    pub time: f64,
    /// Width of the analysed picture in pixels.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Findings by analyzer.
    pub analysis: Analysis,
    /// Analyzers that failed on this picture.
    pub errors: Vec<AnalyzerError>,
    /// What differs between two runs; missing where there was no network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
}

/// Findings by analyzer's name, in the order in which they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Analysis(pub Vec<(String, Value)>);

impl Serialize for Analysis {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, finding)| (name, finding)))
    }
}

/// One analyzer's failure on one picture.
#[derive(Clone, Debug, Serialize)]
pub struct AnalyzerError {
    /// The analyzer's name.
    pub analyzer: String,
    /// What went wrong.
    pub message: String,
}

/// When things happened to one picture. Times are RFC 3339 with microseconds, durations milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Clock {
    /// When the picture was taken, by the clock that `source` names.
    #[serde(serialize_with = "rfc3339")]
    pub captured: SystemTime,
    /// Where `captured` comes from.
    pub source: ClockSource,
    /// When its last packet arrived.
    #[serde(serialize_with = "rfc3339")]
    pub received: SystemTime,
    /// When this line was made.
    #[serde(serialize_with = "rfc3339")]
    pub emitted: SystemTime,
    /// From `captured` to `emitted`; includes the difference of the two machines' clocks.
    pub age_ms: f64,
    /// Where the time went.
    pub stages_ms: Stages,
}

/// Where the capture time of a picture comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockSource {
    /// The sender's own stamp inside the picture.
    FrameStamp,
    /// The RTP header extension abs-capture-time.
    AbsCaptureTime,
    /// The sender's RTCP sender reports (RFC 3550, 6.4.1).
    RtcpSr,
    /// When the first packet of the picture arrived.
    Arrival,
}

/// Milliseconds that one picture spent in each stage. Stages the receiver cannot know are left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stages {
    /// In the sender's encoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encode: Option<f64>,
    /// From the encoder's end to its last packet's arrival.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<f64>,
    /// In the decoder.
    pub decode: f64,
    /// Waiting between the stages of the receiver.
    pub queue: f64,
    /// In the analyzers.
    pub analyze: f64,
}

/// Pictures `from` to `to` of a session have no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The session's id.
    pub session: String,
    /// First number without a result.
    pub from: u64,
    /// Last number without a result.
    pub to: u64,
    /// Why.
    pub cause: Cause,
}

/// Why a picture has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Its packets never came.
    Lost,
    /// It came after its turn was over.
    Late,
    /// A newer picture took its place while a stage was busy.
    Busy,
    /// It refers to a picture that was lost or broken.
    Undecodable,
    /// The reader of these lines was too slow; the lines existed.
    SlowReader,
}

impl Cause {
    /// Every cause, in the order in which totals list them.
    pub const ALL: [Self; 5] = [Self::Lost, Self::Late, Self::Busy, Self::Undecodable, Self::SlowReader];
}

/// Something happened to a session.
#[derive(Clone, Debug, Serialize)]
pub struct Session {
    /// What happened.
    pub event: Event,
    /// The session's id.
    pub session: String,
    /// On `resumed`: whether the analysis state was still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<StateKept>,
    /// On `analyzers`: the list that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analyze: Option<String>,
    /// On `analyzers`: the first frame whose result they make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// On `closed`: what became of the pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<Totals>,
    /// On `closed`: why, where it was not asked for by the sender. For a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// On `closed`: `true` where another sender has the session now, so that coming back would be wrong.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub taken_over: bool,
    /// What differs between two runs; missing where there was no network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<SessionClock>,
}

impl Session {
    /// That `event` happened to `session`, and no more.
    pub fn new(event: Event, session: &str) -> Self {
        Self {
            event,
            session: session.to_owned(),
            state: None,
            analyze: None,
            from: None,
            totals: None,
            reason: None,
            taken_over: false,
            clock: None,
        }
    }
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// Its first offer was answered.
    Started,
    /// A sender came back to it.
    Resumed,
    /// Other analyzers make its results from here on.
    Analyzers,
    /// What its analyzers had learnt was forgotten; they begin anew here.
    Forgotten,
    /// Its sender is gone.
    Closed,
}

/// Whether a resumed session found its analysis state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StateKept {
    /// Baselines go on.
    Kept,
    /// Baselines begin anew.
    Lost,
}

/// What became of a session's pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Pictures whose packets all came.
    pub received: u64,
    /// Pictures decoded.
    pub decoded: u64,
    /// Pictures with a result.
    pub analyzed: u64,
    /// Results in which an analyzer failed, and final lines.
    pub errors: u64,
    /// Pictures without a result because they were lost on the way.
    pub lost: u64,
    /// Pictures that came but have no result, by cause.
    pub dropped: Dropped,
}

/// Pictures that came but have no result, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// See [`Cause::Late`].
    pub late: u64,
    /// See [`Cause::Busy`].
    pub busy: u64,
    /// See [`Cause::Undecodable`].
    pub undecodable: u64,
}

impl Totals {
    /// Counts `pictures` that have no result because of `cause`.
    pub fn count(&mut self, cause: Cause, pictures: u64) {
        let counter = match cause {
            Cause::Lost => &mut self.lost,
            Cause::Late => &mut self.dropped.late,
            Cause::Busy => &mut self.dropped.busy,
            Cause::Undecodable => &mut self.dropped.undecodable,
            // The line existed: one reader missed it, the session did not.
            Cause::SlowReader => return,
        };
        // A hostile stamp may claim any number of pictures.
        *counter = counter.saturating_add(pictures);
    }
}

/// When something happened to a session, and what the network did.
#[derive(Clone, Debug, Serialize)]
pub struct SessionClock {
    /// When the line was made.
    #[serde(serialize_with = "rfc3339")]
    pub emitted: SystemTime,
    /// On `closed`: RTP packets of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<Packets>,
}

/// RTP packets of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Packets {
    /// Packets received, duplicates left out.
    pub received: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came again or after they were given up.
    pub useless: u64,
    /// Retransmissions asked for.
    pub nacked: u64,
    /// Keyframes asked for.
    pub plis: u64,
}

/// What the analyzers say about a whole session.
#[derive(Clone, Debug, Serialize)]
pub struct Final {
    /// The session's id.
    pub session: String,
    /// Findings by analyzer.
    pub analysis: Analysis,
    /// What failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<AnalyzerError>,
}

impl Line {
    /// The line as JSON text without a line end.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("lines hold only what JSON can say")
    }

    /// The numbers that this line answers or accounts for, both ends included.
    pub fn frames(&self) -> Option<(u64, u64)> {
        match self {
            Self::Result(result) => Some((result.frame, result.frame)),
            Self::Gap(gap) => Some((gap.from, gap.to)),
            Self::Session(_) | Self::Final(_) | Self::Features(_) => None,
        }
    }
}

/// Milliseconds with three decimals, enough for a clock and short in JSON.
pub fn millis(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// Milliseconds from `earlier` to `later`, negative where the clocks disagree.
pub fn millis_between(earlier: SystemTime, later: SystemTime) -> f64 {
    match later.duration_since(earlier) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    static PRINTER: jiff::fmt::temporal::DateTimePrinter =
        jiff::fmt::temporal::DateTimePrinter::new().precision(Some(6));
    // A sender's clock may name a time that no calendar has; the line must come out all the same.
    let timestamp = jiff::Timestamp::try_from(*time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    serializer.serialize_str(&PRINTER.timestamp_to_string(&timestamp))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_result_reads_as_documented() {
        let time = UNIX_EPOCH + Duration::from_micros(1_400_000);
        let line = Line::Result(Result {
            v: VERSION,
            session: "abc".into(),
            frame: 42,
            time: 1.4,
            width: 896,
            height: 504,
            analysis: Analysis(vec![("stats".into(), json!({"sharpness": 812.5, "brightness": 112.4}))]),
            errors: vec![],
            clock: Some(Clock {
                captured: time,
                source: ClockSource::FrameStamp,
                received: time,
                emitted: time,
                age_ms: 9.8,
                stages_ms: Stages { encode: Some(4.1), network: None, decode: 1.2, queue: 0.1, analyze: 0.7 },
            }),
        });
        let at = "1970-01-01T00:00:01.400000Z";
        assert_eq!(
            line.to_json(),
            format!(
                concat!(
                    r#"{{"type":"result","v":1,"session":"abc","frame":42,"time":1.4,"width":896,"height":504,"#,
                    r#""analysis":{{"stats":{{"sharpness":812.5,"brightness":112.4}}}},"errors":[],"#,
                    r#""clock":{{"captured":"{at}","source":"frame-stamp","received":"{at}","emitted":"{at}","age_ms":9.8,"#,
                    r#""stages_ms":{{"encode":4.1,"decode":1.2,"queue":0.1,"analyze":0.7}}}}}}"#
                ),
                at = at
            )
        );
    }

    #[test]
    fn a_gap_reads_as_documented() {
        let gap = Line::Gap(Gap { session: "abc".into(), from: 57, to: 59, cause: Cause::SlowReader });
        assert_eq!(gap.to_json(), r#"{"type":"gap","session":"abc","from":57,"to":59,"cause":"slow-reader"}"#);
        assert_eq!(gap.frames(), Some((57, 59)));
    }
}
