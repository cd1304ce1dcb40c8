//! Bytes as the body of a PATCH: what is understood is bounded and means the same once written again.
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
#[path = "../../receiver/src/transport/sdpfrag.rs"]
#[allow(dead_code)]
mod sdpfrag;

use sdpfrag::{Fragment, MAX_FRAGMENT};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    Fragment::of_description(text);
    let Ok(fragment) = Fragment::parse(text) else { return };
    assert!(text.len() <= MAX_FRAGMENT && fragment.candidates.len() <= candidate::MAX_CANDIDATES);
    assert_eq!(Fragment::parse(&write(&fragment)), Ok(fragment));
});

fn write(fragment: &Fragment) -> String {
    let mut text = String::new();
    if let Some(credentials) = &fragment.credentials {
        text += &format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", credentials.ufrag, credentials.pwd);
    }
    for mid in &fragment.mids {
        text += &format!("m=x\r\na=mid:{mid}\r\n");
    }
    text.extend(fragment.candidates.iter().map(|candidate| format!("a={candidate}\r\n")));
    text + if fragment.complete { "a=end-of-candidates\r\n" } else { "" }
}
