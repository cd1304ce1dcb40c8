//! Result lines on stdout, written by a thread so that a stalled pipe stalls nobody.

use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};

use cv_core::{process::Stopper, worker::Worker};
use tokio::sync::oneshot;

use super::{Bound, Inbox, Outbox};

/// The thread that writes to stdout.
pub struct Stdout {
    outbox: Outbox,
    worker: Worker,
    written: oneshot::Receiver<io::Result<()>>,
}

impl Stdout {
    /// Starts writing. When stdout closes the program is asked to stop: its product is no longer wanted.
    pub fn start(stopper: Stopper) -> io::Result<Self> {
        let (outbox, inbox) = super::outbox(Bound::STDOUT);
        let (report, written) = oneshot::channel();
        let worker = Worker::spawn("stdout", move || {
            let result = match write(io::stdout().lock(), inbox) {
                // A reader that has seen enough is no failure.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                result => result,
            };
            report.send(result).ok();
            stopper.raise();
        })?;
        Ok(Self { outbox, worker, written })
    }

    /// Where lines for stdout go.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Writes what still waits and ends; gives a reader that has stopped reading `limit` to go on.
    ///
    /// # Errors
    /// If not everything could be written.
    pub async fn finish(self, limit: Duration) -> io::Result<()> {
        self.outbox.finish();
        match tokio::time::timeout(limit, self.written).await {
            Ok(written) => written.unwrap_or(Ok(())),
            Err(_elapsed) => {
                self.worker.detach();
                tracing::warn!("nobody reads stdout; the last results are lost");
                Ok(())
            }
        }
    }
}

fn write(writer: impl Write, mut inbox: Inbox) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(64 << 10, writer);
    loop {
        let lines = inbox.recv_blocking();
        if lines.is_empty() {
            return writer.flush();
        }
        for line in lines {
            writer.write_all(line.json.as_bytes())?;
            writer.write_all(b"\n")?;
        }
        writer.flush()?;
    }
}
