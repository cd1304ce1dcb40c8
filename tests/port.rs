//! All media come in at one UDP port, each datagram to its own session, whatever strangers send.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use cv_tests::{
    Receiver, Sender, clips, http, lines,
    link::{self, Link},
    offer::OFFER,
    program::{self, LIMIT, Program},
    stun,
    way::Weather,
};

/// A session that a stranger has opened, with what its peer needs to know.
struct Opened {
    ufrag: String,
    password: String,
    candidates: Vec<SocketAddr>,
}

impl Opened {
    fn at(receiver: &Receiver) -> Self {
        let answer = http::request(
            receiver.address,
            "POST",
            "/whip?session=stranger",
            &[("Content-Type", "application/sdp")],
            &OFFER.replace("abcd", "peer"),
        );
        assert_eq!(answer.status, 201, "{answer:?}");
        let value = |name: &str| answer.body.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        let candidates = answer.body.lines().filter(|line| line.starts_with("a=candidate:")).map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            SocketAddr::new(words[4].parse().unwrap(), words[5].parse().unwrap())
        });
        let candidates = candidates.collect();
        Self { ufrag: value("a=ice-ufrag:"), password: value("a=ice-pwd:"), candidates }
    }

    fn check(&self) -> Vec<u8> {
        stun::check(&self.ufrag, "peer", &self.password)
    }
}

/// Sends `datagram` to `target` until an answer to a check comes; gives where it came from.
fn answered(target: SocketAddr, datagram: &[u8]) -> SocketAddr {
    let any: IpAddr = if target.is_ipv4() { [0, 0, 0, 0].into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (mut buffer, deadline) = ([0; 2048], Instant::now() + LIMIT);
    while Instant::now() < deadline {
        socket.send_to(datagram, target).unwrap();
        if let Ok((length, from)) = socket.recv_from(&mut buffer)
            && stun::is_success(&buffer[..length])
        {
            return from;
        }
    }
    panic!("{target} does not answer");
}

fn source(session: &str) -> [&str; 6] {
    ["--pattern", "texture:size=320x240", "--frames", "60", "--session", session]
}

/// The lines of a run that nobody disturbs, under the name `calm`.
fn calm(receiver: &Receiver) -> Vec<String> {
    Sender::run(&receiver.url(), &[&source("calm")[..], &["--pace", "max"]].concat()).expect(0).lines
}

fn dropped(receiver: &Receiver, cause: &str) -> f64 {
    receiver.scrape().value(&format!("cv_receiver_media_datagrams_dropped_total{{cause=\"{cause}\"}}"))
}

fn has_ipv6() -> bool {
    let there = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !there {
        clips::skipped("this machine has no IPv6; NOTHING OF IT WAS TESTED");
    }
    there
}

#[test]
fn many_sessions_share_one_port() {
    let receiver = Receiver::start(&[]);
    let calm = calm(&receiver);
    let links: Vec<Link> =
        (0..5).map(|_| Link::start(receiver.address, Weather { reordered: 0.01, ..Weather::with_loss(0.0) })).collect();
    let senders: Vec<Sender> = links
        .iter()
        .enumerate()
        .map(|(number, link)| Sender::start(&link.url(), &source(&format!("many-{number}"))))
        .collect();
    for (number, sender) in senders.into_iter().enumerate() {
        let renamed = |line: &String| line.replace(&format!("many-{number}"), "calm");
        let sent: Vec<String> = sender.finish().expect(0).lines.iter().map(renamed).collect();
        lines::assert_same("beside others", &calm, &sent);
    }
    for link in links {
        assert!(link.media_ports().iter().all(|port| *port == receiver.media_port), "{:?}", link.media_ports());
    }
}

#[test]
fn every_address_in_an_answer_answers_from_itself() {
    let receiver = Receiver::start(&[]);
    let opened = Opened::at(&receiver);
    let v4: SocketAddr = ([127, 0, 0, 1], receiver.media_port).into();
    let v6: SocketAddr = (Ipv6Addr::LOCALHOST, receiver.media_port).into();
    assert!(opened.candidates.contains(&v4), "{:?}", opened.candidates);
    assert!(opened.candidates.contains(&v6) || !has_ipv6(), "{:?}", opened.candidates);
    for candidate in &opened.candidates {
        assert_eq!(candidate.port(), receiver.media_port);
        assert_eq!(answered(*candidate, &opened.check()), *candidate);
    }
}

#[test]
fn a_forged_check_from_a_sender_s_own_address_steals_nothing() {
    let receiver = Receiver::start(&[]);
    let calm = calm(&receiver);
    let link = Link::start(receiver.address, Weather::with_loss(0.0));
    let sender = Sender::start(&link.url(), &source("calm"));
    sender.wait_for_frame(5);
    let stranger = Opened::at(&receiver);
    let unsigned = stun::check(&stranger.ufrag, "peer", "guessed");
    for _ in 0..50 {
        // Even whoever knows a password, that of a session of his own, cannot have the address.
        link.forge(&stranger.check());
        link.forge(&unsigned);
        link.forge(&stun::check("nobody", "peer", "guessed"));
        thread::sleep(Duration::from_millis(10));
    }
    let sent = sender.finish().expect(0);
    lines::assert_same("under attack", &calm, &sent.lines);
    assert!(dropped(&receiver, "refused") >= 2.0, "of two kinds of forgeries");
}

#[test]
fn a_flood_from_strangers_is_counted_and_changes_no_line() {
    let receiver = Receiver::start(&[]);
    let calm = calm(&receiver);
    let sender = Sender::start(&receiver.url(), &source("calm"));
    sender.wait_for_frame(5);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let claim = stun::check("nobody", "peer", "guessed");
    for seed in 0..20_000 {
        let datagram = if seed % 2 == 0 { link::nonsense(seed * 0x1_0001) } else { claim.clone() };
        drop(stranger.send_to(&datagram, ("127.0.0.1", receiver.media_port)));
    }
    let sent = sender.finish().expect(0);
    lines::assert_same("under a flood", &calm, &sent.lines);
    assert!(dropped(&receiver, "unknown") > 0.0);
    assert!(!receiver.program.stderr().contains("panicked"), "{}", receiver.program.stderr());
}

#[test]
fn a_receiver_that_comes_back_takes_its_port_again() {
    let first = Receiver::start(&[]);
    let port = first.media_port.to_string();
    Sender::run(&first.url(), &source("before")).expect(0);
    first.program.signal("TERM");
    assert_eq!(first.program.wait(LIMIT), Some(0));
    let second = Receiver::start(&["--media-port", &port]);
    assert_eq!(second.media_port.to_string(), port);
    Sender::run(&second.url(), &source("after")).expect(0);
}

#[test]
fn a_media_port_that_is_taken_is_told() {
    let first = Receiver::start(&[]);
    let second = Program::start(Receiver::command(&["--media-port", &first.media_port.to_string()]));
    assert_eq!(second.wait(LIMIT), Some(1));
    assert!(second.stderr().contains("--media-port takes another port"), "{}", second.stderr());
}

#[test]
fn the_usual_media_port_gives_way_with_a_word() {
    // Another test's receiver may have it for a while.
    let taken = loop {
        match UdpSocket::bind("0.0.0.0:8189") {
            Ok(taken) => break taken,
            Err(_taken) => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let mut command = program::command("cv-receiver");
    command.args(["--listen", "127.0.0.1:0"]);
    let receiver = Receiver::from(Program::start(command));
    drop(taken);
    assert_ne!(receiver.media_port, 8189);
    assert!(receiver.program.stderr().contains("8189 is taken"), "{}", receiver.program.stderr());
    Sender::run(&receiver.url(), &source("elsewhere")).expect(0);
}

#[test]
fn signalling_and_media_go_over_ipv6() {
    if !has_ipv6() {
        return;
    }
    let receiver = Receiver::start(&["--listen", "[::1]:0"]);
    assert!(receiver.address.is_ipv6());
    let calm = calm(&receiver);
    let link = Link::start_over(Ipv6Addr::LOCALHOST.into(), receiver.address, Weather::with_loss(0.02));
    let sent = Sender::run(&link.url(), &source("calm")).expect(0);
    lines::assert_same("over IPv6", &calm, &sent.lines);
    assert_eq!(link.media_ports(), [receiver.media_port]);
}

#[test]
fn a_public_address_stands_first_in_answers() {
    let receiver = Receiver::start(&["--public-ip", "198.51.100.7", "--public-ip", "2001:db8::7"]);
    let opened = Opened::at(&receiver);
    let expected: Vec<SocketAddr> =
        ["198.51.100.7", "2001:db8::7"].map(|ip| (ip.parse::<IpAddr>().unwrap(), receiver.media_port).into()).into();
    assert_eq!(opened.candidates[..2], expected);
    assert!(opened.candidates.len() > 2, "those of this machine stay: {:?}", opened.candidates);
    Sender::run(&receiver.url(), &source("here")).expect(0);
}
