//! What a reader has given so far: for the start that was asked for and for its errors.

use std::path::Path;

use cv_core::timestamp::Timestamp;

use crate::Error;

/// Counts the pictures that a reader of `path` gives.
pub(super) struct Progress {
    path: String,
    /// Pictures shown before this many seconds are left out.
    pub(super) start: Option<f64>,
    frames: u64,
    seconds: f64,
}

impl Progress {
    pub(super) fn new(path: &str, start: Option<f64>) -> Self {
        Self { path: path.to_owned(), start, frames: 0, seconds: 0.0 }
    }

    /// The file's name and, in brackets, `how` it is read.
    pub(super) fn name(&self, how: &str) -> String {
        let name = Path::new(&self.path).file_name().unwrap_or_default().to_string_lossy();
        format!("{name} ({how})")
    }

    /// Whether the picture shown at `pts` is to be given, which then counts as done.
    pub(super) fn admits(&mut self, pts: Timestamp) -> bool {
        let seconds = pts.seconds();
        let admitted = self.start.is_none_or(|start| seconds >= start);
        if admitted {
            self.frames += 1;
            self.seconds = seconds;
        }
        admitted
    }

    /// The error that ends the pictures here.
    pub(super) fn broken(&self, problem: impl Into<String>) -> Error {
        let Self { frames, seconds, .. } = *self;
        Error::Broken { path: self.path.clone(), frames, seconds, problem: problem.into() }
    }

    /// The error that says there never was a picture.
    pub(super) fn not_video(&self, problem: impl Into<String>) -> Error {
        Error::NotVideo { path: self.path.clone(), problem: problem.into() }
    }
}
