//! Entity tags and the condition that a request puts on them (RFC 9110, 8.8.3 and 13.1.1).

use std::fmt;

use axum::http::{HeaderMap, HeaderValue, header};

/// A strong entity tag; no two are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag(String);

impl EntityTag {
    /// A new one.
    pub fn generate() -> Self {
        Self(format!("\"{:032x}\"", rand::random::<u128>()))
    }

    /// As the value of ETag.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::try_from(self.0.as_str()).expect("hex digits in quotes are header text")
    }
}

impl fmt::Display for EntityTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `If-Match` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Whatever the state is.
    Any,
    /// One of these states. Weak tags are not among them, because comparison is strong.
    Tags(Vec<EntityTag>),
}

/// `If-Match` is not of the form that HTTP gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("If-Match is neither * nor a list of tags in double quotes")]
pub struct IfMatchError;

impl IfMatch {
    /// The condition of a request; `None` where it has none.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, IfMatchError> {
        let fields: Result<Vec<&str>, _> = headers.get_all(header::IF_MATCH).iter().map(HeaderValue::to_str).collect();
        let fields = fields.map_err(|_not_text| IfMatchError)?;
        match fields[..] {
            [] => Ok(None),
            [only] if only.trim() == "*" => Ok(Some(Self::Any)),
            _ => {
                let mut tags = Vec::new();
                fields.iter().try_for_each(|field| read(field, &mut tags))?;
                Ok(Some(Self::Tags(tags)))
            }
        }
    }

    /// Whether the condition holds while the state is `current`.
    pub fn holds(&self, current: &EntityTag) -> bool {
        match self {
            Self::Any => true,
            Self::Tags(tags) => tags.contains(current),
        }
    }
}

/// Adds the strong tags of a list; a comma inside quotes belongs to the tag.
fn read(mut field: &str, tags: &mut Vec<EntityTag>) -> Result<(), IfMatchError> {
    loop {
        field = field.trim_start_matches([' ', '\t', ',']);
        if field.is_empty() {
            return Ok(());
        }
        let (weak, quoted) = field.strip_prefix("W/").map_or((false, field), |rest| (true, rest));
        let (tag, rest) = quoted.strip_prefix('"').and_then(|rest| rest.split_once('"')).ok_or(IfMatchError)?;
        let rest = rest.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return Err(IfMatchError);
        }
        if !weak {
            tags.push(EntityTag(format!("\"{tag}\"")));
        }
        field = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(fields: &[&str]) -> Result<Option<IfMatch>, IfMatchError> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::IF_MATCH, field.parse().unwrap());
        }
        IfMatch::of(&headers)
    }

    #[test]
    fn only_a_strong_tag_of_the_list_holds() {
        let current = EntityTag("\"a,b\"".into());
        let holds = |fields: &[&str]| condition(fields).unwrap().unwrap().holds(&current);
        assert!(holds(&["*"]) && holds(&["\"a,b\""]) && holds(&["\"x\" , \"a,b\""]) && holds(&["\"x\"", ",\"a,b\","]));
        assert!(!holds(&["\"x\""]) && !holds(&["W/\"a,b\""]) && !holds(&["\"*\""]) && !holds(&[""]));
        assert_eq!(condition(&[]), Ok(None));
    }

    #[test]
    fn anything_else_is_no_condition() {
        for wrong in ["a", "\"a", "\"a\" \"b\"", "*, \"a\"", "W/a", "w/\"a\""] {
            assert_eq!(condition(&[wrong]), Err(IfMatchError), "{wrong}");
        }
    }

    #[test]
    fn tags_are_strong_and_differ() {
        let (one, other) = (EntityTag::generate(), EntityTag::generate());
        assert_ne!(one, other);
        assert!(one.to_string().starts_with('"') && condition(&[&one.to_string()]).unwrap().unwrap().holds(&one));
    }
}
