//! `cv-sender` as a user would run it.

use std::process::Command;

use serde_json::Value;

use crate::program::{self, LIMIT, Program};

/// A running sender.
pub struct Sender {
    /// The process.
    pub program: Program,
}

/// What a sender's run came to.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Its lines on stdout.
    pub lines: Vec<String>,
    /// What it said on stderr.
    pub stderr: String,
}

impl Sender {
    /// Starts one that sends to `url`.
    pub fn start(url: &str, arguments: &[&str]) -> Self {
        Self::start_with(arguments, |command| {
            command.args(["--url", url]);
        })
    }

    /// Starts one after `prepare` has changed the command.
    pub fn start_with(arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = program::command("cv-sender");
        command.args(arguments);
        prepare(&mut command);
        Self { program: Program::start(command) }
    }

    /// Runs one to its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn run(url: &str, arguments: &[&str]) -> Finished {
        Self::start(url, arguments).finish()
    }

    /// Waits until it printed a result of frame `frame` or a later one.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_for_frame(&self, frame: u64) {
        self.program.wait_for_stdout(&format!("result of frame {frame}"), |line| {
            let number = |line: &str| serde_json::from_str::<Value>(line).ok()?.get("frame")?.as_u64();
            number(line).is_some_and(|number| number >= frame)
        });
    }

    /// Waits until it printed a result of frame `frame` or a later one; `false` if it ends without.
    pub fn reaches_frame(&self, frame: u64) -> bool {
        let number = |line: &str| serde_json::from_str::<Value>(line).ok()?.get("frame")?.as_u64();
        self.program.find_on_stdout(|line| number(line).is_some_and(|number| number >= frame)).is_some()
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// If it does not come.
    pub fn finish(self) -> Finished {
        let code = self.program.wait(LIMIT);
        Finished { code, lines: self.program.stdout(), stderr: self.program.stderr() }
    }
}

impl Finished {
    /// Itself, if all went well.
    ///
    /// # Panics
    /// If the exit code is another one than `code`.
    pub fn expect(self, code: i32) -> Self {
        let last = self.lines.last().map_or("", String::as_str);
        assert_eq!(self.code, Some(code), "the last of {} lines: {last}\nstderr:\n{}", self.lines.len(), self.stderr);
        self
    }

    /// The summary that `--output json` puts on stderr.
    ///
    /// # Panics
    /// If there is none.
    pub fn summary(&self) -> Value {
        let line = self.stderr.lines().find(|line| line.starts_with("{\"type\":\"summary\""));
        let line = line.unwrap_or_else(|| panic!("no summary in:\n{}", self.stderr));
        serde_json::from_str(line).expect("the summary is JSON")
    }

    /// Itself, if stderr holds `text`.
    ///
    /// # Panics
    /// If it does not.
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no '{text}' in:\n{}", self.stderr);
        self
    }
}
