//! H.264 access units into pictures, one engine a session on a thread of its own.
//!
//! To add an engine, write a file with a type that implements [`Engine`] and a row in [`ENGINES`].

use cv_core::picture::{Picture, Pool};

mod openh264;
mod thread;

pub use thread::{Decoding, Identity, Output, Timing, Unit, Verdict, Work};

/// A decoder's implementation.
trait Engine: Send {
    /// See [`Codec::decode`].
    fn decode(&mut self, access_unit: &[u8], pool: &Pool) -> Result<Option<Picture>, String>;

    /// See [`Codec::flush`].
    fn flush(&mut self, pool: &Pool) -> Vec<Picture>;
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
}

impl Codec {
    /// The first engine that starts.
    pub fn open() -> Result<Self, Error> {
        let mut problems = Vec::new();
        for (name, open) in ENGINES {
            match open() {
                Ok(engine) => return Ok(Self { engine, pool: Pool::default() }),
                Err(problem) => problems.push(format!("{name}: {problem}")),
            }
        }
        Err(Error(problems.join("; ")))
    }

    /// Decodes one access unit in Annex B form. `Ok(None)` where its picture comes out later.
    ///
    /// After an error, pictures up to the next keyframe may be wrong and must not be shown.
    pub fn decode(&mut self, access_unit: &[u8]) -> Result<Option<Picture>, String> {
        self.engine.decode(access_unit, &self.pool)
    }

    /// The pictures still held back, in presentation order.
    pub fn flush(&mut self) -> Vec<Picture> {
        self.engine.flush(&self.pool)
    }
}
