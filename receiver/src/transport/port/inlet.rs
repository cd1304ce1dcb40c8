//! A connection's part of the port, and the sockets that the library takes for its own.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    vec,
};

use cv_core::interface;
use rtc::shared::ifaces::ifaces;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use super::{
    Port,
    candidates::{self, Candidate, Kind},
    common::CommonSocket,
    inbox::Inbox,
    relay::Relay,
    table::Member,
};

/// Segments that one read may consist of, as far as the library knows: datagrams come one by one, but this sizes
/// its buffers, and a jumbo frame must fit.
pub(super) const READ_SEGMENTS: usize = 6;

/// A connection's part of the port. Dropping it ends all that leads to the connection.
pub struct Inlet {
    port: Port,
    member: Member,
    inbox: Arc<Inbox>,
    /// Its addresses on TURN servers.
    relays: Arc<[Relay]>,
}

impl Inlet {
    pub(super) fn new(port: Port, relays: Vec<Relay>) -> Self {
        let member = port.shared.next_member.fetch_add(1, Ordering::Relaxed);
        let inbox = Arc::new(Inbox::default());
        port.table().enter(member, inbox.clone());
        Self { port, member, inbox, relays: relays.into() }
    }

    /// Makes the sockets for the library.
    pub fn sockets(&self) -> Sockets {
        Sockets { port: self.port.clone(), inbox: self.inbox.clone(), relays: self.relays.clone() }
    }

    /// Where the library is to bind sockets.
    pub fn places(&self) -> Places {
        let relays = self.relays.iter().map(|relay| relay.placeholder).collect();
        Places { relays, relays_only: self.port.relay_only, v6: self.port.shared.v6.is_some() }
    }

    /// Lets those in who hold `answer`, and gives the answer with the port's addresses. To be called for every
    /// answer, also that of an ICE restart, before it is sent.
    pub fn publish(&self, answer: &str) -> String {
        if let Some((ufrag, password)) = candidates::credentials(answer) {
            self.port.table().admit(self.member, ufrag, password);
        }
        candidates::rewrite(answer, &self.ways())
    }

    /// All that leads to the connection, each once.
    fn ways(&self) -> Vec<Candidate> {
        let (port, locals) = (&self.port, self.inbox.locals());
        let direct = !port.relay_only;
        let hosts = port.public.iter().chain(&locals).filter(|_| direct);
        let hosts = hosts.map(|ip| (SocketAddr::new(*ip, port.number()), Kind::Host));
        let reflexive = if direct { port.shared.exchange.reflexive.addresses() } else { Vec::new() };
        let reflexive = reflexive.into_iter().map(|address| (address, Kind::Reflexive));
        let relayed = self.relays.iter().map(|relay| (relay.address, Kind::Relayed));
        let mut ways: Vec<Candidate> = Vec::new();
        for (address, kind) in hosts.chain(reflexive).chain(relayed) {
            if !ways.iter().any(|known| known.address == address) {
                ways.push(Candidate { address, kind });
            }
        }
        ways
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.port.table().leave(self.member);
        let dropped = self.inbox.dropped();
        if dropped > 0 {
            tracing::debug!(dropped, "datagrams came faster than the connection read them");
        }
    }
}

/// Makes sockets on the port.
#[derive(Clone)]
pub struct Sockets {
    port: Port,
    inbox: Arc<Inbox>,
    relays: Arc<[Relay]>,
}

impl Sockets {
    /// The socket that stands for `placeholder`, an address of this machine.
    pub(in super::super) fn open(&self, placeholder: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        if let Some(relay) = self.relays.iter().find(|relay| relay.placeholder == placeholder) {
            return Ok(Arc::new(relay.socket()));
        }
        let local = placeholder.ip();
        let common = self.port.socket(local).ok_or(io::ErrorKind::AddrNotAvailable)?.clone();
        self.inbox.open(local);
        Ok(Arc::new(VirtualSocket { placeholder, common, inbox: self.inbox.clone() }))
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets").field("port", &self.port.number()).finish_non_exhaustive()
    }
}

/// The addresses that the library is to bind: those of this machine's interfaces that mean something elsewhere, and
/// those that stand for relays.
pub struct Places {
    relays: Vec<SocketAddr>,
    relays_only: bool,
    /// Whether the port is there for IPv6.
    v6: bool,
}

impl ToSocketAddrs for Places {
    type Iter = vec::IntoIter<SocketAddr>;

    /// Looked up anew for each connection: a network may have changed.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let mut places = self.relays.clone();
        if !self.relays_only {
            let found = ifaces().unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot list the network interfaces; only this machine will be reached");
                Vec::new()
            });
            let found = found.iter().filter_map(|interface| interface.addr.as_ref()).map(SocketAddr::ip);
            let offered = interface::offered(found).into_iter().filter(|ip| ip.is_ipv4() || self.v6);
            places.extend(offered.map(|ip| SocketAddr::new(ip, 0)));
        }
        Ok(places.into_iter())
    }
}

/// One local address of one connection.
#[derive(Debug)]
struct VirtualSocket {
    /// What the library bound and we closed: its address is the socket's name there.
    placeholder: SocketAddr,
    common: Arc<CommonSocket>,
    inbox: Arc<Inbox>,
}

impl VirtualSocket {
    /// Whether the system would send from here to `destination`. Peers choose destinations, and for an impossible
    /// one the system's answer would switch off segmentation for all who share the socket.
    fn reaches(&self, destination: SocketAddr) -> bool {
        let (local, ip) = (self.placeholder.ip(), destination.ip());
        let sendable = match ip {
            IpAddr::V4(ip) => !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
        };
        let here = || ip.is_loopback() || self.inbox.locals().contains(&ip);
        local.is_ipv4() == ip.is_ipv4()
            && destination.port() != 0
            && sendable
            && !ip.is_unspecified()
            && !ip.is_multicast()
            && (!local.is_loopback() || here())
    }
}

impl AsyncUdpSocket for VirtualSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.placeholder)
    }

    fn max_gso_segments(&self) -> usize {
        self.common.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        READ_SEGMENTS
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        if !self.reaches(transmit.destination) {
            return Poll::Ready(Err(io::ErrorKind::HostUnreachable.into()));
        }
        let transmit = Transmit { src_ip: Some(self.placeholder.ip()), ..transmit.clone() };
        self.common.poll_send(cx, &transmit)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_sent_to_where_the_system_would_refuse() {
        let port = Port::bind(0).unwrap();
        let inlet = port.inlet().await.unwrap();
        let reaches = |local: &str, destination: &str| {
            let placeholder = SocketAddr::new(local.parse().unwrap(), 1);
            let common = port.socket([127, 0, 0, 1].into()).unwrap().clone();
            inlet.inbox.open(placeholder.ip());
            VirtualSocket { placeholder, common, inbox: inlet.inbox.clone() }.reaches(destination.parse().unwrap())
        };
        assert!(reaches("192.0.2.1", "198.51.100.1:5"));
        assert!(reaches("2001:db8::1", "[2001:db8::2]:5"));
        assert!(reaches("127.0.0.1", "127.0.0.1:5"));
        assert!(reaches("127.0.0.1", "192.0.2.1:5"), "an address of this machine");
        for (local, destination) in [
            ("127.0.0.1", "198.51.100.1:5"),
            ("::1", "[2001:db8::2]:5"),
            ("192.0.2.1", "198.51.100.1:0"),
            ("192.0.2.1", "0.0.0.0:5"),
            ("192.0.2.1", "224.0.0.1:5"),
            ("192.0.2.1", "255.255.255.255:5"),
            ("192.0.2.1", "[2001:db8::2]:5"),
            ("2001:db8::1", "[fe80::1]:5"),
            ("2001:db8::1", "[ff02::1]:5"),
            ("2001:db8::1", "[::]:5"),
        ] {
            assert!(!reaches(local, destination), "{local} to {destination}");
        }
    }

    #[tokio::test]
    async fn an_answer_gets_the_port_and_its_bearer_gets_in() {
        let port = Port::bind(0).unwrap().with_public(&[[203, 0, 113, 7].into()]);
        let inlet = port.inlet().await.unwrap();
        inlet.sockets().open(([127, 0, 0, 1], 40_000).into()).unwrap();
        let answer = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\na=ice-ufrag:frag\r\na=ice-pwd:word\r\n\
            a=candidate:1 1 udp 1 127.0.0.1 40000 typ host\r\n";
        let published = inlet.publish(answer);
        for ip in ["203.0.113.7", "127.0.0.1"] {
            assert!(published.contains(&format!(" {ip} {} typ host", port.number())), "{published}");
        }
        assert!(!published.contains("40000"), "{published}");
        drop(inlet);
        let request = super::super::stun::tests::request("frag:peer", "word");
        let fate = port.table().deliver(&request, ([127, 0, 0, 1], 9).into(), None, std::time::Instant::now());
        assert!(matches!(fate, super::super::table::Fate::Unknown), "nobody gets in after the end");
    }
}
