//! What the receiver says over HTTP beside WHIP: sessions and their results.

use std::{collections::HashMap, convert::Infallible, pin::pin, sync::Arc};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{
        FromRequestParts, Path, Query, State,
        ws::{Message as Frame, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderName, StatusCode, header, request::Parts},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing,
};
use cv_core::{analyzers::List, process::Stop, session_id::SessionId};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    analysis::Catalog,
    session::{Message, Unchanged},
    sessions::Sessions,
    sink::{self, Bound, Inbox, Rendered},
};

pub mod access;
pub mod connection;
pub mod counters;
pub mod doors;
pub mod etag;
pub mod network;
pub mod origin;
pub mod places;
pub mod problem;
pub mod rates;
pub mod server;
pub mod tls;
pub mod tokens;
pub mod waiting;

use problem::Problem;
use tokens::{Grant, Scope};

/// Bytes of a message from a reader over WebSocket, who has nothing to say; also what is read at once.
const MAX_HEARD: usize = 4096;
/// Bytes that wait for such a reader: the longest line, and answers to pings as long as it takes none.
const MAX_WAITING: usize = 256 << 10;

/// What the caller's token may do.
type Caller = Extension<Arc<Grant>>;

/// The routes about sessions, which may ask for what `catalog` has. Readers are sent away in good order when `closing`
/// is raised.
pub fn routes(sessions: Sessions, catalog: Arc<Catalog>, closing: Stop) -> Router {
    Router::new()
        .route("/cv/sessions", routing::get(list))
        .route("/cv/session", routing::delete(forget_named))
        .route("/cv/session/{id}", routing::get(describe).delete(forget))
        .route("/cv/session/{id}/analyze", routing::patch(change))
        .route("/cv/session/{id}/results", routing::get(results))
        .layer(Extension(catalog))
        .layer(Extension(closing))
        .with_state(sessions)
}

async fn list(State(sessions): State<Sessions>, Extension(grant): Caller) -> Result<Json<Value>, Problem> {
    access::require(&grant, Scope::Read)?;
    let visible = sessions.all().into_iter().filter(|session| grant.covers(&session.id));
    let described = visible.map(|session| async move { session.ask(Message::Describe).await });
    Ok(Json(futures_util::future::join_all(described).await.into_iter().flatten().collect()))
}

async fn describe(
    State(sessions): State<Sessions>,
    Extension(grant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let session = sessions.find(&access::session(&grant, Scope::Read, &id)?).ok_or_else(|| unknown(&id))?;
    session.ask(Message::Describe).await.map(Json).ok_or_else(|| unknown(&id))
}

/// Bytes of a list of analyzers, which stands in results and logs.
const MAX_LIST: usize = 4096;

/// PATCH: other analyzers from the next picture on.
async fn change(
    State(sessions): State<Sessions>,
    Extension(grant): Caller,
    Extension(catalog): Extension<Arc<Catalog>>,
    Path(id): Path<String>,
    body: String,
) -> Result<Json<Value>, Problem> {
    let session = sessions.find(&access::session(&grant, Scope::Admin, &id)?).ok_or_else(|| unknown(&id))?;
    let wrong = |error: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error);
    if body.len() > MAX_LIST || body.trim().contains(|letter: char| letter.is_control() && !letter.is_whitespace()) {
        return Err(wrong(format!("a list of analyzers is a line of text or JSON of at most {MAX_LIST} bytes")));
    }
    let list = List::of_body(&body).map_err(|error| wrong(error.to_string()))?;
    let plan = catalog.plan_list(&list).map_err(|error| wrong(error.to_string()))?;
    // A line, however it was sent: it stands in logs and results.
    let asked = list.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let changed = session.ask(|answer| Message::Change(Arc::new(plan), asked.clone(), answer)).await;
    match changed.ok_or_else(|| unknown(&id))? {
        Ok(()) => Ok(Json(json!({ "session": id, "analyze": asked }))),
        Err(why @ Unchanged::Ended) => Err(Problem::new(StatusCode::CONFLICT, format!("session {id}: {why}"))),
        Err(why @ Unchanged::Waiting) => Err(Problem::unavailable(format!("session {id}: {why}"))),
    }
}

async fn forget(
    State(sessions): State<Sessions>,
    Extension(grant): Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    forget_session(&sessions, &access::session(&grant, Scope::Admin, &id)?).await
}

/// DELETE with the id in `?session=` or in a JSON body `{"sessionId": …}`.
async fn forget_named(
    State(sessions): State<Sessions>,
    Extension(grant): Caller,
    Query(query): Query<HashMap<String, String>>,
    body: String,
) -> Result<Json<Value>, Problem> {
    access::require(&grant, Scope::Admin)?;
    let in_body = || Some(serde_json::from_str::<Value>(&body).ok()?.get("sessionId")?.as_str()?.to_owned());
    let id = query.get("session").cloned().or_else(in_body);
    let id = id.ok_or_else(|| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "name the session: ?session=ID or a JSON body {\"sessionId\":\"ID\"}",
        )
    })?;
    forget_session(&sessions, &access::session(&grant, Scope::Admin, &id)?).await
}

/// Forgets the state; a session that nobody knows is forgotten already.
async fn forget_session(sessions: &Sessions, id: &SessionId) -> Result<Json<Value>, Problem> {
    if let Some(session) = sessions.find(id) {
        session.ask(Message::Forget).await;
    }
    Ok(Json(json!({ "ok": true })))
}

/// The session's lines as they come: server-sent events, NDJSON or WebSocket messages.
async fn results(
    State(sessions): State<Sessions>,
    Extension(grant): Caller,
    Extension(closing): Extension<Stop>,
    Path(id): Path<String>,
    wanted: Wanted,
) -> Result<Response, Problem> {
    let session = sessions.find(&access::session(&grant, Scope::Read, &id)?).ok_or_else(|| unknown(&id))?;
    let (outbox, inbox) = sink::outbox(Bound::READER);
    if !session.ask(|answer| Message::Subscribe(wanted.since, outbox, answer)).await.ok_or_else(|| unknown(&id))? {
        return Err(Problem::unavailable("this session has as many readers as it may; try again later"));
    }
    let lines = lines(inbox, closing);
    Ok(match wanted.form {
        Form::WebSocket(upgrade) => bounded(upgrade).on_upgrade(|socket| websocket(socket, lines)),
        Form::Ndjson => ndjson(lines),
        Form::Events => events(lines),
    })
}

/// What a reader asks for.
struct Wanted {
    since: Option<u64>,
    form: Form,
}

/// How lines are written.
enum Form {
    WebSocket(WebSocketUpgrade),
    Ndjson,
    Events,
}

impl<S: Send + Sync> FromRequestParts<S> for Wanted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<HashMap<String, String>>::try_from_uri(&parts.uri);
        let query = query.map_err(|error| Problem::bad_request(error.to_string()))?;
        let since = query.get("since").map(|text| text.parse::<u64>()).transpose();
        let since = since.map_err(|_not_a_number| Problem::bad_request("?since= is a frame number"))?;
        let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
        // A browser that comes back names the last event it saw.
        let seen = text(HeaderName::from_static("last-event-id")).and_then(|seen| seen.parse::<u64>().ok());
        let since = seen.map(|seen| seen.saturating_add(1)).or(since);
        let form = if text(header::UPGRADE).is_some() {
            let upgrade = WebSocketUpgrade::from_request_parts(parts, state).await;
            Form::WebSocket(upgrade.map_err(|rejection| Problem::bad_request(rejection.body_text()))?)
        } else if text(header::ACCEPT).is_some_and(|accept| accept.contains("application/x-ndjson")) {
            Form::Ndjson
        } else {
            Form::Events
        };
        Ok(Self { since, form })
    }
}

fn ndjson(lines: impl Stream<Item = Arc<Rendered>> + Send + 'static) -> Response {
    let lines = lines.map(|line| Ok::<_, Infallible>(format!("{}\n", line.json)));
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(lines)).into_response()
}

fn events(lines: impl Stream<Item = Arc<Rendered>> + Send + 'static) -> Response {
    let events = lines.map(|line| {
        let event = Event::default().data(&line.json);
        Ok::<_, Infallible>(match line.frames {
            Some((_, to)) => event.id(to.to_string()),
            None => event,
        })
    });
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// Lines until there will be no more, or until `closing` is raised and none waits.
fn lines(inbox: Inbox, closing: Stop) -> impl Stream<Item = Arc<Rendered>> + Send + 'static {
    let batches = stream::unfold((inbox, closing), |(mut inbox, mut closing)| async move {
        let batch = tokio::select! {
            biased;
            batch = inbox.recv() => batch,
            () = closing.raised() => Vec::new(),
        };
        (!batch.is_empty()).then_some((batch, (inbox, closing)))
    });
    batches.flat_map(stream::iter)
}

/// The library makes room for a whole frame when it is announced, and for every pong until it is taken.
fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    let upgrade = upgrade.max_message_size(MAX_HEARD).max_frame_size(MAX_HEARD).read_buffer_size(MAX_HEARD);
    upgrade.write_buffer_size(0).max_write_buffer_size(MAX_WAITING)
}

async fn websocket(mut socket: WebSocket, lines: impl Stream<Item = Arc<Rendered>>) {
    let mut lines = pin!(lines);
    loop {
        tokio::select! {
            line = lines.next() => match line {
                Some(line) => if socket.send(Frame::Text(line.json.as_str().into())).await.is_err() {
                    return;
                },
                None => break,
            },
            // Readers have nothing to say; a close or an error ends it.
            heard = socket.recv() => if !matches!(heard, Some(Ok(_))) {
                return;
            },
        }
    }
    if let Err(error) = socket.send(Frame::Close(None)).await {
        tracing::trace!(%error, "a reader left before the end");
    }
}

fn unknown(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no session {id}; GET /cv/sessions lists those there are"))
}
