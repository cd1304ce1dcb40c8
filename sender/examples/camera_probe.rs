//! Opens a camera as `cv-sender` does and prints one JSON line for each picture, to see what a camera really does.
//!
//!     cargo run -p cv-sender --example camera_probe -- --size 640x480 --pictures 100

use std::{
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use cv_core::{geometry::Size, logging};
use cv_sender::camera;

#[derive(Parser)]
struct Args {
    /// List cameras instead, as JSON.
    #[arg(long)]
    list: bool,
    /// The camera's number.
    #[arg(long, default_value_t = 0)]
    index: u32,
    /// Wanted size.
    #[arg(long)]
    size: Option<Size>,
    /// Wanted pictures a second.
    #[arg(long)]
    fps: Option<f64>,
    /// End after so many pictures.
    #[arg(long, default_value_t = 30)]
    pictures: u64,
    /// Spend so many milliseconds on each picture, as a slow encoder does.
    #[arg(long, default_value_t = 0)]
    busy_ms: u64,
}

fn main() -> ExitCode {
    logging::init(0, logging::Format::Text, std::env::var("RUST_LOG").ok().as_deref());
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "camera_probe: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let mut out = io::stdout();
    if args.list {
        for device in camera::list()? {
            writeln!(io::stderr(), "{device}")?;
            writeln!(out, "{}", serde_json::to_string(&device)?)?;
        }
        return Ok(());
    }
    let start = Instant::now();
    let mut source = camera::open(&camera::Options { index: args.index, size: args.size, fps: args.fps })?;
    let info = source.info();
    let opening = start.elapsed().as_millis() as u64;
    let line =
        serde_json::json!({"name": info.name, "size": info.size.to_string(), "fps": info.fps, "open_ms": opening});
    writeln!(out, "{line}")?;
    for n in 0..args.pictures {
        let Some(captured) = source.next()? else { break };
        let luma = captured.picture.luma();
        let sum: u64 = luma.iter().map(|sample| u64::from(*sample)).sum();
        let line = serde_json::json!({
            "n": n,
            "pts": captured.pts.ticks,
            "size": captured.picture.size().to_string(),
            "luma": (sum as f64 / luma.len() as f64 * 10.0).round() / 10.0,
            "age_ms": captured.captured.and_then(|at| at.elapsed().ok()).map(|age| age.as_millis() as u64),
            "at_ms": start.elapsed().as_millis() as u64,
        });
        writeln!(out, "{line}")?;
        std::thread::sleep(Duration::from_millis(args.busy_ms));
    }
    Ok(())
}
