//! The WHIP endpoint (RFC 9725): offers in, answers and session URLs out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing,
};
use cv_core::{
    session_id::SessionId,
    whip::{self, Mode, query},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    offer::{Offer, OfferError},
    peer::{self, Peer, PeerError},
};
use crate::{
    analysis::{Definitions, Plan},
    dispatch::Dispatch,
    pipeline::Wiring,
    session::Reason,
    sessions::Sessions,
    sink::pictures::Pictures,
    web::problem::Problem,
};

/// Chromium offers 7 kB with audio, video and a channel; nobody needs more than this.
const MAX_OFFER: usize = 64 << 10;

/// What a new connection needs.
pub struct Settings {
    /// The sessions there are.
    pub sessions: Sessions,
    /// Analyzers of a session that asks for none.
    pub plan: Plan,
    /// Names that a session may ask for beside the built-in ones.
    pub definitions: Definitions,
    /// Where heavy extraction runs.
    pub dispatch: Arc<dyn Dispatch>,
    /// Whether pictures are stored.
    pub pictures: Option<Pictures>,
    /// Connections at once.
    pub max_peers: usize,
}

/// The endpoint with its connections. Cloning shares it.
#[derive(Clone)]
pub struct Endpoint {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    places: Arc<Semaphore>,
    /// Connections by the secret of their URL. Locked for a look-up only, hence a plain mutex.
    peers: Mutex<HashMap<String, Peer>>,
}

impl Endpoint {
    /// An endpoint without connections.
    pub fn new(settings: Settings) -> Self {
        let places = Arc::new(Semaphore::new(settings.max_peers));
        Self { shared: Arc::new(Shared { settings, places, peers: Mutex::default() }) }
    }

    /// The routes of the endpoint.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/whip", routing::post(offer).get(nothing))
            .route("/whip/{secret}", routing::delete(end).get(nothing))
            .layer(DefaultBodyLimit::max(MAX_OFFER))
            .with_state(self.clone())
    }

    /// Takes no new connection, ends those there are, and waits for their last lines.
    pub async fn shut_down(&self) {
        self.shared.places.close();
        let peers: Vec<_> = self.peers().values().cloned().collect();
        let ends = peers.iter().map(|peer| peer.end(Reason::Lost("the receiver is shutting down".into())));
        futures_util::future::join_all(ends).await;
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<String, Peer>> {
        self.shared.peers.lock().expect("nobody panics while holding it")
    }

    /// Answers `offer` and keeps the connection.
    async fn accept(&self, offer: &Offer, asked: Asked, place: OwnedSemaphorePermit) -> Result<Response, Problem> {
        let settings = &self.shared.settings;
        let session = settings.sessions.enter(&asked.session).map_err(|full| Problem::unavailable(full.to_string()))?;
        let wiring = Wiring {
            session,
            mode: asked.mode,
            plan: Arc::new(asked.plan),
            next: asked.next,
            first_sequence: asked.first_sequence,
            dispatch: settings.dispatch.clone(),
            pictures: settings.pictures.clone(),
        };
        let (answer, peer) = peer::accept(offer, wiring).await?;
        let secret = self.register(peer, place);
        Ok(created(&secret, &asked.session, answer))
    }

    /// Remembers a connection under a new secret until it is over.
    fn register(&self, peer: Peer, place: OwnedSemaphorePermit) -> String {
        let secret = format!("{:032x}", rand::random::<u128>());
        self.peers().insert(secret.clone(), peer.clone());
        let (endpoint, key) = (self.clone(), secret.clone());
        tokio::spawn(async move {
            peer.closed().await;
            endpoint.peers().remove(&key);
            drop(place);
        });
        secret
    }
}

type Parameters = Query<HashMap<String, String>>;

/// POST: an offer.
async fn offer(
    State(endpoint): State<Endpoint>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(whip::SDP) {
        let detail = format!("an offer is sent as {}, not as '{content_type}'", whip::SDP);
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let sdp = std::str::from_utf8(&body).map_err(|_not_utf8| Problem::bad_request("the offer is not text"))?;
    let offer = Offer::parse(sdp)?;
    let asked = Asked::read(&parameters, &endpoint.shared.settings)?;
    let place = endpoint.shared.places.clone().try_acquire_owned().map_err(|error| Problem::no_place(&error))?;
    // A client that hangs up now cancels this handler; half a connection would never be closed.
    let accepting = tokio::spawn(async move { endpoint.accept(&offer, asked, place).await });
    let accepted = accepting.await;
    accepted.unwrap_or_else(|_panic| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "answering the offer failed")))
}

/// What an offer's query asks for.
struct Asked {
    session: SessionId,
    mode: Mode,
    plan: Plan,
    next: Option<u64>,
    first_sequence: Option<u16>,
}

impl Asked {
    fn read(parameters: &HashMap<String, String>, settings: &Settings) -> Result<Self, Problem> {
        let wrong = |name: &str, error: &dyn std::fmt::Display| Problem::bad_request(format!("?{name}=: {error}"));
        let session = match parameters.get(query::SESSION) {
            Some(text) => text.parse().map_err(|error| wrong(query::SESSION, &error))?,
            // A client that knows nothing of sessions gets one of its own.
            None => SessionId::generate(),
        };
        let mode = match parameters.get(query::MODE) {
            Some(text) => text.parse().map_err(|error| wrong(query::MODE, &error))?,
            None => Mode::Live,
        };
        let plan = match parameters.get(query::ANALYZE) {
            Some(list) => Plan::parse(list, &settings.definitions)
                .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?,
            None => settings.plan.clone(),
        };
        Ok(Self {
            session,
            mode,
            plan,
            next: number(parameters, query::NEXT)?,
            first_sequence: number(parameters, query::FIRST_SEQUENCE)?,
        })
    }
}

fn number<T: std::str::FromStr>(parameters: &HashMap<String, String>, name: &str) -> Result<Option<T>, Problem> {
    let parsed = parameters.get(name).map(|text| text.parse()).transpose();
    parsed.map_err(|_not_a_number| Problem::bad_request(format!("?{name}= is not a number in range")))
}

/// 201 with all that RFC 9725 wants in it.
fn created(secret: &str, session: &SessionId, answer: String) -> Response {
    let mut response = (StatusCode::CREATED, answer).into_response();
    let headers = response.headers_mut();
    let mut set = |name, value: String| {
        headers.insert(name, HeaderValue::try_from(value).expect("ids and hex digits are header text"));
    };
    set(header::CONTENT_TYPE, whip::SDP.into());
    set(header::LOCATION, format!("/whip/{secret}"));
    set(header::ETAG, format!("\"{:016x}\"", rand::random::<u64>()));
    set(header::LINK, format!("</cv/session/{session}/results>; rel=\"{}\"", whip::RESULTS_REL));
    response
}

/// DELETE: the end of a connection. Whatever If-Match says (RFC 9725, 4.2).
async fn end(
    State(endpoint): State<Endpoint>,
    Path(secret): Path<String>,
    Query(parameters): Parameters,
) -> Result<StatusCode, Problem> {
    let frames = number(&parameters, query::FRAMES)?;
    let keep = parameters.get(query::KEEP).is_some_and(|value| value == "1");
    let peer = endpoint.peers().remove(&secret);
    let Some(peer) = peer else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such session; it may have ended already"));
    };
    peer.end(Reason::Asked { frames, keep }).await;
    Ok(StatusCode::OK)
}

/// GET: nothing, successfully (RFC 9725, 4.2).
async fn nothing() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Adds to answers to OPTIONS what may be posted (RFC 9725, 4.2). The cross-origin layer takes every OPTIONS for
/// a preflight and answers it alone, so this belongs around that layer.
pub async fn announce(request: Request, next: Next) -> Response {
    let asked = request.method() == Method::OPTIONS && request.uri().path().starts_with("/whip");
    let mut response = next.run(request).await;
    if asked {
        let accept_post = HeaderName::from_static("accept-post");
        response.headers_mut().insert(accept_post, HeaderValue::from_static(whip::SDP));
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST, GET, DELETE, OPTIONS"));
    }
    response
}

impl From<OfferError> for Problem {
    fn from(error: OfferError) -> Self {
        let status = match error {
            OfferError::Malformed(_) => StatusCode::BAD_REQUEST,
            OfferError::Unsupported(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.to_string())
    }
}

impl From<PeerError> for Problem {
    fn from(error: PeerError) -> Self {
        let status = match error {
            PeerError::Negotiation(_) => StatusCode::BAD_REQUEST,
            PeerError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            PeerError::Ended => return Self::unavailable(error.to_string()),
        };
        Self::new(status, error.to_string())
    }
}
