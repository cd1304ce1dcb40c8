//! Links in a header (RFC 8288).

/// One link: where to, and what is said of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) target: String,
    parameters: Vec<(String, String)>,
}

impl Link {
    /// The links of one `Link` header. What comes after something that is none is left out.
    pub(super) fn parse_all(header: &str) -> Vec<Self> {
        let mut rest = header;
        std::iter::from_fn(|| {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            Self::parse(&mut rest)
        })
        .collect()
    }

    /// The value of a parameter, by its name in small letters.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is a link of the kind `rel`; one link may be of several.
    pub(super) fn is(&self, rel: &str) -> bool {
        self.parameter("rel").is_some_and(|rels| rels.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case(rel)))
    }

    fn parse(rest: &mut &str) -> Option<Self> {
        let (target, after) = rest.strip_prefix('<')?.split_once('>')?;
        *rest = after;
        let mut parameters = Vec::new();
        while let Some(after) = rest.trim_start().strip_prefix(';') {
            let end = after.find(['=', ';', ',']).unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            let value = match after.strip_prefix('=') {
                Some(after) => {
                    *rest = after.trim_start();
                    value(rest)?
                }
                None => {
                    *rest = after;
                    String::new()
                }
            };
            parameters.push((name.trim().to_ascii_lowercase(), value));
        }
        Some(Self { target: target.to_owned(), parameters })
    }
}

/// A token or a quoted string (RFC 9110, 5.6).
fn value(rest: &mut &str) -> Option<String> {
    let Some(quoted) = rest.strip_prefix('"') else {
        let (token, after) = rest.split_at(rest.find([';', ',']).unwrap_or(rest.len()));
        *rest = after;
        return Some(token.trim().to_owned());
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()? {
            (end, '"') => {
                *rest = &quoted[end + 1..];
                return Some(value);
            }
            (_, '\\') => value.push(characters.next()?.1),
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn links_are_told_apart_whatever_is_quoted_in_them() {
        let header = r#"</results>; rel="alternate urn:x", <turn:h:1?transport=udp>; rel=ice-server; username="a,b;c"; credential="\"\\>";flag, <stun:h>;REL="ice-server""#;
        let links = Link::parse_all(header);
        let targets: Vec<&str> = links.iter().map(|link| link.target.as_str()).collect();
        assert_eq!(targets, ["/results", "turn:h:1?transport=udp", "stun:h"]);
        assert!(links[0].is("urn:x") && !links[0].is("ice-server") && links[2].is("ice-server"));
        assert_eq!(links[1].parameter("username"), Some("a,b;c"));
        assert_eq!(links[1].parameter("credential"), Some("\"\\>"));
        assert_eq!(links[1].parameter("flag"), Some(""));
    }

    #[test]
    fn what_breaks_off_gives_the_links_before_it() {
        for broken in ["", "x", "<", "<a", "<a>; b=\"c", "<a>; b=\"c\\"] {
            assert!(Link::parse_all(broken).is_empty(), "{broken}");
        }
        assert_eq!(Link::parse_all("<a>; rel=b, <c").len(), 1);
    }

    proptest! {
        #[test]
        fn nothing_hangs_or_panics(header in "[<>;=,\"\\\\a ]{0,40}") {
            assert!(Link::parse_all(&header).len() <= header.len());
        }
    }
}
