//! The sender as a whole: a pipeline, a connection, the answers.
//!
//! Queues between the stages, with size and what happens when they are full:
//!
//! | between | carries | size | live, when full | every-frame, when full | counted as |
//! |---|---|---|---|---|---|
//! | source → encoder | pictures | 1 | the waiting one is replaced | the source waits | gap `busy` |
//! | encoder → network | access units | 256 | the encoder waits | credit: 8 pictures in flight | |
//! | packetizer → socket | packets | 8192 | from 100 ms on pictures are left out | from 500 ms on the encoder waits | gap `busy` |
//! | unanswered pictures | for a new connection | from a keyframe on, at most `--gop` and 8 | | credit keeps it from filling | |
//! | sent packets | for retransmission | 4096 | the oldest is forgotten | the same; credit keeps it from filling | |
//! | network → results | lines | 64 | SCTP slows the receiver down | the same | gap `slow-reader` |
//! | results → writer | lines | 1024 | reading waits | reading waits | |

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use cv_core::{
    analyzers::List,
    process::{Exit, Stop},
    session_id::SessionId,
    whip::Mode,
};
use cv_source::{Source, framing::Framing, selection::Selected};
use tokio::sync::oneshot;

use crate::{
    cli::{Cli, Report, Results},
    expect::{Expectation, Recording},
    ledger::{Heard, Ledger},
    link::{Dialer, Link, Recovered, Unrecovered},
    outlet::Outlet,
    output::{self, Output},
    pipeline::{self, Capture, Encoding, Pipeline},
    progress::{self, Progress},
    summary::{Latency, Summary, round},
    transport::{
        feedback::Feedback,
        ice::Ice,
        peer::Event,
        whip::{self, Endpoint},
    },
};

/// Live: how long after the last picture an answer may still come.
const LIVE_DRAIN: Duration = Duration::from_millis(1500);
/// Every-frame: how long nothing at all may come back before the rest counts as unanswered.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// How long the end of a session may take: the receiver finishes its analysis meanwhile.
const END_LIMIT: Duration = Duration::from_secs(15);
/// How long saying goodbye may take where nobody listens any more.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);
/// Without answers nobody tells that the last packets arrived.
const LINGER: Duration = Duration::from_millis(500);
/// How long an attempt to go on may still take once the program is to stop.
const LAST_ATTEMPT: Duration = Duration::from_secs(3);

/// A run: everything between the command line and the exit status.
pub struct Sender {
    cli: Cli,
    dialer: Dialer,
    outlet: Outlet,
    feedback: Arc<Feedback>,
    ledger: Ledger,
    output: Output,
    expectation: Option<Expectation>,
    recording: Option<Recording>,
    progress: Progress,
    /// Whether this server tells of every picture what became of it.
    answers: bool,
    stop: Stop,
    /// When the last line came.
    heard: Instant,
    /// The receiver's word that the session is over.
    closed: bool,
    /// Its word that another sender has the session now.
    taken_over: bool,
}

/// How the sending itself came to its end.
enum Ended {
    /// Everything is sent, and answered as far as it will be.
    Done,
    /// Answers were still missing when nothing came any more.
    Stalled,
}

impl Sender {
    /// Opens what can fail early: the source, the encoder's options, the output, the expected results.
    ///
    /// # Errors
    /// With a sentence for a person.
    pub fn prepare(cli: Cli, stop: Stop) -> Result<(Self, Box<dyn Source>, Framing)> {
        let selected = Selected::new(cli.open(), cli.selection())?;
        let framing = Framing::new(cli.stream.crop, cli.stream.size)?;
        let info = selected.info();
        let sent = framing.size_of(info.size)?;
        tracing::info!("{}: {} at {:.2} fps, sending {sent}", info.name, info.size, info.fps);
        let roots = cli.target.ca_file.as_deref().map(whip::roots).transpose()?;
        let endpoint = Endpoint::new(cli.target.url.clone(), cli.target.token.clone(), roots, cli.target.timeout)
            .context("cannot set up the HTTP client")?;
        let analyze = cli.stream.analyze.as_deref().map(|text| List::read(text)?.to_line());
        let analyze = analyze.transpose().context("--analyze")?;
        let unnamed = cli.target.session.is_none();
        let expectation = match (&cli.results.expect, cli.results.update) {
            (Some(path), false) => Some(Expectation::load(path, cli.results.tolerance, unnamed)?),
            _ => None,
        };
        let output = Output::open(&cli.target())?;
        let feedback = Arc::new(Feedback::default());
        let answers = cli.results.results != Results::None;
        let dialer = Dialer {
            endpoint,
            session: cli.target.session.clone().unwrap_or_else(SessionId::generate),
            run: rand::random(),
            mode: cli.mode(),
            analyze,
            results: cli.results.results,
            ice: Ice { servers: cli.target.ice_servers.clone(), relay_only: cli.target.relay_only },
            timeout: cli.target.timeout,
            patience: cli.target.reconnect,
            feedback: feedback.clone(),
        };
        let sender = Self {
            dialer,
            outlet: Outlet::new(cli.mode(), answers, feedback.clone()),
            feedback,
            ledger: Ledger::default(),
            output,
            expectation,
            recording: cli.results.update.then(Recording::default),
            progress: Progress::new(info.frames, cli.log.quiet),
            answers,
            stop,
            heard: Instant::now(),
            closed: false,
            taken_over: false,
            cli,
        };
        Ok((sender, Box::new(selected), framing))
    }

    /// Connects, sends everything, hears the answers, ends the session.
    ///
    /// # Errors
    /// With a sentence for a person.
    pub async fn run(mut self, source: Box<dyn Source>, framing: Framing) -> Result<Exit> {
        let mut stop = self.stop.clone();
        let connecting = Instant::now();
        self.progress.say("connecting");
        let mut link = tokio::select! {
            link = self.dialer.dial() => link?,
            () = stop.raised() => return Ok(Exit::Done),
        };
        let connect_ms = connecting.elapsed().as_secs_f64() * 1e3;
        if self.answers && !link.is_ours() {
            tracing::warn!(
                "this server does not answer every frame, so none is waited for; --results none says so from the start"
            );
            self.answers = false;
            self.outlet.expect_no_answers();
        }
        let started = Instant::now();
        let encoding = Encoding {
            bitrate: self.cli.stream.bitrate.map(|kbit| kbit * 1000),
            gop: self.cli.stream.gop.as_secs_f64(),
            fps: source.info().fps,
        };
        let capture = Capture { source, pace: self.cli.source.pace, mode: self.cli.mode() };
        let (mut pipeline, end) =
            Pipeline::start(capture, framing, encoding, self.outlet.clone(), self.feedback.clone())
                .context("cannot start a thread")?;
        self.outlet.connect(link.peer().publisher());
        let sent = self.send(&mut link, &mut pipeline, end).await;
        let seconds = started.elapsed().as_secs_f64();
        let numbered = pipeline.numbered();
        let ended = match sent {
            // Whatever went wrong with the source: what was sent is answered, and the session ends well.
            Ok((ended, source)) => self.end(link, numbered).await.map(|()| (ended, source)),
            Err(error) => {
                self.leave(link, numbered).await;
                Err(error)
            }
        };
        drop(pipeline);
        self.progress.finish();
        let summary = self.summary(numbered, seconds, connect_ms);
        self.conclude(ended, numbered, summary).await
    }

    /// Runs until everything is sent and answered. Gives what the source ended with beside that.
    async fn send(
        &mut self,
        link: &mut Link,
        pipeline: &mut Pipeline,
        mut end: oneshot::Receiver<Result<(), pipeline::Error>>,
    ) -> Result<(Ended, Result<(), pipeline::Error>)> {
        let mut ticks = tokio::time::interval(progress::INTERVAL);
        let mut stop = self.stop.clone();
        let mut over: Option<(Instant, Result<(), pipeline::Error>)> = None;
        self.heard = Instant::now();
        loop {
            if let Some(ended) = self.is_over(over.as_ref(), pipeline.numbered()) {
                let source = over.map_or(Ok(()), |(_, source)| source);
                return Ok((ended, source));
            }
            tokio::select! {
                event = link.event() => match event {
                    Event::Line(line) => self.hear(line).await?,
                    broken => if !self.recover(link, &broken, pipeline).await? {
                        let ended = if self.cli.mode() == Mode::Live { Ended::Done } else { Ended::Stalled };
                        return Ok((ended, over.map_or(Ok(()), |(_, source)| source)));
                    },
                },
                source = &mut end, if over.is_none() => {
                    over = Some((Instant::now(), source.unwrap_or(Ok(()))));
                }
                () = stop.raised(), if over.is_none() => {
                    pipeline.halt();
                    // The source may hang in a driver or a pipe; the session ends all the same.
                    over = Some((Instant::now(), Ok(())));
                }
                _ = ticks.tick() => self.progress.update(&self.ledger, pipeline.numbered(), &self.feedback),
            }
        }
    }

    /// Whether the run has come to its end, once the source has.
    fn is_over(&self, over: Option<&(Instant, Result<(), pipeline::Error>)>, numbered: u64) -> Option<Ended> {
        let (since, source) = over?;
        // After a picture that cannot be encoded none is sent any more, however many are numbered.
        let numbered = if source.is_err() { numbered.min(self.outlet.next_sent()) } else { numbered };
        let quiet = since.elapsed().min(self.heard.elapsed());
        match (self.answers, self.cli.mode()) {
            (false, _) => (since.elapsed() >= LINGER).then_some(Ended::Done),
            _ if self.ledger.next() >= numbered => Some(Ended::Done),
            (_, Mode::Live) => (quiet >= LIVE_DRAIN).then_some(Ended::Done),
            (_, Mode::EveryFrame) => (quiet >= STALL_LIMIT).then_some(Ended::Stalled),
        }
    }

    /// Takes one line of results.
    async fn hear(&mut self, line: Bytes) -> Result<(), output::Error> {
        self.heard = Instant::now();
        let Ok(heard) = serde_json::from_slice::<Heard<'_>>(&line) else {
            tracing::debug!("the receiver sent something that is no result line");
            return Ok(());
        };
        if !self.ledger.hear(&heard, SystemTime::now()) {
            return Ok(());
        }
        if heard.event.as_deref() == Some("closed") {
            (self.closed, self.taken_over) = (true, heard.taken_over);
            if let Some(reason) = &heard.reason {
                tracing::warn!("the receiver closed the session: {reason}");
            }
        }
        if heard.is_slow_reader() {
            tracing::warn!("results were read too slowly; the receiver dropped some");
        }
        self.outlet.answered(self.ledger.next());
        // That a break happened is no result: a replay is the same with it and without.
        let of_a_break = heard.event.as_deref() == Some("resumed") && self.ledger.next() > 0;
        if let Some(expectation) = self.expectation.as_mut().filter(|_| !of_a_break) {
            expectation.check(&line);
        }
        if let Some(recording) = self.recording.as_mut().filter(|_| !of_a_break) {
            recording.add(&line);
        }
        self.output.write(line, &mut self.stop).await
    }

    /// Tries to go on after a break, for as long as --reconnect says; `false` if the program is to stop instead.
    async fn recover(&mut self, link: &mut Link, broken: &Event, pipeline: &mut Pipeline) -> Result<bool> {
        let (gone, reason) = match broken {
            Event::Lost(reason) => (true, *reason),
            _ => (false, "nothing comes through any more"),
        };
        let (sent, answered) = (pipeline.numbered(), self.ledger.next());
        let url = self.dialer.endpoint.url();
        let lost = format!("lost the receiver at {url} ({reason}); {answered} of {sent} frames were answered");
        if self.taken_over {
            bail!("{lost}");
        }
        tracing::warn!("{lost}; trying to go on");
        if gone {
            self.outlet.disconnect();
        }
        let Some(recovered) = self.recovered(link, gone, pipeline).await else { return Ok(false) };
        match recovered {
            Ok(Recovered::Same) => tracing::info!("the connection works again"),
            Ok(Recovered::New) => {
                tracing::info!("connected again");
                self.outlet.connect(link.peer().publisher());
            }
            Err(error) => bail!("{lost}, {error}"),
        }
        (self.heard, self.closed) = (Instant::now(), false);
        Ok(true)
    }

    /// What trying came to; `None` if the program is to stop instead.
    async fn recovered(
        &mut self,
        link: &mut Link,
        gone: bool,
        pipeline: &mut Pipeline,
    ) -> Option<Result<Recovered, Unrecovered>> {
        let mut recovering = pin!(self.dialer.recover(link, gone, self.ledger.next()));
        tokio::select! {
            biased;
            recovered = &mut recovering => return Some(recovered),
            () = self.stop.raised() => pipeline.halt(),
        }
        // An answer under way is waited for: a session that nobody says goodbye to lingers at the receiver.
        tokio::time::timeout(LAST_ATTEMPT, recovering).await.ok()
    }

    /// Ends the session and hears its last lines.
    async fn end(&mut self, mut link: Link, numbered: u64) -> Result<()> {
        let deleted = match link.peer().created.session.clone() {
            Some(url) => {
                let endpoint = self.dialer.endpoint.clone();
                let ours = link.is_ours().then_some((numbered, self.cli.target.keep_session));
                tokio::spawn(async move { endpoint.delete(&url, ours, END_LIMIT).await })
            }
            None => tokio::spawn(async { Ok(()) }),
        };
        let deadline = tokio::time::Instant::now() + END_LIMIT;
        while self.answers && !self.closed {
            match tokio::time::timeout_at(deadline, link.event()).await {
                Ok(Event::Line(line)) => self.hear(line).await?,
                // A path that is silent may come back within the limit.
                Ok(Event::Silent) => {}
                Ok(Event::Lost(_)) | Err(_) => break,
            }
        }
        match deleted.await {
            Ok(Ok(())) => {}
            // Somebody else ended it, or it timed out: it is over as it should be.
            Ok(Err(error)) if error.is_gone() => tracing::debug!("the session was over already"),
            Ok(Err(error)) => tracing::warn!("the session may go on at the receiver until it notices: {error}"),
            Err(panic) => tracing::error!(%panic, "ending the session"),
        }
        link.close().await;
        Ok(())
    }

    /// Ends the session without hearing its last lines, because they cannot be written anyway.
    async fn leave(&self, link: Link, numbered: u64) {
        if let Some(url) = &link.peer().created.session {
            let ours = link.is_ours().then_some((numbered, self.cli.target.keep_session));
            if let Err(error) = self.dialer.endpoint.delete(url, ours, LEAVE_LIMIT).await {
                tracing::debug!(%error, "leaving the session");
            }
        }
        link.close().await;
    }

    /// Reports, and turns all that happened into an exit status.
    async fn conclude(
        mut self,
        ended: Result<(Ended, Result<(), pipeline::Error>)>,
        numbered: u64,
        summary: Summary,
    ) -> Result<Exit> {
        match self.cli.results.output {
            Report::Json => report(&serde_json::to_string(&summary).context("a summary is plain data")?),
            Report::Human if !self.cli.log.quiet => report(&summary.sentence()),
            Report::Human => {}
        }
        let written = self.output.finish(&mut self.stop).await;
        let quiet_end = |error: &output::Error| matches!(error, output::Error::Closed);
        match ended {
            // A reader of stdout that has seen enough ends the program, quietly.
            Err(error) if error.downcast_ref().is_some_and(quiet_end) => return Ok(Exit::Done),
            Err(error) => return Err(error),
            Ok((ended, source)) => {
                if written.as_ref().is_err_and(quiet_end) {
                    return Ok(Exit::Done);
                }
                written?;
                source?;
                if matches!(ended, Ended::Stalled) {
                    let missing = numbered - self.ledger.next();
                    report(&format!("cv-sender: {missing} frames stayed unanswered; see the receiver's log"));
                    return Ok(Exit::Incomplete);
                }
            }
        }
        if let (Some(recording), Some(path)) = (&self.recording, &self.cli.results.expect) {
            recording.save(path)?;
        }
        if let Some(difference) = self.expectation.and_then(Expectation::finish) {
            report(&format!("cv-sender: {difference}"));
            return Ok(Exit::Different);
        }
        let unanswered = self.cli.mode() == Mode::EveryFrame && summary.gaps > 0;
        Ok(if unanswered || summary.errors > 0 { Exit::Incomplete } else { Exit::Done })
    }

    fn summary(&self, numbered: u64, seconds: f64, connect_ms: f64) -> Summary {
        let bits = self.feedback.bytes.load(Ordering::Relaxed) as f64 * 8.0;
        Summary {
            session: self.dialer.session.to_string(),
            frames_sent: numbered,
            results: self.ledger.results,
            gaps: self.ledger.gaps,
            errors: self.ledger.errors,
            seconds: round(seconds, 3),
            fps: round(self.ledger.results as f64 / seconds.max(1e-9), 2),
            bitrate_kbps: round(bits / 1000.0 / seconds.max(1e-9), 1),
            packets_lost: self.feedback.lost.load(Ordering::Relaxed).into(),
            latency_ms: Latency::of(&self.ledger),
            connect_ms: round(connect_ms, 1),
        }
    }
}

/// Says something on stderr; nobody is left to tell if that is closed.
fn report(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
