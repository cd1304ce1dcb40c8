//! Bytes as an MP4 file: the whole index is read, and every sample it names must lie inside the file.
//!
//! The module is taken in by path, so that neither the codec nor a camera needs building for it.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;

#[path = "../../src/source/file/mp4/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod mp4;

fuzz_target!(|file: &[u8]| {
    if let Ok(movie) = mp4::Movie::read(&mut Cursor::new(file)) {
        assert!(movie.samples.len() <= file.len(), "a sample takes at least a byte");
        movie.frames();
        movie.fps();
        movie.complete();
        movie.end_of_data();
    }
});
