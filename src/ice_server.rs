//! Servers that help two sides to find a path: STUN tells an address as seen from outside, TURN relays.
//!
//! Both programs take them as `URL[,USER,PASSWORD]`; a receiver hands its own on in `Link` headers (RFC 9725, 4.6).

use std::{ffi::OsStr, fmt, str::FromStr};

use clap::{Arg, Command, builder::TypedValueParser, error::ErrorKind};

/// Where STUN and TURN servers listen if nothing else is said (RFC 7064, RFC 7065).
const DEFAULT_PORT: u16 = 3478;
/// `rel` of a `Link` that names such a server.
pub const REL: &str = "ice-server";

/// One server. Its password is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct IceServer {
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// UDP port.
    pub port: u16,
    /// What TURN wants to see; STUN wants nothing.
    pub credentials: Option<Credentials>,
}

/// Long-term credentials of a TURN server (RFC 8489, 9.2).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// Why a text names no server that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IceServerError {
    /// Not a URL of RFC 7064 or RFC 7065.
    #[error("an ICE server is stun:HOST[:PORT] or turn:HOST[:PORT],USER,PASSWORD")]
    Malformed,
    /// Over something else than plain UDP.
    #[error("STUN and TURN are spoken over plain UDP only; leave the s of turns: and ?transport=tcp away")]
    Transport,
    /// TURN without credentials.
    #[error("a TURN server wants to know who asks: turn:HOST[:PORT],USER,PASSWORD")]
    NoCredentials,
}

impl IceServer {
    /// The server at `url` (RFC 7064, RFC 7065), with the credentials that TURN needs.
    pub fn new(url: &str, credentials: Option<Credentials>) -> Result<Self, IceServerError> {
        let (scheme, rest) = url.split_once(':').ok_or(IceServerError::Malformed)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let relays = match scheme.to_ascii_lowercase().as_str() {
            "stun" => false,
            "turn" => true,
            "stuns" | "turns" => return Err(IceServerError::Transport),
            _ => return Err(IceServerError::Malformed),
        };
        match query.to_ascii_lowercase().as_str() {
            "" | "transport=udp" => {}
            query if query.starts_with("transport=") => return Err(IceServerError::Transport),
            _ => return Err(IceServerError::Malformed),
        }
        let (host, port) = host_and_port(place).ok_or(IceServerError::Malformed)?;
        if relays && credentials.is_none() {
            return Err(IceServerError::NoCredentials);
        }
        Ok(Self { host: host.to_owned(), port, credentials: credentials.filter(|_| relays) })
    }

    /// Its URL. A TURN server is one with credentials.
    pub fn url(&self) -> String {
        let Self { host, port, credentials } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        match credentials {
            None => format!("stun:{host}:{port}"),
            Some(_) => format!("turn:{host}:{port}?transport=udp"),
        }
    }

    /// Value of a `Link` header that hands it on, credentials included.
    pub fn link(&self) -> String {
        let link = format!("<{}>; rel=\"{REL}\"", self.url());
        match &self.credentials {
            None => link,
            Some(Credentials { username, password }) => {
                let (username, password) = (quoted(username), quoted(password));
                format!("{link}; username={username}; credential={password}; credential-type=\"password\"")
            }
        }
    }
}

/// `HOST`, `HOST:PORT` or `[ADDRESS]:PORT`.
fn host_and_port(place: &str) -> Option<(&str, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let named = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let port = port.map_or(Some(DEFAULT_PORT), |port| port.parse().ok().filter(|port| *port != 0))?;
    (!host.is_empty() && host.chars().all(named)).then_some((host, port))
}

/// A quoted string (RFC 9110, 5.6.4).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Credentials {
    /// Credentials that can stand in a header; `None` if they cannot, or are empty.
    pub fn new(username: &str, password: &str) -> Option<Self> {
        let fits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
        (fits(username) && fits(password))
            .then(|| Self { username: username.to_owned(), password: password.to_owned() })
    }
}

impl FromStr for IceServer {
    type Err = IceServerError;

    /// `URL[,USER,PASSWORD]`; the password may hold commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ',');
        let url = parts.next().unwrap_or_default();
        let credentials = match (parts.next(), parts.next()) {
            (None, _) => None,
            (Some(username), password) => {
                Some(Credentials::new(username, password.unwrap_or_default()).ok_or(IceServerError::NoCredentials)?)
            }
        };
        Self::new(url, credentials)
    }
}

/// Reads servers from a command line or the environment without printing what it cannot read: a password may be in it.
#[derive(Clone, Copy, Debug)]
pub struct Parser;

impl TypedValueParser for Parser {
    type Value = IceServer;

    fn parse_ref(&self, command: &Command, _: Option<&Arg>, value: &OsStr) -> Result<IceServer, clap::Error> {
        let read = value.to_str().ok_or(IceServerError::Malformed).and_then(str::parse);
        let mut command = command.clone();
        read.map_err(|problem| command.error(ErrorKind::ValueValidation, format!("--ice-server: {problem}")))
    }
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<String, IceServerError> {
        text.parse::<IceServer>().map(|server| server.url())
    }

    #[test]
    fn servers_are_read_as_people_write_them() {
        for (text, expected) in [
            ("stun:stun.example", "stun:stun.example:3478"),
            ("STUN:192.0.2.1:19302", "stun:192.0.2.1:19302"),
            ("turn:turn.example,me,secret", "turn:turn.example:3478?transport=udp"),
            ("turn:[2001:db8::1]:3479?transport=udp,me,a,b", "turn:[2001:db8::1]:3479?transport=udp"),
            ("stun:[2001:db8::1]", "stun:[2001:db8::1]:3478"),
        ] {
            assert_eq!(url(text).as_deref(), Ok(expected), "{text}");
        }
        let server: IceServer = "turn:host,me,a,b".parse().unwrap();
        assert_eq!(server.credentials.unwrap().password, "a,b");
    }

    #[test]
    fn what_is_no_server_is_refused_with_what_to_try() {
        for text in
            ["", "host", "http://host", "stun:", "stun:ho st", "stun:h:0", "stun:h:x", "stun:[::1", "stun:h?x=1"]
        {
            assert_eq!(url(text), Err(IceServerError::Malformed), "{text}");
        }
        for text in ["turns:h,u,p", "stuns:h", "turn:h?transport=tcp,u,p"] {
            assert_eq!(url(text), Err(IceServerError::Transport), "{text}");
        }
        for text in ["turn:h", "turn:h,u", "turn:h,u,", "turn:h,,p", "turn:h,u,p\n"] {
            assert_eq!(url(text), Err(IceServerError::NoCredentials), "{text}");
        }
    }

    #[test]
    fn a_link_carries_whatever_the_password_is() {
        let server: IceServer = r#"turn:h,us,pa"ss\,word"#.parse().unwrap();
        assert_eq!(
            server.link(),
            r#"<turn:h:3478?transport=udp>; rel="ice-server"; username="us"; credential="pa\"ss\\,word"; credential-type="password""#
        );
        let stun: IceServer = "stun:h".parse().unwrap();
        assert_eq!(stun.link(), r#"<stun:h:3478>; rel="ice-server""#);
    }

    #[test]
    fn a_password_is_not_printed() {
        let server: IceServer = "turn:h,user,hidden".parse().unwrap();
        assert!(!format!("{server:?} {:?}", server.credentials).contains("hidden"));
    }
}
