//! A WHIP client that is none of ours: the WebRTC library with its own settings, and RTP packets made by hand.
//!
//! It stamps nothing, asks for nothing in the query but what a test says, and sends exactly the packets it is given.

use std::{
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use cv_core::ntp;
use cv_sender::transport::packetize::Packetizer;
use rtc::{
    ice::mdns::MulticastDnsMode,
    media_stream::MediaStreamTrack,
    rtp,
    rtp_transceiver::{
        RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
        rtp_sender::{
            RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
            RTCRtpHeaderExtensionCapability, RtpCodecKind,
        },
    },
};
use tokio::{runtime::Runtime, sync::watch};
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent},
    media_stream::track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP},
    peer_connection::{
        MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCCertificate,
        RTCConfigurationBuilder, RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, Registry,
        SettingEngineBuilder, register_default_interceptors,
    },
};

use crate::{http, program::LIMIT, streams::Unit};

const VIDEO_SSRC: u32 = 0x1234_5678;
const AUDIO_SSRC: u32 = 0x0a0d_1001;
/// RTP time of presentation time zero, and the first sequence number: both wrap around within a second.
const ORIGIN: u32 = u32::MAX - 45_000;
const FIRST_SEQUENCE: u16 = u16::MAX - 20;

/// What the offer holds.
pub struct Offer {
    /// Format parameters of H.264 (RFC 6184, 8.1); empty for no `a=fmtp` at all.
    pub fmtp: &'static str,
    /// Whether VP8 stands before H.264.
    pub vp8_first: bool,
    /// Whether an Opus track goes beside the video.
    pub audio: bool,
    /// What is said about data channels.
    pub channel: Channel,
    /// Whether the client sends RTCP reports and answers NACKs.
    pub feedback: bool,
    /// Whether pictures may carry their capture time.
    pub capture_time: bool,
    /// The DTLS certificate, if not the library's own (ECDSA).
    pub certificate: Option<RTCCertificate>,
    /// What else happens to the SDP before it is sent.
    pub edit: fn(String) -> String,
    /// More of the endpoint's query. Unless told, nothing is dropped, however busy the machine is.
    pub query: &'static str,
}

/// A data channel in an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// No section for data channels.
    None,
    /// A section, but no channel that the receiver would hear of.
    SectionOnly,
    /// A channel with this label.
    Open(&'static str),
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            vp8_first: false,
            audio: false,
            channel: Channel::None,
            feedback: true,
            capture_time: false,
            certificate: None,
            edit: |sdp| sdp,
            query: "&mode=every-frame",
        }
    }
}

/// How access units become packets.
#[derive(Clone, Copy, Debug)]
pub enum Packing {
    /// One NAL unit a packet (packetization-mode 0).
    Single,
    /// STAP-A and FU-A with payloads of at most so many bytes (packetization-mode 1).
    Packed(usize),
}

impl Packing {
    fn payloads(self, unit: &[u8]) -> Vec<Bytes> {
        match self {
            Self::Single => cv_core::annex_b::nals(unit).map(Bytes::copy_from_slice).collect(),
            Self::Packed(most) => Packetizer::new(most).packetize(unit),
        }
    }
}

/// A client whose connection is up.
pub struct Client {
    runtime: Runtime,
    connection: Arc<dyn PeerConnection>,
    video: Arc<TrackLocalStaticRTP>,
    audio: Option<Arc<TrackLocalStaticRTP>>,
    channel: Option<Arc<dyn DataChannel>>,
    heard: mpsc::Receiver<String>,
    tell: mpsc::Sender<String>,
    address: SocketAddr,
    location: String,
    /// The receiver's answer.
    pub answer: String,
    payload_type: u8,
    capture_time_id: Option<u8>,
    sequence: u16,
}

impl Client {
    /// Connects to the receiver at `address` as `session`.
    ///
    /// # Panics
    /// If that does not succeed.
    pub fn connect(address: SocketAddr, session: &str, offer: Offer) -> Self {
        let builder = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = builder.expect("a runtime starts");
        let (tell, heard) = mpsc::channel();
        let (state, mut states) = watch::channel((RTCPeerConnectionState::New, false));
        let handler = Handler { state, tell: tell.clone() };
        let edit = offer.edit;
        let path = format!("/whip?session={session}{}", offer.query);
        let (connection, tracks, channel, sdp) = runtime.block_on(async {
            let connection = build(&offer, handler).await;
            let tracks = tracks(&*connection, offer.audio).await;
            let channel = channel(&*connection, offer.channel, &tell).await;
            let local = connection.create_offer(None).await.expect("an offer");
            connection.set_local_description(local).await.expect("the library takes its own offer");
            let gathered = tokio::time::timeout(LIMIT, states.wait_for(|(_, gathered)| *gathered)).await;
            drop(gathered.expect("candidates are gathered").expect("the handler lives"));
            let local = connection.local_description().await.expect("there is an offer");
            (connection, tracks, channel, local.sdp)
        });
        let sdp = edit(adapt(&sdp, &offer));
        let created = http::request(address, "POST", &path, &[("Content-Type", "application/sdp")], &sdp);
        assert_eq!(created.status, 201, "{}\nfor the offer\n{sdp}", created.body);
        let location = created.header("location").expect("201 has a Location").to_owned();
        let answer = created.body;
        runtime.block_on(async {
            let remote = RTCSessionDescription::answer(answer.clone()).expect("the answer is SDP");
            connection.set_remote_description(remote).await.expect("the answer is usable");
            let connected = states.wait_for(|(state, _)| *state == RTCPeerConnectionState::Connected);
            let connected = tokio::time::timeout(LIMIT, connected).await;
            drop(connected.expect("the connection comes up").expect("the handler lives"));
        });
        let (payload_type, capture_time_id) = (h264_type(&answer), capture_time_id(&answer));
        let (video, audio) = tracks;
        let sequence = FIRST_SEQUENCE;
        Self {
            runtime,
            connection,
            video,
            audio,
            channel,
            heard,
            tell,
            address,
            location,
            answer,
            payload_type,
            capture_time_id,
            sequence,
        }
    }

    /// Sends one access unit.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn send(&mut self, unit: &Unit, packing: Packing) {
        self.send_captured(unit, packing, None);
    }

    /// The same with a capture time.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn send_captured(&mut self, unit: &Unit, packing: Packing, captured: Option<SystemTime>) {
        let payloads = packing.payloads(&unit.data);
        let last = payloads.len() - 1;
        for (number, payload) in payloads.into_iter().enumerate() {
            let mut header = rtp::Header {
                version: 2,
                ssrc: VIDEO_SSRC,
                payload_type: self.payload_type,
                sequence_number: self.sequence,
                timestamp: ORIGIN.wrapping_add(unit.ticks as u32),
                marker: number == last,
                ..rtp::Header::default()
            };
            if let (Some(captured), Some(id)) = (captured, self.capture_time_id) {
                let value = ntp::from_time(captured).to_be_bytes().to_vec();
                header.set_extension(id, value.into()).expect("eight bytes fit");
            }
            self.sequence = self.sequence.wrapping_add(1);
            self.write(&self.video, rtp::Packet { header, payload });
        }
    }

    /// Sends one packet of something on the audio track.
    ///
    /// # Panics
    /// If audio was not offered.
    pub fn send_audio(&self, number: u16) {
        let header = rtp::Header {
            version: 2,
            ssrc: AUDIO_SSRC,
            payload_type: 111,
            sequence_number: number,
            timestamp: u32::from(number) * 960,
            ..rtp::Header::default()
        };
        let audio = self.audio.as_ref().expect("audio was offered");
        self.write(audio, rtp::Packet { header, payload: Bytes::from_static(&[0xf8, 0xff, 0xfe]) });
    }

    fn write(&self, track: &TrackLocalStaticRTP, packet: rtp::Packet) {
        self.runtime.block_on(track.write_rtp(packet)).expect("the connection is up");
    }

    /// Opens a data channel now.
    ///
    /// # Panics
    /// If the library refuses.
    pub fn open_channel(&mut self, label: &str) {
        let opened = self.runtime.block_on(async {
            let channel = self.connection.create_data_channel(label, None).await.expect("a channel");
            tokio::spawn(listen(channel.clone(), self.tell.clone()));
            channel
        });
        self.channel = Some(opened);
    }

    /// Sends bytes over the channel.
    ///
    /// # Panics
    /// If there is none.
    pub fn say(&self, bytes: &[u8]) {
        let channel = self.channel.as_ref().expect("there is a channel");
        self.runtime.block_on(channel.send(BytesMut::from(bytes))).expect("the channel is open");
    }

    /// The same as text.
    ///
    /// # Panics
    /// If there is none.
    pub fn say_text(&self, text: &str) {
        let channel = self.channel.as_ref().expect("there is a channel");
        self.runtime.block_on(channel.send_text(text)).expect("the channel is open");
    }

    /// The next line that came over any data channel.
    ///
    /// # Panics
    /// If none comes.
    pub fn line(&self) -> String {
        self.heard.recv_timeout(LIMIT).expect("a line over the data channel")
    }

    /// Ends the session with a DELETE and gives the lines that came over data channels and were not yet read.
    ///
    /// # Panics
    /// If the receiver does not like it.
    pub fn end(self) -> Vec<String> {
        let ended = http::request(self.address, "DELETE", &self.location, &[], "");
        assert_eq!(ended.status, 200, "{}", ended.body);
        self.runtime.block_on(self.connection.close()).expect("a connection can be closed");
        self.heard.try_iter().collect()
    }
}

struct Handler {
    /// The connection's state, and whether all candidates are there.
    state: watch::Sender<(RTCPeerConnectionState, bool)>,
    tell: mpsc::Sender<String>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, now: RTCPeerConnectionState) {
        self.state.send_modify(|(state, _)| *state = now);
    }

    async fn on_ice_gathering_state_change(&self, now: RTCIceGatheringState) {
        self.state.send_modify(|(_, gathered)| *gathered |= now == RTCIceGatheringState::Complete);
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        tokio::spawn(listen(channel, self.tell.clone()));
    }
}

/// Passes on what comes over a channel.
async fn listen(channel: Arc<dyn DataChannel>, tell: mpsc::Sender<String>) {
    while let Some(event) = channel.poll().await {
        if let DataChannelEvent::OnMessage(message) = event {
            let text = String::from_utf8_lossy(&message.data).into_owned();
            if tell.send(text).is_err() {
                return;
            }
        }
    }
}

fn codec(mime_type: &str, clock_rate: u32, fmtp: &str) -> RTCRtpCodec {
    let channels = if mime_type.starts_with("audio") { 2 } else { 0 };
    RTCRtpCodec { mime_type: mime_type.into(), clock_rate, channels, sdp_fmtp_line: fmtp.into(), rtcp_feedback: vec![] }
}

fn h264(fmtp: &str) -> RTCRtpCodec {
    codec("video/H264", 90_000, fmtp)
}

async fn build(offer: &Offer, handler: Handler) -> Arc<dyn PeerConnection> {
    let mut engine = MediaEngine::default();
    let video = [(codec("video/VP8", 90_000, ""), 96), (h264(offer.fmtp), 102)];
    for (rtp_codec, payload_type) in video.into_iter().skip(usize::from(!offer.vp8_first)) {
        let codec = RTCRtpCodecParameters { rtp_codec, payload_type };
        engine.register_codec(codec, RtpCodecKind::Video).expect("a known codec");
    }
    let opus = RTCRtpCodecParameters { rtp_codec: codec("audio/opus", 48_000, ""), payload_type: 111 };
    engine.register_codec(opus, RtpCodecKind::Audio).expect("a known codec");
    if offer.capture_time {
        let extension = RTCRtpHeaderExtensionCapability { uri: ntp::ABS_CAPTURE_TIME.into() };
        engine.register_header_extension(extension, RtpCodecKind::Video, None).expect("a header extension");
    }
    let registry = match offer.feedback {
        true => register_default_interceptors(Registry::new(), &mut engine).expect("interceptors"),
        false => Registry::new(),
    };
    let settings = SettingEngineBuilder::new()
        .with_include_loopback_candidate(true)
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_ice_connection_attempts(Some(Duration::from_millis(20)), Some(500));
    let certificates = offer.certificate.iter().cloned().collect();
    let building = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().with_certificates(certificates).build())
        .with_media_engine(engine)
        .with_setting_engine(settings.build())
        .with_interceptor_registry(registry)
        .with_handler(Arc::new(handler))
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .build();
    Arc::new(Box::pin(building).await.expect("a connection"))
}

type Tracks = (Arc<TrackLocalStaticRTP>, Option<Arc<TrackLocalStaticRTP>>);

async fn tracks(connection: &dyn PeerConnection, audio: bool) -> Tracks {
    let video = track(connection, (RtpCodecKind::Video, h264("")), VIDEO_SSRC).await;
    let audio = match audio {
        true => Some(track(connection, (RtpCodecKind::Audio, codec("audio/opus", 48_000, "")), AUDIO_SSRC).await),
        false => None,
    };
    (video, audio)
}

async fn track(
    connection: &dyn PeerConnection,
    (kind, codec): (RtpCodecKind, RTCRtpCodec),
    ssrc: u32,
) -> Arc<TrackLocalStaticRTP> {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec,
        ..Default::default()
    };
    let track = MediaStreamTrack::new("foreign".into(), kind.to_string(), kind.to_string(), kind, vec![encoding]);
    let track = Arc::new(TrackLocalStaticRTP::new(track));
    let direction = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Sendonly, ..Default::default() };
    connection.add_transceiver_from_track(track.clone(), Some(direction)).await.expect("a track");
    track
}

async fn channel(
    connection: &dyn PeerConnection,
    wanted: Channel,
    tell: &mpsc::Sender<String>,
) -> Option<Arc<dyn DataChannel>> {
    let label = match wanted {
        Channel::None => return None,
        // Of a channel that both sides are said to know by its number, the other side hears nothing.
        Channel::SectionOnly => {
            let init = rtc::data_channel::RTCDataChannelInit { negotiated: Some(1000), ..Default::default() };
            let silent = connection.create_data_channel("silent", Some(init)).await;
            return Some(silent.expect("a channel"));
        }
        Channel::Open(label) => label,
    };
    let channel = connection.create_data_channel(label, None).await.expect("a channel");
    tokio::spawn(listen(channel.clone(), tell.clone()));
    Some(channel)
}

/// What the library does not leave out by itself.
fn adapt(sdp: &str, offer: &Offer) -> String {
    let kept = sdp.lines().filter(|line| !(offer.fmtp.is_empty() && line.starts_with("a=fmtp:102")));
    kept.map(|line| format!("{line}\r\n")).collect()
}

/// The payload type that an answer gives to H.264.
fn h264_type(answer: &str) -> u8 {
    let map = answer.lines().find_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(" H264/90000"));
    map.and_then(|(number, _)| number.parse().ok()).unwrap_or_else(|| panic!("no H.264 in\n{answer}"))
}

fn capture_time_id(answer: &str) -> Option<u8> {
    let line = answer.lines().find(|line| line.starts_with("a=extmap:") && line.ends_with(ntp::ABS_CAPTURE_TIME))?;
    line["a=extmap:".len()..].split([' ', '/']).next()?.parse().ok()
}
