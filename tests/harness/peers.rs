//! Foreign programs that speak WHIP, where `scripts/setup.sh peers` has installed them.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{clips, program::Program};

/// How long a foreign program may take for a few seconds of video; a browser alone needs some to start.
const PEER_LIMIT: Duration = Duration::from_secs(75);

/// The scripts that drive foreign programs, and the folder of what these need.
pub struct Peers {
    scripts: PathBuf,
    installed: PathBuf,
}

impl Peers {
    /// The scripts in `$CV_SHARED/peers`; says so on stderr if they are missing.
    ///
    /// # Panics
    /// If they are there, but what they need is not installed.
    pub fn find() -> Option<Self> {
        let scripts = clips::shared().join("peers");
        if !scripts.is_dir() {
            clips::skipped(&format!("{} is missing; NO FOREIGN PROGRAM WAS TESTED", scripts.display()));
            return None;
        }
        let test = std::env::current_exe().expect("a test knows where it is");
        let target = test.ancestors().nth(3).expect("tests are in target/PROFILE/deps");
        let installed = target.join("interop");
        let complete = installed.join("complete").exists();
        assert!(complete, "{} is not complete; scripts/setup.sh peers installs foreign programs", installed.display());
        Some(Self { scripts, installed })
    }

    /// A command for one of the scripts in Python.
    pub fn python(&self, script: &str) -> Command {
        self.command(&self.installed.join("venv/bin/python"), script)
    }

    /// A command for one of the scripts for Node.
    pub fn node(&self, script: &str) -> Command {
        let mut command = self.command(Path::new("node"), script);
        command.env("PLAYWRIGHT_DIR", self.installed.join("node"));
        command
    }

    fn command(&self, interpreter: &Path, script: &str) -> Command {
        let mut command = Command::new(interpreter);
        // Nothing is written where the scripts are.
        command.arg(self.scripts.join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// A script at work.
pub struct Peer {
    program: Program,
}

impl Peer {
    /// Starts `command` with `arguments`.
    pub fn start<'a>(mut command: Command, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        command.args(arguments);
        Self { program: Program::start(command) }
    }

    /// Waits until it says on stderr that it is ready.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait_until_ready(&self) {
        self.program.wait_for_stderr("'waiting' on stderr", |line| line.starts_with("waiting at"));
    }

    /// Its verdict, the line that begins with PASS.
    ///
    /// # Panics
    /// If it has another verdict, none, or does not end.
    pub fn passes(self) -> String {
        let code = self.program.wait(PEER_LIMIT);
        let printed = self.program.stdout();
        let verdict = printed.iter().find(|line| line.starts_with("PASS "));
        match (code, verdict) {
            (Some(0), Some(verdict)) => verdict.clone(),
            _ => panic!("a foreign program ended with {code:?}\n{}\n{}", printed.join("\n"), self.program.stderr()),
        }
    }
}

/// The number behind `key` in a verdict: `sent=60`, `"sent": 60`, `"sent":60`.
///
/// # Panics
/// If there is none.
pub fn number(verdict: &str, key: &str) -> usize {
    let after = |separator: &str| verdict.split_once(&format!("{key}{separator}")).map(|(_, rest)| rest.trim_start());
    let rest = after("\":").or_else(|| after("=")).unwrap_or_else(|| panic!("no {key} in: {verdict}"));
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().unwrap_or_else(|_| panic!("{key} is no number in: {verdict}"))
}

/// A TCP port of this machine that is free now, for programs that cannot choose one themselves.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}
