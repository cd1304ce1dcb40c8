//! H.264 in MP4 without any other program: our demuxer and the openh264 decoder.
//!
//! The decoder gives pictures in presentation order some samples late and keeps no times. Since
//! what goes in comes out, each picture gets the smallest time still waiting.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    io::{self, Read, Seek, SeekFrom},
};

use cv_core::{
    annex_b::{self, START_CODE, nal_type},
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
    mp4::{Avc, Movie, Rotation, Sample},
    progress::Progress,
    rotate,
    sps::Sps,
};
use crate::source::{Captured, Error, Info, Source};

/// The largest coded picture that is read: a raw 8K picture is smaller.
const MAX_SAMPLE: u32 = 64 << 20;
/// Pictures that may wait in the decoder: 16 for reordering (H.264, section A.3.1), and some slack.
const MAX_WAITING: usize = 32;
/// Sync samples that are looked at for one to begin with.
const MAX_TRIES: usize = 64;

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

/// A movie that cannot be decoded here, given back with the reason.
pub(super) struct Unfit {
    pub(super) movie: Movie,
    pub(super) progress: Progress,
    pub(super) obstacle: String,
}

impl<F: Read + Seek> Native<F> {
    /// Decodes `movie`, read from `file`, or gives the reason why that cannot be done here.
    pub(super) fn open(mut file: F, movie: Movie, progress: Progress) -> Result<Self, Box<Unfit>> {
        let (avc, sps, first) = match check(&mut file, &movie, progress.start) {
            Ok(checked) => checked,
            Err(obstacle) => return Err(Box::new(Unfit { movie, progress, obstacle })),
        };
        let decoder = match decoder() {
            Ok(decoder) => decoder,
            Err(error) => {
                let obstacle = format!("the decoder does not start: {error}");
                return Err(Box::new(Unfit { movie, progress, obstacle }));
            }
        };
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
            frames: Some(movie.samples.iter().filter(after).count() as u64),
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

/// Whether the built-in decoder can do `movie`: its configuration and where to begin for `start`.
fn check(file: &mut (impl Read + Seek), movie: &Movie, start: Option<f64>) -> Result<(Avc, Sps, usize), String> {
    let avc = match (&movie.track.format, &movie.track.avc) {
        (b"avc1" | b"avc3", Some(avc)) => avc.clone(),
        _ => return Err(String::new()),
    };
    if let Some(obstacle) = movie.track.obstacle() {
        return Err(obstacle.to_owned());
    }
    let first = begin(file, movie, &avc, start).ok_or("it does not begin with a picture that stands alone")?;
    let mut stream = Vec::new();
    let data = read(file, movie.samples[first]).map_err(|error| error.to_string())?;
    append_annex_b(&data, avc.length_size, &mut stream)?;
    let sets = avc.parameter_sets.iter().map(Vec::as_slice).chain(annex_b::nals(&stream));
    let sets = sets.filter(|nal| nal_type(nal) == annex_b::nal_type::SPS);
    let parsed: Option<Vec<Sps>> = sets.map(Sps::parse).collect();
    let parsed = parsed.ok_or("its sequence parameter set is damaged")?;
    if let Some(obstacle) = parsed.iter().find_map(Sps::obstacle) {
        return Err(obstacle.to_owned());
    }
    let sps = parsed.into_iter().next().ok_or("its sequence parameter set is missing")?;
    Ok((avc, sps, first))
}

/// The last IDR picture at or before the first one to give: everything before it in decoding
/// order is also before it in presentation order (H.264, section 8.2.1).
fn begin(file: &mut (impl Read + Seek), movie: &Movie, avc: &Avc, start: Option<f64>) -> Option<usize> {
    let shown = movie.samples.iter().filter(|sample| sample.shown).map(|sample| sample.pts).min()?;
    let early = |sample: &Sample| {
        let seconds = Timestamp::new(sample.pts, movie.track.base).seconds();
        sample.pts <= shown || start.is_some_and(|start| seconds <= start)
    };
    let candidates = movie.samples[..movie.complete()].iter().enumerate();
    let candidates = candidates.rev().filter(|(index, sample)| *index == 0 || (sample.sync && early(sample)));
    candidates.take(MAX_TRIES).find(|(_, sample)| is_idr(file, **sample, avc)).map(|(index, _)| index)
}

fn is_idr(file: &mut (impl Read + Seek), sample: Sample, avc: &Avc) -> bool {
    let mut stream = Vec::new();
    let data = read(file, sample).unwrap_or_default();
    append_annex_b(&data, avc.length_size, &mut stream).is_ok()
        && annex_b::nals(&stream).any(|nal| nal_type(nal) == annex_b::nal_type::IDR)
}

/// The bytes of a sample.
fn read(file: &mut (impl Read + Seek), sample: Sample) -> io::Result<Vec<u8>> {
    if sample.size > MAX_SAMPLE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a picture of more than 64 MiB"));
    }
    let mut data = Vec::new();
    file.seek(SeekFrom::Start(sample.offset))?;
    // Memory grows with what is there: a cut file claims sizes that it does not have.
    file.by_ref().take(sample.size.into()).read_to_end(&mut data)?;
    if data.len() < sample.size as usize { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(data) }
}

/// Appends the NAL units that matter for decoding, with start codes instead of lengths (ISO
/// 14496-15, section 5.3.3); says whether there is a coded slice among them.
fn append_annex_b(sample: &[u8], length_size: usize, stream: &mut Vec<u8>) -> Result<bool, String> {
    let mut rest = sample;
    let mut coded = false;
    while !rest.is_empty() {
        let beyond = "the next picture is corrupt (a unit reaches beyond its end)";
        let (length, tail) = rest.split_at_checked(length_size).ok_or(beyond)?;
        let length = length.iter().fold(0, |value, byte| value << 8 | usize::from(*byte));
        let (nal, tail) = tail.split_at_checked(length).ok_or(beyond)?;
        let kind = nal_type(nal);
        // Others are advice, or extensions that the decoder would take for pictures of their own.
        if matches!(kind, annex_b::nal_type::SLICE | annex_b::nal_type::IDR | 7 | 8) {
            stream.extend_from_slice(&START_CODE);
            stream.extend_from_slice(nal);
            coded |= kind <= annex_b::nal_type::IDR;
        }
        rest = tail;
    }
    Ok(coded)
}
