//! Which of a machine's addresses the other side is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// More addresses than a machine has in earnest would only make connecting slower.
const LIMIT: usize = 32;

/// What is offered of the addresses `found` on interfaces: loopback first, then what others can reach.
///
/// Loopback addresses are offered where they are found; 127.0.0.1 always, since every machine has it.
pub fn offered(found: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut offered = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let mut found: Vec<IpAddr> = found.filter(is_usable).collect();
    found.sort_by_key(|ip| *ip != IpAddr::V6(Ipv6Addr::LOCALHOST));
    for ip in found {
        if !offered.contains(&ip) && offered.len() < LIMIT {
            offered.push(ip);
        }
    }
    offered
}

/// Link-local addresses mean nothing without the name of an interface, and other loopback addresses than the
/// usual have their own purposes.
fn is_usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_comes_first_and_link_local_not_at_all() {
        let found = ["192.0.2.2", "fe80::1", "169.254.1.1", "2001:db8::1", "::1", "127.0.0.1", "192.0.2.2"];
        let offered = offered(found.iter().map(|ip| ip.parse().unwrap()));
        let expected: Vec<IpAddr> =
            ["127.0.0.1", "::1", "192.0.2.2", "2001:db8::1"].iter().map(|ip| ip.parse().unwrap()).collect();
        assert_eq!(offered, expected);
    }

    #[test]
    fn a_machine_without_interfaces_still_has_loopback() {
        assert_eq!(offered(std::iter::empty()), [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }

    #[test]
    fn the_number_is_bounded() {
        let many = (0..200).map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
        assert_eq!(offered(many).len(), LIMIT);
    }
}
