//! Names of sessions.

use std::{fmt, str::FromStr};

use rand::RngExt;

/// A session's name: 1 to 128 characters of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct SessionId(String);

/// Text that cannot name a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' cannot name a session: use 1 to 128 of the characters A-Z a-z 0-9 . _ -", .0.escape_default().take(64).collect::<String>())]
pub struct SessionIdError(String);

impl SessionId {
    /// A new name, `session-YYYYMMDD-HHMMSS-<8 hex>` in local time.
    pub fn generate() -> Self {
        let now = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
        Self(format!("session-{now}-{:08x}", rand::rng().random::<u32>()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = SessionIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SessionIdError(text.to_owned()))
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_generated_are_valid() {
        let id = SessionId::generate();
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.as_str().len(), "session-YYYYMMDD-HHMMSS-12345678".len());
    }

    #[test]
    fn ids_that_could_be_paths_or_markup_are_refused() {
        for text in ["", "a b", "a/b", "ä", "<b>", "a\n", &"x".repeat(129)] {
            assert!(text.parse::<SessionId>().is_err(), "{text:?}");
        }
        assert!("A-z.0_9".parse::<SessionId>().is_ok());
    }
}
