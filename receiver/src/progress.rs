//! Threads that work on pictures, and whether one of them is stuck at it.
//!
//! Waiting is no work: for the next picture, for room, for whoever is next. So a thread that has been
//! [`watched`] for a long time hangs in a codec or an analyzer, however loaded the machine is.

use std::{
    sync::{
        Arc, LazyLock, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Since when threads are watched.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Every thread that ever was watched and is still there. Locked when one comes and when all are looked at.
static THREADS: Mutex<Vec<Weak<Thread>>> = Mutex::new(Vec::new());

thread_local! {
    static MINE: Arc<Thread> = Thread::register();
}

struct Thread {
    name: String,
    /// Milliseconds from [`EPOCH`] to the beginning of its work, plus one; 0 while it does none.
    since: AtomicU64,
}

impl Thread {
    fn register() -> Arc<Self> {
        let name = thread::current().name().unwrap_or("without a name").to_owned();
        let mine = Arc::new(Self { name, since: AtomicU64::new(0) });
        let mut threads = THREADS.lock().expect("nobody panics while holding it");
        threads.retain(|thread| thread.strong_count() > 0);
        threads.push(Arc::downgrade(&mine));
        mine
    }
}

/// Ends the work also where it panics.
struct AtWork<'a>(&'a Thread);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.since.store(0, Ordering::Relaxed);
    }
}

/// Does `work` and is seen at it.
pub fn watched<T>(work: impl FnOnce() -> T) -> T {
    let begun = EPOCH.elapsed().as_millis() as u64 + 1;
    MINE.with(|mine| {
        mine.since.store(begun, Ordering::Relaxed);
        let _at_work = AtWork(mine);
        work()
    })
}

/// A thread that does not come to an end with what it does.
#[derive(Debug, thiserror::Error)]
#[error("thread {name} has been at one picture for {} s", spent.as_secs())]
pub struct Stuck {
    name: String,
    spent: Duration,
}

/// Fails if a thread has been at one piece of work for longer than `limit`.
pub fn check(limit: Duration) -> Result<(), Stuck> {
    let now = EPOCH.elapsed();
    let threads = THREADS.lock().expect("nobody panics while holding it");
    for thread in threads.iter().filter_map(Weak::upgrade) {
        let since = thread.since.load(Ordering::Relaxed);
        let spent = now.saturating_sub(Duration::from_millis(since.saturating_sub(1)));
        if since > 0 && spent > limit {
            return Err(Stuck { name: thread.name.clone(), spent });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_thread_is_stuck_while_it_works_and_not_while_it_waits() {
        let (start, started) = mpsc::channel::<()>();
        let (working, at_work) = mpsc::channel();
        let (finish, finished) = mpsc::channel::<()>();
        let thread = thread::Builder::new().name("test-stuck".into()).spawn(move || {
            started.recv().unwrap();
            watched(|| {
                working.send(()).unwrap();
                finished.recv().unwrap_or_default();
            });
            working.send(()).unwrap();
            started.recv().unwrap_err();
        });
        start.send(()).unwrap();
        at_work.recv().unwrap();
        // Other tests of this process may be at work, too.
        let named = || {
            thread::sleep(Duration::from_millis(3));
            check(Duration::from_millis(1)).is_err_and(|stuck| stuck.to_string().contains("test-stuck"))
        };
        assert!((0..1000).any(|_| named()));
        finish.send(()).unwrap();
        at_work.recv().unwrap();
        assert!(!named());
        drop(start);
        thread.unwrap().join().unwrap();
    }
}
