//! The same pictures give the same lines, whatever differs beside them.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use cv_tests::{Receiver, Sender, clips, lines};

const PATTERN: [&str; 4] = ["--pattern", "texture:size=320x240", "--frames", "60"];

fn run(receiver: &Receiver, source: &[&str], more: &[&str]) -> Vec<String> {
    let arguments = [source, &["--session", "again"], more].concat();
    let sent = Sender::run(&receiver.url(), &arguments).expect(0);
    assert_eq!(lines::accounted(&sent.lines), (0..60).collect::<Vec<_>>());
    sent.lines
}

fn at_any_pace(source: &[&str]) {
    let receiver = Receiver::start(&[]);
    let first = run(&receiver, source, &["--pace", "1"]);
    for pace in ["4", "max"] {
        lines::assert_same(&format!("pace {pace}"), &first, &run(&receiver, source, &["--pace", pace]));
    }
}

#[test]
fn a_pattern_gives_the_same_lines_at_any_pace_in_one_session_after_the_other() {
    at_any_pace(&PATTERN);
}

#[test]
fn a_clip_gives_the_same_lines_at_any_pace_in_one_session_after_the_other() {
    let Some(clip) = clips::clip("squat_front_5reps.mp4") else { return };
    at_any_pace(&["--file", clip.to_str().unwrap(), "--frames", "60"]);
}

#[test]
fn the_number_of_analysis_threads_changes_no_line() {
    let analyze = ["--analyze", "busy:ms=3,stats", "--pace", "max"];
    let default = run(&Receiver::start(&[]), &PATTERN, &analyze);
    assert!(default.iter().any(|line| line.contains("\"busy\"")));
    for threads in ["1", "4"] {
        let receiver = Receiver::start(&["--analysis-threads", threads]);
        lines::assert_same(&format!("{threads} threads"), &default, &run(&receiver, &PATTERN, &analyze));
        lines::assert_same(&format!("{threads} threads, again"), &default, &run(&receiver, &PATTERN, &analyze));
    }
}

#[test]
fn a_session_that_is_kept_goes_on_and_one_that_is_forgotten_begins_anew() {
    let receiver = Receiver::start(&[]);
    let max = ["--pace", "max"];
    let first = run(&receiver, &PATTERN, &["--pace", "max", "--keep-session"]);
    let second = run(&receiver, &PATTERN, &["--pace", "max", "--keep-session"]);
    let begin = &lines::parse(&second)[0];
    assert_eq!((&begin["event"], &begin["state"]), (&"resumed".into(), &"kept".into()));
    let progress = |lines: &[String]| {
        lines::of_type(lines, "result")[0]["analysis"]["stats"]["baseline"]["progress"].as_f64().unwrap()
    };
    assert!(progress(&second) > progress(&first), "the baseline goes on");
    let path = "/cv/session/again";
    let forgotten = cv_tests::http::request(receiver.address, "DELETE", path, &[], "");
    assert_eq!((forgotten.status, forgotten.body.as_str()), (200, "{\"ok\":true}"));
    lines::assert_same("after DELETE", &first, &run(&receiver, &PATTERN, &max));
}
