//! What a process of the operator's may say instead of an answer.

#![no_main]

use cv_receiver::analysis;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (findings, end) = analysis::answers(bytes).expect("there is a socket");
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!(findings <= lines && !end.is_empty(), "{findings} findings in {lines} lines: {end}");
});
