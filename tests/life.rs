//! Ends of every kind: asked for, by signal, by force, by a successor, by a broken network.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::time::{Duration, Instant};

use cv_tests::{
    Receiver, Sender,
    front::{Front, Reply},
    lines,
    link::Link,
    program,
    python::{self, Script},
    way::Weather,
};

const LONG: [&str; 5] = ["--pattern", "bars:size=320x240", "--duration", "120", "--session"];

const STEADY: Weather = Weather::CLEAR;

fn start(receiver: &Receiver, session: &str, more: &[&str]) -> Sender {
    Sender::start(&receiver.url(), &[&LONG[..], &[session], more].concat())
}

#[test]
fn a_sender_whose_receiver_dies_says_what_was_answered() {
    let receiver = Receiver::start(&[]);
    let sender = start(&receiver, "orphan", &["--reconnect", "1"]);
    sender.wait_for_frame(10);
    receiver.program.signal("KILL");
    let killed = Instant::now();
    let sent = sender.finish().expect(1).says("frames were answered").says(&receiver.url());
    assert!(killed.elapsed() < Duration::from_secs(20), "it took {:?}", killed.elapsed());
    let answered = lines::accounted(&sent.lines).len();
    assert!(sent.stderr.contains(&format!("{answered} of ")), "{answered} were answered:\n{}", sent.stderr);
}

#[test]
fn a_sender_whose_stderr_is_closed_goes_on_without_a_word() {
    let receiver = Receiver::start(&[]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program::command("cv-sender");
    command.args(["--pattern", "bars:size=320x240", "--frames", "30", "-v", "--url", &receiver.url()]);
    let sent = command.stderr(writer).output().unwrap();
    assert_eq!(sent.status.code(), Some(0));
    let printed: Vec<String> = String::from_utf8(sent.stdout).unwrap().lines().map(String::from).collect();
    assert_eq!(lines::accounted(&printed), (0..30).collect::<Vec<_>>());
}

#[test]
fn a_session_whose_sender_dies_is_closed_and_its_state_kept_for_the_next() {
    let receiver = Receiver::start(&[]);
    let sender = start(&receiver, "widow", &[]);
    sender.wait_for_frame(10);
    sender.program.signal("KILL");
    let killed = Instant::now();
    let printed = receiver.lines_until_closed("widow");
    assert!(killed.elapsed() < Duration::from_secs(20), "it took {:?}", killed.elapsed());
    let closed = lines::parse(&printed).pop().unwrap();
    let results = lines::of_type(&printed, "result").len();
    assert_eq!(closed["totals"]["analyzed"], results, "{closed}");
    assert!(closed["reason"].is_string(), "{closed}");
    assert!(lines::of_type(&printed, "final").is_empty(), "the session is not over, its sender is");
    assert_eq!(receiver.describe("widow")["state"], "waiting");
    assert!(receiver.describe("widow")["analysis"]["stats"].is_object());

    let again = ["--pattern", "bars:size=320x240", "--frames", "10", "--pace", "max", "--session", "widow"];
    let sent = Sender::run(&receiver.url(), &again).expect(0);
    let begin = &lines::parse(&sent.lines)[0];
    assert_eq!((&begin["event"], &begin["state"]), (&"resumed".into(), &"kept".into()));
    assert_eq!(lines::accounted(&sent.lines), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_receiver_that_is_told_to_stop_tells_its_senders_and_is_gone_within_five_seconds() {
    let receiver = Receiver::start(&[]);
    let sender = start(&receiver, "stopped", &["--reconnect", "1"]);
    sender.wait_for_frame(10);
    receiver.program.signal("TERM");
    let told = Instant::now();
    assert_eq!(receiver.program.wait(Duration::from_secs(10)), Some(0), "{}", receiver.program.stderr());
    assert!(told.elapsed() < Duration::from_secs(5), "it took {:?}", told.elapsed());
    let sent = sender.finish().expect(1).says("shutting down");
    assert_eq!(sent.lines, receiver.lines_until_closed("stopped"));
    assert!(told.elapsed() < Duration::from_secs(15), "the sender was not told");
}

#[test]
fn a_sender_outlives_the_restart_of_its_receiver_however_that_ended() {
    for (signal, session) in [("TERM", "asked"), ("KILL", "killed")] {
        let receiver = Receiver::start(&[]);
        let source = ["--pattern", "bars:size=320x240", "--frames", "150", "--session", session];
        let sender = Sender::start(&receiver.url(), &source);
        sender.wait_for_frame(30);
        receiver.program.signal(signal);
        receiver.program.wait(Duration::from_secs(10));
        let again = Receiver::start(&["--listen", &receiver.address.to_string()]);
        let sent = sender.finish().expect(0);
        assert_eq!(lines::accounted(&sent.lines), (0..150).collect::<Vec<_>>(), "after {signal}");
        assert_eq!(lines::of_type(&sent.lines, "result").len(), 150, "after {signal}");
        let resumed = &again.lines_until_closed(session)[0];
        assert!(
            resumed.contains("\"event\":\"resumed\",\"session\"") && resumed.contains("\"state\":\"lost\""),
            "{resumed}"
        );
    }
}

#[test]
fn a_sender_that_is_interrupted_drains_and_ends_its_session() {
    let receiver = Receiver::start(&[]);
    for signal in ["INT", "TERM"] {
        let sender = start(&receiver, signal, &["--output", "json"]);
        sender.wait_for_frame(10);
        sender.program.signal(signal);
        let sent = sender.finish().expect(0);
        let numbered = sent.summary()["frames_sent"].as_u64().unwrap();
        assert!(numbered > 10);
        assert_eq!(lines::accounted(&sent.lines), (0..numbered).collect::<Vec<_>>());
        let closed = lines::parse(&sent.lines).pop().unwrap();
        assert!(closed["event"] == "closed" && closed.get("reason").is_none(), "{closed}");
        assert_eq!(receiver.describe(signal)["state"], "closed");
    }
}

#[test]
fn the_newer_of_two_senders_takes_the_session_over_and_the_older_is_told() {
    let receiver = Receiver::start(&[]);
    let older = start(&receiver, "shared", &[]);
    older.wait_for_frame(10);
    let arguments = ["--pattern", "bars:size=320x240", "--frames", "45", "--session", "shared"];
    let newer = Sender::start(&receiver.url(), &arguments);
    older.finish().expect(1).says("took this session over");
    let sent = newer.finish().expect(0);
    assert_eq!(lines::accounted(&sent.lines), (0..45).collect::<Vec<_>>());
    assert_eq!(lines::of_type(&sent.lines, "result").len(), 45);
}

#[test]
fn a_broken_network_changes_no_result_where_every_frame_counts() {
    let source = ["--pattern", "texture:size=320x240", "--frames", "90", "--session", "broken"];
    let max = ["--pace", "max"];
    let clean = Sender::run(&Receiver::start(&[]).url(), &[&source[..], &max].concat()).expect(0);
    let receiver = Receiver::start(&[]);
    // Answers of an earlier run must not come back in this one.
    let other = ["--pattern", "bars:size=320x240", "--frames", "90", "--session", "broken"];
    Sender::run(&receiver.url(), &[&other[..], &max].concat()).expect(0);
    let link = Link::start(receiver.address, STEADY);
    let sender = Sender::start(&link.url(), &source);
    sender.wait_for_frame(30);
    link.cut();
    let sent = sender.finish().expect(0);
    assert_eq!(lines::accounted(&sent.lines), (0..90).collect::<Vec<_>>());
    lines::assert_same("after a break", &results(&clean.lines), &results(&sent.lines));
}

/// A way to the receiver on which ICE cannot be restarted, as on servers that know nothing of it.
#[test]
fn a_session_that_cannot_restart_ice_is_made_anew_and_goes_on() {
    let source = ["--pattern", "texture:size=320x240", "--frames", "90", "--session", "anew"];
    let clean = Sender::run(&Receiver::start(&[]).url(), &[&source[..], &["--pace", "max"]].concat()).expect(0);
    let receiver = Receiver::start(&[]);
    let link = Link::start(receiver.address, STEADY);
    let front = Front::start(link.address(), |request, _| match request.method.as_str() {
        "PATCH" => Reply::status(405),
        _ => Reply::Pass,
    });
    let sender = Sender::start(&front.url(), &source);
    sender.wait_for_frame(30);
    link.cut();
    let sent = sender.finish().expect(0);
    let sessions = lines::of_type(&sent.lines, "session");
    assert!(sessions.iter().any(|line| line["event"] == "resumed" && line["state"] == "kept"), "{sessions:?}");
    assert_eq!(front.seen_with("POST").len(), 2);
    assert_eq!(lines::accounted(&sent.lines), (0..90).collect::<Vec<_>>());
    lines::assert_same("in a new session", &results(&clean.lines), &results(&sent.lines));
}

#[test]
fn a_function_that_remembers_sees_every_picture_once_and_in_order_though_its_sender_comes_back() {
    let script = Script::new(
        "
import time
def look(frame, meta):
    time.sleep(0.02)
    meta.state['seen'] = meta.state.get('seen', -1) + 1
    return {'seen': meta.state['seen']}
",
    );
    let python = python::interpreter();
    let receiver = Receiver::start(&["--python", python.to_str().unwrap(), "--analyze", &script.function("look")]);
    let link = Link::start(receiver.address, STEADY);
    let front = Front::start(link.address(), |request, _| match request.method.as_str() {
        "PATCH" => Reply::status(405),
        _ => Reply::Pass,
    });
    let source = ["--pattern", "texture:size=320x240", "--frames", "90", "--session", "counted", "--pace", "max"];
    let sender = Sender::start(&front.url(), &source);
    sender.wait_for_frame(30);
    link.cut();
    let sent = sender.finish().expect(0);
    let results = lines::of_type(&sent.lines, "result");
    assert_eq!(results.len(), 90);
    for result in results {
        assert_eq!(result["analysis"]["look"]["seen"], result["frame"], "{result}");
    }
}

fn results(all: &[String]) -> Vec<String> {
    all.iter().filter(|line| line.starts_with("{\"type\":\"result\"")).cloned().collect()
}

#[test]
fn live_goes_on_after_a_broken_network_and_names_what_is_missing() {
    let receiver = Receiver::start(&[]);
    let link = Link::start(receiver.address, STEADY);
    let source = ["--pattern", "texture:size=320x240", "--duration", "20", "--mode", "live", "--session", "broken"];
    let sender = Sender::start(&link.url(), &[&source[..], &["--output", "json"]].concat());
    sender.wait_for_frame(30);
    link.cut();
    let sent = sender.finish().expect(0);
    let numbered = sent.summary()["frames_sent"].as_u64().unwrap();
    assert_eq!(lines::accounted(&sent.lines), (0..numbered).collect::<Vec<_>>());
    assert!(lines::of_type(&sent.lines, "gap").len() < 20, "one break, few gaps");
    let last = lines::of_type(&sent.lines, "result").pop().unwrap();
    assert!(last["frame"].as_u64().unwrap() > numbered - 30, "the last pictures are answered again");
}
