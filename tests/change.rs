//! The analyzers of a session change while it runs.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use cv_tests::{
    Receiver, Sender,
    http::{self, Response},
    lines,
    python::{self, Script},
};
use serde_json::{Value, json};

fn patch(receiver: &Receiver, session: &str, body: &str) -> Response {
    http::request(receiver.address, "PATCH", &format!("/cv/session/{session}/analyze"), &[], body)
}

/// A sender whose pictures come by the clock.
fn start(receiver: &Receiver, session: &str, frames: u32, more: &[&str]) -> Sender {
    let frames = frames.to_string();
    let source = ["--pattern", "texture:size=320x240", "--frames", &frames, "--session", session];
    Sender::start(&receiver.url(), &[&source[..], more].concat())
}

/// The names of the analyzers in a result, in order.
fn names(result: &Value) -> String {
    result["analysis"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(",")
}

/// Checks that every result of `lines` is made by the analyzers that were told before it, at first `list`, that each of
/// `frames` has exactly one, and that changes stand right before the result of the frame that they name. Gives the list
/// and the first frame of each change.
fn changes(lines: &[String], list: &str, frames: u64) -> Vec<(String, u64)> {
    let (mut changes, mut names_now) = (Vec::new(), list.to_owned());
    assert_eq!(lines::accounted(lines), (0..frames).collect::<Vec<_>>());
    let lines = lines::parse(lines);
    for (place, line) in lines.iter().enumerate() {
        if line["event"] == "analyzers" {
            let list = line["analyze"].as_str().unwrap().to_owned();
            let known = |word: &&str| !word.contains('=') || word.contains(':');
            let names: Vec<_> =
                list.split(',').map(str::trim).filter(known).map(|word| word.split(':').next().unwrap()).collect();
            names_now = names.join(",");
            let next = lines[place..].iter().find(|line| line["type"] != "session").unwrap();
            assert_eq!(
                (&next["type"], &next["frame"]),
                (&"result".into(), &line["from"]),
                "{next} is not the first of {list}"
            );
            changes.push((list, line["from"].as_u64().unwrap()));
        } else if line["type"] == "result" {
            assert_eq!(names(line), names_now, "{line}");
            assert_eq!(line["errors"], json!([]));
        }
    }
    changes
}

#[test]
fn other_analyzers_take_over_at_a_named_frame_and_those_that_stay_keep_their_state() {
    let receiver = Receiver::start(&["--analyze", "stats:window=2,cycles"]);
    let sender = start(&receiver, "turn", 150, &[]);
    sender.wait_for_frame(30);
    let answer = patch(&receiver, "turn", "busy:ms=0, stats:window=2");
    assert_eq!(answer.status, 200, "{answer:?}");
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(said, json!({"session": "turn", "analyze": "busy:ms=0, stats:window=2"}));
    let sent = sender.finish().expect(0).lines;
    let made = changes(&sent, "stats,cycles", 150);
    assert_eq!(made.len(), 1);
    let line = sent.iter().find(|line| line.contains("\"analyzers\"")).unwrap();
    let head = format!(
        "{{\"type\":\"session\",\"event\":\"analyzers\",\"session\":\"turn\",\"analyze\":\"busy:ms=0, stats:window=2\",\"from\":{},",
        made[0].1
    );
    assert!(line.starts_with(&head) && made[0].1 > 30, "{line}");
    assert_eq!(names(&lines::of_type(&sent, "final")[0]), "", "cycles would have had something to say, and is gone");
    assert_eq!(lines::without_clock(&receiver.lines_until_closed("turn")), lines::without_clock(&sent));
    // What stayed says what it would have said without any change.
    let whole = start(&receiver, "whole", 150, &["--pace", "max", "--analyze", "stats:window=2"]).finish().expect(0);
    let stats = |lines: &[String]| {
        lines::of_type(lines, "result").iter().map(|line| line["analysis"]["stats"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(stats(&sent), stats(&whole.lines));
}

#[test]
fn changes_quickly_one_after_another_lose_nothing_on_any_way() {
    let receiver = Receiver::start(&["--analyze", "busy:ms=20", "--analysis-threads", "2"]);
    for mode in ["every-frame", "live"] {
        let sender = start(&receiver, mode, 150, &["--mode", mode, "--size", "224x168"]);
        sender.wait_for_frame(20);
        let lists = ["stats", "busy:ms=30,stats", "stats,busy:ms=1", "cycles", "pulse,stats"];
        for list in lists {
            assert_eq!(patch(&receiver, mode, list).status, 200);
        }
        let name = format!("\"session\":\"{mode}\"");
        receiver.program.wait_for_stdout("last change", |line| line.contains("pulse,stats") && line.contains(&name));
        assert_eq!(patch(&receiver, mode, "stats").status, 200);
        let sent = sender.finish().expect(0).lines;
        let made = changes(&sent, "busy", 150);
        assert_eq!(made.iter().map(|(list, _)| list.as_str()).collect::<Vec<_>>(), [&lists[..], &["stats"]].concat());
        assert!(made.is_sorted_by_key(|(_, from)| *from) && made[5].1 > made[4].1, "{made:?}");
    }
}

#[test]
fn a_function_that_stays_sees_every_picture_once_and_in_order() {
    let script = Script::new(
        "def count(frame, meta):\n    meta.state['n'] = meta.state.get('n', -1) + 1\n    \
         assert meta.frame == meta.state['n'], (meta.frame, meta.state['n'])\n    return {'n': meta.state['n']}\n\
         def finish(meta):\n    return {'seen': meta.state['n'] + 1}\n",
    );
    let (python, define) = (python::interpreter(), format!("own={}", script.function("count")));
    let receiver = Receiver::start(&["--python", python.to_str().unwrap(), "--define", &define]);
    let sender = start(&receiver, "code", 150, &["--analyze", "own"]);
    for (frame, list) in [(10, "own,busy:ms=10"), (40, "stats,own"), (70, "own")] {
        sender.wait_for_frame(frame);
        assert_eq!(patch(&receiver, "code", list).status, 200);
    }
    let sent = sender.finish().expect(0).lines;
    assert_eq!(changes(&sent, "own", 150).len(), 3);
    let counted: Vec<_> =
        lines::of_type(&sent, "result").iter().map(|line| line["analysis"]["own"]["n"].clone()).collect();
    assert_eq!(counted, (0..150).map(Value::from).collect::<Vec<_>>());
    assert_eq!(lines::of_type(&sent, "final")[0]["analysis"]["own"]["seen"], 150);
}

#[test]
fn a_sender_that_comes_back_goes_on_with_what_was_changed() {
    let receiver = Receiver::start(&[]);
    let sender = start(&receiver, "back", 60, &["--keep-session", "--analyze", "stats:window=10"]);
    sender.wait_for_frame(10);
    assert_eq!(patch(&receiver, "back", "cycles,stats:window=10").status, 200);
    changes(&sender.finish().expect(0).lines, "stats", 60);
    assert_eq!(patch(&receiver, "back", "stats:window=10").status, 200, "a state that is kept can be changed, too");
    let sent =
        start(&receiver, "back", 30, &["--pace", "max", "--analyze", "stats:window=10"]).finish().expect(0).lines;
    assert!(sent[0].contains("\"event\":\"resumed\"") && sent[0].contains("\"state\":\"kept\""), "{}", sent[0]);
    assert_eq!(changes(&sent, "none", 30), [("stats:window=10".to_owned(), 0)]);
    let progress = lines::of_type(&sent, "result")[0]["analysis"]["stats"]["baseline"]["progress"].as_f64().unwrap();
    assert!(progress > 0.19, "its baseline goes on: {progress}");
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let receiver = Receiver::start(&["--define", "quick=stats:window=1"]);
    let sender = start(&receiver, "firm", 90, &[]);
    sender.wait_for_frame(5);
    for (body, reason) in [
        ("stat", "there is no analyzer 'stat'; known are stats, "),
        ("stats:windo=3", "it takes window"),
        ("", "1 to 32 entries"),
        ("python:/etc/passwd:f", "only the operator may name files"),
        (r#"[{"python":"/etc/passwd:f"}]"#, "only the operator may name files"),
        (r#"[{"name":"stats","window":[2]}]"#, "a number, true or false for the key 'window'"),
        ("[", "the body, line 1: "),
    ] {
        let answer = patch(&receiver, "firm", body);
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        assert!(answer.body.contains(reason), "{body}: {}", answer.body);
    }
    assert!(patch(&receiver, "firm", "stat").body.contains(", quick"));
    assert_eq!(patch(&receiver, "other", "stats").status, 404);
    assert_eq!(patch(&receiver, "a%20b", "stats").status, 400);
    assert_eq!(patch(&receiver, "firm", r#"[{"name":"quick"},{"name":"busy","ms":0}]"#).status, 200);
    let sent = sender.finish().expect(0).lines;
    let list = "quick,busy:ms=0";
    let change = lines::of_type(&sent, "session").into_iter().find(|line| line["event"] == "analyzers").unwrap();
    assert_eq!(change["analyze"], list);
    assert_eq!(names(lines::of_type(&sent, "result").last().unwrap()), "stats,busy");
    let answer = patch(&receiver, "firm", "stats");
    assert_eq!(answer.status, 409, "{answer:?}");
}

#[test]
fn it_takes_the_token_that_forgetting_takes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "sender publish read\nwatcher read\nowner admin session=mine\nmaster\n").unwrap();
    let receiver = Receiver::start(&["--token-file", file.to_str().unwrap()]);
    let sender = start(&receiver, "mine", 90, &["--token", "sender"]);
    sender.wait_for_frame(5);
    let as_holder = |token: &str, session: &str| {
        let token = format!("Bearer {token}");
        let path = format!("/cv/session/{session}/analyze");
        http::request(receiver.address, "PATCH", &path, &[("Authorization", &token)], "stats,busy:ms=0").status
    };
    assert_eq!(patch(&receiver, "mine", "stats").status, 401);
    assert_eq!([as_holder("sender", "mine"), as_holder("watcher", "mine"), as_holder("owner", "other")], [403; 3]);
    assert_eq!(
        [as_holder("owner", "mine"), as_holder("master", "mine"), as_holder("master", "other")],
        [200, 200, 404]
    );
    sender.finish().expect(0);
}

#[test]
fn more_changes_than_pictures_come_to_an_end() {
    let receiver = Receiver::start(&["--rate-limit", "0"]);
    start(&receiver, "idle", 5, &["--keep-session"]).finish().expect(0);
    let statuses: Vec<_> = (0..18).map(|_| patch(&receiver, "idle", "stats").status).collect();
    assert_eq!(statuses, [vec![200; 16], vec![503; 2]].concat());
}
