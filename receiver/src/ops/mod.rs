//! The operator's own door: metrics, whether the program lives, whether it takes senders.
//!
//! It has a listener of its own, so that it stays off the public port and answers without a token.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing,
};
use cv_core::process::Stop;
use tokio::net::TcpListener;

use crate::{
    admission::Admission,
    cli::Serve,
    metrics::METRICS,
    process::Process,
    progress,
    session::Message,
    sessions::Sessions,
    transport::whip::Endpoint,
    web::{
        counters::HttpCounters,
        problem::{self, Problem},
    },
};

mod exposition;

use exposition::Asked;

/// Where the door is unless something else is asked for.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9090);
/// How long sessions may take to answer a probe.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a thread may be at one picture.
pub const STUCK: Duration = Duration::from_secs(30);
/// OpenMetrics 1.0.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Opens the listener. Where nobody asked for it and the usual port is taken, the program goes on without.
pub async fn bind(options: &Serve) -> Result<Option<TcpListener>> {
    Process::start();
    let address = options.ops_listen.unwrap_or(DEFAULT);
    if !address.ip().is_loopback() && !options.doors.allow_anonymous {
        bail!(
            "--ops-listen {address} is reachable from other machines and asks for no token: \
             listen on loopback, or give --allow-anonymous to let everybody read metrics"
        );
    }
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if options.ops_listen.is_none() => {
            tracing::warn!(
                event = "ops-unavailable",
                %address,
                %error,
                "no metrics and no health checks; --ops-listen takes another port"
            );
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| {
            format!(
                "cannot listen on {address} for metrics; is another receiver running? --ops-listen takes another port"
            )
        }),
    }
}

/// Whom to ask how things are. Cloning shares them.
#[derive(Clone)]
pub struct Vitals {
    /// The sessions there are.
    pub sessions: Sessions,
    /// The connections.
    pub endpoint: Endpoint,
    /// What may still come in.
    pub admission: Admission,
    /// What the public HTTP server counts.
    pub http: Arc<HttpCounters>,
    /// Raised once the program ends.
    pub stop: Stop,
}

impl Vitals {
    /// Fails, in a sentence, if the program makes no progress: a thread at one picture for longer than `limit`, or a
    /// session that does not answer. That this runs at all shows that the network does.
    pub async fn check(&self, limit: Duration) -> Result<()> {
        progress::check(limit)?;
        let probes = self.sessions.all().into_iter().map(|session| async move {
            if session.is_finishing() {
                return Ok(());
            }
            match tokio::time::timeout(PATIENCE, session.ask(Message::Ping)).await {
                // One that has just ended need not answer.
                Ok(_answer) => Ok(()),
                Err(_elapsed) if session.is_finishing() => Ok(()),
                Err(_elapsed) => bail!("session {} does not answer", session.id),
            }
        });
        futures_util::future::try_join_all(probes).await.map(drop)
    }

    /// Fails, in a sentence, if a new live sender would be turned away.
    pub fn ready(&self) -> Result<()> {
        if self.stop.is_raised() {
            bail!("the receiver is shutting down");
        }
        if self.endpoint.is_full() {
            bail!("there are as many senders as --max-sessions allows");
        }
        Ok(self.admission.check()?)
    }

    fn asked(&self) -> Asked {
        let sessions = self.sessions.all();
        Asked {
            sessions: sessions.len(),
            session_messages: sessions.iter().map(crate::session::Session::waiting).sum(),
            load: self.admission.load(),
            ready: self.ready().is_ok(),
            accepted: self.http.accepted.load(Ordering::Relaxed),
            turned_away: self.http.turned_away(),
        }
    }
}

/// Answers on `listener` until the program ends.
pub async fn serve(listener: TcpListener, vitals: Vitals) {
    let router = Router::new()
        .route("/metrics", routing::get(metrics))
        .route("/healthz", routing::get(healthz))
        .route("/readyz", routing::get(readyz))
        .fallback(nothing_here)
        .method_not_allowed_fallback(problem::no_such_method)
        .with_state(Arc::new(vitals));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(event = "ops-unavailable", %error, "the listener for metrics failed");
    }
}

async fn metrics(State(vitals): State<Arc<Vitals>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], exposition::render(vitals.asked())).into_response()
}

async fn healthz(State(vitals): State<Arc<Vitals>>) -> Response {
    verdict(vitals.check(STUCK).await)
}

async fn readyz(State(vitals): State<Arc<Vitals>>) -> Response {
    verdict(vitals.ready())
}

async fn nothing_here() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here but /metrics, /healthz and /readyz")
}

fn verdict(result: Result<()>) -> Response {
    match result {
        Ok(()) => "ok\n".into_response(),
        Err(error) => Problem::unavailable(error.to_string()).into_response(),
    }
}

/// Counts an answer of the public server.
pub async fn count(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    METRICS.requests.count(route.as_ref().map_or("", MatchedPath::as_str), response.status().as_u16());
    response
}
