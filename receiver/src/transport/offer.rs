//! What an SDP offer asks for, and whether it can be answered as a whole.
//!
//! The WebRTC library refuses nothing by itself: an offer without usable video would get an answer
//! and then silence. So every offer is read here first (RFC 9725, 4.2 and 4.4; RFC 8866).

use super::{
    candidate::{self, Candidate},
    credentials::Credentials,
};

/// An offer that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The SDP as it goes to the library, with CRLF line ends and without candidates that it would choke on.
    pub sdp: String,
    /// Whether the client insists on opening the DTLS handshake itself.
    pub setup_active: bool,
    /// Whether there is a section for data channels.
    pub data_channel: bool,
    /// What the client's end of the ICE session proves itself with.
    pub credentials: Credentials,
    /// Tags of its sections, all of which share one transport. The first one carries it.
    pub mids: Vec<String>,
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

    fn is_media(&self) -> bool {
        matches!(self.media, "video" | "audio")
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
        let said = |attribute| transport.iter().flat_map(move |section| section.values(attribute));
        let credentials = credentials(said("ice-ufrag"), said("ice-pwd"))?;
        if said("fingerprint").next().is_none() {
            return Err(OfferError::Malformed("it has no DTLS fingerprint"));
        }
        judge_media(&session, &sections)?;
        judge_codecs(&sections)?;
        judge_transport(&session, &sections)?;
        Ok(Self {
            sdp: rewrite(&lines, &sections),
            setup_active: said("setup").next() == Some("active"),
            data_channel: sections.iter().any(|section| section.media == "application"),
            credentials,
            mids: sections.iter().filter_map(|section| section.values("mid").next()).map(str::to_owned).collect(),
        })
    }

    /// The same offer with another ICE session in it: what a client would offer to restart ICE (RFC 8839, 4.4.1).
    /// All that is not ICE stays as it was negotiated (RFC 9725, 4.3.3).
    pub fn restarted(&self, credentials: Credentials, candidates: &[Candidate]) -> Self {
        let candidates: String = candidates.iter().map(|candidate| format!("a={candidate}\r\n")).collect();
        let (mut sdp, mut sections) = (String::with_capacity(self.sdp.len() + candidates.len()), 0);
        for line in self.sdp.lines() {
            let line = match line.split_once(':') {
                Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{}", credentials.ufrag),
                Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{}", credentials.pwd),
                _ if is_candidate(line) => continue,
                _ => line.to_owned(),
            };
            sections += usize::from(line.starts_with("m="));
            if sections == 2 && line.starts_with("m=") {
                sdp.push_str(&candidates);
            }
            sdp.push_str(&line);
            sdp.push_str("\r\n");
        }
        if sections == 1 {
            sdp.push_str(&candidates);
        }
        Self { sdp, credentials, ..self.clone() }
    }
}

/// The credentials, which all sections share.
fn credentials<'a>(
    ufrags: impl Iterator<Item = &'a str>,
    pwds: impl Iterator<Item = &'a str>,
) -> Result<Credentials, OfferError> {
    let one = |mut values: Box<dyn Iterator<Item = &'a str> + '_>, missing, differing| {
        let first = values.next().ok_or(OfferError::Malformed(missing))?;
        values.all(|value| value == first).then_some(first).ok_or(OfferError::Malformed(differing))
    };
    let ufrag = one(Box::new(ufrags), "it has no ice-ufrag", "its sections have different ice-ufrag")?;
    let pwd = one(Box::new(pwds), "it has no ice-pwd", "its sections have different ice-pwd")?;
    let credentials = Credentials::new(ufrag, pwd);
    credentials.ok_or(OfferError::Malformed("ice-ufrag or ice-pwd has not the form that RFC 8839 gives"))
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

fn refuse(problem: &str) -> Result<(), OfferError> {
    Err(OfferError::Unsupported(problem.to_owned()))
}

/// Whether one video track is sent, at most one audio track beside it, and nothing that would have to be left out.
fn judge_media(session: &Section<'_>, sections: &[Section<'_>]) -> Result<(), OfferError> {
    let count = |kind| sections.iter().filter(|section| section.media == kind).count();
    let (videos, others) = (count("video"), count("audio").max(count("application")));
    if videos == 0 {
        return refuse("it has no video; send one H.264 track");
    }
    if videos > 1 || others > 1 {
        return refuse("it has more than one track of a kind; send one video track and at most one audio track");
    }
    if sections.iter().any(|section| !section.is_media() && section.media != "application") {
        return refuse("it has a section that is neither video, audio nor a data channel");
    }
    if sections.iter().any(|section| section.port == "0" && !section.has("bundle-only")) {
        return refuse("a section is switched off (port 0); leave it out");
    }
    for section in sections.iter().filter(|section| section.is_media()) {
        // A direction of the section's own stands above the session's (RFC 8866, 6.7).
        let sends = section.has("sendonly") || section.has("sendrecv");
        let refused = |direction| section.has(direction) || (session.has(direction) && !sends);
        if ["recvonly", "inactive"].into_iter().any(refused) {
            return refuse("a section does not send; use a=sendonly");
        }
    }
    let mut media = sections.iter().filter(|section| section.is_media());
    // The library tells two tracks apart by nothing else.
    if videos + count("audio") > 1 && media.any(|section| section.values("ssrc").next().is_none()) {
        return refuse("its tracks are not told apart; name each one's a=ssrc, or send video alone");
    }
    let streams = sections.iter().flat_map(|section| section.values("msid"));
    let mut streams = streams.filter_map(|msid| msid.split(' ').next()).filter(|stream| *stream != "-");
    let first = streams.next();
    if streams.any(|stream| Some(stream) != first) {
        return refuse("its tracks belong to several media streams; put them into one (a=msid)");
    }
    Ok(())
}

/// Whether all tracks can be received: H.264 that the decoder knows, and Opus.
fn judge_codecs(sections: &[Section<'_>]) -> Result<(), OfferError> {
    let videos = sections.iter().filter(|section| section.media == "video");
    let profiles: Vec<_> = videos.flat_map(Section::h264).map(|(_, parameters)| profile(parameters)).collect();
    if profiles.is_empty() {
        return refuse("its video has no H.264; offer H264/90000");
    }
    if !profiles.iter().any(|profile| DECODABLE.contains(profile)) {
        return refuse("its H.264 is of a profile that cannot be decoded; offer Baseline, Main or High (42, 4d or 64)");
    }
    let opus = |map: &str| map.split_once(' ').is_some_and(|(_, codec)| codec.eq_ignore_ascii_case("opus/48000/2"));
    if sections.iter().any(|section| section.media == "audio" && !section.values("rtpmap").any(opus)) {
        return refuse("its audio has no Opus; offer opus/48000/2, or no audio, which is not analysed anyway");
    }
    Ok(())
}

/// Whether everything goes over one transport that can be set up (RFC 9725, 4.4.1).
fn judge_transport(session: &Section<'_>, sections: &[Section<'_>]) -> Result<(), OfferError> {
    let bundled = |section: &Section<'_>| {
        let mid = section.values("mid").next();
        let group = session.values("group").find_map(|group| group.strip_prefix("BUNDLE "));
        mid.is_some_and(|mid| group.is_some_and(|group| group.split(' ').any(|member| member == mid)))
    };
    // A lone section has nothing to share its transport with.
    if sections.len() > 1 && !sections.iter().all(bundled) {
        return refuse("its sections do not share one transport; name them all in a=group:BUNDLE (max-bundle)");
    }
    if sections.iter().any(|section| section.is_media() && !section.has("rtcp-mux")) {
        return refuse("a section wants RTCP on a port of its own; use a=rtcp-mux");
    }
    let mut setups = sections.iter().chain([session]).flat_map(|section| section.values("setup"));
    let first = setups.next().unwrap_or("actpass");
    if !matches!(first, "actpass" | "active" | "passive") || setups.any(|setup| setup != first) {
        return refuse("nobody would open the DTLS handshake; use a=setup:actpass in every section");
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

/// The offer for the library: clean line ends, a BUNDLE group where a lone section has none, one layer where
/// simulcast is offered (RFC 8853, 5.3.2: an answer without it takes one stream), and only candidates that can be
/// used, because one that the library cannot read fails the whole offer.
fn rewrite(lines: &[&str], sections: &[Section<'_>]) -> String {
    let grouped = lines.iter().any(|line| line.starts_with("a=group:BUNDLE"));
    let lone_mid = match sections {
        [only] if !grouped => only.values("mid").find(|mid| !mid.is_empty()),
        _ => None,
    };
    let mut sdp = String::with_capacity(lines.len() * 40);
    let mut candidates: Vec<Candidate> = Vec::new();
    for line in lines {
        if let Some(candidate) = line.strip_prefix("a=candidate:").map(Candidate::parse) {
            let new = candidate.filter(|new| candidate::is_welcome(new, &candidates));
            let Some(new) = new else { continue };
            sdp.push_str(&format!("a={new}\r\n"));
            candidates.push(new);
            continue;
        }
        if line.starts_with("a=rid:") || line.starts_with("a=simulcast:") {
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

fn is_candidate(line: &str) -> bool {
    line.starts_with("a=candidate:") || line == "a=end-of-candidates"
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSPORT: &str = "a=ice-ufrag:abcd\na=ice-pwd:abcdefghijklmnopqrstuv\na=fingerprint:sha-256 00:11\n";

    fn offer(video: &str) -> String {
        format!("v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n{TRANSPORT}{video}")
    }

    const H264: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\na=mid:0\na=sendonly\na=rtcp-mux\na=setup:actpass\na=rtpmap:96 VP8/90000\na=rtpmap:97 H264/90000\na=fmtp:97 profile-level-id=42e01f;packetization-mode=1\n";

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
        assert!(refusal(&offer(&H264.replace("a=rtcp-mux\n", ""))).contains("rtcp-mux"));
        assert!(refusal(&offer(&H264.replace("actpass", "holdconn"))).contains("setup"));
        assert!(refusal(&offer(H264).replace("ufrag:abcd", "ufrag:a")).contains("RFC 8839"));
        assert!(refusal(&offer(&[H264, "a=ice-ufrag:other\n"].concat())).contains("different"));
        assert!(refusal(&offer(&[H264, "m=text 9 x 1\n"].concat())).contains("neither"));
        assert!(refusal(&offer(&[H264, "a=msid:a b\na=msid:c b\n"].concat())).contains("streams"));
    }

    #[test]
    fn sections_share_one_transport_or_are_refused() {
        let audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\na=mid:1\na=sendonly\na=rtcp-mux\na=rtpmap:111 opus/48000/2\na=ssrc:2 cname:a\n";
        let both = |group: &str| offer(&[group, H264, "a=ssrc:1 cname:a\n", audio].concat());
        assert_eq!(Offer::parse(&both("a=group:BUNDLE 0 1\n")).unwrap().mids, ["0", "1"]);
        for group in ["", "a=group:BUNDLE 0\n", "a=group:LS 0 1\n", "a=group:BUNDLE 0 10\n"] {
            assert!(refusal(&both(group)).contains("max-bundle"), "{group}");
        }
        let mute = both("a=group:BUNDLE 0 1\n").replace("opus", "PCMU");
        assert!(refusal(&mute).contains("Opus"), "no section is refused by itself");
        assert!(refusal(&both("a=group:BUNDLE 0 1\n").replace("ssrc:2", "x:2")).contains("a=ssrc"));
    }

    #[test]
    fn a_restarted_offer_differs_in_ice_alone() {
        let candidate = "a=candidate:1 1 udp 1 127.0.0.1 5000 typ host\n";
        let group = "a=group:BUNDLE 0 d\n";
        let channel = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:d\n";
        let all = offer(&[group, H264, candidate, "a=end-of-candidates\n", channel].concat());
        let old = Offer::parse(&all).unwrap();
        let credentials = Credentials::new("wxyz", "zyxwvutsrqponmlkjihgfedc").unwrap();
        let new = [Candidate::parse("7 1 udp 9 127.0.0.1 6000 typ host").unwrap()];
        let restarted = old.restarted(credentials.clone(), &new);
        let expected = all
            .replace("abcdefghijklmnopqrstuv", "zyxwvutsrqponmlkjihgfedc")
            .replace(":abcd", ":wxyz")
            .replace("1 1 udp 1 127.0.0.1 5000", "7 1 udp 9 127.0.0.1 6000")
            .replace("a=end-of-candidates\n", "");
        assert_eq!(restarted.sdp, expected.replace('\n', "\r\n"));
        assert_eq!((restarted.credentials, restarted.mids), (credentials, old.mids));
    }

    #[test]
    fn simulcast_becomes_one_layer() {
        let layers = "a=rid:h send\na=rid:l send\na=simulcast:send h;l\n";
        let sdp = Offer::parse(&offer(&[H264, layers].concat())).unwrap().sdp;
        assert!(!sdp.contains("rid:") && !sdp.contains("simulcast"), "{sdp}");
    }

    #[test]
    fn candidates_that_would_fail_the_offer_are_left_out() {
        let candidates = "a=candidate:1 1 UDP 2130706431 127.0.0.1 5000 typ host\na=candidate:2 1 TCP 1 127.0.0.1 9 typ host tcptype active\na=candidate:3 1 udp 1 abc.local 5000 typ host\na=candidate:garbage\n";
        let sdp = Offer::parse(&offer(&[H264, candidates].concat())).unwrap().sdp;
        assert_eq!(sdp.matches("a=candidate").count(), 1);
        let taken = |hosts: u32| {
            let line = |number: u32| format!("a=candidate:1 1 udp 1 192.0.2.{} {number} typ host\n", number % hosts);
            let many: String = (1..100).map(line).collect();
            Offer::parse(&offer(&[H264, &many, &many].concat())).unwrap().sdp.matches("a=candidate").count()
        };
        assert_eq!((taken(1), taken(20)), (candidate::MAX_OF_ADDRESS, candidate::MAX_CANDIDATES));
    }
}
