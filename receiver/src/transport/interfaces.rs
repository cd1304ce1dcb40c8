//! Where sockets for media are bound.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    vec,
};

use cv_core::interface;
use rtc::shared::ifaces::ifaces;

/// Loopback, for senders on this machine, and every address of its interfaces that means something elsewhere, on ports
/// that the system chooses. Looked up anew whenever sockets are bound: a network may have changed.
pub(super) struct Everywhere;

impl ToSocketAddrs for Everywhere {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let found = ifaces().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot list the network interfaces; only this machine will be reached");
            Vec::new()
        });
        let found = found.iter().filter_map(|interface| interface.addr.as_ref()).map(SocketAddr::ip);
        let offered: Vec<_> = interface::offered(found).into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
        Ok(offered.into_iter())
    }
}
