//! What an SDP offer asks for, and whether it can be answered as a whole.
//!
//! The WebRTC library refuses nothing by itself: an offer without usable video would get an answer
//! and then silence. So every offer is read here first (RFC 9725, 4.2 and 4.4; RFC 8866).

/// An offer that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The SDP as it goes to the library, with CRLF line ends and without candidates that it would choke on.
    pub sdp: String,
    /// Whether the client insists on opening the DTLS handshake itself.
    pub setup_active: bool,
    /// Whether there is a section for data channels.
    pub data_channel: bool,
}

/// Why an offer is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// It is no SDP.
    #[error("the offer is not SDP: {0}")]
    Malformed(&'static str),
    /// It asks for something that is not served here.
    #[error("the offer cannot be served: {0}")]
    Unsupported(String),
}

/// One `m=` section with its attributes.
#[derive(Debug, Default)]
struct Section<'a> {
    media: &'a str,
    port: &'a str,
    attributes: Vec<&'a str>,
}

impl<'a> Section<'a> {
    /// Values of all attributes called `name`.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter_map(move |attribute| attribute.strip_prefix(name)?.strip_prefix(':'))
    }

    fn has(&self, flag: &str) -> bool {
        self.attributes.contains(&flag)
    }

    /// Payload types of H.264 with their format parameters.
    fn h264(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.values("rtpmap").filter_map(|map| {
            let (payload_type, codec) = map.split_once(' ')?;
            let is_h264 = codec.get(..9).is_some_and(|name| name.eq_ignore_ascii_case("H264/9000"));
            let parameters = self.values("fmtp").find_map(|fmtp| fmtp.strip_prefix(payload_type)?.strip_prefix(' '));
            is_h264.then_some((payload_type, parameters.unwrap_or_default()))
        })
    }
}

impl Offer {
    /// Reads and judges `sdp`.
    pub fn parse(sdp: &str) -> Result<Self, OfferError> {
        let lines: Vec<&str> = sdp.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        if lines.first() != Some(&"v=0") {
            return Err(OfferError::Malformed("it does not begin with v=0"));
        }
        let (session, sections) = sections(&lines)?;
        let transport: Vec<&Section<'_>> = sections.iter().chain([&session]).collect();
        for (attribute, problem) in [
            ("ice-ufrag", "it has no ice-ufrag"),
            ("ice-pwd", "it has no ice-pwd"),
            ("fingerprint", "it has no DTLS fingerprint"),
        ] {
            if !transport.iter().any(|section| section.values(attribute).next().is_some()) {
                return Err(OfferError::Malformed(problem));
            }
        }
        judge(&session, &sections)?;
        let setup_active = transport.iter().flat_map(|section| section.values("setup")).next() == Some("active");
        let data_channel = sections.iter().any(|section| section.media == "application");
        Ok(Self { sdp: rewrite(&lines, &sections), setup_active, data_channel })
    }
}

/// The session part and the media sections.
fn sections<'a>(lines: &[&'a str]) -> Result<(Section<'a>, Vec<Section<'a>>), OfferError> {
    let mut session = Section::default();
    let mut sections: Vec<Section<'a>> = Vec::new();
    for line in lines {
        let (kind, value) = line.split_once('=').ok_or(OfferError::Malformed("a line has no ="))?;
        if kind == "m" {
            let mut words = value.split(' ');
            let (media, port) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            sections.push(Section { media, port, attributes: Vec::new() });
        } else if kind == "a" {
            sections.last_mut().unwrap_or(&mut session).attributes.push(value);
        }
    }
    if sections.is_empty() {
        return Err(OfferError::Malformed("it has no m= section"));
    }
    Ok((session, sections))
}

/// Whether exactly one video section sends H.264 that the decoder knows.
fn judge(session: &Section<'_>, sections: &[Section<'_>]) -> Result<(), OfferError> {
    let refuse = |problem: &str| Err(OfferError::Unsupported(problem.to_owned()));
    let of_kind = |kind: &'static str| sections.iter().filter(move |section| section.media == kind);
    let mut videos = of_kind("video");
    let Some(video) = videos.next() else { return refuse("it has no video; send one H.264 track") };
    if videos.next().is_some() || of_kind("audio").count() > 1 {
        return refuse("it has more than one track of a kind; send one video track and at most one audio track");
    }
    if video.port == "0" && !video.has("bundle-only") {
        return refuse("its video section is switched off (port 0)");
    }
    for section in sections.iter().filter(|section| matches!(section.media, "video" | "audio")) {
        // A direction of the section's own stands above the session's (RFC 8866, 6.7).
        let sends = section.has("sendonly") || section.has("sendrecv");
        let refused = |direction| section.has(direction) || (session.has(direction) && !sends);
        if ["recvonly", "inactive"].into_iter().any(refused) {
            return refuse("a section does not send; use a=sendonly");
        }
    }
    let profiles: Vec<_> = video.h264().map(|(_, parameters)| profile(parameters)).collect();
    if profiles.is_empty() {
        return refuse("its video has no H.264; offer H264/90000");
    }
    if !profiles.iter().any(|profile| DECODABLE.contains(profile)) {
        return refuse("its H.264 is of a profile that cannot be decoded; offer Baseline, Main or High (42, 4d or 64)");
    }
    Ok(())
}

/// `profile_idc` of the profiles that the decoder knows: Baseline, Main, Extended's and High (8-bit 4:2:0).
const DECODABLE: [u8; 3] = [0x42, 0x4d, 0x64];

/// `profile_idc` of format parameters; Baseline where none is named (RFC 6184, 8.1).
fn profile(parameters: &str) -> u8 {
    let of = |parameter: &str| {
        let (key, value) = parameter.trim().split_once('=')?;
        key.eq_ignore_ascii_case("profile-level-id").then(|| u8::from_str_radix(value.get(..2)?, 16).ok())?
    };
    parameters.split(';').find_map(of).unwrap_or(0x42)
}

/// The offer for the library: clean line ends, a BUNDLE group where a lone section has none, and
/// only UDP candidates with an address, because one that it cannot read fails the whole offer.
fn rewrite(lines: &[&str], sections: &[Section<'_>]) -> String {
    let grouped = lines.iter().any(|line| line.starts_with("a=group:BUNDLE"));
    let lone_mid = match sections {
        [only] if !grouped => only.values("mid").next(),
        _ => None,
    };
    let mut sdp = String::with_capacity(lines.len() * 40);
    for line in lines {
        if line.strip_prefix("a=candidate:").is_some_and(|candidate| !is_usable(candidate)) {
            continue;
        }
        if let (Some(mid), true) = (lone_mid, line.starts_with("m=")) {
            sdp.push_str(&format!("a=group:BUNDLE {mid}\r\n"));
        }
        sdp.push_str(line);
        sdp.push_str("\r\n");
    }
    sdp
}

/// Whether a candidate (RFC 8839, 5.1) is UDP and names an IP address.
fn is_usable(candidate: &str) -> bool {
    let words: Vec<&str> = candidate.split_ascii_whitespace().collect();
    let [_, _component, transport, priority, address, port, "typ", _, ..] = words[..] else { return false };
    transport.eq_ignore_ascii_case("udp")
        && priority.parse::<u32>().is_ok()
        && address.parse::<std::net::IpAddr>().is_ok()
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSPORT: &str = "a=ice-ufrag:abcd\na=ice-pwd:abcdefghijklmnopqrstuv\na=fingerprint:sha-256 00:11\n";

    fn offer(video: &str) -> String {
        format!("v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n{TRANSPORT}{video}")
    }

    const H264: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\na=mid:0\na=sendonly\na=setup:actpass\na=rtpmap:96 VP8/90000\na=rtpmap:97 H264/90000\na=fmtp:97 profile-level-id=42e01f;packetization-mode=1\n";

    fn refusal(sdp: &str) -> String {
        Offer::parse(sdp).unwrap_err().to_string()
    }

    #[test]
    fn an_offer_with_h264_anywhere_in_its_list_is_taken() {
        let parsed = Offer::parse(&offer(H264)).unwrap();
        assert!(!parsed.setup_active && !parsed.data_channel);
        assert!(parsed.sdp.contains("a=group:BUNDLE 0\r\nm=video"));
        assert!(Offer::parse(&offer(&H264.replace("a=fmtp:97", "a=x:97"))).is_ok(), "no fmtp means Baseline");
        assert!(Offer::parse(&offer(&H264.replace("actpass", "active"))).unwrap().setup_active);
    }

    #[test]
    fn offers_that_cannot_be_served_are_refused_with_the_reason() {
        assert!(refusal("hello").contains("v=0"));
        assert!(refusal("v=0\n").contains("m="));
        assert!(refusal(&offer(H264).replace("a=ice-pwd", "a=x")).contains("ice-pwd"));
        assert!(refusal(&offer("m=audio 9 UDP/TLS/RTP/SAVPF 0\na=sendonly\n")).contains("no video"));
        assert!(refusal(&offer(&H264.replace("H264", "AV1"))).contains("no H.264"));
        assert!(refusal(&offer(&H264.replace("42e01f", "f4001f"))).contains("profile"));
        assert!(refusal(&offer(&H264.replace("sendonly", "recvonly"))).contains("sendonly"));
        assert!(refusal(&offer(&H264.replace("sendonly", "inactive"))).contains("sendonly"));
        assert!(refusal(&offer(&[H264, H264].concat())).contains("more than one"));
    }

    #[test]
    fn candidates_that_would_fail_the_offer_are_left_out() {
        let candidates = "a=candidate:1 1 UDP 2130706431 127.0.0.1 5000 typ host\na=candidate:2 1 TCP 1 127.0.0.1 9 typ host tcptype active\na=candidate:3 1 udp 1 abc.local 5000 typ host\na=candidate:garbage\n";
        let sdp = Offer::parse(&offer(&[H264, candidates].concat())).unwrap().sdp;
        assert_eq!(sdp.matches("a=candidate").count(), 1);
    }
}
