//! WHIP, point by point: each test bears the number that `docs/whip.md` gives to what it checks.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

mod client;
mod ending;
mod http_rules;
mod ice;
mod offers;

use cv_tests::{Receiver, http};

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What stands above the sections of an offer.
const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:abcdefghijklmnopqrstuv\r\na=fingerprint:sha-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";
/// The plainest section that can be served.
const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 97\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n\
    a=setup:actpass\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1;profile-level-id=42e01f\r\n\
    a=msid:a b\r\na=ssrc:1 cname:a\r\n";
const AUDIO: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sendonly\r\na=rtcp-mux\r\n\
    a=setup:actpass\r\na=rtpmap:111 opus/48000/2\r\na=msid:a c\r\na=ssrc:2 cname:a\r\n";

/// An offer of the plainest kind from nobody: it is answered, and then nothing comes.
fn offer() -> String {
    [HEAD, VIDEO].concat()
}

fn post(receiver: &Receiver, path: &str, offer: &str) -> http::Response {
    http::request(receiver.address, "POST", path, &[("Content-Type", SDP)], offer)
}

/// A session that `offer` began; its path and its tag.
fn begin(receiver: &Receiver, path: &str) -> (String, String) {
    let created = post(receiver, path, &offer());
    assert_eq!(created.status, 201, "{created:?}");
    (created.header("location").unwrap().to_owned(), created.header("etag").unwrap().to_owned())
}

/// An error as RFC 9457 wants it, with something a person can act on.
fn is_problem(response: &http::Response, status: u16) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{response:?}");
    let problem: serde_json::Value = serde_json::from_str(&response.body).expect("a problem is JSON");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
}
