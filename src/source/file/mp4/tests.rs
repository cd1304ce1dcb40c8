//! Hostile and unusual indexes.

use std::{
    io::Cursor,
    time::{Duration, Instant},
};

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng},
};

use super::*;
use crate::file::tests::{clips, ffmpeg, probed};

fn read(bytes: &[u8]) -> Result<Movie, Error> {
    Movie::read(&mut Cursor::new(bytes))
}

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
}

/// Position of the box of type `kind`, found by its name.
fn find(bytes: &[u8], kind: &[u8; 4]) -> usize {
    bytes.windows(4).position(|window| window == kind).unwrap() - 4
}

#[test]
fn files_without_an_index_say_so() {
    assert!(matches!(read(b""), Err(Error::NoIndex)));
    assert!(matches!(read(&boxed(b"mdat", &[0; 100])), Err(Error::NoIndex)));
    assert!(matches!(read(&boxed(b"moov", &[0; 100])[..50]), Err(Error::NoIndex)));
    assert!(matches!(read(&boxed(b"moov", &[0; 100])), Err(Error::NoVideo)));
    assert!(matches!(read(&[0; 1000]), Err(Error::NoIndex)));
}

#[test]
fn boxes_that_claim_too_much_or_nothing_end_the_walk() {
    let huge = [&[0, 0, 0, 1][..], b"moov", &[0xff; 8], &[0; 100]].concat();
    assert!(matches!(read(&huge), Err(Error::NoIndex)));
    let tiny = [&[0, 0, 0, 7][..], b"free", &[0; 100]].concat();
    assert!(matches!(read(&tiny), Err(Error::NoIndex)));
}

#[test]
fn a_damaged_index_neither_panics_nor_hangs_nor_takes_much_memory() {
    let Some(clips) = clips() else { return };
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let started = Instant::now();
    let mut readable = 0;
    for name in
        ["v02_h264_main_b2.mp4", "v10_vfr.mp4", "v19_h264_with_audio.mp4", "v20_fragmented.mp4", "v26_start_offset.mp4"]
    {
        let original = std::fs::read(clips.join("variants").join(name)).unwrap();
        for _ in 0..300 {
            if let Ok(movie) = read(&mutated(&original, &mut random)) {
                assert!(movie.samples.len() <= original.len(), "more pictures than bytes");
                movie.fps();
                readable += 1;
            }
        }
    }
    assert!(readable > 300, "{readable}");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

/// A copy with some bytes inside `moov` or `moof` boxes changed, to extremes as often as not.
fn mutated(original: &[u8], random: &mut TestRng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    let kind = if random.random_bool(0.5) && original.windows(4).any(|w| w == b"moof") { b"moof" } else { b"moov" };
    let start = find(&bytes, kind);
    let length = u32::from_be_bytes(bytes[start..start + 4].try_into().unwrap()) as usize;
    for _ in 0..random.random_range(1..12) {
        let at = start + random.random_range(0..length);
        bytes[at] = match random.random_range(0..4) {
            0 => 0,
            1 => 0xff,
            2 => 0x7f,
            _ => random.random(),
        };
    }
    if random.random_bool(0.1) {
        bytes.truncate(random.random_range(0..original.len()));
    }
    bytes
}

#[test]
fn edit_lists_mean_what_ffmpeg_takes_them_to_mean() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edited.mp4");
    let mut wrong = Vec::new();
    for (name, lists) in [
        (
            "v02_h264_main_b2.mp4",
            &[(0, 3000, 1024), (0, 2000, 1024), (0, 1000, 8000), (0, 3000, 0), (0, 1500, 20_700)][..],
        ),
        ("v26_start_offset.mp4", &[(1500, 3000, 1024), (33, 700, 5000), (10, 99, 30_000), (200, 4000, 511)]),
        ("v01_h264_baseline.mp4", &[(0, 1000, 0), (0, 1000, 777), (0, 90, 15_360)]),
    ] {
        let source = std::fs::read(clips.join("variants").join(name)).unwrap();
        for &(empty, length, start) in lists {
            std::fs::write(&path, with_edits(&source, empty, length, start)).unwrap();
            let movie = read(&std::fs::read(&path).unwrap()).unwrap();
            let mut times: Vec<_> =
                movie.samples.iter().filter(|sample| sample.shown).map(|sample| sample.pts).collect();
            times.sort_unstable();
            let times: Vec<_> = times
                .into_iter()
                .map(|pts| cv_core::timestamp::Timestamp::new(pts, movie.track.base).seconds())
                .collect();
            if times != probed(&path) {
                wrong.push(format!("{name} {empty} {length} {start}\n ours {times:?}\n ffprobe {:?}", probed(&path)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Replaces the edit list of a clip whose `moov` comes last or whose list keeps its size.
fn with_edits(original: &[u8], empty: u32, length: u32, start: u32) -> Vec<u8> {
    let at = find(original, b"elst");
    let mut bytes = original.to_vec();
    let entries: Vec<[u32; 2]> =
        [[empty, u32::MAX], [length, start]].into_iter().filter(|[length, _]| *length > 0).collect();
    let mut content = vec![0, 0, 0, 0];
    content.extend((entries.len() as u32).to_be_bytes());
    for [length, start] in entries {
        content.extend([length.to_be_bytes(), start.to_be_bytes(), [0, 1, 0, 0]].concat());
    }
    let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert!(content.len() + 8 <= size, "the list has no room");
    content.resize(size - 8, 0);
    bytes.splice(at..at + size, boxed(b"elst", &content));
    bytes
}

#[test]
fn sizes_of_a_few_bits_and_wide_positions_are_read() {
    let full = |content: &[u8]| [&[0, 0, 0, 0][..], content].concat();
    let stbl = [
        boxed(b"stz2", &full(&[0, 0, 0, 4, 0, 0, 0, 3, 0x12, 0x30])),
        boxed(b"co64", &full(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0])),
        boxed(b"stsc", &full(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1])),
        boxed(b"stts", &full(&[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5])),
        boxed(b"ctts", &[&[1, 0, 0, 0][..], &[0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe]].concat()),
        boxed(b"stss", &full(&[0, 0, 0, 2, 0, 0, 0, 3, 0xff, 0xff, 0xff, 0xff])),
    ];
    let samples = tables::read(&stbl.concat(), 100).unwrap();
    let found: Vec<_> = samples.iter().map(|s| (s.offset - (1 << 32), s.size, s.dts, s.pts, s.sync)).collect();
    assert_eq!(found, [(0, 1, 0, -2, false), (1, 2, 5, 5, false), (3, 3, 10, 10, true)]);
    assert!(tables::read(&stbl.concat(), 2).is_err());
}

#[test]
fn one_box_cannot_claim_more_pictures_than_the_file_has_bytes() {
    let full = |content: &[u8]| [&[0, 0, 0, 0][..], content].concat();
    let stbl = [
        boxed(b"stsz", &full(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff])),
        boxed(b"stco", &full(&[0, 0, 0, 1, 0, 0, 0, 0])),
    ];
    assert!(matches!(tables::read(&stbl.concat(), 1000), Err(Error::Malformed(_))));
}

#[test]
fn trimmed_copies_keep_the_times_of_what_they_show() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trimmed.mov");
    let source = clips.join("squat_threequarter_8reps.mp4");
    ffmpeg(&["-ss", "7.013", "-t", "2.5", "-i", source.to_str().unwrap(), "-c", "copy", "-an"], &path);
    let movie = Movie::read(&mut std::fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(movie.frames() as usize, probed(&path).len());
}

proptest! {
    #[test]
    fn noise_behind_a_plausible_header_never_panics(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        for kind in [b"trak", b"mvex", b"mdia"] {
            prop_assert!(read(&boxed(b"moov", &boxed(kind, &noise))).is_err());
        }
    }
}
