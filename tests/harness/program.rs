//! A running program: its lines as they come, its end, and never a trace of it after the test.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// The longest that any one thing may take. A loaded machine needs more than a moment.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A child process, killed and reaped when dropped.
pub struct Program {
    name: String,
    child: Arc<Mutex<Child>>,
    out: Lines,
    err: Lines,
    status: Watched<Option<ExitStatus>>,
}

/// The lines of a stream so far, and whether it has ended.
type Lines = Watched<(Vec<String>, bool)>;

/// A value that can be waited for.
struct Watched<T> {
    shared: Arc<(Mutex<T>, Condvar)>,
}

impl<T> Clone for Watched<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<T> Watched<T> {
    fn new(value: T) -> Self {
        Self { shared: Arc::new((Mutex::new(value), Condvar::new())) }
    }

    fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.shared.0.lock().expect("nobody panics while holding it"));
        self.shared.1.notify_all();
    }

    /// What `wanted` finds, once it finds something; `None` if it does not within `limit`.
    fn wait<R>(&self, limit: Duration, mut wanted: impl FnMut(&T) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + limit;
        let mut value = self.shared.0.lock().expect("nobody panics while holding it");
        loop {
            if let Some(found) = wanted(&value) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            value = self.shared.1.wait_timeout(value, left).expect("nobody panics while holding it").0;
        }
    }
}

/// Where cargo put the program called `name`: beside the folder of the test executables.
///
/// # Panics
/// If it is not there.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("tests are in target/PROFILE/deps");
    let path = profile.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is missing; build the binaries first: cargo build --workspace --bins", path.display());
    path
}

/// A command for the program called `name`, free of what this environment would tell it.
pub fn command(name: &str) -> Command {
    let mut command = Command::new(binary(name));
    let manager = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];
    for (variable, _) in std::env::vars_os() {
        let told = variable.to_str().is_some_and(|name| {
            name == "RUST_LOG" || manager.contains(&name) || (name.starts_with("CV_") && name != "CV_SHARED")
        });
        if told {
            command.env_remove(variable);
        }
    }
    command
}

impl Program {
    /// Starts `command` with both outputs collected.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: Command) -> Self {
        Self::start_reading(command, usize::MAX)
    }

    /// The same with something to read.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_with_stdin(command: Command, stdin: Stdio) -> Self {
        Self::spawn(command, stdin, usize::MAX)
    }

    /// The same, but closes its stdout after `most` lines, as `head` would.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_reading(command: Command, most: usize) -> Self {
        Self::spawn(command, Stdio::null(), most)
    }

    fn spawn(mut command: Command, stdin: Stdio, most: usize) -> Self {
        let name = format!("{:?}", command.get_program());
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (out, err, status) = (Lines::new(Default::default()), Lines::new(Default::default()), Watched::new(None));
        let stdout = child.stdout.take().expect("it was asked for");
        let stderr = child.stderr.take().expect("it was asked for");
        let child = Arc::new(Mutex::new(child));
        let (collected, watched, reaped) = (err.clone(), child.clone(), status.clone());
        let stdout_lines = out.clone();
        let collector = thread::spawn(move || collect(stdout, &stdout_lines, most));
        thread::spawn(move || {
            collect(stderr, &collected, usize::MAX);
            collector.join().expect("reading lines does not panic");
            // Whoever has closed both outputs is about to be gone.
            let ended = watched.lock().expect("nobody panics while holding it").wait();
            reaped.change(|status| *status = ended.ok());
        });
        Self { name, child, out, err, status }
    }

    /// The lines on stdout so far.
    pub fn stdout(&self) -> Vec<String> {
        self.out.wait(Duration::ZERO, |(lines, _)| Some(lines.clone())).unwrap_or_default()
    }

    /// Everything on stderr so far.
    pub fn stderr(&self) -> String {
        self.err.wait(Duration::ZERO, |(lines, _)| Some(lines.join("\n"))).unwrap_or_default()
    }

    /// Waits for a line on stdout.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for_stdout(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_for(&self.out, what, wanted)
    }

    /// Waits for a line on stderr.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait_for_stderr(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_for(&self.err, what, wanted)
    }

    /// Waits for a line on stdout; `None` if the program ends without.
    ///
    /// # Panics
    /// If neither happens.
    pub fn find_on_stdout(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let found = self.out.wait(LIMIT, |(lines, ended)| {
            let found = lines.iter().find(|line| wanted(line)).cloned();
            if found.is_none() && *ended { Some(None) } else { found.map(Some) }
        });
        found.unwrap_or_else(|| panic!("{}: it neither says so nor ends; its stderr:\n{}", self.name, self.stderr()))
    }

    fn wait_for(&self, lines: &Lines, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let found = lines.wait(LIMIT, |(lines, ended)| {
            let found = lines.iter().find(|line| wanted(line)).cloned();
            if found.is_none() && *ended { Some(None) } else { found.map(Some) }
        });
        found.flatten().unwrap_or_else(|| panic!("{}: no {what}; its stderr:\n{}", self.name, self.stderr()))
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.lock().expect("nobody panics while holding it").id()
    }

    /// Waits for the end; gives the exit code, `None` after a signal.
    ///
    /// # Panics
    /// If it does not end within `limit`.
    pub fn wait(&self, limit: Duration) -> Option<i32> {
        let ended = self.status.wait(limit, |status| *status);
        let status = ended.unwrap_or_else(|| {
            let lines = self.stdout();
            let last = lines.last().map_or("", String::as_str);
            panic!("{} goes on after {limit:?}; last line: {last}\nits stderr:\n{}", self.name, self.stderr())
        });
        status.code()
    }

    /// Sends `signal`, for example `TERM`.
    ///
    /// # Panics
    /// If the program is gone already.
    pub fn signal(&self, signal: &str) {
        let mut child = self.child.lock().expect("nobody panics while holding it");
        assert!(child.try_wait().expect("a child can be asked").is_none(), "{} has ended already", self.name);
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
        assert!(sent.expect("there is a kill").success(), "cannot signal {}", self.name);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Poisoned or not, it must go.
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(child.kill());
        drop(child.wait());
    }
}

fn collect(stream: impl Read, lines: &Lines, most: usize) {
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok).take(most) {
        lines.change(|(lines, _)| lines.push(String::from_utf8_lossy(&line).into_owned()));
    }
    lines.change(|(_, ended)| *ended = true);
}
