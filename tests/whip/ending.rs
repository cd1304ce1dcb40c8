//! Ends: asked for, by a network that is gone, by a connection that never came, by another sender.

use std::time::{Duration, Instant};

use cv_tests::{Receiver, Sender, http, lines, program::LIMIT};

use super::{begin, client::Client, is_problem, offer, post};

/// Posts until there is a place.
fn begin_when_free(receiver: &Receiver, path: &str) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let response = post(receiver, path, &offer());
        if response.status != 503 {
            assert_eq!(response.status, 201, "{response:?}");
            return;
        }
        assert!(Instant::now() < deadline, "no place became free");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn reason(receiver: &Receiver, session: &str) -> String {
    let said = lines::parse(&receiver.lines_until_closed(session));
    let closed = said.iter().find(|line| line["event"] == "closed").expect("it is closed");
    closed["reason"].as_str().expect("it did not end by itself").to_owned()
}

#[test]
fn whip_20_a_sender_that_vanishes_is_missed_and_its_place_is_free() {
    let receiver = Receiver::start(&["--max-sessions", "1"]);
    let arguments = ["--pattern", "bars:size=320x240", "--duration", "120", "--session", "vanished"];
    let sender = Sender::start(&receiver.url(), &arguments);
    sender.wait_for_frame(5);
    is_problem(&post(&receiver, "/whip?session=next", &offer()), 503);
    sender.program.signal("KILL");
    assert!(reason(&receiver, "vanished").contains("gone"));
    begin_when_free(&receiver, "/whip?session=next");
}

#[test]
fn whip_20_a_client_that_closes_its_transport_ends_its_session() {
    let receiver = Receiver::start(&[]);
    let client = Client::offer(&receiver, "session=closing");
    client.connected();
    drop(client);
    // Where the goodbye itself is lost, or there is no channel to see it on, consent ends soon after.
    let reason = reason(&receiver, "closing");
    assert!(reason.contains("closed") || reason.contains("gone"), "{reason}");
}

#[test]
fn whip_34_delete_ends_a_session_whatever_the_condition() {
    let receiver = Receiver::start(&["--max-sessions", "1"]);
    let (session, _) = begin(&receiver, "/whip?session=ended");
    let condition = [("If-Match", "\"stale\"")];
    assert_eq!(http::request(receiver.address, "DELETE", &session, &condition, "").status, 200);
    assert_eq!(receiver.describe("ended")["state"], "closed");
    // What it held is free again by then.
    begin(&receiver, "/whip?session=next");
}

#[test]
fn whip_35_a_gone_session_answers_404() {
    let receiver = Receiver::start(&[]);
    let (session, tag) = begin(&receiver, "/whip");
    assert_eq!(http::request(receiver.address, "DELETE", &session, &[], "").status, 200);
    for session in [session.as_str(), "/whip/0123456789abcdef0123456789abcdef"] {
        is_problem(&http::request(receiver.address, "DELETE", session, &[], ""), 404);
        for condition in [tag.as_str(), "*"] {
            let fields = [("Content-Type", super::FRAGMENT), ("If-Match", condition)];
            is_problem(&http::request(receiver.address, "PATCH", session, &fields, "a=end-of-candidates"), 404);
        }
    }
}

#[test]
fn whip_44_a_session_that_never_connects_is_reaped_and_its_place_is_free() {
    let receiver = Receiver::start(&["--max-sessions", "1"]);
    let (session, _) = begin(&receiver, "/whip?session=silent");
    assert!(reason(&receiver, "silent").contains("never connected"));
    begin_when_free(&receiver, "/whip?session=next");
    is_problem(&http::get(receiver.address, &session), 404);
    is_problem(&http::get(receiver.address, "/cv/session/silent"), 404);
}

#[test]
fn a_takeover_needs_no_place_beside_the_one_it_takes() {
    let receiver = Receiver::start(&["--max-sessions", "1"]);
    let first = Client::offer(&receiver, "session=shared");
    first.connected();
    let second = Client::offer(&receiver, "session=shared");
    second.connected();
    assert!(reason(&receiver, "shared").contains("took this session over"));
    is_problem(&post(&receiver, "/whip?session=other", &offer()), 503);
}

#[test]
fn a_sender_that_comes_back_too_late_does_not_take_its_session_back() {
    let receiver = Receiver::start(&[]);
    let status = |query: &str| post(&receiver, &format!("/whip?session=wanted&{query}"), &offer()).status;
    assert_eq!(status("run=1"), 201);
    assert_eq!(status("run=1&next=5"), 201, "nobody else came");
    assert_eq!(status("run=2"), 201, "a new run takes over");
    is_problem(&post(&receiver, "/whip?session=wanted&run=1&next=9", &offer()), 409);
    assert_eq!(status("run=2&next=3"), 201, "the one that has it may come back");
    assert_eq!(status(""), 201, "a client that tells nothing takes over, too");
    is_problem(&post(&receiver, "/whip?session=wanted&run=2&next=4", &offer()), 409);
    assert_eq!(receiver.describe("wanted")["state"], "live");
    is_problem(&post(&receiver, "/whip?session=wanted&run=x", &offer()), 400);
}
