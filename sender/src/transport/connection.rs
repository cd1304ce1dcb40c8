//! The library's side of a connection: how it is set up, what it offers, what it tells.

use std::{sync::Arc, time::Duration};

use cv_core::{ntp, whip::RESULTS_CHANNEL};
use cv_wire::{Agreement, Repeating, SocketRuntime};
use rtc::{
    ice::mdns::MulticastDnsMode,
    interceptor::Registry,
    media_stream::MediaStreamTrack,
    peer_connection::configuration::interceptor_registry::configure_rtcp_reports,
    rtp_transceiver::{
        RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
        rtp_sender::{
            RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
            RTCRtpHeaderExtensionCapability, RtpCodecKind,
        },
    },
};
use tokio::sync::{Notify, watch};
use webrtc::{
    data_channel::DataChannel,
    media_stream::track_local::static_rtp::TrackLocalStaticRTP,
    peer_connection::{
        MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
        RTCPeerConnectionState, SettingEngineBuilder,
    },
    runtime::{AsyncUdpSocket, Runtime, TokioRuntime},
};

use super::{
    ice::Ice,
    interfaces::Everywhere,
    publish::{Publish, StreamId},
    twcc,
};

/// The offer's payload type for H.264.
pub(super) const PAYLOAD_TYPE: u8 = 102;

/// How long paths without a relay on either side have the first word; the default of two seconds is most of what a
/// person waits.
const RELAY_WAIT: Duration = Duration::from_millis(500);

pub(super) struct Handler {
    pub(super) state: watch::Sender<RTCPeerConnectionState>,
    pub(super) gathered: Arc<Notify>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.notify_one();
        }
    }
}

/// The library's handle on a connection, with our packetizer in its chain and over our sockets.
pub(super) async fn build(
    publish: Publish,
    handler: Handler,
    ice: &Ice,
    agreement: Agreement,
) -> Result<Arc<dyn PeerConnection>, webrtc::error::Error> {
    let mut engine = MediaEngine::default();
    engine
        .register_codec(RTCRtpCodecParameters { rtp_codec: h264(), payload_type: PAYLOAD_TYPE }, RtpCodecKind::Video)?;
    for uri in [ntp::ABS_CAPTURE_TIME, twcc::URI] {
        engine.register_header_extension(
            RTCRtpHeaderExtensionCapability { uri: uri.into() },
            RtpCodecKind::Video,
            None,
        )?;
    }
    // Held back, a relay gives better paths time to be found; where it is the only one, that is time lost.
    let relay_wait = if ice.relay_only { Duration::ZERO } else { RELAY_WAIT };
    let settings = SettingEngineBuilder::new()
        .with_include_loopback_candidate(true)
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        // The default of 200 ms is most of the time that connecting takes.
        .with_ice_connection_attempts(Some(Duration::from_millis(20)), Some(150))
        // A restart is for a network that has changed, so it looks at the addresses there are then.
        .with_discard_local_candidates_during_ice_restart(true)
        .with_relay_acceptance_min_wait(Some(relay_wait))
        .with_ice_timeouts(Some(Duration::from_secs(3)), Some(Duration::from_secs(4)), Some(Duration::from_secs(1)))
        .build();
    let runtime = SocketRuntime::new(move |socket| {
        let repeating = Repeating::new(TokioRuntime.wrap_udp_socket(socket)?, agreement.clone());
        Ok(Arc::new(repeating) as Arc<dyn AsyncUdpSocket>)
    });
    let building = PeerConnectionBuilder::new()
        .with_configuration(ice.configuration())
        .with_media_engine(engine)
        .with_setting_engine(settings)
        .with_interceptor_registry(configure_rtcp_reports(Registry::new()).with(PUBLISH_SLOT.into(), publish))
        .with_runtime(Arc::new(runtime))
        .with_handler(Arc::new(handler))
        .with_udp_addrs(vec![Everywhere])
        .build();
    // The library's future is tens of kilobytes large.
    Ok(Arc::new(Box::pin(building).await?))
}

/// On the application's side of the sender reports, which must count real packets.
const PUBLISH_SLOT: usize = 13_500;

fn h264() -> RTCRtpCodec {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback { typ: typ.into(), parameter: parameter.into() };
    RTCRtpCodec {
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
    }
}

pub(super) type Offered = (Arc<TrackLocalStaticRTP>, Option<Arc<dyn DataChannel>>);

/// One H.264 track, sendonly, and the channel for results if wanted.
pub(super) async fn offer(
    connection: &dyn PeerConnection,
    stream: StreamId,
    channel: bool,
) -> Result<Offered, webrtc::error::Error> {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(stream.ssrc), ..Default::default() },
        codec: h264(),
        ..Default::default()
    };
    let label = |name: &str| name.to_owned();
    let track = MediaStreamTrack::new(label("cv"), label("video"), label("video"), RtpCodecKind::Video, vec![encoding]);
    let track = Arc::new(TrackLocalStaticRTP::new(track));
    let direction = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Sendonly, ..Default::default() };
    connection.add_transceiver_from_track(track.clone(), Some(direction)).await?;
    let channel = match channel {
        true => Some(connection.create_data_channel(RESULTS_CHANNEL, None).await?),
        false => None,
    };
    let offer = connection.create_offer(None).await?;
    connection.set_local_description(offer).await?;
    Ok((track, channel))
}

/// Frees what the library holds: a connection that is merely dropped keeps a socket and a task for good.
pub(super) async fn close(connection: &dyn PeerConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "closing the connection");
    }
}
