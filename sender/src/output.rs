//! Result lines on stdout or in a file, written by a thread so that a stalled pipe does not stall the network.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use cv_core::{process::Stop, worker::Worker};
use tokio::sync::{mpsc, oneshot};

/// Lines that may wait for the writer; beyond it reading results waits, too.
const QUEUE: usize = 1024;

/// How long a reader that does not read may hold up a program that is to stop.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where results go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, made anew.
    File(PathBuf),
}

/// Why results cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody reads stdout any more; no reason to complain.
    #[error("stdout was closed")]
    Closed,
    /// Nobody reads them, and the program is to stop.
    #[error("nobody reads the results from {target}; the last of them are lost")]
    Stalled {
        /// Where to.
        target: String,
    },
    /// The system refuses.
    #[error("cannot write results to {target}: {error}; what was written before is complete lines")]
    Io {
        /// Where to.
        target: String,
        /// Why not.
        error: io::Error,
    },
}

/// The writer.
pub struct Output {
    target: String,
    lines: mpsc::Sender<Bytes>,
    failure: Arc<Mutex<Option<Error>>>,
    /// Completes when the writer has ended.
    ended: oneshot::Receiver<()>,
    worker: Worker,
}

impl Output {
    /// Opens `target`.
    pub fn open(target: &Target) -> Result<Self, Error> {
        let name = match target {
            Target::Stdout => "stdout".to_owned(),
            Target::File(path) => path.display().to_string(),
        };
        let failed = |error| Error::Io { target: name.clone(), error };
        let writer: Box<dyn Write + Send> = match target {
            Target::Stdout => Box::new(io::stdout()),
            Target::File(path) => Box::new(create(path).map_err(failed)?),
        };
        let (lines, mut queue) = mpsc::channel(QUEUE);
        let failure = Arc::new(Mutex::new(None));
        let (report, destination) = (failure.clone(), name.clone());
        let (end, ended) = oneshot::channel();
        let worker = Worker::spawn("results", move || {
            // The queue closes after the reason is there: whoever finds it closed asks for that.
            if let Err(error) = write(BufWriter::with_capacity(64 << 10, writer), &mut queue) {
                let error = match error.kind() {
                    io::ErrorKind::BrokenPipe => Error::Closed,
                    _ => Error::Io { target: destination, error },
                };
                *report.lock().expect("nobody panics while holding it") = Some(error);
            }
            drop(queue);
            end.send(()).ok();
        })
        .map_err(failed)?;
        Ok(Self { target: name, lines, failure, ended, worker })
    }

    /// Writes a line; waits while the writer is behind, but not for long once the program is to stop.
    pub async fn write(&self, line: Bytes, stop: &mut Stop) -> Result<(), Error> {
        let patience = async {
            stop.raised().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            biased;
            sent = self.lines.send(line) => sent.map_err(|_writer_gone| self.take_failure()),
            () = patience => Err(self.stalled()),
        }
    }

    /// Writes what still waits and ends; gives up on a reader that does not read once the program is to stop.
    pub async fn finish(mut self, stop: &mut Stop) -> Result<(), Error> {
        drop(std::mem::replace(&mut self.lines, mpsc::channel(1).0));
        let patience = async {
            stop.raised().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            biased;
            _ended = &mut self.ended => {}
            () = patience => {
                let stalled = self.stalled();
                self.worker.detach();
                return Err(stalled);
            }
        }
        let failure = self.failure.lock().expect("nobody panics while holding it").take();
        failure.map_or(Ok(()), Err)
    }

    fn stalled(&self) -> Error {
        Error::Stalled { target: self.target.clone() }
    }

    fn take_failure(&self) -> Error {
        self.failure.lock().expect("nobody panics while holding it").take().unwrap_or(Error::Closed)
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::create(path)
}

/// Whole lines only: a full disk cuts between two of them as far as we can help it.
fn write(mut writer: impl Write, lines: &mut mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(line) = lines.blocking_recv() {
        writer.write_all(&line)?;
        writer.write_all(b"\n")?;
        if lines.is_empty() {
            writer.flush()?;
        }
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_written_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.ndjson");
        let output = Output::open(&Target::File(path.clone())).unwrap();
        let (_stopper, mut stop) = cv_core::process::stop();
        for line in ["one", "two"] {
            output.write(Bytes::from(line), &mut stop).await.unwrap();
        }
        output.finish(&mut stop).await.unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_reported_with_its_name() {
        let output = Output::open(&Target::File("/dev/full".into())).unwrap();
        let (_stopper, mut stop) = cv_core::process::stop();
        let line = Bytes::from(vec![b'x'; 100_000]);
        let mut problem = output.write(line.clone(), &mut stop).await;
        while problem.is_ok() {
            problem = output.write(line.clone(), &mut stop).await;
        }
        let message = problem.unwrap_err().to_string();
        assert!(message.contains("/dev/full") && message.contains("No space left"), "{message}");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error_at_once() {
        let target = Target::File("/nonexistent/folder/out".into());
        assert!(Output::open(&target).err().unwrap().to_string().contains("/nonexistent/folder/out"));
    }
}
