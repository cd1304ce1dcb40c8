//! The library's side of a connection: what is offered to it, how it is set up, what it tells.

use std::{sync::Arc, time::Duration};

use cv_core::ntp;
use cv_wire::Agreement;
use rtc::{
    ice::mdns::MulticastDnsMode,
    interceptor::Registry,
    peer_connection::{configuration::interceptor_registry::configure_rtcp_reports, transport::RTCDtlsRole},
    rtp_transceiver::rtp_sender::{
        RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind,
    },
};
use tokio::sync::mpsc;
use webrtc::{
    data_channel::DataChannel,
    peer_connection::{
        MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
        RTCPeerConnectionState, RTCSessionDescription, SettingEngine, SettingEngineBuilder,
    },
};

use super::{
    arrivals,
    ingest::Ingest,
    offer::Offer,
    peer::{MAX_ANSWER, PeerError},
    port::{Inlet, Port},
    socket::{self, Up},
};

/// Candidates of this machine's interfaces are there as soon as sockets are bound.
pub(super) const GATHERING_LIMIT: Duration = Duration::from_secs(1);
/// Packets that one sent again may be late by; senders remember about as many.
const REPLAY_WINDOW: usize = 4096;

/// Places for what is no channel.
const RESERVED_NOTICES: usize = 32;

/// Something that the library tells us.
pub(super) enum Notice {
    State(RTCPeerConnectionState),
    Channel(Arc<dyn DataChannel>),
    GatheringComplete,
}

pub(super) struct Handler {
    pub(super) events: mpsc::Sender<Notice>,
    pub(super) up: Arc<Up>,
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
        match state {
            RTCPeerConnectionState::Connected => self.up.connected(),
            RTCPeerConnectionState::Connecting => self.up.connecting(),
            _ => {}
        }
        self.tell(Notice::State(state));
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        // A client may open any number of them; how its connection fares must find a place all the same.
        if self.events.capacity() > RESERVED_NOTICES {
            self.tell(Notice::Channel(channel));
        }
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.tell(Notice::GatheringComplete);
        }
    }
}

/// A connection as the library has it, with its part of the media port.
pub(super) struct Connected {
    pub(super) connection: Arc<dyn PeerConnection>,
    pub(super) inlet: Inlet,
    /// The answer's SDP.
    pub(super) answer: String,
}

/// What a connection is made of.
pub(super) struct Parts<'a> {
    pub(super) ingest: Ingest,
    pub(super) handler: Handler,
    pub(super) port: &'a Port,
    /// Whether the sender acknowledges what it hears.
    pub(super) agreement: Agreement,
}

/// Builds the connection and negotiates it. The answer holds every candidate: nothing trickles later.
pub(super) async fn connect(
    offer: &Offer,
    parts: Parts<'_>,
    notices: &mut mpsc::Receiver<Notice>,
) -> Result<Connected, PeerError> {
    let Parts { ingest, handler, port, agreement } = parts;
    let internal = |error: webrtc::error::Error| PeerError::Internal(format!("cannot set up WebRTC: {error}"));
    let inlet = port.inlet().await?;
    let registry = configure_rtcp_reports(Registry::new()).with(INGEST_SLOT.into(), ingest);
    let building = PeerConnectionBuilder::new()
        .with_media_engine(media_engine().map_err(internal)?)
        .with_setting_engine(settings(offer))
        .with_interceptor_registry(registry)
        .with_runtime(socket::runtime(handler.up.clone(), inlet.sockets(), agreement))
        .with_handler(Arc::new(handler))
        .with_udp_addrs(vec![inlet.places()])
        .with_data_channel_send_buffer_limit(1 << 20)
        .build();
    // The library's future is tens of kilobytes large.
    let connection = Box::pin(building).await.map_err(internal)?;
    let connection: Arc<dyn PeerConnection> = Arc::new(connection);
    let problem = match negotiate(&*connection, offer, notices).await {
        Ok(answer) => {
            let answer = inlet.publish(&answer);
            if answer.len() <= MAX_ANSWER {
                return Ok(Connected { connection, inlet, answer });
            }
            PeerError::Excessive
        }
        Err(error) => PeerError::Negotiation(error.to_string()),
    };
    // Without this the library keeps a socket and a task for good.
    close(&*connection).await;
    Err(problem)
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
        rtcp_feedback: vec![
            feedback("nack", ""),
            feedback("nack", "pli"),
            feedback("ccm", "fir"),
            feedback("transport-cc", ""),
        ],
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
    for uri in [ntp::ABS_CAPTURE_TIME, arrivals::URI] {
        engine.register_header_extension(
            RTCRtpHeaderExtensionCapability { uri: uri.into() },
            RtpCodecKind::Video,
            None,
        )?;
    }
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
        // What a sender takes is the limit, up to the library's 256 KB, not the default of 64.
        .with_sctp_max_message_size(rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize::Unbounded)
        // The default of 200 ms is most of the time that connecting takes.
        .with_ice_connection_attempts(Some(Duration::from_millis(20)), Some(150))
        .with_ice_timeouts(Some(Duration::from_secs(4)), Some(Duration::from_secs(4)), Some(Duration::from_secs(1)))
        .build()
}

pub(super) async fn close(connection: &dyn PeerConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "closing a connection");
    }
}
