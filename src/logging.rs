//! Logs for people and machines, always on stderr: stdout belongs to results.

use std::{fmt, str::FromStr};

use tracing_subscriber::{EnvFilter, fmt::format::Writer, fmt::time::FormatTime};

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Text that names no log format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a log format: use text or json")]
pub struct FormatError(String);

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(FormatError(other.to_owned())),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// How much is said: below zero only errors, 0 also warnings and the program's own news, 1 debug, 2 trace.
///
/// `filter`, in the syntax of `RUST_LOG` (for example `cv_receiver=debug,webrtc=info`), wins.
/// A filter that cannot be read is reported and the level used.
pub fn init(level: i8, format: Format, filter: Option<&str>) {
    let default = match level {
        i8::MIN..=-1 => "error,webrtc=off,rtc=off",
        0 => {
            "warn,cv_core=info,cv_sender=info,cv_receiver=info,webrtc=off,rtc=off,rtc_ice=off,rtc_dtls=off,rtc_sctp=off"
        }
        1 => "info,cv_core=debug,cv_sender=debug,cv_receiver=debug",
        2.. => "debug,cv_core=trace,cv_sender=trace,cv_receiver=trace",
    };
    let parsed = filter.map(EnvFilter::try_new);
    let (filter, complaint) = match parsed {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (EnvFilter::new(default), Some(error)),
        None => (EnvFilter::new(default), None),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(Utc)
        // Where stderr is closed it would say so on stderr, and panic.
        .log_internal_errors(false);
    let result = match format {
        Format::Text => {
            builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_target(level > 0).try_init()
        }
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    if result.is_err() {
        // Only a test process initialises twice; the first one stands.
        return;
    }
    if let Some(error) = complaint {
        tracing::warn!(%error, "CV_LOG cannot be read; write it like cv_receiver=debug,webrtc=info");
    }
}

/// Wall clock in RFC 3339 with milliseconds.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.3}", jiff::Timestamp::now())
    }
}
