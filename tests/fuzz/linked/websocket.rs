//! Bytes as frames of a client that reads results over a WebSocket: what it hears stays well-formed to its end.

#![no_main]

use libfuzzer_sys::fuzz_target;

mod doors;

use doors::{Reads, World};

thread_local! {
    static WORLD: World = World::new();
}

/// RFC 6455, 1.3: the handshake of the example.
const HANDSHAKE: &[u8] =
    b"GET /cv/session/a/results HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Payload of a frame that controls the connection (RFC 6455, 5.5).
const LARGEST_CONTROL: usize = 125;

fuzz_target!(|script: &[u8]| {
    let Some((&[options], frames)) = script.split_first_chunk() else { return };
    let reads = if options & 1 == 0 { Reads::AtOnce } else { Reads::Late };
    let said = [HANDSHAKE, frames].concat();
    let heard = WORLD.with(|world| world.converse(&said, reads));
    let head = heard.windows(4).position(|window| window == b"\r\n\r\n").expect("the handshake is answered") + 4;
    assert!(heard.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&heard[..head]));
    let mut rest = &heard[head..];
    let (mut closed, mut pongs) = (false, 0);
    while let Some((kind, payload, after)) = frame(rest) {
        assert!(!closed, "nothing follows the end");
        rest = after;
        match kind {
            1 => {
                let line: serde_json::Value = serde_json::from_slice(payload).expect("a message is a line of results");
                assert!(line["type"].is_string());
            }
            8 => closed = true,
            10 => pongs += 1,
            other => panic!("{other} is nothing that a server of results has to say"),
        }
        assert!(kind == 1 || payload.len() <= LARGEST_CONTROL);
    }
    // Only a connection that broke off ends in the middle of a frame.
    assert!(rest.is_empty() || !closed);
    // A ping has at least a head of two bytes and a mask of four.
    assert!(pongs <= frames.len() / 6, "{pongs} pongs");
});

/// The first frame, and what follows it; none if it is not whole.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    assert!(first & 0xf0 == 0x80 && second & 0x80 == 0, "whole, without extensions, not masked");
    let (length, rest) = match second {
        126 => rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length) as usize, rest))?,
        length => (length.into(), rest),
    };
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((first & 0x0f, payload, rest))
}
