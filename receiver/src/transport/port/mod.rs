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

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::task::JoinSet;
use webrtc::runtime::{BATCH_SIZE, RecvMeta};

use self::{
    common::CommonSocket,
    table::{Fate, Table},
};

pub use self::inlet::{Inlet, Sockets};
use crate::metrics::METRICS;

mod candidates;
mod common;
mod inbox;
mod inlet;
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
}

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
        Ok(Self { shared: Arc::new(shared), public: Arc::default() })
    }

    /// The port as it is known outside, where a NAT passes it on: answers name these addresses first.
    #[must_use]
    pub fn with_public(self, addresses: &[IpAddr]) -> Self {
        Self { public: addresses.into(), ..self }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.shared.number
    }

    /// A new connection's part of the port.
    pub fn inlet(&self) -> Inlet {
        Inlet::new(self.clone())
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
