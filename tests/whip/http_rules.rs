//! What HTTP carries: statuses, header fields, bounds.

use std::collections::HashSet;

use cv_tests::{Receiver, http};

use super::{FRAGMENT, HEAD, SDP, VIDEO, begin, is_problem, offer, post};

#[test]
fn whip_01_02_an_offer_is_answered_with_201_the_answer_and_the_place_of_the_session() {
    let receiver = Receiver::start(&[]);
    let created = post(&receiver, "/whip", &offer());
    assert_eq!((created.status, created.header("content-type")), (201, Some(SDP)), "{created:?}");
    assert!(created.body.starts_with("v=0\r\n"), "{}", created.body);
    let location = created.header("location").unwrap();
    assert!(location.starts_with("/whip/"), "{location}");
    assert_eq!(http::request(receiver.address, "DELETE", location, &[], "").status, 200);
}

#[test]
fn whip_03_another_content_type_is_refused() {
    let receiver = Receiver::start(&[]);
    for fields in [&[("Content-Type", "text/plain")][..], &[("Content-Type", FRAGMENT)], &[]] {
        is_problem(&http::request(receiver.address, "POST", "/whip", fields, &offer()), 415);
    }
    let parameters = [("Content-Type", "Application/SDP; charset=utf-8")];
    assert_eq!(http::request(receiver.address, "POST", "/whip", &parameters, &offer()).status, 201);
}

#[test]
fn whip_07_get_answers_2xx_without_content() {
    let receiver = Receiver::start(&[]);
    let (session, _) = begin(&receiver, "/whip");
    for path in ["/whip", session.as_str()] {
        for method in ["GET", "HEAD"] {
            let response = http::request(receiver.address, method, path, &[], "");
            assert_eq!((response.status, response.body.as_str()), (204, ""), "{method} {path}");
        }
    }
    assert_eq!(http::request(receiver.address, "DELETE", &session, &[], "").status, 200);
    is_problem(&http::get(receiver.address, &session), 404);
}

#[test]
fn whip_08_options_say_what_may_be_sent_with_and_without_a_page() {
    let page = [("Origin", "https://example.org"), ("Access-Control-Request-Method", "POST")];
    for (arguments, fields) in [(&[][..], &[][..]), (&["--cors-origin", "https://example.org"], &page)] {
        let receiver = Receiver::start(arguments);
        let options = |path: &str| http::request(receiver.address, "OPTIONS", path, fields, "");
        let endpoint = options("/whip");
        assert_eq!((endpoint.status, endpoint.header("accept-post")), (200, Some(SDP)), "{endpoint:?}");
        assert_eq!(endpoint.header("accept-patch"), None);
        let session = options("/whip/0123456789abcdef");
        assert_eq!((session.status, session.header("accept-patch")), (200, Some(FRAGMENT)), "{session:?}");
        assert!(session.header("allow").is_some_and(|allowed| allowed.contains("PATCH")), "{session:?}");
        let origin = (!fields.is_empty()).then_some("https://example.org");
        assert_eq!(endpoint.header("access-control-allow-origin"), origin, "{endpoint:?}");
    }
}

#[test]
fn whip_09_a_preflight_carries_no_links() {
    let receiver = Receiver::start(&["--cors-origin", "*"]);
    let page = [("Origin", "https://example.org"), ("Access-Control-Request-Method", "POST")];
    let preflight = http::request(receiver.address, "OPTIONS", "/whip", &page, "");
    assert_eq!((preflight.status, preflight.header("link")), (200, None), "{preflight:?}");
}

#[test]
fn whip_11_errors_are_problems_that_a_person_can_act_on() {
    let receiver = Receiver::start(&[]);
    is_problem(&post(&receiver, "/whip", "hello"), 400);
    is_problem(&post(&receiver, "/whip", &"v".repeat(200_000)), 413);
    let wrong_method = http::request(receiver.address, "PUT", "/whip", &[], "");
    is_problem(&wrong_method, 405);
    let allowed = wrong_method.header("allow").unwrap_or_default();
    assert!(allowed.contains("POST") && !allowed.contains("DELETE"), "{wrong_method:?}");
    is_problem(&http::request(receiver.address, "POST", "/whip/0123", &[], ""), 405);
    is_problem(&http::request(receiver.address, "POST", "/whap", &[], ""), 404);
}

#[test]
fn whip_37_a_token_opens_every_method_and_preflights_need_none() {
    let receiver = Receiver::start(&["--token", "open sesame"]);
    let right = [("Content-Type", SDP), ("Authorization", "Bearer open sesame")];
    let created = http::request(receiver.address, "POST", "/whip", &right, &offer());
    assert_eq!(created.status, 201, "{created:?}");
    let session = created.header("location").unwrap().to_owned();
    for (method, path) in [("POST", "/whip"), ("PATCH", &session), ("DELETE", &session), ("GET", &session)] {
        for fields in [&[][..], &[("Authorization", "Bearer open barley")]] {
            let refused = http::request(receiver.address, method, path, fields, "");
            is_problem(&refused, 401);
            assert!(refused.header("www-authenticate").is_some_and(|how| how.starts_with("Bearer")), "{refused:?}");
        }
    }
    assert_eq!(http::request(receiver.address, "OPTIONS", "/whip", &[], "").status, 200);
    assert_eq!(http::request(receiver.address, "DELETE", &session, &right[1..], "").status, 200);
}

#[test]
fn whip_38_nothing_is_redirected() {
    let receiver = Receiver::start(&[]);
    for path in ["/whip/", "/whip//", "//whip", "/WHIP", "/"] {
        let response = post(&receiver, path, &offer());
        assert!(!(300..400).contains(&response.status) && response.header("location").is_none(), "{path} {response:?}");
    }
}

#[test]
fn whip_39_a_full_receiver_says_when_to_come_back() {
    let receiver = Receiver::start(&["--max-sessions", "1"]);
    let (first, _) = begin(&receiver, "/whip?session=first");
    let full = post(&receiver, "/whip?session=second", &offer());
    is_problem(&full, 503);
    assert!(full.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok()).is_some(), "{full:?}");
    assert_eq!(http::request(receiver.address, "DELETE", &first, &[], "").status, 200);
    begin(&receiver, "/whip?session=second");
}

#[test]
fn whip_41_results_are_an_extension_that_nobody_needs() {
    let receiver = Receiver::start(&[]);
    let created = post(&receiver, "/whip?session=linked", &offer());
    let link = created.header("link").unwrap();
    assert!(link.starts_with("</cv/session/linked/results>; rel=\"urn:ietf:params:whip:ext:"), "{link}");
}

#[test]
fn whip_42_session_urls_cannot_be_guessed() {
    let receiver = Receiver::start(&[]);
    let sessions: Vec<String> = (0..8).map(|_| begin(&receiver, "/whip").0).collect();
    for session in &sessions {
        let secret = session.strip_prefix("/whip/").unwrap();
        assert!(secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()), "{secret}");
    }
    assert_eq!(sessions.iter().collect::<HashSet<_>>().len(), sessions.len());
    let log = receiver.program.stderr();
    assert!(sessions.iter().all(|session| !log.contains(session.as_str())), "{log}");
}

#[test]
fn whip_45_answers_stay_below_8_kilobytes_whatever_is_offered() {
    let receiver = Receiver::start(&[]);
    let codecs = |count: u32| {
        let numbers: Vec<String> = (0..count).map(|number| (35 + number).to_string()).collect();
        let lines: String = numbers
            .iter()
            .map(|number| {
                format!(
                    "a=rtpmap:{number} H264/90000\r\na=fmtp:{number} level-asymmetry-allowed=1;packetization-mode=1;\
                     profile-level-id=42e01f\r\na=rtcp-fb:{number} nack\r\na=rtcp-fb:{number} nack pli\r\n"
                )
            })
            .collect();
        [HEAD, &VIDEO.replace(" 97\r\n", &format!(" 97 {}\r\n", numbers.join(" "))), &lines].concat()
    };
    let chromium = post(&receiver, "/whip", &codecs(12));
    assert!(chromium.status == 201 && chromium.body.len() < 8192, "{} bytes", chromium.body.len());
    let absurd = post(&receiver, "/whip?session=absurd", &codecs(92));
    is_problem(&absurd, 422);
    let too_long = [&offer(), "a=x\r\n".repeat(20_000).as_str()].concat();
    is_problem(&post(&receiver, "/whip", &too_long), 413);
    assert_eq!(http::get(receiver.address, "/cv/session/absurd").status, 404, "a refused offer leaves nothing behind");
}

#[test]
fn whip_40_ice_servers_are_named_with_an_answer_and_nowhere_else() {
    let servers = ["stun:stun.invalid", "turn:192.0.2.1:3479,me,pass\"word"];
    let receiver = Receiver::start(&["--ice-server", servers[0], "--ice-server", servers[1]]);
    let answer = post(&receiver, "/whip", &offer());
    let links = answer.headers("link");
    assert!(links.contains(&r#"<stun:stun.invalid:3478>; rel="ice-server""#), "{links:?}");
    let turn = r#"<turn:192.0.2.1:3479?transport=udp>; rel="ice-server"; username="me"; credential="pass\"word"; credential-type="password""#;
    assert!(links.contains(&turn), "{links:?}");
    for (method, path) in [("OPTIONS", "/whip"), ("GET", "/whip"), ("POST", "/whip")] {
        let other = http::request(receiver.address, method, path, &[], "");
        assert!(!other.head.contains("ice-server"), "{method}: {}", other.head);
    }
}
