//! One WebRTC connection to a sender: answered, fed into a session, ended in good order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cv_core::{
    ntp,
    report::Cause,
    whip::{self, Mode},
    worker::Worker,
};
use rtc::{
    ice::mdns::MulticastDnsMode,
    interceptor::Registry,
    peer_connection::{configuration::interceptor_registry::configure_rtcp_reports, transport::RTCDtlsRole},
    rtp_transceiver::rtp_sender::{
        RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent},
    peer_connection::{
        MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
        RTCPeerConnectionState, RTCSessionDescription, SettingEngine, SettingEngineBuilder,
    },
};

use super::{
    ingest::{Ingest, Intake},
    offer::Offer,
    socket::{CuredRuntime, Up},
};
use crate::{
    analysis::{Cost, Extraction, Input, Plan},
    decode::{Decoding, Output, Verdict},
    dispatch::{Dispatch, Job, Lane},
    session::{Analyzed, Attachment, Ending, Message, Outcome, PeerId, Reason, Session},
    sink::{self, Bound, pictures::Pictures},
};

/// Where our sockets bind: loopback for senders on this machine, every interface for the others.
const ADDRESSES: [&str; 2] = ["127.0.0.1:0", "0.0.0.0:0"];
/// A sender that did not get through in this time will not.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Without consent and without media for this long a sender is gone. Some clients answer checks late while
/// they stream, and some stream nothing while they wait for credit, so it takes both.
const SILENCE_LIMIT: Duration = Duration::from_secs(8);
/// Candidates of this machine's interfaces are there as soon as sockets are bound.
const GATHERING_LIMIT: Duration = Duration::from_secs(1);
/// How long the last lines may take to be acknowledged before the connection is closed all the same.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// How long a picture may take through decoder and analyzers once its connection has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// Packets that one sent again may be late by; senders remember about as many.
const REPLAY_WINDOW: usize = 4096;
/// Access units that may wait for the decoder: live, a hiccup's worth; every-frame, more than any sender's credit.
const LIVE_UNITS: usize = 8;
const EVERY_FRAME_UNITS: usize = 256;

/// What an accepted offer is connected to.
pub struct Wiring {
    /// The session.
    pub session: Session,
    /// How pictures are to be delivered.
    pub mode: Mode,
    /// The analyzers asked for.
    pub plan: Arc<Plan>,
    /// The first frame that needs an answer, after a break.
    pub next: Option<u64>,
    /// The RTP sequence number that the sender begins with, where it told.
    pub first_sequence: Option<u16>,
    /// Where heavy extraction runs.
    pub dispatch: Arc<dyn Dispatch>,
    /// Whether pictures are stored.
    pub pictures: Option<Pictures>,
}

/// A way to end a connection. Dropping it changes nothing.
#[derive(Clone)]
pub struct Peer {
    ends: mpsc::Sender<(Reason, oneshot::Sender<()>)>,
}

impl Peer {
    /// Ends the connection and waits until the last line is with the sender, or all is over anyway.
    pub async fn end(&self, reason: Reason) {
        let (done, ended) = oneshot::channel();
        if self.ends.send((reason, done)).await.is_ok() {
            drop(ended.await);
        }
    }

    /// Completes when the connection is over.
    pub async fn closed(&self) {
        self.ends.closed().await;
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
    /// The session was forgotten meanwhile.
    #[error("the session ended in this very moment; try again")]
    Ended,
}

/// Answers `offer` and runs the connection until it ends. Gives the answer's SDP.
pub async fn accept(offer: &Offer, wiring: Wiring) -> Result<(String, Peer), PeerError> {
    static PEERS: AtomicU64 = AtomicU64::new(1);
    let id: PeerId = PEERS.fetch_add(1, Ordering::Relaxed);
    let decoding = start_decoder(id, &wiring).map_err(|error| PeerError::Internal(error.to_string()))?;
    let intake = Intake::new(decoding.work);
    let ingest = Ingest::new(intake.clone(), wiring.mode, wiring.first_sequence, decoding.wants_keyframe);
    let (events, mut notices) = mpsc::channel(64);
    let up = Arc::new(Up::default());
    let connection = connect(offer, ingest, Handler { events, up: up.clone() }, &mut notices).await;
    let (connection, answer) = match connection {
        Ok(connected) => connected,
        Err(error) => {
            intake.close();
            // It ends by itself now; joining would hold up the network.
            decoding.worker.detach();
            wiring.session.tell(Message::Abandon).await;
            return Err(error);
        }
    };
    let (replaced, taken_over) = oneshot::channel();
    let attachment = Attachment { peer: id, mode: wiring.mode, next: wiring.next, plan: wiring.plan.clone(), replaced };
    if !wiring.session.tell(Message::Attach(attachment)).await {
        intake.close();
        decoding.worker.detach();
        close(&*connection).await;
        return Err(PeerError::Ended);
    }
    let (ends, requests) = mpsc::channel(4);
    let task = Task {
        id,
        session: wiring.session,
        connection,
        intake,
        decoder: decoding.worker,
        wants_channel: offer.data_channel,
        channel: None,
    };
    tokio::spawn(task.run(notices, requests, taken_over));
    Ok((answer, Peer { ends }))
}

/// Starts the decoder with the way of its pictures through analysis to the session.
fn start_decoder(id: PeerId, wiring: &Wiring) -> Result<Decoding, crate::decode::Error> {
    let (extraction, _) = wiring.plan.build();
    let lane = Arc::new(Lane::new(wiring.dispatch.clone(), wiring.mode));
    let (session, pictures, drained_lane) = (wiring.session.clone(), wiring.pictures.clone(), lane.clone());
    let verdict = move |order: u64, verdict: Verdict| match verdict {
        Verdict::Picture(output) => {
            if let Some(pictures) = &pictures {
                pictures.offer(&session.id, output.identity.frame, &output.picture);
            }
            analyze(&extraction, &lane, *output, Answer { session: session.clone(), id, order });
        }
        Verdict::Missed(identity, cause) => {
            session.tell_blocking(Message::Done(id, order, Outcome::Missed(identity, cause)));
        }
        Verdict::Nameless => {
            session.tell_blocking(Message::Done(id, order, Outcome::Nameless));
        }
    };
    let session = wiring.session.clone();
    let ended = move || {
        drained_lane.drain();
        session.tell_blocking(Message::Drained(id));
    };
    let capacity = match wiring.mode {
        Mode::Live => LIVE_UNITS,
        Mode::EveryFrame => EVERY_FRAME_UNITS,
    };
    Decoding::start(&format!("decode-{id}"), capacity, verdict, ended)
}

/// Where the outcome of one picture goes.
struct Answer {
    session: Session,
    id: PeerId,
    order: u64,
}

impl Answer {
    fn give(self, outcome: Outcome) {
        self.session.tell_blocking(Message::Done(self.id, self.order, outcome));
    }
}

/// Has `output` analysed: here where that is cheap, else wherever extraction runs.
fn analyze(extraction: &Extraction, lane: &Lane, output: Output, answer: Answer) {
    let Output { identity, timing, picture, previous } = output;
    let size = picture.size();
    let analyzed = move |extracted, spent, at| {
        Outcome::Analyzed(Box::new(Analyzed { identity, size, timing, analyzed: (spent, at), extracted }))
    };
    if extraction.cost() == Cost::Light {
        let started = Instant::now();
        let extracted = extraction.run(&Input { picture: &picture, previous: previous.as_ref() });
        return answer.give(analyzed(extracted, started.elapsed(), started));
    }
    let missed = Answer { session: answer.session.clone(), ..answer };
    let done = Box::new(move |extracted, spent| answer.give(analyzed(extracted, spent, Instant::now())));
    let job = Job { extraction: extraction.clone(), picture, previous, done };
    lane.submit(job, move || missed.give(Outcome::Missed(identity, Cause::Busy)));
}

/// Something that the library tells us.
enum Notice {
    State(RTCPeerConnectionState),
    Channel(Arc<dyn DataChannel>),
    GatheringComplete,
}

struct Handler {
    events: mpsc::Sender<Notice>,
    up: Arc<Up>,
}

impl Handler {
    /// Runs on the library's own task, so it must not wait; the queue is far longer than what one connection tells.
    fn tell(&self, notice: Notice) {
        if self.events.try_send(notice).is_err() {
            tracing::debug!("a notice of a connection that has ended");
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connected {
            self.up.connected();
        }
        self.tell(Notice::State(state));
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        self.tell(Notice::Channel(channel));
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.tell(Notice::GatheringComplete);
        }
    }
}

/// Builds the connection and negotiates it. The answer holds every candidate: nothing trickles later.
async fn connect(
    offer: &Offer,
    ingest: Ingest,
    handler: Handler,
    notices: &mut mpsc::Receiver<Notice>,
) -> Result<(Arc<dyn PeerConnection>, String), PeerError> {
    let internal = |error: webrtc::error::Error| PeerError::Internal(format!("cannot set up WebRTC: {error}"));
    let registry = configure_rtcp_reports(Registry::new()).with(INGEST_SLOT.into(), ingest);
    let building = PeerConnectionBuilder::new()
        .with_media_engine(media_engine().map_err(internal)?)
        .with_setting_engine(settings(offer))
        .with_interceptor_registry(registry)
        .with_runtime(Arc::new(CuredRuntime::new(handler.up.clone())))
        .with_handler(Arc::new(handler))
        .with_udp_addrs(ADDRESSES.to_vec())
        .with_data_channel_send_buffer_limit(1 << 20)
        .build();
    // The library's future is tens of kilobytes large.
    let connection = Box::pin(building).await.map_err(internal)?;
    let connection: Arc<dyn PeerConnection> = Arc::new(connection);
    match negotiate(&*connection, offer, notices).await {
        Ok(answer) => Ok((connection, answer)),
        Err(error) => {
            // Without this the library keeps a socket and a task for good.
            close(&*connection).await;
            Err(PeerError::Negotiation(error.to_string()))
        }
    }
}

/// Behind the receiver reports, which must count every packet, and before anything that orders them.
const INGEST_SLOT: usize = 10_500;

async fn negotiate(
    connection: &dyn PeerConnection,
    offer: &Offer,
    notices: &mut mpsc::Receiver<Notice>,
) -> Result<String, webrtc::error::Error> {
    connection.set_remote_description(RTCSessionDescription::offer(offer.sdp.clone())?).await?;
    let answer = connection.create_answer(None).await?;
    connection.set_local_description(answer).await?;
    let gathered = async {
        while let Some(notice) = notices.recv().await {
            if matches!(notice, Notice::GatheringComplete) {
                break;
            }
        }
    };
    if tokio::time::timeout(GATHERING_LIMIT, gathered).await.is_err() {
        tracing::debug!("not every candidate was gathered in time; the answer holds those that were");
    }
    let local = connection.local_description().await;
    local.map(|local| local.sdp).ok_or_else(|| webrtc::error::Error::Other("no local description".into()))
}

fn media_engine() -> Result<MediaEngine, webrtc::error::Error> {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback { typ: typ.into(), parameter: parameter.into() };
    let mut engine = MediaEngine::default();
    let h264 = RTCRtpCodec {
        mime_type: "video/H264".into(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".into(),
        rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli"), feedback("ccm", "fir")],
    };
    engine.register_codec(RTCRtpCodecParameters { rtp_codec: h264, payload_type: 102 }, RtpCodecKind::Video)?;
    // Some clients give up on an answer that rejects their audio, so it is taken and dropped.
    let opus = RTCRtpCodec {
        mime_type: "audio/opus".into(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".into(),
        rtcp_feedback: vec![],
    };
    engine.register_codec(RTCRtpCodecParameters { rtp_codec: opus, payload_type: 111 }, RtpCodecKind::Audio)?;
    let capture_time = RTCRtpHeaderExtensionCapability { uri: ntp::ABS_CAPTURE_TIME.into() };
    engine.register_header_extension(capture_time, RtpCodecKind::Video, None)?;
    Ok(engine)
}

fn settings(offer: &Offer) -> SettingEngine {
    // The library would answer "active" even to an offer that insists on being active itself.
    let role = if offer.setup_active { RTCDtlsRole::Server } else { RTCDtlsRole::Client };
    SettingEngineBuilder::new()
        .with_answering_dtls_role(role)
        .with_include_loopback_candidate(true)
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        // A packet that is sent again arrives behind many newer ones; beyond the window it would be taken for a
        // replay and refused for good. The default of 64 packets is less than two large pictures.
        .with_srtp_replay_protection_window(REPLAY_WINDOW)
        // The default of 200 ms is most of the time that connecting takes.
        .with_ice_connection_attempts(Some(Duration::from_millis(20)), Some(150))
        .with_ice_timeouts(Some(Duration::from_secs(4)), Some(Duration::from_secs(4)), Some(Duration::from_secs(1)))
        .build()
}

async fn close(connection: &dyn PeerConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "closing a connection");
    }
}

/// The task of one connection.
struct Task {
    id: PeerId,
    session: Session,
    connection: Arc<dyn PeerConnection>,
    intake: Intake,
    decoder: Worker,
    /// Whether a data channel was offered and none is there yet.
    wants_channel: bool,
    channel: Option<Channel>,
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
        mut requests: mpsc::Receiver<(Reason, oneshot::Sender<()>)>,
        taken_over: oneshot::Receiver<()>,
    ) {
        let (reason, asked) = self.live(&mut notices, &mut requests, taken_over).await;
        tracing::debug!(session = %self.session.id, peer = self.id, "the connection ends");
        self.intake.close();
        let packets = self.intake.packets();
        let ended = self.session.ask(|done| Message::End(Ending { peer: self.id, reason, packets, done }));
        if tokio::time::timeout(DRAIN_LIMIT, ended).await.is_err() {
            tracing::warn!(session = %self.session.id, "analysis did not come to an end in time");
        }
        if let Some(mut channel) = self.channel.take() {
            // It ends by itself once the last line is acknowledged, but a sender that is gone acknowledges nothing.
            if tokio::time::timeout(FLUSH_LIMIT, &mut channel.writer).await.is_err() {
                tracing::debug!(session = %self.session.id, "the last lines were not acknowledged in time");
                channel.writer.abort();
            }
            channel.watcher.abort();
            drop(channel.handle);
        }
        close(&*self.connection).await;
        // Drained, so it is about to end; but a hanging analyzer must not hang the network.
        self.decoder.detach();
        if let Some(asked) = asked {
            asked.send(()).ok();
        }
    }

    /// Runs until there is a reason to end.
    async fn live(
        &mut self,
        notices: &mut mpsc::Receiver<Notice>,
        requests: &mut mpsc::Receiver<(Reason, oneshot::Sender<()>)>,
        mut taken_over: oneshot::Receiver<()>,
    ) -> (Reason, Option<oneshot::Sender<()>>) {
        let mut state = Liveness::Connecting(Instant::now() + CONNECT_LIMIT);
        let (channel_closed, mut channel_closes) = mpsc::channel(1);
        let lost = |reason: &str| (Reason::Lost(reason.into()), None);
        loop {
            let check = tokio::time::sleep_until(state.next_check());
            tokio::select! {
                request = requests.recv() => match request {
                    Some((reason, done)) => return (reason, Some(done)),
                    None => std::future::pending().await,
                },
                taken = &mut taken_over => return lost(match taken {
                    Ok(()) => "another sender took the session over",
                    Err(_session_gone) => "the session was forgotten",
                }),
                _ = channel_closes.recv() => return lost("the sender closed its data channel"),
                notice = notices.recv() => match notice {
                    Some(Notice::State(RTCPeerConnectionState::Closed)) | None => {
                        return lost("the sender closed the connection");
                    }
                    Some(Notice::State(now)) => state = state.after(now),
                    Some(Notice::Channel(channel)) => self.open_channel(channel, channel_closed.clone()).await,
                    Some(Notice::GatheringComplete) => {}
                },
                () = check => match state {
                    Liveness::Connecting(_) => return lost("the sender never connected"),
                    Liveness::Up { .. } => {
                        self.make_channel(channel_closed.clone()).await;
                        state = Liveness::Up { check_channel: false };
                    }
                    Liveness::Doubtful if self.intake.silence() >= SILENCE_LIMIT => return lost("the sender is gone"),
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
        let writer = tokio::spawn(sink::data_channel::run(handle.clone(), inbox));
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

/// Whether the sender is there.
#[derive(Clone, Copy)]
enum Liveness {
    /// Until the deadline.
    Connecting(Instant),
    /// It is; `check_channel` once after a while.
    Up { check_channel: bool },
    /// It stopped answering consent checks (RFC 7675).
    Doubtful,
}

impl Liveness {
    fn after(self, state: RTCPeerConnectionState) -> Self {
        match state {
            RTCPeerConnectionState::Connected => Self::Up { check_channel: true },
            RTCPeerConnectionState::Disconnected | RTCPeerConnectionState::Failed => Self::Doubtful,
            _ => self,
        }
    }

    fn next_check(self) -> tokio::time::Instant {
        let from_now = |seconds| tokio::time::Instant::now() + Duration::from_secs(seconds);
        match self {
            Self::Connecting(deadline) => deadline.into(),
            Self::Up { check_channel: true } => from_now(2),
            Self::Up { check_channel: false } => from_now(24 * 3600),
            Self::Doubtful => from_now(1),
        }
    }
}
