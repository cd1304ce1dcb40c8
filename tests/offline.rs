//! Analysis without a network: saved features are folded again, and a clip's own pictures analysed.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::path::Path;

use cv_tests::{
    Finished, Receiver, Sender, clips, http, lines,
    program::{self, LIMIT, Program},
    python::{self, Script},
    streams,
};
use serde_json::Value;

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
fn a_session_that_is_forgotten_while_it_runs_says_from_which_frame_on_and_folds_to_the_same_lines() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&["--emit", "features"]);
    let source = ["--pattern", "texture:size=64x64", "--frames", "150", "--mode", "every-frame", "--session", "f"];
    let sender = Sender::start(&receiver.url(), &source);
    sender.wait_for_frame(20);
    assert_eq!(http::request(receiver.address, "DELETE", "/cv/session/f", &[], "").status, 200);
    let sent = sender.finish().expect(0);
    let [forgotten] = &lines::of_type(&sent.lines, "session")
        .into_iter()
        .filter(|line| line["event"] == "forgotten")
        .collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", lines::of_type(&sent.lines, "session"));
    };
    let from = forgotten["from"].as_u64().unwrap() as usize;
    let results = lines::of_type(&sent.lines, "result");
    let progress = |frame: usize| results[frame]["analysis"]["stats"]["baseline"]["progress"].as_f64().unwrap();
    assert!(from > 20 && progress(from - 1) > 0.0 && progress(from) == 0.0, "{from}");
    receiver.lines_until_closed("f");
    let file = folder.path().join("saved.ndjson");
    std::fs::write(&file, receiver.program.stdout().join("\n")).unwrap();
    lines::assert_same("folded again", &sent.lines, &analyze(&file, "stats").expect(0).lines);
}

#[test]
fn what_was_not_saved_is_an_error_of_each_picture() {
    let line = r#"{"type":"features","v":1,"session":"s","frame":3,"time":0.1,"session_time":0.1,"width":2,"height":2,"features":{"busy":{"json":null}}}"#;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.ndjson");
    std::fs::write(&file, line).unwrap();
    let folded = lines::parse(&analyze(&file, "stats").expect(3).lines).remove(0);
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
        (r#"{"type":"result","session":"s","frame":0}"#, "it has results and no features"),
    ] {
        std::fs::write(&file, text).unwrap();
        analyze(&file, "stats").expect(1).says(reason);
    }
    analyze(&folder.path().join("absent"), "stats").expect(1).says("absent");
    analyze(&file, "stat").expect(1).says("no analyzer 'stat'");
}

#[test]
fn a_failure_at_the_end_is_no_finding_and_ci_notices() {
    let folder = tempfile::tempdir().unwrap();
    let path = staircase(folder.path(), 3);
    let script =
        Script::new("def look(frame, meta):\n    return {}\ndef finish(meta):\n    raise ValueError('no end')\n");
    let (list, python) = (script.function("look"), python::interpreter());
    let list = ["--analyze", &list, "--python", python.to_str().unwrap()];
    let receiver = Receiver::start(&list);
    let source = ["--file", path.to_str().unwrap(), "--pace", "max"];
    let live = Sender::run(&receiver.url(), &source).expect(3);
    for printed in [clip(&path, &list).expect(3).lines, live.lines] {
        let [last] = &lines::of_type(&printed, "final")[..] else { panic!("{printed:?}") };
        assert_eq!(last["analysis"], serde_json::json!({}));
        assert_eq!(last["errors"][0]["analyzer"], "look");
        assert!(last["errors"][0]["message"].as_str().unwrap().contains("ValueError: no end"), "{last}");
        assert_eq!(lines::of_type(&printed, "session").last().unwrap()["totals"]["errors"], 1);
    }
}

/// Starts `cv-receiver analyze` on the clip at `path`.
fn start(path: &Path, arguments: &[&str]) -> Program {
    let mut command = program::command("cv-receiver");
    command.arg("analyze").arg("--file").arg(path).args(arguments);
    Program::start(command)
}

fn finish(program: &Program) -> Finished {
    let code = program.wait(LIMIT);
    Finished { code, lines: program.stdout(), stderr: program.stderr() }
}

fn clip(path: &Path, arguments: &[&str]) -> Finished {
    finish(&start(path, arguments))
}

/// A YUV4MPEG2 clip of `count` pictures of 64x48 whose luma grows by one each.
fn staircase(folder: &Path, count: u8) -> std::path::PathBuf {
    let mut text = b"YUV4MPEG2 W64 H48 F25:1 C420jpeg\n".to_vec();
    for number in 0..count {
        text.extend(b"FRAME\n");
        text.extend([40 + number; 64 * 48]);
        text.extend([128; 64 * 48 / 2]);
    }
    let path = folder.join("staircase.y4m");
    std::fs::write(&path, text).unwrap();
    path
}

fn brightness(result: &Value) -> f64 {
    result["analysis"]["stats"]["brightness"].as_f64().unwrap()
}

#[test]
fn a_clip_gives_its_own_pictures_in_order_and_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = staircase(folder.path(), 100);
    let said = clip(&path, &["--crop", "1", "--session", "steps"]).expect(0);
    let results = lines::of_type(&said.lines, "result");
    assert_eq!(lines::accounted(&said.lines), (0..100).collect::<Vec<_>>());
    for (number, result) in (0u8..).zip(&results) {
        assert_eq!(brightness(result), f64::from(40 + number), "what the file holds, without any codec's part in it");
        assert_eq!(result["time"], f64::from(number) / 25.0);
        assert_eq!(result["analysis"]["stats"]["motion"], f64::from(u8::from(number > 0)));
    }
    assert_eq!(said.lines[0], r#"{"type":"session","event":"started","session":"steps"}"#);
    let closed: Value = serde_json::from_str(said.lines.last().unwrap()).unwrap();
    assert_eq!((&closed["event"], &closed["totals"]["analyzed"]), (&"closed".into(), &100.into()));
    assert!(said.lines.iter().all(|line| !line.contains("\"clock\"")));
}

#[test]
fn a_part_of_a_clip_is_what_a_sender_would_take() {
    let folder = tempfile::tempdir().unwrap();
    let path = staircase(folder.path(), 100);
    let part = ["--start", "1", "--duration", "2", "--fps", "5", "--frames", "8", "--size", "32x24"];
    let said = clip(&path, &part).expect(0);
    let results = lines::of_type(&said.lines, "result");
    let times: Vec<f64> = results.iter().map(|result| result["time"].as_f64().unwrap()).collect();
    assert_eq!(times, [1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2, 2.4]);
    assert!(results.iter().all(|result| result["width"] == 32 && result["height"] == 24));
    assert_eq!(results[7]["frame"], 7);
    let none = clip(&path, &["--start", "100"]).expect(0);
    assert_eq!(none.lines.len(), 3, "a session without pictures: {:?}", none.lines);
}

#[test]
fn any_number_of_threads_gives_the_same_lines() {
    let Some(path) = clips::clip("squat_front_5reps.mp4") else { return };
    let run = |threads: &str, more: &[&str]| {
        let list = ["--analyze", "stats,cycles,pulse,cv-metrics", "--frames", "90", "--threads", threads];
        clip(&path, &[&list[..], more].concat()).expect(0).lines
    };
    let (one, eight) = (run("1", &[]), run("8", &[]));
    assert_eq!(lines::of_type(&one, "result").len(), 90);
    assert_eq!(one, eight);
    let features = ["--emit", "features"];
    assert_eq!(run("1", &features), run("8", &features));
}

#[test]
fn a_clip_and_a_sender_of_it_tell_the_same_but_for_the_codec() {
    let Some(path) = clips::clip("variants/v10_vfr.mp4") else { return };
    let receiver = Receiver::start(&["--no-print"]);
    let source = ["--file", path.to_str().unwrap(), "--pace", "max", "--session", "same", "--bitrate", "20000"];
    let sent = lines::without_clock(&Sender::run(&receiver.url(), &source).expect(0).lines);
    let said = clip(&path, &["--session", "same"]).expect(0).lines;
    let split = |lines: &[String]| {
        let mut lines = lines::parse(lines);
        let analysis: Vec<Value> = lines.iter_mut().map(|line| line["analysis"].take()).collect();
        let rest: Vec<String> = lines.iter().map(Value::to_string).collect();
        (rest, analysis)
    };
    let ((sent, decoded), (said, own)) = (split(&sent), split(&said));
    assert_eq!(said, sent);
    for (own, decoded) in own.iter().zip(&decoded).filter(|(own, _)| own["stats"].is_object()) {
        let of = |analysis: &Value| analysis["stats"]["brightness"].as_f64().unwrap();
        assert!((of(own) - of(decoded)).abs() < 1.0, "{own} {decoded}");
    }
}

#[test]
fn features_of_a_clip_fold_to_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let (path, saved) = (staircase(folder.path(), 60), folder.path().join("saved.ndjson"));
    let list = "stats:window=1,cycles";
    let lines = clip(&path, &["--analyze", list]).expect(0).lines;
    let out = saved.to_str().unwrap();
    let silent = clip(&path, &["--analyze", list, "--emit", "features", "--out", out]).expect(0);
    assert!(silent.lines.is_empty());
    assert_eq!(analyze(&saved, list).expect(0).lines, lines);
}

#[test]
fn an_analyzer_that_keeps_order_sees_a_clip_in_order_and_its_errors_show_in_the_exit_status() {
    let folder = tempfile::tempdir().unwrap();
    let path = staircase(folder.path(), 40);
    let script = Script::new(
        "def count(frame, meta):\n    meta.state['n'] = meta.state.get('n', -1) + 1\n    \
         assert meta.frame == meta.state['n']\n    return {'n': meta.state['n'], 'luma': int(frame[0, 0])}\n\
         def finish(meta):\n    return {'seen': meta.state['n'] + 1}\n\
         def picky(frame, meta):\n    if meta.frame == 3: raise ValueError('no third')\n",
    );
    let python = python::interpreter();
    let run = |function: &str| {
        let list = format!("{},format=gray", script.function(function));
        let define = format!("own={list}");
        let python = ["--python", python.to_str().unwrap(), "--threads", "8"];
        clip(&path, &[&["--crop", "1", "--define", &define, "--analyze", "own"][..], &python].concat())
    };
    let said = run("count").expect(0);
    for (number, result) in (0..).zip(lines::of_type(&said.lines, "result")) {
        assert_eq!(result["analysis"]["own"], serde_json::json!({"n": number, "luma": 40 + number}));
    }
    assert_eq!(lines::of_type(&said.lines, "final")[0]["analysis"]["own"]["seen"], 40);
    let failed = run("picky").expect(3);
    let errors = |result: &Value| result["errors"].as_array().unwrap().len();
    let wrong: Vec<_> = lines::of_type(&failed.lines, "result")
        .iter()
        .filter(|result| errors(result) > 0)
        .map(|r| r["frame"].clone())
        .collect();
    assert_eq!(wrong, [3]);
}

#[test]
fn a_clip_that_breaks_off_is_analysed_as_far_as_it_goes_and_then_fails() {
    let Some(path) = clips::clip("variants/v15_truncated_moov_first.mp4") else { return };
    let said = clip(&path, &["--threads", "4"]).expect(1).says("v15_truncated_moov_first.mp4 is broken after frame");
    assert_eq!(lines::of_type(&said.lines, "result").len(), 48);
    assert_eq!(lines::of_type(&said.lines, "final").len(), 1);
    assert_eq!(lines::parse(&said.lines).pop().unwrap()["event"], "closed");
}

#[test]
fn what_is_no_clip_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.mp4");
    std::fs::write(&text, "not a video at all").unwrap();
    for (path, reason) in
        [(text.as_path(), "is a text"), (folder.path(), "is a directory"), (&folder.path().join("absent"), "absent")]
    {
        let said = clip(path, &[]).expect(1).says(reason);
        assert!(said.lines.is_empty(), "{:?}", said.lines);
        assert_eq!(said.stderr.lines().filter(|line| line.starts_with("cv-receiver: ")).count(), 1);
    }
    let path = staircase(folder.path(), 2);
    clip(&path, &["--crop", "0.01"]).expect(1).says("larger --crop");
    clip(&path, &["--analyze", "stat"]).expect(1).says("no analyzer 'stat'");
    clip(&path, &["--out", "/dev/full"]).expect(1).says("cannot write results");
    clip(&path, &["--features", "x"]).expect(2);
}

#[test]
fn pictures_that_change_their_size_are_analysed_at_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let parts = [("320x240", 20), ("160x120", 10), ("320x240", 5)];
    let units = parts.iter().flat_map(|(size, count)| streams::staircase(size, *count, &[]));
    let path = folder.path().join("change.h264");
    std::fs::write(&path, units.flat_map(|unit| unit.data).collect::<Vec<_>>()).unwrap();
    let list = ["--crop", "1", "--analyze", "stats,cycles,pulse,cv-metrics"];
    let said = clip(&path, &[&list[..], &["--threads", "8"]].concat()).expect(0);
    let mut widths: Vec<u64> =
        lines::of_type(&said.lines, "result").iter().map(|result| result["width"].as_u64().unwrap()).collect();
    assert_eq!(widths.len(), 35);
    widths.dedup();
    assert_eq!(widths, [320, 160, 320]);
    assert_eq!(clip(&path, &[&list[..], &["--threads", "1"]].concat()).lines, said.lines);
}

#[test]
fn a_reader_of_stdout_that_leaves_ends_it_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let path = staircase(folder.path(), 200);
    let mut command = program::command("cv-receiver");
    command.args(["analyze", "--analyze", "busy:ms=5", "--threads", "1", "--file"]).arg(&path);
    let program = Program::start_reading(command, 2);
    let said = finish(&program).expect(0);
    assert_eq!(said.lines.len(), 2);
    assert!(!said.stderr.contains("cv-receiver: "), "{}", said.stderr);
}

/// A clip on stdin that goes on for ever, as far as it is read.
fn endless() -> (Program, std::thread::JoinHandle<()>) {
    use std::{io::Write, process::Stdio};
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut command = program::command("cv-receiver");
    command.args(["analyze", "--crop", "1", "--file", "-"]);
    let program = Program::start_with_stdin(command, Stdio::from(reader));
    let writing = std::thread::spawn(move || {
        let head = b"YUV4MPEG2 W64 H48 F25:1 C420jpeg\n";
        let picture = [&b"FRAME\n"[..], &[90; 64 * 48 * 3 / 2]].concat();
        let mut written = writer.write_all(head);
        while written.is_ok() {
            written = writer.write_all(&picture);
        }
    });
    (program, writing)
}

#[test]
fn a_signal_ends_a_clip_with_its_last_lines() {
    for signal in ["INT", "TERM"] {
        let (program, writing) = endless();
        program.wait_for_stdout("tenth result", |line| line.contains("\"frame\":9,"));
        program.signal(signal);
        let said = finish(&program).expect(0);
        let analyzed = lines::of_type(&said.lines, "result").len() as u64;
        assert_eq!(lines::accounted(&said.lines), (0..analyzed).collect::<Vec<_>>());
        let last = lines::parse(&said.lines[said.lines.len() - 2..]);
        assert_eq!((&last[0]["type"], &last[1]["event"]), (&"final".into(), &"closed".into()));
        assert_eq!(last[1]["totals"]["analyzed"], analyzed);
        writing.join().unwrap();
    }
}

#[test]
fn a_signal_is_heard_while_a_clip_on_stdin_has_not_begun() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = program::command("cv-receiver");
    command.args(["analyze", "-vv", "--file", "-"]);
    let program = Program::start_with_stdin(command, std::process::Stdio::from(reader));
    program.wait_for_stderr("word that signals are heard", |line| line.contains("reading"));
    program.signal("TERM");
    let said = finish(&program).expect(0);
    assert!(said.lines.is_empty(), "{:?}", said.lines);
    drop(writer);
}

#[test]
fn what_is_read_is_never_overwritten_and_what_cannot_be_read_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.ndjson");
    std::fs::write(&saved, "anything").unwrap();
    let absent = folder.path().join("absent.mp4");
    for (input, reason) in
        [(["--features"], &saved), (["--file"], &saved), (["--file"], &absent)].map(|([flag], path)| {
            ((flag, path), if path == &saved { "names the file that is read" } else { "cannot open" })
        })
    {
        let mut command = program::command("cv-receiver");
        command.args(["analyze", input.0]).arg(input.1).arg("--out").arg(&saved);
        let program = Program::start(command);
        assert_eq!(program.wait(LIMIT), Some(1));
        assert!(program.stderr().contains(reason), "{}", program.stderr());
        assert_eq!(std::fs::read_to_string(&saved).unwrap(), "anything");
    }
}
