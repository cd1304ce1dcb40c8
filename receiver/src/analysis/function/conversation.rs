//! Questions and answers over a socket, a line of JSON each.

use std::{
    fmt, io,
    io::{BufRead, BufReader, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use super::message::{Reply, Request};

/// The longest answer about a picture, and what stands around several.
const MAX_ANSWER: usize = 4 << 20;
const FRAME: usize = 64;

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

    /// Asks and waits for the answer.
    pub(super) fn ask(&mut self, request: &Request<'_>, limit: Duration) -> Result<Reply, Broken> {
        self.tell(request, limit)?;
        let pictures = if let Request::Batch { pictures } = request { pictures.len() } else { 1 };
        self.hear(limit, pictures * MAX_ANSWER + FRAME)
    }

    /// Says something.
    pub(super) fn tell(&mut self, request: &Request<'_>, limit: Duration) -> Result<(), Broken> {
        // An answer too many would be taken for that of the next picture, and so on for ever.
        if self.has_more()? {
            return Err(Broken::Nonsense("it answered what was not asked".into()));
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, request).map_err(|error| Broken::Nonsense(error.to_string()))?;
        self.line.push(b'\n');
        self.socket.get_ref().set_write_timeout(Some(limit)).map_err(|error| Broken::Ended(error.to_string()))?;
        self.socket.get_mut().write_all(&self.line).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Broken::Silent(limit),
            _broken_pipe => closed(),
        })
    }

    /// Whether something was said that nobody has heard yet.
    fn has_more(&mut self) -> Result<bool, Broken> {
        if !self.socket.buffer().is_empty() {
            return Ok(true);
        }
        let ended = |error: io::Error| Broken::Ended(error.to_string());
        self.socket.get_ref().set_nonblocking(true).map_err(ended)?;
        let there = self.socket.fill_buf().map(|bytes| !bytes.is_empty());
        self.socket.get_ref().set_nonblocking(false).map_err(ended)?;
        // Silence is what is expected; an end is seen when something is asked.
        Ok(there.unwrap_or(false))
    }

    /// The next answer, of `most` bytes.
    fn hear(&mut self, limit: Duration, most: usize) -> Result<Reply, Broken> {
        self.read(limit, most)?;
        // Serde would take an array for a struct, too.
        if !self.line.trim_ascii_start().starts_with(b"{") {
            return Err(Broken::Nonsense("the line is no JSON object".into()));
        }
        serde_json::from_slice(&self.line).map_err(|error| Broken::Nonsense(error.to_string()))
    }

    /// Reads the next line, of `most` bytes.
    fn read(&mut self, limit: Duration, most: usize) -> Result<(), Broken> {
        let deadline = Instant::now() + limit;
        self.line.clear();
        self.line.shrink_to(MAX_ANSWER);
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
            if self.line.len() > most {
                return Err(Broken::Nonsense(format!("a line of more than {} MB", most >> 20)));
            }
        }
    }

    /// Lets the other end see that nothing more will be said. It is still listened to, which tells it that we are there.
    pub(super) fn end(&self) {
        drop(self.socket.get_ref().shutdown(Shutdown::Write));
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
            match conversation.hear(Duration::from_secs(10), MAX_ANSWER).map(Result::from) {
                Ok(Ok(Some(_))) => findings += 1,
                Ok(Ok(None) | Err(_)) => {}
                Err(broken) => {
                    // Whoever still talks is not to wait for us.
                    drop(conversation.socket.get_ref().shutdown(Shutdown::Both));
                    break Ok((findings, broken.to_string()));
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{super::message::Shown, *};

    const LIMIT: Duration = Duration::from_secs(10);

    /// The answers to two questions of a process that has said `text` after the first one.
    fn two_answers(text: &str) -> [Result<Reply, Broken>; 2] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut conversation = Conversation::new(ours);
        theirs.write_all(text.as_bytes()).unwrap();
        let first = conversation.hear(LIMIT, MAX_ANSWER);
        [first, conversation.ask(&Request::Finish { key: 1 }, Duration::from_millis(50))]
    }

    #[test]
    fn an_answer_too_many_is_nonsense_and_not_that_of_the_next_question() {
        let [first, second] = two_answers("{\"result\":{\"a\":1}}\n{\"result\":{\"a\":2}}\n");
        assert_eq!(first.unwrap().result, Some(serde_json::json!({"a": 1})));
        assert!(matches!(second, Err(Broken::Nonsense(what)) if what.contains("not asked")));
    }

    #[test]
    fn who_says_no_more_than_was_asked_is_silent() {
        let [first, second] = two_answers("{\"result\":null}\n");
        assert!(first.is_ok() && matches!(second, Err(Broken::Silent(_))), "{second:?}");
    }

    #[test]
    fn a_process_that_does_not_read_is_silent_too() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut conversation = Conversation::new(ours);
        let session = "x".repeat(4 << 20);
        let told = conversation.tell(&Request::Start { key: 1, session: &session }, Duration::from_millis(50));
        assert!(matches!(told, Err(Broken::Silent(_))), "{told:?}");
    }

    #[test]
    fn the_answers_for_several_pictures_may_be_as_long_as_those_for_each() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut conversation = Conversation::new(ours);
        let one = format!("{{\"result\":{{\"text\":\"{}\"}}}}", "x".repeat(3 << 20));
        let line = format!("{{\"results\":[{one},{one}]}}\n");
        let theirs = std::thread::spawn(move || {
            theirs.read_exact(&mut [0]).unwrap();
            theirs.write_all(line.as_bytes()).unwrap();
        });
        let shown = || Shown { offset: 0, session: "s", frame: 0, time: 0.0, width: 2, height: 2, given: None };
        let reply = conversation.ask(&Request::Batch { pictures: vec![shown(), shown()] }, LIMIT).unwrap();
        assert_eq!(reply.results.unwrap().len(), 2);
        theirs.join().unwrap();
    }
}
