//! One opened camera: a thread that owns it and keeps only its newest picture.
//!
//! Waiting for a picture cannot be interrupted: a camera that stalls holds its thread for ever.
//! So the camera lives and dies on that thread, and the thread is never waited for without a limit.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use cv_core::{
    mailbox::{self, TimedOut, mailbox},
    worker::Worker,
};

use super::{clock::Moment, convert::Layout, fault::Fault, format::Format};

/// What became of opening a camera.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opened {
    /// Its number, which may be another one after it was unplugged and plugged in again.
    pub index: u32,
    pub name: String,
    pub format: Format,
    pub layout: Layout,
}

/// A way to open one particular camera; the real one is [`super::native::Native`].
pub(super) trait Driver: Send + Sync {
    /// Opens the camera and starts it: `known`, in the same format, where it was open before.
    ///
    /// Called on the capture thread; may block for ever.
    fn open(&self, known: Option<&Opened>) -> Result<(Opened, Box<dyn Stream>), Fault>;
}

/// A camera that runs. Never leaves its thread.
pub(super) trait Stream {
    /// The next buffer and the driver's stamp for it; may block for ever.
    fn frame(&mut self) -> Result<(Bytes, Option<SystemTime>), Fault>;
}

/// One buffer as it came.
#[derive(Debug)]
pub(super) struct Shot {
    pub data: Bytes,
    pub stamp: Option<SystemTime>,
    pub arrival: Moment,
}

/// A running camera. Dropping it lets the thread end after its next picture, whenever that is.
pub(super) struct Capture {
    /// Holds one: who falls behind gets the newest picture. Ends when the camera fails.
    shots: mailbox::Receiver<Result<Shot, Fault>>,
}

impl Capture {
    /// Opens a camera on a thread of its own and says how it went, at the latest after `patience`.
    pub(super) fn start(
        driver: Arc<dyn Driver>,
        known: Option<Opened>,
        patience: Duration,
    ) -> Result<(Self, Opened), Fault> {
        let (sender, shots) = mailbox(1);
        let (report, ready) = mailbox(1);
        let run = move || {
            let (opened, stream) = match driver.open(known.as_ref()) {
                Ok(open) => open,
                Err(fault) => return drop(report.try_send(Err(fault))),
            };
            if report.try_send(Ok(opened)).is_ok() {
                deliver(stream, &sender);
            }
        };
        let worker = Worker::spawn("camera", run);
        worker.map_err(|error| Fault::Driver(format!("cannot start a thread: {error}")))?.detach();
        match ready.recv_timeout(patience) {
            Ok(Some(opened)) => Ok((Self { shots }, opened?)),
            Ok(None) => Err(Fault::Crashed),
            Err(TimedOut) => Err(Fault::Unresponsive(patience)),
        }
    }

    /// The newest picture not yet taken; waits for one until `deadline`. `None`: nothing came, which may still change.
    pub(super) fn shot(&self, deadline: Instant) -> Result<Option<Shot>, Fault> {
        match self.shots.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Some(shot)) => shot.map(Some),
            Ok(None) => Err(Fault::Crashed),
            Err(TimedOut) => Ok(None),
        }
    }
}

/// Passes buffers on until the camera fails or nobody wants more.
///
/// The camera is closed before the queue ends: whoever sees the end may open it again.
fn deliver(mut stream: Box<dyn Stream>, shots: &mailbox::Sender<Result<Shot, Fault>>) {
    let fault = loop {
        match stream.frame() {
            Ok((data, stamp)) => {
                if shots.send_replace(Ok(Shot { data, stamp, arrival: Moment::now() })).is_err() {
                    return;
                }
            }
            Err(fault) => break fault,
        }
    };
    drop(stream);
    // Without a listener the fault concerns nobody.
    drop(shots.send_replace(Err(fault)));
}
