//! ICE credentials and candidates as SDP fragments (RFC 8840, 9), which an ICE restart over WHIP
//! exchanges by PATCH (RFC 9725, 4.3.3).

/// Credentials and candidates of one side of an ICE session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    ufrag: &'a str,
    pwd: &'a str,
    /// Values of the `candidate` attributes.
    candidates: Vec<&'a str>,
}

impl<'a> Fragment<'a> {
    /// What `sdp`, a description or a fragment, says of its bundle's transport: that of its first section.
    /// `None` without credentials.
    pub fn parse(sdp: &'a str) -> Option<Self> {
        // Credentials may stand above the first section, candidates stand in it.
        let mut sections = 0;
        let lines = sdp.lines().map(str::trim_end).take_while(|line| {
            sections += usize::from(line.starts_with("m="));
            sections < 2
        });
        let lines: Vec<&str> = lines.collect();
        let value = |name: &str| lines.iter().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name));
        let candidates = lines.iter().filter_map(|line| line.strip_prefix("a=candidate:")).collect();
        Some(Self { ufrag: value("ice-ufrag:")?, pwd: value("ice-pwd:")?, candidates })
    }

    /// The body of a PATCH that restarts ICE of the session which `offer` began: only the section that the bundle
    /// is tagged with (RFC 9725, 4.3.1), with every candidate.
    pub fn restarting(&self, offer: &str) -> String {
        let of_offer = |prefix: &str| offer.lines().map(str::trim_end).find(|line| line.starts_with(prefix));
        let mut body = String::new();
        let head = ["a=ice-options:", "a=group:BUNDLE", "m=", "a=mid:"].into_iter().filter_map(of_offer);
        head.for_each(|line| push(&mut body, line));
        push(&mut body, &format!("a=ice-ufrag:{}", self.ufrag));
        push(&mut body, &format!("a=ice-pwd:{}", self.pwd));
        self.candidates.iter().for_each(|candidate| push(&mut body, &format!("a=candidate:{candidate}")));
        push(&mut body, "a=end-of-candidates");
        body
    }

    /// `answer` with this side's credentials and candidates in place of its own.
    pub fn applied_to(&self, answer: &str) -> String {
        let mut sdp = String::with_capacity(answer.len());
        let mut sections = 0;
        for line in answer.lines().map(str::trim_end) {
            let is_section = line.starts_with("m=");
            sections += usize::from(is_section);
            if line.starts_with("a=ice-ufrag:") {
                push(&mut sdp, &format!("a=ice-ufrag:{}", self.ufrag));
            } else if line.starts_with("a=ice-pwd:") {
                push(&mut sdp, &format!("a=ice-pwd:{}", self.pwd));
            } else if is_section && sections == 2 {
                self.list(&mut sdp);
                push(&mut sdp, line);
            } else if !line.starts_with("a=candidate:") && line != "a=end-of-candidates" {
                push(&mut sdp, line);
            }
        }
        if sections < 2 {
            self.list(&mut sdp);
        }
        sdp
    }

    fn list(&self, sdp: &mut String) {
        self.candidates.iter().for_each(|candidate| push(sdp, &format!("a=candidate:{candidate}")));
        push(sdp, "a=end-of-candidates");
    }
}

fn push(sdp: &mut String, line: &str) {
    sdp.push_str(line);
    sdp.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\na=group:BUNDLE 0 1\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:0\r\na=ice-ufrag:old\r\na=ice-pwd:oldpassword\r\na=candidate:1 1 udp 1 127.0.0.1 1 typ host\r\na=end-of-candidates\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\na=ice-ufrag:old\r\na=ice-pwd:oldpassword\r\n";

    #[test]
    fn a_fragment_holds_the_bundles_section_with_credentials_and_candidates() {
        let body = Fragment::parse(ANSWER).unwrap().restarting(ANSWER);
        assert_eq!(
            body,
            "a=group:BUNDLE 0 1\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:0\r\na=ice-ufrag:old\r\na=ice-pwd:oldpassword\r\na=candidate:1 1 udp 1 127.0.0.1 1 typ host\r\na=end-of-candidates\r\n"
        );
        assert_eq!(Fragment::parse(&body), Fragment::parse(ANSWER));
        assert_eq!(Fragment::parse("m=video 9 x 0\r\na=mid:0\r\n"), None);
    }

    #[test]
    fn a_restarted_answer_has_the_new_side_everywhere_and_the_rest_as_it_was() {
        let new = Fragment { ufrag: "new", pwd: "newpassword", candidates: vec!["2 1 udp 1 127.0.0.1 2 typ host"] };
        let applied = new.applied_to(ANSWER);
        assert_eq!(Fragment::parse(&applied), Some(new));
        assert!(!applied.contains("old"));
        assert_eq!(applied.matches("a=ice-ufrag:new\r\n").count(), 2);
        assert_eq!(applied.matches("a=candidate:").count(), 1);
        assert!(applied.ends_with("a=ice-pwd:newpassword\r\n"), "{applied}");
    }
}
