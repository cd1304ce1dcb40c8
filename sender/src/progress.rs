//! The progress bar on stderr.

use std::{
    io::IsTerminal,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{ledger::Ledger, transport::feedback::Feedback};

/// How often the bar is drawn anew.
pub const INTERVAL: Duration = Duration::from_millis(200);

/// A bar with what a person wants to know while a run goes on; nothing where stderr is no terminal.
pub struct Progress {
    bar: ProgressBar,
    drawn: Instant,
    results: u64,
    bytes: u64,
    fps: f64,
    kbps: f64,
}

impl Progress {
    /// A bar for `frames` pictures, as far as that is known.
    pub fn new(frames: Option<u64>, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(frames, ProgressDrawTarget::stderr());
        if quiet || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = match frames {
            Some(_) => "{elapsed_precise} {bar:24} {pos}/{len} frames  {msg}",
            None => "{elapsed_precise} {spinner} {pos} frames  {msg}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
        Self { bar, drawn: Instant::now(), results: 0, bytes: 0, fps: 0.0, kbps: 0.0 }
    }

    /// Draws the state of things.
    pub fn update(&mut self, ledger: &Ledger, sent: u64, feedback: &Feedback) {
        let bytes = feedback.bytes.load(Ordering::Relaxed);
        let seconds = self.drawn.elapsed().as_secs_f64().max(1e-3);
        // The mean of the last second or so, so that the numbers can be read.
        let blend = |old: f64, new: f64| if old == 0.0 { new } else { 0.8 * old + 0.2 * new };
        self.fps = blend(self.fps, (ledger.results - self.results) as f64 / seconds);
        self.kbps = blend(self.kbps, (bytes - self.bytes) as f64 * 8.0 / 1000.0 / seconds);
        (self.drawn, self.results, self.bytes) = (Instant::now(), ledger.results, bytes);
        let lost = feedback.lost.load(Ordering::Relaxed);
        let packets = feedback.packets.load(Ordering::Relaxed).max(1);
        self.bar.set_position(sent);
        self.bar.set_message(format!(
            "{:.1} fps  {:.0} kbit/s  loss {:.1} %  answered {}/{sent}  p50 {:.1} p95 {:.1} ms",
            self.fps,
            self.kbps,
            100.0 * f64::from(lost) / packets as f64,
            ledger.next().min(sent),
            ledger.latency(0.5),
            ledger.latency(0.95),
        ));
    }

    /// Shows what goes on instead of numbers.
    pub fn say(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
