//! A scripted camera: each opening fails, hangs, or runs through its events and then stalls, as drivers do.

use std::{
    collections::VecDeque,
    sync::{Mutex, mpsc},
    time::SystemTime,
};

use bytes::Bytes;
use cv_core::{geometry::Size, picture::Range};

use super::*;
use crate::camera::{
    capture::Stream,
    convert::Layout,
    format::{Encoding, Format},
};

const MS: Duration = Duration::from_millis(1);
/// Comes back well before giving up, however busy the machine is.
const PATIENT: Timing = Timing {
    opening: Duration::from_secs(60),
    silence: Duration::from_millis(20),
    retry: MS,
    give_up: Duration::from_secs(60),
};
const HASTY: Timing = Timing { give_up: Duration::from_millis(50), ..PATIENT };

#[derive(Clone, Copy, Debug)]
enum Event {
    Picture(u8),
    Half,
    Unplugged,
    Panic,
    /// Blocks until the test resumes it.
    Stall,
}
use Event::{Half, Panic, Picture, Stall, Unplugged};

enum Opening {
    Fails(Fault),
    Hangs,
    Runs(Vec<Event>),
}

struct Script {
    openings: Mutex<VecDeque<Opening>>,
    /// Whether each opening was told what was open before.
    known: Mutex<Vec<bool>>,
    /// One message ends one stall; hanging up ends them all.
    resume: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Driver for Script {
    fn open(&self, known: Option<&Opened>) -> Result<(Opened, Box<dyn Stream>), Fault> {
        self.known.lock().unwrap().push(known.is_some());
        let opening = self.openings.lock().unwrap().pop_front().unwrap_or(Opening::Fails(Fault::Absent(Vec::new())));
        match opening {
            Opening::Fails(fault) => Err(fault),
            Opening::Hangs => {
                self.resume.lock().unwrap().recv().ok();
                Err(Fault::Gone)
            }
            Opening::Runs(events) => {
                let size = Size::new(16, 8).unwrap();
                let format = Format { encoding: Encoding::Gray, size, fps: 30.0 };
                let layout = Layout { encoding: Encoding::Gray, size, stride: 16, range: Range::Full };
                let opened = Opened { index: 3, name: "Fake".into(), format, layout };
                let running = Running { events: events.into(), resume: self.resume.clone(), taken: None };
                Ok((opened, Box::new(running)))
            }
        }
    }
}

struct Running {
    events: VecDeque<Event>,
    resume: Arc<Mutex<mpsc::Receiver<()>>>,
    /// Ends when the buffer before was used: only the newest waits, and no test is to lose one by chance.
    taken: Option<mpsc::Receiver<()>>,
}

struct Buffer {
    samples: Vec<u8>,
    _taken: mpsc::Sender<()>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.samples
    }
}

impl Running {
    fn buffer(&mut self, samples: Vec<u8>) -> (Bytes, Option<SystemTime>) {
        let (sender, taken) = mpsc::channel();
        self.taken = Some(taken);
        (Bytes::from_owner(Buffer { samples, _taken: sender }), None)
    }
}

impl Stream for Running {
    fn frame(&mut self) -> Result<(Bytes, Option<SystemTime>), Fault> {
        if let Some(taken) = self.taken.take() {
            taken.recv().ok();
        }
        loop {
            match self.events.pop_front().unwrap_or(Stall) {
                Picture(luma) => return Ok(self.buffer(vec![luma; 16 * 8])),
                Half => return Ok(self.buffer(vec![9; 16 * 4])),
                Unplugged => return Err(Fault::Gone),
                Panic => std::panic::resume_unwind(Box::new("scripted")),
                Stall if self.resume.lock().unwrap().recv().is_err() => return Err(Fault::Gone),
                Stall => {}
            }
        }
    }
}

/// The events after three dark pictures, which warming up takes.
fn warm(events: &[Event]) -> Opening {
    Opening::Runs([&[Picture(1); 3], events].concat())
}

fn script(openings: impl Into<VecDeque<Opening>>) -> (Arc<Script>, mpsc::Sender<()>) {
    let (sender, resume) = mpsc::channel();
    let openings = Mutex::new(openings.into());
    (Arc::new(Script { openings, known: Mutex::default(), resume: Arc::new(Mutex::new(resume)) }), sender)
}

fn luma(live: &mut Live) -> u8 {
    live.next().unwrap().unwrap().picture.luma()[[0, 0]]
}

#[test]
fn the_first_dark_pictures_are_dropped_and_times_increase() {
    let (driver, _resume) = script([warm(&[Picture(50), Picture(51), Picture(52)])]);
    let mut live = Live::open(driver, PATIENT).unwrap();
    assert_eq!(live.info().name, "camera 3: Fake, 16x8 GRAY 30 fps");
    let mut last = None;
    for wanted in 50..53 {
        let captured = live.next().unwrap().unwrap();
        assert_eq!(captured.picture.luma()[[7, 15]], wanted);
        assert!(last.is_none_or(|last| captured.pts.ticks > last) && captured.captured.is_some());
        last = Some(captured.pts.ticks);
    }
}

#[test]
fn an_unplugged_camera_is_opened_again_in_the_same_format() {
    let absent = || Opening::Fails(Fault::Absent(Vec::new()));
    let (driver, _resume) = script([warm(&[Picture(50), Unplugged]), absent(), absent(), warm(&[Picture(60)])]);
    let mut live = Live::open(driver.clone(), PATIENT).unwrap();
    assert_eq!([luma(&mut live), luma(&mut live)], [50, 60]);
    assert_eq!(*driver.known.lock().unwrap(), [false, true, true, true]);
}

#[test]
fn a_camera_that_stays_away_is_one_error_and_then_the_end() {
    let (driver, _resume) = script([warm(&[Picture(50), Unplugged])]);
    let mut live = Live::open(driver, HASTY).unwrap();
    assert_eq!(luma(&mut live), 50);
    let error = live.next().unwrap_err().to_string();
    assert!(error.starts_with("camera 3: not found; no camera is connected"), "{error}");
    assert!(live.next().unwrap().is_none());
}

#[test]
fn a_stalled_camera_goes_on_where_it_resumes() {
    let (driver, resume) = script([warm(&[Picture(50), Stall, Picture(51)])]);
    let mut live = Live::open(driver.clone(), PATIENT).unwrap();
    assert_eq!(luma(&mut live), 50);
    let waiting = std::thread::spawn(move || luma(&mut live));
    resume.send(()).unwrap();
    assert_eq!(waiting.join().unwrap(), 51);
    assert_eq!(driver.known.lock().unwrap().len(), 1);
}

#[test]
fn a_camera_that_stalls_for_good_is_an_error_and_its_thread_is_left_alone() {
    let (driver, resume) = script([warm(&[Picture(50)])]);
    let mut live = Live::open(driver, HASTY).unwrap();
    assert_eq!(luma(&mut live), 50);
    let error = live.next().unwrap_err().to_string();
    assert!(error.starts_with("camera 3: no picture for 0 s; unplug it"), "{error}");
    drop(live);
    drop(resume);
}

#[test]
fn damaged_pictures_are_dropped_and_counted() {
    let (driver, _resume) = script([warm(&[Half, Picture(50), Half, Half, Picture(51)])]);
    let mut live = Live::open(driver, PATIENT).unwrap();
    assert_eq!([luma(&mut live), luma(&mut live)], [50, 51]);
    assert_eq!(live.damaged, 3);
}

#[test]
fn a_camera_that_sends_only_damage_is_an_error() {
    let (driver, _resume) = script([warm(&[Half; 5])]);
    let error = Live::open(driver, HASTY).unwrap().next().unwrap_err().to_string();
    assert!(error.contains("damaged") || error.contains("no picture"), "{error}");
}

#[test]
fn a_driver_that_panics_is_opened_again() {
    let (driver, _resume) = script([warm(&[Picture(50), Panic]), warm(&[Picture(60)])]);
    let mut live = Live::open(driver, PATIENT).unwrap();
    assert_eq!([luma(&mut live), luma(&mut live)], [50, 60]);
}

#[test]
fn opening_fails_at_once_with_the_reason() {
    let (driver, _resume) = script([Opening::Fails(Fault::Busy)]);
    assert_eq!(Live::open(driver, PATIENT).err(), Some(Fault::Busy));
    let (driver, _resume) = script([Opening::Hangs]);
    assert_eq!(Live::open(driver, Timing { opening: MS, ..PATIENT }).err(), Some(Fault::Unresponsive(MS)));
}

#[test]
fn attempts_become_rarer_and_end() {
    let (timing, start) = (Timing::default(), Instant::now());
    let mut outage = Outage::new(timing, start);
    let pauses: Vec<_> = (0..5).map(|_| outage.pause(&Fault::Gone, start).unwrap().as_millis()).collect();
    assert_eq!(pauses, [500, 1000, 2000, 4000, 4000]);
    let silent = Fault::Silent(timing.silence);
    assert_eq!(outage.pause(&silent, start + Duration::from_secs(29)), Some(Duration::ZERO));
    assert_eq!(outage.pause(&silent, start + Duration::from_secs(30)), None);
}

#[test]
fn a_slow_camera_loses_only_its_first_picture() {
    let start = Instant::now();
    let dropped = |interval: u32| {
        let mut warm_up = WarmUp::default();
        (0..10).filter(|n| warm_up.drops(start + interval * *n * MS)).count()
    };
    assert_eq!([dropped(33), dropped(100), dropped(200), dropped(1000)], [3, 3, 2, 1]);
}
