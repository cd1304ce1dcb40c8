//! A process and whatever it starts.

use std::{
    process::{Child, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// A process that leads a group of its own. Dropping it ends the whole group.
pub(super) struct Group {
    leader: Child,
    ended: Option<ExitStatus>,
}

impl Group {
    /// The group that `leader` was started as the first of.
    pub(super) fn of(leader: Child) -> Self {
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
        self.pid().is_some_and(|pid| matches!(waitid(WaitId::Pid(pid), options), Ok(Some(_))))
    }

    /// Ends all of it by force.
    fn kill(&mut self) {
        if let Some(pid) = self.pid()
            && let Err(error) = kill_process_group(pid, Signal::KILL)
        {
            // Some systems say so of a group in which nobody runs any more.
            tracing::debug!(%error, "a group of processes could not be ended");
        }
        match self.leader.wait() {
            Ok(status) => self.ended = Some(status),
            Err(error) => tracing::debug!(%error, "an ended process was not reaped"),
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.leader.id()).ok().and_then(Pid::from_raw)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.kill();
        }
    }
}
