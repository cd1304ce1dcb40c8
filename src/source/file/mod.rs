//! Files: H.264 in MP4 is read and decoded here, YUV4MPEG2 is read here, everything else goes
//! through the program `ffmpeg`.
//!
//! What a file is, its content decides and never its name.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::Path,
};

use super::{Error, Source};

mod avcc;
mod ffmpeg;
mod magic;
pub mod mp4;
mod native;
mod plan;
mod progress;
mod rotate;
mod showinfo;
pub mod sps;
mod y4m;

use ffmpeg::{Ffmpeg, Known};
use magic::Kind;
use mp4::Movie;
use native::Native;
use plan::Plan;
use progress::Progress;
use y4m::Y4m;

/// Opens the video file at `path`, to begin with the first picture shown at `start` seconds or later.
///
/// Times are those in the file, as `ffprobe` prints them. Blocks while the file's index is read
/// or ffmpeg starts.
pub fn open(path: &Path, start: Option<f64>) -> Result<Box<dyn Source>, Error> {
    open_with(path, start, OsStr::new("ffmpeg"))
}

/// Reads YUV4MPEG2 from standard input. Blocks until its first line is there.
pub fn stdin() -> Result<Box<dyn Source>, Error> {
    let progress = Progress::new("standard input", None);
    let input = BufReader::with_capacity(1 << 16, io::stdin());
    Ok(Box::new(Y4m::open(input, progress)?))
}

/// [`open`] with another program for ffmpeg.
fn open_with(path: &Path, start: Option<f64>, program: &OsStr) -> Result<Box<dyn Source>, Error> {
    let shown = path.display().to_string();
    let unreadable = |error| Error::Unreadable { path: shown.clone(), error };
    let not_video = |problem: &str| Error::NotVideo { path: shown.clone(), problem: problem.to_owned() };
    let progress = Progress::new(&shown, start);
    // Asked before opening: that would wait for the other end of a named pipe.
    let metadata = path.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(not_video("is a directory: name one file in it"));
    }
    if !metadata.is_file() {
        return Err(not_video("is not a regular file: pipe YUV4MPEG2 into --file - instead"));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let mut head = Vec::new();
    file.by_ref().take(magic::HEAD as u64).read_to_end(&mut head).map_err(unreadable)?;
    let known = match magic::identify(&head) {
        Kind::Empty => return Err(not_video("is empty (0 bytes): was it recorded or copied to the end?")),
        Kind::Text => return Err(not_video("is a text, not a video")),
        Kind::Y4m => {
            file.rewind().map_err(unreadable)?;
            let input = BufReader::with_capacity(1 << 16, file);
            return Ok(Box::new(Y4m::open(input, progress)?));
        }
        Kind::Mp4 => return open_mp4(file, path, progress, program),
        Kind::Elementary(what) => Known { what: what.to_owned(), untimed: true, ..Known::default() },
        Kind::Other(what) => Known { what: what.unwrap_or_default().to_owned(), ..Known::default() },
    };
    Ok(Box::new(Ffmpeg::open(program, path, known, progress)?))
}

/// Decodes an MP4 file here where possible.
fn open_mp4(file: File, path: &Path, progress: Progress, program: &OsStr) -> Result<Box<dyn Source>, Error> {
    let mut file = BufReader::new(file);
    let movie = match Movie::read(&mut file) {
        Ok(movie) => movie,
        Err(mp4::Error::Io(error)) => return Err(Error::Unreadable { path: path.display().to_string(), error }),
        Err(mp4::Error::NoVideo) => return Err(progress.not_video("holds no video, only sound or other tracks")),
        Err(mp4::Error::NoIndex) => {
            return Err(progress.not_video(
                "has no index: the index (moov) is missing; the recording or the download was cut off; \
                 try the original again, or repair it with a tool such as untrunc",
            ));
        }
        Err(mp4::Error::Malformed(problem)) => {
            let obstacle = Some(format!("its index is damaged: {problem}"));
            let known = Known { what: "MP4".to_owned(), obstacle, ..Known::default() };
            return Ok(Box::new(Ffmpeg::open(program, path, known, progress)?));
        }
    };
    match Plan::make(&mut file, &movie, progress.start) {
        Ok(plan) => Ok(Box::new(Native::open(file, movie, plan, progress)?)),
        Err(obstacle) => {
            tracing::debug!(file = %path.display(), obstacle, "ffmpeg decodes this file");
            Ok(Box::new(Ffmpeg::open(program, path, known(&movie, obstacle, progress.start), progress)?))
        }
    }
}

fn known(movie: &Movie, obstacle: String, start: Option<f64>) -> Known {
    let whole = start.is_none() && movie.track.obstacle().is_none() && movie.complete() == movie.samples.len();
    Known {
        what: format!("{} in MP4", magic::codec(movie.track.format)),
        obstacle: (!obstacle.is_empty()).then_some(obstacle),
        frames: whole.then(|| movie.frames()),
        fps: Some(movie.fps()),
        cut: (movie.cut || movie.complete() < movie.samples.len()).then(|| movie.end_of_data()),
        untimed: false,
    }
}

#[cfg(test)]
mod tests;
