//! The floor of the benchmark: what a picture costs where there is nothing but the work itself.
//!
//! Crop, encode, decode and analysis of the product, called one after the other on one thread:
//! no network, no queues, no hand-overs. Nothing that uses these codecs can be cheaper, so the
//! benchmark reports the real pipeline as a multiple of this. Prints one JSON object: processor
//! milliseconds a picture, in all and by stage, as fast as it goes and at the source's own pace.
//! Paced costs more: caches and clocks cool down between pictures.

use std::{
    io::Write,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, ensure};
use cpu_time::{ProcessTime, ThreadTime};
use cv_core::{frame::Frame, picture::Picture};
use cv_receiver::{
    analysis::{Catalog, Extraction, Folding, Input, Moment},
    decode::Codec,
};
use cv_sender::encode::{Encoder, Options};
use cv_source::{
    Captured, Source,
    framing::Framing,
    pace::{Pace, Schedule},
    pattern,
};
use serde_json::{Value, json};

const USAGE: &str = "usage: cv-floor [FRAMES [KBIT]], by default 600 pictures at 1500 kbit/s";
/// The stages in the order in which a picture meets them.
const STAGES: [&str; 6] = ["source", "crop", "encode", "decode", "extract", "fold"];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>().context(USAGE));
    let frames = arguments.next().transpose()?.unwrap_or(600);
    let kbit = arguments.next().transpose()?.unwrap_or(1500);
    ensure!(arguments.next().is_none() && frames > 0 && kbit > 0, USAGE);
    let floor = json!({
        "unpaced": measure(frames, kbit, Pace::Max)?,
        "paced": measure(frames, kbit, Pace::Speed(1.0))?,
    });
    writeln!(std::io::stdout().lock(), "{floor}").context("cannot write to stdout")
}

/// Processor time of `frames` pictures that come at `pace`.
fn measure(frames: u32, kbit: u32, pace: Pace) -> Result<Value> {
    let mut line = Line::open(frames, kbit)?;
    let mut schedule = Schedule::new(pace);
    let (wall, cpu) = (Instant::now(), ProcessTime::now());
    for number in 0..frames {
        let captured = line.stage(0, |line| line.source.next())?.context("the source ended early")?;
        std::thread::sleep(schedule.wait(captured.pts, Instant::now()));
        line.run(number.into(), captured)?;
    }
    let (wall, cpu) = (wall.elapsed(), cpu.elapsed());
    let each = |time: Duration| (time.as_secs_f64() * 1e6 / f64::from(frames)).round() / 1e3;
    let mut report = json!({ "cpu_ms_per_frame": each(cpu), "fps": (f64::from(frames) / wall.as_secs_f64()).round() });
    for (name, spent) in STAGES.iter().zip(line.spent) {
        report[format!("{name}_ms")] = each(spent).into();
    }
    Ok(report)
}

/// The product's stages in a row.
struct Line {
    source: Box<dyn Source>,
    framing: Framing,
    encoder: Encoder,
    codec: Codec,
    extraction: Extraction,
    folding: Folding,
    previous: Option<Picture>,
    /// Processor time by stage.
    spent: [Duration; STAGES.len()],
}

impl Line {
    fn open(frames: u32, kbit: u32) -> Result<Self> {
        let source = pattern::open(&format!("texture:frames={frames}"), None, None)?;
        let framing = Framing::new(0.7, None)?;
        let (size, fps) = (framing.size_of(source.info().size)?, source.info().fps);
        let gop = (2.0 * fps) as u32;
        let options = Options { size, range: Default::default(), fps, bitrate: kbit * 1000, gop };
        let (extraction, folding) = Catalog::default().plan("stats")?.begin("floor");
        let (encoder, codec) = (Encoder::new(options)?, Codec::open()?);
        Ok(Self { source, framing, encoder, codec, extraction, folding, previous: None, spent: Default::default() })
    }

    /// Takes one picture through everything behind the source.
    fn run(&mut self, number: u64, captured: Captured) -> Result<()> {
        let pts = captured.pts;
        let picture = self.stage(1, |line| line.framing.apply(&captured.picture))?;
        let frame = Frame { number, pts, captured: SystemTime::now(), picture };
        let unit = self.stage(2, |line| line.encoder.encode(&frame, 0))?;
        let decoded = self.stage(3, |line| line.codec.decode(&unit.data)).map_err(anyhow::Error::msg)?;
        let picture = decoded.context("the decoder holds a picture back")?;
        let extracted = self.stage(4, |line| {
            line.extraction.run(&Input::new(
                &picture,
                line.previous.as_ref(),
                Moment { frame: number, time: pts.seconds() },
            ))
        });
        let (analysis, errors) = self.stage(5, |line| line.folding.fold(pts.seconds(), &extracted));
        ensure!(errors.is_empty() && analysis.0.len() == 1, "picture {number} was not analysed: {errors:?}");
        self.previous = Some(picture);
        Ok(())
    }

    /// Runs `work` and books its processor time under stage `index`.
    fn stage<T>(&mut self, index: usize, work: impl FnOnce(&mut Self) -> T) -> T {
        let started = ThreadTime::now();
        let done = work(self);
        self.spent[index] += started.elapsed();
        done
    }
}
