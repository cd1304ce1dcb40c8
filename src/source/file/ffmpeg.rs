//! Everything else: whatever the program `ffmpeg` can read, decoded by it.
//!
//! One process writes raw pictures to its stdout and, through its `showinfo` filter, the exact
//! time and size of each to its stderr. It is kept from the network and from files that a
//! playlist inside the file might name, and it is killed when the source is dropped.

use std::{
    ffi::{OsStr, OsString},
    io::{self, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use cv_core::{
    geometry::Size,
    picture::{Picture, Pool},
    timestamp::{TimeBase, Timestamp},
};

use super::{
    progress::Progress,
    showinfo::{Announced, Event, Log},
    y4m::fill,
};
use crate::{Captured, Error, Info, Source};

/// In ffmpeg's words: there is no video stream.
const NO_VIDEO: &str = "matches no streams";
/// In front of ffmpeg's words.
const STOPPED: &str = "ffmpeg stopped: ";

/// What is known of a file before ffmpeg sees it.
#[derive(Default)]
pub(super) struct Known {
    /// Codec and container, for a person; empty where nothing is known.
    pub(super) what: String,
    /// Why it is not decoded here, where that is worth a word.
    pub(super) obstacle: Option<String>,
    /// How many pictures there are.
    pub(super) frames: Option<u64>,
    /// Pictures a second on average.
    pub(super) fps: Option<f64>,
    /// What is missing at its end.
    pub(super) cut: Option<String>,
    /// It has no times of its own: they follow from its rate.
    pub(super) untimed: bool,
}

/// Options whose names changed: ffmpeg from 5.1 on, and before.
#[derive(Clone, Copy)]
enum Dialect {
    Current,
    Old,
}

/// Reads pictures out of an ffmpeg process.
pub(super) struct Ffmpeg {
    process: Process,
    known: Known,
    clock: Clock,
    pool: Pool,
    first: Option<Captured>,
    ended: bool,
    progress: Progress,
    info: Info,
}

impl Ffmpeg {
    /// Starts `program` on the file at `path` and waits for the first picture.
    pub(super) fn open(program: &OsStr, path: &Path, known: Known, progress: Progress) -> Result<Self, Error> {
        let process = match Process::start(program, path, Dialect::Current) {
            Ok(process) => process,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(progress.not_video(missing(&known))),
            Err(error) => return Err(progress.not_video(format!("needs ffmpeg, which does not start: {error}"))),
        };
        let clock = Clock { base: TimeBase::MICROS, tick: None, next: 0, untimed: known.untimed };
        let size = Size::new(1, 1).expect("one pixel is within all limits");
        let info = Info { name: String::new(), size, fps: 30.0, frames: known.frames, live: false };
        let mut ffmpeg =
            Self { process, known, clock, pool: Pool::default(), first: None, ended: false, progress, info };
        let mut first = ffmpeg.read();
        if ffmpeg.process.log.complaints().iter().any(|line| line.contains("fps_mode") || line.contains("checksum")) {
            let old = Process::start(program, path, Dialect::Old);
            ffmpeg.process = old.map_err(|error| ffmpeg.progress.not_video(format!("needs ffmpeg: {error}")))?;
            first = ffmpeg.read();
        }
        match first {
            Ok(Some(first)) => Ok(ffmpeg.beginning(first)),
            Ok(None) => Err(ffmpeg.progress.not_video(ffmpeg.reason("there is no picture in it"))),
            Err(problem) => Err(ffmpeg.progress.not_video(ffmpeg.reason(&problem))),
        }
    }

    fn beginning(mut self, first: Captured) -> Self {
        let tick = self.clock.tick.map(|tick| f64::from(tick.den()) / f64::from(tick.num()));
        self.info.name = self.progress.name(&format!("{}, ffmpeg", self.process.codec));
        self.info.size = first.picture.size();
        self.info.fps = self.known.fps.or(tick).unwrap_or(30.0);
        self.first = Some(first);
        self
    }

    /// The next picture, or `None` at the end of what ffmpeg gives.
    fn read(&mut self) -> Result<Option<Captured>, String> {
        let announced = loop {
            match self.process.log.events.recv() {
                Ok(Event::Frame(announced)) => break announced,
                Ok(Event::Clock(base, tick)) => (self.clock.base, self.clock.tick) = (base, tick),
                Ok(Event::Codec(codec)) => self.process.codec = codec,
                Err(_) => return self.process.end().map(|()| None),
            }
        };
        let pts = self.clock.time(announced.pts);
        let picture = self.process.picture(&self.pool, announced)?;
        Ok(Some(Captured { pts, picture, captured: None }))
    }

    /// Why there is no picture at all, where `problem` is what we saw of it.
    fn reason(&self, problem: &str) -> String {
        if self.process.log.complaints().iter().any(|line| line.contains(NO_VIDEO)) {
            return "holds no video, perhaps sound alone".to_owned();
        }
        let what = if self.known.what.is_empty() { "not a video, as far as can be told" } else { &self.known.what };
        format!("is {what}; ffmpeg cannot decode it: {}", problem.strip_prefix(STOPPED).unwrap_or(problem))
    }
}

impl Source for Ffmpeg {
    fn info(&self) -> &Info {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Captured>, Error> {
        while !self.ended {
            let next = match self.first.take() {
                Some(first) => Ok(Some(first)),
                None => self.read(),
            };
            match next {
                Ok(Some(captured)) if self.progress.admits(captured.pts) => return Ok(Some(captured)),
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.ended = true;
                    return self.known.cut.take().map_or(Ok(None), |cut| Err(self.progress.broken(cut)));
                }
                Err(problem) => {
                    self.ended = true;
                    return Err(self.progress.broken(problem));
                }
            }
        }
        Ok(None)
    }
}

/// Times of pictures.
struct Clock {
    base: TimeBase,
    /// Nominal length of a picture.
    tick: Option<TimeBase>,
    /// Pictures so far, or where times are there, when the next is due.
    next: i64,
    untimed: bool,
}

impl Clock {
    fn time(&mut self, pts: Option<i64>) -> Timestamp {
        let tick = self.tick.unwrap_or_else(|| TimeBase::new(1, 30).expect("both parts are above zero"));
        if self.untimed {
            self.next += 1;
            return Timestamp::new(self.next - 1, tick);
        }
        let ticks = pts.unwrap_or(self.next);
        self.next = ticks.saturating_add(Timestamp::new(1, tick).rescale(self.base).ticks);
        Timestamp::new(ticks, self.base)
    }
}

/// A running ffmpeg; killed and reaped when dropped.
struct Process {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    log: Log,
    /// The file as ffmpeg names it in front of what it says of it.
    input: String,
    codec: String,
    dialect: Dialect,
    /// Width and height of the first picture.
    first_size: Option<(u32, u32)>,
}

impl Process {
    fn start(program: &OsStr, path: &Path, dialect: Dialect) -> io::Result<Self> {
        // Unless told otherwise it scales every picture to the size of the first, behind the filter that tells sizes.
        let (sync, filter, own_sizes) = match dialect {
            Dialect::Current => {
                ("-fps_mode", "format=pix_fmts=yuv420p|yuvj420p,showinfo=checksum=0", &["-autoscale", "0"][..])
            }
            Dialect::Old => ("-vsync", "format=pix_fmts=yuv420p|yuvj420p,showinfo", &[][..]),
        };
        // The prefix keeps a name like "-y" or "http:x" from meaning anything else.
        let mut input = OsString::from("file:");
        input.push(path);
        let named = format!("{}: ", input.to_string_lossy());
        let mut command = Command::new(program);
        command
            .args(["-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info", "-copyts"])
            .args(["-protocol_whitelist", "file,pipe", "-i"])
            .arg(input)
            .args(["-map", "0:V:0", "-vf", filter, sync, "passthrough"])
            .args(own_sizes)
            .args(["-c:v", "rawvideo", "-f", "rawvideo", "pipe:1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        own_group(&mut command);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().map(|stdout| BufReader::with_capacity(1 << 16, stdout));
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Log::follow(stderr).inspect_err(|_| stop(&mut child))?;
        Ok(Self { child, stdout, log, input: named, codec: "unknown codec".to_owned(), dialect, first_size: None })
    }

    /// Reads the picture that was announced.
    fn picture(&mut self, pool: &Pool, announced: Announced) -> Result<Picture, String> {
        let own = (announced.width, announced.height);
        let first = *self.first_size.get_or_insert(own);
        let (width, height) = match self.dialect {
            Dialect::Current => own,
            Dialect::Old => first,
        };
        let size = Size::new(width, height).map_err(|error| error.to_string())?;
        let stdout = self.stdout.as_mut().expect("stdout is piped");
        let mut picture = pool.picture(size, announced.range);
        let filled = picture.planes_mut().iter_mut().try_for_each(|plane| fill(stdout, plane));
        filled.map_err(|error| self.stopped(&error.to_string()))?;
        Ok(picture.freeze())
    }

    /// Waits for the end of a process whose log has ended.
    fn end(&mut self) -> Result<(), String> {
        // A full pipe would keep it from ending.
        self.stdout = None;
        let status = self.child.wait().map_err(|error| format!("ffmpeg got lost: {error}"))?;
        if status.success() { Ok(()) } else { Err(self.stopped(&status.to_string())) }
    }

    /// Its own words for why it stopped, or else what we saw.
    fn stopped(&self, seen: &str) -> String {
        let complaints = self.log.complaints();
        let words = complaints.last().map_or(seen, String::as_str);
        // It begins with the name of the file, which our messages have already.
        format!("{STOPPED}{}", words.rsplit_once(&self.input).map_or(words, |(_, words)| words))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Kills and reaps. Both fail only where the process is gone already.
fn stop(child: &mut Child) {
    child.kill().ok();
    child.wait().ok();
}

/// Ctrl-C is for us: an ffmpeg that stops by itself would look like a broken file.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

fn missing(known: &Known) -> String {
    let why = known.obstacle.as_ref().map(|obstacle| format!(" ({obstacle})")).unwrap_or_default();
    let what = if known.what.is_empty() { "of an unknown kind" } else { &known.what };
    format!(
        "is {what}{why}, which needs ffmpeg, and there is no ffmpeg on PATH: install it \
         (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg) or convert the file to H.264 in MP4"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::{clips, ffmpeg};

    #[test]
    #[cfg(target_os = "linux")]
    fn a_source_dropped_in_the_middle_leaves_no_process() {
        let Some(clips) = clips() else { return };
        let path = clips.join("variants/v05_hevc.mp4");
        let progress = Progress::new("clip", None);
        let mut source = Ffmpeg::open(OsStr::new("ffmpeg"), &path, Known::default(), progress).unwrap();
        source.next().unwrap().unwrap();
        let entry = format!("/proc/{}", source.process.child.id());
        assert!(Path::new(&entry).exists());
        drop(source);
        assert!(!Path::new(&entry).exists());
    }

    #[test]
    fn options_of_older_versions_give_the_same_pictures() {
        let Some(clips) = clips() else { return };
        let path = clips.join("variants/v06_vp9.webm");
        let events = |dialect| {
            let mut process = Process::start(OsStr::new("ffmpeg"), &path, dialect).unwrap();
            std::io::copy(process.stdout.as_mut().unwrap(), &mut std::io::sink()).unwrap();
            process.log.events.iter().filter(|event| matches!(event, Event::Frame(_))).collect::<Vec<_>>()
        };
        assert_eq!(events(Dialect::Old).len(), 90);
        assert_eq!(events(Dialect::Old), events(Dialect::Current));
    }

    #[test]
    fn pictures_that_change_their_size_come_out_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut stream = Vec::new();
        for size in ["320x240", "160x120", "322x182"] {
            let (source, part) = (format!("testsrc=s={size}:r=25"), folder.path().join("part.h264"));
            ffmpeg(&["-f", "lavfi", "-i", &source, "-frames:v", "20", "-pix_fmt", "yuv420p", "-c:v", "libx264"], &part);
            stream.extend(std::fs::read(part).unwrap());
        }
        let path = folder.path().join("change.h264");
        std::fs::write(&path, stream).unwrap();
        let sizes = |dialect| {
            let mut process = Process::start(OsStr::new("ffmpeg"), &path, dialect).unwrap();
            let mut sizes = Vec::new();
            while let Ok(event) = process.log.events.recv() {
                if let Event::Frame(announced) = event {
                    sizes.push(process.picture(&Pool::default(), announced).unwrap().size().to_string());
                }
            }
            process.end().unwrap();
            assert_eq!(sizes.len(), 60);
            sizes.dedup();
            sizes
        };
        assert_eq!(sizes(Dialect::Current), ["320x240", "160x120", "322x182"]);
        assert_eq!(sizes(Dialect::Old), ["320x240"]);
    }

    #[test]
    fn pictures_without_times_follow_from_the_rate() {
        let base = TimeBase::new(1, 1000).unwrap();
        let mut clock = Clock { base, tick: TimeBase::new(1, 25), next: 0, untimed: false };
        let times = [Some(7), None, None, Some(500), None].map(|pts| clock.time(pts).ticks);
        assert_eq!(times, [7, 47, 87, 500, 540]);
    }
}
