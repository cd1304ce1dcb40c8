//! The addresses in an answer: what the library knows of is replaced by where the port really is.

use std::{fmt::Write, net::SocketAddr};

/// Type preferences of RFC 8445, 5.1.2.2.
const HOST_PREFERENCE: u32 = 126;

/// What peers authenticate with: the first username fragment and password of `sdp`.
pub(super) fn credentials(sdp: &str) -> Option<(&str, &str)> {
    let value = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_end);
    Some((value("a=ice-ufrag:")?, value("a=ice-pwd:")?))
}

/// `sdp` with `hosts` in place of the host candidates that the library wrote. Other candidates stay.
pub(super) fn rewrite(sdp: &str, hosts: &[SocketAddr]) -> String {
    let mut rewritten = String::with_capacity(sdp.len() + 100 * hosts.len());
    let mut written = false;
    for line in sdp.lines() {
        // All sections share one transport, so once in a section is enough.
        written &= !line.starts_with("m=");
        if !is_host(line) {
            rewritten += line;
            rewritten += "\r\n";
        } else if !std::mem::replace(&mut written, true) {
            hosts.iter().enumerate().for_each(|(number, address)| push(&mut rewritten, number, *address));
        }
    }
    rewritten
}

fn is_host(line: &str) -> bool {
    line.starts_with("a=candidate:") && line.split_once(" typ ").is_some_and(|(_, kind)| kind.starts_with("host"))
}

/// One candidate line (RFC 8839, 5.1); the first is preferred.
fn push(sdp: &mut String, number: usize, address: SocketAddr) {
    let preference = 65_535 - number as u32;
    let priority = HOST_PREFERENCE << 24 | preference << 8 | 255;
    let (ip, port) = (address.ip(), address.port());
    writeln!(sdp, "a=candidate:{} 1 udp {priority} {ip} {port} typ host\r", number + 1).expect("text takes text");
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
        a=candidate:3 1 udp 16777215 198.51.100.1 50000 typ relay raddr 192.0.2.2 rport 40003\r\n\
        a=end-of-candidates\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
        a=ice-ufrag:frag\r\n";

    #[test]
    fn host_candidates_are_replaced_and_others_stay() {
        let hosts = ["203.0.113.7:8189".parse().unwrap(), "[2001:db8::1]:8189".parse().unwrap()];
        let rewritten = rewrite(ANSWER, &hosts);
        let candidates: Vec<&str> = rewritten.lines().filter(|line| line.starts_with("a=candidate:")).collect();
        assert_eq!(
            candidates,
            [
                "a=candidate:1 1 udp 2130706431 203.0.113.7 8189 typ host",
                "a=candidate:2 1 udp 2130706175 2001:db8::1 8189 typ host",
                "a=candidate:3 1 udp 16777215 198.51.100.1 50000 typ relay raddr 192.0.2.2 rport 40003",
            ]
        );
        let others =
            |sdp: &str| -> Vec<String> { sdp.split("\r\n").filter(|line| !is_host(line)).map(str::to_owned).collect() };
        assert_eq!(others(&rewritten).len(), others(ANSWER).len());
        assert_eq!(rewritten.matches("\r\n").count(), rewritten.lines().count());
    }

    #[test]
    fn credentials_are_found() {
        assert_eq!(credentials(ANSWER), Some(("frag", "word")));
        assert_eq!(credentials("v=0\r\n"), None);
    }
}
