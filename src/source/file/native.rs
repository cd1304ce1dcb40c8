//! H.264 in MP4 without any other program: our demuxer and the openh264 decoder.
//!
//! The decoder gives pictures in presentation order some samples late and keeps no times. Since
//! what goes in comes out, each picture gets the smallest time still waiting.
//!
//! Pictures without B slices are exact. In B slices openh264 filters a few block edges less than
//! the standard says (cisco/openh264 issue 3269), which nobody sees.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::{self, Read, Seek},
};

use cv_core::{
    annex_b::START_CODE,
    geometry::Size,
    picture::{Picture, Plane, Pool, Range},
    timestamp::Timestamp,
};
use openh264::{
    OpenH264API,
    decoder::{DecodedYUV, Decoder, DecoderConfig, Flush},
    formats::YUVSource,
};

use super::{
    avcc::{append_annex_b, read},
    mp4::{Avc, Movie, Rotation, Sample},
    plan::Plan,
    progress::Progress,
    rotate,
};
use crate::{Captured, Error, Info, Source};

/// Pictures that may wait in the decoder: 16 for reordering (H.264, section A.3.1), and some slack.
const MAX_WAITING: usize = 32;
/// Decodes the first video track of an MP4 file.
pub(super) struct Native<F> {
    file: F,
    movie: Movie,
    avc: Avc,
    next: usize,
    picture: Converter,
    decoder: Decoder,
    /// Times of the samples in the decoder, and whether they are shown.
    waiting: BinaryHeap<Reverse<(i64, bool)>>,
    ready: VecDeque<(Timestamp, Picture)>,
    /// What the decoder is fed with: kept for its memory.
    stream: Vec<u8>,
    end: End,
    progress: Progress,
    info: Info,
}

/// How far the file is done.
enum End {
    NotYet,
    /// No more samples are fed; then comes this error.
    Broken(String),
    Done,
}

impl<F: Read + Seek> Native<F> {
    /// Decodes `movie`, read from `file`, as `plan` says.
    pub(super) fn open(file: F, movie: Movie, plan: Plan, progress: Progress) -> Result<Self, Error> {
        let decoder = decoder().map_err(|error| progress.not_video(format!("finds no decoder: {error}")))?;
        let Plan { avc, sps, first } = plan;
        let rotation = movie.track.rotation.unwrap_or_default();
        let range = match sps.full_range.or(movie.track.full_range) {
            Some(true) => Range::Full,
            _ => Range::Limited,
        };
        let after = |sample: &&Sample| {
            let seconds = Timestamp::new(sample.pts, movie.track.base).seconds();
            sample.shown && progress.start.is_none_or(|start| seconds >= start)
        };
        let info = Info {
            name: progress.name("H.264, native"),
            size: rotate::turned(sps.size, rotation),
            fps: movie.fps(),
            frames: Some(movie.samples[..movie.complete()].iter().filter(after).count() as u64),
            live: false,
        };
        let stream = avc.parameter_sets.iter().flat_map(|set| [&START_CODE, &set[..]].concat()).collect();
        Ok(Self {
            file,
            movie,
            avc,
            next: first,
            picture: Converter { pool: Pool::default(), range, rotation },
            decoder,
            waiting: BinaryHeap::new(),
            ready: VecDeque::new(),
            stream,
            end: End::NotYet,
            progress,
            info,
        })
    }

    /// Feeds the next sample or, behind the last one, empties the decoder.
    fn step(&mut self) {
        let fed = match self.movie.samples.get(self.next) {
            Some(&sample) => self.feed(sample),
            None if self.movie.cut => Err("the file ends inside a fragment's index; it was cut off".to_owned()),
            None => Err(String::new()),
        };
        self.next += 1;
        if let Err(problem) = fed {
            self.finish(problem);
        }
    }

    /// Decodes one sample; the error says what is wrong with it.
    fn feed(&mut self, sample: Sample) -> Result<(), String> {
        let missing = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.movie.end_of_data(),
            _ => format!("its data cannot be read: {error}"),
        };
        let data = read(&mut self.file, sample).map_err(missing)?;
        let coded = append_annex_b(&data, self.avc.length_size, &mut self.stream)?;
        if self.stream.is_empty() {
            // To the decoder no data at all would mean the end.
            return Ok(());
        }
        let decoded = self.decoder.decode(&self.stream);
        let yuv = decoded.map_err(|error| format!("the next picture is corrupt ({})", code(&error)))?;
        let picture = yuv.map(|yuv| self.picture.convert(&yuv)).transpose()?;
        self.stream.clear();
        if coded {
            self.waiting.push(Reverse((sample.pts, sample.shown)));
        }
        if let Some(picture) = picture {
            self.take(picture)?;
        }
        if self.waiting.len() > MAX_WAITING { Err("pictures are missing inside".to_owned()) } else { Ok(()) }
    }

    /// Gives a decoded picture its time.
    fn take(&mut self, picture: Picture) -> Result<(), String> {
        let Reverse((pts, shown)) = self.waiting.pop().ok_or("it holds more pictures than its index lists")?;
        if shown {
            self.ready.push_back((Timestamp::new(pts, self.movie.track.base), picture));
        }
        Ok(())
    }

    /// Empties the decoder and notes the end: broken where `problem` says why.
    fn finish(&mut self, mut problem: String) {
        match self.decoder.flush_remaining() {
            Ok(rest) => {
                let rest: Vec<_> = rest.iter().map(|yuv| self.picture.convert(yuv)).collect();
                let taken = rest.into_iter().try_for_each(|picture| self.take(picture?));
                problem = if problem.is_empty() { taken.err().unwrap_or_default() } else { problem };
            }
            Err(error) if problem.is_empty() => problem = format!("its last pictures are corrupt ({})", code(&error)),
            Err(_) => {}
        }
        if problem.is_empty() && self.waiting.iter().any(|Reverse((_, shown))| *shown) {
            problem = "its last pictures are missing".to_owned();
        }
        self.end = if problem.is_empty() { End::Done } else { End::Broken(problem) };
    }
}

impl<F: Read + Seek + Send> Source for Native<F> {
    fn info(&self) -> &Info {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Captured>, Error> {
        loop {
            while let Some((pts, picture)) = self.ready.pop_front() {
                if self.progress.admits(pts) {
                    return Ok(Some(Captured { pts, picture, captured: None }));
                }
            }
            match std::mem::replace(&mut self.end, End::Done) {
                End::NotYet => {
                    self.end = End::NotYet;
                    self.step();
                }
                End::Broken(problem) => return Err(self.progress.broken(problem)),
                End::Done => return Ok(None),
            }
        }
    }
}

/// Copies decoded pictures out of the decoder, upright.
struct Converter {
    pool: Pool,
    range: Range,
    rotation: Rotation,
}

impl Converter {
    fn convert(&self, yuv: &DecodedYUV<'_>) -> Result<Picture, String> {
        let (width, height) = yuv.dimensions();
        let size = Size::new(width as u32, height as u32).map_err(|error| error.to_string())?;
        let mut picture = self.pool.picture(rotate::turned(size, self.rotation), self.range);
        let strides = yuv.strides();
        let chroma = size.chroma();
        let sources = [(yuv.y(), strides.0, size), (yuv.u(), strides.1, chroma), (yuv.v(), strides.2, chroma)];
        for (mut to, (data, stride, size)) in picture.planes_mut().into_iter().zip(sources) {
            let from = Plane { data, width: size.width() as usize, height: size.height() as usize, stride };
            rotate::copy(from, &mut to, self.rotation);
        }
        Ok(picture.freeze())
    }
}

fn decoder() -> Result<Decoder, openh264::Error> {
    // Flushing after each picture would lose those that wait for their turn.
    let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
    Decoder::with_api_config(OpenH264API::from_source(), config)
}

/// The decoder's word for what went wrong, on one line.
fn code(error: &openh264::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
