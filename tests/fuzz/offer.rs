//! Bytes as an SDP offer: what is taken goes to the library bounded and judged, and survives an ICE restart.
//!
//! The modules are taken in by path, so that neither WebRTC nor the codecs need building for them.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../receiver/src/transport/candidate.rs"]
#[allow(dead_code)]
mod candidate;
#[path = "../../receiver/src/transport/credentials.rs"]
#[allow(dead_code)]
mod credentials;
#[path = "../../receiver/src/transport/offer.rs"]
#[allow(dead_code)]
mod offer;

use candidate::{Candidate, MAX_CANDIDATES};
use credentials::Credentials;
use offer::Offer;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(offer) = Offer::parse(text) else { return };
    let candidates = |sdp: &str| sdp.lines().filter(|line| line.starts_with("a=candidate:")).count();
    assert!(candidates(&offer.sdp) <= MAX_CANDIDATES && offer.mids.len() <= 3);
    assert!(Offer::parse(&offer.sdp).is_ok(), "what goes to the library is acceptable by itself");
    let credentials = Credentials::new("restarted", "abcdefghijklmnopqrstuvwxyz").expect("they fit");
    let one = [Candidate::parse("1 1 udp 1 127.0.0.1 5000 typ host").expect("it fits")];
    let restarted = offer.restarted(credentials.clone(), &one);
    assert_eq!(candidates(&restarted.sdp), 1);
    assert!(Offer::parse(&restarted.sdp).is_ok());
});
