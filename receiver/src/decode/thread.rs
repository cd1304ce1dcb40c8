//! The decoder's thread: access units in, pictures with their identity out, in one order.
//!
//! Every access unit gets exactly one [`Verdict`], under consecutive order numbers, whatever
//! becomes of it; so the session can tell of each picture without counting packets.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use cv_core::{
    access_unit::AccessUnit,
    mailbox,
    picture::Picture,
    report::{Cause, ClockSource},
    stamp::Stamp,
    timestamp::{TimeBase, Timestamp},
    worker::{Finally, Worker},
};

use super::Codec;
use crate::{metrics::METRICS, progress};

/// One access unit as it came off the network.
#[derive(Debug)]
pub struct Unit {
    /// The compressed picture.
    pub access_unit: AccessUnit,
    /// Its RTP timestamp, unwrapped.
    pub ticks: i64,
    /// When it was taken, as far as the transport knows.
    pub captured: (SystemTime, ClockSource),
    /// When its last packet came.
    pub received: (SystemTime, Instant),
}

/// What the transport hands to the decoder.
#[derive(Debug)]
pub enum Work {
    /// A complete access unit.
    Unit(Unit),
    /// Something before the next unit is missing: nothing decodes until a keyframe.
    Broken,
    /// A complete unit that the transport had no room for.
    Dropped(Unit),
    /// So many units without a stamp that it could not even keep in mind one by one.
    Forgotten(u64),
}

/// What is known of a picture besides its samples.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The sender's number, or the count of decoded pictures.
    pub frame: u64,
    /// Presentation time in seconds.
    pub time: f64,
    /// Pictures that the sender left out just before this one.
    pub skipped: u32,
    /// Whether `frame` is the sender's own number, so that a jump means pictures are missing.
    pub stamped: bool,
}

/// Where a picture's time went so far.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// When it was taken, and who says so.
    pub captured: (SystemTime, ClockSource),
    /// When its last packet came.
    pub received: (SystemTime, Instant),
    /// Time in the sender's encoder, and from capture until the encoder had done.
    pub sender: Option<(Duration, Duration)>,
    /// Time in our decoder.
    pub decode: Duration,
}

/// A decoded picture with the one before it.
pub struct Output {
    /// Which picture it is.
    pub identity: Identity,
    /// Where its time went.
    pub timing: Timing,
    /// The samples.
    pub picture: Picture,
    /// The picture decoded before.
    pub previous: Option<Picture>,
}

/// What became of one access unit.
pub enum Verdict {
    /// It gave a picture.
    Picture(Box<Output>),
    /// It gave none.
    Missed(Identity, Cause),
    /// It, or so many in a row, gave none and cannot be named: foreign senders do not number pictures.
    Nameless(Cause, u64),
}

/// A running decoder.
pub struct Decoding {
    /// Work for it.
    pub work: mailbox::Sender<Work>,
    /// Set when it needs a keyframe; whoever asks for one clears it.
    pub wants_keyframe: Arc<AtomicBool>,
}

impl Decoding {
    /// Opens a decoder on a thread named after `name` with room for `capacity` units. The thread ends once `work` has no
    /// more senders; nobody waits for it, since it may sit in an analyzer for long.
    ///
    /// `verdict` is called on that thread with consecutive orders from 0 and may block; `ended` is its last call, whatever
    /// happens.
    pub fn start(
        name: &str,
        capacity: usize,
        verdict: impl FnMut(u64, Verdict) + Send + 'static,
        ended: impl FnOnce() + Send + 'static,
    ) -> Result<Self, super::Error> {
        let codec = Codec::open()?;
        let (work, queue) = mailbox::mailbox(capacity);
        let wants_keyframe = Arc::new(AtomicBool::new(false));
        let mut decoder = Decoder {
            codec,
            gate: Gate::Closed,
            wants_keyframe: wants_keyframe.clone(),
            pending: BTreeMap::new(),
            previous: None,
            counted: 0,
            origin: None,
            order: 0,
            verdict: Box::new(verdict),
        };
        let ended = Finally(Some(ended));
        let worker = Worker::spawn(name, move || {
            let _ended = ended;
            while let Some(work) = queue.recv() {
                METRICS.queues.decoder.sub(1);
                decoder.take(work);
            }
            decoder.finish();
        })
        .map_err(|error| super::Error(format!("no thread: {error}")))?;
        worker.detach();
        Ok(Self { work, wants_keyframe })
    }
}

/// Whether pictures may be shown: never from a broken reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// Until the next keyframe.
    Closed,
}

struct Decoder {
    codec: Codec,
    gate: Gate,
    wants_keyframe: Arc<AtomicBool>,
    /// Units whose picture is still in the decoder, by presentation time.
    pending: BTreeMap<i64, (Option<Stamp>, Timing)>,
    previous: Option<Picture>,
    /// Pictures seen of a sender that does not number them.
    counted: u64,
    /// RTP time of the first unit.
    origin: Option<i64>,
    order: u64,
    verdict: Box<dyn FnMut(u64, Verdict) + Send>,
}

/// More pictures than H.264 lets a decoder hold back; beyond it a stream is broken.
const MAX_PENDING: usize = 32;

impl Decoder {
    fn take(&mut self, work: Work) {
        match work {
            Work::Unit(unit) => self.decode(&unit),
            Work::Broken => self.close(),
            Work::Dropped(unit) => {
                self.close();
                self.miss(Stamp::find(&unit.access_unit.data), unit.ticks, Cause::Busy);
            }
            Work::Forgotten(units) => {
                self.close();
                self.tell(Verdict::Nameless(Cause::Busy, units));
            }
        }
    }

    fn decode(&mut self, unit: &Unit) {
        let stamp = Stamp::find(&unit.access_unit.data);
        if unit.access_unit.keyframe {
            self.gate = Gate::Open;
        }
        if self.gate == Gate::Closed {
            self.wants_keyframe.store(true, Ordering::Relaxed);
            return self.miss(stamp, unit.ticks, Cause::Undecodable);
        }
        let started = Instant::now();
        let decoded = progress::watched(|| self.codec.decode(&unit.access_unit.data));
        let timing = Timing {
            captured: stamp.map_or(unit.captured, |stamp| (stamp.captured, ClockSource::FrameStamp)),
            received: unit.received,
            sender: stamp.map(|stamp| (stamp.encoding, stamp.waited + stamp.encoding)),
            decode: started.elapsed(),
        };
        match decoded {
            Ok(picture) => {
                self.pending.insert(unit.ticks, (stamp, timing));
                if let Some(picture) = picture {
                    self.show(picture);
                }
                self.bound_pending();
            }
            Err(problem) => {
                tracing::debug!(problem, frame = stamp.map(|stamp| stamp.frame), "an access unit does not decode");
                self.close();
                self.miss(stamp, unit.ticks, Cause::Undecodable);
            }
        }
    }

    /// Gives out a picture, which is that of the earliest unit pending: decoders deliver in presentation order.
    fn show(&mut self, picture: Picture) {
        let Some((ticks, (stamp, timing))) = self.pending.pop_first() else { return };
        let identity = self.identify(stamp, ticks);
        let previous = self.previous.replace(picture.clone());
        self.tell(Verdict::Picture(Box::new(Output { identity, timing, picture, previous })));
    }

    fn identify(&mut self, stamp: Option<Stamp>, ticks: i64) -> Identity {
        let origin = *self.origin.get_or_insert(ticks);
        match stamp {
            Some(stamp) => {
                Identity { frame: stamp.frame, time: stamp.pts.seconds(), skipped: stamp.skipped, stamped: true }
            }
            None => {
                let frame = self.counted;
                self.counted += 1;
                let time = Timestamp::new(ticks - origin, TimeBase::RTP).seconds();
                Identity { frame, time, skipped: 0, stamped: false }
            }
        }
    }

    fn miss(&mut self, stamp: Option<Stamp>, ticks: i64, cause: Cause) {
        let verdict = match stamp {
            Some(_) => Verdict::Missed(self.identify(stamp, ticks), cause),
            None => Verdict::Nameless(cause, 1),
        };
        self.tell(verdict);
    }

    fn close(&mut self) {
        self.gate = Gate::Closed;
        self.wants_keyframe.store(true, Ordering::Relaxed);
    }

    /// A stream that swallows pictures must not grow our list of them.
    fn bound_pending(&mut self) {
        while self.pending.len() > MAX_PENDING {
            if let Some((ticks, (stamp, _))) = self.pending.pop_first() {
                self.miss(stamp, ticks, Cause::Undecodable);
            }
        }
    }

    fn finish(&mut self) {
        for picture in self.codec.flush() {
            self.show(picture);
        }
        while let Some((ticks, (stamp, _))) = self.pending.pop_first() {
            self.miss(stamp, ticks, Cause::Undecodable);
        }
    }

    fn tell(&mut self, verdict: Verdict) {
        let order = self.order;
        self.order += 1;
        (self.verdict)(order, verdict);
    }
}
