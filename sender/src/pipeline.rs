//! The two threads between the source and the network: capture and encode.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant, SystemTime},
};

use cv_core::{
    frame::Frame,
    mailbox::{self, mailbox},
    picture::Picture,
    whip::Mode,
    worker::Worker,
};
use cv_source::{
    Source,
    framing::{Framing, FramingError},
    pace::{Pace, Schedule},
};
use tokio::sync::oneshot;

use crate::{
    encode::{self, Encoder},
    outlet::{Outlet, Sent, Turn},
    rate::{RateControl, Verdict},
    transport::feedback::Feedback,
};

/// What the encoder is asked for, apart from what pictures tell by themselves.
#[derive(Clone, Copy, Debug)]
pub struct Encoding {
    /// Bits a second; from the picture size where it is not given.
    pub bitrate: Option<u32>,
    /// Seconds from one keyframe to the next.
    pub gop: f64,
    /// Nominal pictures a second.
    pub fps: f64,
}

/// Why no more pictures come.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source broke.
    #[error(transparent)]
    Source(#[from] cv_source::Error),
    /// A picture cannot be cropped or scaled.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// A picture cannot be encoded.
    #[error(transparent)]
    Encode(#[from] encode::Error),
}

/// The running threads, ended when this is dropped. A source that blocks in a driver or a pipe is left to itself.
pub struct Pipeline {
    /// Pictures numbered so far.
    numbered: Arc<AtomicU64>,
    /// Dropped to end the source.
    halt: Option<SyncSender<()>>,
    outlet: Outlet,
}

/// How pictures leave the source.
pub struct Capture {
    /// Where they come from.
    pub source: Box<dyn Source>,
    /// Their speed, unless the source is live.
    pub pace: Pace,
    /// What gives way when the encoder is busy.
    pub mode: Mode,
}

impl Pipeline {
    /// Starts both threads. `ended` tells when the source is at its end, and why.
    pub fn start(
        capture: Capture,
        framing: Framing,
        encoding: Encoding,
        outlet: Outlet,
        feedback: Arc<Feedback>,
    ) -> std::io::Result<(Self, oneshot::Receiver<Result<(), Error>>)> {
        let (frames, queue) = mailbox(1);
        let (halt, halted) = sync_channel(0);
        let (ended, end) = oneshot::channel();
        let numbered = Arc::new(AtomicU64::new(0));
        let (count, way) = (numbered.clone(), outlet.clone());
        let mut stage = EncodeStage {
            framing,
            encoding,
            outlet: outlet.clone(),
            feedback,
            mode: capture.mode,
            encoder: None,
            rate: None,
            next: 0,
        };
        let (report, failed) = std::sync::mpsc::channel();
        // Both are left to themselves: they wait for a source that may sit in a driver or a pipe for good.
        Worker::spawn("encode", move || {
            if let Err(error) = stage.run(&queue) {
                drop(report.send(error));
            }
            drop((queue, report));
            way.serve_until_closed();
        })?
        .detach();
        Worker::spawn("capture", move || {
            let captured = capture.run(&frames, &halted, &count).map_err(Error::from);
            // Closing the queue ends the encoder; a picture it could not encode is the better reason.
            drop(frames);
            let reason = failed.recv().map_or(captured, Err);
            drop(ended.send(reason));
        })?
        .detach();
        Ok((Self { numbered, halt: Some(halt), outlet }, end))
    }

    /// Pictures numbered so far.
    pub fn numbered(&self) -> u64 {
        self.numbered.load(Ordering::Acquire)
    }

    /// Ends the source after the picture it is at.
    pub fn halt(&mut self) {
        self.halt = None;
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.halt();
        self.outlet.close();
    }
}

impl Capture {
    /// Gives each picture its number and hands it over when it is due.
    fn run(
        mut self,
        frames: &mailbox::Sender<Frame>,
        halted: &Receiver<()>,
        numbered: &AtomicU64,
    ) -> Result<(), cv_source::Error> {
        let live = self.source.info().live;
        let mut schedule = Schedule::new(if live { Pace::Max } else { self.pace });
        while let Some(captured) = self.source.next()? {
            if is_halted(halted, schedule.wait(captured.pts, Instant::now())) {
                return Ok(());
            }
            let number = numbered.fetch_add(1, Ordering::AcqRel);
            let taken = captured.captured.unwrap_or_else(SystemTime::now);
            let frame = Frame { number, pts: captured.pts, captured: taken, picture: captured.picture };
            let delivered = match self.mode {
                // What is replaced shows in the next picture's number.
                Mode::Live => frames.send_replace(frame).map(drop),
                Mode::EveryFrame => frames.send_wait(frame),
            };
            if delivered.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Waits; `true` if the source is to end.
fn is_halted(halted: &Receiver<()>, wait: Duration) -> bool {
    halted.recv_timeout(wait) != Err(RecvTimeoutError::Timeout)
}

struct EncodeStage {
    framing: Framing,
    encoding: Encoding,
    outlet: Outlet,
    feedback: Arc<Feedback>,
    mode: Mode,
    encoder: Option<Encoder>,
    /// Live: what the network allows, for the encoder of the moment.
    rate: Option<RateControl>,
    /// The number that comes next if nothing is left out.
    next: u64,
}

impl EncodeStage {
    fn run(&mut self, frames: &mailbox::Receiver<Frame>) -> Result<(), Error> {
        loop {
            // Where nobody answers there is no credit: what waits to be sent slows the encoder down.
            if self.mode == Mode::EveryFrame {
                self.outlet.let_packets_leave();
            }
            let turn = self.outlet.turn();
            if turn == Turn::End {
                return Ok(());
            }
            let Some(frame) = frames.recv() else { return Ok(()) };
            // The connection may have come while we waited for the picture.
            if turn != Turn::Skip {
                self.encode(frame, turn == Turn::Anew)?;
            }
        }
    }

    fn encode(&mut self, frame: Frame, anew: bool) -> Result<(), Error> {
        let picture = self.framing.apply(&frame.picture)?;
        self.prepare(&picture)?;
        let verdict = self.rate.as_mut().map_or(Verdict::Encode(None), |rate| rate.decide(Instant::now()));
        let Verdict::Encode(bitrate) = verdict else {
            // A new connection begins with a keyframe, whenever that is.
            self.feedback.keyframe_wanted.fetch_or(anew, Ordering::Relaxed);
            return Ok(());
        };
        let skipped = u32::try_from(frame.number - self.next).unwrap_or(u32::MAX);
        self.next = frame.number + 1;
        let wanted = self.feedback.keyframe_wanted.swap(false, Ordering::Relaxed) || anew;
        // In every-frame mode keyframes come by schedule alone: one more would change what is measured.
        let keyframe = wanted && self.mode == Mode::Live;
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        if let Some(bitrate) = bitrate
            && !encoder.set_bitrate(bitrate)
            && let Some(rate) = &mut self.rate
        {
            rate.unheard();
        }
        if keyframe {
            encoder.request_keyframe();
        }
        let frame = Frame { picture, ..frame };
        let access_unit = encoder.encode(&frame, skipped)?;
        self.outlet.send(Sent { frame: frame.number, pts: frame.pts, captured: frame.captured, access_unit });
        Ok(())
    }

    /// Sees to an encoder for pictures like this; a new one where the source changed its size.
    fn prepare(&mut self, picture: &Picture) -> Result<(), encode::Error> {
        let fits =
            |encoder: &Encoder| encoder.options().size == picture.size() && encoder.options().range == picture.range();
        if self.encoder.as_ref().is_some_and(fits) {
            return Ok(());
        }
        let options = self.options(picture);
        self.encoder = Some(Encoder::new(options)?);
        if self.mode == Mode::Live {
            let feedback = self.feedback.clone();
            self.rate = Some(RateControl::new(feedback, options.size, options.fps, options.bitrate));
        }
        Ok(())
    }

    fn options(&self, picture: &Picture) -> encode::Options {
        let (size, fps) = (picture.size(), self.encoding.fps.clamp(1.0, 1000.0));
        encode::Options {
            size,
            range: picture.range(),
            fps,
            bitrate: self.encoding.bitrate.unwrap_or_else(|| encode::Options::default_bitrate(size, fps)),
            gop: ((self.encoding.gop * fps).round() as u32).max(1),
        }
    }
}
