//! The task that owns a session's state.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use cv_core::report::{self, AnalyzerError, Cause, Event, Final, Gap, Line, Packets, SessionClock, StateKept, Totals};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Admitted, Analyzed, Attachment, Ending, Loss, Message, Outcome, PeerId, Printing, Reason, Unchanged,
    audience::Audience, clock, kept::Kept, peer::Peer, successor::Successor,
};
use crate::{analysis::Plan, decode::Identity, metrics::METRICS, sink::Outbox};

/// How long a sender waits for the analysis of what the one before it showed; beyond, what is still at work may show an
/// analyzer a picture twice.
const HANDOVER: Duration = Duration::from_secs(3);
/// How long the first offer to a session may take.
const FIRST_OFFER: Duration = Duration::from_secs(30);

pub(super) struct Task {
    id: String,
    ttl: Duration,
    audience: Audience,
    peer: Option<Peer>,
    /// Who is to follow as soon as the sender of the moment is out of the way.
    successor: Option<Successor>,
    kept: Option<Kept>,
    /// The frame number that is due.
    next: u64,
    /// Where the time of this run begins on the analyzers' time axis, and the latest time on it.
    time: (f64, f64),
    totals: Totals,
    idle_since: Instant,
    /// The run of the last sender, where it said.
    run: Option<u64>,
    /// Whether there ever was a sender.
    attached: bool,
    /// Whether the last sender ended in good order.
    closed: bool,
    /// Whether any sender ever got through. A session without one leaves nothing to remember, and strangers could
    /// fill memory with such.
    reached: bool,
    /// Raised while analyzers in other processes are asked for their last word.
    finishing: Arc<AtomicBool>,
}

impl Task {
    pub(super) fn new(id: String, ttl: Duration, printing: Option<Printing>, finishing: Arc<AtomicBool>) -> Self {
        Self {
            audience: Audience::new(id.clone(), printing),
            id,
            ttl,
            peer: None,
            successor: None,
            kept: None,
            next: 0,
            time: (0.0, 0.0),
            totals: Totals::default(),
            idle_since: Instant::now(),
            run: None,
            attached: false,
            closed: false,
            reached: false,
            finishing,
        }
    }

    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            // Between its first offer and its first sender a session is never too old.
            let ttl = if self.attached { self.ttl } else { self.ttl.max(FIRST_OFFER) };
            let deadline = self.successor.as_ref().map_or(self.idle_since + ttl, |successor| successor.deadline);
            let is_due = self.peer.is_none() || self.successor.is_some();
            let message = tokio::select! {
                message = messages.recv() => message,
                () = tokio::time::sleep_until(deadline.into()), if is_due => match self.successor.take() {
                    Some(successor) => {
                        self.admit(successor);
                        continue;
                    }
                    None => None,
                },
            };
            let Some(message) = message else { return };
            if self.take(message).is_break() {
                return;
            }
        }
    }

    fn take(&mut self, message: Message) -> ControlFlow<()> {
        match message {
            Message::Attach(attachment, admitted) => {
                let deadline = Instant::now() + HANDOVER;
                self.arrive(Successor { attachment, admitted, deadline });
            }
            Message::Channel(peer, outbox) => {
                self.reached = true;
                self.open_channel(peer, outbox);
            }
            Message::Done(peer, order, outcome) => {
                self.reached = true;
                self.done(peer, order, outcome);
            }
            Message::Drained(peer) => self.drained(peer),
            Message::End(ending) => {
                // Of those that gave way to another one it is known from what they showed.
                self.reached |= !matches!(
                    ending.reason,
                    Reason::Lost(Loss::NeverConnected | Loss::GaveWay | Loss::TakenOver | Loss::CameBack)
                );
                self.end(ending);
            }
            Message::Subscribe(since, outbox, answer) => {
                let serial = self.peer.as_ref().map(|peer| peer.since.0);
                answer.send(self.audience.subscribe(outbox, since, serial)).ok();
            }
            Message::Describe(answer) => {
                answer.send(self.describe()).ok();
            }
            Message::Change(plan, list, answer) => {
                answer.send(self.change(plan, list)).ok();
            }
            Message::Ping(answer) => {
                answer.send(()).ok();
            }
            Message::Abandon if !self.attached => return ControlFlow::Break(()),
            Message::Abandon => {}
            Message::Forget(done) => {
                self.forget();
                done.send(()).ok();
                if self.peer.is_none() {
                    return ControlFlow::Break(());
                }
            }
        }
        let in_vain = self.attached && !self.reached && self.peer.is_none();
        if in_vain { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Has a sender follow the one of the moment, if there is one.
    fn arrive(&mut self, mut successor: Successor) {
        let last = self.successor.as_ref().map(|other| other.attachment.run);
        let known = self.attached || last.is_some();
        if known && successor.attachment.is_stale(last.unwrap_or(self.run)) {
            successor.admitted.send(None).ok();
            return;
        }
        if let Some(overtaken) = self.successor.take() {
            // Whoever comes while another one waits does not make the session wait longer.
            successor.deadline = overtaken.deadline;
            overtaken.admitted.send(None).ok();
        }
        let Some(older) = &mut self.peer else { return self.admit(successor) };
        // One that said goodbye is waited for until all that it showed is answered: nobody will show it again.
        if older.ending.is_none() {
            // Nothing more of this one is looked at. What is at work is answered first, so that no analyzer sees a
            // picture twice.
            if let Some(kept) = &self.kept {
                kept.hand_over(successor.attachment.peer);
            }
            if let Some(replaced) = older.replaced.take() {
                replaced.send(successor.loss()).ok();
            }
        }
        self.successor = Some(successor);
    }

    /// Makes a sender that of the moment, whatever becomes of the one before.
    fn admit(&mut self, successor: Successor) {
        if let Some(older) = self.peer.take() {
            self.close_early(older, successor.loss());
        }
        let peer = successor.attachment.peer;
        self.attach(successor.attachment);
        let course = self.kept.as_ref().map(|kept| {
            kept.hand_over(peer);
            kept.course()
        });
        successor.admitted.send(course.map(|course| Admitted { course, next: self.next })).ok();
    }

    /// Closes the account of a sender whose analysis takes too long to wait for.
    fn close_early(&mut self, mut older: Peer, loss: Loss) {
        let (packets, said_goodbye) = ((older.packets)(), older.ending.is_some());
        older.drained = true;
        self.peer = Some(older);
        if said_goodbye {
            return self.finish_if_done();
        }
        self.close(&Reason::Lost(loss), packets);
        self.peer = None;
        self.audience.close_channel();
    }

    fn attach(&mut self, attachment: Attachment) {
        let next = attachment.next;
        let goes_on = self.kept.as_ref().is_some_and(|kept| kept.suits(&attachment.plan));
        match self.kept.as_mut().filter(|_| goes_on) {
            Some(kept) => kept.go_on(attachment.plan.clone()),
            None => self.kept = Some(Kept::new(attachment.plan.clone(), &self.id)),
        }
        let begins_anew = next.is_none();
        if begins_anew {
            self.totals = Totals::default();
            // Frames are numbered from 0 again: nobody may be given answers about the run before.
            self.audience.forget();
            // For a baseline that goes on, a new run follows the last one.
            self.time.0 = if goes_on { self.time.1 } else { 0.0 };
        }
        // What was answered stays answered; what the sender asks for again comes out of the history.
        self.next = match next {
            Some(next) if goes_on => self.next.max(next),
            other => other.unwrap_or(0),
        };
        let (event, state) = match (goes_on, begins_anew) {
            (true, _) => (Event::Resumed, Some(StateKept::Kept)),
            (false, true) => (Event::Started, None),
            (false, false) => (Event::Resumed, Some(StateKept::Lost)),
        };
        (self.closed, self.attached, self.run) = (false, true, attachment.run);
        let peer = Peer::new(attachment, self.audience.serial());
        let (mode, client) = (peer.mode, peer.client);
        self.peer = Some(peer);
        let analyze = self.kept.as_ref().and_then(Kept::changed).map(str::to_owned);
        let news = report::Session { state, analyze, ..self.news(event) };
        tracing::info!(
            event = "session-begin",
            session = self.id,
            mode = mode.name(),
            client = client.map(tracing::field::display),
            state = state.map(|state| match state {
                StateKept::Kept => "kept",
                StateKept::Lost => "lost",
            }),
            "session begins"
        );
        self.audience.emit(&Line::Session(news));
    }

    /// Has other analyzers take over with the next picture.
    fn change(&mut self, plan: Arc<Plan>, list: String) -> Result<(), Unchanged> {
        let kept = self.kept.as_mut().ok_or(Unchanged::Ended)?;
        if kept.change(&self.id, plan, list) { Ok(()) } else { Err(Unchanged::Waiting) }
    }

    /// Forgets what was learnt; whoever hears a live session's lines is told from which frame on.
    fn forget(&mut self) {
        let Some(kept) = &mut self.kept else { return };
        kept.begin_anew(&self.id);
        if self.peer.is_some() {
            let news = report::Session { from: Some(self.next), ..self.news(Event::Forgotten) };
            self.audience.emit(&Line::Session(news));
        }
    }

    /// Changes the analyzers to those that drew from picture `frame`, which comes next.
    fn turn(&mut self, generation: u64, frame: u64) {
        while let Some(list) = self.kept.as_mut().and_then(|kept| kept.turn(generation)) {
            tracing::info!(
                event = "session-analyzers",
                session = self.id,
                frame,
                "analyzers from frame {frame} on: {list}"
            );
            let news = report::Session { analyze: Some(list), from: Some(frame), ..self.news(Event::Analyzers) };
            self.audience.emit(&Line::Session(news));
        }
    }

    fn open_channel(&mut self, peer: PeerId, outbox: Outbox) {
        if let Some(current) = self.peer.as_ref().filter(|current| current.id == peer) {
            self.audience.open_channel(outbox, current.since);
        }
    }

    fn done(&mut self, peer: PeerId, order: u64, outcome: Outcome) {
        let Some(current) = self.peer.as_mut().filter(|current| current.id == peer) else { return };
        current.put(order, outcome);
        while let Some(outcome) = self.peer.as_mut().and_then(Peer::next_outcome) {
            self.settle(outcome);
        }
    }

    /// Turns one outcome, now in order, into lines.
    fn settle(&mut self, outcome: Outcome) {
        let identity = match &outcome {
            Outcome::Analyzed(analyzed) => Some(analyzed.identity),
            Outcome::Missed(identity, _) => Some(*identity),
            Outcome::Nameless(..) => None,
        };
        // A sender that came back repeats pictures that its decoder needs and that are answered.
        if identity.is_some_and(|identity| identity.frame < self.next) {
            return;
        }
        let received = match outcome {
            Outcome::Nameless(_, pictures) => pictures,
            _ => 1,
        };
        self.totals.received += received;
        METRICS.frames.received.add(received);
        if let Some(identity) = &identity {
            self.account_until(identity);
        }
        match outcome {
            Outcome::Analyzed(analyzed) => {
                self.totals.decoded += 1;
                METRICS.frames.decoded.add(1);
                self.answer(*analyzed);
            }
            Outcome::Missed(identity, cause) => self.gap(identity.frame, identity.frame, cause),
            Outcome::Nameless(cause, pictures) => self.count(cause, pictures),
        }
    }

    /// Accounts for the numbers between the one that is due and `identity`'s.
    fn account_until(&mut self, identity: &Identity) {
        if !identity.stamped {
            return;
        }
        let hole = identity.frame - self.next;
        let left_out = u64::from(identity.skipped).min(hole);
        let first_left_out = identity.frame - left_out;
        if hole > left_out {
            self.gap(self.next, first_left_out - 1, Cause::Lost);
        }
        if left_out > 0 {
            self.gap(first_left_out, identity.frame - 1, Cause::Busy);
        }
    }

    fn answer(&mut self, analyzed: Analyzed) {
        let Analyzed { identity, size, timing, analyze, extracted, generation, .. } = analyzed;
        self.turn(generation, identity.frame);
        let Some(kept) = self.kept.as_mut() else { return };
        self.time.1 = self.time.0 + identity.time;
        if self.audience.prints_features() {
            let features = report::Features {
                v: report::VERSION,
                session: self.id.clone(),
                frame: identity.frame,
                time: identity.time,
                session_time: self.time.1,
                width: size.width(),
                height: size.height(),
                features: kept.folding.save(&extracted),
            };
            self.audience.print(&Line::Features(features));
        }
        let (analysis, errors) = kept.folding.fold(self.time.1, &extracted);
        let clock = clock::of(&timing, analyze);
        self.totals.analyzed += 1;
        METRICS.frames.analyzed.add(1);
        self.count_failure(&errors);
        METRICS.stages.observe(&clock);
        self.next = identity.frame.saturating_add(1);
        self.audience.emit(&Line::Result(report::Result {
            v: report::VERSION,
            session: self.id.clone(),
            frame: identity.frame,
            time: identity.time,
            width: size.width(),
            height: size.height(),
            analysis,
            errors,
            clock: Some(clock),
        }));
    }

    fn count_failure(&mut self, errors: &[AnalyzerError]) {
        let failed = u64::from(!errors.is_empty());
        self.totals.errors += failed;
        METRICS.frames.errors.add(failed);
    }

    fn gap(&mut self, from: u64, to: u64, cause: Cause) {
        self.count(cause, (to - from).saturating_add(1));
        self.next = to.saturating_add(1);
        self.audience.emit(&Line::Gap(Gap { session: self.id.clone(), from, to, cause }));
    }

    /// Counts pictures without a result.
    fn count(&mut self, cause: Cause, pictures: u64) {
        self.totals.count(cause, pictures);
        METRICS.frames.miss(cause, pictures);
    }

    fn drained(&mut self, peer: PeerId) {
        let Some(current) = self.peer.as_mut().filter(|current| current.id == peer) else { return };
        current.drained = true;
        self.finish_if_done();
    }

    fn end(&mut self, ending: Ending) {
        match self.peer.as_mut().filter(|current| current.id == ending.peer) {
            Some(current) => current.ending = Some(ending),
            None => {
                ending.done.send(()).ok();
            }
        }
        self.finish_if_done();
    }

    fn finish_if_done(&mut self) {
        let Some(peer) = self.peer.as_mut().filter(|peer| peer.drained) else { return };
        let Some(mut ending) = peer.ending.take() else { return };
        if let (Reason::Lost(Loss::CameBack | Loss::TakenOver), Some(successor)) = (&ending.reason, &self.successor) {
            // Another one may have come since it was told.
            ending.reason = Reason::Lost(successor.loss());
        }
        match ending.reason {
            Reason::Asked { frames, keep } => {
                if let Some(last) = frames.and_then(|frames| frames.checked_sub(1)).filter(|last| *last >= self.next) {
                    self.gap(self.next, last, Cause::Lost);
                }
                self.finishing.store(true, Ordering::Relaxed);
                let (analysis, errors) = self.kept.as_mut().map(Kept::finish).unwrap_or_default();
                self.finishing.store(false, Ordering::Relaxed);
                self.count_failure(&errors);
                self.audience.emit(&Line::Final(Final { session: self.id.clone(), analysis, errors }));
                self.close(&ending.reason, ending.packets);
                self.kept = self.kept.take().filter(|_| keep);
                self.closed = true;
            }
            Reason::Lost(_) => self.close(&ending.reason, ending.packets),
        }
        self.peer = None;
        self.audience.close_channel();
        self.idle_since = Instant::now();
        ending.done.send(()).ok();
        if let Some(successor) = self.successor.take() {
            self.admit(successor);
        }
    }

    fn describe(&self) -> serde_json::Value {
        let state = match (&self.peer, self.closed) {
            (Some(_), _) => "live",
            (None, true) => "closed",
            (None, false) => "waiting",
        };
        json!({
            "session": self.id,
            "state": state,
            "mode": self.peer.as_ref().map(|peer| peer.mode.name()),
            "frames": self.totals.analyzed,
            "totals": self.totals,
            "readers": self.audience.readers(),
            "analysis": self.kept.as_ref().map(|kept| kept.folding.state()),
        })
    }

    /// A line about the session itself, with what most of them leave out left out.
    fn news(&self, event: Event) -> report::Session {
        report::Session {
            totals: (event == Event::Closed).then_some(self.totals),
            clock: Some(SessionClock { emitted: SystemTime::now(), packets: None }),
            ..report::Session::new(event, &self.id)
        }
    }

    /// Closes the account of this sender.
    fn close(&mut self, reason: &Reason, packets: Packets) {
        let mut news = self.news(Event::Closed);
        news.reason = match reason {
            Reason::Asked { .. } => None,
            Reason::Lost(loss) => Some(loss.to_string()),
        };
        news.taken_over = matches!(reason, Reason::Lost(Loss::TakenOver));
        news.clock = Some(SessionClock { emitted: SystemTime::now(), packets: Some(packets) });
        self.log_end(reason, packets);
        self.audience.emit(&Line::Session(news));
    }

    /// What `docs/operations.md` promises about the event `session-end`.
    fn log_end(&self, reason: &Reason, packets: Packets) {
        let Totals { received, decoded, analyzed, errors, lost, dropped } = self.totals;
        tracing::info!(
            event = "session-end",
            session = self.id,
            mode = self.peer.as_ref().map(|peer| peer.mode.name()),
            client = self.peer.as_ref().and_then(|peer| peer.client).map(tracing::field::display),
            reason = reason.label(),
            seconds = self.peer.as_ref().map(|peer| peer.began.elapsed().as_secs()),
            received,
            decoded,
            analyzed,
            errors,
            lost,
            late = dropped.late,
            busy = dropped.busy,
            undecodable = dropped.undecodable,
            packets = packets.received,
            packets_lost = packets.lost,
            "session ends"
        );
    }
}
