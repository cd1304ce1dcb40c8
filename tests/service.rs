//! Under a service manager: the tests play its part, with its environment variables and its socket.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cv_tests::{
    Receiver, Sender, http,
    program::{self, LIMIT, Program},
};
use tempfile::TempDir;

/// The manager's ear.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        Self { socket, folder }
    }

    fn prepare(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
    }

    /// What comes next, if it comes within `limit`.
    fn hears(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut message = [0; 1024];
        let length = self.socket.recv(&mut message).ok()?;
        Some(String::from_utf8(message[..length].to_vec()).unwrap())
    }

    /// Waits for a message with `part` in it.
    fn waits_for(&self, part: &str) {
        let deadline = Instant::now() + LIMIT;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if self.hears(left).is_some_and(|message| message.contains(part)) {
                return;
            }
        }
        panic!("the manager never heard {part}");
    }
}

#[test]
fn the_manager_hears_of_readiness_senders_and_the_end() {
    let manager = Manager::new();
    let receiver = Receiver::start_with(&[], |command| manager.prepare(command));
    manager.waits_for("READY=1");
    manager.waits_for("STATUS=0 senders");
    let sender = Sender::start(&receiver.url(), &["--pattern", "bars:size=320x240", "--duration", "120"]);
    manager.waits_for("STATUS=1 senders");
    receiver.program.signal("TERM");
    manager.waits_for("STOPPING=1");
    assert_eq!(receiver.program.wait(LIMIT), Some(0));
    sender.finish().expect(1);
}

#[test]
fn the_watchdog_is_fed_until_an_analysis_is_stuck() {
    const GRANTED: Duration = Duration::from_secs(2);
    let manager = Manager::new();
    let receiver = Receiver::start_with(&[], |command| {
        manager.prepare(command);
        command.env("WATCHDOG_USEC", GRANTED.as_micros().to_string());
    });
    for _ in 0..4 {
        manager.waits_for("WATCHDOG=1");
    }
    // Heavy, but it comes to an end in time: work is no reason to starve the dog.
    let source = ["--pattern", "bars:size=320x240", "--mode", "live"];
    let busy = ["--frames", "30", "--analyze", "busy:ms=300", "--session", "heavy"];
    let heavy = Sender::start(&receiver.url(), &[&source[..], &busy].concat());
    heavy.wait_for_frame(1);
    manager.waits_for("WATCHDOG=1");
    heavy.finish().expect(0);
    let hangs = ["--duration", "120", "--analyze", "busy:ms=10000", "--session", "hangs"];
    let _hangs = Sender::start(&receiver.url(), &[&source[..], &hangs].concat());
    manager.waits_for("STATUS=no progress: thread extract-");
    let deadline = Instant::now() + GRANTED;
    while let Some(message) = manager.hears(GRANTED).filter(|_| Instant::now() < deadline) {
        assert!(!message.contains("WATCHDOG=1"), "a stuck program says all is well");
    }
    receiver.program.wait_for_stderr("'stuck' in the log", |line| line.contains("stuck"));
}

#[test]
fn http_is_served_on_the_socket_that_the_manager_passes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = activated(listener.into(), &["--ops-listen", "127.0.0.1:0"]);
    let receiver = Receiver::from(receiver);
    assert_eq!(receiver.address, address);
    assert_eq!(http::get(address, "/cv/sessions").body, "[]");
}

#[test]
fn a_passed_socket_is_held_to_the_rules_and_one_of_the_wrong_kind_is_named() {
    let open = activated(TcpListener::bind("0.0.0.0:0").unwrap().into(), &[]);
    assert_eq!(open.wait(LIMIT), Some(1));
    assert!(open.stderr().contains("--allow-anonymous"), "{}", open.stderr());
    let wrong = activated(UnixDatagram::unbound().unwrap().into(), &[]);
    assert_eq!(wrong.wait(LIMIT), Some(1));
    assert!(wrong.stderr().contains("the socket that the service manager passed"), "{}", wrong.stderr());
}

/// A receiver with `socket` as file 3. A shell in between, since its process number has to be told in its environment.
fn activated(socket: OwnedFd, arguments: &[&str]) -> Program {
    let receiver = program::command("cv-receiver");
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\""]);
    shell.arg(receiver.get_program()).args(arguments);
    for (name, value) in receiver.get_envs() {
        assert!(value.is_none(), "only what is to be taken out");
        shell.env_remove(name);
    }
    Program::start_with_stdin(shell, Stdio::from(socket))
}

#[test]
fn a_receiver_that_was_killed_under_load_starts_again_and_serves() {
    let folder = tempfile::tempdir().unwrap();
    let stored = folder.path().to_str().unwrap();
    let source = ["--pattern", "texture:size=320x240", "--duration", "600", "--session", "load"];
    for _ in 0..2 {
        let receiver = Receiver::start(&["--save-every", "1", "--save-dir", stored]);
        let sender = Sender::start(&receiver.url(), &[&source[..], &["--reconnect", "1"]].concat());
        sender.wait_for_frame(20);
        receiver.program.signal("KILL");
        sender.finish().expect(1);
    }
    // Stored pictures are whole or not there under their name.
    let mut whole = 0;
    for entry in std::fs::read_dir(folder.path().join("load.pictures")).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with('.') {
            let picture = std::fs::read(&path).unwrap();
            assert!(picture.ends_with(b"IEND\xaeB`\x82"), "{} is cut off", path.display());
            whole += 1;
        }
    }
    assert!(whole >= 20, "{whole}");
}
