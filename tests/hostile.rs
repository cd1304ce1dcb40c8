//! Nonsense from strangers disturbs nobody.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{
    io::{BufReader, Read, Write},
    net::{TcpStream, UdpSocket},
};

use cv_tests::{
    Receiver, Sender, http, lines,
    link::{self, Link},
    way::Weather,
};

const SOURCE: [&str; 6] = ["--pattern", "texture:size=320x240", "--frames", "60", "--session", "calm"];

fn calm(receiver: &Receiver) -> Vec<String> {
    Sender::run(&receiver.url(), &[&SOURCE[..], &["--pace", "max"]].concat()).expect(0).lines
}

#[test]
fn nonsense_at_the_media_ports_changes_no_line() {
    let receiver = Receiver::start(&[]);
    let calm = calm(&receiver);
    let weather = Weather { forged: 0.2, ..Weather::with_loss(0.0) };
    let link = Link::start(receiver.address, weather);
    let sender = Sender::start(&link.url(), &SOURCE);
    sender.wait_for_frame(5);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ports = link.media_ports();
    assert!(!ports.is_empty());
    for seed in 0..3000 {
        let datagram = link::nonsense(seed * 0x1_0001);
        ports.iter().for_each(|port| drop(stranger.send_to(&datagram, ("127.0.0.1", *port))));
    }
    let sent = sender.finish().expect(0);
    lines::assert_same("with strangers", &calm, &sent.lines);
    assert!(!receiver.program.stderr().contains("panicked"), "{}", receiver.program.stderr());
}

#[test]
fn nonsense_over_http_changes_no_line_and_the_receiver_goes_on() {
    let receiver = Receiver::start(&[]);
    let calm = calm(&receiver);
    let sender = Sender::start(&receiver.url(), &SOURCE);
    sender.wait_for_frame(5);
    let endless = format!("GET /whip HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let traversal = "GET /cv/session/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let huge = "POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\nContent-Length: 99999999999\r\n\r\nv=0";
    let negative = "POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n";
    let binary: Vec<u8> = link::nonsense(77 << 16 | 1);
    let unfinished: Vec<_> = (0..50).map(|_| half_open(&receiver)).collect();
    for request in [endless.as_bytes(), traversal.as_bytes(), huge.as_bytes(), negative.as_bytes(), &binary] {
        let mut stream = http::connect(receiver.address);
        // It may hang up while we are still talking.
        drop(stream.write_all(request));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    let sent = sender.finish().expect(0);
    lines::assert_same("with strangers", &calm, &sent.lines);
    drop(unfinished);
    assert_eq!(http::get(receiver.address, "/cv/sessions").status, 200);
    assert!(!receiver.program.stderr().contains("panicked"), "{}", receiver.program.stderr());
}

/// A request that never ends.
fn half_open(receiver: &Receiver) -> std::net::TcpStream {
    let mut stream = http::connect(receiver.address);
    stream.write_all(b"POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Le").expect("the server reads");
    stream
}

#[test]
fn a_full_receiver_sends_others_away_until_there_is_room() {
    let receiver = Receiver::start(&["--max-sessions", "1"]);
    let sender = Sender::start(&receiver.url(), &SOURCE);
    sender.wait_for_frame(5);
    let second = ["--pattern", "bars", "--frames", "3", "--session", "late"];
    let impatient = [&second[..], &["--timeout", "2"]].concat();
    let refused = Sender::run(&receiver.url(), &impatient).expect(1).says("503");
    assert!(refused.lines.is_empty());
    sender.finish().expect(0);
    Sender::run(&receiver.url(), &second).expect(0);
}

/// A reader of the session's results over a WebSocket (RFC 6455, 4.1, with the nonce of its example).
fn websocket(receiver: &Receiver) -> TcpStream {
    let mut stream = http::connect(receiver.address);
    let request = "GET /cv/session/calm/results HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let head = http::read_head(&mut BufReader::with_capacity(1, &mut stream));
    assert!(head.contains(" 101 "), "{head}");
    stream
}

#[test]
fn a_reader_that_announces_a_large_frame_is_closed_before_it_comes() {
    let receiver = Receiver::start(&[]);
    let sender = Sender::start(&receiver.url(), &["--pattern", "bars", "--duration", "120", "--session", "calm"]);
    sender.wait_for_frame(1);
    let mut reader = websocket(&receiver);
    // Binary, masked, 15 MiB; nothing of it follows.
    let announced = [&[0x82, 0xff][..], &(15_u64 << 20).to_be_bytes(), b"mask"].concat();
    reader.write_all(&announced).unwrap();
    // Whether it ends in good order is nothing that a reader like this may expect.
    drop(reader.read_to_end(&mut Vec::new()));
    let latest = lines::of_type(&sender.program.stdout(), "result").len() as u64;
    // What ended was the reader, not the session.
    sender.wait_for_frame(latest + 10);
}

#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_pings_and_takes_no_answer_fills_no_memory() {
    let receiver = Receiver::start(&[]);
    // A session that has nothing to tell for now, so that its reader's pings are all there is to mind.
    Sender::run(&receiver.url(), &[&SOURCE[..], &["--pace", "max", "--keep-session"]].concat()).expect(0);
    let megabytes = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", receiver.program.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    };
    let mut reader = websocket(&receiver);
    let ping = [&[0x89, 0xfd][..], b"mask", &[7; 125]].concat();
    let pings = ping.repeat(8192);
    let before = megabytes();
    for _ in 0..128 {
        reader.write_all(&pings).expect("pings are taken, whether or not they are answered");
    }
    // What was sent is 137 MB, and as much was to be said to it.
    assert!(megabytes() < before + 40, "{} MB before, {} after", before, megabytes());
    calm(&receiver);
}
