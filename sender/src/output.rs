//! Result lines on stdout or in a file, written by a thread so that a stalled pipe does not stall the network.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use cv_core::worker::Worker;
use tokio::sync::mpsc;

/// Lines that may wait for the writer; beyond it reading results waits, too.
const QUEUE: usize = 1024;

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
    lines: mpsc::Sender<Bytes>,
    failure: Arc<Mutex<Option<Error>>>,
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
        let (lines, queue) = mpsc::channel(QUEUE);
        let failure = Arc::new(Mutex::new(None));
        let (report, destination) = (failure.clone(), name.clone());
        let worker = Worker::spawn("results", move || {
            if let Err(error) = write(BufWriter::with_capacity(64 << 10, writer), queue) {
                let error = match error.kind() {
                    io::ErrorKind::BrokenPipe => Error::Closed,
                    _ => Error::Io { target: destination, error },
                };
                *report.lock().expect("nobody panics while holding it") = Some(error);
            }
        })
        .map_err(failed)?;
        Ok(Self { lines, failure, worker })
    }

    /// Writes a line; waits while the writer is behind.
    pub async fn write(&self, line: Bytes) -> Result<(), Error> {
        match self.lines.send(line).await {
            Ok(()) => Ok(()),
            Err(_writer_gone) => Err(self.take_failure()),
        }
    }

    /// Writes what still waits and ends.
    pub fn finish(self) -> Result<(), Error> {
        drop(self.lines);
        self.worker.join();
        let failure = self.failure.lock().expect("nobody panics while holding it").take();
        failure.map_or(Ok(()), Err)
    }

    fn take_failure(&self) -> Error {
        self.failure.lock().expect("nobody panics while holding it").take().unwrap_or(Error::Closed)
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::create(path)
}

/// Whole lines only: a full disk cuts between two of them as far as we can help it.
fn write(mut writer: impl Write, mut lines: mpsc::Receiver<Bytes>) -> io::Result<()> {
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
        for line in ["one", "two"] {
            output.write(Bytes::from(line)).await.unwrap();
        }
        output.finish().unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "one\ntwo\n");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_reported_with_its_name() {
        let output = Output::open(&Target::File("/dev/full".into())).unwrap();
        let line = Bytes::from(vec![b'x'; 100_000]);
        let mut problem = output.write(line.clone()).await;
        while problem.is_ok() {
            problem = output.write(line.clone()).await;
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
