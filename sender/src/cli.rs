//! The command line of `cv-sender`: what was typed, and what it means.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, ValueEnum};
use cv_core::{
    geometry::Size,
    ice_server::{self, IceServer},
    logging,
    session_id::SessionId,
    whip::Mode,
};
use cv_source::{
    Source, file,
    pace::Pace,
    pattern,
    selection::{Open, Selection},
};
use reqwest::Url;

use crate::{camera, output::Target, transport::whip::Token};

/// Sends a camera, a clip or a test pattern to a cv-receiver (or any WHIP server) and prints one JSON line
/// for every picture.
///
/// The centre 70 % of each picture is encoded as H.264 and sent over WebRTC. stdout carries results only,
/// stderr the progress and the log.
#[derive(Clone, Debug, Parser)]
#[command(name = "cv-sender", version, after_help = EXAMPLES, group = clap::ArgGroup::new("source").args(["webcam", "file", "pattern", "list_cameras", "generate"]).required(true))]
pub struct Cli {
    /// Where pictures come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// Where they go.
    #[command(flatten)]
    pub target: TargetArgs,
    /// Which part of them is sent, and how.
    #[command(flatten)]
    pub stream: StreamArgs,
    /// What happens to the results.
    #[command(flatten)]
    pub results: ResultArgs,
    /// Verbosity of the log.
    #[command(flatten)]
    pub log: Log,
    /// Print a shell's completions or the man page, and leave.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub generate: Option<Generated>,
}

const EXAMPLES: &str = "\
Examples:
  cv-sender --pattern bars --duration 5                  a test without a camera
  cv-sender --webcam 0 --session desk                    a camera, live
  cv-sender --file clip.mp4 --pace max > results.ndjson  a clip, as fast as it goes
  cv-sender --file clip.mp4 --expect golden.ndjson       a clip in CI: exit 4 if results differ
  cv-sender --file clip.mp4 --expect golden.ndjson --update
  cv-sender --list-cameras
  ffmpeg -i rtsp://… -f yuv4mpegpipe - | cv-sender --file - --mode live

Exit status: 0 done, 1 failed, 2 usage, 3 a frame stayed unanswered or a result carries an error,
4 results differ from --expect, 130 ended by a second signal.";

/// Where pictures come from.
#[derive(Args, Clone, Debug)]
pub struct SourceArgs {
    /// A camera, by its number.
    #[arg(long, value_name = "INDEX")]
    pub webcam: Option<u32>,
    /// A video file; - reads Y4M from stdin.
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// A test pattern: bars, noise, pulse:bpm=72, reps:count=10, black, texture.
    #[arg(long, value_name = "NAME")]
    pub pattern: Option<String>,
    /// List cameras with their formats, and leave.
    #[arg(long)]
    pub list_cameras: bool,
    /// Pictures to send at most.
    #[arg(long, value_name = "N")]
    pub frames: Option<u64>,
    /// Seconds of the source to send at most.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// Seconds of the source to leave out at its beginning.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub start: Option<Duration>,
    /// Begin again at the end.
    #[arg(long = "loop")]
    pub repeat: bool,
    /// Speed of a file or pattern: 1 is real time, max is as fast as results come back.
    #[arg(long, default_value = "1", value_name = "X")]
    pub pace: Pace,
}

/// Where pictures go.
#[derive(Args, Clone, Debug)]
pub struct TargetArgs {
    /// WHIP endpoint.
    #[arg(long, env = "CV_URL", default_value = "http://127.0.0.1:8080/whip")]
    pub url: Url,
    /// Name of the session, 1 to 128 of A-Z a-z 0-9 . _ - [default: session-DATE-TIME-RANDOM].
    #[arg(long, env = "CV_SESSION", value_name = "ID")]
    pub session: Option<SessionId>,
    /// Bearer token for the endpoint.
    #[arg(long, env = "CV_TOKEN", hide_env_values = true, value_name = "T", value_parser = token)]
    pub token: Option<Token>,
    /// Certificate of a private authority that the endpoint's may be signed by, as PEM.
    #[arg(long, env = "CV_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// STUN or TURN server, repeatable: stun:HOST:3478 or turn:HOST:3478,USER,PASSWORD.
    #[arg(
        long = "ice-server",
        env = "CV_ICE_SERVERS",
        hide_env_values = true,
        value_delimiter = ' ',
        value_name = "URL", value_parser = ice_server::Parser
    )]
    pub ice_servers: Vec<IceServer>,
    /// Send over a TURN server only.
    #[arg(long, requires = "ice_servers")]
    pub relay_only: bool,
    /// Leave the session's analysis state for a later run with the same id.
    #[arg(long)]
    pub keep_session: bool,
    /// Seconds to connect.
    #[arg(long, default_value = "10", value_name = "S", value_parser = seconds)]
    pub timeout: Duration,
    /// Seconds to keep trying after a break.
    #[arg(long, default_value = "30", value_name = "S", value_parser = seconds)]
    pub reconnect: Duration,
}

/// Which part of the pictures is sent, and how.
#[derive(Args, Clone, Debug)]
pub struct StreamArgs {
    /// Share of width and height that is kept, centred; sides are rounded down to even.
    #[arg(long, default_value = "0.7", value_name = "F", value_parser = share)]
    pub crop: f64,
    /// Scale to this size after the crop.
    #[arg(long, value_name = "WxH")]
    pub size: Option<Size>,
    /// Pictures a second at most.
    #[arg(long, value_name = "N", value_parser = fps)]
    pub fps: Option<f64>,
    /// Target of the encoder in kbit/s [default: from the picture size, 1500 for 896x504 at 30 fps].
    #[arg(long, value_name = "KBIT", value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub bitrate: Option<u32>,
    /// Seconds from one keyframe to the next.
    #[arg(long, default_value = "2", value_name = "S", value_parser = gop)]
    pub gop: Duration,
    /// live: the newest picture wins. every-frame: nothing is left out [default: live for a camera, else every-frame].
    #[arg(long)]
    pub mode: Option<Mode>,
    /// Analyzers to ask for: name or name:key=value, separated by commas, or a file of them (.toml, .json) [default: the receiver's].
    #[arg(long, value_name = "LIST")]
    pub analyze: Option<String>,
}

/// What happens to the results.
#[derive(Args, Clone, Debug)]
pub struct ResultArgs {
    /// How results come back.
    #[arg(long, value_enum, default_value_t = Results::Channel)]
    pub results: Results,
    /// File for results as JSON Lines; - is stdout.
    #[arg(long, default_value = "-", value_name = "PATH")]
    pub out: PathBuf,
    /// Compare results with this file.
    #[arg(long, value_name = "PATH")]
    pub expect: Option<PathBuf>,
    /// By how much numbers may differ from the expected ones.
    #[arg(long, default_value_t = 0.0, value_name = "X", requires = "expect")]
    pub tolerance: f64,
    /// Write the file of --expect instead of comparing with it.
    #[arg(long, requires = "expect")]
    pub update: bool,
    /// Who reads the summary at the end and the list of cameras.
    #[arg(long, value_enum, default_value_t = Report::Human)]
    pub output: Report,
}

/// How results come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Results {
    /// Over the connection's data channel.
    Channel,
    /// Over HTTP, from the link in the endpoint's answer.
    Http,
    /// Not at all.
    None,
}

/// Who reads a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Report {
    /// People.
    Human,
    /// Programs.
    Json,
}

/// What can be generated from the command line itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generated {
    /// Completions for bash.
    Bash,
    /// Completions for zsh.
    Zsh,
    /// Completions for fish.
    Fish,
    /// The man page.
    Man,
}

/// Verbosity of the log.
#[derive(Args, Clone, Debug)]
pub struct Log {
    /// Only errors on stderr, and no progress.
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More on stderr; twice for everything.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Form of log lines: text or json.
    #[arg(long, default_value_t = logging::Format::Text, value_name = "FORMAT")]
    log_format: logging::Format,
    /// Filter for log lines in the syntax of RUST_LOG.
    #[arg(long, env = "CV_LOG", hide = true)]
    log_filter: Option<String>,
}

impl Log {
    /// Starts logging as asked.
    pub fn init(&self) {
        let level = if self.quiet { -1 } else { self.verbose.min(2) as i8 };
        logging::init(level, self.log_format, self.log_filter.as_deref());
    }
}

impl Cli {
    /// The delivery mode: what was asked for, or what suits the source.
    pub fn mode(&self) -> Mode {
        let usual = if self.source.webcam.is_some() { Mode::Live } else { Mode::EveryFrame };
        self.stream.mode.unwrap_or(usual)
    }

    /// Options that contradict each other.
    pub fn contradiction(&self) -> Option<&'static str> {
        match () {
            () if self.results.results == Results::None && self.source.pace == Pace::Max => {
                Some("--pace max is as fast as results come back, so it needs --results channel or http")
            }
            () if self.results.results == Results::None && self.results.expect.is_some() => {
                Some("--expect compares results, so it needs --results channel or http")
            }
            () if self.source.repeat && self.source.webcam.is_some() => Some("--loop is for files and patterns"),
            () if self.source.repeat && self.reads_stdin() => {
                Some("stdin cannot be read again, so --loop needs a file")
            }
            () => None,
        }
    }

    /// Where results are written.
    pub fn target(&self) -> Target {
        if self.results.out.as_os_str() == "-" { Target::Stdout } else { Target::File(self.results.out.clone()) }
    }

    /// Which pictures of the source are taken.
    pub fn selection(&self) -> Selection {
        let source = &self.source;
        Selection {
            start: source.start.map(|start| start.as_secs_f64()),
            duration: source.duration.map(|duration| duration.as_secs_f64()),
            frames: source.frames,
            fps: self.stream.fps,
            repeat: source.repeat,
        }
    }

    /// How the source is opened, once or for each round of a loop.
    pub fn open(&self) -> Open {
        let (source, stdin) = (self.source.clone(), self.reads_stdin());
        let start = source.start.map(|start| start.as_secs_f64());
        let fps = self.stream.fps;
        Box::new(move || -> Result<Box<dyn Source>, cv_source::Error> {
            match (&source.file, &source.pattern, source.webcam) {
                (Some(_), ..) if stdin => file::stdin(),
                (Some(path), ..) => file::open(path, start),
                (_, Some(pattern), _) => pattern::open(pattern, None, fps),
                (_, _, index) => camera::open(&camera::Options { index: index.unwrap_or(0), size: None, fps }),
            }
        })
    }

    fn reads_stdin(&self) -> bool {
        self.source.file.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }
}

fn token(text: &str) -> Result<Token, String> {
    if text.trim().is_empty() { Err("a token cannot be empty".into()) } else { Ok(Token::new(text)) }
}

fn number(text: &str, least: f64, most: f64, what: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (least..=most).contains(value));
    value.ok_or_else(|| format!("'{text}' is not {what} from {least} to {most}"))
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.01, 1.0, "a share")
}

fn fps(text: &str) -> Result<f64, String> {
    number(text, 0.01, 1000.0, "a rate")
}

/// What a new connection has to be given again reaches back to a keyframe, so they are never far apart.
fn gop(text: &str) -> Result<Duration, String> {
    number(text, 0.0, 60.0, "a number of seconds").map(Duration::from_secs_f64)
}

fn seconds(text: &str) -> Result<Duration, String> {
    number(text, 0.0, 31_536_000.0, "a number of seconds").map(Duration::from_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["cv-sender"], arguments].concat())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn exactly_one_source_is_asked_for() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--webcam", "0", "--pattern", "bars"]).is_err());
        assert_eq!(parse(&["--webcam", "0"]).unwrap().mode(), Mode::Live);
        assert_eq!(parse(&["--file", "a.mp4"]).unwrap().mode(), Mode::EveryFrame);
        assert_eq!(parse(&["--file", "a.mp4", "--mode", "live"]).unwrap().mode(), Mode::Live);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for wrong in [
            ["--crop", "0"],
            ["--crop", "1.5"],
            ["--fps", "0"],
            ["--session", "a b"],
            ["--size", "0x4"],
            ["--pace", "0"],
        ] {
            assert!(parse(&[&["--pattern", "bars"], &wrong[..]].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn contradictions_are_told() {
        let contradiction = |arguments: &[&str]| parse(arguments).unwrap().contradiction();
        assert!(contradiction(&["--pattern", "bars", "--results", "none", "--pace", "max"]).is_some());
        assert!(contradiction(&["--webcam", "0", "--loop"]).is_some());
        assert!(contradiction(&["--file", "-", "--loop"]).is_some());
        assert!(contradiction(&["--pattern", "bars"]).is_none());
    }
}
