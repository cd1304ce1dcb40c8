//! Where result lines go: stdout, the sender's data channel, readers over HTTP.
//!
//! Each reader has an [`Outbox`] of its own. A slow one never holds up a session or grows memory:
//! beyond its bound it loses its own oldest lines and is told which in a gap of cause `slow-reader`.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use cv_core::report::{Cause, Gap, Line};
use tokio::sync::Notify;

use crate::metrics::{Counter, Gauge, METRICS};

pub mod data_channel;
pub mod pictures;
pub mod stdout;

/// One line, made once for all readers.
#[derive(Debug)]
pub struct Rendered {
    /// The session it is about.
    pub session: String,
    /// The frame numbers it answers or accounts for.
    pub frames: Option<(u64, u64)>,
    /// The frame whose result it belongs in front of, if it does: other analyzers make it.
    pub before: Option<u64>,
    /// The JSON text, without a line end.
    pub json: String,
}

impl Rendered {
    /// `line` of `session` as text.
    pub fn new(session: &str, line: &Line) -> Arc<Self> {
        let before = if let Line::Session(news) = line { news.from } else { None };
        Arc::new(Self { session: session.to_owned(), frames: line.frames(), before, json: line.to_json() })
    }

    /// What a reader is told who cannot have it; nothing if it is about no frame.
    pub fn as_missed(&self) -> Option<Arc<Self>> {
        let (from, to) = self.frames?;
        Some(Self::missed(&self.session, from, to))
    }

    fn missed(session: &str, from: u64, to: u64) -> Arc<Self> {
        Self::new(session, &Line::Gap(Gap { session: session.to_owned(), from, to, cause: Cause::SlowReader }))
    }
}

/// Gaps that are kept for a reader that takes nothing; with more sessions than that it is not told of all.
const SPANS: usize = 4096;

/// How much may wait for one reader.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Lines.
    pub lines: usize,
    /// Bytes of JSON.
    pub bytes: usize,
    /// Where those that wait are counted.
    waiting: &'static Gauge,
    /// Where those that did not fit are counted.
    missed: &'static Counter,
}

impl Bound {
    /// A reader's share: what a session remembers, and half a minute of 30 fps on top.
    pub const READER: Self =
        Self { lines: 3072, bytes: 8 << 20, waiting: &METRICS.queues.readers, missed: &METRICS.missed_lines.readers };
    /// Stdout serves every session: what a stalled pipe may hold before lines are lost.
    pub const STDOUT: Self =
        Self { lines: 65_536, bytes: 64 << 20, waiting: &METRICS.queues.stdout, missed: &METRICS.missed_lines.stdout };
}

/// Lines on their way to one reader. Cloning shares the queue.
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

/// The reader's end of an [`Outbox`].
pub struct Inbox {
    shared: Arc<Shared>,
}

/// Locked to move lines only, hence a plain mutex.
struct Shared {
    queue: Mutex<Queue>,
    bound: Bound,
    /// Wakes a reader that is a task.
    filled: Notify,
    /// Wakes a reader that is a thread.
    filled_for_thread: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Arc<Rendered>>,
    bytes: usize,
    /// Frame numbers that the reader lost, by session, and how many spans of them there are.
    missed: BTreeMap<String, Vec<(u64, u64)>>,
    spans: usize,
    finished: bool,
    abandoned: bool,
}

/// A queue for one reader.
pub fn outbox(bound: Bound) -> (Outbox, Inbox) {
    let shared = Shared { queue: Mutex::default(), bound, filled: Notify::new(), filled_for_thread: Condvar::new() };
    let shared = Arc::new(shared);
    (Outbox { shared: shared.clone() }, Inbox { shared })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nobody panics while holding an outbox")
    }

    fn wake(&self) {
        self.filled.notify_one();
        self.filled_for_thread.notify_one();
    }
}

impl Outbox {
    /// Adds a line; makes room by dropping the reader's oldest. `false` once the reader is gone.
    pub fn push(&self, line: Arc<Rendered>) -> bool {
        let mut queue = self.shared.lock();
        if queue.abandoned {
            return false;
        }
        queue.bytes += line.json.len();
        queue.lines.push_back(line);
        self.shared.bound.waiting.add(1);
        while queue.lines.len() > self.shared.bound.lines || queue.bytes > self.shared.bound.bytes {
            queue.drop_oldest();
            self.shared.bound.waiting.sub(1);
            self.shared.bound.missed.add(1);
        }
        drop(queue);
        self.shared.wake();
        true
    }

    /// Whether the reader is still there.
    pub fn is_read(&self) -> bool {
        !self.shared.lock().abandoned
    }

    /// No more lines come; the reader ends after those that wait.
    pub fn finish(&self) {
        self.shared.lock().finished = true;
        self.shared.wake();
    }
}

impl Queue {
    fn drop_oldest(&mut self) {
        let Some(line) = self.lines.pop_front() else { return };
        self.bytes -= line.json.len();
        if let Some((from, to)) = line.frames {
            let missed = self.missed.entry(line.session.clone()).or_default();
            match missed.last_mut().filter(|last| from > last.1) {
                Some(last) => last.1 = to,
                // Another run of the session counts from 0 again.
                None => {
                    missed.push((from, to));
                    self.spans += 1;
                }
            }
        }
        while self.spans > SPANS {
            self.spans -= self.missed.pop_first().map_or(self.spans, |(_, forgotten)| forgotten.len());
        }
    }

    /// Everything that waits, led by what was lost before it.
    fn take(&mut self) -> Vec<Arc<Rendered>> {
        self.bytes = 0;
        self.spans = 0;
        let missed = std::mem::take(&mut self.missed).into_iter();
        let gaps = missed
            .flat_map(|(session, spans)| spans.into_iter().map(move |(from, to)| Rendered::missed(&session, from, to)));
        gaps.chain(std::mem::take(&mut self.lines)).collect()
    }
}

impl Inbox {
    /// The lines that wait; waits for one. Empty once there will be no more. Cancel-safe.
    pub async fn recv(&mut self) -> Vec<Arc<Rendered>> {
        loop {
            {
                let mut queue = self.shared.lock();
                if !queue.lines.is_empty() || queue.finished {
                    self.shared.bound.waiting.sub(queue.lines.len());
                    return queue.take();
                }
            }
            self.shared.filled.notified().await;
        }
    }

    /// The same for a reader that is a thread.
    pub fn recv_blocking(&mut self) -> Vec<Arc<Rendered>> {
        let starved = |queue: &mut Queue| queue.lines.is_empty() && !queue.finished;
        let queue = self.shared.lock();
        let mut queue =
            self.shared.filled_for_thread.wait_while(queue, starved).expect("nobody panics while holding an outbox");
        self.shared.bound.waiting.sub(queue.lines.len());
        queue.take()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.abandoned = true;
        self.shared.bound.waiting.sub(queue.lines.len());
        queue.lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(frame: u64) -> Arc<Rendered> {
        let gap = Gap { session: "s".into(), from: frame, to: frame, cause: Cause::Lost };
        Rendered::new("s", &Line::Gap(gap))
    }

    #[test]
    fn a_slow_reader_loses_its_oldest_lines_and_is_told_which() {
        let (outbox, mut inbox) = outbox(Bound { lines: 2, bytes: 1 << 20, ..Bound::READER });
        for frame in 0..5 {
            assert!(outbox.push(gap(frame)));
        }
        outbox.finish();
        let lines: Vec<_> = inbox.recv_blocking().iter().map(|line| line.json.clone()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], r#"{"type":"gap","session":"s","from":0,"to":2,"cause":"slow-reader"}"#);
        assert!(lines[2].contains(r#""from":4"#));
        assert!(inbox.recv_blocking().is_empty());
    }

    #[test]
    fn lost_lines_of_two_runs_are_two_gaps() {
        let (outbox, mut inbox) = outbox(Bound { lines: 1, bytes: 1 << 20, ..Bound::READER });
        for frame in [900, 901, 0, 1, 0, 1, 2] {
            outbox.push(gap(frame));
        }
        outbox.finish();
        let told: Vec<_> = inbox.recv_blocking().iter().map(|line| line.frames.unwrap()).collect();
        assert_eq!(told, [(900, 901), (0, 1), (0, 1), (2, 2)]);
    }

    #[test]
    fn what_a_reader_of_ever_new_sessions_lost_is_bounded() {
        let (outbox, _inbox) = outbox(Bound { lines: 1, bytes: 1 << 20, ..Bound::READER });
        for session in 0..3 * SPANS {
            outbox.push(Rendered::missed(&session.to_string(), 0, 0));
        }
        assert_eq!(outbox.shared.lock().missed.len(), SPANS);
    }

    #[test]
    fn large_lines_are_bounded_in_bytes() {
        let length = gap(10).json.len();
        let (outbox, mut inbox) = outbox(Bound { lines: 100, bytes: 3 * length, ..Bound::READER });
        for frame in 10..60 {
            outbox.push(gap(frame));
        }
        assert_eq!(inbox.recv_blocking().len(), 1 + 3);
    }

    #[test]
    fn a_gone_reader_is_noticed() {
        let (outbox, inbox) = outbox(Bound::READER);
        drop(inbox);
        assert!(!outbox.push(gap(1)));
    }
}
