//! A WHIP client that is not ours: the library's own offerer, host candidates on loopback, and every HTTP request
//! spelled out by the test.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use cv_core::frame::Frame;
use cv_sender::{
    encode::{Encoder, Options},
    transport::packetize::Packetizer,
};
use cv_source::pattern;
use cv_tests::{Receiver, http, program::LIMIT};
use rtc::{
    interceptor::Registry,
    media_stream::MediaStreamTrack,
    peer_connection::configuration::{
        RTCOfferOptions,
        interceptor_registry::{configure_nack, configure_rtcp_reports},
    },
    rtp,
    rtp_transceiver::{
        RTCRtpTransceiverDirection, RTCRtpTransceiverInit,
        rtp_sender::{
            RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
        },
    },
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};
use webrtc::{
    data_channel::{DataChannel, DataChannelEvent},
    media_stream::track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP},
    peer_connection::{
        MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
        RTCPeerConnectionState, RTCSessionDescription, SettingEngineBuilder,
    },
};

use super::{FRAGMENT, SDP};

const SSRC: u32 = 0xc0ffee;
const PAYLOAD_TYPE: u8 = 102;

/// The client; closed when dropped.
pub struct Client {
    runtime: Runtime,
    connection: Arc<dyn PeerConnection>,
    track: Arc<TrackLocalStaticRTP>,
    states: watch::Receiver<RTCPeerConnectionState>,
    gathering: watch::Receiver<RTCIceGatheringState>,
    lines: mpsc::Receiver<String>,
    /// The server's description as it stands.
    answer: String,
    /// Where the session is.
    pub location: String,
    /// The last ETag.
    pub tag: String,
}

struct Handler {
    state: watch::Sender<RTCPeerConnectionState>,
    gathering: watch::Sender<RTCIceGatheringState>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathering.send_replace(state);
    }
}

impl Client {
    /// Offers one H.264 track and a channel to `receiver`; `query` goes into the URL.
    pub fn offer(receiver: &Receiver, query: &str) -> Self {
        Self::offer_with(receiver, query, |offer| offer)
    }

    /// The same, with the offer changed on its way.
    pub fn offer_with(receiver: &Receiver, query: &str, change: impl FnOnce(String) -> String) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (state, states) = watch::channel(RTCPeerConnectionState::New);
        let (gather, gathering) = watch::channel(RTCIceGatheringState::New);
        let (said, lines) = mpsc::channel();
        let (connection, track) = runtime.block_on(async {
            let connection = build(Handler { state, gathering: gather }).await;
            let track = add_track(&*connection).await;
            let channel = connection.create_data_channel("results", None).await.unwrap();
            tokio::spawn(read(channel, said));
            let offer = connection.create_offer(None).await.unwrap();
            connection.set_local_description(offer).await.unwrap();
            (connection, track)
        });
        let (location, tag) = Default::default();
        let mut client =
            Self { runtime, connection, track, states, gathering, lines, answer: String::new(), location, tag };
        let offer = change(client.local());
        let created =
            http::request(receiver.address, "POST", &format!("/whip?{query}"), &[("Content-Type", SDP)], &offer);
        assert_eq!(created.status, 201, "{created:?}");
        client.location = created.header("location").unwrap().to_owned();
        client.tag = created.header("etag").unwrap().to_owned();
        client.take(created.body);
        client
    }

    /// Our description with all candidates.
    fn local(&self) -> String {
        let mut gathering = self.gathering.clone();
        self.runtime.block_on(async {
            let complete = gathering.wait_for(|state| *state == RTCIceGatheringState::Complete);
            drop(tokio::time::timeout(LIMIT, complete).await.expect("candidates are gathered").unwrap());
            self.connection.local_description().await.unwrap().sdp
        })
    }

    fn take(&mut self, answer: String) {
        let description = RTCSessionDescription::answer(answer.clone()).unwrap();
        self.runtime.block_on(self.connection.set_remote_description(description)).unwrap();
        self.answer = answer;
    }

    /// Waits until media can flow.
    pub fn connected(&self) {
        let mut states = self.states.clone();
        self.runtime.block_on(async {
            let connected = states.wait_for(|state| *state == RTCPeerConnectionState::Connected);
            drop(tokio::time::timeout(LIMIT, connected).await.expect("it connects").unwrap());
        });
    }

    /// Begins a new ICE session at our end; gives the fragment that tells of it.
    pub fn begin_restart(&self) -> String {
        self.runtime.block_on(async {
            let options = RTCOfferOptions { ice_restart: true };
            let offer = self.connection.create_offer(Some(options)).await.unwrap();
            self.connection.set_local_description(offer).await.unwrap();
        });
        fragment(&self.local())
    }

    /// The credentials that the session began with, as a fragment writes them.
    pub fn own_credentials(&self) -> String {
        let local = self.local();
        ["a=ice-ufrag:", "a=ice-pwd:"].map(|name| format!("{name}{}\r\n", value(&local, name))).concat()
    }

    /// The tag of the first section.
    pub fn mid(&self) -> String {
        value(&self.local(), "a=mid:")
    }

    /// PATCHes the session.
    pub fn patch(&self, receiver: &Receiver, condition: &str, fragment: &str) -> http::Response {
        let fields = [("Content-Type", FRAGMENT), ("If-Match", condition)];
        http::request(receiver.address, "PATCH", &self.location, &fields, fragment)
    }

    /// Takes the server's answer to a restart.
    pub fn finish_restart(&mut self, restarted: &http::Response) {
        assert_eq!(restarted.status, 200, "{restarted:?}");
        assert_eq!(restarted.header("content-type"), Some(FRAGMENT), "{restarted:?}");
        self.tag = restarted.header("etag").unwrap().to_owned();
        let told =
            |name: &str| restarted.body.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect();
        let (ufrag, pwd, candidates): (Vec<String>, Vec<String>, Vec<String>) =
            (told("a=ice-ufrag:"), told("a=ice-pwd:"), told("a=candidate:"));
        assert!(ufrag.len() == 1 && pwd.len() == 1 && !candidates.is_empty(), "{}", restarted.body);
        let mut answer = String::new();
        for line in self.answer.lines().filter(|line| !line.starts_with("a=candidate:")) {
            match line.split_once(':').map_or(line, |(name, _)| name) {
                "a=ice-ufrag" => answer += &ufrag[0],
                "a=ice-pwd" => answer += &pwd[0],
                "a=end-of-candidates" => answer += &[&candidates.join("\r\n"), "\r\n", line].concat(),
                _ => answer += line,
            }
            answer += "\r\n";
        }
        self.take(answer);
    }

    /// Sends pictures on the way until `pictures` ends.
    pub fn send(&self, pictures: impl Iterator<Item = Vec<rtp::Packet>>) {
        for packets in pictures {
            for packet in packets {
                self.runtime.block_on(self.track.write_rtp(packet)).unwrap();
            }
            std::thread::sleep(Duration::from_millis(33));
        }
    }

    /// Lines up to the result of frame `last`.
    pub fn lines_until(&self, last: u64) -> Vec<String> {
        let wanted = format!("\"frame\":{last},");
        let mut lines = Vec::new();
        loop {
            let line = self.lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no result of {last} in {lines:?}"));
            let done = line.contains(&wanted);
            lines.push(line);
            if done {
                return lines;
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.runtime.block_on(self.connection.close()));
    }
}

/// Encoded pictures as packets, numbered from `first` on.
pub fn pictures(count: u32, first: u16) -> impl Iterator<Item = Vec<rtp::Packet>> {
    let mut source = pattern::open(&format!("texture:size=320x240,frames={count}"), None, None).unwrap();
    let (size, fps) = (source.info().size, source.info().fps);
    let (mut number, mut sequence, mut encoder) = (0, first, None);
    std::iter::from_fn(move || {
        let captured = source.next().unwrap()?;
        let encoder = encoder.get_or_insert_with(|| {
            let range = captured.picture.range();
            Encoder::new(Options { size, range, fps, bitrate: 500_000, gop: 30 }).unwrap()
        });
        let frame = Frame { number, pts: captured.pts, captured: SystemTime::now(), picture: captured.picture };
        number += 1;
        let unit = encoder.encode(&frame, 0).unwrap();
        let payloads = Packetizer::default().packetize(&unit.data);
        let last = payloads.len() - 1;
        let packet = |(index, payload): (usize, Bytes)| {
            let header = rtp::Header {
                version: 2,
                ssrc: SSRC,
                payload_type: PAYLOAD_TYPE,
                sequence_number: sequence.wrapping_add(index as u16),
                timestamp: frame.pts.rtp(0),
                marker: index == last,
                ..rtp::Header::default()
            };
            rtp::Packet { header, payload }
        };
        let packets: Vec<_> = payloads.into_iter().enumerate().map(packet).collect();
        sequence = sequence.wrapping_add(packets.len() as u16);
        Some(packets)
    })
}

fn value(sdp: &str, name: &str) -> String {
    sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
}

/// What a description says of ICE, as a client would write it by hand.
fn fragment(sdp: &str) -> String {
    let candidates = sdp.lines().filter(|line| line.starts_with("a=candidate:")).collect::<Vec<_>>().join("\r\n");
    let (ufrag, pwd, mid) = (value(sdp, "a=ice-ufrag:"), value(sdp, "a=ice-pwd:"), value(sdp, "a=mid:"));
    format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n{candidates}\r\n\
         a=end-of-candidates\r\n"
    )
}

fn h264() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: "video/H264".into(),
        clock_rate: 90_000,
        sdp_fmtp_line: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".into(),
        ..RTCRtpCodec::default()
    }
}

async fn build(handler: Handler) -> Arc<dyn PeerConnection> {
    let mut engine = MediaEngine::default();
    let codec = RTCRtpCodecParameters { rtp_codec: h264(), payload_type: PAYLOAD_TYPE };
    engine.register_codec(codec, RtpCodecKind::Video).unwrap();
    let registry = configure_rtcp_reports(configure_nack(Registry::new(), &mut engine));
    let settings = SettingEngineBuilder::new()
        .with_include_loopback_candidate(true)
        .with_ice_connection_attempts(Some(Duration::from_millis(20)), Some(500))
        .build();
    let building = PeerConnectionBuilder::new()
        .with_media_engine(engine)
        .with_setting_engine(settings)
        .with_interceptor_registry(registry)
        .with_handler(Arc::new(handler))
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .build();
    Arc::new(Box::pin(building).await.unwrap())
}

async fn add_track(connection: &dyn PeerConnection) -> Arc<TrackLocalStaticRTP> {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(SSRC), ..Default::default() },
        codec: h264(),
        ..Default::default()
    };
    let (stream, kind) = ("other".to_owned(), "video".to_owned());
    let track = MediaStreamTrack::new(stream, kind.clone(), kind, RtpCodecKind::Video, vec![encoding]);
    let track = Arc::new(TrackLocalStaticRTP::new(track));
    let direction = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Sendonly, ..Default::default() };
    connection.add_transceiver_from_track(track.clone(), Some(direction)).await.unwrap();
    track
}

async fn read(channel: Arc<dyn DataChannel>, lines: mpsc::Sender<String>) {
    while let Some(event) = channel.poll().await {
        if let DataChannelEvent::OnMessage(message) = event {
            drop(lines.send(String::from_utf8_lossy(&message.data).into_owned()));
        }
    }
}
