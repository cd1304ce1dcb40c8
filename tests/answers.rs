//! Every picture is answered once, in order, to everybody who listens.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use cv_tests::{Receiver, Sender, lines};

const PATTERN: &str = "bars:size=320x240";

#[test]
fn every_picture_of_a_pattern_is_answered_once_in_order_with_its_own_time_and_size() {
    let receiver = Receiver::start(&[]);
    let arguments = ["--pattern", PATTERN, "--frames", "45", "--session", "one"];
    let sent = Sender::run(&receiver.url(), &arguments).expect(0);
    let results = lines::of_type(&sent.lines, "result");
    assert_eq!(lines::accounted(&sent.lines), (0..45).collect::<Vec<_>>());
    assert_eq!(results.len(), 45);
    for (number, result) in results.iter().enumerate() {
        let time = result["time"].as_f64().unwrap();
        assert!((time - number as f64 / 30.0).abs() < 1e-6, "frame {number} has time {time}");
        assert_eq!((&result["width"], &result["height"]), (&224.into(), &168.into()));
        assert_eq!((&result["session"], &result["v"]), (&"one".into(), &1.into()));
        assert_eq!(result["clock"]["source"], "frame-stamp");
        assert!(result["errors"].as_array().unwrap().is_empty());
        assert!(result["analysis"]["stats"]["brightness"].is_number(), "{result}");
    }
}

#[test]
fn a_session_begins_with_started_and_ends_with_final_and_closed() {
    let receiver = Receiver::start(&[]);
    let arguments = ["--pattern", PATTERN, "--frames", "10", "--pace", "max", "--session", "one"];
    let sent = Sender::run(&receiver.url(), &arguments).expect(0);
    let all = lines::parse(&sent.lines);
    assert_eq!((&all[0]["type"], &all[0]["event"]), (&"session".into(), &"started".into()));
    let [.., last_but_one, last] = &all[..] else { panic!("{all:?}") };
    assert_eq!(last_but_one["type"], "final");
    assert_eq!((&last["type"], &last["event"]), (&"session".into(), &"closed".into()));
    let totals = &last["totals"];
    for key in ["received", "decoded", "analyzed"] {
        assert_eq!(totals[key], 10, "{key} of {totals}");
    }
    assert_eq!((&totals["lost"], &totals["dropped"]["busy"]), (&0.into(), &0.into()));
    assert!(last.get("reason").is_none(), "{last}");
}

#[test]
fn receiver_and_sender_print_the_same_lines() {
    let receiver = Receiver::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results.ndjson");
    let arguments = ["--pattern", PATTERN, "--frames", "30", "--pace", "max", "--session", "same"];
    let sent = Sender::run(&receiver.url(), &[&arguments[..], &["--out", out.to_str().unwrap()]].concat()).expect(0);
    assert!(sent.lines.is_empty(), "with --out nothing is left for stdout");
    let written: Vec<String> = std::fs::read_to_string(out).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(written, receiver.lines_until_closed("same"));
    assert_eq!(written.len(), 33);
}

#[test]
fn the_summary_for_programs_agrees_with_the_lines() {
    let receiver = Receiver::start(&["--no-print"]);
    let arguments = ["--pattern", PATTERN, "--frames", "20", "--pace", "max", "--output", "json"];
    let sent = Sender::run(&receiver.url(), &arguments).expect(0);
    let summary = sent.summary();
    assert_eq!((&summary["frames_sent"], &summary["results"], &summary["gaps"]), (&20.into(), &20.into(), &0.into()));
    let session = summary["session"].as_str().unwrap();
    assert!(session.starts_with("session-20"), "{session}");
    assert!(sent.lines.iter().all(|line| line.contains(session)));
    assert!(summary["latency_ms"]["p50"].as_f64().unwrap() > 0.0);
    assert!(receiver.program.stdout().is_empty(), "--no-print prints nothing");
}

#[test]
fn two_sessions_at_once_do_not_mix() {
    let receiver = Receiver::start(&[]);
    let arguments = ["--pattern", PATTERN, "--frames", "30", "--session"];
    let left = Sender::start(&receiver.url(), &[&arguments[..], &["left"]].concat());
    let right = Sender::start(&receiver.url(), &[&arguments[..], &["right"]].concat());
    for (name, sender) in [("left", left), ("right", right)] {
        let sent = sender.finish().expect(0);
        assert_eq!(lines::accounted(&sent.lines), (0..30).collect::<Vec<_>>());
        assert_eq!(sent.lines, receiver.lines_until_closed(name));
    }
}
