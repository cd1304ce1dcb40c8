//! A list of analyzers in the first line, saved features in those after it: what a session may ask for, and a file
//! that anybody may have written.

#![no_main]

use cv_receiver::{analysis::Catalog, offline};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (list, lines) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let Ok(list) = std::str::from_utf8(list) else { return };
    // As a session asks, so that no list starts a program.
    let Ok(plan) = Catalog::default().plan(list) else { return };
    let mut folded = Vec::new();
    let done = offline::fold_lines(plan, lines, &mut folded);
    for line in folded.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<serde_json::Value>(line).expect("what comes out is JSON");
    }
    drop(done);
});
