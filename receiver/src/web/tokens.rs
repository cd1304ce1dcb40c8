//! Bearer tokens and what each may do.
//!
//! A file of tokens has one a line, with words for what it may do; without any it may do everything:
//!
//! ```text
//! # senders at the gate, and a screen that shows them
//! 4f0c…e1 publish session=gate-*
//! 90ab…77 read session=gate-* session=yard
//! c2d4…10 admin
//! ```
//!
//! Nothing here prints a token, not even where a line makes no sense: a stray word may be one.

use std::fmt;

use cv_core::session_id::SessionId;
use subtle::ConstantTimeEq;

/// A secret that must not be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token, without surrounding white space; `None` if nothing is left.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// Compares in a time that depends on the lengths alone.
    fn matches(&self, candidate: &str) -> bool {
        self.0.as_bytes().ct_eq(candidate.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a request needs leave for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Offering pictures, and what belongs to that connection.
    Publish,
    /// Seeing sessions and their results.
    Read,
    /// Making sessions forget, and everything else.
    Admin,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Publish, Self::Read, Self::Admin];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// Session ids, where `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glob(String);

impl Glob {
    fn matches(&self, id: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == id };
        let Some(mut left) = id.strip_prefix(first) else { return false };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        // The earliest place for each part leaves the most for those behind it.
        for part in middle.split('*') {
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(last)
    }
}

/// What the holder of a token may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The token's place among the others: it tells holders apart without naming them.
    pub holder: usize,
    /// Empty for everything.
    scopes: Vec<Scope>,
    /// Empty for every session.
    sessions: Vec<Glob>,
}

impl Grant {
    /// Whether `scope` is part of it.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|held| [scope, Scope::Admin].contains(held))
    }

    /// Whether it is good for the session called `id`.
    pub fn covers(&self, id: &SessionId) -> bool {
        !self.is_restricted() || self.sessions.iter().any(|glob| glob.matches(id.as_str()))
    }

    /// Whether it is for some sessions only.
    pub fn is_restricted(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// The sessions it is for, as a person would name them.
    pub fn sessions(&self) -> String {
        self.sessions.iter().map(|glob| glob.0.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Takes in one word of a line.
    fn add(&mut self, word: &str) -> Result<(), Problem> {
        if let Some(pattern) = word.strip_prefix("session=") {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*".contains(&byte);
            if !(1..=128).contains(&pattern.len()) || !pattern.bytes().all(allowed) {
                return Err(Problem::Session);
            }
            self.sessions.push(Glob(pattern.to_owned()));
            return Ok(());
        }
        self.scopes.push(Scope::ALL.into_iter().find(|scope| scope.name() == word).ok_or(Problem::Word)?);
        Ok(())
    }
}

/// Every token there is.
#[derive(Debug)]
pub struct Tokens {
    tokens: Vec<(Token, Grant)>,
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A word that means nothing.
    #[error("behind the token stand publish, read, admin or session=PATTERN, and a token has no blanks in it")]
    Word,
    /// A pattern that can match no session.
    #[error("session= takes 1 to 128 of A-Z a-z 0-9 . _ - and * for any of them")]
    Session,
    /// A token that no client could send.
    #[error("a token is of visible ASCII characters, else it does not fit into a header")]
    Unsendable,
    /// The same token again.
    #[error("this token stands on an earlier line already")]
    Again,
}

/// Text that is no list of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokensError {
    /// A line makes no sense.
    #[error("line {line}: {problem}")]
    Line {
        /// Which one, counted from 1.
        line: usize,
        /// Why.
        problem: Problem,
    },
    /// There is none in it.
    #[error("there is no token in it")]
    Empty,
}

impl Tokens {
    /// One token that may do everything.
    pub fn single(token: Token) -> Self {
        Self { tokens: vec![(token, Grant::default())] }
    }

    /// The tokens of a file's text.
    pub fn parse(text: &str) -> Result<Self, TokensError> {
        let mut tokens: Vec<(Token, Grant)> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |problem| TokensError::Line { line: index + 1, problem };
            let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
            let Some(secret) = words.next() else { continue };
            if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(wrong(Problem::Unsendable));
            }
            if tokens.iter().any(|(known, _)| known.matches(secret)) {
                return Err(wrong(Problem::Again));
            }
            let mut grant = Grant { holder: tokens.len(), ..Grant::default() };
            words.try_for_each(|word| grant.add(word)).map_err(wrong)?;
            tokens.push((Token(secret.to_owned()), grant));
        }
        if tokens.is_empty() { Err(TokensError::Empty) } else { Ok(Self { tokens }) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.tokens.len()
    }

    /// What `candidate` may do, if it is one of them. Looks at all, so that time tells nothing of which.
    pub fn grant(&self, candidate: &str) -> Option<&Grant> {
        let right = self.tokens.iter().filter(|(token, _)| token.matches(candidate));
        right.fold(None, |_, (_, grant)| Some(grant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SessionId {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_whole_token_matches_and_it_is_never_printed() {
        let token = Token::new(" secret\n").unwrap();
        assert!(token.matches("secret"));
        assert!(!token.matches("secre") && !token.matches("secrets") && !token.matches(""));
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_eq!(Token::new(" \n"), None);
    }

    #[test]
    fn a_line_says_what_its_token_may_do() {
        let tokens =
            Tokens::parse("# all\nall\n\n cam publish session=cam-* # gate\nscreen read\r\nops admin\n").unwrap();
        assert_eq!(tokens.count(), 4);
        let may = |token: &str| Scope::ALL.map(|scope| tokens.grant(token).unwrap().allows(scope));
        assert_eq!(may("all"), [true, true, true]);
        assert_eq!(may("cam"), [true, false, false]);
        assert_eq!(may("screen"), [false, true, false]);
        assert_eq!(may("ops"), [true, true, true]);
        let cam = tokens.grant("cam").unwrap();
        assert!(cam.covers(&id("cam-1")) && !cam.covers(&id("camera")) && cam.is_restricted());
        assert!(tokens.grant("ops").unwrap().covers(&id("anything")));
        assert!(tokens.grant("nobody").is_none() && tokens.grant("").is_none());
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named_and_its_words_are_not() {
        for (text, line, problem) in [
            ("good\nopen sesame\n", 2, Problem::Word),
            ("# c\n\na Publish", 3, Problem::Word),
            ("a session=", 1, Problem::Session),
            ("a session=b/c", 1, Problem::Session),
            ("a\nb\na read", 3, Problem::Again),
            ("pässword", 1, Problem::Unsendable),
        ] {
            let error = Tokens::parse(text).unwrap_err();
            assert_eq!(error, TokensError::Line { line, problem }, "{text}");
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
        assert_eq!(Tokens::parse("# nothing\n\n").unwrap_err(), TokensError::Empty);
    }

    #[test]
    fn stars_stand_for_any_characters() {
        let matches = |pattern: &str, id: &str| Glob(pattern.into()).matches(id);
        for (pattern, id) in
            [("*", "a"), ("cam-*", "cam-"), ("*-in", "gate-in"), ("a*b*c", "a-b-b-c"), ("a**c", "abc"), ("*b*", "b")]
        {
            assert!(matches(pattern, id), "{pattern} {id}");
        }
        for (pattern, id) in [("cam", "cam-1"), ("cam-*", "cam"), ("a*a", "a"), ("a*b*c", "a-c"), ("*b*b*", "ab")] {
            assert!(!matches(pattern, id), "{pattern} {id}");
        }
    }
}
