//! How the processes of the operator's own functions begin and end: with the receiver, and no sooner and no later.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use cv_tests::{
    Receiver, Sender, lines, program,
    python::{self, Script},
};
use serde_json::Value;

const PATTERN: [&str; 8] = ["--pattern", "bars:size=320x240", "--frames", "20", "--session", "own", "--pace", "max"];

/// A receiver that analyses by what `list` says.
fn receiver(list: &str, more: &[&str]) -> Receiver {
    let python = python::interpreter();
    Receiver::start(&[&["--python", python.to_str().unwrap(), "--analyze", list], more].concat())
}

/// The numbers of the processes that a function has told on its stderr, once it is at its picture.
fn told(receiver: &Receiver) -> Vec<u32> {
    let line = receiver.program.wait_for_stderr("what runs", |line| line.starts_with("runs: "));
    line.split_whitespace().skip(1).map(|number| number.parse().unwrap()).collect()
}

fn wait_until_gone(process: u32) {
    // Its new parent may take its time to wait for it.
    let is_gone = || {
        let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        status.is_empty() || status.contains(") Z ")
    };
    let deadline = Instant::now() + program::LIMIT;
    while !is_gone() {
        assert!(Instant::now() < deadline, "process {process} goes on");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A function that never comes back, whatever it is told, with a helper of its own.
fn endless(how: &str) -> Script {
    Script::new(&format!(
        "
import os, signal, subprocess, sys, time
def look(frame, meta):
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    helper = subprocess.Popen(['sleep', '600'])
    print('runs:', os.getpid(), helper.pid, file=sys.stderr, flush=True)
    {how}
"
    ))
}

#[test]
fn a_function_that_never_comes_back_ends_with_a_receiver_that_is_killed() {
    for how in ["time.sleep(600)", "while True: pass"] {
        let script = endless(how);
        let receiver = receiver(&format!("{},timeout=600", script.function("look")), &[]);
        let _sender = Sender::start(&receiver.url(), &PATTERN);
        let processes = told(&receiver);
        assert_eq!(processes.len(), 2);
        receiver.program.signal("KILL");
        processes.into_iter().for_each(wait_until_gone);
    }
}

#[test]
fn what_an_idle_function_has_started_ends_with_a_receiver_that_is_killed() {
    let script = endless("return None");
    let receiver = receiver(&script.function("look"), &[]);
    Sender::run(&receiver.url(), &PATTERN).expect(0);
    let processes = told(&receiver);
    receiver.program.signal("KILL");
    processes.into_iter().for_each(wait_until_gone);
}

#[test]
fn a_program_that_hears_nothing_ends_with_a_receiver_that_leaves_early() {
    let program = Script::new(
        "#!/usr/bin/env python3
import json, os, socket, sys
conversation = socket.socket(fileno=3)
for line in conversation.makefile('rb'):
    kind = json.loads(line)['type']
    if kind == 'frame':
        print('runs:', os.getpid(), file=sys.stderr, flush=True)
        while True:
            pass
    if kind == 'hello':
        conversation.sendall(b'{\"result\":null}\\n')
",
    );
    std::fs::set_permissions(program.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // A second signal, and a stop that sessions are too late for.
    for signals in [2, 1] {
        let list = format!("program:{},timeout=600", program.path().display());
        let receiver = receiver(&list, &[]);
        let _sender = Sender::start(&receiver.url(), &PATTERN);
        let processes = told(&receiver);
        for _ in 0..signals {
            receiver.program.signal("TERM");
            receiver.program.wait_for_stderr("that it stops", |line| line.contains("stopping"));
        }
        receiver.program.wait(program::LIMIT);
        processes.into_iter().for_each(wait_until_gone);
    }
}

#[test]
fn what_a_function_does_at_its_end_is_done() {
    let script = Script::new(
        "
import atexit, os
def leave():
    with open(os.path.join(os.path.dirname(__file__), 'left'), 'w') as file:
        file.write('in good order')
atexit.register(leave)
def look(frame, meta):
    return None
",
    );
    let receiver = receiver(&format!("{},processes=2", script.function("look")), &[]);
    Sender::run(&receiver.url(), &PATTERN).expect(0);
    receiver.program.signal("TERM");
    assert_eq!(receiver.program.wait(program::LIMIT), Some(0));
    assert_eq!(std::fs::read_to_string(script.path().with_file_name("left")).unwrap(), "in good order");
}

#[test]
fn a_process_that_cannot_be_started_is_not_tried_for_every_picture() {
    let good = "def look(frame, meta):\n    return {}\n";
    let script = Script::new(good);
    let receiver = receiver(&script.function("look"), &["--reload"]);
    Sender::run(&receiver.url(), &PATTERN).expect(0);
    script.write(
        "
import os
with open(os.path.join(os.path.dirname(__file__), 'starts'), 'a') as file:
    file.write('one\\n')
raise ValueError('not today')
",
    );
    let sent = Sender::run(&receiver.url(), &PATTERN).expect(3);
    let results = lines::of_type(&sent.lines, "result");
    let messages: Vec<&Value> = results.iter().map(|line| &line["errors"][0]["message"]).collect();
    assert_eq!(messages.len(), 20);
    let said = messages[0].as_str().unwrap();
    assert!(said.contains("cannot be imported: ValueError: not today (own.py:5"), "{said}");
    assert!(messages.iter().all(|message| *message == messages[0]), "{messages:?}");
    let starts = std::fs::read_to_string(script.path().with_file_name("starts")).unwrap().lines().count();
    assert!(starts < 10, "{starts} starts for 20 pictures");
    script.write(good);
    // However long the pause has become, a file that has changed is tried at once.
    Sender::run(&receiver.url(), &PATTERN).expect(0);
}

#[test]
fn code_that_a_function_imports_from_its_folder_is_loaded_anew_when_it_changes() {
    let script = Script::new("import version\ndef look(frame, meta):\n    return {'version': version.NUMBER}\n");
    let helper = script.path().with_file_name("version.py");
    let (python, file) = (python::interpreter(), script.function("look"));
    for list in [file.as_str(), "python:own:look"] {
        std::fs::write(&helper, "NUMBER = 1\n").unwrap();
        let arguments = ["--reload", "--python", python.to_str().unwrap(), "--analyze", list];
        let receiver = Receiver::start_with(&arguments, |command| {
            command.current_dir(script.path().parent().unwrap());
        });
        let version = || {
            let sent = Sender::run(&receiver.url(), &PATTERN).expect(0);
            lines::of_type(&sent.lines, "result").last().unwrap()["analysis"]["look"]["version"].clone()
        };
        assert_eq!(version(), 1, "{list}");
        std::fs::write(&helper, "NUMBER = 2\n").unwrap();
        assert_eq!(version(), 2, "{list}");
    }
}

#[test]
fn a_process_that_is_too_large_from_the_start_is_refused() {
    let script = Script::new("kept = bytearray(b'x' * (300 << 20))\ndef look(frame, meta):\n    return {}\n");
    let list = format!("{},memory=200", script.function("look"));
    let python = python::interpreter();
    let command = Receiver::command(&["--python", python.to_str().unwrap(), "--analyze", &list]);
    let program = program::Program::start(command);
    assert_eq!(program.wait(program::LIMIT), Some(1));
    let said = program.stderr();
    assert!(said.contains("holds more than memory=200 MB before the first picture"), "{said}");
}
