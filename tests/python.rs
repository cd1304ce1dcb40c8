//! Analyzers of the operator's own, in Python and in other languages.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{
    thread,
    time::{Duration, Instant},
};

use cv_tests::{
    Receiver, Sender, clips, http, lines,
    program::{self, Program},
    python::{self, Script},
};
use serde_json::{Value, json};

const PATTERN: [&str; 8] = ["--pattern", "bars:size=320x240", "--frames", "20", "--session", "own", "--pace", "max"];

/// A receiver that analyses by what `list` says.
fn receiver(list: &str, more: &[&str]) -> Receiver {
    let python = python::interpreter();
    let arguments = [&["--python", python.to_str().unwrap(), "--analyze", list], more].concat();
    Receiver::start(&arguments)
}

/// The results of the pattern in a receiver like that; the sender ends with `code`.
fn run(list: &str, code: i32) -> Vec<Value> {
    let receiver = receiver(list, &[]);
    let sent = Sender::run(&receiver.url(), &PATTERN).expect(code);
    assert_eq!(lines::accounted(&sent.lines), (0..20).collect::<Vec<_>>());
    lines::parse(&sent.lines)
}

/// What stands under `name` in the results, frame after frame.
fn findings(lines: &[Value], name: &str) -> Vec<Value> {
    lines.iter().filter(|line| line["type"] == "result").map(|line| line["analysis"][name].clone()).collect()
}

fn errors(lines: &[Value]) -> Vec<(u64, String)> {
    let results = lines.iter().filter(|line| line["type"] == "result");
    let all = results.flat_map(|line| {
        let messages = line["errors"].as_array().unwrap().iter();
        messages.map(|error| (line["frame"].as_u64().unwrap(), error["message"].as_str().unwrap().to_owned()))
    });
    all.collect()
}

#[test]
fn a_function_sees_every_picture_in_order_with_what_is_known_of_it() {
    let script = Script::new(
        "
def start(meta):
    meta.state['count'] = 100
def look(frame, meta):
    meta.state['count'] += 1
    return {'count': meta.state['count'], 'frame': meta.frame, 'time': meta['time'], 'size': meta.size,
            'shape': frame.shape, 'session': meta.session, 'kind': str(frame.dtype), 'extra': meta.parameters}
def finish(meta):
    return {'count': meta.state['count']}
",
    );
    let printed = run(&format!("{},color=red", script.function("look")), 0);
    let found = findings(&printed, "look");
    for (index, finding) in found.iter().enumerate() {
        let line = printed.iter().find(|line| line["frame"] == index).unwrap();
        assert_eq!(finding["count"], 101 + index);
        assert_eq!((&finding["frame"], &finding["time"]), (&json!(index), &line["time"]));
        assert_eq!(finding["size"], json!([224, 168]), "the centre of the picture");
        assert_eq!((&finding["shape"], &finding["kind"]), (&json!([168, 224, 3]), &json!("uint8")));
        assert_eq!((&finding["session"], &finding["extra"]), (&json!("own"), &json!({"color": "red"})));
    }
    let last = printed.iter().find(|line| line["type"] == "final").unwrap();
    assert_eq!(last["analysis"]["look"], json!({"count": 120}));
}

#[test]
fn the_formats_show_the_same_picture() {
    let script = Script::new(
        "
def look(frame, meta):
    return {'shape': frame.shape, 'means': frame.reshape(-1, frame.shape[2] if frame.ndim == 3 else 1).mean(axis=0)}
",
    );
    let list: Vec<String> = ["rgb", "bgr", "gray", "yuv"]
        .iter()
        .map(|format| format!("{},format={format},name={format}", script.function("look")))
        .collect();
    let printed = run(&format!("{},stats", list.join(",")), 0);
    let result = printed.iter().find(|line| line["frame"] == 7).unwrap();
    let found = |format: &str| &result["analysis"][format];
    assert_eq!(found("rgb")["shape"], json!([168, 224, 3]));
    assert_eq!((&found("gray")["shape"], &found("yuv")["shape"]), (&json!([168, 224]), &json!([252, 224])));
    let mean = |format: &str, channel: usize| found(format)["means"][channel].as_f64().unwrap();
    for channel in 0..3 {
        assert_eq!(mean("rgb", channel), mean("bgr", 2 - channel));
    }
    let brightness = result["analysis"]["stats"]["brightness"].as_f64().unwrap();
    assert!((mean("gray", 0) - brightness).abs() < 0.001, "{} is not {brightness}", mean("gray", 0));
    let luma = 0.299 * mean("rgb", 0) + 0.587 * mean("rgb", 1) + 0.114 * mean("rgb", 2);
    assert!((luma - (brightness - 16.0) * 255.0 / 219.0).abs() < 6.0, "{luma} for {brightness}");
}

#[test]
fn samples_that_span_the_whole_range_show_the_colours_that_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("full.y4m");
    let frame = [&b"FRAME\n"[..], &[40; 64 * 64], &[128; 64 * 32]].concat();
    let header = b"YUV4MPEG2 W64 H64 F30:1 Ip A1:1 C420jpeg XCOLORRANGE=FULL\n";
    std::fs::write(&file, [&header[..], &frame.repeat(5)].concat()).unwrap();
    let script = Script::new("def look(frame, meta):\n    return {'mean': float(frame.mean())}\n");
    let receiver = receiver(&script.function("look"), &[]);
    let source = ["--file", file.to_str().unwrap(), "--session", "own", "--pace", "max"];
    let sent = Sender::run(&receiver.url(), &source).expect(0);
    let found = findings(&lines::parse(&sent.lines), "look");
    assert_eq!(found.len(), 5);
    for finding in found {
        // As limited samples they would be 28.
        assert!((finding["mean"].as_f64().unwrap() - 40.0).abs() < 2.0, "{finding}");
    }
}

#[test]
fn an_exception_costs_its_picture_and_ci_notices() {
    let script = Script::new("def look(frame, meta):\n    return {'inverse': 1 / (meta.frame - 5)}\n");
    let printed = run(&script.function("look"), 3);
    assert_eq!(errors(&printed), [(5, "ZeroDivisionError: division by zero (own.py:2, in look)".to_owned())]);
    assert_eq!(findings(&printed, "look").iter().filter(|finding| finding.is_object()).count(), 19);
}

#[test]
fn a_process_that_ends_is_replaced_and_the_stream_goes_on() {
    let script = Script::new(
        "
import os
def look(frame, meta):
    if meta.frame == 5:
        os._exit(7)
    meta.state['seen'] = meta.state.get('seen', 0) + 1
    return {'seen': meta.state['seen']}
",
    );
    let printed = run(&script.function("look"), 3);
    let [(5, message)] = &errors(&printed)[..] else { panic!("{:?}", errors(&printed)) };
    assert!(message.contains("the process ended (exit status: 7)"), "{message}");
    assert_eq!(findings(&printed, "look").last().unwrap()["seen"], 14, "its state began anew after frame 5");
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_function_started_goes_with_its_process() {
    let script = Script::new(
        "
import os, subprocess
def look(frame, meta):
    if meta.frame in (0, 5):
        helper = subprocess.Popen(['sleep', '600'])
    if meta.frame == 5:
        os._exit(7)
    return {'helper': helper.pid} if meta.frame == 0 else None
",
    );
    let printed = run(&script.function("look"), 3);
    let helper = &findings(&printed, "look")[0]["helper"];
    // Its new parent may take its time to wait for it.
    let is_gone = || {
        let status = std::fs::read_to_string(format!("/proc/{helper}/stat")).unwrap_or_default();
        status.is_empty() || status.contains(") Z ")
    };
    let deadline = Instant::now() + program::LIMIT;
    while !is_gone() {
        assert!(Instant::now() < deadline, "process {helper} goes on");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_process_that_holds_too_much_memory_is_replaced() {
    let script = Script::new(
        "
def look(frame, meta):
    kept = meta.state.setdefault('kept', [])
    kept.append(bytearray(b'x' * (4 << 20)))
    return {'kept': len(kept)}
",
    );
    // What is declared pure loses nothing by it.
    for (pure, code) in [(false, 3), (true, 0)] {
        let receiver = receiver(&format!("{},memory=200,extract={pure}", script.function("look")), &[]);
        let source = ["--pattern", "bars:size=320x240", "--frames", "150", "--session", "own", "--pace", "max"];
        let sent = Sender::run(&receiver.url(), &source).expect(code);
        let printed = lines::parse(&sent.lines);
        let kept: Vec<_> = findings(&printed, "look").iter().map(|found| found["kept"].as_u64()).collect();
        assert_eq!(kept.len(), 150);
        // It is looked at in time, not every so many pictures.
        assert!(kept.iter().flatten().all(|kept| *kept < 64), "{kept:?}");
        let lost = errors(&printed);
        assert_eq!(lost.is_empty(), pure, "{lost:?}");
        for (frame, message) in lost {
            assert!(message.contains("held more than memory=200 MB"), "{message}");
            assert!(matches!(kept.get(frame as usize + 1), None | Some(Some(1))), "{kept:?}");
        }
        receiver.program.wait_for_stderr("why it was replaced", |line| line.contains("more than 200"));
    }
}

#[test]
fn a_program_that_talks_nonsense_is_replaced() {
    let script = Script::new(
        "#!/usr/bin/env python3
import json, socket
conversation = socket.socket(fileno=3)
answers = {1: 'no JSON', 2: '[1]', 3: '{\"result\":', 4: 'x' * (5 << 20)}
for line in conversation.makefile('rb'):
    question = json.loads(line)
    if question['type'] in ('hello', 'frame', 'finish'):
        answer = answers.get(question.get('frame'), '{\"result\":{}}')
        conversation.sendall(answer.encode() + b'\\n')
",
    );
    std::fs::set_permissions(script.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let printed = run(&format!("program:{},name=own", script.path().display()), 3);
    let wrong = errors(&printed);
    assert_eq!(wrong.iter().map(|(frame, _)| *frame).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(wrong.iter().all(|(_, message)| message.contains("did not answer as agreed")), "{wrong:?}");
}

#[test]
fn pictures_of_any_size_are_shown() {
    let script = Script::new("def look(frame, meta):\n    return {'shape': frame.shape, 'size': meta.size}\n");
    let receiver = receiver(&format!("{},format=gray", script.function("look")), &[]);
    for (size, shape) in [("16x16", [16, 16]), ("3840x16", [16, 3840]), ("3840x2160", [2160, 3840])] {
        let pattern = format!("texture:size={size}");
        let source = ["--pattern", &pattern, "--frames", "2", "--crop", "1", "--pace", "max"];
        let sent = Sender::run(&receiver.url(), &source).expect(0);
        assert_eq!(findings(&lines::parse(&sent.lines), "look")[1]["shape"], json!(shape), "{size}");
    }
}

#[test]
fn a_function_that_hangs_is_given_up() {
    let script = Script::new(
        "
import time
def look(frame, meta):
    if meta.frame == 3:
        time.sleep(1000)
    return {}
",
    );
    let printed = run(&format!("{},timeout=0.5", script.function("look")), 3);
    let [(3, message)] = &errors(&printed)[..] else { panic!("{:?}", errors(&printed)) };
    assert!(message.contains("no answer within 0.5 s"), "{message}");
}

#[test]
fn what_json_cannot_hold_is_named() {
    let script = Script::new(
        "
import numpy
def look(frame, meta):
    strange = [{'a': [1, float('nan')]}, {'b': {1, 2}}, {('c',): 1}, [1], 5, {'d': numpy.float32('inf')}]
    if meta.frame < len(strange):
        return strange[meta.frame]
    return {'array': numpy.arange(3), 'number': numpy.float32(0.5), 'whole': numpy.int64(7), 'yes': numpy.bool_(True)}
",
    );
    let printed = run(&script.function("look"), 3);
    let expected = [
        "result['a'][1] is nan, which JSON cannot hold: return None instead",
        "result['b'] is a set, which JSON cannot hold",
        "result has a tuple as a key",
        "look returned a list, not a dict or None",
        "look returned a int, not a dict or None",
        "result['d'] is inf, which JSON cannot hold: return None instead",
    ];
    let messages: Vec<String> = errors(&printed).into_iter().map(|(_, message)| message).collect();
    assert_eq!(messages, expected);
    assert_eq!(findings(&printed, "look")[10], json!({"array": [0, 1, 2], "number": 0.5, "whole": 7, "yes": true}));
}

#[test]
fn what_nobody_could_read_is_named_and_costs_no_state() {
    let script = Script::new(
        "
import collections, numpy
def deep(levels):
    nested = []
    for _ in range(levels):
        nested = [nested]
    return nested
def look(frame, meta):
    meta.state['seen'] = meta.state.get('seen', 0) + 1
    strange = [{'a': ['x', '\\ud800']}, {'b': {'\\udfff': 1}}, {'c': deep(200)}, {'d': 'x' * (5 << 20)},
               {'e': 10 ** 400}, {'f': {1: 'one', '1': 'two'}}, {'g': {float('nan'): 1}}]
    if meta.frame < len(strange):
        return strange[meta.frame]
    if meta.frame == len(strange):
        raise ValueError('\\ud800')
    counted = dict(zip(*numpy.unique(numpy.array([3, 5, 5]), return_counts=True)))
    return {'seen': meta.state['seen'], 'counted': counted, 'deep': deep(90),
            'keys': {True: 1, None: 2, 2.5: 3, numpy.float32(0.5): 4, numpy.bool_(False): 5, numpy.str_('s'): 6}}
",
    );
    let printed = run(&script.function("look"), 3);
    let messages: Vec<String> = errors(&printed).into_iter().map(|(_, message)| message).collect();
    let expected = [
        "result['a'][1] has half a character, '\\ud800', which JSON cannot hold",
        "result['b'] has half a character, '\\udfff', which JSON cannot hold",
        "result['c'][0][0]",
        "result is 5.0 MB of JSON, and an answer may have 4",
        "result['e'] is an integer of 1329 bits, which readers of JSON cannot hold",
        "result['f'] has the key '1' twice, as keys of JSON are texts",
        "result['g'] has nan as a key",
        "ValueError: \\ud800 (own.py:15, in look)",
    ];
    assert_eq!(messages.len(), expected.len(), "{messages:?}");
    for (message, expected) in messages.iter().zip(expected) {
        assert!(message.starts_with(expected), "{message} is not {expected}");
    }
    assert!(messages[2].ends_with("is nested more than 100 levels deep, or holds itself"), "{}", messages[2]);
    let last = &findings(&printed, "look")[19];
    assert_eq!((&last["seen"], &last["counted"]), (&json!(20), &json!({"3": 1, "5": 2})));
    assert_eq!(last["keys"], json!({"true": 1, "null": 2, "2.5": 3, "0.5": 4, "false": 5, "s": 6}));
}

#[test]
fn a_function_may_have_processes_of_its_own_however_they_are_made() {
    let script = Script::new(
        "
import concurrent.futures, multiprocessing
def double(number):
    return 2 * number
def start(meta):
    spawning = multiprocessing.get_context('spawn')
    meta.state['pool'] = concurrent.futures.ProcessPoolExecutor(1, mp_context=spawning)
def look(frame, meta):
    return {'doubled': meta.state['pool'].submit(double, meta.frame).result(timeout=60)}
",
    );
    let printed = run(&format!("{},timeout=60", script.function("look")), 0);
    for (index, finding) in findings(&printed, "look").iter().enumerate() {
        assert_eq!(finding["doubled"], 2 * index);
    }
}

#[test]
fn files_of_the_working_directory_take_the_place_of_none_of_python() {
    let script = Script::new("import helper\ndef look(frame, meta):\n    return {'helped': helper.HELPED}\n");
    let here = tempfile::tempdir().unwrap();
    for name in ["socket", "json", "inspect", "enum", "threading", "traceback", "numpy"] {
        std::fs::write(here.path().join(format!("{name}.py")), "raise Exception('another one')\n").unwrap();
    }
    std::fs::write(here.path().join("helper.py"), "HELPED = True\n").unwrap();
    let python = python::interpreter();
    let arguments = ["--python", python.to_str().unwrap(), "--analyze", &script.function("look")];
    let receiver = Receiver::start_with(&arguments, |command| {
        command.current_dir(&here);
    });
    let sent = Sender::run(&receiver.url(), &PATTERN).expect(0);
    assert_eq!(findings(&lines::parse(&sent.lines), "look")[19], json!({"helped": true}));
}

#[test]
fn what_is_known_of_a_picture_is_a_mapping() {
    let script = Script::new(
        "
def look(frame, meta):
    return {'keys': list(meta), 'same': dict(meta)['session'] is meta.session, 'size': meta.get('size'),
            'there': 'given' in meta, 'other': 'keys' in meta or meta.get('x', False), 'count': len(meta)}
",
    );
    let printed = run(&script.function("look"), 0);
    let keys = ["session", "frame", "time", "width", "height", "size", "state", "parameters", "given"];
    let expected = json!({"keys": keys, "same": true, "size": [224, 168], "there": true, "other": false, "count": 9});
    assert_eq!(findings(&printed, "look")[7], expected);
}

#[test]
fn what_it_prints_disturbs_nothing() {
    let script = Script::new(
        "
import os, sys
def look(frame, meta):
    print('{\"type\":\"result\"}', meta.frame)
    os.write(1, b'raw bytes\\n')
    return None
",
    );
    let receiver = receiver(&script.function("look"), &[]);
    let sent = Sender::run(&receiver.url(), &PATTERN).expect(0);
    assert_eq!(sent.lines, receiver.lines_until_closed("own"));
    assert_eq!(findings(&lines::parse(&sent.lines), "look"), vec![Value::Null; 20]);
    receiver.program.wait_for_stderr("what it printed", |line| line == "raw bytes");
}

#[test]
fn a_pure_function_in_two_processes_gives_the_lines_of_one() {
    let script = Script::new("def look(frame, meta):\n    return {'sum': int(frame.sum()), 'frame': meta.frame}\n");
    let once = run(&script.function("look"), 0);
    let twice = run(&format!("{},extract=true,processes=2", script.function("look")), 0);
    assert_eq!(findings(&once, "look"), findings(&twice, "look"));
}

#[test]
fn sessions_have_states_of_their_own_and_forgetting_ends_them() {
    let script = Script::new(
        "
def look(frame, meta):
    meta.state['seen'] = meta.state.get('seen', 0) + 1
    return {'seen': meta.state['seen']}
",
    );
    let receiver = receiver(&script.function("look"), &[]);
    let seen = |session: &str, more: &[&str]| {
        let arguments = [&PATTERN[..4], &["--pace", "max", "--session", session], more].concat();
        let sent = Sender::run(&receiver.url(), &arguments).expect(0);
        findings(&lines::parse(&sent.lines), "look").last().unwrap()["seen"].as_u64().unwrap()
    };
    assert_eq!(seen("a", &["--keep-session"]), 20);
    assert_eq!(seen("b", &[]), 20);
    assert_eq!(seen("a", &["--keep-session"]), 40);
    assert_eq!(http::request(receiver.address, "DELETE", "/cv/session/a", &[], "").status, 200);
    assert_eq!(seen("a", &[]), 20);
    assert_eq!(seen("a", &[]), 20, "a deliberate end forgets");
}

#[test]
fn a_changed_file_is_loaded_anew() {
    let script = Script::new("def look(frame, meta):\n    return {'version': 1}\n");
    let receiver = receiver(&script.function("look"), &["--reload"]);
    let version = || {
        let sent = Sender::run(&receiver.url(), &PATTERN).expect(0);
        findings(&lines::parse(&sent.lines), "look").last().unwrap()["version"].clone()
    };
    assert_eq!(version(), 1);
    script.write("def look(frame, meta):\n    return {'version': 2}\n");
    assert_eq!(version(), 2);
}

#[test]
fn code_that_cannot_be_run_is_known_at_once() {
    let refused = |list: &str| {
        let mut command = program::command("cv-receiver");
        let python = python::interpreter();
        command.args(["--listen", "127.0.0.1:0", "--python", python.to_str().unwrap(), "--analyze", list]);
        let program = Program::start(command);
        assert_eq!(program.wait(program::LIMIT), Some(1), "{list}");
        program.stderr()
    };
    let script = Script::new("import math\ndef look(frame, meta):\n    return None\n");
    let missing = refused(&script.function("lok"));
    assert!(missing.contains("has no function 'lok'; it has look"), "{missing}");
    assert!(refused("python:/nowhere.py:look").contains("there is no file /nowhere.py"));
    assert!(refused("python:no_such_module:look").contains("No module named 'no_such_module'"));
    assert!(refused("python:look").contains("write python:FILE.py:FUNCTION"));
    assert!(refused("program:/no/such/program").contains("there is no program /no/such/program"));
    assert!(refused("program:/bin/false").contains("the process ended (exit status: 1)"));
    script.write("def look(frame, meta)\n    return None\n");
    let wrong = refused(&script.function("look"));
    assert!(wrong.contains("SyntaxError") && wrong.contains("line 1 of"), "{wrong}");
    script.write("import no_such_thing\n");
    assert!(refused(&script.function("look")).contains("No module named 'no_such_thing' (own.py:1"));
    for (code, expected) in [
        ("def look(frame):\n    return None\n", "look is called as look(frame, meta), which look(frame) does not take"),
        ("async def look(frame, meta):\n    return None\n", "look is async"),
        (
            "class Look:\n    async def __call__(self, frame, meta):\n        return None\nlook = Look()\n",
            "look is async",
        ),
        ("def look(frame, meta):\n    yield {}\n", "look yields"),
    ] {
        script.write(code);
        let said = refused(&script.function("look"));
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_slip_of_the_pen_in_a_list_is_found() {
    let script = Script::new("def look(frame, meta):\n    return None\n");
    std::fs::write(script.path().with_file_name("prog"), "").unwrap();
    let refused = |arguments: &[&str]| {
        let mut command = program::command("cv-receiver");
        command.args(["--listen", "127.0.0.1:0", "--python"]).arg(python::interpreter()).args(arguments);
        command.current_dir(script.path().parent().unwrap());
        let program = Program::start(command);
        assert_eq!(program.wait(program::LIMIT), Some(1), "{arguments:?}");
        program.stderr()
    };
    let look = script.function("look");
    let said = refused(&["--analyze", &format!("{look},timout=3")]);
    assert!(said.contains("has no parameter 'timout': write timeout, or call one of your own otherwise"), "{said}");
    let said = refused(&["--analyze", &format!("{look},FORMAT=gray")]);
    assert!(said.contains("has no parameter 'FORMAT': write format"), "{said}");
    let said = refused(&["--analyze", &format!("{look},name=")]);
    assert!(said.contains("name= is empty"), "{said}");
    let said = refused(&["--analyze", "program:prog"]);
    assert!(said.contains("for the file here write program:./prog"), "{said}");
    let said = refused(&["--define", "quick=stats", "--define", "quick=stats:window=2"]);
    assert!(said.contains("quick: is defined twice"), "{said}");
}

#[test]
fn an_interpreter_without_numpy_says_how_to_get_it() {
    // Isolated from every folder of packages, any interpreter lacks it.
    let script = Script::new("def look(frame, meta):\n    return None\n");
    let bare = script.path().with_file_name("bare");
    std::fs::write(&bare, "#!/bin/sh\nexec python3 -I -S \"$@\"\n").unwrap();
    std::fs::set_permissions(&bare, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = program::command("cv-receiver");
    command.args(["--listen", "127.0.0.1:0", "--python"]).arg(&bare).args(["--analyze", &script.function("look")]);
    let program = Program::start(command);
    assert_eq!(program.wait(program::LIMIT), Some(1));
    assert!(program.stderr().contains("numpy is missing"), "{}", program.stderr());
}

#[test]
fn a_session_asks_by_the_name_that_the_operator_gave_and_never_for_a_file() {
    let script = Script::new("def look(frame, meta):\n    return {'frame': meta.frame}\n");
    let define = format!("mine={}", script.function("look"));
    let receiver = receiver("stats", &["--define", &define]);
    let sent = Sender::run(&receiver.url(), &[&PATTERN[..], &["--analyze", "mine,stats"]].concat()).expect(0);
    assert_eq!(findings(&lines::parse(&sent.lines), "mine")[19], json!({"frame": 19}));
    let refused = Sender::run(&receiver.url(), &[&PATTERN[..], &["--analyze", &script.function("look")]].concat());
    refused.expect(1).says("only the operator may name files").says("mine");
}

#[test]
fn what_a_function_found_is_kept_and_folded_again() {
    let script =
        Script::new("def look(frame, meta):\n    return {'sum': int(frame.sum()), 'odd': 1 / (meta.frame % 2)}\n");
    let list = format!("stats,{}", script.function("look"));
    let receiver = receiver(&list, &["--emit", "features"]);
    let sent = Sender::run(&receiver.url(), &PATTERN).expect(3);
    receiver.lines_until_closed("own");
    let saved = script.path().with_file_name("saved.ndjson");
    std::fs::write(&saved, receiver.program.stdout().join("\n")).unwrap();
    let mut command = program::command("cv-receiver");
    command.args(["analyze", "--analyze", &list, "--features"]).arg(&saved);
    command.arg("--python").arg(python::interpreter());
    let program = Program::start(command);
    // Some of what was found were errors, which are errors again.
    assert_eq!(program.wait(program::LIMIT), Some(3), "{}", program.stderr());
    lines::assert_same("folded again", &sent.lines, &program.stdout());
}

#[test]
fn a_program_in_another_language_answers_as_well() {
    if std::process::Command::new("node").arg("--version").output().is_err() {
        return clips::skipped("node is missing; NO PROGRAM IN ANOTHER LANGUAGE WAS TESTED");
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/examples/program.mjs");
    let printed = run(&format!("program:{example},format=gray,stats"), 0);
    for (own, stats) in findings(&printed, "program").iter().zip(findings(&printed, "stats")) {
        let (own, stats) = (own["mean"].as_f64().unwrap(), stats["brightness"].as_f64().unwrap());
        assert!((own - stats).abs() <= 0.006, "{own} is not {stats}");
    }
}

#[test]
fn the_examples_in_python_work() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/examples");
    let brightness = run(&format!("python:{folder}/brightness.py:brightness"), 0);
    assert!(findings(&brightness, "brightness")[3]["mean"].as_f64().unwrap() > 10.0);
    let moving = run(&format!("python:{folder}/moving.py:moving,format=gray,threshold=20"), 0);
    let found = findings(&moving, "moving");
    assert!(found[0].is_null() && found[19]["box"].is_array(), "{found:?}");
}

#[test]
fn a_pure_function_may_take_the_pictures_that_wait_at_once() {
    let script = Script::new(
        "
import time
def look(frame, meta):
    raise Exception('one at a time')
def analyze_batch(frames, metas):
    time.sleep(0.02)
    return [{'frame': meta.frame, 'mean': float(frame.mean()), 'together': len(frames), 'size': meta.size}
            for frame, meta in zip(frames, metas)]
",
    );
    let other = Script::new("def alone(frame, meta):\n    return {'mean': float(frame.mean())}\n");
    let (several, alone) = (script.function("look"), other.function("alone"));
    let printed = run(&format!("{several},extract=true,batch=5,{alone},extract=true,processes=5"), 0);
    let (found, alone) = (findings(&printed, "look"), findings(&printed, "alone"));
    for (index, finding) in found.iter().enumerate() {
        assert_eq!((&finding["frame"], &finding["size"]), (&json!(index), &json!([224, 168])));
        assert_eq!(finding["mean"], alone[index]["mean"]);
    }
    let together: Vec<_> = found.iter().map(|finding| finding["together"].as_u64().unwrap()).collect();
    assert!(
        together.iter().all(|count| (1..=5).contains(count)) && together.iter().any(|count| *count > 1),
        "{together:?}"
    );
}

#[test]
fn of_several_pictures_each_has_its_own_error_where_that_is_known() {
    let script = Script::new(
        "
def look(frame, meta):
    return {}
def analyze_batch(frames, metas):
    if metas[-1].frame == 19:
        raise ValueError('no more')
    return [{'bad': object()} if meta.frame == 3 else 7 if meta.frame == 4 else {'frame': meta.frame} for meta in metas]
",
    );
    let printed = run(&format!("{},extract=true,batch=2", script.function("look")), 3);
    let messages = errors(&printed);
    let of =
        |frame: u64| messages.iter().find(|(known, _)| *known == frame).map_or("", |(_, message)| message.as_str());
    assert_eq!(of(3), "result['bad'] is a object, which JSON cannot hold");
    assert_eq!(of(4), "analyze_batch returned a int, not a dict or None");
    assert!(of(19).starts_with("ValueError: no more"), "{messages:?}");
    assert!(messages.iter().all(|(frame, _)| [3, 4, 18, 19].contains(frame)), "{messages:?}");
}

#[test]
fn a_function_that_forgets_a_picture_of_several_is_told_so() {
    let script = Script::new(
        "
def look(frame, meta):
    return {}
def analyze_batch(frames, metas):
    return []
",
    );
    let printed = run(&format!("{},extract=true", script.function("look")), 3);
    let messages = errors(&printed);
    assert_eq!(messages.len(), 20);
    assert!(messages.iter().all(|(_, message)| message.starts_with("analyze_batch returned 0 results for ")));
}

#[test]
fn pictures_that_do_not_fit_beside_each_other_are_shown_in_turns() {
    let script = Script::new(
        "
import time
def look(frame, meta):
    return {}
def analyze_batch(frames, metas):
    time.sleep(0.3)
    return [{'frame': meta.frame, 'together': len(frames)} for meta in metas]
",
    );
    let receiver = receiver(&format!("{},extract=true,batch=8", script.function("look")), &[]);
    let source = ["--pattern", "bars:size=3840x2160", "--crop", "1", "--frames", "16", "--pace", "max"];
    let sent = Sender::run(&receiver.url(), &source).expect(0);
    let found = findings(&lines::parse(&sent.lines), "look");
    for (frame, finding) in found.iter().enumerate() {
        assert_eq!(finding["frame"], frame);
        // Five of them are as much as the memory holds.
        assert!(finding["together"].as_u64().unwrap() <= 5, "{finding}");
    }
    assert_eq!(found.len(), 16);
}

#[test]
fn an_object_that_can_be_called_is_a_function() {
    let script = Script::new(
        "
class Look:
    def __call__(self, frame, meta):
        return {'frame': meta.frame}
look = Look()
",
    );
    let found = findings(&run(&script.function("look"), 0), "look");
    assert_eq!(found[19], json!({"frame": 19}));
}
