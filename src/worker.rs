//! Threads that own a blocking thing: a camera, a codec, a pipe.

use std::{io, thread};

/// A named thread, joined when its guard is dropped.
///
/// The thread must end by itself once its queues close: drop those first.
#[derive(Debug)]
pub struct Worker {
    thread: Option<thread::JoinHandle<()>>,
}

impl Worker {
    /// Starts `run` on a thread called `name` (the first 15 bytes show in `ps` and `top`).
    pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { thread: Some(thread) })
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(thread::JoinHandle::is_finished)
    }

    /// Waits for the end; `false` if the thread panicked.
    pub fn join(mut self) -> bool {
        self.thread.take().is_none_or(|thread| thread.join().is_ok())
    }

    /// Lets the thread run on by itself: for one that blocks in a driver that may never return.
    pub fn detach(mut self) {
        drop(self.thread.take());
    }
}

/// Calls what it holds when it is dropped, also by a panic.
#[derive(Debug)]
pub struct Finally<F: FnOnce()>(pub Option<F>);

impl<F: FnOnce()> Drop for Finally<F> {
    fn drop(&mut self) {
        if let Some(last) = self.0.take() {
            last();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a worker thread panicked; please report this with the lines above");
        }
    }
}
