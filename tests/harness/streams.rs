//! H.264 streams of every kind, made by ffmpeg, as access units with their presentation times.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use cv_core::annex_b::{self, START_CODE, nal_type};

/// Ticks of RTP time in a second.
const CLOCK: f64 = 90_000.0;

/// A source whose picture number `n` has the luma [`luma`]`(n)` all over: order and identity can be read off a result.
pub const STAIRCASE: &str = "geq=lum='60+4*mod(N,40)':cb=128:cr=128";

/// The luma of picture `number` of a [`STAIRCASE`].
pub fn luma(number: usize) -> f64 {
    60.0 + 4.0 * (number % 40) as f64
}

/// An access unit.
#[derive(Clone, Debug)]
pub struct Unit {
    /// NAL units in Annex B form.
    pub data: Vec<u8>,
    /// Presentation time, 90 000 a second, from 0 for the picture shown first.
    pub ticks: i64,
}

/// The access units of a staircase of `frames` pictures at 30 a second, in decoding order.
///
/// `size` is written as ffmpeg does, `x264` holds further arguments for its encoder.
///
/// # Panics
/// If ffmpeg is missing or fails.
pub fn staircase(size: &str, frames: u32, x264: &[&str]) -> Vec<Unit> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("staircase.mp4");
    let source = format!("color=black:s={size}:r=30,format=yuv420p,{STAIRCASE}");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-f", "lavfi", "-i", &source, "-frames:v", &frames.to_string()]);
    command.args(["-c:v", "libx264", "-threads", "1", "-qp", "12"]).args(x264).arg(&file);
    run(command);
    units(&file)
}

/// The access units of the video in `file`, as they are, in decoding order.
///
/// # Panics
/// If ffmpeg or ffprobe is missing or fails.
pub fn units(file: &Path) -> Vec<Unit> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i"]).arg(file).args(["-map", "0:v:0", "-c", "copy"]);
    command.args(["-bsf:v", "h264_mp4toannexb,h264_metadata=aud=insert", "-f", "h264", "-"]);
    let data = access_units(&run(command));
    let mut command = Command::new("ffprobe");
    command
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time", "-of", "csv=p=0"])
        .arg(file);
    let times = String::from_utf8(run(command)).expect("ffprobe prints text");
    let times: Vec<f64> = times.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect();
    assert_eq!(data.len(), times.len(), "each access unit has a time");
    let first = times.iter().copied().fold(f64::INFINITY, f64::min);
    let ticks = |time: f64| ((time - first) * CLOCK).round() as i64;
    data.into_iter().zip(times).map(|(data, time)| Unit { data, ticks: ticks(time) }).collect()
}

/// The mean luma of each picture in `file` in presentation order, as ffmpeg decodes it.
///
/// # Panics
/// If ffmpeg is missing or fails.
pub fn brightness(file: &Path, (width, height): (usize, usize)) -> Vec<f64> {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i"]).arg(file).args(["-map", "0:v:0", "-fps_mode", "passthrough"]);
    command.args(["-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]);
    let pictures = run(command);
    let luma = |picture: &[u8]| picture[..width * height].iter().map(|&sample| f64::from(sample)).sum::<f64>();
    pictures.chunks_exact(width * height * 3 / 2).map(|picture| luma(picture) / (width * height) as f64).collect()
}

/// Cuts a byte stream before its access unit delimiters, and leaves these out.
fn access_units(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    for nal in annex_b::nals(stream) {
        if annex_b::nal_type(nal) == nal_type::AUD {
            units.push(Vec::new());
        } else {
            units.last_mut().expect("a delimiter comes first").extend(START_CODE.iter().chain(nal));
        }
    }
    units
}

/// What `command` prints.
fn run(mut command: Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/setup.sh tests installs ffmpeg"));
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
