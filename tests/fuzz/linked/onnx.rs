//! Model files before ONNX Runtime sees them: what is taken out of them, and out of that again nothing.

#![no_main]

use cv_receiver::model::without_weights_as_inputs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(rewritten) = without_weights_as_inputs(bytes) {
        assert!(rewritten.len() < bytes.len());
        assert_eq!(without_weights_as_inputs(&rewritten), None);
    }
});
