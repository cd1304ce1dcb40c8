//! What `cv-receiver analyze` is asked for.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args};
use cv_core::{geometry::Size, session_id::SessionId};

use super::{Emit, Log, analyzers::Analyzers, number, seconds};

/// What to analyse without a network, and how.
#[derive(Args, Clone, Debug)]
#[command(group = ArgGroup::new("input").args(["file", "features"]).required(true))]
pub struct Analyze {
    /// A video file, whose own pictures are analysed; - reads Y4M from stdin.
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Lines that `--emit features` printed; - reads them from stdin. Analyzers may be those whose features were saved, with any parameters that leave features as they are; neither Python nor a model is run.
    #[arg(long, value_name = "FILE")]
    pub features: Option<PathBuf>,
    /// How a file is read.
    #[command(flatten)]
    pub clip: ClipArgs,
    /// What it is analysed with.
    #[command(flatten)]
    pub analyzers: Analyzers,
    /// File for results as JSON Lines; - is stdout.
    #[arg(long, default_value = "-", value_name = "PATH")]
    pub out: PathBuf,
    /// Verbosity of the log.
    #[command(flatten)]
    pub log: Log,
}

/// Which pictures of a clip are analysed, as `cv-sender` would send them, and how.
#[derive(Args, Clone, Debug)]
pub struct ClipArgs {
    /// Share of width and height that is kept, centred; sides are rounded down to even.
    #[arg(long, default_value = "0.7", value_name = "F", value_parser = kept, conflicts_with = "features")]
    pub crop: f64,
    /// Scale to this size after the crop.
    #[arg(long, value_name = "WxH", conflicts_with = "features")]
    pub size: Option<Size>,
    /// Pictures a second at most.
    #[arg(long, value_name = "N", value_parser = fps, conflicts_with = "features")]
    pub fps: Option<f64>,
    /// Seconds of the clip to leave out at its beginning.
    #[arg(long, value_name = "S", value_parser = seconds, conflicts_with = "features")]
    pub start: Option<Duration>,
    /// Seconds of the clip to analyse at most.
    #[arg(long, value_name = "S", value_parser = seconds, conflicts_with = "features")]
    pub duration: Option<Duration>,
    /// Pictures to analyse at most.
    #[arg(long, value_name = "N", conflicts_with = "features")]
    pub frames: Option<u64>,
    /// Name of the session in the lines, 1 to 128 of A-Z a-z 0-9 . _ -
    #[arg(long, default_value = "clip", value_name = "ID", conflicts_with = "features")]
    pub session: SessionId,
    /// What is printed of a picture; features are what analyzers draw from pictures, for --features.
    #[arg(long, value_enum, default_value_t = Emit::Results, value_name = "WHAT", conflicts_with = "features")]
    pub emit: Emit,
    /// Pictures at work at once, as far as the analyzers allow; the lines are the same [default: one a processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), conflicts_with = "features")]
    pub threads: Option<u16>,
}

fn kept(text: &str) -> Result<f64, String> {
    number(text, 0.01, 1.0, "a share")
}

fn fps(text: &str) -> Result<f64, String> {
    number(text, 0.01, 1000.0, "a rate")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["cv-receiver", "analyze"], arguments].concat())
    }

    #[test]
    fn exactly_one_input_is_asked_for() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--file", "a.mp4", "--features", "b"]).is_err());
        for of_a_clip in [["--frames", "3"], ["--crop", "1"], ["--session", "a"], ["--threads", "1"]] {
            assert!(parse(&[&["--features", "b"], &of_a_clip[..]].concat()).is_err(), "{of_a_clip:?}");
        }
        assert!(parse(&["--features", "b", "--out", "c"]).is_ok());
        let Some(Command::Analyze(options)) = parse(&["--file", "a.mp4"]).unwrap().command else { panic!() };
        assert_eq!((options.clip.session.as_str(), options.clip.crop), ("clip", 0.7));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for wrong in [["--crop", "0"], ["--fps", "0"], ["--threads", "0"], ["--session", "a b"], ["--start", "-1"]] {
            assert!(parse(&[&["--file", "a.mp4"], &wrong[..]].concat()).is_err(), "{wrong:?}");
        }
    }
}
