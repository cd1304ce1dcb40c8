//! Bytes as an Annex B stream: NAL units, emulation prevention and the stamp.

#![no_main]

use cv_core::{annex_b, stamp::Stamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|stream: &[u8]| {
    for nal in annex_b::nals(stream) {
        assert!(!nal.is_empty() && nal.last() != Some(&0));
        assert_eq!(annex_b::nals(nal).count(), 0, "no start code is left");
    }
    let mut escaped = Vec::new();
    annex_b::escape(stream, &mut escaped);
    assert!(annex_b::unescape(&escaped).eq(stream.iter().copied()));
    if let Some(stamp) = Stamp::find(stream) {
        let mut written = Vec::new();
        stamp.write(&mut written);
        assert_eq!(Stamp::find(&written), Some(stamp));
    }
});
