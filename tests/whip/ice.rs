//! PATCH: candidates that come later, and new ICE sessions.

use std::net::UdpSocket;

use cv_tests::{Receiver, http, lines, program::LIMIT};

use super::{
    FRAGMENT, SDP, begin,
    client::{self, Client},
    is_problem, offer,
};

const CREDENTIALS: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n";
const NEW_CREDENTIALS: &str = "a=ice-ufrag:wxyz\r\na=ice-pwd:zyxwvutsrqponmlkjihgfe\r\n";
const SECTION: &str = "m=video 9 UDP/TLS/RTP/SAVPF 97\r\na=mid:0\r\n";

fn patch(receiver: &Receiver, session: &str, fields: &[(&str, &str)], body: &str) -> http::Response {
    let fields = [&[("Content-Type", FRAGMENT)], fields].concat();
    http::request(receiver.address, "PATCH", session, &fields, body)
}

/// A place that candidates can point to.
struct Ear(UdpSocket);

impl Ear {
    fn open() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self(socket)
    }

    fn candidate(&self) -> String {
        let port = self.0.local_addr().unwrap().port();
        format!("a=candidate:1 1 udp 2122260223 127.0.0.1 {port} typ host generation 0\r\n")
    }

    /// Waits for a connectivity check under the name of `ufrag`.
    fn hear_check(&self, ufrag: &str) {
        let name = format!("{ufrag}:");
        let mut buffer = [0; 2048];
        loop {
            let length = self.0.recv(&mut buffer).expect("a check comes");
            let datagram = &buffer[..length];
            if datagram.windows(name.len()).any(|window| window == name.as_bytes()) {
                return;
            }
        }
    }

    /// Forgets what has come so far.
    fn forget(&self) {
        self.0.set_nonblocking(true).unwrap();
        while self.0.recv(&mut [0; 2048]).is_ok() {}
        self.0.set_nonblocking(false).unwrap();
    }

    /// Whether nothing has come since.
    fn is_silent(&self) -> bool {
        self.0.set_nonblocking(true).unwrap();
        self.0.recv(&mut [0; 2048]).is_err()
    }
}

#[test]
fn whip_21_what_is_no_fragment_is_refused() {
    let receiver = Receiver::start(&[]);
    let (session, tag) = begin(&receiver, "/whip");
    let fields = [("Content-Type", SDP), ("If-Match", tag.as_str())];
    is_problem(&http::request(receiver.address, "PATCH", &session, &fields, SECTION), 415);
    let patched = |body: &str| patch(&receiver, &session, &[("If-Match", &tag)], body);
    for broken in ["", "hello", "v=0\r\n", "m=video 9 x 1\r\n", "a=candidate:1 1 udp 1 127.0.0.1 1 typ host\r\n"] {
        is_problem(&patched(broken), 400);
    }
    is_problem(&patched(&[SECTION, "a=ice-ufrag:abcd\r\n"].concat()), 400);
    is_problem(&patched(&[SECTION, "a=ice-ufrag:a\r\na=ice-pwd:b\r\n"].concat()), 400);
    is_problem(&patched(&"a=x\r\n".repeat(4000)), 413);
    is_problem(&patched(&SECTION.replace("mid:0", "mid:9")), 422);
    assert_eq!(patched(SECTION).status, 204);
}

#[test]
fn whip_22_both_kinds_of_patch_are_supported() {
    let receiver = Receiver::start(&[]);
    let (session, tag) = begin(&receiver, "/whip");
    assert_eq!(patch(&receiver, &session, &[("If-Match", &tag)], SECTION).status, 204);
    let restarted = patch(&receiver, &session, &[("If-Match", "*")], &[NEW_CREDENTIALS, SECTION].concat());
    assert_eq!(restarted.status, 200, "{restarted:?}");
}

#[test]
fn whip_23_every_ice_session_has_a_strong_tag_of_its_own() {
    let receiver = Receiver::start(&[]);
    let (session, first) = begin(&receiver, "/whip");
    let (_, other) = begin(&receiver, "/whip");
    let restarted = patch(&receiver, &session, &[("If-Match", "*")], &[NEW_CREDENTIALS, SECTION].concat());
    let second = restarted.header("etag").unwrap();
    for tag in [&first, &other, second] {
        assert!(tag.len() > 20 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    }
    assert!(first != other && first != second && other != second);
}

#[test]
fn whip_24_a_patch_without_condition_answers_428_and_with_a_wrong_one_412() {
    let receiver = Receiver::start(&[]);
    let (session, tag) = begin(&receiver, "/whip");
    is_problem(&patch(&receiver, &session, &[], SECTION), 428);
    let weak = format!("W/{tag}");
    for wrong in ["\"another\"", weak.as_str(), "\"*\"", "\"a\", \"b\""] {
        is_problem(&patch(&receiver, &session, &[("If-Match", wrong)], SECTION), 412);
    }
    is_problem(&patch(&receiver, &session, &[("If-Match", tag.trim_matches('"'))], SECTION), 400);
    let listed = format!("\"a\", {tag}");
    assert_eq!(patch(&receiver, &session, &[("If-Match", &listed)], SECTION).status, 204);
    let new = [NEW_CREDENTIALS, SECTION].concat();
    assert_eq!(patch(&receiver, &session, &[("If-Match", "*")], &new).status, 200);
    is_problem(&patch(&receiver, &session, &[("If-Match", &tag)], SECTION), 412);
}

#[test]
fn whip_25_26_trickled_candidates_are_checked_and_unusable_ones_left_out() {
    let receiver = Receiver::start(&[]);
    let (session, tag) = begin(&receiver, "/whip");
    let ear = Ear::open();
    let odd = "a=candidate:1 1 udp 1 5b4e9b1c.local 5000 typ host\r\na=candidate:2 1 TCP 1 127.0.0.1 9 typ host \
        tcptype active\r\na=candidate:3 1 quic 1 127.0.0.1 9 typ host\r\na=candidate:nonsense\r\n";
    let body = [CREDENTIALS, SECTION, odd, &ear.candidate(), "a=end-of-candidates\r\n"].concat();
    let patched = patch(&receiver, &session, &[("If-Match", &tag)], &body);
    assert_eq!((patched.status, patched.body.as_str(), patched.header("etag")), (204, "", None), "{patched:?}");
    ear.hear_check("abcd");
}

#[test]
fn whip_29_30_a_restart_answers_with_our_new_end_and_forgets_the_old_candidates() {
    let receiver = Receiver::start(&[]);
    let (old, new) = (Ear::open(), Ear::open());
    let created = super::post(&receiver, "/whip", &[&offer(), old.candidate().as_str()].concat());
    let session = created.header("location").unwrap();
    old.hear_check("abcd");
    let body = [NEW_CREDENTIALS, SECTION, &new.candidate()].concat();
    let restarted = patch(&receiver, session, &[("If-Match", "*")], &body);
    assert_eq!((restarted.status, restarted.header("content-type")), (200, Some(FRAGMENT)), "{restarted:?}");
    new.hear_check("wxyz");
    old.forget();
    (0..10).for_each(|_| new.hear_check("wxyz"));
    assert!(old.is_silent(), "the old candidates are still checked");
    let value = |sdp: &str, name: &str| sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
    for name in ["a=ice-ufrag:", "a=ice-pwd:"] {
        assert_ne!(value(&created.body, name), value(&restarted.body, name));
    }
    let candidates = |sdp: &str| {
        let mut found: Vec<_> =
            sdp.lines().filter(|line| line.starts_with("a=candidate:")).map(str::to_owned).collect();
        found.sort();
        found
    };
    assert_eq!(candidates(&created.body), candidates(&restarted.body));
    assert_eq!(value(&restarted.body, "a=mid:"), "0");
    assert!(restarted.body.contains("\r\na=end-of-candidates\r\n"), "{}", restarted.body);
    let options = |sdp: &str| sdp.lines().find(|line| line.starts_with("a=ice-options:")).map(str::to_owned);
    assert_eq!(options(&created.body), options(&restarted.body));
}

#[test]
fn whip_29_media_and_results_go_on_across_a_restart_without_a_lost_frame() {
    let receiver = Receiver::start(&[]);
    let mut client = Client::offer(&receiver, "session=moving&mode=every-frame&seq=65500");
    client.connected();
    let mut pictures = client::pictures(90, 65_500);
    client.send(pictures.by_ref().take(30));
    let mut heard = client.lines_until(29);
    let first_tag = client.tag.clone();
    let fragment = client.begin_restart();
    // These set out while there is no path, or on the old one.
    client.send(pictures.by_ref().take(5));
    let restarted = client.patch(&receiver, "*", &fragment);
    client.finish_restart(&restarted);
    assert_ne!(client.tag, first_tag);
    client.send(pictures);
    heard.extend(client.lines_until(89));
    assert_eq!(lines::accounted(&heard), (0..90).collect::<Vec<_>>());
    assert_eq!(lines::of_type(&heard, "result").len(), 90, "no frame was lost");
    let ended = http::request(receiver.address, "DELETE", &format!("{}?frames=90", client.location), &[], "");
    assert_eq!(ended.status, 200);
    assert_eq!(receiver.describe("moving")["totals"]["lost"], 0);
}

#[test]
fn whip_31_a_restart_that_cannot_be_leaves_the_session_as_it_is() {
    let receiver = Receiver::start(&[]);
    let client = Client::offer(&receiver, "session=firm&mode=every-frame&seq=1");
    client.connected();
    let mut pictures = client::pictures(20, 1);
    client.send(pictures.by_ref().take(5));
    client.lines_until(4);
    let own = client.own_credentials();
    let section = SECTION.replace("mid:0", &format!("mid:{}", client.mid()));
    let half = own.replace("a=ice-ufrag:", "a=ice-ufrag:x");
    is_problem(&client.patch(&receiver, "*", &[&own, section.as_str()].concat()), 422);
    is_problem(&client.patch(&receiver, "*", &[&half, section.as_str()].concat()), 422);
    is_problem(&client.patch(&receiver, "*", &section), 400);
    is_problem(&client.patch(&receiver, "*", &[NEW_CREDENTIALS, &section.replace("mid:", "mid:no")].concat()), 422);
    is_problem(&client.patch(&receiver, "\"stale\"", &[NEW_CREDENTIALS, section.as_str()].concat()), 412);
    client.send(pictures);
    assert_eq!(lines::accounted(&client.lines_until(19)), (5..20).collect::<Vec<_>>());
}

#[test]
fn whip_32_of_two_restarts_the_last_one_counts() {
    let receiver = Receiver::start(&[]);
    let mut client = Client::offer(&receiver, "session=twice&mode=every-frame&seq=1");
    client.connected();
    // A restart whose answer the client never saw.
    let section = SECTION.replace("mid:0", &format!("mid:{}", client.mid()));
    let unseen = client.patch(&receiver, "*", &[NEW_CREDENTIALS, section.as_str()].concat());
    assert_eq!(unseen.status, 200, "{unseen:?}");
    let fragment = client.begin_restart();
    let restarted = client.patch(&receiver, "*", &fragment);
    client.finish_restart(&restarted);
    assert_ne!(unseen.header("etag"), restarted.header("etag"));
    client.send(client::pictures(10, 1));
    assert_eq!(lines::accounted(&client.lines_until(9)), (0..10).collect::<Vec<_>>());
}
