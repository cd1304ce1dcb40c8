//! The receiver as a whole: everything that can fail early happens in [`Receiver::bind`], the rest in [`Receiver::run`].
//!
//! Queues between the stages, with size and what happens when they are full:
//!
//! | between | carries | size | live, when full | every-frame, when full | counted as |
//! |---|---|---|---|---|---|
//! | socket → assembler | RTP packets | 2048 a session | oldest picture is given up | newest packets, asked for again | `packets.lost` |
//! | assembler → decoder | access units | 32 live, 256 every-frame | dropped to the next keyframe | the sender's credit keeps it from filling | gap `busy` |
//! | decoder → extraction | pictures | 1 waiting a session | the waiting one is replaced | the decoder waits | gap `busy` |
//! | extraction → session | outcomes | 256 a session | the decoder waits | the decoder waits | |
//! | session → reader | lines | 3072 or 8 MiB | the reader's oldest are dropped | the same; a sender's credit keeps its own from filling | gap `slow-reader` |
//! | session → stdout | lines | 65536 or 64 MiB | the oldest are dropped | the same | gap `slow-reader` |

use std::{
    future::IntoFuture,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use axum::{
    Router,
    http::{HeaderName, HeaderValue, Method, header},
    middleware,
};
use cv_core::process::{Stop, Stopper};
use tokio::net::TcpListener;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{
    analysis::Plan,
    cli::Serve,
    dispatch::Threads,
    sessions::Sessions,
    sink::{pictures::Pictures, stdout::Stdout},
    transport::whip::{self, Endpoint, Settings},
    web::{self, access::Token},
};

/// Sessions remembered beside those with a sender, so that clients cannot fill memory with names.
const REMEMBERED_SESSIONS: usize = 1000;
/// How long sessions may take to end after a stop signal.
const STOP_LIMIT: Duration = Duration::from_millis(4000);
/// How long the reader of stdout may take for the rest.
const STDOUT_LIMIT: Duration = Duration::from_millis(500);

/// A receiver with its sockets open.
pub struct Receiver {
    listener: TcpListener,
    router: Router,
    endpoint: Endpoint,
    stdout: Option<Stdout>,
}

impl Receiver {
    /// Checks the options, opens the socket, starts the threads. `stopper` is raised when stdout closes.
    pub async fn bind(options: &Serve, stopper: Stopper) -> Result<Self> {
        let token = match &options.token_file {
            Some(path) => {
                Some(Token::from_file(path).with_context(|| format!("cannot read the token from {}", path.display()))?)
            }
            None => options.token.clone(),
        };
        if !is_local(options.listen.ip()) && token.is_none() && !options.allow_anonymous {
            bail!(
                "{} is reachable from other machines and there is no token: give --token-file, or --allow-anonymous to let everybody in",
                options.listen
            );
        }
        let definitions = options.definitions();
        for (name, spec) in &definitions {
            Plan::parse(spec, &definitions).with_context(|| format!("--define {name}={spec}"))?;
        }
        let plan = Plan::parse(&options.analyze, &definitions).context("--analyze")?;
        let listener = TcpListener::bind(options.listen).await.with_context(|| {
            format!("cannot listen on {}; is another receiver running? --listen takes another port", options.listen)
        })?;
        let width = options.analysis_threads.map_or_else(processors, usize::from);
        let dispatch = Arc::new(Threads::start(width).context("cannot start the analysis threads")?);
        let stdout =
            if options.no_print { None } else { Some(Stdout::start(stopper).context("cannot start a thread")?) };
        let limit = usize::from(options.max_sessions) + REMEMBERED_SESSIONS;
        let sessions = Sessions::new(limit, options.session_ttl, stdout.as_ref().map(Stdout::outbox));
        let pictures =
            options.save_dir.clone().zip(options.save_every).map(|(folder, every)| Pictures::new(folder, every));
        let endpoint = Endpoint::new(Settings {
            sessions: sessions.clone(),
            plan,
            definitions,
            dispatch,
            pictures,
            max_sessions: options.max_sessions.into(),
        });
        let router = endpoint
            .routes()
            .merge(web::routes(sessions))
            .fallback(web::problem::no_such_path)
            .method_not_allowed_fallback(web::problem::no_such_method)
            .layer(middleware::from_fn_with_state(token.map(Arc::new), web::access::check))
            .layer(cors(&options.cors_origin)?)
            .layer(middleware::from_fn(whip::announce));
        Ok(Self { listener, router, endpoint, stdout })
    }

    /// Where HTTP is served.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("the listener has no address")
    }

    /// Serves until the stop signal, then ends every session in good order, within five seconds.
    pub async fn run(self, mut stop: Stop) -> Result<()> {
        let address = self.address()?;
        tracing::info!("listening on http://{address}/whip");
        let mut server = pin!(axum::serve(self.listener, self.router).into_future());
        tokio::select! {
            served = &mut server => served.context("the HTTP server failed")?,
            () = stop.raised() => {}
        }
        tracing::info!("stopping");
        // Meanwhile new senders are told to come back later, and last lines reach their readers.
        tokio::select! {
            served = &mut server => served.context("the HTTP server failed")?,
            ended = tokio::time::timeout(STOP_LIMIT, self.endpoint.shut_down()) => if ended.is_err() {
                tracing::warn!("some sessions did not end in time");
            },
        }
        match self.stdout {
            Some(stdout) => stdout.finish(STDOUT_LIMIT).await.context("cannot write results to stdout"),
            None => Ok(()),
        }
    }
}

fn is_local(address: IpAddr) -> bool {
    address.is_loopback()
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What pages of other origins may do; nothing unless an origin is named.
fn cors(origins: &[String]) -> Result<CorsLayer> {
    if origins.is_empty() {
        return Ok(CorsLayer::new());
    }
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let values: Result<Vec<_>, _> = origins.iter().map(|origin| HeaderValue::try_from(origin.as_str())).collect();
        AllowOrigin::list(values.context("--cors-origin takes an origin like https://example.org")?)
    };
    Ok(CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE, Method::OPTIONS])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_MATCH])
        .expose_headers([
            header::LOCATION,
            header::ETAG,
            header::LINK,
            header::RETRY_AFTER,
            HeaderName::from_static("accept-post"),
            HeaderName::from_static("accept-patch"),
        ]))
}
