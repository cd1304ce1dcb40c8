//! Test clips, where there are any, and what ffprobe knows of them.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder with test inputs: `$CV_SHARED`, or `shared` beside the project.
pub fn shared() -> PathBuf {
    let default = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into();
    std::env::var_os("CV_SHARED").map_or_else(default, PathBuf::from)
}

/// The clip called `name` in `$CV_SHARED/clips`; says so on stderr if it is missing.
pub fn clip(name: &str) -> Option<PathBuf> {
    let path = shared().join("clips").join(name);
    if !path.exists() {
        skipped(&format!("{} is missing; CV_SHARED names the folder with clips", path.display()));
        return None;
    }
    Some(path)
}

/// Presentation times of the pictures of a clip by ffprobe, in seconds as it prints them, with each picture's
/// size; says so on stderr if ffprobe is missing.
pub fn probe(path: &Path) -> Option<Vec<f64>> {
    let entries = ["-v", "error", "-select_streams", "v:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0"];
    let Ok(output) = Command::new("ffprobe").args(entries).arg(path).output() else {
        skipped("ffprobe is not installed");
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    Some(text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect())
}

/// Says loudly that something is not tested; also in the file that `CV_SKIPPED` names, because who runs the tests shows
/// nothing of those that pass.
///
/// # Panics
/// If that file cannot be written.
pub fn skipped(why: &str) {
    drop(writeln!(std::io::stderr(), "SKIPPED: {why}"));
    if let Some(path) = std::env::var_os("CV_SKIPPED") {
        let list = std::fs::OpenOptions::new().create(true).append(true).open(path);
        list.and_then(|mut list| writeln!(list, "SKIPPED: {why}")).expect("the list of skipped tests can be written");
    }
}
