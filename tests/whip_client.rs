//! What RFC 9725 asks of a WHIP client, point by point as docs/whip.md numbers them.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::time::Duration;

use cv_tests::{
    Finished, Receiver, Sender,
    front::{Front, Reply, Request},
    lines,
    link::Link,
    way::Weather,
};

const FRAMES: u64 = 12;

fn send(front: &Front, session: &str, more: &[&str]) -> Finished {
    let source = ["--pattern", "bars:size=320x240", "--frames", "12", "--pace", "max", "--session", session];
    Sender::run(&front.url(), &[&source[..], more].concat())
}

/// One run through a server that changes nothing: what the client asked on the way.
fn asked(session: &str, receiver_takes: &[&str], sender_takes: &[&str]) -> Vec<Request> {
    let receiver = Receiver::start(receiver_takes);
    let front = Front::start(receiver.address, |_, _| Reply::Pass);
    let sent = send(&front, session, sender_takes).expect(0);
    assert_eq!(lines::accounted(&sent.lines), (0..FRAMES).collect::<Vec<_>>());
    front.seen()
}

fn offer() -> String {
    let receiver = Receiver::start(&[]);
    let front = Front::start(receiver.address, |_, _| Reply::status(400));
    send(&front, "offer", &[]).expect(1);
    front.seen()[0].body.clone()
}

fn attributes<'a>(sdp: &'a str, name: &str) -> Vec<&'a str> {
    sdp.lines().filter_map(|line| line.strip_prefix("a=")?.strip_prefix(name)).collect()
}

#[test]
fn whip_06_client_offers_sendonly() {
    let sdp = offer();
    // A data channel's section has a direction, too, which means nothing.
    let video = sdp.split("m=").find(|section| section.starts_with("video")).unwrap();
    assert_eq!(attributes(video, "sendonly").len(), 1, "{sdp}");
    for direction in ["sendrecv", "recvonly", "inactive"] {
        assert!(attributes(video, direction).is_empty(), "{sdp}");
    }
}

#[test]
fn whip_10_client_takes_an_unknown_status_for_the_general_one_of_its_class() {
    let receiver = Receiver::start(&[]);
    let created = Front::start(receiver.address, |request, _| match request.method.as_str() {
        "POST" => Reply::PassAs(299),
        _ => Reply::Pass,
    });
    send(&created, "two", &[]).expect(0);
    let refused = Front::start(receiver.address, |_, _| Reply::status(499));
    send(&refused, "four", &[]).expect(1).says("499");
    assert_eq!(refused.seen().len(), 2, "a second offer without a data channel, and then no more");
    // A session that breaks meets a server with an error that may pass.
    let busy = Front::start(receiver.address, |request, before| {
        let posts = before.iter().filter(|request| request.method == "POST").count();
        if request.method == "POST" && (1..3).contains(&posts) { Reply::status(599) } else { Reply::Pass }
    });
    let sender = Sender::start(&busy.url(), &["--pattern", "bars:size=320x240", "--duration", "60", "--session", "5"]);
    sender.wait_for_frame(5);
    receiver.program.signal("KILL");
    let port = receiver.address.to_string();
    drop(receiver);
    let _again = Receiver::start(&["--listen", &port]);
    sender.wait_for_frame(200);
    assert!(busy.seen_with("POST").len() >= 4, "{:?}", busy.seen());
    sender.program.signal("INT");
    sender.finish().expect(0);
}

#[test]
fn whip_13_client_negotiates_once() {
    let seen = asked("once", &[], &[]);
    let methods: Vec<&str> = seen.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["POST", "DELETE"]);
}

#[test]
fn whip_14_client_bundles_everything_and_multiplexes_rtcp() {
    let sdp = offer();
    let mids = attributes(&sdp, "mid:");
    assert_eq!(attributes(&sdp, "group:BUNDLE "), [mids.join(" ")], "{sdp}");
    assert!(!attributes(&sdp, "rtcp-mux").is_empty(), "{sdp}");
    assert!(attributes(&sdp, "rtcp-mux-only").len() == 1, "{sdp}");
}

#[test]
fn whip_15_client_sends_one_stream_with_one_track() {
    let sdp = offer();
    assert_eq!(sdp.lines().filter(|line| line.starts_with("m=video")).count(), 1, "{sdp}");
    assert_eq!(sdp.lines().filter(|line| line.starts_with("m=audio")).count(), 0, "{sdp}");
    let streams = attributes(&sdp, "msid:");
    assert!(!streams.is_empty() && streams.iter().all(|stream| *stream == streams[0]), "{sdp}");
}

#[test]
fn whip_18_client_offers_actpass() {
    let sdp = offer();
    let setups = attributes(&sdp, "setup:");
    assert!(!setups.is_empty() && setups.iter().all(|setup| *setup == "actpass"), "{sdp}");
}

#[test]
fn whip_19_client_is_a_full_ice_agent() {
    assert!(attributes(&offer(), "ice-lite").is_empty());
}

#[test]
fn whip_27_client_offers_every_candidate_at_once_and_has_none_to_buffer() {
    let seen = asked("whole", &[], &[]);
    let offer = &seen[0].body;
    assert!(!attributes(offer, "candidate:").is_empty(), "{offer}");
    assert!(!attributes(offer, "end-of-candidates").is_empty(), "{offer}");
    assert!(seen.iter().all(|request| request.method != "PATCH"));
}

#[test]
fn whip_28_33_client_restarts_ice_with_new_credentials_and_all_its_candidates() {
    let (requests, lines) = after_a_cut("restarted", |_, _| Reply::Pass);
    assert_eq!(lines::accounted(&lines), (0..90).collect::<Vec<_>>());
    assert_eq!(lines::of_type(&lines, "result").len(), 90);
    let sessions = lines::of_type(&lines, "session");
    assert!(sessions.iter().all(|line| line["event"] != "resumed"), "the session itself went on: {sessions:?}");
    let patches: Vec<_> = requests.iter().filter(|request| request.method == "PATCH").collect();
    let (offer, patch) = (&requests[0].body, patches[0]);
    assert_eq!(patch.header("if-match"), Some("*"));
    assert_eq!(patch.header("content-type"), Some("application/trickle-ice-sdpfrag"));
    assert_ne!(attributes(&patch.body, "ice-ufrag:")[0], attributes(offer, "ice-ufrag:")[0]);
    assert_ne!(attributes(&patch.body, "ice-pwd:")[0], attributes(offer, "ice-pwd:")[0]);
    assert!(!attributes(&patch.body, "candidate:").is_empty());
    // Only the section that the bundle is tagged with.
    assert_eq!(patch.body.lines().filter(|line| line.starts_with("m=")).count(), 1);
    assert_eq!(attributes(&patch.body, "mid:"), [attributes(offer, "mid:")[0]]);
    assert_eq!(requests.iter().filter(|request| request.method == "POST").count(), 1);
}

#[test]
fn whip_32_client_has_one_patch_under_way_at_a_time() {
    // As long as a restart is not answered nothing else is asked for, so that there is no answer but the last one's.
    let pause = Duration::from_millis(1500);
    let (requests, _) = after_a_cut("orderly", move |request, _| match request.method.as_str() {
        "PATCH" => Reply::PassAfter(pause),
        _ => Reply::Pass,
    });
    let patch = requests.iter().find(|request| request.method == "PATCH").expect("a restart");
    let unanswered = patch.at..patch.at + pause;
    let meanwhile = requests.iter().filter(|other| other.at > patch.at && unanswered.contains(&other.at));
    let meanwhile: Vec<_> = meanwhile.map(|other| &other.method).collect();
    assert!(meanwhile.is_empty(), "{meanwhile:?}");
}

/// A run whose way to the receiver is cut off in the middle: what was asked, and the lines.
fn after_a_cut(
    session: &str,
    rule: impl Fn(&Request, &[Request]) -> Reply + Send + Sync + 'static,
) -> (Vec<Request>, Vec<String>) {
    let receiver = Receiver::start(&[]);
    let link = Link::start(receiver.address, Weather::CLEAR);
    let front = Front::start(link.address(), rule);
    let source = ["--pattern", "bars:size=320x240", "--frames", "90", "--session", session];
    let sender = Sender::start(&front.url(), &source);
    sender.wait_for_frame(30);
    link.cut();
    let sent = sender.finish().expect(0);
    (front.seen(), sent.lines)
}

#[test]
fn whip_34_client_ends_with_a_delete_on_the_session() {
    let receiver = Receiver::start(&[]);
    let front = Front::start(receiver.address, |_, _| Reply::Pass);
    send(&front, "ends", &[]).expect(0);
    let last = front.seen().pop().unwrap();
    assert_eq!(last.method, "DELETE");
    assert!(last.path.starts_with("/whip/"), "{}", last.path);
    assert_eq!(receiver.describe("ends")["state"], "closed");
}

#[test]
fn whip_36_client_shows_its_token_on_every_request_and_no_other_ever() {
    let with = asked("with", &["--token", "s3cret"], &["--token", "s3cret"]);
    for request in &with {
        assert_eq!(request.header("authorization"), Some("Bearer s3cret"), "{}", request.method);
    }
    let without = asked("without", &[], &[]);
    assert!(without.iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn whip_38_client_follows_307_and_308_with_method_and_body() {
    let receiver = Receiver::start(&[]);
    for status in [307, 308] {
        let second = Front::start(receiver.address, |_, _| Reply::Pass);
        let to = second.url();
        let first = Front::start(receiver.address, move |_, _| Reply::with(status, "Location", to.clone()));
        let sent = send(&first, &format!("moved{status}"), &["--token", "t"]).expect(0);
        assert_eq!(lines::accounted(&sent.lines), (0..FRAMES).collect::<Vec<_>>());
        let (first, second) = (first.seen(), second.seen());
        assert_eq!(first.len(), 1);
        assert_eq!((&second[0].method, &second[0].body), (&first[0].method, &first[0].body));
        assert_eq!(second[0].path, first[0].path, "what is asked for goes along");
        assert_eq!(second[0].header("authorization"), Some("Bearer t"));
        // The session's URL is relative to where the answer came from.
        assert_eq!(second[1].method, "DELETE");
    }
}

#[test]
fn whip_38_client_does_not_follow_what_would_lose_the_offer_or_never_ends() {
    let receiver = Receiver::start(&[]);
    for status in [301, 302, 303] {
        let front = Front::start(receiver.address, move |_, _| Reply::with(status, "Location", "/elsewhere"));
        send(&front, "lost", &[]).expect(1).says("307");
        assert_eq!(front.seen().len(), 1);
    }
    let circle = Front::start(receiver.address, |_, _| Reply::with(307, "Location", "/whip"));
    send(&circle, "circle", &[]).expect(1).says("hands an offer on");
    let nowhere = Front::start(receiver.address, |_, _| Reply::status(307));
    send(&nowhere, "nowhere", &[]).expect(1).says("not to a URL");
}

#[test]
fn whip_39_client_waits_as_long_as_a_busy_server_asks() {
    let receiver = Receiver::start(&[]);
    let front = Front::start(receiver.address, |_, before| match before.len() {
        0 => Reply::with(503, "Retry-After", "1"),
        _ => Reply::Pass,
    });
    send(&front, "busy", &[]).expect(0);
    let posts = front.seen_with("POST");
    assert!(posts[1].at - posts[0].at >= Duration::from_secs(1));
    let busier = Front::start(receiver.address, |_, _| Reply::with(503, "Retry-After", "3600"));
    send(&busier, "busier", &[]).expect(1).says("503");
    assert_eq!(busier.seen().len(), 1, "an hour is more than --timeout");
}
