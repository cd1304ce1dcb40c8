//! MP4 and QuickTime files (ISO 14496-12): where the coded pictures lie and when they are shown.
//!
//! Reads the index alone, on any `Read + Seek`. The file is taken for hostile: memory follows the
//! bytes that are really there and not what they claim, every walk moves forward, and nothing here
//! panics. Times follow what ffmpeg makes of edit lists and fragments, since that is what
//! everybody compares with.

use std::io::{self, Read, Seek, SeekFrom};

use cv_core::timestamp::TimeBase;

mod boxes;
mod edits;
mod fragments;
mod tables;
mod track;

use fragments::Fragments;
pub use track::{Avc, Rotation, Track};

/// An index larger than this is refused: a day of video needs less than 64 MiB.
const MAX_INDEX: u64 = 256 << 20;
/// More coded pictures than this are refused: 37 hours at 30 a second.
const MAX_SAMPLES: u64 = 4_000_000;
/// More boxes than this in a row at the top are refused: fragments of 0.1 s over a whole day.
const MAX_BOXES: u32 = 2_000_000;

/// One coded picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Byte position in the file; may lie beyond its end.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
    /// Decoding time in ticks of the track.
    pub dts: i64,
    /// Presentation time in ticks of the track, edit list applied.
    pub pts: i64,
    /// Whether the file calls it a sync sample.
    pub sync: bool,
    /// Whether the edit list shows it; else it is decoded only because others refer to it.
    pub shown: bool,
}

/// The first video track of a file.
#[derive(Debug)]
pub struct Movie {
    /// What the track says of itself.
    pub track: Track,
    /// Its coded pictures in decoding order, those behind the last one shown left out.
    pub samples: Vec<Sample>,
    /// Bytes in the file.
    pub length: u64,
    /// Whether the file ends inside a fragment's index.
    pub cut: bool,
}

/// Why a file has no usable index.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no `moov` box, or the file ends within.
    #[error("the index (moov) is missing")]
    NoIndex,
    /// No track is a video track.
    #[error("there is no video track")]
    NoVideo,
    /// The index contradicts itself or goes beyond this reader's limits.
    #[error("the index is damaged: {0}")]
    Malformed(&'static str),
}

impl Movie {
    /// Reads the index of `file`, from its start to its end, without the coded pictures.
    pub fn read(file: &mut (impl Read + Seek)) -> Result<Self, Error> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut top = Top { file, length, position: 0, boxes: 0 };
        let mut movie: Option<(Self, Fragments)> = None;
        while let Some(found) = top.next()? {
            match (&found.kind, &mut movie) {
                (b"moov", None) => movie = Some(Self::from_index(&top.content(&found)?, length)?),
                (b"moof", Some((movie, fragments))) => match top.content(&found) {
                    Ok(moof) => fragments.read(&moof, found.position, &mut movie.samples)?,
                    Err(Error::NoIndex) => movie.cut = true,
                    Err(error) => return Err(error),
                },
                _ => {}
            }
        }
        let (mut movie, _) = movie.ok_or(Error::NoIndex)?;
        let end = movie.samples.iter().rposition(|sample| sample.shown).map_or(0, |last| last + 1);
        movie.samples.truncate(end);
        Ok(movie)
    }

    /// How many pictures there are to show.
    pub fn frames(&self) -> u64 {
        self.samples.iter().filter(|sample| sample.shown).count() as u64
    }

    /// Pictures a second on average, 30 where there are too few to tell.
    pub fn fps(&self) -> f64 {
        let shown = || self.samples.iter().filter(|sample| sample.shown).map(|sample| sample.pts);
        let span = shown().max().unwrap_or(0).saturating_sub(shown().min().unwrap_or(0));
        let base = self.track.base;
        let seconds = span as f64 * f64::from(base.num()) / f64::from(base.den());
        if seconds > 0.0 { (self.frames() - 1) as f64 / seconds } else { 30.0 }
    }

    /// How many of the coded pictures lie inside the file, up to the first that does not.
    pub fn complete(&self) -> usize {
        let inside =
            |sample: &Sample| sample.offset.checked_add(sample.size.into()).is_some_and(|end| end <= self.length);
        self.samples.iter().position(|sample| !inside(sample)).unwrap_or(self.samples.len())
    }

    /// Says that, and where, the file ends before its last picture.
    pub fn end_of_data(&self) -> String {
        let (listed, there) = (self.samples.len(), self.complete());
        let length = self.length;
        format!("the file was cut off at byte {length}: its index lists {listed} pictures, {there} are there")
    }

    fn from_index(moov: &[u8], length: u64) -> Result<(Self, Fragments), Error> {
        let (track, trak) = Track::first_video(moov)?;
        let stbl = boxes::descend(trak, &[b"mdia", b"minf", b"stbl"]).ok_or(Error::Malformed("no sample table"))?;
        // Every coded picture takes a byte of the file at least, so claims beyond are lies.
        let limit = length.min(MAX_SAMPLES) as usize;
        let mut samples = tables::read(stbl, limit)?;
        let fragments = Fragments::new(moov, &track, &samples, limit);
        edits::apply(&track.edits, &mut samples);
        Ok((Self { track, samples, length, cut: false }, fragments))
    }
}

/// Ticks of a track's clock.
fn time_base(timescale: u32) -> Result<TimeBase, Error> {
    TimeBase::new(1, timescale).ok_or(Error::Malformed("a clock of zero ticks a second"))
}

/// The boxes at the top of a file.
struct Top<'a, F> {
    file: &'a mut F,
    length: u64,
    position: u64,
    boxes: u32,
}

/// A box at the top of a file.
struct Found {
    kind: [u8; 4],
    position: u64,
    header: u64,
    /// Where it claims to end.
    end: u64,
}

impl<F: Read + Seek> Top<'_, F> {
    /// The next box, or `None` at the end of the file or of what makes sense.
    fn next(&mut self) -> Result<Option<Found>, Error> {
        let position = self.position;
        let left = self.length.saturating_sub(position);
        if left < 8 {
            return Ok(None);
        }
        self.boxes += 1;
        if self.boxes > MAX_BOXES {
            return Err(Error::Malformed("too many boxes"));
        }
        let mut head = [0; 16];
        let wanted = left.min(16) as usize;
        self.file.seek(SeekFrom::Start(position))?;
        self.file.read_exact(&mut head[..wanted])?;
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (header, size) = match word(0) {
            0 => (8, left),
            1 => (16, u64::from(word(8)) << 32 | u64::from(word(12))),
            size => (8, size.into()),
        };
        if size < header {
            return Ok(None);
        }
        let end = position.saturating_add(size);
        self.position = end;
        Ok(Some(Found { kind: [head[4], head[5], head[6], head[7]], position, header, end }))
    }

    /// Content of a box, or [`Error::NoIndex`] where the file ends within.
    fn content(&mut self, found: &Found) -> Result<Vec<u8>, Error> {
        let start = found.position + found.header;
        if found.end > self.length {
            return Err(Error::NoIndex);
        }
        if found.end - start > MAX_INDEX {
            return Err(Error::Malformed("larger than 256 MiB"));
        }
        let mut content = vec![0; (found.end - start) as usize];
        self.file.seek(SeekFrom::Start(start))?;
        self.file.read_exact(&mut content)?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests;
