//! What the system says about this process; most of it only where there is a /proc.

use std::{
    fs,
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cpu_time::ProcessTime;

/// When this was first asked for, which is at the start of the program.
static STARTED: LazyLock<SystemTime> = LazyLock::new(SystemTime::now);

/// One look at the process.
pub(crate) struct Process {
    /// Processor time so far, of all threads.
    pub(crate) cpu: Option<Duration>,
    /// Memory that is in use and in RAM.
    pub(crate) resident_bytes: Option<u64>,
    /// Threads.
    pub(crate) threads: Option<u64>,
    /// Open files and sockets.
    pub(crate) fds: Option<u64>,
    /// How many of those it may have.
    pub(crate) max_fds: Option<u64>,
}

impl Process {
    /// Notes the start.
    pub(crate) fn start() {
        LazyLock::force(&STARTED);
    }

    /// Seconds from the epoch to the start.
    pub(crate) fn started() -> f64 {
        STARTED.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }

    /// Looks now.
    pub(crate) fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        Self {
            cpu: ProcessTime::try_now().ok().map(|time| time.as_duration()),
            resident_bytes: number(&status, "VmRSS:").map(|kibibytes| kibibytes << 10),
            threads: number(&status, "Threads:"),
            fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64),
            max_fds: limit.and_then(|limit| limit.split_whitespace().next()?.parse().ok()),
        }
    }
}

/// Memory in use that is not backed by files, so that the system cannot take it back.
pub(crate) fn anonymous_bytes() -> Option<u64> {
    number(&fs::read_to_string("/proc/self/status").ok()?, "RssAnon:").map(|kibibytes| kibibytes << 10)
}

/// The number behind `name` in the format of /proc/self/status.
fn number(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_looked_at() {
        let process = Process::look();
        assert!(process.resident_bytes.unwrap() > anonymous_bytes().unwrap());
        assert!(process.threads.unwrap() >= 1 && process.fds.unwrap() >= 3);
        assert!(process.max_fds.is_none_or(|max| max >= 3) && process.cpu.is_some());
    }
}
