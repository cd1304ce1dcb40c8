//! Live, the encoder follows the network: fewer bits while the path takes less, then fewer pictures.
//!
//! The whole policy is here. Where every frame counts nothing of it applies: the same pictures give
//! the same bits there, and a slow path only takes its time.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use cv_core::geometry::Size;

use crate::transport::feedback::Feedback;

/// What the encoder may take of the path's rate: the rest is for headers and for what is sent again.
const SHARE: f64 = 0.85;
/// The least bitrate asked of the encoder.
const FLOOR: f64 = 100e3;
/// Bits a pixel below which fewer pictures serve better than worse ones.
const LEAST_DENSITY: f64 = 0.02;
/// However slow the path, so many pictures a second are tried.
const LEAST_FPS: f64 = 2.0;
/// Packets that take longer than this to leave would only make the next picture late.
const BACKLOG: Duration = Duration::from_millis(100);
/// Every change costs the encoder's rate control some of its balance: they are at least so far apart and so large.
const PAUSE: Duration = Duration::from_millis(200);
const STEP: f64 = 0.05;

/// What to do with the next picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Encode it; with another bitrate from here on, if one is given.
    Encode(Option<u32>),
    /// Leave it out.
    Skip,
}

/// Decides for every picture of a live stream.
#[derive(Debug)]
pub struct RateControl {
    feedback: Arc<Feedback>,
    fps: f64,
    /// The bitrate that was asked for: never more than that.
    ceiling: f64,
    pixels: f64,
    /// What the encoder was told last, and when.
    told: f64,
    changed: Option<Instant>,
    /// Pictures that may be encoded, of which a share comes with every picture of the source.
    due: f64,
}

impl RateControl {
    /// For pictures of `size`, nominally `fps` of them a second in at most `bitrate`.
    pub fn new(feedback: Arc<Feedback>, size: Size, fps: f64, bitrate: u32) -> Self {
        let ceiling = f64::from(bitrate);
        Self { feedback, fps, ceiling, pixels: size.pixels() as f64, told: ceiling, changed: None, due: 0.0 }
    }

    /// Says what to do with a picture that is there at `now`.
    pub fn decide(&mut self, now: Instant) -> Verdict {
        if self.feedback.out.load(Ordering::Relaxed) || self.backlog() > BACKLOG {
            return Verdict::Skip;
        }
        let target = self.target();
        let fps = (target / (self.pixels * LEAST_DENSITY)).clamp(LEAST_FPS.min(self.fps), self.fps);
        self.due = (self.due + fps / self.fps).min(2.0);
        if self.due < 0.999 {
            return Verdict::Skip;
        }
        self.due -= 1.0;
        // The encoder spreads its bits over all pictures; those left out leave theirs to the others.
        Verdict::Encode(self.change(now, target * self.fps / fps))
    }

    /// The bits a second that the pictures may have.
    fn target(&self) -> f64 {
        match self.feedback.rate.load(Ordering::Relaxed) {
            0 => self.ceiling,
            rate => (rate as f64 * SHARE).clamp(FLOOR.min(self.ceiling), self.ceiling),
        }
    }

    fn backlog(&self) -> Duration {
        Duration::from_millis(self.feedback.backlog.load(Ordering::Relaxed).into())
    }

    /// The encoder did not do as it was told last: it is new, and has its first bitrate.
    pub fn unheard(&mut self) {
        (self.told, self.changed) = (self.ceiling, None);
    }

    fn change(&mut self, now: Instant, bitrate: f64) -> Option<u32> {
        let bitrate = bitrate.min(self.ceiling);
        let rested = self.changed.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE);
        let differs =
            (bitrate - self.told).abs() > STEP * self.told || (bitrate >= self.ceiling && self.told < bitrate);
        (rested && differs).then(|| {
            (self.told, self.changed) = (bitrate, Some(now));
            bitrate as u32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_micros(33_333);

    fn control(rate: u64) -> (RateControl, Arc<Feedback>) {
        let feedback = Arc::new(Feedback::default());
        feedback.rate.store(rate, Ordering::Relaxed);
        (RateControl::new(feedback.clone(), Size::new(896, 504).unwrap(), 30.0, 1_500_000), feedback)
    }

    fn run(control: &mut RateControl, pictures: u32) -> (u32, Option<u32>) {
        let start = Instant::now();
        let mut encoded = (0, None);
        for number in 0..pictures {
            if let Verdict::Encode(bitrate) = control.decide(start + FRAME * number) {
                encoded = (encoded.0 + 1, bitrate.or(encoded.1));
            }
        }
        encoded
    }

    #[test]
    fn an_encoder_that_did_not_hear_is_told_again() {
        let mut control = control(1_000_000).0;
        let now = Instant::now();
        assert_eq!(control.decide(now), Verdict::Encode(Some(850_000)));
        control.unheard();
        assert_eq!(control.decide(now), Verdict::Encode(Some(850_000)));
        assert_eq!(control.decide(now), Verdict::Encode(None));
    }

    #[test]
    fn a_good_path_changes_nothing() {
        assert_eq!(run(&mut control(0).0, 30), (30, None));
        assert_eq!(run(&mut control(50_000_000).0, 30), (30, None));
    }

    #[test]
    fn a_slower_path_first_takes_bits_and_then_pictures() {
        let (encoded, bitrate) = run(&mut control(1_000_000).0, 30);
        assert_eq!((encoded, bitrate), (30, Some(850_000)));
        let (encoded, bitrate) = run(&mut control(150_000).0, 30);
        assert!((12..=16).contains(&encoded), "{encoded}");
        // 127 kbit/s in 14 pictures a second, as if there were 30.
        assert!((265_000..=275_000).contains(&bitrate.unwrap()), "{bitrate:?}");
    }

    #[test]
    fn pictures_are_left_out_while_packets_wait_or_nothing_gets_through() {
        let (mut control, feedback) = control(1_000_000);
        feedback.backlog.store(150, Ordering::Relaxed);
        assert_eq!(run(&mut control, 30).0, 0);
        feedback.backlog.store(50, Ordering::Relaxed);
        assert_eq!(run(&mut control, 30).0, 30);
        feedback.out.store(true, Ordering::Relaxed);
        assert_eq!(run(&mut control, 30).0, 0);
    }

    #[test]
    fn the_bitrate_comes_back_to_all_that_was_asked_for() {
        let (mut control, feedback) = control(1_000_000);
        let start = Instant::now();
        assert_eq!(control.decide(start), Verdict::Encode(Some(850_000)));
        feedback.rate.store(1_770_000, Ordering::Relaxed);
        assert_eq!(control.decide(start + FRAME), Verdict::Encode(None), "too soon");
        assert_eq!(control.decide(start + PAUSE), Verdict::Encode(Some(1_500_000)));
    }
}
