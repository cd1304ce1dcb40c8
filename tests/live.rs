//! Live, the newest picture wins: what is left out is named, and nothing gets old.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use cv_tests::{Receiver, Sender, lines};

#[test]
fn a_slow_analyzer_makes_gaps_but_no_delay() {
    let receiver = Receiver::start(&["--analysis-threads", "1"]);
    let source = ["--pattern", "bars:size=320x240", "--duration", "3", "--mode", "live", "--output", "json"];
    let arguments = [&source[..], &["--analyze", "busy:ms=100", "--session", "slow"]].concat();
    let sent = Sender::run(&receiver.url(), &arguments).expect(0);
    assert_eq!(sent.summary()["frames_sent"], 90);
    assert_eq!(lines::accounted(&sent.lines), (0..90).collect::<Vec<_>>());
    let results = lines::of_type(&sent.lines, "result");
    let gaps = lines::of_type(&sent.lines, "gap");
    assert!((5..=32).contains(&results.len()), "{} results in 3 s at 100 ms each", results.len());
    assert!(gaps.iter().all(|gap| gap["cause"] == "busy"), "{gaps:?}");
    let mut waited: Vec<f64> = results.iter().map(age_before_analysis).collect();
    waited.sort_by(f64::total_cmp);
    let median = waited[waited.len() / 2];
    // The one picture that waits is at most as old as the gap between two; two intervals leave room for the rest.
    assert!(median < 66.0, "pictures are {median} ms old when their analysis begins: {waited:?}");
}

fn age_before_analysis(result: &serde_json::Value) -> f64 {
    let clock = &result["clock"];
    clock["age_ms"].as_f64().expect("an age") - clock["stages_ms"]["analyze"].as_f64().expect("a stage")
}

#[test]
fn totals_of_a_live_session_add_up() {
    let receiver = Receiver::start(&["--analysis-threads", "1"]);
    let source = ["--pattern", "bars:size=320x240", "--frames", "60", "--mode", "live"];
    let arguments = [&source[..], &["--analyze", "busy:ms=80,stats", "--session", "sums"]].concat();
    let sent = Sender::run(&receiver.url(), &arguments).expect(0);
    let closed = lines::parse(&sent.lines).pop().unwrap();
    let totals = &closed["totals"];
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let left_out = number(&totals["lost"]) + number(&totals["dropped"]["busy"]);
    assert_eq!(number(&totals["analyzed"]) + left_out, 60, "{totals}");
    assert_eq!(number(&totals["analyzed"]), lines::of_type(&sent.lines, "result").len() as u64);
}
