//! `cv-receiver` as a user would run it, on a port that the system chooses.

use std::{net::SocketAddr, process::Command};

use serde_json::Value;

use crate::{
    http,
    metrics::Scrape,
    program::{self, Program},
};

/// A running receiver.
pub struct Receiver {
    /// The process.
    pub program: Program,
    /// Where its HTTP is.
    pub address: SocketAddr,
    /// `http` or `https`.
    pub scheme: String,
    /// Its UDP port for media.
    pub media_port: u16,
}

impl Receiver {
    /// Starts one with `arguments` and waits until it listens.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, |_| {})
    }

    /// The same after `prepare` has changed the command, its environment for example.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_with(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Self::command(arguments);
        prepare(&mut command);
        Self::from(Program::start(command))
    }

    /// The command for one with `arguments`.
    pub fn command(arguments: &[&str]) -> Command {
        let mut command = program::command("cv-receiver");
        for (flag, any) in [("--listen", "127.0.0.1:0"), ("--media-port", "0")] {
            if !arguments.contains(&flag) {
                command.args([flag, any]);
            }
        }
        command.args(arguments);
        if !arguments.contains(&"--ops-listen") {
            command.args(["--ops-listen", "127.0.0.1:0"]);
        }
        command
    }

    /// One that was started already, once it listens.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn from(program: Program) -> Self {
        let line = program.wait_for_stderr("'listening' on stderr", |line| line.contains("listening on http"));
        let (scheme, address) = address_in(&line);
        let media_port = line.split("UDP port ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
        let media_port = media_port.unwrap_or_else(|| panic!("no media port in: {line}"));
        Self { program, address, scheme, media_port }
    }

    /// Where its metrics are.
    ///
    /// # Panics
    /// If it does not say.
    pub fn ops_address(&self) -> SocketAddr {
        address_in(&self.program.wait_for_stderr("'metrics' on stderr", |line| line.contains("metrics and health on")))
            .1
    }

    /// Its metrics, every line of them understood.
    ///
    /// # Panics
    /// If one is not.
    pub fn scrape(&self) -> Scrape {
        let response = http::get(self.ops_address(), "/metrics");
        assert_eq!(response.status, 200, "{response:?}");
        assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")));
        Scrape::parse(&response.body)
    }

    /// Its WHIP endpoint.
    pub fn url(&self) -> String {
        format!("{}://{}/whip", self.scheme, self.address)
    }

    /// The lines on its stdout once `session` is closed.
    ///
    /// # Panics
    /// If that does not happen.
    pub fn lines_until_closed(&self, session: &str) -> Vec<String> {
        let name = format!("\"session\":\"{session}\"");
        let closed = |line: &str| line.contains("\"event\":\"closed\"") && line.contains(&name);
        self.program.wait_for_stdout("'closed' line", closed);
        self.program.stdout().into_iter().filter(|line| line.contains(&name)).collect()
    }

    /// Waits until `session` has a result for frame `frame` or a later one.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for_frame(&self, session: &str, frame: u64) {
        let name = format!("\"session\":\"{session}\"");
        self.program.wait_for_stdout(&format!("result of frame {frame}"), |line| {
            let number = |line: &str| serde_json::from_str::<Value>(line).ok()?.get("frame")?.as_u64();
            line.contains(&name) && number(line).is_some_and(|number| number >= frame)
        });
    }

    /// What it says about `session`.
    ///
    /// # Panics
    /// If it knows nothing of it.
    pub fn describe(&self, session: &str) -> Value {
        let response = http::get(self.address, &format!("/cv/session/{session}"));
        assert_eq!(response.status, 200, "{}", response.body);
        serde_json::from_str(&response.body).expect("the description is JSON")
    }
}

/// Scheme and address of the URL in `line`.
fn address_in(line: &str) -> (String, SocketAddr) {
    let url = line.split(' ').find_map(|word| word.split_once("://"));
    let address = url.and_then(|(scheme, rest)| Some((scheme.to_owned(), rest.split('/').next()?.parse().ok()?)));
    address.unwrap_or_else(|| panic!("no address in: {line}"))
}
