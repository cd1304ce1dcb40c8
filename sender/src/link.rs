//! The connection to the receiver, with the way its results come back: made, and made again after a break.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cv_core::{
    session_id::SessionId,
    whip::{Mode, query},
};
use tokio::sync::mpsc;

use crate::{
    cli::Results,
    results,
    transport::{
        feedback::Feedback,
        ice::Ice,
        peer::{self, Event, Peer},
        whip::{self, Endpoint, Query},
    },
};

/// How long a question to a session's URL may take while the network is in doubt.
const QUESTION_LIMIT: Duration = Duration::from_secs(2);
/// How long a restart of ICE may take before a new session is the better idea.
const RESTART_LIMIT: Duration = Duration::from_secs(4);

/// A connection with the way its results come back.
pub struct Link {
    peer: Peer,
    /// Lines over HTTP, where that is the way.
    http: Option<mpsc::Receiver<Bytes>>,
}

impl Link {
    /// What happens next on it, results over HTTP included. Cancel-safe.
    pub async fn event(&mut self) -> Event {
        match &mut self.http {
            None => self.peer.event().await,
            Some(lines) => tokio::select! {
                line = lines.recv() => line.map_or(Event::Lost("the results over HTTP ended"), Event::Line),
                event = self.peer.event() => event,
            },
        }
    }

    /// The connection itself.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whether the server is of our kind.
    pub fn is_ours(&self) -> bool {
        self.peer.created.results.is_some()
    }

    /// Closes the connection and frees what it holds.
    pub async fn close(self) {
        self.peer.close().await;
    }
}

/// Makes links of one session.
pub struct Dialer {
    /// Where to.
    pub endpoint: Endpoint,
    /// The session.
    pub session: SessionId,
    /// Tells this sender's connections from another's, see [`query::RUN`].
    pub run: u64,
    /// Its delivery mode.
    pub mode: Mode,
    /// Analyzers asked for.
    pub analyze: Option<String>,
    /// How results come back.
    pub results: Results,
    /// How paths are looked for.
    pub ice: Ice,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long to keep trying after a break.
    pub patience: Duration,
    /// Where the receiver's feedback goes.
    pub feedback: Arc<Feedback>,
}

/// How a link went on after a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// It is the same, over the path it had or another.
    Same,
    /// It is a new connection in place of the old one; what the old one lost has to be sent again.
    New,
}

/// Why a link could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Unrecovered {
    /// The server does not want this sender back.
    #[error("then {0}")]
    Refused(whip::Error),
    /// Nothing worked for as long as was to be tried.
    #[error("and it did not come back within {} s: {problem}", .patience.as_secs())]
    InVain {
        /// How long was tried.
        patience: Duration,
        /// What went wrong last.
        problem: String,
    },
}

impl Dialer {
    /// The first connection. A server that asks for a moment's patience gets it, within the time for an attempt.
    ///
    /// # Errors
    /// Those of the last attempt.
    pub async fn dial(&self) -> Result<Link, peer::Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.attempt(None, &self.ice).await {
                Err(peer::Error::Whip(error)) => match error.retry_after() {
                    Some(pause) if Instant::now() + pause < deadline => {
                        tracing::warn!("{error}; trying again in {} s, as it asks", pause.as_secs());
                        tokio::time::sleep(pause).await;
                    }
                    _ => return Err(error.into()),
                },
                other => return other,
            }
        }
    }

    /// Gets `link` going again: over its own path if that comes back, by restarting ICE if the session is still
    /// there, else as a new connection of the session from frame `next` on. `gone` says that the receiver ended it.
    ///
    /// # Errors
    /// If the server refuses, or nothing works for as long as is to be tried.
    pub async fn recover(&self, link: &mut Link, gone: bool, next: u64) -> Result<Recovered, Unrecovered> {
        let deadline = Instant::now() + self.patience;
        let mut backoff = Backoff::default();
        let mut session = link.peer.created.session.clone().filter(|_| !gone);
        loop {
            let (problem, asked_for) = match session.clone() {
                Some(url) => match self.restart(link, &url).await {
                    Ok(true) => return Ok(Recovered::Same),
                    Ok(false) => {
                        session = None;
                        continue;
                    }
                    Err(error) => (error.to_string(), error.retry_after()),
                },
                None => match self.attempt(Some(next), link.peer.ice()).await {
                    Ok(new) => {
                        std::mem::replace(link, new).close().await;
                        return Ok(Recovered::New);
                    }
                    Err(peer::Error::Whip(error)) if !error.is_passing() => return Err(Unrecovered::Refused(error)),
                    Err(peer::Error::Whip(error)) => (error.to_string(), error.retry_after()),
                    Err(error) => (error.to_string(), None),
                },
            };
            let pause = backoff.next_pause().max(asked_for.unwrap_or_default());
            if Instant::now() + pause > deadline {
                return Err(Unrecovered::InVain { patience: self.patience, problem });
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // The path may come back by itself as long as nothing else was begun.
                true = link.peer.is_through(), if session.is_some() => return Ok(Recovered::Same),
            }
        }
    }

    /// Restarts ICE of the session at `url`; `false` if only a new session helps. Errors are for trying again.
    async fn restart(&self, link: &mut Link, url: &reqwest::Url) -> Result<bool, whip::Error> {
        // Asking first keeps the old path usable for as long as the server cannot be reached either.
        if !self.endpoint.is_alive(url, QUESTION_LIMIT).await? {
            tracing::debug!("the receiver does not know the session any more");
            return Ok(false);
        }
        match link.peer.restart(&self.endpoint, url, RESTART_LIMIT).await {
            Ok(()) => Ok(true),
            Err(error) => {
                tracing::debug!(%error, "ICE could not be restarted; making a new session");
                Ok(false)
            }
        }
    }

    /// Makes one connection; `next` is the first unanswered picture after a break.
    async fn attempt(&self, next: Option<u64>, ice: &Ice) -> Result<Link, peer::Error> {
        let mut pairs = vec![(query::SESSION, self.session.to_string()), (query::MODE, self.mode.to_string())];
        pairs.push((query::RUN, self.run.to_string()));
        pairs.extend(self.analyze.clone().map(|list| (query::ANALYZE, list)));
        pairs.extend(next.map(|next| (query::NEXT, next.to_string())));
        let request = peer::Request {
            query: Query { pairs },
            channel: self.results == Results::Channel,
            feedback: self.feedback.clone(),
            ice: ice.clone(),
            timeout: self.timeout,
        };
        let peer = peer::connect(&self.endpoint, &request).await?;
        let over_http = match (self.results, peer.has_channel()) {
            (Results::None, _) | (_, true) => None,
            (_, false) => peer.created.results.clone(),
        };
        let Some(url) = over_http else { return Ok(Link { peer, http: None }) };
        let subscribed = results::subscribe(&self.endpoint, &url, next.unwrap_or(0));
        let subscribed = tokio::time::timeout(self.timeout, subscribed).await;
        match subscribed.unwrap_or_else(|_elapsed| Err(self.endpoint.silent())) {
            Ok(lines) => Ok(Link { peer, http: Some(lines) }),
            Err(error) => {
                // A connection that is merely dropped would answer for a sender that is gone.
                peer.close().await;
                Err(error.into())
            }
        }
    }
}

/// Pauses between attempts: growing, capped, and never the same for two senders that lost the same receiver.
#[derive(Debug, Default)]
struct Backoff {
    attempts: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(2);

    fn next_pause(&mut self) -> Duration {
        let pause = Self::FIRST.saturating_mul(1 << self.attempts.min(16)).min(Self::LONGEST);
        self.attempts += 1;
        pause.mul_f64(rand::random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_attempts_grow_to_a_limit_and_differ() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = std::iter::repeat_with(|| backoff.next_pause()).take(100).collect();
        assert!(pauses[0] < Backoff::FIRST && pauses[0] >= Backoff::FIRST / 2);
        assert!(pauses[10..].iter().all(|pause| (Backoff::LONGEST / 2..Backoff::LONGEST).contains(pause)));
        assert_ne!(pauses[10], pauses[11]);
    }
}
