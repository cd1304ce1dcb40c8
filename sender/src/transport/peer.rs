//! One WebRTC connection to a receiver: offered over WHIP, fed by the encoder.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use cv_core::{timestamp::Timestamp, whip::query};
use cv_wire::Agreement;
use reqwest::Url;
use rtc::peer_connection::configuration::RTCOfferOptions;
use tokio::sync::{Notify, mpsc, watch};
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent},
    media_stream::track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP},
    peer_connection::{PeerConnection, RTCPeerConnectionState, RTCSessionDescription},
};

use super::{
    connection::{self, Handler, PAYLOAD_TYPE},
    feedback::Feedback,
    fragment::Fragment,
    ice::Ice,
    joint::Joint,
    publish::{Publish, StreamId, carrier},
    whip::{self, Created, Endpoint, Query},
};

/// Candidates of this machine's interfaces are there as soon as sockets are bound.
const GATHERING_LIMIT: Duration = Duration::from_secs(1);
/// Those that servers elsewhere have to be asked for take a few round trips.
const ASKING_LIMIT: Duration = Duration::from_secs(3);
/// How long a direct path is looked for before the servers that the receiver names are asked for another one.
/// More than a relay candidate of the receiver's own needs, and a handshake over a round trip of half a second.
const DIRECT_LIMIT: Duration = Duration::from_secs(4);
/// How long ending a session that never came up may take.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);
/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint did not take the offer.
    #[error(transparent)]
    Whip(#[from] whip::Error),
    /// The answer is unusable.
    #[error("the answer of {url} cannot be used: {problem}")]
    Answer {
        /// The endpoint.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// Signalling worked, media did not get through.
    #[error(
        "{url} answered, but no connection came up within {seconds} s; a firewall may block UDP between the two: a \
         TURN server helps (--ice-server)"
    )]
    NoPath {
        /// The endpoint.
        url: String,
        /// How long was tried.
        seconds: u64,
    },
    /// Only relays may be used, and there is none.
    #[error("--relay-only finds no relay: no TURN server named by --ice-server answers and takes the credentials")]
    NoRelay,
    /// Something is wrong here.
    #[error("cannot set up WebRTC: {0}")]
    Internal(String),
}

/// What happens on a connection.
#[derive(Debug)]
pub enum Event {
    /// A line of results, or whatever else the receiver sent.
    Line(Bytes),
    /// Nothing has come for seconds: the path may be gone, and may come back.
    Silent,
    /// The receiver closed the connection.
    Lost(&'static str),
}

/// A connection that is up.
pub struct Peer {
    connection: Arc<dyn PeerConnection>,
    channel: Option<Arc<dyn DataChannel>>,
    publisher: Publisher,
    states: watch::Receiver<RTCPeerConnectionState>,
    gathered: Arc<Notify>,
    lines: mpsc::Receiver<Bytes>,
    ice: Ice,
    /// The session as the endpoint made it.
    pub created: Created,
}

/// Puts access units on the wire. Cloning shares the stream.
#[derive(Clone)]
pub struct Publisher {
    track: Arc<TrackLocalStaticRTP>,
    stream: StreamId,
    /// RTP time of presentation time zero (RFC 3550, 5.1 wants it random).
    origin: u32,
    runtime: tokio::runtime::Handle,
}

impl Publisher {
    /// Sends one access unit. For threads outside the runtime: blocks while the network task is behind.
    ///
    /// `false` once the connection is closed.
    pub fn publish_blocking(&self, access_unit: Bytes, pts: Timestamp, captured: SystemTime) -> bool {
        let packet = carrier(self.stream, pts.rtp(self.origin), access_unit, captured);
        self.runtime.block_on(self.track.write_rtp(packet)).is_ok()
    }
}

/// What is asked of a connection.
#[derive(Clone, Debug)]
pub struct Request {
    /// What travels in the endpoint's query.
    pub query: Query,
    /// Whether a data channel for results is offered.
    pub channel: bool,
    /// Where the receiver's feedback goes.
    pub feedback: Arc<Feedback>,
    /// How paths are looked for.
    pub ice: Ice,
    /// How long it may take until media can flow.
    pub timeout: Duration,
}

/// Offers a stream to `endpoint` and waits until media can flow.
///
/// A server that refuses an offer with a data channel is offered the stream alone.
pub async fn connect(endpoint: &Endpoint, request: &Request) -> Result<Peer, Error> {
    match attempt(endpoint, request).await {
        Err(Error::Whip(error)) if request.channel && error.is_about_the_offer() => {
            tracing::debug!(%error, "offering again without a data channel");
            let alone = Request { channel: false, ..request.clone() };
            // If the channel was not what it minded, its first word is the better one.
            attempt(endpoint, &alone).await.map_err(|_second| Error::Whip(error))
        }
        other => other,
    }
}

async fn attempt(endpoint: &Endpoint, request: &Request) -> Result<Peer, Error> {
    let deadline = Instant::now() + request.timeout;
    let internal = |error: webrtc::error::Error| Error::Internal(error.to_string());
    let stream = StreamId { ssrc: rand::random(), payload_type: PAYLOAD_TYPE, first_sequence: rand::random() };
    let (state, states) = watch::channel(RTCPeerConnectionState::New);
    let gathered = Arc::new(Notify::new());
    let handler = Handler { state, gathered: gathered.clone() };
    let agreement = Agreement::default();
    let publish = Publish::new(stream, request.feedback.clone());
    let connection = connection::build(publish, handler, &request.ice, agreement.clone()).await.map_err(internal)?;
    let negotiated = async {
        let (track, channel) = connection::offer(&*connection, stream, request.channel).await.map_err(internal)?;
        wait_gathered(&gathered, &request.ice).await;
        let created = negotiate(&*connection, endpoint, request, stream).await?;
        if created.results.is_some() {
            agreement.reach();
        }
        Ok((track, channel, created))
    };
    let (track, channel, created) = match negotiated.await {
        Ok(negotiated) => negotiated,
        Err(error) => {
            // Without this the library keeps a socket and a task for good.
            connection::close(&*connection).await;
            return Err(error);
        }
    };
    let (forward, lines) = mpsc::channel(64);
    if let Some(channel) = &channel {
        tokio::spawn(read(channel.clone(), forward));
    }
    let runtime = tokio::runtime::Handle::current();
    let publisher = Publisher { track, stream, origin: rand::random(), runtime };
    let ice = request.ice.clone();
    let mut peer = Peer { connection, channel, publisher, states, gathered, lines, ice, created };
    match peer.come_up(endpoint, request.timeout, deadline).await {
        Ok(()) => Ok(peer),
        Err(error) => {
            // Without a goodbye the server would keep the place until it notices.
            if let Some(url) = &peer.created.session {
                endpoint.delete(url, None, GOODBYE_LIMIT).await.ok();
            }
            peer.close().await;
            Err(error)
        }
    }
}

impl Peer {
    /// Where access units go.
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Whether results can come over a data channel.
    pub fn has_channel(&self) -> bool {
        self.channel.is_some()
    }

    /// What happens next. Cancel-safe.
    pub async fn event(&mut self) -> Event {
        let open = self.channel.is_some();
        loop {
            tokio::select! {
                biased;
                line = self.lines.recv(), if open => return match line {
                    Some(line) => Event::Line(line),
                    None => Event::Lost("the receiver closed the data channel"),
                },
                changed = self.states.changed() => {
                    let state = *self.states.borrow();
                    match state {
                        _ if changed.is_err() => return Event::Lost("the connection ended"),
                        RTCPeerConnectionState::Disconnected | RTCPeerConnectionState::Failed => return Event::Silent,
                        RTCPeerConnectionState::Closed => return Event::Lost("the receiver closed the connection"),
                        state => tracing::debug!(?state, "connection"),
                    }
                }
            }
        }
    }

    /// The servers to ask for paths, those that the receiver named included.
    pub fn ice(&self) -> &Ice {
        &self.ice
    }

    /// Waits until media can flow. Where the receiver names servers and we know none, they are asked if no direct
    /// path is found soon.
    async fn come_up(&mut self, endpoint: &Endpoint, timeout: Duration, deadline: Instant) -> Result<(), Error> {
        let ice = self.ice.or_offered(&self.created.ice_servers);
        let named = ice.servers.len() > self.ice.servers.len() && self.created.session.is_some();
        let direct = if named { deadline.min(Instant::now() + DIRECT_LIMIT) } else { deadline };
        let waited = wait_connected(&mut self.states, direct, endpoint, timeout).await;
        match self.created.session.clone() {
            Some(session) if waited.is_err() && named => {
                tracing::debug!("asking the servers that the receiver names for another path");
                self.ice = ice;
                let configured = self.connection.set_configuration(self.ice.configuration()).await;
                configured.map_err(|error| Error::Internal(error.to_string()))?;
                self.restart(endpoint, &session, deadline.saturating_duration_since(Instant::now())).await
            }
            _ => waited,
        }
    }

    /// Completes when the path works, again or still; `false` if the connection has ended instead.
    pub async fn is_through(&mut self) -> bool {
        let settled = [RTCPeerConnectionState::Connected, RTCPeerConnectionState::Closed];
        let state = self.states.wait_for(|state| settled.contains(state)).await;
        state.is_ok_and(|state| *state == RTCPeerConnectionState::Connected)
    }

    /// Looks for a path anew, over addresses of this moment, and goes on with the same session (RFC 9725, 4.3.3).
    ///
    /// # Errors
    /// If the server refuses, or no path is found within `limit`. The connection is of no use then.
    pub async fn restart(&mut self, endpoint: &Endpoint, session: &Url, limit: Duration) -> Result<(), Error> {
        let internal = |error: webrtc::error::Error| Error::Internal(error.to_string());
        // What an earlier gathering came to late does not count for this one.
        tokio::time::timeout(Duration::ZERO, self.gathered.notified()).await.ok();
        let offer = self.connection.create_offer(Some(RTCOfferOptions { ice_restart: true })).await;
        self.connection.set_local_description(offer.map_err(internal)?).await.map_err(internal)?;
        wait_gathered(&self.gathered, &self.ice).await;
        let deadline = Instant::now() + limit;
        let local = self.connection.local_description().await.map(|local| local.sdp).unwrap_or_default();
        check_relayed(&self.ice, &local)?;
        let fragment = Fragment::parse(&local).map(|fragment| fragment.restarting(&local));
        let fragment = fragment.ok_or_else(|| Error::Internal("the restarted side has no ICE credentials".into()))?;
        let answer = endpoint.restart(session, fragment, limit).await?;
        let unusable = |problem: String| Error::Answer { url: endpoint.url(), problem };
        let theirs = Fragment::parse(&answer).ok_or_else(|| unusable("its restart has no ICE credentials".into()))?;
        let answer = theirs.applied_to(&self.created.answer);
        let answer = RTCSessionDescription::answer(answer).map_err(|error| unusable(error.to_string()))?;
        self.connection.set_remote_description(answer).await.map_err(|error| unusable(error.to_string()))?;
        wait_connected(&mut self.states, deadline, endpoint, limit).await
    }

    /// Closes the connection and frees what it holds.
    pub async fn close(self) {
        connection::close(&*self.connection).await;
    }
}

/// Waits until all candidates are known, or for as long as is reasonable.
async fn wait_gathered(gathered: &Notify, ice: &Ice) {
    let limit = if ice.servers.is_empty() { GATHERING_LIMIT } else { ASKING_LIMIT };
    if tokio::time::timeout(limit, gathered.notified()).await.is_err() {
        tracing::debug!("not every candidate was gathered in time; those that were have to do");
    }
}

/// Whether there is a relay at all where nothing else may be used.
fn check_relayed(ice: &Ice, local: &str) -> Result<(), Error> {
    if ice.relay_only && !local.contains(" typ relay") { Err(Error::NoRelay) } else { Ok(()) }
}

/// Sends the offer and applies the answer.
async fn negotiate(
    connection: &dyn PeerConnection,
    endpoint: &Endpoint,
    request: &Request,
    stream: StreamId,
) -> Result<Created, Error> {
    let local = connection.local_description().await;
    let offer = local.ok_or_else(|| Error::Internal("there is no offer".into()))?.sdp;
    check_relayed(&request.ice, &offer)?;
    // RFC 9725, 4.4.1: no ports of their own for RTCP, not even as a fallback (RFC 8858).
    let offer = offer.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-mux-only\r\n");
    let mut query = request.query.clone();
    query.pairs.push((query::FIRST_SEQUENCE, stream.first_sequence.to_string()));
    let created = endpoint.post(offer, &query, request.timeout).await?;
    let unusable = |problem: String| Error::Answer { url: endpoint.url(), problem };
    let sdp = created.answer.clone();
    let takes_h264 =
        sdp.lines().any(|line| line.starts_with("a=rtpmap:") && line.to_ascii_uppercase().contains("H264"));
    if !takes_h264 || sdp.lines().any(|line| line.starts_with("m=video 0 ")) {
        return Err(unusable("it does not take H.264 video".into()));
    }
    let answer = RTCSessionDescription::answer(sdp).map_err(|error| unusable(error.to_string()))?;
    connection.set_remote_description(answer).await.map_err(|error| unusable(error.to_string()))?;
    Ok(created)
}

async fn wait_connected(
    states: &mut watch::Receiver<RTCPeerConnectionState>,
    deadline: Instant,
    endpoint: &Endpoint,
    timeout: Duration,
) -> Result<(), Error> {
    let connected = states.wait_for(|state| *state == RTCPeerConnectionState::Connected);
    match tokio::time::timeout_at(deadline.into(), connected).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Error::NoPath { url: endpoint.url(), seconds: timeout.as_secs() }),
    }
}

/// Forwards what comes over the channel; waits for the reader, so that SCTP slows the receiver down.
async fn read(channel: Arc<dyn DataChannel>, lines: mpsc::Sender<Bytes>) {
    let mut joint = Joint::default();
    while let Some(event) = channel.poll().await {
        let message = match event {
            DataChannelEvent::OnMessage(message) => message.data.freeze(),
            DataChannelEvent::OnClose => return,
            _ => continue,
        };
        let line = match joint.add(message) {
            Ok(Some(line)) => line,
            Ok(None) => continue,
            Err(error) => return tracing::warn!("results over the data channel end here: {error}"),
        };
        if lines.send(line).await.is_err() {
            return;
        }
    }
}
