//! The process's end of the conversation with the daemon: one JSON object a line.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write, stdin},
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Signal, getpgrp, getpid, kill_current_process_group, kill_process},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// How long this process may take to end once the daemon is gone or asks no more.
const GRACE: Duration = Duration::from_millis(500);

/// What the daemon says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Question {
    /// The first line.
    Hello {
        /// What pictures are.
        format: String,
        /// Bytes of the shared memory.
        memory: usize,
        /// What the operator wrote.
        parameters: BTreeMap<String, String>,
    },
    /// A session begins. Not answered.
    Start {},
    /// A picture lies in the memory.
    Frame {
        /// Names the session.
        key: u64,
        /// Presentation time in seconds.
        time: f64,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// What the analyzer before found in it; null where it found nothing.
        #[serde(default, deserialize_with = "said")]
        given: Option<Value>,
    },
    /// A session ends in good order.
    Finish {},
    /// A session is over. Not answered.
    Forget {
        /// Names the session.
        key: u64,
    },
}

/// A value that is there, though it may be null.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What the daemon is told.
#[derive(Debug, Default, Serialize)]
pub(super) struct Answer {
    /// What was found.
    result: Option<Value>,
    /// Why nothing could be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What the operator should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

impl Answer {
    pub(super) fn ready(warning: Option<String>) -> Self {
        Self { warning, ..Self::default() }
    }

    pub(super) fn result(value: Value) -> Self {
        Self { result: Some(value), ..Self::default() }
    }

    pub(super) fn error(sentence: String) -> Self {
        Self { error: Some(sentence), ..Self::default() }
    }
}

/// The conversation.
pub(super) struct Channel {
    lines: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Channel {
    /// The socket that this process was started with as its standard input.
    pub(super) fn of_this_process() -> Result<Self> {
        let socket = stdin().as_fd().try_clone_to_owned().context("there is no standard input")?;
        let socket = UnixStream::from(socket);
        socket.local_addr().context("this is started by cv-receiver, which passes a socket; see detect and pose")?;
        let watched = socket.try_clone().context("the socket cannot be watched")?;
        // A model may be at one picture for long, or for ever.
        let watch = move || end_after(&watched);
        thread::Builder::new().name("watch".into()).spawn(watch).context("cannot start a thread")?;
        Ok(Self { lines: BufReader::new(socket), line: Vec::new() })
    }

    /// The next question; none when the daemon has no more.
    pub(super) fn next(&mut self) -> Result<Option<Question>> {
        self.line.clear();
        self.lines.read_until(b'\n', &mut self.line).context("cannot read from cv-receiver")?;
        if self.line.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&self.line).map(Some).context("cv-receiver said what is no question")
    }

    /// Answers the question at hand.
    pub(super) fn answer(&mut self, answer: &Answer) -> Result<()> {
        let mut line = serde_json::to_vec(answer).context("an answer cannot be written")?;
        line.push(b'\n');
        self.lines.get_mut().write_all(&line).context("cv-receiver does not listen any more")
    }
}

/// Ends this process and what it started once nobody is at the other end of `socket`.
fn end_after(socket: &UnixStream) {
    // No events are asked for: those that say that the other end is gone are told anyway.
    let mut sockets = [PollFd::new(socket, PollFlags::empty())];
    while let Err(rustix::io::Errno::INTR) = poll(&mut sockets, None) {}
    thread::sleep(GRACE);
    // As the daemon starts it, it leads a group of its own.
    let killed = match getpgrp() == getpid() {
        true => kill_current_process_group(Signal::KILL),
        false => kill_process(getpid(), Signal::KILL),
    };
    if let Err(error) = killed {
        tracing::debug!(%error, "this process could not be ended");
    }
}
