//! The command line of `cv-receiver`.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::FalseyValueParser};
use cv_core::{
    ice_server::{self, IceServer},
    logging,
};

use self::{analyze::Analyze, analyzers::Analyzers};
use crate::{model, web::tokens::Token};

pub mod analyze;
pub mod analyzers;

/// Answers WHIP senders, decodes their H.264, analyses every picture and prints one JSON line for each.
///
/// Results also go back to the sender over its data channel, and to anybody who asks at
/// /cv/session/ID/results. stdout carries results only, stderr the log.
#[derive(Debug, Parser)]
#[command(name = "cv-receiver", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; serving, unless something else is named.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Serve,
}

const EXAMPLES: &str = "\
Examples:
  cv-receiver                                        serve on 127.0.0.1:8080, results on stdout
  cv-receiver --analyze stats:window=5               another baseline window
  cv-receiver --analyze python:clip.py:analyze       a Python function of one's own
  cv-receiver --no-print &                           serve; read results at /cv/session/ID/results
  cv-receiver --listen 0.0.0.0:8080 --token-file t   serve a network; senders need the token
  cv-receiver --emit features > saved.ndjson         keep what analyzers draw from pictures …
  cv-receiver analyze --features saved.ndjson --analyze stats:window=3   … and fold it again
  cv-receiver analyze --file clip.mp4                a clip's own pictures, without a network
  cv-receiver analyzers                              what can be measured

Exit status: 0 done, 1 failed, 2 usage, 3 a result of analyze carries an error, 130 ended by a second signal.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve senders (the default).
    Serve(Box<Serve>),
    /// Analyse a clip, or features that were saved, without a network: the same results from the same pictures.
    Analyze(Box<Analyze>),
    /// List the analyzers with their parameters.
    Analyzers {
        /// For people or for programs.
        #[arg(long, value_enum, default_value_t = Output::Human)]
        output: Output,
    },
    /// Look at pictures with a model: started by the others where they need it.
    #[command(hide = true)]
    Model(model::Options),
    /// Print a shell's completions, or the man page.
    Generate {
        /// What to print.
        #[arg(value_enum)]
        what: Generated,
    },
}

/// Who reads a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
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

/// How to serve.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// Address of the HTTP server.
    #[arg(long, env = "CV_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Address for /metrics, /healthz and /readyz [default: 127.0.0.1:9090 if it is free].
    #[arg(long, env = "CV_OPS_LISTEN", value_name = "ADDR")]
    pub ops_listen: Option<SocketAddr>,
    /// UDP port for the media of every session; 0 takes any [default: 8189, or any where that is taken].
    #[arg(long, value_name = "PORT")]
    pub media_port: Option<u16>,
    /// Address under which senders elsewhere reach this machine, where a NAT passes the media port on; repeatable.
    #[arg(long, value_name = "IP", value_parser = public_ip)]
    pub public_ip: Vec<IpAddr>,
    /// STUN or TURN server, named to senders, too; repeatable: stun:HOST:3478 or turn:HOST:3478,USER,PASSWORD.
    #[arg(
        long = "ice-server",
        env = "CV_ICE_SERVERS",
        hide_env_values = true,
        value_delimiter = ' ',
        value_name = "URL", value_parser = ice_server::Parser
    )]
    pub ice_servers: Vec<IceServer>,
    /// Take media over TURN servers only.
    #[arg(long, requires = "ice_servers")]
    pub relay_only: bool,
    /// Who may come in, and how.
    #[command(flatten)]
    pub doors: Doors,
    /// What pictures of sessions are analysed with that ask for nothing else.
    #[command(flatten)]
    pub analyzers: Analyzers,
    /// Load an analyzer of one's own anew when its file changes.
    #[arg(long, env = "CV_RELOAD", value_parser = FalseyValueParser::new())]
    pub reload: bool,
    /// Threads for analyzers that take longer than a moment [default: one a processor].
    #[arg(long, env = "CV_ANALYSIS_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub analysis_threads: Option<u16>,
    /// Print no results on stdout.
    #[arg(long, env = "CV_NO_PRINT", value_parser = FalseyValueParser::new())]
    pub no_print: bool,
    /// What is printed on stdout; features are what analyzers draw from pictures, for `cv-receiver analyze`.
    #[arg(long, value_enum, default_value_t = Emit::Results, value_name = "WHAT", conflicts_with = "no_print")]
    pub emit: Emit,
    /// Senders at once; further ones are told to come back later.
    #[arg(long, env = "CV_MAX_SESSIONS", default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_sessions: u16,
    /// Share of the processors that live senders may use together; further ones are told to come back later. 0 takes all.
    #[arg(long, env = "CV_MAX_LOAD", default_value_t = 0.9, value_name = "SHARE", value_parser = share)]
    pub max_load: f64,
    /// Seconds that a session is remembered once its sender is gone.
    #[arg(long, env = "CV_SESSION_TTL", default_value = "300", value_name = "S", value_parser = seconds)]
    pub session_ttl: Duration,
    /// Store every Nth picture as a PNG.
    #[arg(long, value_name = "N", requires = "save_dir", value_parser = clap::value_parser!(u64).range(1..))]
    pub save_every: Option<u64>,
    /// Folder for stored pictures, one folder a session in it.
    #[arg(long, value_name = "D", requires = "save_every")]
    pub save_dir: Option<PathBuf>,
    /// Verbosity of the log.
    #[command(flatten)]
    pub log: Log,
}

/// What is printed of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// Its result.
    Results,
    /// Its features before its result.
    Features,
}

/// Who may use the HTTP server, and how.
#[derive(Args, Clone, Debug)]
pub struct Doors {
    /// Token that every request must carry as a bearer.
    #[arg(long, env = "CV_TOKEN", hide_env_values = true, value_name = "T", value_parser = token)]
    pub token: Option<Token>,
    /// File of tokens, one a line: TOKEN, then what it is good for (publish, read, admin, session=PATTERN); a bare one may do everything.
    ///
    /// Safer than the command line, which others can see. Read again on SIGHUP.
    #[arg(long, env = "CV_TOKEN_FILE", value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Serve beyond this machine without a token.
    #[arg(long, env = "CV_ALLOW_ANONYMOUS", value_parser = FalseyValueParser::new())]
    pub allow_anonymous: bool,
    /// Certificate for HTTPS, as PEM with those between it and a root. Read again on SIGHUP.
    #[arg(long, env = "CV_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate, as PEM.
    #[arg(long, env = "CV_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Web origin whose pages may talk to this server, or * for all; repeatable.
    #[arg(long, env = "CV_CORS_ORIGIN", value_delimiter = ' ', value_name = "ORIGIN")]
    pub cors_origin: Vec<String>,
    /// Requests other than GET that one address, or one token there, may make a second; 0 is no limit.
    #[arg(long, env = "CV_RATE_LIMIT", default_value_t = 50, value_name = "N")]
    pub rate_limit: u16,
    /// HTTP connections at once.
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: u16,
    /// HTTP connections at once from one address other than this machine's.
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections_per_address: u16,
}

/// Verbosity of the log.
#[derive(Args, Clone, Debug)]
pub struct Log {
    /// Only errors on stderr.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// More on stderr; twice for everything.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Form of log lines: text or json.
    #[arg(long, env = "CV_LOG_FORMAT", default_value_t = logging::Format::Text, value_name = "FORMAT")]
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

fn token(text: &str) -> Result<Token, String> {
    Token::new(text).ok_or_else(|| "a token cannot be empty".into())
}

fn public_ip(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr =
        text.parse().map_err(|_no_address| format!("'{text}' is not an IP address; a name will not do"))?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(format!("nobody can be reached at {ip}"));
    }
    Ok(ip)
}

fn definition(text: &str) -> Result<(String, String), String> {
    let (name, spec) = text.split_once('=').ok_or("write NAME=SPEC, for example quick=stats:window=2")?;
    let usable = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    usable.then(|| (name.into(), spec.into())).ok_or_else(|| format!("'{name}' is no name: use A-Z a-z 0-9 _ -"))
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0, 1.0, "a share")
}

fn seconds(text: &str) -> Result<Duration, String> {
    number(text, 0.0, 31_536_000.0, "a number of seconds").map(Duration::from_secs_f64)
}

fn number(text: &str, least: f64, most: f64, what: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (least..=most).contains(value));
    value.ok_or_else(|| format!("'{text}' is not {what} from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_public_address_is_an_address() {
        let parse = |ip| Cli::try_parse_from(["cv-receiver", "--public-ip", ip]);
        assert!(parse("198.51.100.7").is_ok() && parse("2001:db8::7").is_ok());
        for wrong in ["example.org", "198.51.100.7:8189", "0.0.0.0", "::", "224.0.0.1", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn serving_is_the_default() {
        let cli = Cli::parse_from(["cv-receiver", "--listen", "127.0.0.1:0"]);
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.listen.port(), 0);
        assert!(matches!(Cli::parse_from(["cv-receiver", "serve", "--no-print"]).command, Some(Command::Serve(_))));
    }
}
