//! What an operator sees: counts that are true, names that are documented, health that is real.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use cv_tests::{
    Receiver, Sender, http, lines,
    program::{self, LIMIT, Program},
};

const PATTERN: [&str; 2] = ["--pattern", "bars:size=320x240"];

fn project(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn counts_equal_the_totals_of_the_sessions() {
    let receiver = Receiver::start(&["--analysis-threads", "1"]);
    let clean = [&PATTERN[..], &["--frames", "60", "--pace", "max", "--session", "clean"]].concat();
    let slow =
        [&PATTERN[..], &["--frames", "45", "--mode", "live", "--analyze", "busy:ms=80", "--session", "slow"]].concat();
    let sent = [Sender::run(&receiver.url(), &clean).expect(0), Sender::run(&receiver.url(), &slow).expect(0)];
    // What waited for stdout has left it.
    for session in ["clean", "slow"] {
        receiver.lines_until_closed(session);
    }
    let closed: Vec<_> = sent.iter().map(|sent| lines::parse(&sent.lines).pop().unwrap()).collect();
    let total =
        |path: &str| -> f64 { closed.iter().map(|line| line.pointer(path).unwrap().as_u64().unwrap() as f64).sum() };
    let scrape = receiver.scrape();
    for (fate, path) in [
        ("received", "/totals/received"),
        ("decoded", "/totals/decoded"),
        ("analyzed", "/totals/analyzed"),
        ("errors", "/totals/errors"),
        ("lost", "/totals/lost"),
        ("late", "/totals/dropped/late"),
        ("busy", "/totals/dropped/busy"),
        ("undecodable", "/totals/dropped/undecodable"),
    ] {
        assert_eq!(scrape.value(&format!("cv_receiver_frames_total{{fate=\"{fate}\"}}")), total(path), "{fate}");
    }
    assert!(total("/totals/dropped/busy") > 0.0, "the slow one leaves pictures out");
    for fate in ["received", "lost", "useless", "nacked"] {
        let name = format!("cv_receiver_rtp_packets_total{{fate=\"{fate}\"}}");
        assert_eq!(scrape.value(&name), total(&format!("/clock/packets/{fate}")), "{fate}");
    }
    assert!(scrape.value("cv_receiver_rtp_payload_bytes_total") > 1000.0);
    for stage in ["encode", "network", "decode", "queue", "analyze", "total"] {
        let count = scrape.value(&format!("cv_receiver_stage_duration_seconds_count{{stage=\"{stage}\"}}"));
        assert_eq!(count, total("/totals/analyzed"), "{stage}");
    }
    let asked = scrape.value("cv_receiver_connections_ended_total{reason=\"asked\"}");
    let posted = scrape.value("cv_receiver_http_requests_total{route=\"/whip\",status=\"2xx\"}");
    assert_eq!((asked, posted), (2.0, 2.0));
    for (sample, value) in scrape.samples().filter(|(name, _)| name.starts_with("cv_receiver_queue_items")) {
        assert_eq!(value, 0.0, "{sample}: everything was taken out again");
    }
}

#[test]
fn a_session_at_work_is_seen_and_never_by_its_name() {
    let receiver = Receiver::start(&[]);
    let source = [&PATTERN[..], &["--duration", "120", "--mode", "live", "--session", "confidential"]].concat();
    let sender = Sender::start(&receiver.url(), &source);
    sender.wait_for_frame(30);
    let (early, text) = (receiver.scrape(), http::get(receiver.ops_address(), "/metrics").body);
    assert_eq!(early.value("cv_receiver_sessions{state=\"active\"}"), 1.0);
    assert_eq!(early.value("cv_receiver_sessions{state=\"connecting\"}"), 0.0);
    assert_eq!(early.value("cv_receiver_sessions{state=\"remembered\"}"), 1.0);
    assert!(early.value("cv_receiver_jitter_seconds_count{mode=\"live\"}") > 0.0);
    assert!(!text.contains("confidential"), "{text}");
    sender.wait_for_frame(60);
    let late = receiver.scrape();
    for name in [
        "cv_receiver_frames_total{fate=\"analyzed\"}",
        "cv_receiver_rtp_payload_bytes_total",
        "process_cpu_seconds_total",
    ] {
        assert!(late.value(name) > early.value(name), "{name} grows");
    }
    let shape =
        |scrape: &cv_tests::metrics::Scrape| scrape.samples().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(shape(&early), shape(&late), "series come at the start and never after");
    sender.program.signal("INT");
    sender.finish().expect(0);
    assert_eq!(receiver.scrape().value("cv_receiver_sessions{state=\"active\"}"), 0.0);
}

#[test]
fn every_metric_is_documented_and_nothing_else_is() {
    let receiver = Receiver::start(&[]);
    let scrape = receiver.scrape();
    let rows: BTreeSet<(String, String)> = project("docs/metrics.md")
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`').to_owned();
            Some((name, cells.next()?.to_owned()))
        })
        .collect();
    let families: BTreeSet<(String, String)> =
        scrape.families().map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
    assert_eq!(rows, families);
}

#[test]
fn the_dashboard_asks_only_for_metrics_that_exist() {
    let receiver = Receiver::start(&[]);
    let scrape = receiver.scrape();
    let known = scrape.names();
    let dashboard: serde_json::Value = serde_json::from_str(&project("scripts/grafana/cv-receiver.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    assert!(queries.len() >= 10, "a dashboard has queries: {queries:?}");
    for query in queries {
        let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let asked: Vec<_> =
            words.filter(|word| word.starts_with("cv_receiver_") || word.starts_with("process_")).collect();
        assert!(!asked.is_empty(), "a query without a metric: {query}");
        for name in asked {
            assert!(known.contains(name), "there is no {name}, asked for by: {query}");
        }
    }
}

#[test]
fn a_receiver_is_ready_until_it_is_full_or_stops() {
    let receiver = Receiver::start(&["--max-sessions", "1"]);
    let ops = receiver.ops_address();
    assert_eq!((http::get(ops, "/healthz").status, http::get(ops, "/readyz").status), (200, 200));
    assert_eq!(http::get(ops, "/nothing").status, 404);
    let source = [&PATTERN[..], &["--duration", "120", "--mode", "live", "--session", "only"]].concat();
    let sender = Sender::start(&receiver.url(), &source);
    sender.wait_for_frame(1);
    let full = http::get(ops, "/readyz");
    assert_eq!(full.status, 503, "{full:?}");
    assert!(full.body.contains("--max-sessions"), "{full:?}");
    assert_eq!(http::get(ops, "/healthz").status, 200);
    assert_eq!(receiver.scrape().value("cv_receiver_ready"), 0.0);
}

#[test]
fn a_second_receiver_goes_on_without_metrics_unless_it_was_told_where_to_have_them() {
    let first = Receiver::start(&[]);
    let taken = first.ops_address().to_string();
    let mut told = program::command("cv-receiver");
    told.args(["--listen", "127.0.0.1:0", "--ops-listen", &taken]);
    let told = Program::start(told);
    assert_eq!(told.wait(LIMIT), Some(1));
    assert!(told.stderr().contains("--ops-listen takes another port"), "{}", told.stderr());
    let mut open = program::command("cv-receiver");
    open.args(["--listen", "127.0.0.1:0", "--ops-listen", "0.0.0.0:0"]);
    let open = Program::start(open);
    assert_eq!(open.wait(LIMIT), Some(1));
    assert!(open.stderr().contains("--allow-anonymous"), "{}", open.stderr());
    // Whoever has the usual port, both of these come up.
    let usual = || {
        let mut command = program::command("cv-receiver");
        command.args(["--listen", "127.0.0.1:0"]);
        Receiver::from(Program::start(command))
    };
    let (one, other) = (usual(), usual());
    let without = |receiver: &Receiver| receiver.program.stderr().contains("no metrics and no health checks");
    assert!(without(&one) || without(&other), "{}", other.program.stderr());
}

#[test]
fn a_session_has_one_line_in_the_log_when_it_begins_and_one_when_it_ends() {
    for format in ["json", "text"] {
        let receiver = Receiver::start(&["--log-format", format]);
        let source = [&PATTERN[..], &["--frames", "30", "--pace", "max", "--session", "logged"]].concat();
        let sent = Sender::run(&receiver.url(), &source).expect(0);
        let totals = lines::parse(&sent.lines).pop().unwrap()["totals"].clone();
        receiver.program.wait_for_stderr("end of the session", |line| line.contains("session-end"));
        let log = receiver.program.stderr();
        let about: Vec<_> = log.lines().filter(|line| line.contains("logged")).collect();
        assert_eq!(about.len(), 2, "{log}");
        assert!(!log.contains("/whip/"), "session URLs are secrets: {log}");
        if format == "text" {
            let told = [
                "session-begin",
                "session-end",
                "mode=\"every-frame\"",
                "client=127.0.0.1",
                "analyzed=30",
                "reason=\"asked\"",
            ];
            assert!(told.iter().all(|part| about.join("\n").contains(part)), "{about:?}");
            continue;
        }
        let [begin, end]: [serde_json::Value; 2] = [about[0], about[1]].map(|line| serde_json::from_str(line).unwrap());
        assert_eq!((&begin["event"], &begin["level"]), (&"session-begin".into(), &"INFO".into()));
        assert_eq!(
            (&begin["session"], &begin["mode"], &begin["client"]),
            (&"logged".into(), &"every-frame".into(), &"127.0.0.1".into())
        );
        assert_eq!(
            (&end["event"], &end["level"], &end["reason"]),
            (&"session-end".into(), &"INFO".into(), &"asked".into())
        );
        for name in ["received", "decoded", "analyzed", "errors", "lost"] {
            assert_eq!(end[name], totals[name], "{name}: {end}");
        }
        for name in ["late", "busy", "undecodable"] {
            assert_eq!(end[name], totals["dropped"][name], "{name}: {end}");
        }
        assert!(end["seconds"].is_u64() && end["packets"].as_u64().unwrap() >= 30, "{end}");
    }
}
