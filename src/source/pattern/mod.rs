//! Test patterns: moving pictures whose truth is known, of any size, rate and length.
//!
//! They stand in for a camera in demonstrations, tell tests what must come out and cost a
//! benchmark next to nothing. A pattern is deterministic: picture `n` depends on the
//! parameters and on `n` only.
//!
//! To add a pattern, write a file with a type that implements `Painter` and a row in `KINDS`.

use cv_core::{geometry::Size, picture::Picture};

use super::{Captured, Error, Info, Source};

mod bars;
mod black;
mod canvas;
mod colour;
mod font;
mod noise;
mod number_code;
mod parameters;
mod prng;
mod pulse;
mod rate;
mod reps;
mod texture;

pub use number_code::read_number;
pub use reps::rep_bottoms;

use parameters::Parameters;
use rate::Rate;

/// Paints the pictures of one pattern.
trait Painter: Send {
    /// The picture of one moment, of the size the painter was opened with.
    fn paint(&mut self, moment: Moment) -> Picture;

    /// After how many pictures of `rate` the pattern has shown all it has, if it ends by itself.
    fn frames(&self, _rate: Rate) -> Option<u64> {
        None
    }
}

/// Which picture is asked for.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// Its number, from 0.
    number: u64,
    /// Seconds from the first picture to this one.
    seconds: f64,
}

/// One row of the table of patterns.
struct Kind {
    name: &'static str,
    /// One line for `--help`, with the parameters.
    help: &'static str,
    /// The parameters beyond those that all patterns take.
    parameters: &'static [&'static str],
    open: Open,
}

type Open = fn(Size, &Parameters<'_>) -> Result<Box<dyn Painter>, Error>;

const KINDS: [Kind; 6] = [bars::KIND, noise::KIND, pulse::KIND, reps::KIND, black::KIND, texture::KIND];

static NAMES: [(&str, &str); KINDS.len()] = {
    let mut names = [("", ""); KINDS.len()];
    let mut index = 0;
    while index < KINDS.len() {
        names[index] = (KINDS[index].name, KINDS[index].help);
        index += 1;
    }
    names
};

/// Every pattern's name with one line of help that lists its own parameters.
///
/// All of them also take `size=WxH`, `fps=N` (a number or a fraction such as 30000/1001) and `frames=N`.
pub fn names() -> &'static [(&'static str, &'static str)] {
    &NAMES
}

/// Opens the pattern `NAME` or `NAME:key=value,key=value`, for example `pulse:bpm=72`.
///
/// `size` and `fps` win over the parameters of the same name; where neither is given a picture has
/// 1280x720 pixels and there are 30 a second. Patterns are endless unless `frames` is given; `reps`
/// ends by itself. An unknown name or parameter is an [`Error::Pattern`] that lists the known ones.
pub fn open(spec: &str, size: Option<Size>, fps: Option<f64>) -> Result<Box<dyn Source>, Error> {
    let (name, parameters) = spec.split_once(':').map_or((spec, None), |(name, rest)| (name, Some(rest)));
    let kind = KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| unknown(name))?;
    let parameters = Parameters::parse(name, parameters, kind.parameters)?;
    let own_size = parameters.get("size")?;
    let own_rate = parameters.get("fps")?;
    let default_size = Size::new(1280, 720).expect("720p is within the limits");
    let size = size.or(own_size).unwrap_or(default_size);
    let rate = match fps {
        Some(fps) => Rate::nearest(fps).map_err(|error| Error::Pattern(format!("pattern {name}: fps: {error}")))?,
        None => own_rate.unwrap_or(Rate::DEFAULT),
    };
    let frames = parameters.number("frames", 1..=u64::MAX)?;
    let painter = (kind.open)(size, &parameters)?;
    let frames = frames.or(painter.frames(rate));
    let info = Info { name: format!("pattern {spec}"), size, fps: rate.fps(), frames, live: false };
    Ok(Box::new(Pattern { info, rate, painter, number: 0 }))
}

fn unknown(name: &str) -> Error {
    let known = NAMES.map(|(name, _)| name).join(", ");
    Error::Pattern(format!("there is no pattern '{name}': use one of {known}"))
}

/// A pattern that gives its pictures as a source.
struct Pattern {
    info: Info,
    rate: Rate,
    painter: Box<dyn Painter>,
    number: u64,
}

impl Source for Pattern {
    fn info(&self) -> &Info {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Captured>, Error> {
        let number = self.number;
        if self.info.frames.is_some_and(|frames| number >= frames) {
            return Ok(None);
        }
        self.number += 1;
        let picture = self.painter.paint(Moment { number, seconds: self.rate.seconds(number) });
        Ok(Some(Captured { pts: self.rate.pts(number), picture, captured: None }))
    }
}

#[cfg(test)]
mod tests;
