//! Saved features are folded again without a network.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::path::Path;

use cv_tests::{
    Finished, Receiver, Sender, lines,
    program::{self, LIMIT, Program},
};

const LIST: &str = "stats:window=1,busy:ms=0";

/// What a receiver printed of two sessions, one of which came twice with its baseline kept, features and all.
fn saved() -> Vec<String> {
    let receiver = Receiver::start(&["--emit", "features", "--analyze", LIST]);
    for (session, more) in [("a", &["--keep-session"][..]), ("b", &[]), ("a", &[])] {
        let source = ["--pattern", "texture:size=320x240", "--frames", "40", "--pace", "max", "--session", session];
        let sent = Sender::run(&receiver.url(), &[&source[..], more].concat()).expect(0);
        assert!(lines::of_type(&sent.lines, "features").is_empty(), "they are for those who asked for them");
        receiver.lines_until_closed(session);
    }
    receiver.program.signal("TERM");
    receiver.program.wait(LIMIT);
    receiver.program.stdout()
}

fn analyze(file: &Path, list: &str) -> Finished {
    let mut command = program::command("cv-receiver");
    command.args(["analyze", "--analyze", list, "--features"]).arg(file);
    let program = Program::start(command);
    let code = program.wait(LIMIT);
    Finished { code, lines: program.stdout(), stderr: program.stderr() }
}

#[test]
fn the_same_list_gives_the_same_lines_and_another_one_what_it_would_have_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.ndjson");
    let all = saved();
    std::fs::write(&file, all.join("\n")).unwrap();
    let results: Vec<String> = all.into_iter().filter(|line| !line.starts_with("{\"type\":\"features\"")).collect();
    let again = analyze(&file, LIST).expect(0);
    assert_eq!(lines::of_type(&again.lines, "result").len(), 120);
    lines::assert_same("folded again", &results, &again.lines);

    let wider = analyze(&file, "stats:window=100").expect(0);
    let progress = |lines: &[String]| {
        lines::of_type(lines, "result")[39]["analysis"]["stats"]["baseline"]["progress"].as_f64().unwrap()
    };
    assert!(progress(&wider.lines) < 0.1 && progress(&again.lines) == 1.0);
}

#[test]
fn what_was_not_saved_is_an_error_of_each_picture() {
    let line = r#"{"type":"features","v":1,"session":"s","frame":3,"time":0.1,"session_time":0.1,"width":2,"height":2,"features":{"busy":{"json":null}}}"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.ndjson");
    std::fs::write(&file, line).unwrap();
    let folded = lines::parse(&analyze(&file, "stats").expect(0).lines).remove(0);
    assert_eq!(folded["frame"], 3);
    let message = folded["errors"][0]["message"].as_str().unwrap();
    assert_eq!(message, "no features of stats were saved, only of busy");
}

#[test]
fn files_of_something_else_are_refused_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.ndjson");
    for (text, reason) in [
        ("", "is empty"),
        ("\n{\"type\":\"gap\",\"session\":\"s\"}\nnonsense", "line 3: this is no line of cv-receiver"),
        ("{\"type\":\"features\",\"session\":\"s\"}", "line 1: these are no features"),
        (
            r#"{"type":"features","v":2,"session":"s","frame":3,"time":0,"session_time":0,"width":2,"height":2,"features":{}}"#,
            "version 2",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        analyze(&file, "stats").expect(1).says(reason);
    }
    analyze(&folder.path().join("absent"), "stats").expect(1).says("absent");
    analyze(&file, "stat").expect(1).says("no analyzer 'stat'");
}
