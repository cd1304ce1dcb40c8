//! The one UDP port of all connections.
//!
//! The library wants sockets of its own for each connection. It gets such that exist only here: what they send
//! leaves through the port, what comes in at the port is put into the inbox of the connection that it belongs to
//! ([`table`] knows which). A task for each address family reads, many datagrams at a time, and wakes each
//! connection at most once for them.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicU64},
    task::Waker,
    time::{Duration, Instant},
};

use cv_core::ice_server::IceServer;
use futures_util::future::join_all;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::task::JoinSet;
use webrtc::runtime::{BATCH_SIZE, RecvMeta};

use self::{
    common::CommonSocket,
    reflexive::Reflexive,
    relay::Relay,
    table::{Fate, Table},
};

pub use self::inlet::{Inlet, Places, Sockets};
use crate::metrics::METRICS;

mod candidates;
mod common;
mod inbox;
mod inlet;
mod reflexive;
mod relay;
mod stun;
mod table;

/// The port unless another one is asked for.
pub const DEFAULT: u16 = 8189;

/// Bytes that the system may keep while we are busy. Where it grants less, NACKs make up for it.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Room for one datagram of those that the system puts together into one read.
const SEGMENT: usize = 1500;
/// A pause after a failed read, so that a broken socket does not keep a processor busy.
const RECOVERY: Duration = Duration::from_millis(20);
/// How often a free port is looked for that is free for IPv4 and IPv6.
const ATTEMPTS: usize = 20;

/// The port. Cloning shares it; it closes with the last clone and the last connection.
#[derive(Clone)]
pub struct Port {
    shared: Arc<Shared>,
    /// Where peers elsewhere reach it.
    public: Arc<[IpAddr]>,
    /// Who gives each connection an address of its own.
    turn_servers: Arc<[IceServer]>,
    /// Nobody is told another address than such.
    relay_only: bool,
    /// Ended with the port.
    _asking: Arc<JoinSet<()>>,
}

/// Only relays may be used, and there is none.
#[derive(Debug, thiserror::Error)]
#[error("no TURN server gives this receiver an address (--relay-only); its log says why")]
pub struct NoRelay;

struct Shared {
    number: u16,
    v4: Arc<CommonSocket>,
    /// Missing on a machine without IPv6.
    v6: Option<Arc<CommonSocket>>,
    exchange: Arc<Exchange>,
    next_member: AtomicU64,
    /// Ended with the port.
    _readers: JoinSet<()>,
}

/// Where what comes in is sorted.
#[derive(Default)]
struct Exchange {
    /// Locked for one batch of datagrams or one look-up, hence a plain mutex.
    table: Mutex<Table>,
    reflexive: Arc<Reflexive>,
}

impl Port {
    /// Takes UDP port `number` on every address of this machine, any free one for 0. Needs the runtime.
    pub fn bind(number: u16) -> io::Result<Self> {
        let (v4, v6) = sockets(number)?;
        let number = v4.local_addr()?.port();
        let v4 = Arc::new(CommonSocket::new(v4)?);
        let v6 = v6.map(CommonSocket::new).transpose()?.map(Arc::new);
        let exchange = Arc::new(Exchange::default());
        let mut readers = JoinSet::new();
        for socket in [Some(&v4), v6.as_ref()].into_iter().flatten() {
            readers.spawn(read(socket.clone(), exchange.clone()));
        }
        let shared = Shared { number, v4, v6, exchange, next_member: AtomicU64::new(1), _readers: readers };
        Ok(Self {
            shared: Arc::new(shared),
            public: Arc::default(),
            turn_servers: Arc::default(),
            relay_only: false,
            _asking: Arc::default(),
        })
    }

    /// The port as it is known outside, where a NAT passes it on: answers name these addresses first.
    #[must_use]
    pub fn with_public(self, addresses: &[IpAddr]) -> Self {
        Self { public: addresses.into(), ..self }
    }

    /// The port with helpers: STUN servers are asked how they see it, TURN servers for an address for each connection.
    #[must_use]
    pub fn with_servers(self, servers: &[IceServer], relay_only: bool) -> Self {
        let (turn, stun): (Vec<_>, Vec<_>) = servers.iter().cloned().partition(|server| server.credentials.is_some());
        let mut asking = JoinSet::new();
        for server in stun.into_iter().filter(|_| !relay_only) {
            for (socket, v6) in [(Some(&self.shared.v4), false), (self.shared.v6.as_ref(), true)] {
                let Some(socket) = socket.cloned() else { continue };
                asking.spawn(reflexive::ask(server.clone(), socket, v6, self.shared.exchange.reflexive.clone()));
            }
        }
        Self { turn_servers: turn.into(), relay_only, _asking: Arc::new(asking), ..self }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.shared.number
    }

    /// A new connection's part of the port, with its addresses on TURN servers.
    ///
    /// # Errors
    /// If only those may be used, and no server gives one.
    pub async fn inlet(&self) -> Result<Inlet, NoRelay> {
        let asked = self.turn_servers.iter().filter_map(|server| {
            let credentials = server.credentials.as_ref()?;
            Some(async move {
                let allocated = Relay::allocate(server, credentials).await;
                let failed = |error| {
                    let server = server.url();
                    tracing::warn!(event = "turn-failed", %server, %error, "no address on {server}: {error}");
                };
                allocated.map_err(failed).ok()
            })
        });
        let relays: Vec<Relay> = join_all(asked).await.into_iter().flatten().collect();
        if self.relay_only && relays.is_empty() {
            return Err(NoRelay);
        }
        Ok(Inlet::new(self.clone(), relays))
    }

    fn socket(&self, local: IpAddr) -> Option<&Arc<CommonSocket>> {
        if local.is_ipv4() { Some(&self.shared.v4) } else { self.shared.v6.as_ref() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.exchange.table()
    }
}

/// The sockets for both families on one port. `AddrInUse` if one is taken.
fn sockets(number: u16) -> io::Result<(UdpSocket, Option<UdpSocket>)> {
    let mut attempts = if number == 0 { ATTEMPTS } else { 1 };
    loop {
        let v4 = socket((Ipv4Addr::UNSPECIFIED, number).into())?;
        let same = v4.local_addr()?.port();
        attempts -= 1;
        match socket((Ipv6Addr::UNSPECIFIED, same).into()) {
            Ok(v6) => return Ok((v4, Some(v6))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if attempts == 0 {
                    return Err(error);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "no IPv6 here");
                return Ok((v4, None));
            }
        }
    }
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    if let Err(error) = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER) {
        tracing::debug!(%error, "the media port keeps its receive buffer");
    }
    Ok(socket.into())
}

/// Reads until it is aborted.
async fn read(socket: Arc<CommonSocket>, exchange: Arc<Exchange>) {
    let room = SEGMENT * socket.max_gro_segments().max(2);
    let mut memory = vec![0; room * BATCH_SIZE];
    let mut meta = [RecvMeta::default(); BATCH_SIZE];
    let mut readers = Vec::new();
    loop {
        let received = std::future::poll_fn(|cx| {
            let mut rooms = memory.chunks_exact_mut(room);
            let mut bufs: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()));
            socket.poll_recv(cx, &mut bufs, &mut meta)
        });
        match received.await {
            Ok(count) => {
                exchange.sort(memory.chunks_exact(room).zip(&meta[..count]), &mut readers);
                readers.drain(..).for_each(Waker::wake);
                if count == BATCH_SIZE {
                    // There is more, but whoever was woken has a turn first.
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "reading from the media port");
                tokio::time::sleep(RECOVERY).await;
            }
        }
    }
}

impl Exchange {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nobody panics while holding it")
    }

    /// Delivers a batch; `readers` are to be woken.
    fn sort<'a>(&self, batch: impl Iterator<Item = (&'a [u8], &'a RecvMeta)>, readers: &mut Vec<Waker>) {
        let (now, dropped) = (Instant::now(), &METRICS.dropped_datagrams);
        let mut table = self.table();
        for (memory, meta) in batch {
            // The system puts datagrams of one sender together; each is looked at by itself.
            for datagram in memory[..meta.len.min(memory.len())].chunks(meta.stride.max(1)) {
                // First of all, so that nobody takes a STUN server's address for his own.
                if reflexive::is_answer(datagram) && self.reflexive.hear(datagram, meta.addr) {
                    continue;
                }
                match table.deliver(datagram, meta.addr, meta.dst_ip, now) {
                    Fate::Delivered(reader) => readers.extend(reader),
                    Fate::Full => dropped.overflow.add(1),
                    Fate::Unknown => dropped.unknown.add(1),
                    Fate::Refused => dropped.refused.add(1),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rtc::stun::{
        message::{BINDING_SUCCESS, Message},
        xoraddr::XorMappedAddress,
    };
    use tokio::net::UdpSocket as Server;

    use super::*;

    /// Answers one STUN request as if it came from `outside`.
    async fn tell(server: &Server, outside: SocketAddr) {
        let mut buf = [0; 512];
        let (length, from) = server.recv_from(&mut buf).await.unwrap();
        let mut asked = Message { raw: buf[..length].to_vec(), ..Message::default() };
        asked.decode().unwrap();
        let mapped = XorMappedAddress { ip: outside.ip(), port: outside.port() };
        let mut answer = Message::new();
        answer.build(&[Box::new(asked.transaction_id), Box::new(BINDING_SUCCESS), Box::new(mapped)]).unwrap();
        server.send_to(&answer.raw, from).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_stun_server_says_of_the_port_stands_in_answers() {
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("stun:{}", server.local_addr().unwrap());
        let port = Port::bind(0).unwrap().with_servers(&[url.parse().unwrap()], false);
        let inlet = port.inlet().await.unwrap();
        tell(&server, ([203, 0, 113, 7], 40_000).into()).await;
        let answer = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\na=candidate:1 1 udp 1 127.0.0.1 40000 typ host\r\n";
        let told = async {
            while !inlet.publish(answer).contains(" 203.0.113.7 40000 typ srflx ") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), told).await.unwrap();
    }
}
