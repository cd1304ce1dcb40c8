//! The WHIP client (RFC 9725): an offer in a POST, an ICE restart in a PATCH, the end in a DELETE.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use cv_core::{
    ice_server::{self, Credentials, IceServer},
    whip::{RESULTS_REL, SDP, SDP_FRAGMENT, query},
};
use jiff::Timestamp;
use reqwest::{
    Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, IF_MATCH, LINK, LOCATION, RETRY_AFTER},
    redirect::Policy,
};

use super::links::Link;

/// Answers are a few kilobytes; more is not SDP.
const MAX_ANSWER: usize = 256 << 10;
/// Nobody waits longer, whatever a server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);
/// ICE servers of an answer that are asked; each costs a socket's worth of questions.
const MAX_ICE_SERVERS: usize = 8;
/// Endpoints that one offer is handed on to at most.
const MAX_REDIRECTS: usize = 5;
/// A connection that has not been used for longer may lead through a network that is gone, or be closed by the
/// server at the moment of its use.
const IDLE_CONNECTION: Duration = Duration::from_secs(2);

/// A secret that must not be printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token; surrounding white space is no part of it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why the endpoint did not do what it was asked. The message says what to try.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("cannot reach {url}: {problem}; is cv-receiver running there?")]
    Unreachable {
        /// The endpoint.
        url: String,
        /// What went wrong.
        problem: String,
    },
    /// It is not who it says, as far as certificates tell.
    #[error("cannot trust {url}: {problem}")]
    Untrusted {
        /// The endpoint.
        url: String,
        /// What is wrong with its certificate, and what to try.
        problem: String,
    },
    /// It wants a token, or another one.
    #[error("{url} refuses this sender ({status}): {detail}; give the receiver's token with --token or CV_TOKEN")]
    Refused {
        /// The endpoint.
        url: String,
        /// The status.
        status: StatusCode,
        /// What the server says.
        detail: String,
    },
    /// It answers, but does not take the offer.
    #[error("{url} did not take the offer ({status}): {detail}")]
    Rejected {
        /// The endpoint.
        url: String,
        /// The status.
        status: StatusCode,
        /// What the server says, or what to check.
        detail: String,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// It answers something that is not WHIP.
    #[error("{url} is no WHIP endpoint: {problem}; cv-receiver's is http://HOST:8080/whip")]
    NotWhip {
        /// The endpoint.
        url: String,
        /// What is wrong.
        problem: String,
    },
}

impl Error {
    /// Whether a later try may succeed: the network or a busy server, but no refusal.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Rejected { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Refused { .. } | Self::Untrusted { .. } | Self::NotWhip { .. } => false,
        }
    }

    /// How long the server wants to be left alone before the next try, where it says so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether there is no such session any more.
    pub fn is_gone(&self) -> bool {
        let gone = [StatusCode::NOT_FOUND, StatusCode::GONE];
        matches!(self, Self::Rejected { status, .. } if gone.contains(status))
    }

    /// Whether the server took offence at the offer itself.
    pub fn is_about_the_offer(&self) -> bool {
        matches!(self, Self::Rejected { status, .. } if status.is_client_error()
            && ![StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS].contains(status))
    }
}

/// What travels in the endpoint's query beside the offer.
#[derive(Clone, Debug)]
pub struct Query {
    /// Name and value of each parameter.
    pub pairs: Vec<(&'static str, String)>,
}

/// An endpoint and how to get in.
#[derive(Clone, Debug)]
pub struct Endpoint {
    client: Client,
    url: Url,
    token: Option<Token>,
}

/// A session that the endpoint made.
#[derive(Debug)]
pub struct Created {
    /// The answer's SDP.
    pub answer: String,
    /// Where the session can be ended.
    pub session: Option<Url>,
    /// Where its results are, on a server of our kind.
    pub results: Option<Url>,
    /// STUN and TURN servers that it names.
    pub ice_servers: Vec<IceServer>,
}

impl Endpoint {
    /// The endpoint at `url`; every request takes at most `timeout` to connect. `roots` are trusted beside those of
    /// this machine.
    pub fn new(
        url: Url,
        token: Option<Token>,
        roots: Option<Vec<Certificate>>,
        timeout: Duration,
    ) -> Result<Self, reqwest::Error> {
        // webrtc brings ring; HTTPS is to use it, too. A second call changes nothing.
        rustls::crypto::ring::default_provider().install_default().ok();
        let builder = || {
            let named = Client::builder().user_agent(concat!("cv-sender/", env!("CARGO_PKG_VERSION")));
            // Redirects are followed here: which of them, and with what, is WHIP's affair.
            named.connect_timeout(timeout).pool_idle_timeout(IDLE_CONNECTION).redirect(Policy::none())
        };
        let own = || roots.clone().unwrap_or_default();
        let client = match builder().tls_certs_merge(own()).build() {
            // A small machine may have no root certificates; plain HTTP needs none, and those given may be enough.
            Err(_no_roots) if url.scheme() == "http" || roots.is_some() => builder().tls_certs_only(own()).build()?,
            built => built?,
        };
        Ok(Self { client, url, token })
    }

    /// The endpoint without what is secret in it.
    pub fn url(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        if url.set_password(None).is_err() || url.set_username("").is_err() {
            return self.url.host_str().unwrap_or_default().to_owned();
        }
        url.to_string()
    }

    /// POSTs `offer`.
    pub async fn post(&self, offer: String, query: &Query, timeout: Duration) -> Result<Created, Error> {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(&query.pairs);
        for _ in 0..=MAX_REDIRECTS {
            let request = self.request(Method::POST, url.clone()).header(CONTENT_TYPE, SDP).body(offer.clone());
            let response = request.timeout(timeout).send().await.map_err(|error| self.unreachable(&error))?;
            match response.status() {
                status if status.is_success() => return self.created(response).await,
                status if status.is_redirection() => url = self.handed_on(&url, status, &response)?,
                status => return Err(self.rejected(status, response).await),
            }
        }
        Err(self.not_whip(format!("it hands an offer on more than {MAX_REDIRECTS} times")))
    }

    /// Where a redirect leads. Only those that keep method and body are followed (RFC 9725, 4.5).
    fn handed_on(&self, from: &Url, status: StatusCode, response: &Response) -> Result<Url, Error> {
        if ![StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT].contains(&status) {
            return Err(self.not_whip(format!("it redirects with {status}, but an offer is only handed on by 307")));
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let mut to = location
            .and_then(|location| from.join(location).ok())
            .ok_or_else(|| self.not_whip(format!("it redirects with {status}, but not to a URL")))?;
        if self.is_exposed(from, &to) {
            return Err(self.not_whip("it redirects from https to http, where the token could be read".into()));
        }
        if to.query().is_none() {
            // A balancer that knows hosts and paths only; what is asked for goes along.
            to.set_query(from.query());
        }
        Ok(to)
    }

    /// Whether the token would leave what protects it.
    fn is_exposed(&self, from: &Url, to: &Url) -> bool {
        self.token.is_some() && from.scheme() == "https" && to.scheme() != "https"
    }

    /// Whether there still is a session at `url`. A server that does not take GET has an opinion on it all the same.
    pub async fn is_alive(&self, url: &Url, timeout: Duration) -> Result<bool, Error> {
        let request = self.request(Method::GET, url.clone()).timeout(timeout);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(false),
            status if status.is_server_error() => Err(self.rejected(status, response).await),
            _ => Ok(true),
        }
    }

    /// Restarts ICE of the session at `url` with the credentials and candidates in `fragment`; gives the server's.
    pub async fn restart(&self, url: &Url, fragment: String, timeout: Duration) -> Result<String, Error> {
        let request = self.request(Method::PATCH, url.clone()).header(CONTENT_TYPE, SDP_FRAGMENT).header(IF_MATCH, "*");
        let response = request.body(fragment).timeout(timeout).send().await;
        let response = response.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            StatusCode::NO_CONTENT => Err(self.not_whip("it took an ICE restart for new candidates".into())),
            status if status.is_success() => {
                bounded_text(response, MAX_ANSWER).await.map_err(|problem| self.not_whip(problem))
            }
            status => Err(self.rejected(status, response).await),
        }
    }

    /// DELETEs the session at `url`. `ours` adds what only a server of our kind understands.
    pub async fn delete(&self, url: &Url, ours: Option<(u64, bool)>, timeout: Duration) -> Result<(), Error> {
        let mut url = url.clone();
        if let Some((frames, keep)) = ours {
            url.query_pairs_mut().append_pair(query::FRAMES, &frames.to_string());
            if keep {
                url.query_pairs_mut().append_pair(query::KEEP, "1");
            }
        }
        let request = self.request(Method::DELETE, url).timeout(timeout);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(self.rejected(status, response).await),
        }
    }

    /// Reads the session's results as they come, from frame `since` on.
    pub async fn results(&self, url: &Url, since: u64) -> Result<Response, Error> {
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("since", &since.to_string());
        let request = self.request(Method::GET, url).header(ACCEPT, "application/x-ndjson");
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(self.rejected(status, response).await),
        }
    }

    /// A request with the token, if there is one (RFC 9725, 4.7).
    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(&token.0),
            None => request,
        }
    }

    async fn created(&self, response: Response) -> Result<Created, Error> {
        // After a redirect, relative links are relative to where the answer came from.
        let base = response.url().clone();
        let text =
            |name| response.headers().get(name).and_then(|value: &reqwest::header::HeaderValue| value.to_str().ok());
        let join = |link: &str| base.join(link).ok();
        let session = text(LOCATION).and_then(join);
        let links = response.headers().get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        let links: Vec<Link> = links.flat_map(Link::parse_all).collect();
        let results = links.iter().find(|link| link.is(RESULTS_REL)).and_then(|link| join(&link.target));
        let ice_servers = ice_servers(&links);
        let answer = bounded_text(response, MAX_ANSWER).await.map_err(|problem| self.not_whip(problem))?;
        if !answer.starts_with("v=0") {
            return Err(self.not_whip("its answer is not SDP".into()));
        }
        if [&session, &results].into_iter().flatten().any(|to| self.is_exposed(&base, to)) {
            return Err(
                self.not_whip("it names its session with http instead of https, where the token could be read".into())
            );
        }
        Ok(Created { answer, session, results, ice_servers })
    }

    async fn rejected(&self, status: StatusCode, response: Response) -> Error {
        let retry_after = retry_after(response.headers());
        let body = bounded_text(response, 4096).await.unwrap_or_default();
        let said = serde_json::from_str::<serde_json::Value>(&body).ok().and_then(|problem| {
            let text = problem.get("detail").or_else(|| problem.get("error"))?.as_str()?;
            Some(text.to_owned())
        });
        let detail = match status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
                format!("there is no WHIP endpoint at this path{said}")
            }
            _ => {
                said.unwrap_or_else(|| body.lines().next().unwrap_or("it gives no reason").chars().take(200).collect())
            }
        };
        let url = self.url();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Refused { url, status, detail },
            _ => Error::Rejected { url, status, detail, retry_after },
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        if let Some(problem) = distrust(error) {
            return Error::Untrusted { url: self.url(), problem };
        }
        // The innermost cause says it best: "Connection refused", "dns error".
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Error::Unreachable { url: self.url(), problem: cause.to_string() }
    }

    /// The endpoint does not answer in time.
    pub fn silent(&self) -> Error {
        Error::Unreachable { url: self.url(), problem: "it does not answer in time".into() }
    }

    fn not_whip(&self, problem: String) -> Error {
        Error::NotWhip { url: self.url(), problem }
    }
}

/// A file of certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read certificates from {path} (--ca-file): {problem}")]
pub struct RootsError {
    path: PathBuf,
    problem: String,
}

/// The certificates in the PEM file at `path`.
pub fn roots(path: &Path) -> Result<Vec<Certificate>, RootsError> {
    let wrong = |problem: String| RootsError { path: path.to_owned(), problem };
    let pem = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        Ok(_) => Err(wrong("there is none in it; it has to be PEM (-----BEGIN CERTIFICATE-----)".into())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// What is wrong with the server's certificate, if that is why a request failed.
fn distrust(error: &reqwest::Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return of_certificate(error);
        }
        // What an I/O error carries is not among its sources.
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}

fn of_certificate(error: &rustls::Error) -> Option<String> {
    use rustls::{CertificateError as Reason, Error, InvalidMessage};
    match error {
        // A known authority that has only the name in common with the one that signed it is an unknown one, too.
        Error::InvalidCertificate(Reason::UnknownIssuer | Reason::BadSignature) => Some(
            "its certificate is signed by an authority that this machine does not know: name that authority's certificate with --ca-file".into(),
        ),
        Error::InvalidCertificate(reason) => Some(match reason {
            Reason::Expired | Reason::ExpiredContext { .. } => {
                "its certificate has expired: it has to renew it, or this machine's clock is wrong".into()
            }
            Reason::NotValidForName | Reason::NotValidForNameContext { .. } => {
                format!("its certificate is for another name: use that name in --url ({reason})")
            }
            other => format!("its certificate is no good: {other}"),
        }),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Some("it does not speak TLS: is it an http:// URL?".into())
        }
        _ => None,
    }
}

/// The STUN and TURN servers among `links` (RFC 9725, 4.6); those that are of no use here are left out.
fn ice_servers(links: &[Link]) -> Vec<IceServer> {
    let offered = links.iter().filter(|link| link.is(ice_server::REL)).take(MAX_ICE_SERVERS);
    let usable = offered.filter_map(|link| {
        let [username, credential] = ["username", "credential"].map(|name| link.parameter(name).unwrap_or_default());
        let server = IceServer::new(&link.target, Credentials::new(username, credential));
        server.inspect_err(|problem| tracing::debug!(url = link.target, %problem, "an ICE server left out")).ok()
    });
    usable.collect()
}

/// Retry-After in seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_no_number) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(date.duration_since(Timestamp::now())).ok()?
        }
    };
    Some(asked.min(LONGEST_PAUSE))
}

async fn bounded_text(mut response: Response, limit: usize) -> Result<String, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| format!("its answer broke off: {error}"))? {
        if body.len() + chunk.len() > limit {
            return Err("its answer is far too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|_not_utf8| "its answer is not text".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usable_ice_servers_are_found_among_links() {
        let links = concat!(
            r#"</results>; rel="urn:x", <stun:a>; rel="ice-server", <turns:b>; rel="ice-server", "#,
            r#"<turn:c?transport=udp>; rel="ice-server"; username="u"; credential="p,q"; credential-type="password", "#,
            r#"<turn:d>; rel="ice-server""#,
        );
        let urls: Vec<String> = ice_servers(&Link::parse_all(links)).iter().map(IceServer::url).collect();
        assert_eq!(urls, ["stun:a:3478", "turn:c:3478?transport=udp"]);
    }

    #[test]
    fn a_pause_may_be_asked_for_in_seconds_or_until_a_date() {
        let asked = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers)
        };
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("Sat, 06 Nov 2094 08:49:37 GMT"), Some(LONGEST_PAUSE));
        assert_eq!(asked("18446744073709551615"), Some(LONGEST_PAUSE), "and nobody adds that to the time");
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), None);
        assert_eq!(asked("soon"), None);
    }

    #[test]
    fn secrets_are_not_printed() {
        let url = Url::parse("http://user:pass@host:1/whip?key=k").unwrap();
        let endpoint = Endpoint::new(url, Some(Token::new("secret")), None, Duration::from_secs(1)).unwrap();
        assert_eq!(endpoint.url(), "http://host:1/whip");
        assert!(!format!("{:?}", endpoint.token).contains("secret"));
    }
}
