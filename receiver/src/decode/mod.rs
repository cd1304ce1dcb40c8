//! H.264 access units into pictures, one engine a session on a thread of its own.
//!
//! To add an engine, write a file with a type that implements [`Engine`] and a row in [`ENGINES`].

use cv_core::{
    annex_b,
    picture::{Picture, Pool, Range},
};
use cv_source::file::sps::Sps;

mod openh264;
mod thread;

pub use thread::{Decoding, Identity, Output, Timing, Unit, Verdict, Work};

/// A decoder's implementation. Pictures are made from a pool, with the range that is given.
trait Engine: Send {
    /// See [`Codec::decode`].
    fn decode(&mut self, access_unit: &[u8], made: (&Pool, Range)) -> Result<Option<Picture>, String>;

    /// See [`Codec::flush`].
    fn flush(&mut self, made: (&Pool, Range)) -> Vec<Picture>;
}

/// An engine's name and constructor.
type Row = (&'static str, fn() -> Result<Box<dyn Engine>, String>);

/// Known engines, tried in order.
const ENGINES: &[Row] = &[("openh264", openh264::open)];

/// No engine starts.
#[derive(Debug, thiserror::Error)]
#[error("no H.264 decoder can be started: {0}")]
pub struct Error(String);

/// A decoder of one stream with the memory of its pictures.
pub struct Codec {
    engine: Box<dyn Engine>,
    pool: Pool,
    /// As the last sequence parameter set says; engines do not tell.
    range: Range,
}

impl Codec {
    /// The first engine that starts.
    pub fn open() -> Result<Self, Error> {
        let mut problems = Vec::new();
        for (name, open) in ENGINES {
            match open() {
                Ok(engine) => return Ok(Self { engine, pool: Pool::default(), range: Range::Limited }),
                Err(problem) => problems.push(format!("{name}: {problem}")),
            }
        }
        Err(Error(problems.join("; ")))
    }

    /// Decodes one access unit in Annex B form. `Ok(None)` where its picture comes out later.
    ///
    /// After an error, pictures up to the next keyframe may be wrong and must not be shown.
    pub fn decode(&mut self, access_unit: &[u8]) -> Result<Option<Picture>, String> {
        if let Some(sps) = sequence(access_unit) {
            self.range = if sps.full_range == Some(true) { Range::Full } else { Range::Limited };
        }
        self.engine.decode(access_unit, (&self.pool, self.range))
    }

    /// The pictures still held back, in presentation order.
    pub fn flush(&mut self) -> Vec<Picture> {
        self.engine.flush((&self.pool, self.range))
    }
}

/// The sequence parameter set in front of a picture, where there is one.
fn sequence(access_unit: &[u8]) -> Option<Sps> {
    // Slices are NAL units of types 1 to 5, and what is in front of them is short.
    let mut headers = annex_b::nals(access_unit).take_while(|nal| !matches!(annex_b::nal_type(nal), 1..=5));
    headers.find(|nal| annex_b::nal_type(nal) == 7).and_then(Sps::parse)
}
