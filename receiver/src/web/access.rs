//! Who may use the HTTP doors, and how often.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, Query, Request, State},
    http::{HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use cv_core::{
    session_id::{SessionId, SessionIdError},
    whip::query,
};
use tokio::sync::watch;

use super::{
    counters::{HttpCounters, count},
    network::network,
    problem::Problem,
    rates::{Rates, Who},
    tokens::{Grant, Scope, Tokens},
};

/// Of the rate for requests that change something, the share for those that are refused for want of a token.
const REFUSED_SHARE: f64 = 0.1;

/// The rules at the door.
pub struct Access {
    /// The tokens in force, which may change; everybody may do everything where there are none.
    tokens: Option<watch::Receiver<Arc<Tokens>>>,
    /// For POST, for PATCH and DELETE, which end what a POST began, and for those who get no further than this.
    offers: Rates,
    changes: Rates,
    refusals: Rates,
    counters: Arc<HttpCounters>,
}

impl Access {
    /// Lets holders of `tokens` in, and each asker change something `rate` times a second.
    pub fn new(tokens: Option<watch::Receiver<Arc<Tokens>>>, rate: Option<f64>, counters: Arc<HttpCounters>) -> Self {
        let refusals = Rates::new(rate.map(|rate| rate * REFUSED_SHARE));
        Self { tokens, offers: Rates::new(rate), changes: Rates::new(rate), refusals, counters }
    }

    /// What the sender of `request` may do, if anything, and if it is not too often.
    fn admit(&self, request: &Request, address: IpAddr) -> Result<Arc<Grant>, Problem> {
        let now = Instant::now();
        let (who, grant) = match &self.tokens {
            None => (Who::Stranger, Grant::default()),
            Some(tokens) => {
                let carried = bearer(request);
                let grant = carried.and_then(|carried| tokens.borrow().grant(carried).cloned());
                let Some(grant) = grant else {
                    self.limited(self.refusals.take(network(address), Who::Refused, now))?;
                    count(&self.counters.unauthorized);
                    return Err(unauthorized(carried.is_some()));
                };
                (Who::Holder(grant.holder), grant)
            }
        };
        let rates = match *request.method() {
            Method::POST => Some(&self.offers),
            Method::PATCH | Method::DELETE => Some(&self.changes),
            _ => None,
        };
        if let Some(rates) = rates {
            self.limited(rates.take(network(address), who, now))?;
        }
        Ok(Arc::new(grant))
    }

    fn limited(&self, taken: Result<(), Duration>) -> Result<(), Problem> {
        taken.map_err(|wait| {
            count(&self.counters.rate_limited);
            Problem::too_many(wait)
        })
    }
}

/// The token of a request (RFC 6750, 2.1). Not from the query, which ends up in logs.
fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn unauthorized(carried: bool) -> Problem {
    if carried {
        Problem::unauthorized("Bearer error=\"invalid_token\"", "the token is not the right one")
    } else {
        Problem::unauthorized("Bearer", "a token is needed: send Authorization: Bearer TOKEN")
    }
}

/// Lets a request through that carries a right token, with the [`Grant`] that goes with it. Preflights, which carry
/// none, are answered before they come here.
pub async fn check(
    State(access): State<Arc<Access>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    // An OPTIONS that is no preflight asks for nothing that is secret.
    if request.method() == Method::OPTIONS {
        return next.run(request).await;
    }
    let response = match access.admit(&request, peer.ip()) {
        Ok(grant) => {
            request.extensions_mut().insert(grant);
            next.run(request).await
        }
        Err(problem) => {
            let mut response = problem.into_response();
            // What may follow on this connection is not worth waiting for.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    };
    if response.status() == axum::http::StatusCode::FORBIDDEN {
        count(&access.counters.forbidden);
    }
    response
}

/// Lets a request to the WHIP endpoint through that may publish; a POST only to a session that the token is for.
/// Whoever knows a connection's URL was given it, so nothing more is asked there.
pub async fn publish(request: Request, next: Next) -> Result<Response, Problem> {
    let Some(grant) = request.extensions().get::<Arc<Grant>>() else { return Ok(next.run(request).await) };
    require(grant, Scope::Publish)?;
    if request.method() == Method::POST && grant.is_restricted() {
        let parameters = Query::<HashMap<String, String>>::try_from_uri(request.uri());
        let parameters = parameters.map_err(|error| Problem::bad_request(error.to_string()))?;
        let Some(id) = parameters.get(query::SESSION) else {
            let detail = format!("this token is for the sessions {}: name one with ?session=", grant.sessions());
            return Err(Problem::forbidden(Scope::Publish.name(), detail));
        };
        session(grant, Scope::Publish, id)?;
    }
    Ok(next.run(request).await)
}

/// The session called `text`, if `grant` allows `scope` there.
pub fn session(grant: &Grant, scope: Scope, text: &str) -> Result<SessionId, Problem> {
    require(grant, scope)?;
    let id: SessionId = text.parse().map_err(|error: SessionIdError| Problem::bad_request(error.to_string()))?;
    if grant.covers(&id) {
        return Ok(id);
    }
    Err(Problem::forbidden(scope.name(), format!("this token is for the sessions {}, not for {id}", grant.sessions())))
}

/// Nothing, if `grant` allows `scope`.
pub fn require(grant: &Grant, scope: Scope) -> Result<(), Problem> {
    if grant.allows(scope) {
        return Ok(());
    }
    let name = scope.name();
    Err(Problem::forbidden(name, format!("this token may not do that; it takes one with the word {name}")))
}
