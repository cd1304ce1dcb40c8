//! The WHIP endpoint (RFC 9725): offers in, answers and session URLs out.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, Extension, Path, Query, Request, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing,
};
use cv_core::{
    ice_server::IceServer,
    session_id::SessionId,
    whip::{self, Mode, query},
};

use super::{
    ice::{PatchError, Patched},
    offer::{Offer, OfferError},
    peer::{self, Accepted, Peer, PeerError},
    port::Port,
    sdpfrag::{Fragment, FragmentError},
    slots::{NoSlot, Slot, Slots},
};
use crate::{
    admission::{Admission, Refusal, Seat},
    analysis::{Catalog, Plan},
    dispatch::Places,
    pipeline::Wiring,
    session::{Loss, Reason},
    sessions::Sessions,
    sink::pictures::Pictures,
    web::{
        etag::{EntityTag, IfMatch, IfMatchError},
        problem::{self, Problem},
    },
};

/// Chromium offers 7 kB with audio, video and a channel; nobody needs more than this.
const MAX_OFFER: usize = 64 << 10;

/// What a new connection needs.
pub struct Settings {
    /// The sessions there are.
    pub sessions: Sessions,
    /// Analyzers of a session that asks for none.
    pub plan: Plan,
    /// What a session may ask for.
    pub catalog: Arc<Catalog>,
    /// Where heavy extraction runs.
    pub places: Places,
    /// Whether pictures are stored.
    pub pictures: Option<Pictures>,
    /// Who may come in.
    pub admission: Admission,
    /// Sessions with a sender at once.
    pub max_sessions: usize,
    /// Where media come in.
    pub port: Port,
    /// Servers that help clients to find a path.
    pub ice_servers: Vec<IceServer>,
}

/// The endpoint with its connections. Cloning shares it.
#[derive(Clone)]
pub struct Endpoint {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    slots: Slots,
    /// Connections by the secret of their URL. Locked for a look-up only, hence a plain mutex.
    peers: Mutex<HashMap<String, Peer>>,
}

impl Endpoint {
    /// An endpoint without connections.
    pub fn new(settings: Settings) -> Self {
        let slots = Slots::new(settings.max_sessions);
        Self { shared: Arc::new(Shared { settings, slots, peers: Mutex::default() }) }
    }

    /// The routes of the endpoint.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/whip", routing::post(offer).get(nothing))
            .route("/whip/{secret}", routing::delete(end).patch(change).get(exists))
            .layer(DefaultBodyLimit::max(MAX_OFFER))
            .with_state(self.clone())
    }

    /// Takes no new connection, ends those there are, and waits for their last lines.
    pub async fn shut_down(&self) {
        self.shared.slots.close();
        let peers: Vec<_> = self.peers().values().cloned().collect();
        let ends = peers.iter().map(|peer| peer.end(Reason::Lost(Loss::Shutdown)));
        futures_util::future::join_all(ends).await;
    }

    /// Whether there is no place for another sender.
    pub fn is_full(&self) -> bool {
        self.shared.slots.is_full()
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<String, Peer>> {
        self.shared.peers.lock().expect("nobody panics while holding it")
    }

    /// Answers `offer` and keeps the connection.
    async fn accept(&self, offer: &Offer, asked: Asked, (slot, seat): Room) -> Result<Response, Problem> {
        let settings = &self.shared.settings;
        let session = settings.sessions.enter(&asked.session).map_err(|full| Problem::unavailable(full.to_string()))?;
        let wiring = Wiring {
            session,
            client: asked.client,
            mode: asked.mode,
            plan: Arc::new(asked.plan),
            next: asked.next,
            run: asked.run,
            first_sequence: asked.first_sequence,
            places: settings.places.clone(),
            pictures: settings.pictures.clone(),
            seat: Arc::new(seat),
        };
        let Accepted { answer, tag, peer } = peer::accept(offer, wiring, slot, &settings.port).await?;
        let secret = self.register(peer.clone());
        // It may have waited for its turn while everything came to its end.
        if self.shared.slots.is_closed() {
            peer.end(Reason::Lost(Loss::Shutdown)).await;
            return Err(Problem::unavailable("the receiver is shutting down"));
        }
        let mut response = created(&secret, &asked.session, &tag, answer);
        for server in &settings.ice_servers {
            let link = HeaderValue::try_from(server.link()).expect("servers are header text");
            response.headers_mut().append(header::LINK, link);
        }
        Ok(response)
    }

    /// Remembers a connection under a new secret until it is over.
    fn register(&self, peer: Peer) -> String {
        let secret = format!("{:032x}", rand::random::<u128>());
        self.peers().insert(secret.clone(), peer.clone());
        let (endpoint, key) = (self.clone(), secret.clone());
        tokio::spawn(async move {
            peer.closed().await;
            endpoint.peers().remove(&key);
        });
        secret
    }
}

impl Shared {
    /// Room for a new connection. Where there is none, those that have not connected yet give way.
    fn room(&self, asked: &Asked) -> Result<Room, Problem> {
        loop {
            let refusal = match self.try_room(asked) {
                Ok(room) => return Ok(room),
                Err(refusal) => refusal,
            };
            let evicted = if refusal.may_pass() { self.slots.make_room(asked.address()) } else { None };
            let Some(evicted) = evicted else {
                if let NoRoom::Seat(refusal) = &refusal {
                    refusal.note(&asked.session, asked.mode);
                }
                return Err(Problem::unavailable(refusal.to_string()));
            };
            self.settings.admission.discount(&evicted);
        }
    }

    fn try_room(&self, asked: &Asked) -> Result<Room, NoRoom> {
        let slot = self.slots.take(&asked.session, asked.address())?;
        Ok((slot, self.settings.admission.admit(&asked.session, asked.mode)?))
    }
}

/// Why there is no room.
#[derive(Debug, thiserror::Error)]
enum NoRoom {
    #[error(transparent)]
    Slot(#[from] NoSlot),
    #[error(transparent)]
    Seat(#[from] Refusal),
}

impl NoRoom {
    /// Whether there may be room when others are gone.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Slot(NoSlot::Full) | Self::Seat(Refusal::Load { .. }))
    }
}

type Parameters = Query<HashMap<String, String>>;

/// POST: an offer.
async fn offer(
    State(endpoint): State<Endpoint>,
    Query(parameters): Parameters,
    client: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = text(&headers, whip::SDP, body)?;
    let offer = Offer::parse(&body)?;
    let mut asked = Asked::read(&parameters, &endpoint.shared.settings)?;
    asked.client = client.map(|Extension(ConnectInfo(address))| address.ip());
    let room = endpoint.shared.room(&asked)?;
    // A client that hangs up now cancels this handler; half a connection would never be closed.
    let accepting = tokio::spawn(async move { endpoint.accept(&offer, asked, room).await });
    let accepted = accepting.await;
    accepted.unwrap_or_else(|_panic| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "answering the offer failed")))
}

/// The body as text, if it is of the media type `wanted`.
fn text(headers: &HeaderMap, wanted: &str, body: Result<Bytes, BytesRejection>) -> Result<String, Problem> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !sent.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted) {
        let detail = format!("this is sent as {wanted}, not as '{sent}'");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = problem::body(body)?;
    String::from_utf8(body.into()).map_err(|_not_utf8| Problem::bad_request("the body is not text"))
}

/// What a new connection takes up: its session's place, and a seat among those whose pictures are analysed.
type Room = (Arc<Slot>, Seat);

/// What an offer's query asks for.
struct Asked {
    session: SessionId,
    client: Option<IpAddr>,
    mode: Mode,
    plan: Plan,
    next: Option<u64>,
    run: Option<u64>,
    first_sequence: Option<u16>,
}

impl Asked {
    /// Where it comes from, as far as that is known.
    fn address(&self) -> IpAddr {
        self.client.unwrap_or(Ipv4Addr::UNSPECIFIED.into())
    }

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
            Some(list) => settings
                .catalog
                .plan(list)
                .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?,
            None => settings.plan.clone(),
        };
        Ok(Self {
            session,
            client: None,
            mode,
            plan,
            next: number(parameters, query::NEXT)?,
            run: number(parameters, query::RUN)?,
            first_sequence: number(parameters, query::FIRST_SEQUENCE)?,
        })
    }
}

fn number<T: std::str::FromStr>(parameters: &HashMap<String, String>, name: &str) -> Result<Option<T>, Problem> {
    let parsed = parameters.get(name).map(|text| text.parse()).transpose();
    parsed.map_err(|_not_a_number| Problem::bad_request(format!("?{name}= is not a number in range")))
}

/// 201 with all that RFC 9725 wants in it.
fn created(secret: &str, session: &SessionId, tag: &EntityTag, answer: String) -> Response {
    let mut response = (StatusCode::CREATED, answer).into_response();
    let headers = response.headers_mut();
    let mut set = |name, value: String| {
        headers.insert(name, HeaderValue::try_from(value).expect("ids and hex digits are header text"));
    };
    set(header::CONTENT_TYPE, whip::SDP.into());
    set(header::LOCATION, format!("/whip/{secret}"));
    set(header::LINK, format!("</cv/session/{session}/results>; rel=\"{}\"", whip::RESULTS_REL));
    headers.insert(header::ETAG, tag.header());
    response
}

/// PATCH: candidates that come later, or a new ICE session (RFC 9725, 4.3).
async fn change(
    State(endpoint): State<Endpoint>,
    Path(secret): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let peer = endpoint.peers().get(&secret).cloned().ok_or(PatchError::Gone)?;
    let body = text(&headers, whip::SDP_FRAGMENT, body)?;
    let condition = IfMatch::of(&headers)?.ok_or_else(|| {
        let detail = "send If-Match: the last ETag with candidates, * with new credentials";
        Problem::new(StatusCode::PRECONDITION_REQUIRED, detail)
    })?;
    match peer.patch(condition, Fragment::parse(&body)?).await? {
        Patched::Trickled => Ok(StatusCode::NO_CONTENT.into_response()),
        Patched::Restarted { fragment, tag } => {
            let headers =
                [(header::CONTENT_TYPE, HeaderValue::from_static(whip::SDP_FRAGMENT)), (header::ETAG, tag.header())];
            Ok((headers, fragment).into_response())
        }
    }
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
    let peer = peer.ok_or(PatchError::Gone)?;
    peer.end(Reason::Asked { frames, keep }).await;
    Ok(StatusCode::OK)
}

/// GET: nothing, successfully (RFC 9725, 4.2).
async fn nothing() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// GET on a session: the same, as long as it is there.
async fn exists(State(endpoint): State<Endpoint>, Path(secret): Path<String>) -> Result<StatusCode, Problem> {
    match endpoint.peers().contains_key(&secret) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(PatchError::Gone.into()),
    }
}

/// Adds to answers to OPTIONS what may be sent (RFC 9725, 4.2; RFC 5789, 3.1). The cross-origin layer takes every
/// OPTIONS for a preflight and answers it alone, so this belongs around that layer.
pub async fn announce(request: Request, next: Next) -> Response {
    let options = request.method() == Method::OPTIONS;
    let (endpoint, session) = match request.uri().path().strip_prefix("/whip") {
        Some("" | "/") => (options, false),
        Some(path) => (false, options && path.starts_with('/')),
        None => (false, false),
    };
    let mut response = next.run(request).await;
    if endpoint || session {
        let mut set = |name, value| drop(response.headers_mut().insert(name, HeaderValue::from_static(value)));
        set(HeaderName::from_static("accept-post"), whip::SDP);
        if session {
            set(HeaderName::from_static("accept-patch"), whip::SDP_FRAGMENT);
        }
        set(header::ALLOW, if session { "PATCH, DELETE, GET, HEAD, OPTIONS" } else { "POST, GET, HEAD, OPTIONS" });
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
            PeerError::Excessive => StatusCode::UNPROCESSABLE_ENTITY,
            PeerError::Superseded => StatusCode::CONFLICT,
            PeerError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            PeerError::Ended | PeerError::NoRelay(_) => return Self::unavailable(error.to_string()),
        };
        Self::new(status, error.to_string())
    }
}

impl From<IfMatchError> for Problem {
    fn from(error: IfMatchError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<FragmentError> for Problem {
    fn from(error: FragmentError) -> Self {
        let status = match error {
            FragmentError::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            FragmentError::Malformed(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

impl From<PatchError> for Problem {
    fn from(error: PatchError) -> Self {
        let status = match error {
            PatchError::Gone => StatusCode::NOT_FOUND,
            PatchError::OtherSession => StatusCode::PRECONDITION_FAILED,
            PatchError::NoCredentials => StatusCode::BAD_REQUEST,
            PatchError::SameCredentials | PatchError::OtherSection => StatusCode::UNPROCESSABLE_ENTITY,
            PatchError::Superseded => StatusCode::CONFLICT,
            PatchError::Refused(_) => StatusCode::INTERNAL_SERVER_ERROR,
            PatchError::Late => return Self::unavailable(error.to_string()),
        };
        Self::new(status, error.to_string())
    }
}
