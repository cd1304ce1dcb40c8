//! One session: its analysis state, its numbering and its readers, in one task.
//!
//! Everything that happens to a session is a [`Message`]; the task alone owns the state, so
//! nothing is locked and results leave in frame order whatever order the work was done in. The
//! session outlives its peers: a sender that comes back finds its baseline.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cv_core::{
    geometry::Size,
    report::{Cause, Packets},
    session_id::SessionId,
    whip::Mode,
    worker::Finally,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    analysis::{Course, Extracted, Plan},
    decode::{Identity, Timing},
    sink::Outbox,
};

mod audience;
mod clock;
mod history;
mod kept;
mod peer;
mod successor;
mod task;

/// Messages that may wait for a session's task. Decoders block on it, so it bounds their lead.
const INBOX: usize = 256;

/// Number of a peer; a newer one is larger.
pub type PeerId = u64;

/// Where the lines of all sessions are printed.
#[derive(Clone)]
pub struct Printing {
    /// The way there.
    pub outbox: Outbox,
    /// Whether features are printed, too.
    pub features: bool,
}

/// A sender that was accepted.
pub struct Attachment {
    /// Its number.
    pub peer: PeerId,
    /// Where its offer came from, if that is known.
    pub client: Option<IpAddr>,
    /// How it wants its pictures delivered.
    pub mode: Mode,
    /// The first frame that still needs an answer, where it comes back after a break.
    pub next: Option<u64>,
    /// What tells this sender's connections from another sender's, where it said.
    pub run: Option<u64>,
    /// The analyzers it asked for.
    pub plan: Arc<Plan>,
    /// Told when another connection takes over, and why.
    pub replaced: oneshot::Sender<Loss>,
    /// What became of its packets so far.
    pub packets: Box<dyn Fn() -> Packets + Send>,
}

impl Attachment {
    /// Whether it would go on where another sender, of the run `last`, was since. A sender that begins anew may take
    /// over, and one that does not tell its run is believed.
    fn is_stale(&self, last: Option<u64>) -> bool {
        self.next.is_some() && self.run.is_some() && self.run != last
    }
}

/// How a sender goes on in its session.
pub struct Admitted {
    /// What is to be drawn from its pictures.
    pub course: Course,
    /// The first frame that needs an answer.
    pub next: u64,
}

/// What became of one access unit, after analysis.
pub enum Outcome {
    /// It was analysed.
    Analyzed(Box<Analyzed>),
    /// Its picture has no result.
    Missed(Identity, Cause),
    /// It, or so many in a row, gave no picture and cannot be named.
    Nameless(Cause, u64),
}

/// A picture with its features.
pub struct Analyzed {
    /// Which picture.
    pub identity: Identity,
    /// Its size.
    pub size: Size,
    /// Its way so far.
    pub timing: Timing,
    /// Held until it is settled, so that those that wait can be counted.
    pub waits: Arc<()>,
    /// Time in the extractors.
    pub analyze: Duration,
    /// What they drew.
    pub extracted: Extracted,
    /// Which part of the session's course that belongs to.
    pub generation: u64,
}

/// Something that happens to a session.
pub enum Message {
    /// A sender was accepted. Hears how it is admitted, once the sender before it is out of the way, or nothing if it
    /// may not go on, because another sender had the session meanwhile.
    Attach(Attachment, oneshot::Sender<Option<Admitted>>),
    /// The sender's data channel is open.
    Channel(PeerId, Outbox),
    /// One access unit is done; the number counts them per peer.
    Done(PeerId, u64, Outcome),
    /// All units of the peer are done.
    Drained(PeerId),
    /// The peer ends.
    End(Ending),
    /// A reader wants lines: from that frame on, or those that come. `false` where there is no room for one more.
    Subscribe(Option<u64>, Outbox, oneshot::Sender<bool>),
    /// Somebody wants to know.
    Describe(oneshot::Sender<serde_json::Value>),
    /// An offer to it failed: a session that never had a sender need not be remembered.
    Abandon,
    /// The analysis state is to be forgotten.
    Forget(oneshot::Sender<()>),
    /// Other analyzers are wanted, which the text says, from the next picture on.
    Change(Arc<Plan>, String, oneshot::Sender<Result<(), Unchanged>>),
    /// Somebody wants to know whether it still answers.
    Ping(oneshot::Sender<()>),
}

/// Why a session's analyzers stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unchanged {
    /// There is no analysis that could be changed.
    #[error("it has no sender, and its analysis has ended; the next sender asks for what it wants, by --analyze")]
    Ended,
    /// Changes wait for a picture, and there is none.
    #[error("as many changes as may be wait for its next picture; try again when it has come")]
    Waiting,
}

/// The end of a peer.
pub struct Ending {
    /// Which one.
    pub peer: PeerId,
    /// Why.
    pub reason: Reason,
    /// What the network did.
    pub packets: Packets,
    /// Told when the last line is on its way.
    pub done: oneshot::Sender<()>,
}

/// Why a peer ends.
pub enum Reason {
    /// The sender says so.
    Asked {
        /// How many pictures it numbered, if it says.
        frames: Option<u64>,
        /// Whether the analysis state stays for a later run.
        keep: bool,
    },
    /// The sender is gone, or we stop.
    Lost(Loss),
}

impl Reason {
    /// The reason in a word, for metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Asked { .. } => "asked",
            Self::Lost(loss) => loss.label(),
        }
    }
}

/// Why a sender is lost, in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// No connection came about.
    #[error("the sender never connected")]
    NeverConnected,
    /// It had not connected when another sender needed the room.
    #[error("the sender had not connected yet when others needed its place; try again")]
    GaveWay,
    /// Its data channel is closed.
    #[error("the sender closed its data channel")]
    ChannelClosed,
    /// Its connection is closed.
    #[error("the sender closed the connection")]
    ConnectionClosed,
    /// It stopped answering and sending.
    #[error("the sender is gone")]
    Silent,
    /// Another sender has the session now.
    #[error("another sender took this session over; give each sender its own --session")]
    TakenOver,
    /// It has another connection now.
    #[error("the sender came back over another connection")]
    CameBack,
    /// Somebody had the session forgotten.
    #[error("the session was forgotten")]
    Forgotten,
    /// The program ends.
    #[error("the receiver is shutting down")]
    Shutdown,
}

impl Loss {
    /// The reason in a word, for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::NeverConnected => "never-connected",
            Self::GaveWay => "gave-way",
            Self::ChannelClosed => "channel-closed",
            Self::ConnectionClosed => "connection-closed",
            Self::Silent => "silent",
            Self::TakenOver => "taken-over",
            Self::CameBack => "came-back",
            Self::Forgotten => "forgotten",
            Self::Shutdown => "shutdown",
        }
    }
}

/// A way to a session. Cloning is cheap.
#[derive(Clone)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    inbox: mpsc::Sender<Message>,
    /// Whether it asks analyzers in other processes for their last word.
    finishing: Arc<AtomicBool>,
}

impl Session {
    /// Starts the session's task. It ends, and calls `ended`, when it had no sender for `ttl`.
    pub fn start(
        id: SessionId,
        ttl: Duration,
        printing: Option<Printing>,
        ended: impl FnOnce() + Send + 'static,
    ) -> Self {
        let (inbox, messages) = mpsc::channel(INBOX);
        let finishing = Arc::new(AtomicBool::new(false));
        let task = task::Task::new(id.to_string(), ttl, printing, finishing.clone());
        let ended = Finally(Some(ended));
        tokio::spawn(async move {
            let _ended = ended;
            task.run(messages).await;
        });
        Self { id, inbox, finishing }
    }

    /// Tells the session; waits while it is busy. `false` if it has ended.
    pub async fn tell(&self, message: Message) -> bool {
        self.inbox.send(message).await.is_ok()
    }

    /// The same from a thread.
    pub fn tell_blocking(&self, message: Message) -> bool {
        self.inbox.blocking_send(message).is_ok()
    }

    /// Whether it waits for the last word of analyzers in other processes, and answers nobody meanwhile. That has
    /// limits of its own.
    pub fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Relaxed)
    }

    /// Messages that wait for it.
    pub fn waiting(&self) -> usize {
        INBOX.saturating_sub(self.inbox.capacity())
    }

    /// Asks the session; `None` if it has ended.
    pub async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (answer, reply) = oneshot::channel();
        self.tell(question(answer)).await;
        reply.await.ok()
    }
}
