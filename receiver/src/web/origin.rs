//! What pages of other origins may do; nothing unless an origin is named.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header, uri::Authority},
    middleware::Next,
    response::Response,
};
use tower_http::cors::{AllowOrigin, AllowPrivateNetwork, CorsLayer};

use super::problem::Problem;

/// How long a browser may remember a preflight; Chromium remembers none longer.
const REMEMBERED: Duration = Duration::from_secs(7200);

/// The origins whose pages may use this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Those of this list.
    Listed(Vec<HeaderValue>),
    /// All there are.
    Any,
}

/// Which pages may use a server, and under which names of it.
#[derive(Debug)]
pub struct Pages {
    /// The origins of pages.
    pub origins: Origins,
    /// Whether everybody on this machine may come in, and nobody else. Then any page could, by a name of its own that
    /// leads here (DNS rebinding), if the server answered to every name.
    pub guarded: bool,
}

impl Pages {
    /// Whether a request goes to a name that nobody else can make up: an address, localhost, that of an origin.
    fn is_meant(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(header::HOST).filter(|_| self.guarded) else { return true };
        let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
        let name = authority.host().trim_matches(['[', ']']);
        let local = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok();
        local
            || match &self.origins {
                Origins::Any => true,
                Origins::Listed(list) => list.iter().any(|origin| is_own(origin, Some(host))),
            }
    }
}

/// Text that is no origin.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not an origin: write it like https://example.org, with nothing behind the host and its port, or *")]
pub struct OriginError(String);

impl Origins {
    /// The origins of the command line.
    pub fn parse(origins: &[String]) -> Result<Self, OriginError> {
        if origins.iter().any(|origin| origin == "*") {
            return Ok(Self::Any);
        }
        origins
            .iter()
            .map(|text| parse(text).ok_or_else(|| OriginError(text.clone())))
            .collect::<Result<_, _>>()
            .map(Self::Listed)
    }

    /// The rules for browsers (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
    pub fn cors(&self) -> CorsLayer {
        let layer = match self {
            Self::Listed(list) if list.is_empty() => return CorsLayer::new(),
            // Whoever names an origin may mean a page of the internet and a receiver in the house.
            Self::Listed(list) => CorsLayer::new()
                .allow_origin(AllowOrigin::list(list.clone()))
                .allow_private_network(AllowPrivateNetwork::yes()),
            Self::Any => CorsLayer::new().allow_origin(AllowOrigin::any()),
        };
        layer
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE, Method::OPTIONS])
            .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_MATCH])
            .expose_headers([
                header::LOCATION,
                header::ETAG,
                header::LINK,
                header::RETRY_AFTER,
                header::WWW_AUTHENTICATE,
                HeaderName::from_static("accept-post"),
                HeaderName::from_static("accept-patch"),
            ])
            .max_age(REMEMBERED)
    }

    /// Whether a request with these fields comes from a page that may use this server, or from no page.
    fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        match self {
            Self::Any => true,
            Self::Listed(list) => list.contains(origin) || is_own(origin, headers.get(header::HOST)),
        }
    }
}

fn parse(text: &str) -> Option<HeaderValue> {
    let uri: Uri = text.parse().ok()?;
    let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    // Browsers write origins in lower case, and compare them as text.
    (origin == text && text == text.to_ascii_lowercase()).then(|| HeaderValue::try_from(text).ok())?
}

/// Whether the page came from the very host and port that the request goes to.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = host.and_then(|host| host.to_str().ok());
    origin.zip(host).is_some_and(|((_, origin), host)| origin.eq_ignore_ascii_case(host))
}

/// Refuses WebSockets to pages of other origins, since browsers let any page open them and leave the check to the
/// server; and everything under names that are none of ours.
pub async fn check(State(pages): State<Arc<Pages>>, request: Request, next: Next) -> Result<Response, Problem> {
    if !pages.is_meant(request.headers()) {
        let detail = "without a token this receiver answers to its addresses and to localhost only; use those, or name \
                      the origin with --cors-origin";
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    if request.headers().contains_key(header::UPGRADE) && !pages.origins.admit(request.headers()) {
        let detail = "pages of this origin may not open a WebSocket here; --cors-origin names those that may";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(list: &[&str]) -> Result<Origins, OriginError> {
        Origins::parse(&list.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn what_could_never_match_is_no_origin() {
        for text in
            ["example.org", "https://example.org/", "https://example.org/page", "https://Example.org", "", "null"]
        {
            assert!(origins(&[text]).is_err(), "{text}");
        }
        for text in ["https://example.org", "http://localhost:3000", "http://[::1]:80", "capacitor://localhost"] {
            assert_eq!(origins(&[text]).unwrap(), Origins::Listed(vec![HeaderValue::try_from(text).unwrap()]));
        }
        assert_eq!(origins(&["https://example.org", "*"]).unwrap(), Origins::Any);
    }

    #[test]
    fn a_guarded_server_answers_to_no_name_that_a_stranger_can_make_up() {
        let meant = |guarded: bool, host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::try_from(host).unwrap())]);
            Pages { origins: origins(&["https://cv.example.org"]).unwrap(), guarded }.is_meant(&headers)
        };
        for host in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "192.0.2.1", "cv.example.org"] {
            assert!(meant(true, host), "{host}");
        }
        for host in ["evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "", "a b"] {
            assert!(!meant(true, host), "{host}");
            assert!(meant(false, host), "{host}");
        }
        assert!(Pages { origins: origins(&[]).unwrap(), guarded: true }.is_meant(&HeaderMap::new()));
    }

    #[test]
    fn a_page_is_let_in_from_its_own_host_or_from_the_list() {
        let admits = |list: &[&str], origin: Option<&str>| {
            let mut headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("cv.lan:8080"))]);
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::try_from(origin).unwrap());
            }
            origins(list).unwrap().admit(&headers)
        };
        assert!(admits(&[], None));
        assert!(admits(&[], Some("http://cv.lan:8080")));
        assert!(!admits(&[], Some("http://cv.lan")));
        assert!(!admits(&["https://example.org"], Some("https://evil.example")));
        assert!(!admits(&["https://example.org"], Some("null")));
        assert!(admits(&["https://example.org"], Some("https://example.org")));
        assert!(admits(&["*"], Some("https://evil.example")));
    }
}
