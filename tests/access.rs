//! Who gets in at the HTTP doors, who does not, and that the latter harm nobody.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use cv_tests::{
    Receiver, Sender, http, lines,
    offer::OFFER,
    program::{self, LIMIT, Program},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

const PATTERN: [&str; 6] = ["--pattern", "bars:size=320x240", "--frames", "30", "--pace", "max"];
const LONG: [&str; 4] = ["--pattern", "bars:size=320x240", "--duration", "120"];
const SDP: &str = "application/sdp";

/// A file in a folder of its own.
fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// A request with a token.
fn call(receiver: &Receiver, token: &str, method: &str, path: &str) -> http::Response {
    let bearer = format!("Bearer {token}");
    http::request(receiver.address, method, path, &[("Authorization", &bearer), ("Content-Type", SDP)], "")
}

fn offer(receiver: &Receiver, token: &str, session: &str) -> http::Response {
    let (path, bearer) = (format!("/whip?session={session}"), format!("Bearer {token}"));
    http::request(receiver.address, "POST", &path, &[("Authorization", &bearer), ("Content-Type", SDP)], OFFER)
}

#[test]
fn a_token_opens_the_doors_that_its_line_names() {
    let (_folder, path) = file("all\npub publish\nsee read # a screen\nops admin\nboth publish read\n");
    let receiver = Receiver::start(&["--token-file", path.to_str().unwrap()]);
    // An empty offer is refused as such where the door is open.
    let doors = [
        ("POST", "/whip", 415),
        ("DELETE", "/whip/0", 404),
        ("GET", "/cv/sessions", 200),
        ("GET", "/cv/session/a", 404),
        ("GET", "/cv/session/a/results", 404),
        ("DELETE", "/cv/session/a", 200),
        ("DELETE", "/cv/session?session=a", 200),
    ];
    for (token, open) in [
        ("all", [true; 7]),
        ("ops", [true; 7]),
        ("pub", [true, true, false, false, false, false, false]),
        ("see", [false, false, true, true, true, false, false]),
        ("both", [true, true, true, true, true, false, false]),
    ] {
        for ((method, path, status), open) in doors.into_iter().zip(open) {
            let bearer = format!("Bearer {token}");
            let answer = http::request(receiver.address, method, path, &[("Authorization", &bearer)], "");
            assert_eq!(answer.status, if open { status } else { 403 }, "{token} {method} {path}: {answer:?}");
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge.is_some_and(|text| text.contains("insufficient_scope")), !open, "{answer:?}");
        }
    }
    let wrong = call(&receiver, "nobody", "GET", "/cv/sessions");
    assert_eq!((wrong.status, wrong.header("www-authenticate")), (401, Some("Bearer error=\"invalid_token\"")));
    let none = http::get(receiver.address, "/cv/sessions");
    assert_eq!((none.status, none.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(http::get(receiver.address, "/cv/sessions?access_token=all").status, 401);
    let wrong_path = format!("http://{}/whep", receiver.address);
    Sender::run(&wrong_path, &[&PATTERN[..], &["--token", "pub"]].concat()).expect(1).says("no WHIP endpoint");
}

#[test]
fn a_token_for_some_sessions_neither_sees_nor_touches_others() {
    let (_folder, path) = file("all\ncam session=cam-* session=yard\n");
    let receiver = Receiver::start(&["--token-file", path.to_str().unwrap()]);
    for session in ["cam-1", "yard", "office"] {
        assert_eq!(offer(&receiver, "all", session).status, 201);
    }
    let listed = call(&receiver, "cam", "GET", "/cv/sessions");
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed.body).unwrap();
    let names: Vec<_> = listed.iter().map(|session| session["session"].as_str().unwrap()).collect();
    assert_eq!(names, ["cam-1", "yard"]);
    assert_eq!(call(&receiver, "cam", "GET", "/cv/session/cam-1").status, 200);
    for (method, path) in [
        ("GET", "/cv/session/office"),
        ("GET", "/cv/session/office/results"),
        ("DELETE", "/cv/session/office"),
        ("DELETE", "/cv/session?session=office"),
        ("POST", "/whip?session=office"),
        ("POST", "/whip?session=cam-2&session=office"),
        ("POST", "/whip"),
    ] {
        let answer = call(&receiver, "cam", method, path);
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
        assert!(answer.body.contains("cam-*, yard"), "{answer:?}");
    }
    let sent = Sender::run(&receiver.url(), &[&PATTERN[..], &["--token", "cam", "--session", "cam-3"]].concat());
    assert_eq!(lines::of_type(&sent.expect(0).lines, "result").len(), 30);
    let refused = Sender::run(&receiver.url(), &[&PATTERN[..], &["--token", "cam", "--session", "roof"]].concat());
    refused.expect(1).says("cam-*, yard");
}

#[cfg(unix)]
#[test]
fn a_hangup_puts_new_tokens_in_force_and_a_broken_file_changes_nothing() {
    let (_folder, path) = file("old\n");
    let receiver = Receiver::start(&["--token-file", path.to_str().unwrap()]);
    let sender = Sender::start(&receiver.url(), &[&LONG[..], &["--token", "old", "--session", "stays"]].concat());
    sender.wait_for_frame(5);
    let status = |token: &str| call(&receiver, token, "GET", "/cv/sessions").status;

    fs::write(&path, "new\nopen sesame\n").unwrap();
    receiver.program.signal("HUP");
    let complaint = receiver.program.wait_for_stderr("complaint", |line| line.contains("no change of tokens"));
    assert!(complaint.contains("line 2") && !complaint.contains("sesame"), "{complaint}");
    assert_eq!((status("old"), status("new")), (200, 401));

    fs::write(&path, "new\n").unwrap();
    receiver.program.signal("HUP");
    receiver.program.wait_for_stderr("news", |line| line.contains("read again: tokens"));
    assert_eq!((status("old"), status("new")), (401, 200));
    let latest = lines::of_type(&sender.program.stdout(), "result").len() as u64;
    sender.wait_for_frame(latest + 10);
}

#[cfg(unix)]
#[test]
fn tokens_that_everybody_can_read_are_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = file("secret\n");
    for (mode, warned) in [(0o644, true), (0o640, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let receiver = Receiver::start(&["--token-file", path.to_str().unwrap()]);
        assert_eq!(receiver.program.stderr().contains("chmod o-r"), warned, "{}", receiver.program.stderr());
    }
}

/// An authority and the files of a certificate that it signed.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { folder: tempfile::tempdir().unwrap(), issuer };
        fs::write(authority.file("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Signs a certificate for `names`, valid until `year`, into files at `certificate` and `key`.
    fn sign(&self, names: &[&str], year: i32, [certificate, key]: [&Path; 2]) {
        let own = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        fs::write(certificate, params.signed_by(&own, &self.issuer).unwrap().pem()).unwrap();
        fs::write(key, own.serialize_pem()).unwrap();
    }
}

/// A certificate and key at fixed paths, for the receiver's command line.
struct Served {
    _folder: TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Served {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem"), _folder: folder }
    }

    fn files(&self) -> [&Path; 2] {
        [&self.certificate, &self.key]
    }

    fn arguments(&self) -> [&str; 4] {
        ["--tls-cert", self.certificate.to_str().unwrap(), "--tls-key", self.key.to_str().unwrap()]
    }
}

const LOCAL: [&str; 2] = ["localhost", "127.0.0.1"];

#[test]
fn senders_come_in_over_tls_and_trust_only_the_authority_they_were_given() {
    let (known, stranger, served) = (Authority::new(), Authority::new(), Served::new());
    known.sign(&LOCAL, 4000, served.files());
    let receiver = Receiver::start(&[&served.arguments()[..], &["--token", "secret"]].concat());
    assert!(receiver.url().starts_with("https://"));
    let run = |more: &[&str]| Sender::run(&receiver.url(), &[&PATTERN[..], &["--token", "secret"], more].concat());
    for results in ["channel", "http"] {
        let sent = run(&["--ca-file", &known.file("ca.pem"), "--results", results]).expect(0);
        assert_eq!(lines::of_type(&sent.lines, "result").len(), 30);
    }
    run(&["--ca-file", &stranger.file("ca.pem")]).expect(1).says("--ca-file");
    run(&["--ca-file", &stranger.file("absent.pem")]).expect(1).says("absent.pem");
    let plain = receiver.url().replace("https", "http");
    Sender::run(&plain, &PATTERN).expect(1).says(&plain);
    // A port without TLS, asked for it.
    let other = Receiver::start(&[]);
    let secured = other.url().replace("http", "https");
    Sender::run(&secured, &[&PATTERN[..], &["--ca-file", &known.file("ca.pem")]].concat()).expect(1).says("TLS");
}

#[test]
fn a_certificate_for_another_name_is_named_as_such() {
    let (known, served) = (Authority::new(), Served::new());
    known.sign(&["cv.example.org"], 4000, served.files());
    let receiver = Receiver::start(&served.arguments());
    let sent = Sender::run(&receiver.url(), &[&PATTERN[..], &["--ca-file", &known.file("ca.pem")]].concat());
    sent.expect(1).says("for another name").says("cv.example.org");
}

#[cfg(unix)]
#[test]
fn a_hangup_changes_the_certificate_and_drops_nobody() {
    let (old, new, served) = (Authority::new(), Authority::new(), Served::new());
    old.sign(&LOCAL, 4000, served.files());
    let receiver = Receiver::start(&served.arguments());
    let (old_roots, new_roots) = (old.file("ca.pem"), new.file("ca.pem"));
    let over_http = ["--ca-file", &old_roots, "--results", "http"];
    let reading = Sender::start(&receiver.url(), &[&LONG[..], &over_http].concat());
    reading.wait_for_frame(5);
    let run = |roots: &str| Sender::run(&receiver.url(), &[&PATTERN[..], &["--ca-file", roots]].concat());

    fs::write(&served.certificate, "-----BEGIN CERTIFICATE-----\nhalf").unwrap();
    receiver.program.signal("HUP");
    receiver.program.wait_for_stderr("complaint", |line| line.contains("no change of certificate"));
    run(&old_roots).expect(0);

    new.sign(&LOCAL, 4000, served.files());
    receiver.program.signal("HUP");
    receiver.program.wait_for_stderr("news", |line| line.contains("read again: certificate"));
    run(&new_roots).expect(0);
    run(&old_roots).expect(1).says("--ca-file");
    let latest = lines::of_type(&reading.program.stdout(), "result").len() as u64;
    reading.wait_for_frame(latest + 10);
}

#[test]
fn certificates_that_cannot_serve_are_refused_at_the_start() {
    let (authority, served, other) = (Authority::new(), Served::new(), Served::new());
    let fails = |arguments: &[&str], code: i32, text: &str| {
        let receiver = Program::start(Receiver::command(arguments));
        assert_eq!(receiver.wait(LIMIT), Some(code), "{}", receiver.stderr());
        assert!(receiver.stderr().contains(text), "no '{text}' in {}", receiver.stderr());
        assert!(!receiver.stderr().contains("PRIVATE"), "{}", receiver.stderr());
    };
    fails(&served.arguments()[..2], 2, "--tls-key");
    fails(&served.arguments(), 1, "cert.pem");
    authority.sign(&LOCAL, 2020, served.files());
    fails(&served.arguments(), 1, "expired");
    authority.sign(&LOCAL, 4000, served.files());
    authority.sign(&LOCAL, 4000, other.files());
    let [certificate, key] = [served.certificate.to_str().unwrap(), other.key.to_str().unwrap()];
    fails(&["--tls-cert", certificate, "--tls-key", key], 1, "cannot be used together");
    fails(&["--tls-cert", certificate, "--tls-key", certificate], 1, "private key");
}

/// A connection from another address of this machine, with the beginning of a request.
fn half_open(receiver: SocketAddr, from: Ipv4Addr, beginning: &[u8]) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect_timeout(&receiver.into(), LIMIT).unwrap();
    let mut stream = TcpStream::from(socket);
    // It may have been closed already.
    drop(stream.write_all(beginning));
    stream
}

#[cfg(target_os = "linux")]
#[test]
fn thousands_of_requests_that_never_end_keep_nobody_out() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let receiver = Receiver::start(&[]);
    let body = b"POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nv=0";
    let over = AtomicBool::new(false);
    let (address, over) = (receiver.address, &over);
    thread::scope(|scope| {
        let hang = |place: usize| {
            let beginning = if place.is_multiple_of(2) { &b"GET /cv/sess"[..] } else { body };
            half_open(address, Ipv4Addr::new(127, 0, 0, 2 + (place % 20) as u8), beginning)
        };
        let mut hanging: Vec<TcpStream> = (0..2000).map(hang).collect();
        // And they come back again and again.
        scope.spawn(move || {
            for place in (0..hanging.len()).cycle() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                hanging[place] = hang(place);
            }
        });
        for _ in 0..20 {
            assert_eq!(http::get(address, "/cv/sessions").status, 200);
        }
        let sent = Sender::run(&receiver.url(), &PATTERN).expect(0);
        assert_eq!(lines::of_type(&sent.lines, "result").len(), 30);
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_request_has_to_come_within_seconds() {
    let receiver = Receiver::start(&[]);
    let mut idle = http::connect(receiver.address);
    let mut head = http::connect(receiver.address);
    head.write_all(b"GET /cv/sess").unwrap();
    let mut body = http::connect(receiver.address);
    body.write_all(b"POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nv=0").unwrap();
    let rest = |stream: &mut TcpStream| {
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(!rest(&mut idle).starts_with("HTTP/1.1 2"));
    assert!(!rest(&mut head).starts_with("HTTP/1.1 2"));
    assert!(rest(&mut body).starts_with("HTTP/1.1 408"));
    let mut large = http::connect(receiver.address);
    drop(large.write_all(format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000)).as_bytes()));
    assert!(rest(&mut large).starts_with("HTTP/1.1 431"));
}

#[test]
fn readers_keep_their_places_and_one_too_many_is_sent_away() {
    let receiver = Receiver::start(&["--max-connections", "3"]);
    let sender = Sender::start(&receiver.url(), &[&LONG[..], &["--session", "watched"]].concat());
    sender.wait_for_frame(1);
    let read = || http::send(receiver.address, "GET", "/cv/session/watched/results", &[], "");
    let open = |mut reader: BufReader<TcpStream>| {
        let mut line = String::new();
        let length = reader.read_line(&mut line).unwrap_or(0);
        (length > 0).then_some(reader)
    };
    // The sender's own connection may still hold a place for a while, and then does not.
    let mut readers = Vec::new();
    while readers.len() < 3 {
        readers.extend(open(read()));
    }
    assert!(open(read()).is_none(), "a fourth one");
    readers.pop();
    // The place is free when the receiver has noticed.
    while open(read()).is_none() {}
    for reader in &mut readers {
        let mut line = String::new();
        while !line.contains("\"frame\"") {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "those who had places go on reading");
        }
    }
}

#[test]
fn too_many_requests_from_one_address_are_told_to_come_back_later() {
    let (_folder, path) = file("good\nother\n");
    let receiver = Receiver::start(&["--rate-limit", "1", "--token-file", path.to_str().unwrap()]);
    let flood = |token: &str, method: &str, path: &str| {
        let refused = (0..100).map(|_| call(&receiver, token, method, path)).find(|answer| answer.status == 429);
        let refused = refused.unwrap_or_else(|| panic!("{method} {path} is not limited"));
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&seconds), "{refused:?}");
    };
    for (method, path) in [("POST", "/whip"), ("PATCH", "/whip/0"), ("DELETE", "/whip/0")] {
        flood("other", method, path);
    }
    flood("wrong", "GET", "/cv/sessions");
    // Beside all that, the holder of another token at the same address goes on.
    let sent = Sender::run(&receiver.url(), &[&PATTERN[..], &["--token", "good"]].concat()).expect(0);
    assert_eq!(lines::of_type(&sent.lines, "result").len(), 30);
    assert!((0..50).all(|_| call(&receiver, "other", "GET", "/cv/sessions").status == 200), "reading is not limited");
}

#[test]
fn a_flood_of_nonsense_leaves_live_sessions_alone() {
    let (_folder, path) = file("good\nother\n");
    let receiver = Receiver::start(&["--token-file", path.to_str().unwrap()]);
    let source = ["--token", "good", "--pattern", "texture:size=320x240", "--frames", "60", "--session"];
    let calm: Vec<_> = (0..5)
        .map(|n| Sender::run(&receiver.url(), &[&source[..], &[&format!("s{n}"), "--pace", "max"]].concat()).expect(0))
        .collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let other = "Authorization: Bearer other\r\n";
            let websocket = "GET /cv/session/s1/results HTTP/1.0\r\nUpgrade: websocket\r\n";
            let post = "POST /whip HTTP/1.0\r\nContent-Type: application/sdp\r\nContent-Length: 3\r\n";
            let patch = "PATCH /whip/0 HTTP/1.0\r\nContent-Length: 3\r\n";
            let requests = [websocket, post, patch].into_iter().flat_map(|head| [(head, ""), (head, other)]);
            for (head, token) in requests.cycle() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let mut stream = http::connect(receiver.address);
                drop(stream.write_all(format!("{head}{token}\r\nv=0").as_bytes()));
                let mut answer = String::new();
                drop(stream.read_to_string(&mut answer));
                assert!(answer.starts_with("HTTP/1.0 4"), "{answer}");
            }
        });
        // Paced, so that all five are live at once.
        let senders: Vec<_> =
            (0..5).map(|n| Sender::start(&receiver.url(), &[&source[..], &[&format!("s{n}")]].concat())).collect();
        for (calm, sender) in calm.iter().zip(senders) {
            lines::assert_same("beside a flood", &calm.lines, &sender.finish().expect(0).lines);
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn offers_that_never_connect_keep_nobody_out() {
    let receiver = Receiver::start(&["--max-sessions", "4"]);
    let watched = Sender::start(&receiver.url(), &[&LONG[..], &["--session", "watched"]].concat());
    watched.wait_for_frame(5);
    let length = OFFER.len();
    let offers: Vec<TcpStream> = (0..3)
        .map(|number| {
            let path = format!("POST /whip?session=idle-{number} HTTP/1.0\r\nContent-Type: {SDP}\r\n");
            let request = format!("{path}Content-Length: {length}\r\n\r\n{OFFER}");
            let mut stream = half_open(receiver.address, Ipv4Addr::new(127, 0, 0, 2), request.as_bytes());
            let head = http::read_head(&mut BufReader::new(&mut stream));
            assert!(head.contains(" 201 "), "{head}");
            stream
        })
        .collect();
    let sent = Sender::run(&receiver.url(), &[&PATTERN[..], &["--session", "honest"]].concat()).expect(0);
    assert_eq!(lines::of_type(&sent.lines, "result").len(), 30);
    assert_eq!(receiver.scrape().value("cv_receiver_connections_ended_total{reason=\"gave-way\"}"), 1.0);
    let latest = lines::of_type(&watched.program.stdout(), "result").len() as u64;
    watched.wait_for_frame(latest + 10);
    drop(offers);
}

#[test]
fn no_secret_is_in_a_log_an_error_or_the_list_of_sessions() {
    let receiver = Receiver::start(&["-vv", "--token", "sesame-opens"]);
    let sent = Sender::run(&receiver.url(), &[&PATTERN[..], &["-vv", "--token", "sesame-opens"]].concat()).expect(0);
    let created = offer(&receiver, "sesame-opens", "quiet");
    assert_eq!((created.status, created.header("cache-control")), (201, Some("no-store")), "{created:?}");
    assert_eq!(created.header("x-content-type-options"), Some("nosniff"));
    let location = created.header("location").unwrap().to_owned();
    let secret = location.rsplit('/').next().unwrap();
    assert!(secret.len() >= 32, "{location}");
    let listed = call(&receiver, "sesame-opens", "GET", "/cv/sessions").body;
    let mut said = vec![listed];
    for method in ["GET", "PUT", "PATCH", "DELETE", "DELETE", "POST"] {
        said.push(call(&receiver, "sesame-opens", method, &location).body);
        said.push(call(&receiver, "sesame-closes", method, &location).body);
    }
    said.extend([receiver.program.stderr(), sent.stderr]);
    for text in &said {
        let traces = ["sesame", secret, "/whip/"].into_iter().filter(|trace| text.contains(trace));
        assert_eq!(traces.count(), 0, "{text}");
    }
    assert!(said.iter().any(|text| text.contains("DEBUG")), "there is a log to look at");
}

#[test]
fn pages_of_listed_origins_get_all_they_need_and_others_nothing() {
    let receiver = Receiver::start(&["--token", "secret", "--cors-origin", "https://example.org"]);
    let ask = |origin: &str| {
        let page = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "PATCH"),
            ("Access-Control-Request-Headers", "authorization,if-match,content-type"),
            ("Access-Control-Request-Private-Network", "true"),
        ];
        http::request(receiver.address, "OPTIONS", "/whip/0", &page, "")
    };
    let preflight = ask("https://example.org");
    assert_eq!(preflight.status, 200, "no token is asked for: {preflight:?}");
    let field = |name: &str| preflight.header(name).unwrap_or_else(|| panic!("no {name}")).to_ascii_lowercase();
    assert_eq!(field("access-control-allow-origin"), "https://example.org");
    assert!(["post", "patch", "delete"].iter().all(|method| field("access-control-allow-methods").contains(method)));
    let headers = field("access-control-allow-headers");
    assert!(["authorization", "if-match", "content-type"].iter().all(|name| headers.contains(name)), "{headers}");
    assert_eq!(field("access-control-allow-private-network"), "true");
    assert!(field("vary").contains("origin") && field("access-control-max-age") == "7200");
    assert_eq!(ask("https://evil.example").header("access-control-allow-origin"), None);

    let page = [("Origin", "https://example.org")];
    let refused = http::request(receiver.address, "GET", "/cv/sessions", &page, "");
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://example.org"), "errors can be read, too");
    let exposed = refused.header("access-control-expose-headers").unwrap().to_ascii_lowercase();
    for name in ["location", "etag", "link", "accept-patch", "retry-after"] {
        assert!(exposed.contains(name), "{name}: {exposed}");
    }
    let mut command = program::command("cv-receiver");
    command.args(["--listen", "127.0.0.1:0", "--cors-origin", "https://example.org/"]);
    let mistaken = Program::start(command);
    assert_eq!(mistaken.wait(LIMIT), Some(1));
    assert!(mistaken.stderr().contains("is not an origin"), "{}", mistaken.stderr());
}

#[test]
fn websockets_are_for_pages_of_listed_origins_and_for_programs() {
    let receiver = Receiver::start(&["--cors-origin", "https://example.org"]);
    let sender = Sender::start(&receiver.url(), &[&LONG[..], &["--session", "watched"]].concat());
    sender.wait_for_frame(1);
    let own = format!("http://{}", receiver.address);
    let status = |origin: Option<&str>, key: &str| {
        let mut stream = http::connect(receiver.address);
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /cv/session/watched/results HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\n{origin}{key}\r\n",
            receiver.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let head = http::read_head(&mut BufReader::new(stream));
        head.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(status(None, key), 101);
    assert_eq!(status(Some("https://example.org"), key), 101);
    assert_eq!(status(Some(&own), key), 101);
    assert_eq!(status(Some("https://evil.example"), key), 403);
    assert_eq!(status(Some("null"), key), 403);
    assert_eq!(status(None, ""), 400, "what is no whole upgrade is no stream of events either");
}

#[cfg(unix)]
#[test]
fn a_receiver_that_stops_lets_its_readers_finish() {
    let receiver = Receiver::start(&[]);
    let sender = Sender::start(&receiver.url(), &[&LONG[..], &["--session", "last"]].concat());
    sender.wait_for_frame(5);
    let accept = [("Accept", "application/x-ndjson")];
    let mut reader = http::send(receiver.address, "GET", "/cv/session/last/results?since=0", &accept, "");
    assert!(http::read_head(&mut reader).contains(" 200 "));
    receiver.program.signal("TERM");
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("the end is an end, not a broken connection");
    assert!(text.lines().last().unwrap().contains("\"event\":\"closed\""), "{text}");
    assert_eq!(receiver.program.wait(LIMIT), Some(0), "{}", receiver.program.stderr());
    sender.finish().expect(1);
}
