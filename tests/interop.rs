//! Foreign WHIP clients against our receiver, and our sender against a foreign server.
//!
//! The clients run their own code and judge for themselves; each test judges the receiver's lines besides.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use std::{path::Path, process::Command};

use cv_tests::{
    Receiver, Sender, clips, lines,
    peers::{Peer, Peers, free_port, number},
};
use serde_json::Value;

/// Pictures that a client is told to send: some seconds.
const FRAMES: &str = "75";

/// A clip with what our own sender makes of it.
struct Known {
    file: String,
    fps: f64,
    size: (u64, u64),
    /// The mean luma of each picture.
    brightness: Vec<f64>,
    /// By how much the frame numbers that clients paint into their pictures may change it.
    tolerance: f64,
}

impl Known {
    /// A man who squats, 1280x720.
    fn squats() -> Option<Self> {
        Some(Self::run(&clips::clip("squat_front_5reps.mp4")?, (896, 504), 4.0))
    }

    /// Two fencers, 1280x320: cheap enough for many clients at once.
    fn fencers() -> Option<Self> {
        Some(Self::run(&clips::clip("fencers_two_composite.mp4")?, (896, 224), 7.0))
    }

    fn run(file: &Path, size: (u64, u64), tolerance: f64) -> Self {
        let receiver = Receiver::start(&["--no-print"]);
        let file = file.to_str().unwrap().to_owned();
        let sent = Sender::run(&receiver.url(), &["--file", &file, "--pace", "max", "--frames", "90"]).expect(0);
        let brightness = lines::of_type(&sent.lines, "result").iter().map(luma).collect();
        Self { file, fps: 30.0, size, brightness, tolerance }
    }

    /// Checks the pictures against the clip by their time.
    fn judge(&self, results: &[Value]) {
        for result in results {
            let place = (result["time"].as_f64().unwrap() * self.fps).round() as usize;
            let expected = self.brightness[place.min(self.brightness.len() - 1)];
            let found = luma(result);
            assert!((found - expected).abs() < self.tolerance, "luma {found}, {expected} expected: {result}");
        }
    }
}

fn luma(result: &Value) -> f64 {
    result["analysis"]["stats"]["brightness"].as_f64().unwrap()
}

/// What every client's session must be: each picture that came answered, in order and at `size`, with a clock
/// that claims nothing, and an account that adds up. Gives the results.
fn judge(receiver: &Receiver, session: &str, size: (u64, u64)) -> Vec<Value> {
    let all = receiver.lines_until_closed(session);
    let results = lines::of_type(&all, "result");
    assert_eq!(lines::accounted(&all), (0..results.len() as u64).collect::<Vec<_>>(), "{session}");
    for result in &results {
        assert_eq!((result["width"].as_u64(), result["height"].as_u64()), (Some(size.0), Some(size.1)), "{result}");
        let source = result["clock"]["source"].as_str().unwrap();
        assert!(["arrival", "rtcp-sr", "abs-capture-time"].contains(&source), "{result}");
    }
    assert!(steps(&results).iter().all(|step| *step > 0.0), "{session}: times increase");
    let closed = lines::of_type(&all, "session").pop().unwrap();
    assert!(closed.get("reason").is_none(), "{closed}");
    let totals = &closed["totals"];
    for key in ["received", "decoded", "analyzed"] {
        assert_eq!(totals[key], results.len(), "{key} in {closed}");
    }
    for count in [&totals["lost"], &totals["errors"], &totals["dropped"]["busy"], &totals["dropped"]["undecodable"]] {
        assert_eq!(count, 0, "{closed}");
    }
    results
}

/// The time from each picture to the next, in seconds.
fn steps(results: &[Value]) -> Vec<f64> {
    let time = |result: &Value| result["time"].as_f64().unwrap();
    results.windows(2).map(|pair| time(&pair[1]) - time(&pair[0])).collect()
}

/// Checks the session of a client that sent `clip` and says how much of it in its verdict.
fn judge_clip(receiver: &Receiver, session: &str, clip: &Known, verdict: &str) {
    let results = judge(receiver, session, clip.size);
    clip.judge(&results);
    for step in steps(&results) {
        // A client that is short of processor time leaves pictures out.
        let pictures = step * clip.fps;
        assert!((pictures - pictures.round()).abs() < 0.01, "{session}: {pictures} pictures' time between two");
    }
    assert!(results.len() >= number(verdict, "sent"), "{} results; {verdict}", results.len());
}

fn aiortc(peers: &Peers, url: &str, clip: &Known, more: &[&str]) -> Peer {
    let arguments = [url, "--file", &clip.file, "--frames", FRAMES, "--session", "aiortc"];
    Peer::start(peers.python("whip_aiortc_client.py"), arguments.into_iter().chain(more.iter().copied()))
}

fn gstreamer(peers: &Peers, url: &str, clip: &Known, more: &[&str]) -> Peer {
    let arguments = ["client", "--url", url, "--file", &clip.file, "--frames", FRAMES, "--session", "gstreamer"];
    let arguments = arguments.into_iter().chain(["--preset", "veryfast"]).chain(more.iter().copied());
    Peer::start(peers.python("gst_pipeline.py"), arguments)
}

fn ffmpeg(peers: &Peers, url: &str, clip: &Known, more: &[&str]) -> Peer {
    let arguments = [url, "--file", &clip.file, "--frames", FRAMES, "--session", "ffmpeg"];
    Peer::start(peers.python("whip_ffmpeg.py"), arguments.into_iter().chain(more.iter().copied()))
}

/// A page at `port` that sends `camera`, a Y4M file of 640x160.
fn chromium(peers: &Peers, url: &str, (camera, port): (&str, u16)) -> Peer {
    let port = port.to_string();
    let arguments = [url, "--session", "chromium", "--label", "results", "--seconds", "4", "--cors", "--keep-size"];
    let arguments = arguments.into_iter().chain(["--size", "640x160", "--y4m", camera, "--port", &port]);
    Peer::start(peers.node("whip_chromium.mjs"), arguments)
}

/// The middle of `clip` as Chromium's camera.
fn camera(clip: &Known, folder: &Path) -> String {
    let file = folder.join("camera.y4m").to_str().unwrap().to_owned();
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i", &clip.file, "-vf", "crop=896:224,scale=640:160", "-pix_fmt", "yuv420p", &file]);
    assert!(command.status().expect("scripts/setup.sh tests installs ffmpeg").success());
    file
}

/// The camera begins anywhere in its clip and starts over at the end, so only the range is known.
fn judge_chromium(receiver: &Receiver, clip: &Known, verdict: &str) {
    let results = judge(receiver, "chromium", (640, 160));
    // A browser takes a picture's time from its own clock when it gets hold of the picture.
    let mut steps = steps(&results);
    steps.sort_by(f64::total_cmp);
    let median = steps[steps.len() / 2] * clip.fps;
    assert!((median - 1.0).abs() < 0.1, "{median} pictures' time between two");
    let low = clip.brightness.iter().copied().fold(f64::INFINITY, f64::min);
    let high = clip.brightness.iter().copied().fold(0.0, f64::max);
    for result in &results {
        assert!((low - 3.0..high + 3.0).contains(&luma(result)), "{low} to {high} expected: {result}");
    }
    assert!(results.len() >= number(verdict, "frames"), "{} results; {verdict}", results.len());
}

fn aiortc_is_answered(more: &[&str]) {
    let (Some(peers), Some(clip)) = (Peers::find(), Known::squats()) else { return };
    let receiver = Receiver::start(&[]);
    let verdict = aiortc(&peers, &receiver.url(), &clip, more).passes();
    judge_clip(&receiver, "aiortc", &clip, &verdict);
}

#[test]
fn aiortc_is_answered_picture_by_picture() {
    aiortc_is_answered(&["--label", "results"]);
}

#[test]
fn aiortc_with_vp8_first_and_audio_is_answered_picture_by_picture() {
    aiortc_is_answered(&["--vp8-first", "--audio", "--label", "whatever"]);
}

#[test]
fn a_page_in_chromium_is_answered_picture_by_picture() {
    let (Some(peers), Some(clip)) = (Peers::find(), Known::fencers()) else { return };
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let receiver = Receiver::start(&["--cors-origin", &format!("http://127.0.0.1:{port}")]);
    let camera = camera(&clip, folder.path());
    let verdict = chromium(&peers, &receiver.url(), (&camera, port)).passes();
    judge_chromium(&receiver, &clip, &verdict);
}

#[test]
fn gstreamer_is_answered_picture_by_picture() {
    let (Some(peers), Some(clip)) = (Peers::find(), Known::squats()) else { return };
    for more in [&["--loopback", "--no-fmtp"][..], &["--encoder", "openh264"]] {
        let receiver = Receiver::start(&[]);
        let verdict = gstreamer(&peers, &receiver.url(), &clip, more).passes();
        judge_clip(&receiver, "gstreamer", &clip, &verdict);
    }
}

#[test]
fn ffmpeg_is_answered_picture_by_picture_in_both_dtls_roles() {
    let (Some(peers), Some(clip)) = (Peers::find(), Known::squats()) else { return };
    for more in [&[][..], &["--dtls-active"]] {
        let receiver = Receiver::start(&[]);
        let verdict = ffmpeg(&peers, &receiver.url(), &clip, more).passes();
        judge_clip(&receiver, "ffmpeg", &clip, &verdict);
    }
}

#[test]
fn our_sender_publishes_to_an_aiortc_server() {
    let (Some(peers), Some(clip)) = (Peers::find(), clips::clip("squat_front_5reps.mp4")) else { return };
    let port = free_port().to_string();
    let arguments = ["--port", &port, "--input", "1280x720", "--min-frames", "85", "--answer-json", "--want-delete"];
    let server = Peer::start(peers.python("whip_aiortc_server.py"), arguments);
    server.wait_until_ready();
    let url = format!("http://127.0.0.1:{port}/whip");
    let source = ["--file", clip.to_str().unwrap(), "--frames", "90", "--mode", "live", "--results", "none"];
    Sender::run(&url, &source).expect(0);
    server.passes();
}

#[test]
fn all_clients_at_once_are_answered_picture_by_picture() {
    let (Some(peers), Some(clip)) = (Peers::find(), Known::fencers()) else { return };
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let receiver = Receiver::start(&["--cors-origin", &format!("http://127.0.0.1:{port}")]);
    let url = receiver.url();
    let camera = camera(&clip, folder.path());
    let chromium = chromium(&peers, &url, (&camera, port));
    let others = [
        ("aiortc", aiortc(&peers, &url, &clip, &[])),
        ("gstreamer", gstreamer(&peers, &url, &clip, &["--loopback"])),
        ("ffmpeg", ffmpeg(&peers, &url, &clip, &[])),
    ];
    let ours = Sender::start(&url, &["--file", &clip.file, "--session", "ours", "--duration", "5", "--loop"]);
    for (session, peer) in others {
        let verdict = peer.passes();
        judge_clip(&receiver, session, &clip, &verdict);
    }
    judge_chromium(&receiver, &clip, &chromium.passes());
    let sent = ours.finish().expect(0);
    assert_eq!(lines::accounted(&sent.lines), (0..150).collect::<Vec<_>>());
    assert!(lines::of_type(&sent.lines, "result").iter().all(|result| result["clock"]["source"] == "frame-stamp"));
}
