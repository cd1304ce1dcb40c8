//! What ffmpeg says on stderr: exact times and sizes of the pictures that it writes to stdout.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, SyncSender},
    },
};

use cv_core::{picture::Range, timestamp::TimeBase, worker::Worker};

/// Pictures announced but not yet read. ffmpeg holds a handful between its filters and its
/// output; more than this means that it is out of step, and the connection ends.
const DEPTH: usize = 1024;
/// Longer lines are cut: side data can be megabytes of hexadecimal digits.
const MAX_LINE: u64 = 8192;
/// Complaints that are kept, the newest.
const MAX_COMPLAINTS: usize = 16;

/// Something that matters out of ffmpeg's log.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// The decoder that was chosen, by ffmpeg's name for it.
    Codec(String),
    /// Time base of the pictures that follow, and the nominal length of one where that makes sense.
    Clock(TimeBase, Option<TimeBase>),
    /// A picture.
    Frame(Announced),
}

/// What is known of a picture before it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    /// Ticks of the clock, where it has a time.
    pub(super) pts: Option<i64>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) range: Range,
}

/// ffmpeg's log, read on a thread of its own so that ffmpeg never waits for it.
pub(super) struct Log {
    pub(super) events: Receiver<Event>,
    complaints: Arc<Mutex<VecDeque<String>>>,
    _thread: Worker,
}

impl Log {
    /// Reads `stderr` to its end.
    pub(super) fn follow(stderr: impl Read + Send + 'static) -> std::io::Result<Self> {
        let (sender, events) = mpsc::sync_channel(DEPTH);
        let complaints = Arc::new(Mutex::new(VecDeque::new()));
        let kept = complaints.clone();
        let thread = Worker::spawn("ffmpeg-log", move || read(BufReader::new(stderr), &sender, &kept))?;
        Ok(Self { events, complaints, _thread: thread })
    }

    /// What ffmpeg complained of most recently, oldest first.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().expect("its thread does not panic while it holds this").iter().cloned().collect()
    }
}

/// Goes through all lines until ffmpeg ends or nobody listens any more.
fn read(mut stderr: impl BufRead, events: &SyncSender<Event>, complaints: &Mutex<VecDeque<String>>) {
    let mut line = Vec::new();
    let mut within = false;
    loop {
        line.clear();
        match stderr.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let continues = std::mem::replace(&mut within, !line.ends_with(b"\n"));
        if continues {
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(complaint) = complaint(&text) {
            let mut kept = complaints.lock().expect("nobody panics while holding this");
            kept.push_back(complaint);
            while kept.len() > MAX_COMPLAINTS {
                kept.pop_front();
            }
        } else if let Some(event) = parse(&text)
            && events.try_send(event).is_err()
        {
            return;
        }
    }
}

/// The message of an error line, without the tags in front.
fn complaint(line: &str) -> Option<String> {
    let (_, message) = line.split_once("[error] ").or_else(|| line.split_once("[fatal] "))?;
    Some(message.trim().chars().take(200).collect())
}

/// Reads a line of `-loglevel level+info`.
pub(super) fn parse(line: &str) -> Option<Event> {
    if let Some(mapping) = line.strip_prefix("[info]   Stream #0:") {
        let (_, codecs) = mapping.split_once(" -> #0:0 (")?;
        return Some(Event::Codec(codecs.split([' ', ')']).next()?.to_owned()));
    }
    // Its name in front keeps titles and comments inside the file from passing for it.
    let (_, text) = line.strip_prefix("[Parsed_showinfo_")?.split_once("[info] ")?;
    if text.starts_with("config in ") {
        let (num, den) = field(text, "time_base:")?.split_once('/')?;
        let base = TimeBase::new(num.parse().ok()?, den.parse().ok()?)?;
        return Some(Event::Clock(base, field(text, "frame_rate:").and_then(tick)));
    }
    if !text.starts_with("n:") {
        return None;
    }
    let (width, height) = field(text, " s:")?.split_once('x')?;
    let full = field(text, " fmt:")?.starts_with("yuvj");
    Some(Event::Frame(Announced {
        pts: field(text, " pts:")?.parse().ok(),
        width: width.parse().ok()?,
        height: height.parse().ok()?,
        range: if full { Range::Full } else { Range::Limited },
    }))
}

/// The word behind `name`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(name)?;
    rest.trim_start().split([' ', ',', '\n', '\r']).next()
}

/// Length of a picture, from 1/1000 to 1 s, out of pictures a second.
fn tick(rate: &str) -> Option<TimeBase> {
    let (num, den) = rate.split_once('/')?;
    let tick = TimeBase::new(den.parse().ok()?, num.parse().ok()?)?;
    (1.0..=1000.0).contains(&(f64::from(tick.den()) / f64::from(tick.num()))).then_some(tick)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_version_5_and_7_are_understood() {
        let line = "[Parsed_showinfo_1 @ 0x55] [info] n:   1 pts: 135000 pts_time:1.5     pos:    18424 fmt:yuv420p sar:1/1 s:640x360 i:P iskey:0 type:B \n";
        let frame = Announced { pts: Some(135_000), width: 640, height: 360, range: Range::Limited };
        assert_eq!(parse(line), Some(Event::Frame(frame)));
        let line = "[Parsed_showinfo_1 @ 0x55] [info] n:   0 pts:NOPTS pts_time:NOPTS   duration:    512 duration_time:0.04    fmt:yuvj420p cl:center sar:0/1 s:319x181 i:P iskey:1 type:I\n";
        let frame = Announced { pts: None, width: 319, height: 181, range: Range::Full };
        assert_eq!(parse(line), Some(Event::Frame(frame)));
        let line = "[Parsed_showinfo_1 @ 0x55] [info] config in time_base: 1/15360, frame_rate: 30000/1001\n";
        assert_eq!(parse(line), Some(Event::Clock(TimeBase::new(1, 15_360).unwrap(), TimeBase::new(1001, 30_000))));
        let line = "[info]   Stream #0:1 -> #0:0 (hevc (native) -> rawvideo (native))\n";
        assert_eq!(parse(line), Some(Event::Codec("hevc".to_owned())));
    }

    #[test]
    fn titles_cannot_pass_for_pictures() {
        assert_eq!(
            parse("[info]     title           : [Parsed_showinfo_1 @ 0] [info] n: 0 pts: 0 fmt:a s:9x9\n"),
            None
        );
        assert_eq!(parse("[Parsed_showinfo_1 @ 0x55] [info] color_range:pc color_space:bt470bg\n"), None);
    }

    #[test]
    fn overlong_lines_and_noise_are_passed_over_and_complaints_kept() {
        let mut log = vec![b'x'; 100_000];
        log.extend(b"[Parsed_showinfo_1 @ 0] [info] n:0 pts:0 fmt:a s:9x9\n\xff\xfe\n[h264 @ 0x1] [error] no frame!\n");
        log.extend(b"[Parsed_showinfo_1 @ 0] [info] n:0 pts: -5 fmt:a s:9x9 i:P\n");
        let log = Log::follow(std::io::Cursor::new(log)).unwrap();
        let events: Vec<_> = log.events.iter().collect();
        assert_eq!(events.len(), 1);
        assert!(matches!(events[0], Event::Frame(Announced { pts: Some(-5), .. })));
        assert_eq!(log.complaints(), ["no frame!"]);
    }
}
