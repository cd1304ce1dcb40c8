//! Bytes as all that one client says to the doors: every answer is one, is whole, and is none that admits a defect.

#![no_main]

use libfuzzer_sys::fuzz_target;

mod doors;

use doors::{Reads, World};

thread_local! {
    static WORLD: World = World::new();
}

fuzz_target!(|said: &[u8]| {
    let reads = if said.len().is_multiple_of(2) { Reads::AtOnce } else { Reads::Late };
    let answers = WORLD.with(|world| world.converse(said, reads));
    // An answer to HEAD announces a body that does not come, so what follows cannot be told from it.
    let has_bodies = !said.windows(5).any(|word| word == b"HEAD ");
    let (mut rest, mut count) = (&answers[..], 0);
    while !rest.is_empty() {
        let Some((status, head, body)) = split(rest) else { break };
        count += 1;
        let after = if has_bodies { check(status, head, body) } else { Some(&[][..]) };
        let Some(after) = after else { break };
        rest = after;
    }
    // Who reads too late is cut off in the middle of an answer. What the library says to a request that it cannot parse, it
    // says into whatever room there is, and leaves.
    let is_farewell = rest.starts_with(b"HTTP/1.1 400 ") && find(rest, b"\r\n\r\n").is_none();
    let may_break_off = reads == Reads::Late || is_farewell;
    assert!(rest.is_empty() || may_break_off, "an answer breaks off: {}", String::from_utf8_lossy(rest));
    let lines = said.split(|byte| *byte == b'\n').count();
    assert!(count <= lines, "{count} answers to {lines} lines");
});

/// The first answer's status and head, and what follows its head; none if that breaks off.
fn split(answers: &[u8]) -> Option<(u16, &str, &[u8])> {
    let end = find(answers, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answers[..end]).expect("a head is text");
    let status = head.strip_prefix("HTTP/1.1 ").or(head.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|text| text.get(..3)?.parse().ok()).expect("a status");
    assert!(matches!(status, 100 | 101 | 200..=206 | 400..=431 | 501 | 503 | 505), "{head}");
    Some((status, head, &answers[end..]))
}

/// Checks an answer's body; gives what follows it, none if it breaks off.
fn check<'a>(status: u16, head: &str, body: &'a [u8]) -> Option<&'a [u8]> {
    if status <= 101 || status == 204 {
        // What follows an upgrade is no HTTP.
        return Some(if status == 101 { &[] } else { body });
    }
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let Some(length) = field("content-length") else { return Some(after_chunks(body)) };
    let length: usize = length.parse().expect("a length is a number");
    let (body, rest) = body.split_at_checked(length)?;
    // What does not get past the parser of requests has no body.
    if status >= 400 && length > 0 {
        assert_eq!(field("content-type"), Some("application/problem+json"), "{head}");
        assert_eq!(field("x-content-type-options"), Some("nosniff"), "{head}");
        let problem: serde_json::Value = serde_json::from_slice(body).expect("a problem is JSON");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    }
    Some(rest)
}

/// What follows a body in chunks; nothing if it broke off, as results do when their reader leaves.
fn after_chunks(mut body: &[u8]) -> &[u8] {
    loop {
        let Some(end) = find(body, b"\r\n") else { return &[] };
        let size = std::str::from_utf8(&body[..end]).expect("a size is text");
        let size = usize::from_str_radix(size, 16).expect("a size is a number");
        let Some(rest) = body.get(end + 2 + size + 2..) else { return &[] };
        if size == 0 {
            return rest;
        }
        body = rest;
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
