//! ICE candidates as SDP writes them (RFC 8839, 5.1).

use std::{fmt, net::IpAddr};

/// Candidates of one client that are used. Each costs connectivity checks to an address that only the client vouches
/// for; a machine with many interfaces has a dozen.
pub const MAX_CANDIDATES: usize = 32;
/// Those of them with one address: one for each section of an unbundled offer, and some for NATs. More would only have
/// many checks sent to somebody who never asked for them (RFC 8445, 19.5.1).
pub const MAX_OF_ADDRESS: usize = 8;

/// A candidate that checks can be sent to: UDP, with an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    foundation: String,
    priority: u32,
    address: IpAddr,
    port: u16,
    kind: &'static str,
}

impl Candidate {
    /// Reads what stands behind `candidate:`. `None` for one that cannot be used: another transport, a name in
    /// place of an address, or nothing that makes sense. Extensions are left out.
    pub fn parse(value: &str) -> Option<Self> {
        let words: Vec<&str> = value.split_ascii_whitespace().take(8).collect();
        // RTP and RTCP share one component.
        let [foundation, "1", transport, priority, address, port, "typ", kind] = words[..] else { return None };
        let is_foundation = (1..=32).contains(&foundation.len()) && foundation.bytes().all(is_ice_char);
        let address: IpAddr = address.parse().ok()?;
        let reachable = !address.is_unspecified() && !address.is_multicast() && address != BROADCAST;
        (is_foundation && transport.eq_ignore_ascii_case("udp") && reachable).then_some(())?;
        Some(Self {
            foundation: foundation.to_owned(),
            priority: priority.parse().ok()?,
            address,
            port: port.parse().ok().filter(|port| *port > 0)?,
            kind: KINDS.into_iter().find(|known| *known == kind)?,
        })
    }
}

/// Whether `new` is worth checks beside the candidates `known`.
pub fn is_welcome(new: &Candidate, known: &[Candidate]) -> bool {
    let of_address = known.iter().filter(|known| known.address == new.address).count();
    known.len() < MAX_CANDIDATES && of_address < MAX_OF_ADDRESS && !known.contains(new)
}

const KINDS: [&str; 4] = ["host", "srflx", "prflx", "relay"];
const BROADCAST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::BROADCAST);

/// As it stands behind `a=`.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { foundation, priority, address, port, kind } = self;
        write!(f, "candidate:{foundation} 1 udp {priority} {address} {port} typ {kind}")
    }
}

/// The alphabet of foundations, user name fragments and passwords.
pub(super) fn is_ice_char(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_keeps_what_checks_need() {
        let full = "1387637174 1 UDP 2122260223 192.0.2.1 61764 typ srflx raddr 10.0.0.1 rport 9 generation 0 ufrag a";
        let candidate = Candidate::parse(full).unwrap();
        assert_eq!(candidate.to_string(), "candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ srflx");
        assert!(Candidate::parse("1 1 udp 1 fd00::1 5000 typ host").is_some());
    }

    #[test]
    fn what_cannot_be_checked_is_no_candidate() {
        for value in [
            "",
            "1 1 udp 1 127.0.0.1 5000",
            "1 1 tcp 1 127.0.0.1 9 typ host tcptype active",
            "1 1 sctp 1 127.0.0.1 5000 typ host",
            "1 1 udp 1 0123abcd.local 5000 typ host",
            "1 2 udp 1 127.0.0.1 5000 typ host",
            "1 1 udp 1 0.0.0.0 5000 typ host",
            "1 1 udp 1 224.0.0.1 5000 typ host",
            "1 1 udp 1 127.0.0.1 0 typ host",
            "1 1 udp 1 127.0.0.1 70000 typ host",
            "1 1 udp 4294967296 127.0.0.1 5000 typ host",
            "1 1 udp 1 127.0.0.1 5000 typ guest",
            "a-b 1 udp 1 127.0.0.1 5000 typ host",
        ] {
            assert_eq!(Candidate::parse(value), None, "{value}");
        }
    }
}
