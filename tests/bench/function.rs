//! What it costs to show pictures to an analyzer of one's own: as many as go, and at 30 a second.
//!
//! The product's way from a decoded picture to a finding and back, without network and codec. The conversion to
//! colours is measured by itself in the same run, so that what is left is the way to the process. Prints one JSON
//! object.

use std::{
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cpu_time::ThreadTime;
use cv_core::{geometry::Size, picture::Picture, rgb};
use cv_receiver::analysis::{Catalog, Extraction, Input, Moment, Setup};
use cv_source::pattern;
use serde_json::{Value, json};

const USAGE: &str = "usage: cv-function LIST [PYTHON], for example cv-function python:own.py:look .venv/bin/python";
const SIZE: (u32, u32) = (896, 504);
/// Pictures to warm up with, as fast as they go, and at 30 a second.
const PICTURES: [usize; 3] = [500, 10_000, 300];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let list = arguments.next().context(USAGE)?;
    let python = arguments.next().map(PathBuf::from);
    ensure!(arguments.next().is_none(), USAGE);
    let catalog = Catalog::new(Setup { python, ..Setup::default() });
    let (extraction, _folding) = catalog.trusted(&list)?.begin("bench");
    let pictures = pictures()?;
    let [warm_up, flat_out, paced] = PICTURES;
    measure(&extraction, &pictures, warm_up, Duration::ZERO)?;
    let report = json!({
        "conversion_ms": conversion(&pictures),
        "flat_out": measure(&extraction, &pictures, flat_out, Duration::ZERO)?,
        "paced": measure(&extraction, &pictures, paced, Duration::from_micros(33_333))?,
    });
    writeln!(std::io::stdout().lock(), "{report}").context("cannot write to stdout")
}

/// Some pictures that differ.
fn pictures() -> Result<Vec<Picture>> {
    let (width, height) = SIZE;
    let size = Size::new(width, height).context("a size")?;
    let mut source = pattern::open("texture:frames=8", Some(size), None)?;
    let mut pictures = Vec::new();
    while let Some(captured) = source.next()? {
        pictures.push(captured.picture);
    }
    Ok(pictures)
}

/// Processor milliseconds of this process for the colours of a picture.
fn conversion(pictures: &[Picture]) -> f64 {
    let mut samples = vec![0; rgb::bytes(pictures[0].size())];
    let (rounds, before) = (1000, ThreadTime::now());
    for picture in pictures.iter().cycle().take(rounds) {
        rgb::convert(picture, rgb::Order::Rgb, &mut samples);
    }
    millis(before.elapsed() / rounds as u32)
}

/// Asks about `count` pictures, no sooner than `pause` one after the other.
fn measure(extraction: &Extraction, pictures: &[Picture], count: usize, pause: Duration) -> Result<Value> {
    let mut times = Vec::with_capacity(count);
    let (started, before) = (Instant::now(), ThreadTime::now());
    for (frame, picture) in pictures.iter().cycle().take(count).enumerate() {
        std::thread::sleep((started + pause * frame as u32).saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        let moment = Moment { frame: frame as u64, time: frame as f64 / 30.0 };
        for finding in extraction.run(&Input::new(picture, None, moment)) {
            finding.map_err(anyhow::Error::msg)?;
        }
        times.push(asked.elapsed());
    }
    let (wall, cpu) = (started.elapsed(), before.elapsed());
    times.sort();
    Ok(json!({
        "per_second": (count as f64 / wall.as_secs_f64()).round(),
        "cpu_ms": millis(cpu / count as u32),
        "p50_ms": millis(times[count / 2]),
        "p95_ms": millis(times[count * 95 / 100]),
    }))
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
