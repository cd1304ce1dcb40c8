//! Pieces of SDP that carry ICE alone, `application/trickle-ice-sdpfrag` (RFC 8840, 9).
//!
//! Strict where a client could be misunderstood, lenient where RFC 9725 says so: a candidate that cannot be used is
//! left out and the rest counts.

use super::{
    candidate::{self, Candidate},
    credentials::Credentials,
};

/// The longest fragment that is read: as many candidates as are used, and as many that are not.
pub const MAX_FRAGMENT: usize = 8 << 10;

/// What a client tells of its ICE agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Whose candidates these are.
    pub credentials: Option<Credentials>,
    /// Tags of the media sections that it speaks of.
    pub mids: Vec<String>,
    /// Its candidates as far as they can be used.
    pub candidates: Vec<Candidate>,
    /// Whether no more will come.
    pub complete: bool,
}

/// Why something is no fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// It is longer than what is read.
    #[error("the fragment is longer than {MAX_FRAGMENT} bytes; send fewer candidates at once")]
    TooLong,
    /// It is not of the form that RFC 8840 gives.
    #[error("the fragment is not trickle-ice-sdpfrag (RFC 8840): {0}")]
    Malformed(&'static str),
}

impl Fragment {
    /// Reads a fragment.
    pub fn parse(text: &str) -> Result<Self, FragmentError> {
        if text.len() > MAX_FRAGMENT {
            return Err(FragmentError::TooLong);
        }
        let mut reader = Reader::default();
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            match line.split_once('=') {
                Some(("m", _)) => reader.section()?,
                Some(("a", attribute)) => reader.attribute(attribute)?,
                _ => return Err(FragmentError::Malformed("it has a line that is neither a= nor m=")),
            }
        }
        reader.finish()
    }

    /// The fragment that says of the local end what its description `sdp` says, for the section that carries the
    /// transport of all.
    pub fn of_description(sdp: &str) -> String {
        let (session, media) = sdp.split_at(sdp.find("m=").unwrap_or(sdp.len()));
        let first = media.find("\nm=").map_or(media, |end| &media[..=end]);
        let told = |line: &&str| {
            let is = |start: &&str| line.starts_with(start);
            ["m=", "a=group:BUNDLE", "a=ice-", "a=mid:", "a=candidate:", "a=end-of-candidates"].iter().any(is)
        };
        let lines = session.lines().chain(first.lines()).map(str::trim_end).filter(told);
        lines.map(|line| format!("{line}\r\n")).collect()
    }
}

/// A fragment as far as it is read.
#[derive(Default)]
struct Reader<'a> {
    ufrag: Option<&'a str>,
    pwd: Option<&'a str>,
    /// Sections begun.
    sections: usize,
    fragment: Fragment,
}

impl<'a> Reader<'a> {
    fn section(&mut self) -> Result<(), FragmentError> {
        self.is_named()?;
        self.sections += 1;
        Ok(())
    }

    /// Every section begun has a tag by now.
    fn is_named(&self) -> Result<(), FragmentError> {
        let named = self.sections == self.fragment.mids.len();
        named.then_some(()).ok_or(FragmentError::Malformed("a section has no a=mid"))
    }

    fn attribute(&mut self, attribute: &'a str) -> Result<(), FragmentError> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "ice-ufrag" => same(&mut self.ufrag, value)?,
            "ice-pwd" => same(&mut self.pwd, value)?,
            "mid" => {
                if value.is_empty() || self.fragment.mids.len() + 1 != self.sections {
                    return Err(FragmentError::Malformed("an a=mid is empty or is not in a section of its own"));
                }
                self.fragment.mids.push(value.to_owned());
            }
            "candidate" => {
                if self.sections == 0 {
                    return Err(FragmentError::Malformed("a candidate stands before the first m= line"));
                }
                let known = &mut self.fragment.candidates;
                known.extend(Candidate::parse(value).filter(|new| candidate::is_welcome(new, known)));
            }
            "end-of-candidates" => self.fragment.complete = true,
            // Options, pacing, groups and extensions: the session keeps those of its offer.
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Fragment, FragmentError> {
        self.is_named()?;
        self.fragment.credentials = match (self.ufrag, self.pwd) {
            (None, None) => None,
            (Some(ufrag), Some(pwd)) => {
                let credentials = Credentials::new(ufrag, pwd);
                Some(credentials.ok_or(FragmentError::Malformed(
                    "ice-ufrag takes 4 to 256 and ice-pwd 22 to 256 letters, digits, + and /",
                ))?)
            }
            _ => return Err(FragmentError::Malformed("ice-ufrag and ice-pwd belong together")),
        };
        let nothing = self.fragment.credentials.is_none() && self.sections == 0 && !self.fragment.complete;
        if nothing {
            return Err(FragmentError::Malformed("it says nothing"));
        }
        Ok(self.fragment)
    }
}

/// Sections share one transport, so what is said twice must be the same.
fn same<'a>(known: &mut Option<&'a str>, value: &'a str) -> Result<(), FragmentError> {
    match known.replace(value) {
        Some(before) if before != value => Err(FragmentError::Malformed("its sections have different credentials")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CREDENTIALS: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";
    const SECTION: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n";
    const CANDIDATE: &str = "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 network-id 1\r\n";

    fn problem(text: &str) -> String {
        Fragment::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_example_of_the_rfc_is_understood() {
        let group = "a=group:BUNDLE 0 1\r\n";
        let text = [group, SECTION, CREDENTIALS, CANDIDATE, CANDIDATE, "a=end-of-candidates\r\n"].concat();
        let fragment = Fragment::parse(&text).unwrap();
        assert_eq!(fragment.credentials, Credentials::new("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1"));
        assert_eq!((fragment.mids, fragment.candidates.len(), fragment.complete), (vec!["0".to_owned()], 1, true));
        let elsewhere = [CREDENTIALS, SECTION, CANDIDATE].concat().replace('\r', "");
        assert!(Fragment::parse(&elsewhere).unwrap().credentials.is_some(), "credentials above the sections");
        assert!(Fragment::parse("a=end-of-candidates").unwrap().complete);
    }

    #[test]
    fn candidates_that_cannot_be_used_do_not_spoil_the_rest() {
        let odd = "a=candidate:2 1 udp 1 abc.local 9 typ host\r\na=candidate:3 1 TCP 1 192.0.2.1 9 typ host\r\na=candidate:\r\n";
        let fragment = Fragment::parse(&[SECTION, odd, CANDIDATE].concat()).unwrap();
        assert_eq!(fragment.candidates.len(), 1);
        let many: String = (1..100)
            .map(|number| format!("a=candidate:1 1 udp 1 192.0.2.{} {number} typ host\r\n", number % 20))
            .collect();
        assert_eq!(Fragment::parse(&[SECTION, &many].concat()).unwrap().candidates.len(), candidate::MAX_CANDIDATES);
    }

    #[test]
    fn what_could_be_misunderstood_is_refused() {
        assert!(problem("").contains("nothing"));
        assert!(problem("v=0").contains("neither"));
        assert!(problem("hello").contains("neither"));
        assert!(problem(CANDIDATE).contains("before the first"));
        assert!(problem("m=audio 9 RTP/AVP 0").contains("no a=mid"));
        assert!(problem(&[SECTION, "a=mid:1"].concat()).contains("a=mid"));
        assert!(problem(&[SECTION, "a=ice-ufrag:EsAw"].concat()).contains("together"));
        assert!(problem(&[SECTION, "a=ice-ufrag:EsAw\na=ice-pwd:short"].concat()).contains("22"));
        assert!(problem(&[CREDENTIALS, SECTION, "a=ice-ufrag:Other"].concat()).contains("different"));
        assert_eq!(Fragment::parse(&"a=x\n".repeat(MAX_FRAGMENT)), Err(FragmentError::TooLong));
    }

    #[test]
    fn a_description_becomes_a_fragment() {
        let sdp = format!(
            "v=0\r\ns=-\r\na=group:BUNDLE 0 1\r\na=ice-options:trickle\r\n{SECTION}a=rtcp-mux\r\n{CREDENTIALS}\
             {CANDIDATE}a=end-of-candidates\r\nm=video 9 x 1\r\na=mid:1\r\na=ice-ufrag:zzzz\r\n"
        );
        let text = Fragment::of_description(&sdp);
        assert_eq!(
            text,
            [
                "a=group:BUNDLE 0 1\r\na=ice-options:trickle\r\n",
                SECTION,
                CREDENTIALS,
                CANDIDATE,
                "a=end-of-candidates\r\n"
            ]
            .concat()
        );
        assert!(Fragment::parse(&text).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(a=|m=|ice-ufrag:|mid:|candidate:|\\PC|\r\n){0,40}") {
            drop(Fragment::parse(&text));
            Fragment::of_description(&text);
        }
    }
}
