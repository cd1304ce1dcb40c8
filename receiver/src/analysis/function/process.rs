//! One running process.

use std::{
    io,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;

use super::{
    Input,
    code::Code,
    conversation::{Broken, Conversation},
    gathering::{Answer, Waiting},
    group::Group,
    launch::Launch,
    memory::{CAPACITY, Memory},
    message::{Reply, Request, Shown, VERSION},
};
use crate::analysis::Moment;

/// How long a process may take to end once its socket is closed.
const END_LIMIT: Duration = Duration::from_millis(500);
/// Between two looks at the memory that a process holds. A look costs some 10 µs.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process that has said that it is ready. Dropping it ends it.
pub(super) struct Process {
    group: Group,
    conversation: Conversation,
    memory: Memory,
    serial: u64,
    /// What it was loaded from, where changes matter.
    code: Code,
    /// When somebody looked at its memory last.
    looked: Option<Instant>,
    /// Whether it takes several pictures at once.
    takes_batches: bool,
}

/// A process that could not be started.
pub(super) struct Unstarted {
    pub(super) error: String,
    /// What it was loaded from, where changes matter.
    pub(super) code: Code,
}

impl Process {
    /// Starts a process and waits until it is ready.
    pub(super) fn start(launch: &Launch) -> Result<Self, Unstarted> {
        let (begun, mut files) = (SystemTime::now(), launch.kind.files());
        let started = Self::greet(launch, &mut files);
        let code = if launch.reload { Code::of(files, begun) } else { Code::default() };
        match started {
            Ok(mut process) => {
                process.code = code;
                Ok(process)
            }
            Err(error) => Err(Unstarted { error: format!("{}: {error}", launch.kind.title()), code }),
        }
    }

    /// A new process that is ready, or why it cannot be had; adds the files that it says to be made of.
    fn greet(launch: &Launch, files: &mut Vec<PathBuf>) -> Result<Self, String> {
        static SERIALS: AtomicU64 = AtomicU64::new(1);
        let failed = |error: io::Error| format!("cannot be given pictures: {error}");
        let (socket, theirs) = UnixStream::pair().map_err(failed)?;
        let (memory, file) = Memory::new(launch.format).map_err(failed)?;
        let group = Group::of(launch.kind.spawn(theirs, file)?);
        let mut process = Self {
            group,
            conversation: Conversation::new(socket),
            memory,
            serial: SERIALS.fetch_add(1, Ordering::Relaxed),
            code: Code::default(),
            looked: None,
            takes_batches: false,
        };
        let (format, parameters) = (launch.format.name(), &launch.parameters);
        let hello = Request::Hello { v: VERSION, format, memory: CAPACITY, parameters };
        let ready =
            process.ask(&hello, launch.start_timeout).map_err(|broken| format!("{broken}; see the lines above"))?;
        files.extend(ready.files);
        if let Some(error) = ready.error {
            return Err(error);
        }
        if let Some(held) = process.excess(launch.memory) {
            let (held, most) = (held >> 20, launch.memory >> 20);
            tracing::warn!("{}: its process holds {held} MB before the first picture", launch.kind.title());
            return Err(format!("holds more than memory={most} MB before the first picture"));
        }
        process.takes_batches = ready.batch;
        if let Some(warning) = ready.warning {
            tracing::warn!("{}: {warning}", launch.kind.title());
        }
        Ok(process)
    }

    /// What tells this process from those before and after it; never 0.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether its code has changed since it was loaded.
    pub(super) fn is_stale(&self) -> bool {
        self.code.has_changed()
    }

    /// Bytes that it holds, if these are more than `most`; looks every now and then only.
    pub(super) fn excess(&mut self, most: u64) -> Option<u64> {
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now - looked < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(now);
        held(self.group.id()).filter(|held| *held > most)
    }

    /// Shows a picture and asks what is found in it.
    pub(super) fn show(
        &mut self,
        (input, given): (&Input<'_>, Option<&Value>),
        (key, session): (u64, &str),
        limit: Duration,
    ) -> Result<Reply, Broken> {
        if let Err(error) = self.memory.put(input.picture, 0) {
            return Ok(Reply { error: Some(error), ..Reply::default() });
        }
        let (size, moment) = (input.picture.size(), input.moment);
        let (width, height) = (size.width(), size.height());
        self.ask(&Request::Frame { key, session, frame: moment.frame, time: moment.time, width, height, given }, limit)
    }

    /// Whether it takes several pictures at once.
    pub(super) fn takes_batches(&self) -> bool {
        self.takes_batches
    }

    /// Shows several pictures and asks what is found in each.
    pub(super) fn show_all(&mut self, batch: &[Waiting], limit: Duration) -> Result<Vec<Answer>, Broken> {
        let mut answers = Vec::with_capacity(batch.len());
        while answers.len() < batch.len() {
            answers.extend(self.show_some(&batch[answers.len()..], limit)?);
        }
        Ok(answers)
    }

    /// The answers for the first of these pictures, as many as the memory holds.
    fn show_some(&mut self, batch: &[Waiting], limit: Duration) -> Result<Vec<Answer>, Broken> {
        let (mut shown, mut end) = (Vec::with_capacity(batch.len()), 0);
        for Waiting { picture, moment, session, given, .. } in batch {
            match self.memory.put(picture, end) {
                Ok(behind) => {
                    let (width, height) = (picture.size().width(), picture.size().height());
                    let (Moment { frame, time }, given) = (*moment, given.as_ref());
                    shown.push(Shown { offset: end, session, frame, time, width, height, given });
                    end = behind;
                }
                Err(error) if shown.is_empty() => return Ok(vec![Err(error)]),
                Err(_no_room) => break,
            }
        }
        let count = shown.len();
        let reply = self.ask(&Request::Batch { pictures: shown }, limit * count as u32)?;
        match (reply.results, reply.error) {
            (_, Some(error)) => Ok(vec![Err(error); count]),
            (Some(results), None) if results.len() == count => Ok(results.into_iter().map(Answer::from).collect()),
            (results, None) => {
                let said = results.map_or(0, |results| results.len());
                Err(Broken::Nonsense(format!("{said} results for {count} pictures")))
            }
        }
    }

    /// Asks and waits for the answer.
    pub(super) fn ask(&mut self, request: &Request<'_>, limit: Duration) -> Result<Reply, Broken> {
        let answer = self.conversation.ask(request, limit);
        answer.map_err(|broken| self.explained(broken))
    }

    /// Says something that is not answered.
    pub(super) fn tell(&mut self, request: &Request<'_>, limit: Duration) -> Result<(), Broken> {
        self.conversation.tell(request, limit).map_err(|broken| self.explained(broken))
    }

    /// Lets it see that nothing more will be asked.
    pub(super) fn hang_up(&self) {
        self.conversation.end();
    }

    /// A conversation that is over, with how the process ended, if it tells within the limit.
    fn explained(&mut self, broken: Broken) -> Broken {
        match broken {
            Broken::Ended(why) => Broken::Ended(self.group.wait(END_LIMIT).map_or(why, |status| status.to_string())),
            other => other,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.hang_up();
        self.group.wait(END_LIMIT);
    }
}

/// Bytes of memory that a process holds, where the system tells.
fn held(process: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
