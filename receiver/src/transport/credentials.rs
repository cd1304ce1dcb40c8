//! What the two ends of an ICE session prove themselves with (RFC 8839, 5.4).

use super::candidate::is_ice_char;

/// User name fragment and password. They protect the connection, so they are not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name fragment.
    pub ufrag: String,
    /// The password.
    pub pwd: String,
}

impl Credentials {
    /// Both, if they have the length and the alphabet that they must have.
    pub fn new(ufrag: &str, pwd: &str) -> Option<Self> {
        let fits = |text: &str, least| (least..=256).contains(&text.len()) && text.bytes().all(is_ice_char);
        (fits(ufrag, 4) && fits(pwd, 22)).then(|| Self { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() })
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}
