//! The source itself: the newest picture of a camera, through damage, stalls and unplugging.
//!
//! All waiting for a camera to come back happens within one call for a picture, so nothing runs
//! while nobody asks, and the whole policy is one loop. A camera that stalls is listened to, not
//! reopened: its thread holds the device until the driver lets go of it, and the system gives a
//! device to one reader at a time. It goes on if pictures come again, and is reopened once its thread ends.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use cv_source::{Captured, Error, Info, Source};

use super::{
    capture::{Capture, Driver, Opened, Shot},
    clock::Clock,
    convert::Converter,
    fault::Fault,
    native,
};

/// How long a camera is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// For it to open.
    pub opening: Duration,
    /// For a picture, before something is said. Above the interval of the slowest cameras, one second.
    pub silence: Duration,
    /// Before the first attempt to open it again; doubles up to eight times itself.
    pub retry: Duration,
    /// For it to come back in all, before it is an error.
    pub give_up: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            opening: native::PATIENCE,
            silence: Duration::from_secs(5),
            retry: Duration::from_millis(500),
            give_up: Duration::from_secs(30),
        }
    }
}

/// A camera in use.
pub(super) struct Live {
    driver: Arc<dyn Driver>,
    timing: Timing,
    info: Info,
    opened: Opened,
    /// `None` between a failure and the next opening.
    capture: Option<Capture>,
    converter: Converter,
    clock: Clock,
    warm_up: WarmUp,
    /// Damaged pictures so far.
    damaged: u64,
    over: bool,
}

impl Live {
    /// Opens the camera; no second attempt, as the person is there to see why.
    pub(super) fn open(driver: Arc<dyn Driver>, timing: Timing) -> Result<Self, Fault> {
        let (capture, opened) = Capture::start(driver.clone(), None, timing.opening)?;
        let format = opened.format;
        let info = Info {
            name: format!("camera {}: {}, {format}", opened.index, opened.name),
            size: format.size,
            fps: format.fps,
            frames: None,
            live: true,
        };
        let converter = Converter::new(opened.layout);
        Ok(Self {
            driver,
            timing,
            info,
            opened,
            capture: Some(capture),
            converter,
            clock: Clock::default(),
            warm_up: WarmUp::default(),
            damaged: 0,
            over: false,
        })
    }

    /// The next good picture, or what keeps it away.
    fn picture(&mut self) -> Result<Captured, Fault> {
        let capture = match self.capture.take() {
            Some(capture) => capture,
            None => self.reopen()?,
        };
        let deadline = Instant::now() + self.timing.silence;
        let mut last_damage = None;
        // The capture is put back only where the camera may go on.
        while let Some(shot) = capture.shot(deadline)? {
            match self.accept(&shot) {
                Ok(Some(captured)) => {
                    self.capture = Some(capture);
                    return Ok(captured);
                }
                Ok(None) => {}
                Err(damage) => last_damage = Some(damage),
            }
            if Instant::now() >= deadline
                && let Some(damage) = last_damage
            {
                return Err(damage);
            }
        }
        self.capture = Some(capture);
        Err(last_damage.unwrap_or(Fault::Silent(self.timing.silence)))
    }

    /// The picture in `shot`, `None` for one of the first, which are still dark.
    fn accept(&mut self, shot: &Shot) -> Result<Option<Captured>, Fault> {
        if self.warm_up.drops(shot.arrival.instant) {
            return Ok(None);
        }
        let picture = self.converter.picture(&shot.data).map_err(|damage| {
            self.damaged += 1;
            // The first of them, then ever fewer: a bad cable damages many.
            if self.damaged.is_power_of_two() {
                tracing::warn!(
                    camera = self.opened.index,
                    damaged = self.damaged,
                    "dropped a damaged picture: {damage}"
                );
            }
            Fault::Damaged(damage.to_string())
        })?;
        let (pts, captured) = self.clock.time(shot.stamp, shot.arrival);
        Ok(Some(Captured { pts, picture, captured: Some(captured) }))
    }

    fn reopen(&mut self) -> Result<Capture, Fault> {
        let (capture, opened) = Capture::start(self.driver.clone(), Some(self.opened.clone()), self.timing.opening)?;
        tracing::warn!(camera = opened.index, "camera {} is open again, {}", opened.index, opened.format);
        if opened.layout != self.opened.layout {
            self.converter = Converter::new(opened.layout);
        }
        self.opened = opened;
        self.warm_up = WarmUp::default();
        Ok(capture)
    }
}

impl Source for Live {
    fn info(&self) -> &Info {
        &self.info
    }

    /// Blocks while the camera is away, at most for [`Timing::give_up`] and one attempt.
    fn next(&mut self) -> Result<Option<Captured>, Error> {
        if self.over {
            return Ok(None);
        }
        let asked = Instant::now();
        let mut outage: Option<Outage> = None;
        loop {
            let fault = match self.picture() {
                Ok(captured) => {
                    if outage.is_some() {
                        let seconds = asked.elapsed().as_secs_f64();
                        tracing::warn!(camera = self.opened.index, "pictures again after {seconds:.1} s");
                    }
                    return Ok(Some(captured));
                }
                Err(Fault::Silent(_)) => Fault::Silent(asked.elapsed()),
                Err(fault) => fault,
            };
            let outage = outage.get_or_insert_with(|| Outage::new(self.timing, Instant::now()));
            let Some(pause) = outage.pause(&fault, Instant::now()) else {
                self.over = true;
                return Err(Error::Camera { index: self.opened.index, problem: fault.to_string() });
            };
            tracing::warn!(camera = self.opened.index, "camera {}: {fault}; trying again", self.opened.index);
            thread::sleep(pause);
        }
    }
}

/// How often and for how long a camera is tried again.
#[derive(Debug)]
struct Outage {
    timing: Timing,
    began: Instant,
    attempts: u32,
}

impl Outage {
    fn new(timing: Timing, now: Instant) -> Self {
        Self { timing, began: now, attempts: 0 }
    }

    /// How long to wait after `fault` before the next attempt, or `None` to give up.
    fn pause(&mut self, fault: &Fault, now: Instant) -> Option<Duration> {
        if now.saturating_duration_since(self.began) >= self.timing.give_up {
            return None;
        }
        // Listening on is a wait in itself.
        if matches!(fault, Fault::Silent(_)) {
            return Some(Duration::ZERO);
        }
        self.attempts += 1;
        Some(self.timing.retry * (1 << (self.attempts - 1).min(3)))
    }
}

/// Drops up to three pictures after the start, within a third of a second: cameras begin dark and
/// with wrong stamps. One that gives few pictures loses only its first.
#[derive(Debug, Default)]
struct WarmUp {
    first: Option<Instant>,
    dropped: u32,
}

impl WarmUp {
    const PICTURES: u32 = 3;
    const TIME: Duration = Duration::from_millis(300);

    fn drops(&mut self, arrival: Instant) -> bool {
        let first = *self.first.get_or_insert(arrival);
        let drops = self.dropped < Self::PICTURES && arrival.saturating_duration_since(first) <= Self::TIME;
        self.dropped = if drops { self.dropped + 1 } else { Self::PICTURES };
        drops
    }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
