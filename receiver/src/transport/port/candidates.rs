//! The addresses in an answer: what the library knows of is replaced by where the port really is.

use std::{fmt::Write, net::SocketAddr};

/// A way to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) address: SocketAddr,
    pub(super) kind: Kind,
}

/// What kind of way it is (RFC 8445, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An address of this machine, or one that a NAT passes on to it for good.
    Host,
    /// How a STUN server sees the port.
    Reflexive,
    /// An address of a TURN server.
    Relayed,
}

impl Kind {
    /// Type preferences of RFC 8445, 5.1.2.2.
    fn preference(self) -> u32 {
        match self {
            Self::Host => 126,
            Self::Reflexive => 100,
            Self::Relayed => 0,
        }
    }

    /// As SDP has it; where a candidate is related to another address, that one is nobody's business
    /// (RFC 8839, 5.1).
    fn sdp(self) -> &'static str {
        match self {
            Self::Host => "typ host",
            Self::Reflexive => "typ srflx raddr 0.0.0.0 rport 9",
            Self::Relayed => "typ relay raddr 0.0.0.0 rport 9",
        }
    }
}

/// What peers authenticate with: the first username fragment and password of `sdp`.
pub(super) fn credentials(sdp: &str) -> Option<(&str, &str)> {
    let value = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_end);
    Some((value("a=ice-ufrag:")?, value("a=ice-pwd:")?))
}

/// `sdp` with `ways` in place of the candidates that the library wrote.
pub(super) fn rewrite(sdp: &str, ways: &[Candidate]) -> String {
    let mut rewritten = String::with_capacity(sdp.len() + 100 * ways.len());
    let mut written = false;
    for line in sdp.lines() {
        // All sections share one transport, so once in a section is enough.
        written &= !line.starts_with("m=");
        if !line.starts_with("a=candidate:") {
            rewritten += line;
            rewritten += "\r\n";
        } else if !std::mem::replace(&mut written, true) {
            ways.iter().enumerate().for_each(|(number, way)| push(&mut rewritten, number, *way));
        }
    }
    rewritten
}

/// One candidate line (RFC 8839, 5.1); the first of a kind is preferred.
fn push(sdp: &mut String, number: usize, Candidate { address, kind }: Candidate) {
    let preference = 65_535 - number as u32;
    let priority = kind.preference() << 24 | preference << 8 | 255;
    let (ip, port, kind) = (address.ip(), address.port(), kind.sdp());
    writeln!(sdp, "a=candidate:{} 1 udp {priority} {ip} {port} {kind}\r", number + 1).expect("text takes text");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102\r\n\
        a=ice-ufrag:frag\r\n\
        a=ice-pwd:word\r\n\
        a=candidate:1 1 udp 2130706431 127.0.0.1 40001 typ host\r\n\
        a=candidate:2 1 udp 2130706431 192.0.2.2 40002 typ host generation 0\r\n\
        a=end-of-candidates\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
        a=ice-ufrag:frag\r\n";

    #[test]
    fn the_ways_that_there_are_take_the_place_of_the_librarys() {
        let ways = [
            ("203.0.113.7:8189", Kind::Host),
            ("[2001:db8::1]:8189", Kind::Host),
            ("203.0.113.9:1025", Kind::Reflexive),
            ("198.51.100.1:50000", Kind::Relayed),
        ];
        let rewritten =
            rewrite(ANSWER, &ways.map(|(address, kind)| Candidate { address: address.parse().unwrap(), kind }));
        let candidates: Vec<&str> = rewritten.lines().filter(|line| line.starts_with("a=candidate:")).collect();
        assert_eq!(
            candidates,
            [
                "a=candidate:1 1 udp 2130706431 203.0.113.7 8189 typ host",
                "a=candidate:2 1 udp 2130706175 2001:db8::1 8189 typ host",
                "a=candidate:3 1 udp 1694498303 203.0.113.9 1025 typ srflx raddr 0.0.0.0 rport 9",
                "a=candidate:4 1 udp 16776447 198.51.100.1 50000 typ relay raddr 0.0.0.0 rport 9",
            ]
        );
        let others = |sdp: &str| sdp.lines().filter(|line| !line.starts_with("a=candidate:")).count();
        assert_eq!(others(&rewritten), others(ANSWER));
        assert_eq!(rewritten.matches("\r\n").count(), rewritten.lines().count());
    }

    #[test]
    fn credentials_are_found() {
        assert_eq!(credentials(ANSWER), Some(("frag", "word")));
        assert_eq!(credentials("v=0\r\n"), None);
    }
}
