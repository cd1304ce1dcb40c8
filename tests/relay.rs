//! Paths that STUN and TURN servers help to find.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use cv_tests::{
    Finished, Receiver, Sender,
    front::{Front, Reply},
    http, lines,
    link::Link,
    offer::OFFER,
    turn::Turn,
    way::Weather,
};

const FRAMES: u64 = 30;
const SOURCE: [&str; 8] = ["--pattern", "bars:size=320x240", "--frames", "30", "--pace", "max", "--session", "relayed"];

fn send(url: &str, more: &[&str]) -> Finished {
    Sender::run(url, &[&SOURCE[..], more].concat())
}

fn assert_all_answered(sent: &Finished) {
    assert_eq!(lines::accounted(&sent.lines), (0..FRAMES).collect::<Vec<_>>());
}

fn kinds(sdp: &str) -> Vec<&str> {
    let candidates = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
    candidates.map(|line| line.split(" typ ").nth(1).unwrap().split(' ').next().unwrap()).collect()
}

#[test]
fn a_sender_that_may_use_relays_only_offers_nothing_else_and_is_answered() {
    let Some(turn) = Turn::start() else { return };
    let receiver = Receiver::start(&[]);
    let front = Front::start(receiver.address, |_, _| Reply::Pass);
    let direct = send(&receiver.url(), &[]).expect(0);
    let relayed = send(&front.url(), &["--ice-server", &turn.server(), "--relay-only"]).expect(0);
    assert_all_answered(&relayed);
    lines::assert_same("over a relay", &direct.lines, &relayed.lines);
    let offered = kinds(&front.seen()[0].body).into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert!(!offered.is_empty() && offered.iter().all(|kind| kind == "relay"), "{offered:?}");
}

#[test]
fn a_receiver_that_may_use_relays_only_names_nothing_else_and_answers() {
    let Some(turn) = Turn::start() else { return };
    let receiver = Receiver::start(&["--ice-server", &turn.server(), "--relay-only"]);
    let sent = send(&receiver.url(), &[]).expect(0);
    assert_all_answered(&sent);
    let answer = http::request(receiver.address, "POST", "/whip", &[("Content-Type", "application/sdp")], OFFER);
    assert_eq!(kinds(&answer.body), ["relay"], "{}", answer.body);
}

#[test]
fn both_sides_may_be_behind_relays() {
    let Some(turn) = Turn::start() else { return };
    let receiver = Receiver::start(&["--ice-server", &turn.server(), "--relay-only"]);
    let sent = send(&receiver.url(), &["--ice-server", &turn.server(), "--relay-only"]).expect(0);
    assert_all_answered(&sent);
    assert!(turn.allocations() >= 2);
}

#[test]
fn whip_40_where_no_direct_path_works_the_relay_that_the_receiver_names_does() {
    let Some(turn) = Turn::start() else { return };
    let receiver = Receiver::start(&["--ice-server", &turn.server()]);
    let blocked = Link::start(receiver.address, Weather::with_loss(1.0));
    let sent = send(&blocked.url(), &["--timeout", "30"]).expect(0);
    assert_all_answered(&sent);
}

#[test]
fn a_connection_gives_its_relayed_address_back() {
    let Some(turn) = Turn::start() else { return };
    let receiver = Receiver::start(&["--ice-server", &turn.server()]);
    send(&receiver.url(), &[]).expect(0);
    let given = turn.allocations();
    assert!(given >= 1);
    turn.wait_for_releases(given);
}

#[test]
fn without_a_relay_where_nothing_else_may_be_used_either_side_says_so() {
    let Some(turn) = Turn::start() else { return };
    let wrong = turn.server_for("camera", "guess");
    let receiver = Receiver::start(&[]);
    let typed = send(&receiver.url(), &["--ice-server", "turns:127.0.0.1,camera,guess"]).expect(2).says("plain UDP");
    assert!(!typed.stderr.contains("guess"), "{}", typed.stderr);
    send(&receiver.url(), &["--relay-only"]).expect(2).says("--ice-server");
    let refused = send(&receiver.url(), &["--relay-only", "--ice-server", &wrong]).expect(1);
    assert!(refused.stderr.contains("--relay-only finds no relay"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("guess"), "{}", refused.stderr);
    let strict = Receiver::start(&["--ice-server", &wrong, "--relay-only"]);
    let refused = send(&strict.url(), &["--timeout", "4"]).expect(1);
    assert!(refused.stderr.contains("no TURN server gives this receiver an address"), "{}", refused.stderr);
    assert!(!strict.program.stderr().contains("guess"), "{}", strict.program.stderr());
}

#[test]
fn servers_that_do_not_answer_cost_time_and_nothing_else() {
    // Bound and never read.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let (stun, turn) = (format!("stun:127.0.0.1:{port}"), format!("turn:127.0.0.1:{port},me,secret"));
    let receiver = Receiver::start(&["--ice-server", &stun, "--ice-server", &turn]);
    let sent = send(&receiver.url(), &["--ice-server", &stun, "--ice-server", &turn]).expect(0);
    assert_all_answered(&sent);
    receiver.program.wait_for_stderr("a warning", |line| line.contains("does not answer"));
    assert!(!receiver.program.stderr().contains("secret"), "{}", receiver.program.stderr());
}
