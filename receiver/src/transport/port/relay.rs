//! One connection's address on a TURN server (RFC 8656).
//!
//! The library has a TURN client of its own, but would use it below the cures of [`super::super::socket`] and for
//! addresses that exist only here. So a relayed address is one more local address to it, with a socket that talks
//! with a task, which has the only real socket and ends with it.

use std::{
    collections::HashMap,
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use cv_core::ice_server::{Credentials, IceServer};
use rtc::{
    sansio::Protocol,
    shared::{TransportContext, TransportMessage, TransportProtocol, error::Error as TurnError},
    turn::client::{Client, ClientConfig, Event},
};
use tokio::{net::UdpSocket, sync::mpsc};
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::{
    inbox::{Inbox, Pushed},
    inlet::READ_SEGMENTS,
};
use crate::metrics::METRICS;

/// How long a server may take to give an address: an answer waits for it.
const ALLOCATION_LIMIT: Duration = Duration::from_secs(2);
/// Datagrams on their way to the task that sends them; more are dropped, as a full socket would.
const OUTGOING: usize = 512;
/// The largest datagram a relay passes on, with its framing.
const DATAGRAM: usize = 2048;
/// Peers that a connection talks with through a relay at most; it has as many candidates, and those behind NATs.
const PEERS: usize = 64;
/// How often the server is asked to let the same peer through, as long as it does not.
const PERMISSION_PAUSE: Duration = Duration::from_millis(500);
/// Timers of the client that lie in the past are not run more often.
const TICK: Duration = Duration::from_millis(5);

/// An address on a TURN server. It is given back when this and its socket are gone.
pub(super) struct Relay {
    /// Where peers reach it.
    pub(super) address: SocketAddr,
    /// Address of this machine that stands for it in the library.
    pub(super) placeholder: SocketAddr,
    inbox: Arc<Inbox>,
    outgoing: mpsc::Sender<Outgoing>,
}

type Outgoing = (Bytes, SocketAddr);

/// Why a server gives no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Turn(#[from] TurnError),
    #[error("it has no address that this machine can reach")]
    Unresolved,
    #[error("it refuses: {0}")]
    Refused(TurnError),
    #[error("it does not answer")]
    Silent,
}

impl Relay {
    /// Asks `server` for an address.
    pub(super) async fn allocate(server: &IceServer, credentials: &Credentials) -> Result<Self, RelayError> {
        let asked = async {
            let mut allocation = Allocation::open(server, credentials).await?;
            let address = allocation.ask().await?;
            Ok((allocation, address))
        };
        let (allocation, address) =
            tokio::time::timeout(ALLOCATION_LIMIT, asked).await.unwrap_or(Err(RelayError::Silent))?;
        let placeholder = free_loopback()?;
        let inbox = Arc::new(Inbox::default());
        inbox.open(placeholder.ip());
        let (outgoing, queue) = mpsc::channel(OUTGOING);
        tokio::spawn(allocation.run(address, inbox.clone(), queue));
        Ok(Self { address, placeholder, inbox, outgoing })
    }

    /// The socket for the library.
    pub(super) fn socket(&self) -> RelaySocket {
        RelaySocket { placeholder: self.placeholder, inbox: self.inbox.clone(), outgoing: self.outgoing.clone() }
    }
}

/// A loopback address with a port that is free: the library wants to bind one, and to have each but once.
fn free_loopback() -> io::Result<SocketAddr> {
    StdSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The conversation with a server.
struct Allocation {
    client: Client,
    socket: UdpSocket,
    server: SocketAddr,
    /// When the server was asked last to let a peer through.
    asked: HashMap<SocketAddr, Instant>,
}

impl Allocation {
    async fn open(server: &IceServer, credentials: &Credentials) -> Result<Self, RelayError> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((server.host.as_str(), server.port)).await?.collect();
        // Relayed addresses are for IPv4 unless asked otherwise, so a server's IPv4 address comes first.
        let server =
            found.iter().find(|found| found.is_ipv4()).or(found.first()).copied().ok_or(RelayError::Unresolved)?;
        let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
        // Nobody else gets through to it.
        socket.connect(server).await?;
        let config = ClientConfig {
            turn_serv_addr: server.to_string(),
            local_addr: socket.local_addr()?,
            transport_protocol: TransportProtocol::UDP,
            username: credentials.username.clone(),
            password: credentials.password.clone(),
            ..ClientConfig::default()
        };
        let provider = rtc::crypto::default_provider().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self { client: Client::new(config, provider)?, socket, server, asked: HashMap::new() })
    }

    /// The address that the server gives.
    async fn ask(&mut self) -> Result<SocketAddr, RelayError> {
        let transaction = self.client.allocate(Instant::now())?;
        let mut buf = vec![0; DATAGRAM];
        loop {
            while let Some(event) = self.client.poll_event() {
                match event {
                    Event::AllocateResponse(id, address) if id == transaction => return Ok(address),
                    Event::AllocateError(id, error) if id == transaction => return Err(RelayError::Refused(error)),
                    Event::TransactionTimeout(_) => return Err(RelayError::Silent),
                    _ => {}
                }
            }
            self.flush().await;
            let deadline = self.deadline();
            tokio::select! {
                received = self.socket.recv(&mut buf) => self.hear(&buf[..received?])?,
                () = tokio::time::sleep_until(deadline) => self.client.handle_timeout(Instant::now())?,
            }
        }
    }

    /// Passes on what comes and goes until nobody sends any more, then gives the address back.
    async fn run(mut self, address: SocketAddr, inbox: Arc<Inbox>, mut queue: mpsc::Receiver<Outgoing>) {
        let mut buf = vec![0; DATAGRAM];
        loop {
            self.deliver(&inbox);
            self.flush().await;
            let deadline = self.deadline();
            let done = tokio::select! {
                received = self.socket.recv(&mut buf) => match received {
                    Ok(length) => self.hear(&buf[..length]),
                    // The server is gone, as far as its machine tells; it may come back.
                    Err(_unreachable) => {
                        tokio::time::sleep(TICK).await;
                        Ok(())
                    }
                },
                outgoing = queue.recv() => match outgoing {
                    Some((datagram, peer)) => self.send(address, &datagram, peer),
                    None => break,
                },
                () = tokio::time::sleep_until(deadline) => self.client.handle_timeout(Instant::now()),
            };
            if let Err(error) = done {
                tracing::debug!(%error, "at a relay");
            }
        }
        if let Ok(mut relay) = self.client.relay(address) {
            relay.close(Instant::now()).ok();
        }
        self.flush().await;
    }

    fn hear(&mut self, datagram: &[u8]) -> Result<(), TurnError> {
        let (local_addr, peer_addr) = (self.socket.local_addr()?, self.server);
        let transport =
            TransportContext { local_addr, peer_addr, transport_protocol: TransportProtocol::UDP, ecn: None };
        self.client.handle_read(TransportMessage { now: Instant::now(), transport, message: BytesMut::from(datagram) })
    }

    /// A peer has to be permitted first; whatever is said to it before is lost, and said again.
    fn send(&mut self, address: SocketAddr, datagram: &[u8], peer: SocketAddr) -> Result<(), TurnError> {
        if !self.may_reach(peer) {
            return Ok(());
        }
        let now = Instant::now();
        let mut relay = self.client.relay(address)?;
        match relay.send_to(now, datagram, peer) {
            Err(TurnError::ErrNoPermission) if is_due(&mut self.asked, peer, now) => {
                relay.create_permission(now, peer).map(drop)
            }
            Err(TurnError::ErrNoPermission) => Ok(()),
            sent => sent,
        }
    }

    /// Peers choose their addresses; those that only mean something to the server's own machine are none of theirs,
    /// unless that is ours, too.
    fn may_reach(&self, peer: SocketAddr) -> bool {
        let IpAddr::V4(ip) = peer.ip() else { return false };
        let elsewhere = !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast() && !ip.is_link_local();
        peer.port() != 0 && elsewhere && (!ip.is_loopback() || self.server.ip().is_loopback())
    }

    /// Puts what peers sent into the inbox.
    fn deliver(&mut self, inbox: &Inbox) {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::DataIndicationOrChannelData(_, peer, datagram) => match inbox.push(&datagram, peer, None) {
                    Pushed::Kept(reader) => reader.into_iter().for_each(std::task::Waker::wake),
                    Pushed::Full => METRICS.dropped_datagrams.overflow.add(1),
                    Pushed::Elsewhere => METRICS.dropped_datagrams.unknown.add(1),
                },
                Event::CreatePermissionError(_, error) => tracing::debug!(%error, "the relay does not let a peer in"),
                _ => {}
            }
        }
    }

    async fn flush(&mut self) {
        while let Some(message) = self.client.poll_write() {
            if let Err(error) = self.socket.send(&message.message).await {
                tracing::trace!(%error, "to a relay");
            }
        }
    }

    fn deadline(&mut self) -> tokio::time::Instant {
        let earliest = Instant::now() + TICK;
        // Without a timer there still is no harm in a look.
        self.client.poll_timeout().unwrap_or(earliest + Duration::from_secs(60)).max(earliest).into()
    }
}

/// Whether the server may be asked again to let `peer` through.
fn is_due(asked: &mut HashMap<SocketAddr, Instant>, peer: SocketAddr, now: Instant) -> bool {
    if asked.len() >= PEERS && !asked.contains_key(&peer) {
        return false;
    }
    let before = asked.get(&peer).copied();
    let due = before.is_none_or(|before| now.saturating_duration_since(before) >= PERMISSION_PAUSE);
    if due {
        asked.insert(peer, now);
    }
    due
}

/// A relayed address as the library sees it.
pub(super) struct RelaySocket {
    placeholder: SocketAddr,
    inbox: Arc<Inbox>,
    outgoing: mpsc::Sender<Outgoing>,
}

impl AsyncUdpSocket for RelaySocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.placeholder)
    }

    fn max_gso_segments(&self) -> usize {
        1
    }

    fn max_gro_segments(&self) -> usize {
        READ_SEGMENTS
    }

    fn poll_send(&self, _cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let datagram = Bytes::copy_from_slice(transmit.contents);
        Poll::Ready(match self.outgoing.try_send((datagram, transmit.destination)) {
            Ok(()) => Ok(transmit.contents.len()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                METRICS.dropped_datagrams.relay.add(1);
                Ok(transmit.contents.len())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(io::ErrorKind::HostUnreachable.into()),
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else { return Poll::Ready(Ok(0)) };
        *meta = ready!(self.inbox.poll(self.placeholder.ip(), cx, buf));
        Poll::Ready(Ok(1))
    }
}

impl fmt::Debug for RelaySocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelaySocket").field("placeholder", &self.placeholder).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_not_asked_for_the_same_peer_all_the_time_nor_for_any_number_of_them() {
        let (mut asked, now) = (HashMap::new(), Instant::now());
        let peer = |number: u16| SocketAddr::from(([192, 0, 2, 1], number));
        assert!(is_due(&mut asked, peer(1), now));
        assert!(!is_due(&mut asked, peer(1), now + PERMISSION_PAUSE / 2));
        assert!(is_due(&mut asked, peer(1), now + PERMISSION_PAUSE));
        let due = (2..1000).filter(|number| is_due(&mut asked, peer(*number), now)).count();
        assert_eq!((due, asked.len()), (PEERS - 1, PEERS));
    }
}
