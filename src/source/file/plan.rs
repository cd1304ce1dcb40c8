//! Whether the built-in decoder can do a file, and where in it to begin.

use std::io::{Read, Seek};

use cv_core::{
    annex_b::{self, nal_type},
    timestamp::Timestamp,
};

use super::{
    avcc::{append_annex_b, read},
    mp4::{Avc, Movie, Sample},
    sps::Sps,
};

/// Sync samples that are looked at for one to begin with.
const MAX_TRIES: usize = 64;

/// How to decode a file here.
pub(super) struct Plan {
    pub(super) avc: Avc,
    /// The first of its sequence parameter sets.
    pub(super) sps: Sps,
    /// Index of the sample to begin with.
    pub(super) first: usize,
}

impl Plan {
    /// A plan for `movie`, which lies in `file`, from `start` seconds on; or why there is none,
    /// in no words where the codec alone says it.
    pub(super) fn make(file: &mut (impl Read + Seek), movie: &Movie, start: Option<f64>) -> Result<Self, String> {
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
        Ok(Self { avc, sps, first })
    }
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
