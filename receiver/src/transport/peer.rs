//! One WebRTC connection to a sender: answered, fed into a session, ended in good order.

use std::{
    ops::Deref,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cv_core::whip;
use cv_wire::Agreement;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent},
    peer_connection::{PeerConnection, RTCPeerConnectionState},
};

use super::{
    connection::{Connected, Handler, Notice, Parts, close, connect},
    ice::{Ice, Patch, PatchError, Patched},
    ingest::{Ingest, Intake},
    liveness::Liveness,
    offer::Offer,
    port::{NoRelay, Port},
    sdpfrag::Fragment,
    slots::Slot,
    socket::Up,
};
use crate::{
    metrics::{METRICS, Presence},
    pipeline::{self, Analyst, Wiring},
    session::{Admitted, Attachment, Ending, Loss, Message, PeerId, Reason, Session},
    sink::{self, Bound},
    web::etag::{EntityTag, IfMatch},
};

/// Some clients read no more of an answer than this.
pub(super) const MAX_ANSWER: usize = (8 << 10) - 1;
/// Without consent and without media for this long a sender is gone. Some clients answer checks late while
/// they stream, and some stream nothing while they wait for credit, so it takes both.
const SILENCE_LIMIT: Duration = Duration::from_secs(8);
/// How long the last lines may take to be acknowledged before the connection is closed all the same: a sender that
/// says goodbye waits for them, and SCTP may need several retransmissions a second and more apart (RFC 9260, 6.3.1).
const FLUSH_LIMIT: Duration = Duration::from_secs(10);
/// The same for a sender that may not be there any more.
const SHORT_FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// How long a picture may take through decoder and analyzers once its connection has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// How long a PATCH may take.
const PATCH_LIMIT: Duration = Duration::from_secs(5);

/// A way to a connection. Dropping it changes nothing.
#[derive(Clone)]
pub struct Peer {
    requests: mpsc::Sender<Request>,
}

/// Something that is asked of a connection.
enum Request {
    End(Reason, oneshot::Sender<()>),
    Patch(Patch),
}

impl Peer {
    /// Ends the connection and waits until the last line is with the sender, or all is over anyway.
    pub async fn end(&self, reason: Reason) {
        let (done, ended) = oneshot::channel();
        if self.requests.send(Request::End(reason, done)).await.is_ok() {
            drop(ended.await);
        }
    }

    /// Changes the connection's ICE session, if it is the one that `condition` means.
    pub async fn patch(&self, condition: IfMatch, fragment: Fragment) -> Result<Patched, PatchError> {
        let (reply, done) = oneshot::channel();
        let asked = async {
            let request = Request::Patch(Patch { condition, fragment, reply });
            self.requests.send(request).await.map_err(|_over| PatchError::Gone)?;
            done.await.unwrap_or(Err(PatchError::Gone))
        };
        tokio::time::timeout(PATCH_LIMIT, asked).await.unwrap_or(Err(PatchError::Late))
    }

    /// Completes when the connection is over.
    pub async fn closed(&self) {
        self.requests.closed().await;
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The library could not make sense of the offer.
    #[error("the offer cannot be answered: {0}")]
    Negotiation(String),
    /// Something is wrong here.
    #[error("{0}")]
    Internal(String),
    /// So much was offered that the answer would be too long for some clients.
    #[error("the answer would be longer than {MAX_ANSWER} bytes; offer fewer codecs")]
    Excessive,
    /// The session was forgotten meanwhile.
    #[error("the session ended in this very moment; try again")]
    Ended,
    /// Another sender has the session now.
    #[error("another sender took this session over meanwhile; give each sender its own --session")]
    Superseded,
    /// The only way that may be taken is not there.
    #[error(transparent)]
    NoRelay(#[from] NoRelay),
}

/// A connection that was answered.
pub struct Accepted {
    /// The answer's SDP.
    pub answer: String,
    /// The tag of its ICE session.
    pub tag: EntityTag,
    /// The way to it.
    pub peer: Peer,
}

/// Answers `offer` and runs the connection over `port` until it ends. It holds `slot` as long.
pub async fn accept(offer: &Offer, wiring: Wiring, slot: Arc<Slot>, port: &Port) -> Result<Accepted, PeerError> {
    static PEERS: AtomicU64 = AtomicU64::new(1);
    let id: PeerId = PEERS.fetch_add(1, Ordering::Relaxed);
    let analyst = Arc::new(OnceLock::new());
    let decoding =
        pipeline::start(id, &wiring, analyst.clone()).map_err(|error| PeerError::Internal(error.to_string()))?;
    let intake = Open(Intake::new(decoding.work));
    let ingest = Ingest::new(intake.0.clone(), wiring.mode, wiring.first_sequence, decoding.wants_keyframe);
    let (events, mut notices) = mpsc::channel(64);
    let up = Arc::new(Up::default());
    let agreement = Agreement::default();
    // Who numbers its runs is a sender of our own: it acknowledges, and it opens the channel by itself.
    let ours = wiring.run.is_some();
    if ours {
        agreement.reach();
    }
    let parts = Parts { ingest, handler: Handler { events, up: up.clone() }, port, agreement };
    let Connected { connection, inlet, answer } = match connect(offer, parts, &mut notices).await {
        Ok(connected) => connected,
        Err(error) => {
            wiring.session.tell(Message::Abandon).await;
            return Err(error);
        }
    };
    let taken_over = match attach(id, &wiring, intake.0.clone()).await {
        Ok((admitted, taken_over)) => {
            analyst.get_or_init(|| Analyst::new(id, admitted, &wiring));
            taken_over
        }
        Err(error) => {
            close(&*connection).await;
            return Err(error);
        }
    };
    let (requester, requests) = mpsc::channel(4);
    let ice = Ice::new(connection.clone(), inlet, offer.clone());
    let tag = ice.tag();
    let task = Task {
        id,
        session: wiring.session,
        connection,
        ice,
        slot,
        intake,
        ours,
        wants_channel: offer.data_channel && !ours,
        channel: None,
        presence: Presence::connecting(),
    };
    tokio::spawn(task.run(notices, requests, taken_over));
    Ok(Accepted { answer, tag, peer: Peer { requests: requester } })
}

/// Makes the peer the sender of its session. Gives how it goes on there, and what tells when another one is.
async fn attach(
    peer: PeerId,
    wiring: &Wiring,
    intake: Intake,
) -> Result<(Admitted, oneshot::Receiver<Loss>), PeerError> {
    let (replaced, taken_over) = oneshot::channel();
    let Wiring { client, mode, next, run, .. } = *wiring;
    let packets = Box::new(move || intake.packets());
    let attachment = Attachment { peer, client, mode, next, run, plan: wiring.plan.clone(), replaced, packets };
    match wiring.session.ask(|answer| Message::Attach(attachment, answer)).await {
        Some(Some(admitted)) => Ok((admitted, taken_over)),
        Some(None) => Err(PeerError::Superseded),
        None => Err(PeerError::Ended),
    }
}

/// A decoder's way in, closed in the end however that comes: the decoder's thread waits for it.
struct Open(Intake);

impl Deref for Open {
    type Target = Intake;

    fn deref(&self) -> &Intake {
        &self.0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The task of one connection.
struct Task {
    id: PeerId,
    session: Session,
    connection: Arc<dyn PeerConnection>,
    ice: Ice,
    /// Free again before anybody is told that the connection is over.
    slot: Arc<Slot>,
    intake: Open,
    /// Whether the sender is one of our own.
    ours: bool,
    /// Whether a data channel was offered, none is there yet, and the sender may leave it to us.
    wants_channel: bool,
    channel: Option<Channel>,
    presence: Presence,
}

/// The data channel with the task that writes to it.
struct Channel {
    handle: Arc<dyn DataChannel>,
    writer: JoinHandle<()>,
    /// Notices what the sender does with it.
    watcher: JoinHandle<()>,
}

impl Task {
    async fn run(
        mut self,
        mut notices: mpsc::Receiver<Notice>,
        mut requests: mpsc::Receiver<Request>,
        taken_over: oneshot::Receiver<Loss>,
    ) {
        let (reason, asked) = self.live(&mut notices, &mut requests, taken_over).await;
        let mut waiting: Vec<_> = asked.into_iter().collect();
        let mut ending = pin!(self.end(reason));
        loop {
            tokio::select! {
                () = &mut ending => break,
                Some(request) = requests.recv() => match request {
                    Request::End(_, done) => waiting.push(done),
                    // Unanswered it means that the session is gone.
                    Request::Patch(_) => {}
                },
            }
        }
        for done in waiting {
            done.send(()).ok();
        }
    }

    async fn end(mut self, reason: Reason) {
        tracing::debug!(session = %self.session.id, peer = self.id, "the connection ends");
        METRICS.ended.count(reason.label());
        self.intake.close();
        let packets = self.intake.packets();
        let flush_limit = match reason {
            Reason::Asked { .. } => FLUSH_LIMIT,
            Reason::Lost(_) => SHORT_FLUSH_LIMIT,
        };
        let ended = self.session.ask(|done| Message::End(Ending { peer: self.id, reason, packets, done }));
        if tokio::time::timeout(DRAIN_LIMIT, ended).await.is_err() {
            tracing::warn!(session = %self.session.id, "analysis did not come to an end in time");
        }
        if let Some(mut channel) = self.channel.take() {
            // It ends by itself once the last line is acknowledged, but a sender that is gone acknowledges nothing.
            if tokio::time::timeout(flush_limit, &mut channel.writer).await.is_err() {
                tracing::debug!(session = %self.session.id, "the last lines were not acknowledged in time");
                channel.writer.abort();
            }
            channel.watcher.abort();
            drop(channel.handle);
        }
        close(&*self.connection).await;
    }

    /// Runs until there is a reason to end.
    async fn live(
        &mut self,
        notices: &mut mpsc::Receiver<Notice>,
        requests: &mut mpsc::Receiver<Request>,
        mut taken_over: oneshot::Receiver<Loss>,
    ) -> (Reason, Option<oneshot::Sender<()>>) {
        let mut state = Liveness::begin();
        let (channel_closed, mut channel_closes) = mpsc::channel(1);
        let mut wanted = self.slot.wanted();
        let lost = |loss| (Reason::Lost(loss), None);
        loop {
            let check = tokio::time::sleep_until(state.next_check());
            let gathering = self.ice.deadline();
            let gathered = tokio::time::sleep_until(gathering.unwrap_or_else(tokio::time::Instant::now));
            tokio::select! {
                request = requests.recv() => match request {
                    Some(Request::End(reason, done)) => return (reason, Some(done)),
                    Some(Request::Patch(patch)) => self.ice.patch(patch).await,
                    None => std::future::pending().await,
                },
                taken = &mut taken_over => return lost(match taken {
                    Ok(loss) => loss,
                    Err(_session_gone) => Loss::Forgotten,
                }),
                () = wanted.raised() => return lost(Loss::GaveWay),
                _ = channel_closes.recv() => return lost(Loss::ChannelClosed),
                notice = notices.recv() => match notice {
                    Some(Notice::State(RTCPeerConnectionState::Closed)) | None => {
                        return lost(Loss::ConnectionClosed);
                    }
                    Some(Notice::State(now)) => {
                        if now == RTCPeerConnectionState::Connected {
                            self.slot.settle();
                            self.presence.connected();
                        }
                        state = state.after(now);
                    }
                    Some(Notice::Channel(channel)) => self.open_channel(channel, channel_closed.clone()).await,
                    Some(Notice::GatheringComplete) => self.ice.gathered().await,
                },
                () = gathered, if gathering.is_some() => self.ice.gathered().await,
                () = check => match state {
                    Liveness::Connecting(_) => return lost(Loss::NeverConnected),
                    Liveness::Up { .. } => {
                        self.make_channel(channel_closed.clone()).await;
                        state = Liveness::Up { check_channel: None };
                    }
                    Liveness::Doubtful if self.intake.silence() >= SILENCE_LIMIT => return lost(Loss::Silent),
                    Liveness::Doubtful => {}
                },
            }
        }
    }

    /// Results go over the first channel the sender opens, whatever its label.
    async fn open_channel(&mut self, handle: Arc<dyn DataChannel>, closed: mpsc::Sender<()>) {
        if self.channel.is_some() {
            return;
        }
        self.wants_channel = false;
        let (outbox, inbox) = sink::outbox(Bound::READER);
        let writer = tokio::spawn(sink::data_channel::run(handle.clone(), inbox, self.ours));
        let watched = handle.clone();
        let watcher = tokio::spawn(async move {
            // What a sender says on the channel has no meaning; that it closes has.
            while let Some(event) = watched.poll().await {
                if matches!(event, DataChannelEvent::OnClose) {
                    closed.send(()).await.ok();
                    return;
                }
            }
        });
        self.channel = Some(Channel { handle, writer, watcher });
        self.session.tell(Message::Channel(self.id, outbox)).await;
    }

    /// Opens the channel for a client that offered one and left it to us.
    async fn make_channel(&mut self, closed: mpsc::Sender<()>) {
        if !std::mem::take(&mut self.wants_channel) {
            return;
        }
        match self.connection.create_data_channel(whip::RESULTS_CHANNEL, None).await {
            Ok(channel) => self.open_channel(channel, closed).await,
            Err(error) => tracing::debug!(%error, "cannot open a data channel for results"),
        }
    }
}
