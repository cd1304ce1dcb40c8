//! A process and whatever it starts.

use std::{
    collections::BTreeSet,
    process::{Child, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Those that run, by the numbers of their leaders: threads that wait for them are not waited for at the end of the program,
/// which so would leave them behind.
static RUNNING: Mutex<Running> = Mutex::new(Running { leaders: BTreeSet::new(), over: false });

struct Running {
    leaders: BTreeSet<u32>,
    /// Whether the program ends, so that nothing may begin any more.
    over: bool,
}

/// Ends every group there is, by force those that take longer than `limit`, and each that somebody starts from now on.
/// For the end of the program.
pub fn end_processes(limit: Duration) {
    let deadline = Instant::now() + limit;
    while !running().leaders.is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    let mut running = running();
    running.over = true;
    for leader in &running.leaders {
        signal(*leader);
    }
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the group of `leader` by force. It must not have been waited for: another process could have its number.
fn signal(leader: u32) {
    if let Some(pid) = pid(leader)
        && let Err(error) = kill_process_group(pid, Signal::KILL)
    {
        // Some systems say so of a group in which nobody runs any more.
        tracing::debug!(%error, "a group of processes could not be ended");
    }
}

fn pid(leader: u32) -> Option<Pid> {
    i32::try_from(leader).ok().and_then(Pid::from_raw)
}

/// A process that leads a group of its own. Dropping it ends the whole group.
pub(super) struct Group {
    leader: Child,
    ended: Option<ExitStatus>,
}

impl Group {
    /// The group that `leader` was started as the first of.
    pub(super) fn of(leader: Child) -> Self {
        let mut running = running();
        running.leaders.insert(leader.id());
        if running.over {
            signal(leader.id());
        }
        Self { leader, ended: None }
    }

    /// The number of the leader.
    pub(super) fn id(&self) -> u32 {
        self.leader.id()
    }

    /// Waits until the leader has ended by itself and takes the rest of the group along; `None` if it goes on.
    pub(super) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while self.ended.is_none() {
            if self.has_ended() {
                self.kill();
            } else if Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            } else {
                break;
            }
        }
        self.ended
    }

    /// Whether the leader has ended. Its number stays its own: nobody else can get it before it was waited for.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        pid(self.id()).is_some_and(|pid| matches!(waitid(WaitId::Pid(pid), options), Ok(Some(_))))
    }

    /// Ends all of it by force.
    fn kill(&mut self) {
        signal(self.id());
        // Before its number can become somebody else's.
        running().leaders.remove(&self.id());
        match self.leader.wait() {
            Ok(status) => self.ended = Some(status),
            Err(error) => tracing::debug!(%error, "an ended process was not reaped"),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
        }
    }
}
