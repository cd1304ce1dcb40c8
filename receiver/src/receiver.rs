//! The receiver as a whole: everything that can fail early happens in [`Receiver::bind`], the rest in [`Receiver::run`].
//!
//! Queues between the stages, with size and what happens when they are full:
//!
//! | between | carries | size | live, when full | every-frame, when full | counted as |
//! |---|---|---|---|---|---|
//! | media port → connection | datagrams | 2048 or 2 MiB a connection | the newest are dropped, asked for again | the same | `packets.lost` |
//! | connection → TURN server | datagrams | 512 a relayed address | the newest are dropped, as a full socket would | the same | `media_datagrams_dropped` |
//! | connection → assembler | RTP packets | 2048 a session | oldest picture is given up | newest packets, asked for again | `packets.lost` |
//! | assembler → decoder | access units | 32 live, 256 every-frame | dropped to the next keyframe | the sender's credit keeps it from filling | gap `busy` |
//! | decoder → extraction | pictures | 1 waiting a session | the waiting one is replaced | the decoder waits | gap `busy` |
//! | extraction → session | outcomes | 256 a session | the decoder waits | the decoder waits | |
//! | session → reader | lines | 3072 or 8 MiB | the reader's oldest are dropped | the same; a sender's credit keeps its own from filling | gap `slow-reader` |
//! | session → stdout | lines | 65536 or 64 MiB | the oldest are dropped | the same | gap `slow-reader` |

use std::{io::ErrorKind, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use cv_core::process::{self, Stop, Stopper};
use tokio::net::TcpListener;

use crate::{
    admission::Admission,
    analysis::{Catalog, Cost, Setup},
    cli::{Emit, Serve},
    dispatch::{Places, Threads},
    ops::{self, Vitals},
    service,
    session::Printing,
    sessions::Sessions,
    sink::{pictures::Pictures, stdout::Stdout},
    transport::{
        port::{self, Port},
        whip::{Endpoint, Settings},
    },
    web::{self, doors::Doors},
};

/// Sessions remembered beside those with a sender, so that clients cannot fill memory with names.
const REMEMBERED_SESSIONS: usize = 1000;
/// Threads that wait for other processes: a process that hangs holds up one for each of its sessions.
const AWAY_THREADS: usize = 64;
/// How long sessions may take to end after a stop signal.
const STOP_LIMIT: Duration = Duration::from_millis(4000);
/// How long readers, stdout's and those over HTTP, may take for the rest.
const READER_LIMIT: Duration = Duration::from_millis(500);

/// A receiver with its sockets open.
pub struct Receiver {
    listener: TcpListener,
    port: Port,
    doors: Doors,
    sessions: Sessions,
    /// What sessions may ask for.
    catalog: Arc<Catalog>,
    endpoint: Endpoint,
    stdout: Option<Stdout>,
    admission: Admission,
    ops: Option<TcpListener>,
}

impl Receiver {
    /// Checks the options, opens the sockets (or uses the one `inherited`), starts the threads. `stopper` is raised
    /// when stdout closes.
    pub async fn bind(options: &Serve, inherited: Option<std::net::TcpListener>, stopper: Stopper) -> Result<Self> {
        let address = match &inherited {
            Some(listener) => listener.local_addr().context("the inherited socket has no address")?,
            None => options.listen,
        };
        let doors = Doors::new(&options.doors, address)?;
        let listener = listen(options, inherited).await?;
        let setup = Setup { reload: options.reload, ..Setup::default() };
        let (catalog, plan) = options.analyzers.load(setup)?;
        let catalog = Arc::new(catalog);
        let ops = ops::bind(options).await?;
        let port = media_port(options.media_port)?.with_public(&options.public_ip);
        let port = port.with_servers(&options.ice_servers, options.relay_only);
        let width = options.analysis_threads.map_or_else(processors, usize::from);
        let threads = |name, width| Threads::start(name, width).context("cannot start the analysis threads");
        let away = if catalog.cost().max(plan.cost()) == Cost::Away { AWAY_THREADS } else { 1 };
        let places = Places { here: Arc::new(threads("extract", width)?), away: Arc::new(threads("away", away)?) };
        let stdout =
            if options.no_print { None } else { Some(Stdout::start(stopper).context("cannot start a thread")?) };
        let limit = usize::from(options.max_sessions) + REMEMBERED_SESSIONS;
        let features = options.emit == Emit::Features;
        let printing = stdout.as_ref().map(|stdout| Printing { outbox: stdout.outbox(), features });
        let sessions = Sessions::new(limit, options.session_ttl, printing);
        let pictures =
            options.save_dir.clone().zip(options.save_every).map(|(folder, every)| Pictures::new(folder, every));
        let admission = Admission::new(options.max_load);
        let endpoint = Endpoint::new(Settings {
            sessions: sessions.clone(),
            admission: admission.clone(),
            plan,
            catalog: catalog.clone(),
            places,
            pictures,
            max_sessions: options.max_sessions.into(),
            port: port.clone(),
            ice_servers: options.ice_servers.clone(),
        });
        Ok(Self { listener, port, doors, sessions, catalog, endpoint, stdout, admission, ops })
    }

    /// Where HTTP is served.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("the listener has no address")
    }

    /// Serves until the stop signal, then ends every session in good order, within five seconds.
    pub async fn run(self, mut stop: Stop) -> Result<()> {
        let address = self.address()?;
        let vitals = Vitals {
            sessions: self.sessions.clone(),
            endpoint: self.endpoint.clone(),
            admission: self.admission.clone(),
            http: self.doors.counters(),
            stop: stop.clone(),
        };
        if let Some(listener) = self.ops {
            let address = listener.local_addr().context("the listener for metrics has no address")?;
            tracing::info!(event = "ops-listening", %address, "metrics and health on http://{address}/metrics");
            tokio::spawn(ops::serve(listener, vitals.clone()));
        }
        tokio::spawn(self.admission.watch());
        let (scheme, media_port) = (self.doors.scheme(), self.port.number());
        tracing::info!(
            event = "listening",
            %address,
            media_port,
            "media on UDP port {media_port}, listening on {scheme}://{address}/whip"
        );
        service::ready();
        tokio::spawn(service::report(vitals));
        let (close, closing) = process::stop();
        let others = web::routes(self.sessions, self.catalog, closing.clone());
        let served = self.doors.serve(self.listener, self.endpoint.routes(), others, closing);
        let server = tokio::spawn(served);
        stop.raised().await;
        tracing::info!(event = "stopping", "stopping");
        service::stopping();
        // Meanwhile new senders are told to come back later.
        if tokio::time::timeout(STOP_LIMIT, self.endpoint.shut_down()).await.is_err() {
            tracing::warn!(event = "stop-late", "some sessions did not end in time");
        }
        // The last lines reach their readers, here and there.
        close.raise();
        let finish = async {
            match self.stdout {
                Some(stdout) => stdout.finish(READER_LIMIT).await.context("cannot write results to stdout"),
                None => Ok(()),
            }
        };
        let (finished, served) = tokio::join!(finish, tokio::time::timeout(READER_LIMIT, server));
        match served {
            Ok(served) => served.context("the HTTP server failed")?,
            Err(_elapsed) => tracing::debug!("some answers were not taken in time"),
        }
        finished
    }
}

/// The socket of a service manager, else one of our own.
async fn listen(options: &Serve, inherited: Option<std::net::TcpListener>) -> Result<TcpListener> {
    if let Some(listener) = inherited {
        listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)).context("the socket is of no use")
    } else {
        TcpListener::bind(options.listen).await.with_context(|| {
            format!("cannot listen on {}; is another receiver running? --listen takes another port", options.listen)
        })
    }
}

/// The media port asked for, or the usual one; only the latter may give way.
fn media_port(asked: Option<u16>) -> Result<Port> {
    let number = asked.unwrap_or(port::DEFAULT);
    match Port::bind(number) {
        Err(error) if asked.is_none() && error.kind() == ErrorKind::AddrInUse => {
            let port = Port::bind(0).context("cannot have a UDP port for media")?;
            tracing::warn!(
                "UDP port {number} is taken, perhaps by another receiver: media come to port {}; --media-port chooses",
                port.number()
            );
            Ok(port)
        }
        bound => bound.with_context(|| {
            format!(
                "cannot have UDP port {number} for media; is another receiver running? --media-port takes another port, 0 any that is free"
            )
        }),
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
