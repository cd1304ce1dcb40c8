//! The ways on which results come back: data channel, NDJSON, server-sent events, WebSocket.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
};

use cv_tests::{
    Receiver, Sender, http, lines,
    python::{self, Script},
};

const SOURCE: [&str; 6] = ["--pattern", "bars:size=320x240", "--frames", "60", "--session", "ways"];
const RESULTS: &str = "/cv/session/ways/results?since=0";

fn is_closed(line: &str) -> bool {
    line.contains("\"event\":\"closed\"")
}

#[test]
fn a_result_may_be_longer_than_a_message_of_the_channel() {
    let script = Script::new(
        "
def look(frame, meta):
    return {'text': '€' * (meta.frame * 20000)}
",
    );
    let python = python::interpreter();
    let receiver = Receiver::start(&["--python", python.to_str().unwrap(), "--analyze", &script.function("look")]);
    let source = ["--pattern", "bars:size=64x64", "--frames", "20", "--pace", "max", "--session", "long"];
    let sent = Sender::run(&receiver.url(), &source).expect(0);
    for (frame, result) in lines::of_type(&sent.lines, "result").iter().enumerate() {
        assert_eq!(result["analysis"]["look"]["text"].as_str().unwrap().chars().count(), 20_000 * frame);
    }
    assert_eq!(lines::accounted(&sent.lines), (0..20).collect::<Vec<_>>());
}

/// Reads until the session is closed.
fn until_closed(mut next: impl FnMut() -> Option<String>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(line) = next() {
        lines.push(line);
        if lines.last().is_some_and(|line| is_closed(line)) {
            break;
        }
    }
    lines
}

fn next_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let length = reader.read_line(&mut line).expect("lines come in time");
    (length > 0).then(|| line.trim_end().to_owned())
}

struct WebSocket(BufReader<TcpStream>);

impl WebSocket {
    /// RFC 6455, 4.1, with the nonce of its example.
    fn open(address: SocketAddr, path: &str) -> Self {
        let mut stream = http::connect(address);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("the server reads");
        let mut reader = BufReader::new(stream);
        let head = http::read_head(&mut reader);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert_eq!(http::field(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        Self(reader)
    }

    /// The next text message; servers send unmasked frames (RFC 6455, 5.1).
    fn message(&mut self) -> Option<String> {
        let [first, second] = self.bytes();
        let length = match second & 0x7f {
            126 => u16::from_be_bytes(self.bytes()).into(),
            127 => u64::from_be_bytes(self.bytes()),
            short => short.into(),
        };
        assert_eq!(second & 0x80, 0, "a server does not mask");
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).expect("a whole message");
        (first == 0x81).then(|| String::from_utf8(payload).expect("text is UTF-8"))
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).expect("a whole message");
        bytes
    }
}

#[test]
fn readers_of_every_kind_hear_the_same_lines_from_the_first_on() {
    let receiver = Receiver::start(&[]);
    let sender = Sender::start(&receiver.url(), &SOURCE);
    sender.wait_for_frame(5);
    let get = |accept: &str| {
        let mut reader = http::send(receiver.address, "GET", RESULTS, &[("Accept", accept)], "");
        let head = http::read_head(&mut reader);
        assert_eq!(http::field(&head, "content-type"), Some(accept), "{head}");
        reader
    };
    let mut ndjson = get("application/x-ndjson");
    let mut events = get("text/event-stream");
    let mut socket = WebSocket::open(receiver.address, RESULTS);
    let sent = sender.finish().expect(0).lines;
    assert_eq!(until_closed(|| next_line(&mut ndjson)), sent);
    assert_eq!(until_closed(|| socket.message()), sent);
    let data =
        std::iter::from_fn(|| next_line(&mut events)).filter_map(|line| Some(line.strip_prefix("data: ")?.to_owned()));
    let mut data = data;
    assert_eq!(until_closed(|| data.next()), sent);
}

#[test]
fn a_reader_may_begin_at_any_frame_while_the_session_lives() {
    let receiver = Receiver::start(&[]);
    let sender = Sender::start(&receiver.url(), &SOURCE);
    sender.wait_for_frame(30);
    let path = "/cv/session/ways/results?since=20";
    let mut reader = http::send(receiver.address, "GET", path, &[("Accept", "application/x-ndjson")], "");
    http::read_head(&mut reader);
    sender.finish().expect(0);
    let read = until_closed(|| next_line(&mut reader));
    assert_eq!(lines::accounted(&read), (20..60).collect::<Vec<_>>());
}

#[test]
fn a_reader_that_comes_after_the_end_still_gets_the_results() {
    let receiver = Receiver::start(&[]);
    Sender::run(&receiver.url(), &[&SOURCE[..], &["--pace", "max"]].concat()).expect(0);
    let path = "/cv/session/ways/results?since=50";
    let mut reader = http::send(receiver.address, "GET", path, &[("Accept", "application/x-ndjson")], "");
    http::read_head(&mut reader);
    let read: Vec<String> = (0..10).filter_map(|_| next_line(&mut reader)).collect();
    assert_eq!(lines::accounted(&read), (50..60).collect::<Vec<_>>());
}

#[test]
fn a_reader_too_many_is_told_to_come_back() {
    let receiver = Receiver::start(&["--rate-limit", "0"]);
    Sender::run(&receiver.url(), &[&SOURCE[..], &["--pace", "max"]].concat()).expect(0);
    let ask = || {
        let mut reader = http::send(receiver.address, "GET", RESULTS, &[("Accept", "application/x-ndjson")], "");
        (http::read_head(&mut reader), reader)
    };
    let readers: Vec<_> = (0..256).map(|_| ask()).collect();
    assert!(readers.iter().all(|(head, _)| head.starts_with("HTTP/1.0 200")), "{}", readers[255].0);
    let (refused, _) = ask();
    assert!(refused.starts_with("HTTP/1.0 503") && http::field(&refused, "retry-after").is_some(), "{refused}");
}

#[test]
fn results_over_http_are_the_same_as_over_the_data_channel() {
    let receiver = Receiver::start(&[]);
    let run = |way: &str| {
        Sender::run(&receiver.url(), &[&SOURCE[..], &["--pace", "max", "--results", way]].concat()).expect(0).lines
    };
    let (channel, http) = (run("channel"), run("http"));
    lines::assert_same("over HTTP", &channel, &http);
}

#[test]
fn a_sender_that_wants_no_results_prints_none_and_the_receiver_answers_all_the_same() {
    let receiver = Receiver::start(&[]);
    let sent = Sender::run(&receiver.url(), &[&SOURCE[..], &["--results", "none"]].concat()).expect(0);
    assert!(sent.lines.is_empty(), "{:?}", sent.lines);
    let printed = receiver.lines_until_closed("ways");
    assert_eq!(lines::accounted(&printed), (0..60).collect::<Vec<_>>());
    assert_eq!(lines::of_type(&printed, "result").len(), 60);
}
