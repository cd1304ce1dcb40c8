//! The HTTP server: a loop over connections with a limit on everything a stranger could draw out.
//!
//! | what | limit | beyond it |
//! |---|---|---|
//! | connections, in all and from one address | [`Limits`] | see [`super::places`] |
//! | TLS handshake | [`HANDSHAKE_LIMIT`] | closed |
//! | a request's head, counted from the connection's start or the last answer | [`HEAD_LIMIT`], [`MAX_HEAD`], [`MAX_FIELDS`] | closed, or 431 |
//! | a request's body | `BODY_LIMIT`, `MAX_BODY` in [`super::doors`] | 408, 413 |
//! | what a reader has not taken | [`super::connection::STALL_LIMIT`] | closed |

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use cv_core::process::Stop;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use super::{
    connection::{Connection, STALL_LIMIT},
    counters::{HttpCounters, count},
    places::{Limits, Place, Places, Proof, Refusal},
};

/// How long a TLS handshake may take.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// How long a request's head may take, and with it how long a connection may be idle between two.
pub const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Bytes in a request's head.
pub const MAX_HEAD: usize = 16 << 10;
/// Header fields of a request.
pub const MAX_FIELDS: usize = 64;
/// Bytes that wait for a reader beside those in its socket and its outbox.
const MAX_BUFFER: usize = 64 << 10;
/// Pause after the system could not give a connection: at once it could not, either.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// After this long without a byte from a peer the system begins to ask whether it is still there.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);

/// The certificate in force; it may change.
pub type Certificate = watch::Receiver<Arc<ServerConfig>>;

/// A server with everything but its socket.
#[derive(Clone)]
pub struct Server {
    router: Router,
    certificate: Option<Certificate>,
    counters: Arc<HttpCounters>,
}

impl Server {
    /// Serves `router`, over TLS where there is a `certificate`.
    pub fn new(router: Router, certificate: Option<Certificate>, counters: Arc<HttpCounters>) -> Self {
        Self { router, certificate, counters }
    }

    /// Accepts connections from `listener` until `closing` is raised; then lets answers that have begun finish.
    pub async fn serve(self, listener: TcpListener, limits: Limits, mut closing: Stop) {
        let (places, emptied) = Places::new(limits);
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = closing.raised() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    failing = false;
                    self.admit(stream, peer, &places, &closing);
                }
                // The peer's doing, and only about its connection.
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    count(&self.counters.accept_errors);
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "cannot accept connections for now; is the limit of open files too low?");
                    }
                    // Whoever only waits may free what is wanting.
                    places.evict();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop((listener, places));
        emptied.wait().await;
    }

    /// Gives a connection its place and its task, or closes it.
    fn admit(&self, stream: TcpStream, peer: SocketAddr, places: &Places, closing: &Stop) {
        count(&self.counters.accepted);
        let (place, mut eviction) = match places.take(peer.ip()) {
            Ok(place) => place,
            Err(Refusal::Full) => return count(&self.counters.refused_full),
            Err(Refusal::AddressFull) => return count(&self.counters.refused_address),
        };
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "a connection broke before it began");
            return;
        }
        let caller = Caller::new(peer, &place);
        let (server, closing) = (self.clone(), closing.clone());
        tokio::spawn(async move {
            let counters = server.counters.clone();
            tokio::select! {
                () = server.handle(stream, place, caller, closing) => {}
                () = eviction.raised() => count(&counters.evicted),
            }
        });
    }

    /// A connection from its first byte to its last.
    async fn handle(self, stream: TcpStream, place: Place, caller: Caller, closing: Stop) {
        let stream = Connection::new(stream, STALL_LIMIT, place, self.counters.clone());
        let Some(certificate) = &self.certificate else { return self.converse(stream, caller, closing).await };
        let acceptor = TlsAcceptor::from(certificate.borrow().clone());
        match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Box::pin(self.converse(stream, caller, closing)).await,
            Ok(Err(error)) => {
                count(&self.counters.handshakes_failed);
                tracing::debug!(peer = %caller.address, %error, "a TLS handshake failed");
            }
            Err(_elapsed) => count(&self.counters.handshake_timeouts),
        }
    }

    /// Requests and answers over `stream`, one after the other, until `closing` is raised or the peer is done.
    pub async fn converse<S>(self, stream: S, caller: Caller, mut closing: Stop)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(caller.address));
            request.extensions_mut().insert(caller.proof.clone());
            router.clone().call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .max_header_size(MAX_HEAD)
            .max_headers(MAX_FIELDS)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = closing.raised() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        match served {
            Err(error) if error.is_timeout() => count(&self.counters.head_timeouts),
            // Clients come and go as they like.
            Err(error) => tracing::trace!(%error, "a connection ended"),
            Ok(()) => {}
        }
    }
}

/// Who is at the other end of a connection.
pub struct Caller {
    address: SocketAddr,
    proof: Proof,
}

impl Caller {
    /// A peer at `address` whose connection has `place`.
    pub fn new(address: SocketAddr, place: &Place) -> Self {
        Self { address, proof: place.proof() }
    }
}

/// Lines leave when they are made, and a peer that vanished is noticed where nothing is sent.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY))
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
