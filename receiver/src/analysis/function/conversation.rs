//! Questions and answers over a socket, a line of JSON each.

use std::{
    fmt, io,
    io::{BufRead, BufReader, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use super::message::{Reply, Request};

/// The longest answer.
const MAX_ANSWER: usize = 4 << 20;

/// Our end of a conversation. Nothing that the other end says is trusted.
pub(super) struct Conversation {
    socket: BufReader<UnixStream>,
    line: Vec<u8>,
}

/// Why a conversation cannot go on.
#[derive(Debug)]
pub(super) enum Broken {
    /// The other end is gone.
    Ended(String),
    /// It did not answer in time.
    Silent(Duration),
    /// It said something that is no answer.
    Nonsense(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(how) => write!(f, "the process ended ({how})"),
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs_f64()),
            Self::Nonsense(what) => write!(f, "the process did not answer as agreed: {what}"),
        }
    }
}

impl Conversation {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self { socket: BufReader::new(socket), line: Vec::new() }
    }

    /// Says something.
    pub(super) fn tell(&mut self, request: &Request<'_>) -> Result<(), Broken> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, request).map_err(|error| Broken::Nonsense(error.to_string()))?;
        self.line.push(b'\n');
        self.socket.get_mut().write_all(&self.line).map_err(|_broken_pipe| closed())
    }

    /// The next answer.
    pub(super) fn hear(&mut self, limit: Duration) -> Result<Reply, Broken> {
        self.read(limit)?;
        // Serde would take an array for a struct, too.
        if !self.line.trim_ascii_start().starts_with(b"{") {
            return Err(Broken::Nonsense("the line is no JSON object".into()));
        }
        serde_json::from_slice(&self.line).map_err(|error| Broken::Nonsense(error.to_string()))
    }

    /// Reads the next line.
    fn read(&mut self, limit: Duration) -> Result<(), Broken> {
        let deadline = Instant::now() + limit;
        self.line.clear();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Broken::Silent(limit));
            }
            self.socket.get_ref().set_read_timeout(Some(left)).map_err(|error| Broken::Ended(error.to_string()))?;
            let (bytes, whole) = match self.socket.fill_buf() {
                Ok([]) => return Err(closed()),
                Ok(bytes) => match bytes.iter().position(|byte| *byte == b'\n') {
                    Some(end) => (&bytes[..=end], true),
                    None => (bytes, false),
                },
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(Broken::Silent(limit));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_reset) => return Err(closed()),
            };
            self.line.extend_from_slice(bytes);
            let taken = bytes.len();
            self.socket.consume(taken);
            if whole {
                return Ok(());
            }
            if self.line.len() > MAX_ANSWER {
                return Err(Broken::Nonsense(format!("a line of more than {} MB", MAX_ANSWER >> 20)));
            }
        }
    }

    /// Lets the other end see that there is nothing more.
    pub(super) fn end(&self) {
        drop(self.socket.get_ref().shutdown(Shutdown::Both));
    }
}

fn closed() -> Broken {
    Broken::Ended("it closed its socket".into())
}

/// Hears all answers in `bytes` as if a process had said them; gives how many were findings and why there are no more.
///
/// For tests with hostile input.
///
/// # Errors
/// If there is no socket to be had.
pub fn answers(bytes: &[u8]) -> io::Result<(usize, String)> {
    let (ours, mut theirs) = UnixStream::pair()?;
    let mut conversation = Conversation::new(ours);
    std::thread::scope(|scope| {
        scope.spawn(move || drop(theirs.write_all(bytes)));
        let mut findings = 0;
        loop {
            match conversation.hear(Duration::from_secs(10)).map(Result::from) {
                Ok(Ok(Some(_))) => findings += 1,
                Ok(Ok(None) | Err(_)) => {}
                Err(broken) => {
                    conversation.end();
                    break Ok((findings, broken.to_string()));
                }
            }
        }
    })
}
