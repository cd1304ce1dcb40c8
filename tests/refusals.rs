//! Bad input of every kind ends with a sentence and the right exit code, never with a panic or silence.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
};

use cv_tests::{
    Finished, Receiver, Sender, http, lines,
    offer::OFFER,
    program::{self, LIMIT, Program},
};

const PATTERN: [&str; 6] = ["--pattern", "bars:size=320x240", "--frames", "30", "--pace", "max"];
const SDP: &str = "application/sdp";

/// A failure as it should be: one sentence, no line of results, no panic.
fn fails(sent: Finished, text: &str) {
    let sent = sent.expect(1).says(text);
    let said: Vec<&str> = sent.stderr.lines().filter(|line| line.starts_with("cv-sender: ")).collect();
    assert_eq!(said.len(), 1, "{}", sent.stderr);
    assert!(!sent.stderr.contains("panicked"), "{}", sent.stderr);
    assert!(sent.lines.is_empty(), "{:?}", sent.lines);
}

fn offer(address: SocketAddr, path: &str, content_type: &str, body: &str) -> http::Response {
    http::request(address, "POST", path, &[("Content-Type", content_type)], body)
}

/// An error as RFC 9457 wants it, with something a person can act on.
fn is_problem(response: &http::Response, status: u16) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{response:?}");
    let problem: serde_json::Value = serde_json::from_str(&response.body).expect("a problem is JSON");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
}

#[test]
fn files_that_are_no_clips_are_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, text) = (folder.path().join("empty.mp4"), folder.path().join("text.mp4"));
    std::fs::write(&empty, "").unwrap();
    std::fs::write(&text, "this is not a video, whatever its name says\n").unwrap();
    // Nothing listens there: the file is looked at first.
    let run = |path: &Path| Sender::run("http://127.0.0.1:9/whip", &["--file", path.to_str().unwrap()]);
    fails(run(&folder.path().join("absent.mp4")), "absent.mp4");
    fails(run(folder.path()), folder.path().to_str().unwrap());
    fails(run(&empty), "empty.mp4");
    fails(run(&text), "text.mp4");
}

#[test]
fn pictures_that_cannot_be_encoded_end_the_run_at_once() {
    let receiver = Receiver::start(&[]);
    let tiny = ["--pattern", "texture:size=2x2", "--frames", "3", "--crop", "1"];
    Sender::run(&receiver.url(), &tiny).expect(1).says("cannot encode 2x2 pictures").says("--size");
}

#[test]
fn usage_errors_exit_with_2() {
    for wrong in [
        &["--pattern", "bars", "--session", "a b"][..],
        &["--pattern", "bars", "--crop", "2"],
        &["--pattern", "bars", "--webcam", "0"],
        &["--pattern", "bars", "--mode", "sometimes"],
        &["--pattern", "bars", "--results", "none", "--pace", "max"],
        &["--pattern", "bars", "--update"],
        &[],
    ] {
        let sent = Sender::run("http://127.0.0.1:9/whip", wrong).expect(2);
        assert!(sent.lines.is_empty() && !sent.stderr.is_empty(), "{wrong:?}");
    }
}

#[test]
fn a_pattern_that_does_not_exist_is_named() {
    fails(Sender::run("http://127.0.0.1:9/whip", &["--pattern", "stripes"]), "stripes");
}

#[test]
fn a_receiver_that_is_not_there_is_named_with_its_address() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sent = Sender::run(&format!("http://{free}/whip"), &PATTERN);
    fails(sent, &format!("cannot reach http://{free}/whip"));
}

#[test]
fn a_wrong_path_and_an_unknown_analyzer_are_explained() {
    let receiver = Receiver::start(&[]);
    let wrong_path = format!("http://{}/whep", receiver.address);
    fails(Sender::run(&wrong_path, &PATTERN), "there is no WHIP endpoint at this path");
    fails(Sender::run(&receiver.url(), &[&PATTERN[..], &["--analyze", "horoscope"]].concat()), "horoscope");
    fails(Sender::run(&receiver.url(), &[&PATTERN[..], &["--analyze", "busy:ms=-1"]].concat()), "ms");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_nothing_hangs() {
    let receiver = Receiver::start(&[]);
    let sent = Sender::run(&receiver.url(), &[&PATTERN[..], &["--out", "/dev/full"]].concat());
    fails(sent, "/dev/full");
}

#[test]
fn a_reader_of_stdout_that_leaves_ends_the_sender_quietly() {
    let receiver = Receiver::start(&[]);
    let mut command = program::command("cv-sender");
    command.args([
        "--pattern",
        "bars:size=320x240",
        "--duration",
        "120",
        "--session",
        "head",
        "--url",
        &receiver.url(),
    ]);
    let sender = Program::start_reading(command, 1);
    assert_eq!(sender.wait(LIMIT), Some(0), "{}", sender.stderr());
    assert_eq!(sender.stdout().len(), 1);
    assert!(!sender.stderr().contains("cv-sender: "), "{}", sender.stderr());
    receiver.lines_until_closed("head");
}

#[test]
fn a_reader_of_stdout_that_leaves_ends_the_receiver_quietly() {
    let receiver = Receiver::from(Program::start_reading(Receiver::command(&[]), 3));
    let sender = Sender::start(&receiver.url(), &["--pattern", "bars:size=320x240", "--duration", "120"]);
    assert_eq!(receiver.program.wait(LIMIT), Some(0), "{}", receiver.program.stderr());
    assert_eq!(receiver.program.stdout().len(), 3);
    sender.finish().expect(1);
}

#[test]
fn only_the_right_token_opens_the_door() {
    let receiver = Receiver::start(&["--token", "open sesame"]);
    let run = |more: &[&str]| Sender::run(&receiver.url(), &[&PATTERN[..], more].concat());
    fails(run(&[]), "--token");
    fails(run(&["--token", "open barley"]), "--token");
    run(&["--token", "open sesame"]).expect(0);
    for path in ["/cv/sessions", "/cv/session/a", "/cv/session/a/results"] {
        let response = http::get(receiver.address, path);
        is_problem(&response, 401);
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    }
    is_problem(&offer(receiver.address, "/whip", SDP, OFFER), 401);
    let right = [("Authorization", "bearer open sesame")];
    assert_eq!(http::request(receiver.address, "GET", "/cv/sessions", &right, "").status, 200);
    let sent = run(&["--token", "open sesame", "-vv"]).expect(0);
    assert!(!sent.stderr.contains("sesame") && !receiver.program.stderr().contains("sesame"), "tokens are not logged");
}

#[test]
fn both_programs_take_the_token_from_the_environment_too() {
    let receiver = Receiver::start_with(&[], |command| {
        command.env("CV_TOKEN", "secret");
    });
    fails(Sender::run(&receiver.url(), &PATTERN), "CV_TOKEN");
    let sender = Sender::start_with(&PATTERN, |command| {
        command.env("CV_TOKEN", "secret").env("CV_URL", receiver.url()).env("CV_SESSION", "environment");
    });
    let sent = sender.finish().expect(0);
    assert!(sent.lines.iter().all(|line| line.contains("\"environment\"")));
}

#[test]
fn a_listener_beyond_this_machine_needs_a_token() {
    let mut command = program::command("cv-receiver");
    command.args(["--listen", "0.0.0.0:0"]);
    let receiver = Program::start(command);
    assert_eq!(receiver.wait(LIMIT), Some(1));
    assert!(receiver.stderr().contains("--allow-anonymous"), "{}", receiver.stderr());
}

#[test]
fn a_second_receiver_on_the_same_port_says_so() {
    let first = Receiver::start(&[]);
    let mut command = program::command("cv-receiver");
    command.args(["--listen", &first.address.to_string()]);
    let second = Program::start(command);
    assert_eq!(second.wait(LIMIT), Some(1));
    assert!(second.stderr().contains("another receiver"), "{}", second.stderr());
}

#[test]
fn what_cannot_even_be_read_is_refused_as_a_problem() {
    let receiver = Receiver::start(&[]);
    let ask = |method: &str, path: &str, body: &[u8]| {
        let mut stream = http::connect(receiver.address);
        let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer is text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        http::Response { status, head: head.into(), body: body.into() }
    };
    is_problem(&ask("DELETE", "/cv/session", b"\xff\xfe"), 400);
    is_problem(&ask("GET", "/cv/session/%ff", b""), 400);
    is_problem(&ask("GET", "/cv/session/%ff/results", b""), 400);
    is_problem(&ask("PATCH", "/whip/%ff", b""), 400);
}

#[test]
fn offers_that_cannot_be_served_are_refused_with_a_reason() {
    let receiver = Receiver::start(&[]);
    let post = |path: &str, content_type: &str, body: &str| offer(receiver.address, path, content_type, body);
    is_problem(&post("/whip", SDP, "garbage"), 400);
    is_problem(&post("/whip", SDP, ""), 400);
    is_problem(&post("/whip", "text/plain", OFFER), 415);
    is_problem(&post("/whip", SDP, &OFFER.replace("sendonly", "recvonly")), 422);
    is_problem(&post("/whip", SDP, &OFFER.replace("H264", "AV1")), 422);
    is_problem(&post("/whip?analyze=horoscope", SDP, OFFER), 422);
    is_problem(&post("/whip?session=a%20b", SDP, OFFER), 400);
    is_problem(&post("/whip?mode=sometimes", SDP, OFFER), 400);
    is_problem(&post("/whip?next=-1", SDP, OFFER), 400);
    assert_eq!(post("/whip", SDP, &"v".repeat(200_000)).status, 413);
    // All of that has used up nothing.
    assert_eq!(http::get(receiver.address, "/cv/sessions").body, "[]");
    let taken = post("/whip?session=plain", SDP, OFFER);
    assert_eq!(taken.status, 201, "{taken:?}");
    assert!(taken.body.starts_with("v=0\r\n") && taken.body.contains("a=recvonly"), "{}", taken.body);
}

#[test]
fn the_endpoint_does_what_rfc_9725_asks_of_it() {
    let receiver = Receiver::start(&[]);
    let address = receiver.address;
    let options = http::request(address, "OPTIONS", "/whip", &[], "");
    assert!(matches!(options.status, 200 | 204), "{options:?}");
    assert_eq!(options.header("accept-post"), Some(SDP), "{options:?}");
    assert_eq!(http::get(address, "/whip").status, 204);
    let open = Receiver::start(&["--cors-origin", "https://example.org"]);
    let page = [("Origin", "https://example.org"), ("Access-Control-Request-Method", "POST")];
    let preflight = http::request(open.address, "OPTIONS", "/whip", &page, "");
    assert_eq!(preflight.header("accept-post"), Some(SDP), "{preflight:?}");
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://example.org"), "{preflight:?}");
    is_problem(&http::request(address, "DELETE", "/whip/0123456789abcdef", &[], ""), 404);
    let created = offer(address, "/whip?session=rfc", SDP, OFFER);
    assert_eq!((created.status, created.header("content-type")), (201, Some(SDP)), "{created:?}");
    assert!(created.header("etag").is_some_and(|tag| tag.starts_with('"')), "{created:?}");
    let location = created.header("location").unwrap().to_owned();
    assert_eq!(http::request(address, "DELETE", &location, &[], "").status, 200);
    is_problem(&http::request(address, "DELETE", &location, &[], ""), 404);
}

#[test]
fn questions_about_sessions_that_nobody_knows_are_answered() {
    let receiver = Receiver::start(&[]);
    let address = receiver.address;
    is_problem(&http::get(address, "/cv/session/nobody"), 404);
    is_problem(&http::get(address, "/cv/session/nobody/results"), 404);
    is_problem(&http::get(address, "/cv/session/a%20b"), 400);
    is_problem(&http::request(address, "DELETE", "/cv/session", &[], ""), 422);
    for (path, body) in
        [("/cv/session/nobody", ""), ("/cv/session?session=nobody", ""), ("/cv/session", "{\"sessionId\":\"nobody\"}")]
    {
        let response = http::request(address, "DELETE", path, &[], body);
        assert_eq!((response.status, response.body.as_str()), (200, "{\"ok\":true}"));
    }
    let sent = Sender::run(&receiver.url(), &[&PATTERN[..], &["--session", "known"]].concat()).expect(0);
    assert_eq!(lines::of_type(&sent.lines, "result").len(), 30);
    is_problem(&http::get(address, "/cv/session/known/results?since=yesterday"), 400);
    assert_eq!(
        (&receiver.describe("known")["state"], &receiver.describe("known")["frames"]),
        (&"closed".into(), &30.into())
    );
}
