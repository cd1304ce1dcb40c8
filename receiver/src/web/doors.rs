//! The HTTP doors as a whole: who may come in, under which certificate, and what is read again on SIGHUP.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use axum::{
    Router,
    body::{self, Body, HttpBody},
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::Response,
};
use cv_core::process::{Hangups, Stop};
use rustls::ServerConfig;
use tokio::{net::TcpListener, sync::watch};

use super::{
    access::{self, Access},
    counters::{HttpCounters, count},
    origin::{self, Origins, Pages},
    places::{Limits, Proof},
    problem::{self, Problem},
    server::Server,
    tls::Identity,
    tokens::Tokens,
};
use crate::{cli::Doors as Options, ops, transport::whip};

/// Bytes in a request's body: Chromium offers 7 kB with audio, video and a channel.
const MAX_BODY: usize = 64 << 10;
/// How long a request's body may take.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// More is no list of tokens.
const MAX_TOKENS: u64 = 1 << 20;

/// The doors, before anything is behind them.
pub struct Doors {
    access: Arc<Access>,
    pages: Arc<Pages>,
    certificate: Option<watch::Receiver<Arc<ServerConfig>>>,
    limits: Limits,
    reload: Option<Reload>,
    counters: Arc<HttpCounters>,
}

impl Doors {
    /// Reads tokens and certificate for a listener at `address`, and minds SIGHUP from now on.
    pub fn new(options: &Options, address: SocketAddr) -> Result<Self> {
        let exposed = !address.ip().is_loopback();
        let (tokens, token_file) = tokens(options)?.unzip();
        if exposed && tokens.is_none() && !options.allow_anonymous {
            bail!(
                "{address} is reachable from other machines and there is no token: give --token-file, or --allow-anonymous to let everybody in"
            );
        }
        let identity = options.tls_cert.clone().zip(options.tls_key.clone());
        let identity = identity.map(|(certificate, key)| Identity { certificate, key });
        let config = identity.as_ref().map(load).transpose()?;
        if exposed && config.is_none() {
            tracing::warn!(
                "{address} is reachable from other machines without TLS, so tokens and results can be read on the way: give --tls-cert and --tls-key, or put a proxy in front"
            );
        }
        let guarded = !exposed && tokens.is_none();
        let origins = Origins::parse(&options.cors_origin).context("--cors-origin")?;
        let (tokens_in, tokens_out) = tokens.map(watch::channel).unzip();
        let (certificate_in, certificate_out) = config.map(watch::channel).unzip();
        let counters = Arc::<HttpCounters>::default();
        let rate = (options.rate_limit > 0).then(|| options.rate_limit.into());
        Ok(Self {
            access: Arc::new(Access::new(tokens_out, rate, counters.clone())),
            pages: Arc::new(Pages { origins, guarded }),
            certificate: certificate_out,
            limits: Limits {
                total: options.max_connections.into(),
                per_address: options.max_connections_per_address.into(),
            },
            reload: Reload::new(token_file.flatten().zip(tokens_in), identity.zip(certificate_in))?,
            counters,
        })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }

    /// What the server counts.
    pub fn counters(&self) -> Arc<HttpCounters> {
        self.counters.clone()
    }

    /// Serves what is `published` to and `others` until `closing` is raised; then lets answers finish.
    pub async fn serve(self, listener: TcpListener, published: Router, others: Router, closing: Stop) {
        let server = self.server(published, others);
        let reloading = self.reload.map(|reload| tokio::spawn(reload.on_hangup()));
        server.serve(listener, self.limits, closing).await;
        reloading.inspect(tokio::task::JoinHandle::abort);
    }

    /// The server of what is `published` to and of `others`, with all that a request meets before it gets there.
    pub fn server(&self, published: Router, others: Router) -> Server {
        let router = published
            .route_layer(middleware::from_fn(access::publish))
            .merge(others)
            .fallback(problem::no_such_path)
            .method_not_allowed_fallback(problem::no_such_method)
            .layer(middleware::map_response(problem::translate))
            .layer(middleware::from_fn_with_state(self.counters.clone(), receive))
            .layer(middleware::from_fn_with_state(self.access.clone(), access::check))
            .layer(middleware::from_fn_with_state(self.pages.clone(), origin::check))
            .layer(self.pages.origins.cors())
            .layer(middleware::from_fn(whip::announce))
            .layer(middleware::map_response(harden))
            .layer(middleware::from_fn(ops::count));
        Server::new(router, self.certificate.clone(), self.counters.clone())
    }
}

/// Takes in a request's body, which is always small, so that no handler waits for it and no answer comes
/// before its end.
async fn receive(State(counters): State<Arc<HttpCounters>>, request: Request, next: Next) -> Result<Response, Problem> {
    let too_large = || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {MAX_BODY} bytes here"));
    let (parts, body) = request.into_parts();
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_large());
    }
    let body = tokio::time::timeout(BODY_LIMIT, body::to_bytes(body, MAX_BODY)).await.map_err(|_elapsed| {
        count(&counters.body_timeouts);
        Problem::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {} s", BODY_LIMIT.as_secs()))
    })?;
    // If it broke off, nobody is left to read this.
    let body = body.map_err(|_too_large_or_gone| too_large())?;
    if let Some(proof) = parts.extensions.get::<Proof>() {
        proof.earn();
    }
    Ok(next.run(Request::from_parts(parts, Body::from(body))).await)
}

/// Says what browsers and caches are not to do with an answer: guess its type, keep it.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The tokens, with the file they are from, if any.
fn tokens(options: &Options) -> Result<Option<(Arc<Tokens>, Option<PathBuf>)>> {
    Ok(match &options.token_file {
        Some(path) => Some((read_tokens(path)?, Some(path.clone()))),
        None => options.token.clone().map(|token| (Arc::new(Tokens::single(token)), None)),
    })
}

fn read_tokens(path: &Path) -> Result<Arc<Tokens>> {
    let read = || -> Result<Arc<Tokens>> {
        warn_if_public(path);
        let mut text = String::new();
        io::Read::read_to_string(&mut io::Read::take(fs::File::open(path)?, MAX_TOKENS), &mut text)?;
        Ok(Arc::new(Tokens::parse(&text)?))
    };
    read().with_context(|| format!("cannot read tokens from {}", path.display()))
}

fn load(identity: &Identity) -> Result<Arc<ServerConfig>> {
    warn_if_public(&identity.key);
    Ok(identity.load(SystemTime::now())?)
}

/// A secret that every user of this machine can read is none.
fn warn_if_public(path: &Path) {
    #[cfg(unix)]
    if let Ok(metadata) = fs::metadata(path) {
        use std::os::unix::fs::PermissionsExt;
        if metadata.is_file() && metadata.permissions().mode() & 0o004 != 0 {
            tracing::warn!("every user of this machine can read {0}: chmod o-r {0}", path.display());
        }
    }
}

/// A file of tokens, and where those in force are put.
type TokenFile = (PathBuf, watch::Sender<Arc<Tokens>>);
/// A certificate's files, and where the one in force is put.
type CertificateFiles = (Identity, watch::Sender<Arc<ServerConfig>>);

/// What SIGHUP makes the receiver read again. Connections that exist go on.
struct Reload {
    tokens: Option<TokenFile>,
    certificate: Option<CertificateFiles>,
    hangups: Hangups,
}

impl Reload {
    /// Without anything to read again there is nothing to wait for, and SIGHUP ends the program as it does others.
    fn new(tokens: Option<TokenFile>, certificate: Option<CertificateFiles>) -> Result<Option<Self>> {
        if tokens.is_none() && certificate.is_none() {
            return Ok(None);
        }
        let hangups = Hangups::new().context("cannot listen for SIGHUP")?;
        Ok(Some(Self { tokens, certificate, hangups }))
    }

    async fn on_hangup(mut self) {
        loop {
            self.hangups.recv().await;
            if let Some((path, tokens)) = &self.tokens {
                put(read_tokens_again(path), tokens, "tokens");
            }
            if let Some((identity, certificate)) = &self.certificate {
                put(load(identity), certificate, "certificate");
            }
        }
    }
}

/// Puts what was read in force; what could not be read stays as it was.
fn put<T>(read: Result<Arc<T>>, in_force: &watch::Sender<Arc<T>>, what: &str) {
    match read {
        Ok(fresh) => {
            in_force.send_replace(fresh);
            tracing::info!("read again: {what}");
        }
        Err(error) => tracing::error!("no change of {what}: {error:#}"),
    }
}

fn read_tokens_again(path: &Path) -> Result<Arc<Tokens>> {
    // A pipe was read to its end at the start, and would be waited for now.
    if !path.is_file() {
        bail!("{} is not a plain file any more", path.display());
    }
    read_tokens(path)
}
