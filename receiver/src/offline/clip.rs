//! A clip is analysed as it is: what a sender would have cropped, without the codec's and the network's part in it.
//!
//! One thread reads, a few extract, and whoever asked folds, in the clip's order:
//!
//! ```text
//! [read] source → framing → lane ─► [extract-N] ─► one answer a picture ─► fold → line
//!    └────────────── the order, at most twice as many pictures as threads ────┘
//! ```

use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, anyhow};
use cv_core::{
    geometry::Size,
    picture::Picture,
    process::Stop,
    report::{self, Event, Final, Line, Totals},
    session_id::SessionId,
    whip::Mode,
    worker::Worker,
};
use cv_source::{
    Source, file,
    framing::Framing,
    selection::{Selected, Selection},
};
use tokio::sync::{
    mpsc,
    oneshot::{self, error::TryRecvError},
};

use crate::{
    admission::Meter,
    analysis::{Cost, Extracted, Extraction, Folding, Moment, Plan},
    cli::{Emit, analyze::Analyze},
    dispatch::{Job, Lane, Threads},
};

/// The most threads that wait for processes unless somebody asks for more.
const MOST_WAITING: usize = 64;

/// What is to be analysed, and how.
pub(super) struct Clip {
    path: PathBuf,
    selection: Selection,
    framing: Framing,
    session: SessionId,
    threads: Option<usize>,
    features: bool,
}

impl Clip {
    /// The clip at `path` as `options` say.
    pub(super) fn new(path: &Path, options: &Analyze) -> Result<Self> {
        let clip = &options.clip;
        let seconds = |duration: Option<std::time::Duration>| duration.map(|duration| duration.as_secs_f64());
        Ok(Self {
            path: path.to_owned(),
            selection: Selection {
                start: seconds(clip.start),
                duration: seconds(clip.duration),
                frames: clip.frames,
                fps: clip.fps,
                repeat: false,
            },
            framing: Framing::new(clip.crop, clip.size)?,
            session: clip.session.clone(),
            threads: clip.threads.map(usize::from),
            features: clip.emit == Emit::Features,
        })
    }

    /// Writes the lines of the whole session to `output`, and gives the number of results that carry an error. When
    /// `stop` is raised no more pictures are taken; those that were are answered.
    ///
    /// # Errors
    /// If the clip cannot be opened or breaks off, in which case all pictures before are answered and the session is
    /// closed; if `output` fails.
    pub(super) async fn analyze(self, plan: &Plan, mut stop: Stop, output: impl Write) -> Result<u64> {
        let (extraction, folding) = plan.begin(self.session.as_str());
        let mut desk = Desk {
            session: self.session.to_string(),
            features: self.features,
            folding,
            totals: Totals::default(),
            output,
        };
        tracing::debug!("reading {}", self.path.display());
        let mut reading = self.start(extraction)?;
        tokio::select! {
            opened = &mut reading.opened => opened.context("opening the clip failed")??,
            () = stop.raised() => return Ok(0),
        }
        desk.say(&Line::Session(report::Session::new(Event::Started, &desk.session)))?;
        let mut stopped = false;
        loop {
            // What waits in the buffer is for whoever reads along, as soon as there is nothing else to do.
            if reading.pictures.is_empty() {
                desk.flush()?;
            }
            tokio::select! {
                picture = reading.pictures.recv() => match picture {
                    Some(picture) => desk.answer(picture).await?,
                    None => break,
                },
                () = stop.raised(), if !stopped => {
                    stopped = true;
                    reading.pictures.close();
                }
            }
        }
        desk.close()?;
        // A source that blocks in a pipe is not waited for.
        if !stopped {
            reading.ended.await.context("reading the clip failed")??;
        }
        Ok(desk.totals.errors)
    }

    /// Starts all threads. They end by themselves, the reader's when nobody wants more pictures.
    fn start(self, extraction: Extraction) -> Result<Reading> {
        let threads = match (self.threads, extraction.cost(), extraction.width()) {
            (Some(threads), ..) => threads,
            // As many as there are processes to wait for.
            (None, Cost::Away, Some(width)) => width.clamp(1, MOST_WAITING),
            (None, ..) => thread::available_parallelism().map_or(1, usize::from),
        };
        let place = Arc::new(Threads::start("extract", threads).context("cannot start the extraction threads")?);
        let lane = Lane::new(place, Mode::EveryFrame, extraction.width());
        let (pictures, in_order) = mpsc::channel(2 * threads);
        let (report_opened, opened) = oneshot::channel();
        let (report_end, ended) = oneshot::channel();
        let worker = Worker::spawn("read", move || {
            let opened = self.open();
            match opened {
                Err(error) => drop(report_opened.send(Err(error))),
                Ok(source) => {
                    if report_opened.send(Ok(())).is_ok() {
                        let mut reader = Reader { source, framing: self.framing, extraction, lane };
                        let end = reader.read(&pictures);
                        // Whoever hears of the end expects no more pictures.
                        drop(pictures);
                        report_end.send(end).ok();
                    }
                }
            }
        });
        worker.context("cannot start the reading thread")?.detach();
        Ok(Reading { opened, pictures: in_order, ended })
    }

    fn open(&self) -> Result<Selected> {
        let (path, start) = (self.path.clone(), self.selection.start);
        let open = move || {
            if path.as_os_str() == "-" { file::stdin() } else { file::open(&path, start) }
        };
        let source = Selected::new(Box::new(open), self.selection.clone())?;
        let info = source.info();
        let size = self.framing.size_of(info.size)?;
        tracing::info!("{}: {} at {:.2} fps, analysing {size}", info.name, info.size, info.fps);
        Ok(source)
    }
}

/// The threads' end of it.
struct Reading {
    /// Whether there is such a clip.
    opened: oneshot::Receiver<Result<()>>,
    /// Pictures in order.
    pictures: mpsc::Receiver<Pending>,
    /// Why there are no more.
    ended: oneshot::Receiver<Result<()>>,
}

/// A picture that is being analysed.
struct Pending {
    moment: Moment,
    size: Size,
    extracted: oneshot::Receiver<Extracted>,
}

/// Numbers pictures and hands them out.
struct Reader {
    source: Selected,
    framing: Framing,
    extraction: Extraction,
    lane: Lane,
}

impl Reader {
    fn read(&mut self, pictures: &mpsc::Sender<Pending>) -> Result<()> {
        let mut previous = None;
        let mut frame = 0;
        while let Some(captured) = self.source.next()? {
            let picture = self.framing.apply(&captured.picture)?;
            let moment = Moment { frame, time: captured.pts.seconds() };
            let (job, extracted) = self.job(picture.clone(), previous.replace(picture.clone()), moment);
            // Before it is at work, so that no more are at work than there is room for answers.
            if pictures.blocking_send(Pending { moment, size: picture.size(), extracted }).is_err() {
                return Ok(());
            }
            self.lane.submit(job, || {});
            frame += 1;
        }
        Ok(())
    }

    fn job(&self, picture: Picture, previous: Option<Picture>, moment: Moment) -> (Job, oneshot::Receiver<Extracted>) {
        let (done, extracted) = oneshot::channel();
        let done = Box::new(move |extracted, _| drop(done.send(extracted)));
        let meter = Arc::new(Meter::default());
        (Job { extraction: self.extraction.clone(), picture, previous, moment, meter, done }, extracted)
    }
}

/// The session's own state, and where its lines go.
struct Desk<W> {
    session: String,
    features: bool,
    folding: Folding,
    totals: Totals,
    output: W,
}

impl<W: Write> Desk<W> {
    async fn answer(&mut self, picture: Pending) -> Result<()> {
        let Pending { moment: Moment { frame, time }, size, mut extracted } = picture;
        let extracted = match extracted.try_recv() {
            Err(TryRecvError::Empty) => {
                self.flush()?;
                extracted.await.ok()
            }
            done => done.ok(),
        };
        let extracted = extracted.ok_or_else(|| {
            anyhow!("an analyzer broke down on frame {frame}, at {time} s; the lines above say where, so leave it out")
        })?;
        let (v, session, width, height) = (report::VERSION, self.session.clone(), size.width(), size.height());
        if self.features {
            let features = self.folding.save(&extracted);
            let session = session.clone();
            self.say(&Line::Features(report::Features {
                v,
                session,
                frame,
                time,
                session_time: time,
                width,
                height,
                features,
            }))?;
        }
        let (analysis, errors) = self.folding.fold(time, &extracted);
        self.totals.received += 1;
        self.totals.decoded += 1;
        self.totals.analyzed += 1;
        self.totals.errors += u64::from(!errors.is_empty());
        let result = report::Result { v, session, frame, time, width, height, analysis, errors, clock: None };
        self.say(&Line::Result(result))
    }

    /// Lets the analyzers finish.
    fn close(&mut self) -> Result<()> {
        let (analysis, errors) = self.folding.finish();
        self.totals.errors += u64::from(!errors.is_empty());
        self.say(&Line::Final(Final { session: self.session.clone(), analysis, errors }))?;
        let news = report::Session::new(Event::Closed, &self.session);
        self.say(&Line::Session(report::Session { totals: Some(self.totals), ..news }))?;
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.output.flush().context("cannot write results")
    }

    fn say(&mut self, line: &Line) -> Result<()> {
        writeln!(self.output, "{}", line.to_json()).context("cannot write results")
    }
}
