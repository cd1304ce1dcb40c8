//! Text as a file of tokens, and each of its words as a token that somebody sends.

#![no_main]

use cv_core::session_id::SessionId;
use libfuzzer_sys::fuzz_target;

#[path = "../../receiver/src/web/tokens.rs"]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod tokens;

use tokens::{Scope, Tokens};

fuzz_target!(|text: &str| {
    let Ok(tokens) = Tokens::parse(text) else { return };
    assert!((1..=text.lines().count()).contains(&tokens.count()));
    let ids = ["a", "cam-1", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"];
    let ids = ids.map(|id| id.parse::<SessionId>().expect("these are ids"));
    let mut holders = 0;
    for line in text.lines() {
        let Some(word) = line.split_whitespace().next().filter(|word| !word.starts_with('#')) else { continue };
        let grant = tokens.grant(word).expect("the first word of a line is a token");
        assert_eq!(grant.holder, holders);
        holders += 1;
        assert!(!grant.allows(Scope::Admin) || (grant.allows(Scope::Publish) && grant.allows(Scope::Read)));
        assert!(ids.iter().all(|id| grant.is_restricted() || grant.covers(id)));
    }
    assert_eq!(holders, tokens.count());
});
