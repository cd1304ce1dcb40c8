//! Bytes as the messages of a data channel, as the sender takes them for lines of results.

#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;

#[path = "../../sender/src/expect.rs"]
#[allow(dead_code, unreachable_pub)]
mod expect;
#[path = "../../sender/src/ledger.rs"]
#[allow(dead_code, unreachable_pub)]
mod ledger;

use expect::Recording;
use ledger::{Heard, Ledger};

fuzz_target!(|messages: &[u8]| {
    let mut ledger = Ledger::default();
    let mut recording = Recording::default();
    for line in messages.split(|byte| *byte == b'\n') {
        recording.add(line);
        let Ok(heard) = serde_json::from_slice::<Heard<'_>>(line) else { continue };
        let before = (ledger.next(), ledger.results, ledger.gaps);
        let is_news = ledger.hear(&heard, SystemTime::UNIX_EPOCH);
        let after = (ledger.next(), ledger.results, ledger.gaps);
        assert!(after.0 >= before.0 && after.1 >= before.1 && after.2 >= before.2, "answers are not taken back");
        assert!(is_news || before == after);
        assert!(ledger.errors <= ledger.results);
    }
    assert!(ledger.latency(0.5) <= ledger.latency(1.0));
});
