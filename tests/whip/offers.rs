//! Which offers are answered, and how; the others are refused whole.

use cv_tests::{Receiver, lines};

use super::{
    AUDIO, HEAD, VIDEO,
    client::{self, Client},
    is_problem, offer, post,
};

/// Sections with their attributes.
fn sections(sdp: &str) -> Vec<&str> {
    sdp.split("m=").skip(1).collect()
}

#[test]
fn whip_04_malformed_sdp_is_refused() {
    let receiver = Receiver::start(&[]);
    for broken in ["", "hello", "v=0\r\n", "v=0\r\nm=video\r\n", "\u{0}v=0", &offer().replace('=', ":")] {
        is_problem(&post(&receiver, "/whip", broken), 400);
    }
    for missing in ["ice-ufrag", "ice-pwd", "fingerprint"] {
        is_problem(&post(&receiver, "/whip", &offer().replace(missing, "x")), 400);
    }
    is_problem(&post(&receiver, "/whip", &offer().replace("ice-pwd:abcdefgh", "ice-pwd:")), 400);
}

#[test]
fn whip_05_every_section_of_the_answer_receives() {
    let receiver = Receiver::start(&[]);
    let both = [&HEAD.replace("BUNDLE 0", "BUNDLE 0 1"), VIDEO, AUDIO].concat();
    for offered in [both.clone(), both.replace("sendonly", "sendrecv")] {
        let answer = post(&receiver, "/whip", &offered);
        assert_eq!(answer.status, 201, "{answer:?}");
        let sections = sections(&answer.body);
        assert_eq!(sections.len(), 2);
        assert!(sections.iter().all(|section| section.contains("\r\na=recvonly\r\n")), "{}", answer.body);
        assert!(sections.iter().all(|section| !section.starts_with("video 0") && !section.starts_with("audio 0")));
    }
}

#[test]
fn whip_06_offers_that_do_not_send_are_refused() {
    let receiver = Receiver::start(&[]);
    for direction in ["recvonly", "inactive"] {
        is_problem(&post(&receiver, "/whip", &offer().replace("sendonly", direction)), 422);
    }
    assert_eq!(post(&receiver, "/whip", &offer().replace("sendonly", "sendrecv")).status, 201);
}

#[test]
fn whip_12_the_answer_holds_every_candidate() {
    let receiver = Receiver::start(&[]);
    let answer = post(&receiver, "/whip", &offer()).body;
    assert!(answer.contains("\r\na=candidate:") && answer.contains(" 127.0.0.1 "), "{answer}");
    assert!(answer.contains("\r\na=end-of-candidates\r\n"), "{answer}");
}

#[test]
fn whip_14_one_transport_for_everything_or_no_session() {
    let receiver = Receiver::start(&[]);
    let bundled = [&HEAD.replace("BUNDLE 0", "BUNDLE 0 1"), VIDEO, AUDIO].concat();
    is_problem(&post(&receiver, "/whip", &bundled.replace("a=group:BUNDLE 0 1\r\n", "")), 422);
    is_problem(&post(&receiver, "/whip", &bundled.replace("BUNDLE 0 1", "BUNDLE 0")), 422);
    is_problem(&post(&receiver, "/whip", &bundled.replacen("a=rtcp-mux\r\n", "", 1)), 422);
    let exclusive = bundled.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=rtcp-mux-only\r\n");
    let answer = post(&receiver, "/whip", &exclusive);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(answer.body.contains("a=group:BUNDLE 0 1\r\n"), "{}", answer.body);
    for section in sections(&answer.body) {
        // RFC 8858, 4.3: an answer accepts with rtcp-mux; rtcp-mux-only stands in offers alone.
        assert!(section.contains("\r\na=rtcp-mux\r\n") && !section.contains("rtcp-mux-only"), "{section}");
    }
}

#[test]
fn whip_17_tracks_that_cannot_be_told_apart_are_refused() {
    let receiver = Receiver::start(&[]);
    let nameless = [&HEAD.replace("BUNDLE 0", "BUNDLE 0 1"), VIDEO, AUDIO].concat();
    is_problem(&post(&receiver, "/whip", &nameless.replace("a=ssrc", "a=x-ssrc")), 422);
    assert_eq!(post(&receiver, "/whip", &offer().replace("a=ssrc", "a=x-ssrc")).status, 201);
}

#[test]
fn whip_16_more_tracks_or_streams_than_one_are_refused() {
    let receiver = Receiver::start(&[]);
    let second = VIDEO.replace("a=mid:0", "a=mid:1");
    let head = HEAD.replace("BUNDLE 0", "BUNDLE 0 1 2");
    is_problem(&post(&receiver, "/whip", &[&head, VIDEO, &second].concat()), 422);
    is_problem(&post(&receiver, "/whip", &[&head, VIDEO, AUDIO, &AUDIO.replace("mid:1", "mid:2")].concat()), 422);
    is_problem(&post(&receiver, "/whip", &[&head, VIDEO, &AUDIO.replace("msid:a", "msid:z")].concat()), 422);
    is_problem(&post(&receiver, "/whip", &[HEAD, &AUDIO.replace("mid:1", "mid:0")].concat()), 422);
}

#[test]
fn whip_17_an_offer_is_never_accepted_in_part() {
    let receiver = Receiver::start(&[]);
    let both = [&HEAD.replace("BUNDLE 0", "BUNDLE 0 1"), VIDEO, AUDIO].concat();
    is_problem(&post(&receiver, "/whip", &both.replace("opus", "PCMU")), 422);
    is_problem(&post(&receiver, "/whip", &both.replace("H264", "VP8")), 422);
    is_problem(&post(&receiver, "/whip", &both.replace("m=audio 9", "m=audio 0")), 422);
    is_problem(&post(&receiver, "/whip", &[&both, "m=text 9 UDP/TLS/RTP/SAVPF 98\r\na=mid:2\r\n"].concat()), 422);
}

#[test]
fn whip_18_either_side_may_open_the_handshake() {
    let receiver = Receiver::start(&[]);
    for (offered, answered) in [("actpass", "active"), ("active", "passive"), ("passive", "active")] {
        let answer = post(&receiver, "/whip", &offer().replace("setup:actpass", &format!("setup:{offered}")));
        assert!(answer.body.contains(&format!("\r\na=setup:{answered}\r\n")), "{offered}: {answer:?}");
    }
    is_problem(&post(&receiver, "/whip", &offer().replace("actpass", "holdconn")), 422);
    let active = |offer: String| offer.replace("a=setup:actpass", "a=setup:active");
    let client = Client::offer_with(&receiver, "session=active&mode=every-frame&seq=7", active);
    client.connected();
    client.send(client::pictures(5, 7));
    assert_eq!(lines::accounted(&client.lines_until(4)), [0, 1, 2, 3, 4]);
}

#[test]
fn whip_19_ice_is_complete() {
    let receiver = Receiver::start(&[]);
    let answer = post(&receiver, "/whip", &offer()).body;
    assert!(!answer.contains("ice-lite") && answer.contains("a=ice-ufrag:"), "{answer}");
}

#[test]
fn whip_47_simulcast_gets_an_answer_of_one_layer() {
    let receiver = Receiver::start(&[]);
    let layers = "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\na=rid:h send\r\na=rid:l send\r\n\
        a=simulcast:send h;l\r\n";
    let answer = post(&receiver, "/whip", &[&offer(), layers].concat());
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(!answer.body.contains("rid") && !answer.body.contains("simulcast"), "{}", answer.body);
    assert_eq!(answer.body.matches("m=video").count(), 1);
}
