//! Result lines on stdout, written by a thread so that a stalled pipe stalls nobody.

use std::io::{self, BufWriter, Write};

use cv_core::{process::Stopper, worker::Worker};

use super::{Bound, Inbox, Outbox};

/// The thread that writes to stdout.
pub struct Stdout {
    outbox: Outbox,
    worker: Worker,
}

impl Stdout {
    /// Starts writing. When stdout closes the program is asked to stop: its product is no longer wanted.
    pub fn start(stopper: Stopper) -> io::Result<Self> {
        let (outbox, inbox) = super::outbox(Bound::STDOUT);
        let worker = Worker::spawn("stdout", move || match write(io::stdout().lock(), inbox) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => stopper.raise(),
            Err(error) => {
                tracing::error!(%error, "cannot write results to stdout; stopping");
                stopper.raise();
            }
        })?;
        Ok(Self { outbox, worker })
    }

    /// Where lines for stdout go.
    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Writes what still waits and ends.
    pub fn finish(self) {
        self.outbox.finish();
        self.worker.join();
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
