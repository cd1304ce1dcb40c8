//! What the receiver says over HTTP beside WHIP: sessions and their results.

use std::{collections::HashMap, convert::Infallible, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{
        Path, Query, State,
        ws::{Message as Frame, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing,
};
use cv_core::session_id::SessionId;
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    session::Message,
    sessions::Sessions,
    sink::{self, Bound, Inbox, Rendered},
};

pub mod access;
pub mod etag;
pub mod problem;

use problem::Problem;

/// The routes about sessions.
pub fn routes(sessions: Sessions) -> Router {
    Router::new()
        .route("/cv/sessions", routing::get(list))
        .route("/cv/session", routing::delete(forget_named))
        .route("/cv/session/{id}", routing::get(describe).delete(forget))
        .route("/cv/session/{id}/results", routing::get(results))
        .with_state(sessions)
}

async fn list(State(sessions): State<Sessions>) -> Json<Value> {
    let described = sessions.all().into_iter().map(|session| async move { session.ask(Message::Describe).await });
    Json(futures_util::future::join_all(described).await.into_iter().flatten().collect())
}

async fn describe(State(sessions): State<Sessions>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let session = sessions.find(&parse(&id)?).ok_or_else(|| unknown(&id))?;
    session.ask(Message::Describe).await.map(Json).ok_or_else(|| unknown(&id))
}

async fn forget(State(sessions): State<Sessions>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    forget_session(&sessions, &parse(&id)?).await
}

/// DELETE with the id in `?session=` or in a JSON body `{"sessionId": …}`.
async fn forget_named(
    State(sessions): State<Sessions>,
    Query(query): Query<HashMap<String, String>>,
    body: String,
) -> Result<Json<Value>, Problem> {
    let in_body = || Some(serde_json::from_str::<Value>(&body).ok()?.get("sessionId")?.as_str()?.to_owned());
    let id = query.get("session").cloned().or_else(in_body);
    let id = id.ok_or_else(|| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "name the session: ?session=ID or a JSON body {\"sessionId\":\"ID\"}",
        )
    })?;
    forget_session(&sessions, &parse(&id)?).await
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
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let since = query.get("since").map(|text| text.parse::<u64>()).transpose();
    let since = since.map_err(|_not_a_number| Problem::bad_request("?since= is a frame number"))?;
    // A browser that comes back names the last event it saw.
    let seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let since = seen.map(|seen| seen.saturating_add(1)).or(since);
    let session = sessions.find(&parse(&id)?).ok_or_else(|| unknown(&id))?;
    let (outbox, inbox) = sink::outbox(Bound::READER);
    if !session.tell(Message::Subscribe(since, outbox)).await {
        return Err(unknown(&id));
    }
    if let Ok(upgrade) = upgrade {
        return Ok(upgrade.max_message_size(4096).on_upgrade(|socket| websocket(socket, inbox)));
    }
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("application/x-ndjson") {
        let lines = lines(inbox).map(|line| Ok::<_, Infallible>(format!("{}\n", line.json)));
        let headers = [(header::CONTENT_TYPE, "application/x-ndjson"), (header::CACHE_CONTROL, "no-cache")];
        return Ok((headers, Body::from_stream(lines)).into_response());
    }
    let events = lines(inbox).map(|line| {
        let event = Event::default().data(&line.json);
        Ok::<_, Infallible>(match line.frames {
            Some((_, to)) => event.id(to.to_string()),
            None => event,
        })
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

fn lines(inbox: Inbox) -> impl Stream<Item = Arc<Rendered>> {
    let batches = stream::unfold(inbox, |mut inbox| async move {
        let batch = inbox.recv().await;
        (!batch.is_empty()).then_some((batch, inbox))
    });
    batches.flat_map(stream::iter)
}

async fn websocket(mut socket: WebSocket, inbox: Inbox) {
    let mut lines = Box::pin(lines(inbox));
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

fn parse(id: &str) -> Result<SessionId, Problem> {
    id.parse().map_err(|error: cv_core::session_id::SessionIdError| Problem::bad_request(error.to_string()))
}

fn unknown(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no session {id}; GET /cv/sessions lists those there are"))
}
