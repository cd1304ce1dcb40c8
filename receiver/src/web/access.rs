//! Who may use the HTTP doors: bearer tokens.

use std::{fmt, fs, io, path::Path, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::Problem;

/// A secret that must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token, without surrounding white space; `None` if nothing is left.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The token that is the content of a file.
    pub fn from_file(path: &Path) -> io::Result<Self> {
        Self::new(&fs::read_to_string(path)?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the file is empty"))
    }

    /// Compares in a time that depends on the length alone.
    fn matches(&self, candidate: &str) -> bool {
        let (own, other) = (self.0.as_bytes(), candidate.as_bytes());
        let difference = own.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b));
        own.len() == other.len() && std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Lets a request through that carries the token (RFC 6750); all, where there is none. Preflights carry none.
pub async fn check(State(token): State<Option<Arc<Token>>>, request: Request, next: Next) -> Response {
    let Some(token) = token else { return next.run(request).await };
    let carried = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = carried.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    if request.method() == Method::OPTIONS || bearer.is_some_and(|bearer| token.matches(bearer)) {
        return next.run(request).await;
    }
    let detail = match bearer {
        Some(_) => "the token is not the right one",
        None => "a token is needed: send Authorization: Bearer TOKEN",
    };
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_matches_and_it_is_never_printed() {
        let token = Token::new(" secret\n").unwrap();
        assert!(token.matches("secret"));
        assert!(!token.matches("secre") && !token.matches("secrets") && !token.matches(""));
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_eq!(Token::new(" \n"), None);
    }
}
