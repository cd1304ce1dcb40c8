//! Extraction on threads of this process.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use cv_core::worker::Worker;

use super::{Dispatch, Job};

/// A fixed number of threads that take jobs in the order in which they come.
///
/// They end with the last of the jobs; nobody waits for that, since an analyzer may take long. The queue is unbounded in itself; lanes bound it to width times sessions.
pub struct Threads {
    jobs: Mutex<mpsc::Sender<Job>>,
    width: usize,
}

impl Threads {
    /// Starts `width` threads, at least one, called `name` and a number.
    pub fn start(name: &str, width: usize) -> std::io::Result<Self> {
        let width = width.max(1);
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..width {
            let queue = queue.clone();
            let worker = Worker::spawn(&format!("{name}-{index}"), move || {
                // The lock is held while waiting: the next idle thread waits for the lock instead of the queue.
                while let Ok(job) = { queue.lock().expect("a waiting thread cannot panic").recv() } {
                    job.run();
                }
            })?;
            worker.detach();
        }
        Ok(Self { jobs: Mutex::new(jobs), width })
    }
}

impl Dispatch for Threads {
    fn width(&self) -> usize {
        self.width
    }

    fn submit(&self, job: Job) {
        let refused = self.jobs.lock().expect("sending cannot panic").send(job);
        // Every thread gone means an extractor panicked: the picture must be answered all the same.
        if let Err(mpsc::SendError(job)) = refused {
            (job.done)(vec![Err("the extraction threads are gone; restart the receiver".into())], Duration::ZERO);
        }
    }
}
