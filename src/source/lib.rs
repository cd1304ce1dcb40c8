//! Where pictures come from: a file, a test pattern, and with the camera of `cv-sender` a device.
//!
//! A source is a plain struct that is asked for the next picture on a thread of its own; it may block there. What is
//! the same for all of them lives beside them: how much of a source is taken in [`selection`], at which speed in
//! [`pace`], and which part of each picture in [`framing`].
//!
//! To add a source, write a file with a type that implements [`Source`] and a row in `open` of `cv-sender`'s `cli.rs`.
//!
//! Not here: cameras, whose drivers and formats only `cv-sender` needs.

use std::time::SystemTime;

use cv_core::{geometry::Size, picture::Picture, timestamp::Timestamp};

pub mod file;
pub mod framing;
pub mod pace;
pub mod pattern;
pub mod selection;

/// One picture as its source gives it.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Presentation time in the source's own clock and time base.
    pub pts: Timestamp,
    /// The samples, upright, 8-bit 4:2:0.
    pub picture: Picture,
    /// When the picture was taken, where the source is live and knows; else the moment it is handed over counts.
    pub captured: Option<SystemTime>,
}

/// What is known of a source before its first picture.
#[derive(Clone, Debug)]
pub struct Info {
    /// What it is, for a person: `clip.mp4 (H.264, native)`, `camera 0: USB Camera, YUYV`.
    pub name: String,
    /// Size of the pictures, upright.
    pub size: Size,
    /// Nominal pictures a second, for the encoder's rate control; presentation times are what counts.
    pub fps: f64,
    /// How many pictures there will be, where that is known.
    pub frames: Option<u64>,
    /// Whether pictures come in real time by themselves.
    pub live: bool,
}

/// Gives pictures one after the other.
pub trait Source: Send {
    /// What is known of it.
    fn info(&self) -> &Info;

    /// The next picture in presentation order, or `None` after the last. Blocks until there is one.
    ///
    /// After an error no more pictures come; those given before stand.
    fn next(&mut self) -> Result<Option<Captured>, Error>;
}

/// Why a source gives no pictures. The message says what, on what, and what to try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file, folder or device cannot be opened or read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Its path or name.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It holds nothing that can be sent as video.
    #[error("{path} {problem}")]
    NotVideo {
        /// Its path or name.
        path: String,
        /// What is wrong and what to try.
        problem: String,
    },
    /// It breaks off or turns to garbage somewhere behind the pictures already given.
    #[error("{path} is broken after frame {frames}, at {seconds} s: {problem}")]
    Broken {
        /// Its path or name.
        path: String,
        /// How many pictures came out before.
        frames: u64,
        /// Presentation time of the last one in seconds.
        seconds: f64,
        /// What is wrong.
        problem: String,
    },
    /// The camera cannot be used, or went away.
    #[error("camera {index}: {problem}")]
    Camera {
        /// Its number.
        index: u32,
        /// What is wrong and what to try.
        problem: String,
    },
    /// A pattern's name or parameter makes no sense.
    #[error("{0}")]
    Pattern(String),
}
