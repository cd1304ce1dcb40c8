//! Against the clips, with ffprobe and ffmpeg as the reference.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use cv_core::picture::{Picture, Range};

use super::*;
use crate::{Captured, Info};

/// The folder with the clips, or `None` with a loud word where it is missing.
pub(super) fn clips() -> Option<PathBuf> {
    let shared = std::env::var_os("CV_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let clips = shared.join("clips");
    if !clips.is_dir() {
        eprintln!("SKIPPED: no clips in {} (set CV_SHARED)", clips.display());
        return None;
    }
    let has_ffprobe = Command::new("ffprobe").arg("-version").output().is_ok();
    assert!(has_ffprobe, "ffprobe is missing; scripts/setup.sh tests installs it with ffmpeg");
    Some(clips)
}

fn variant(clips: &Path, prefix: &str) -> PathBuf {
    let mut entries = clips.join("variants").read_dir().unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).unwrap()
}

/// All pictures of a source and the error at its end.
fn drain(source: &mut dyn Source) -> (Vec<Captured>, Option<Error>) {
    let mut pictures = Vec::new();
    loop {
        match source.next() {
            Ok(Some(picture)) => pictures.push(picture),
            Ok(None) => return (pictures, None),
            Err(error) => {
                assert!(source.next().unwrap().is_none(), "nothing comes behind an error");
                return (pictures, Some(error));
            }
        }
    }
}

fn seconds(pictures: &[Captured]) -> Vec<f64> {
    pictures.iter().map(|captured| captured.pts.seconds()).collect()
}

/// Presentation times that ffprobe prints.
pub(super) fn probed(path: &Path) -> Vec<f64> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "V:0", "-show_entries", "frame=pts_time", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(',').next()?.parse().ok()).collect()
}

/// How many pictures of a file are compared sample by sample.
const COMPARED: usize = 100;

/// The first raw pictures as ffmpeg decodes them.
fn decoded(path: &Path, format: &str) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "quiet", "-i"])
        .arg(path)
        .args(["-map", "0:V:0", "-vsync", "passthrough", "-frames:v", &COMPARED.to_string()])
        .args(["-pix_fmt", format, "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    output.stdout
}

fn samples(picture: &Picture) -> Vec<u8> {
    let rows = |plane: usize| picture.plane(plane).rows().collect::<Vec<_>>();
    [rows(0).concat(), rows(1).concat(), rows(2).concat()].concat()
}

/// Holds pictures against ffmpeg's, sample by sample.
///
/// Without B slices they are the same. With them, openh264 rounds a few samples along block edges
/// another way than the standard (cisco/openh264 issue 3269): fewer than 1 in 200 of any picture, by 32 at most.
fn assert_same_samples(pictures: &[Captured], raw: &[u8], exact: bool, name: &str) {
    let mut rest = raw;
    for (index, captured) in pictures.iter().enumerate() {
        let ours = samples(&captured.picture);
        assert!(rest.len() >= ours.len(), "{name}: ffmpeg has {index} pictures only");
        let (theirs, behind) = rest.split_at(ours.len());
        rest = behind;
        if ours == theirs {
            continue;
        }
        let apart = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).filter(|apart| *apart > 0);
        let (count, most) = apart.fold((0, 0), |(count, most), apart| (count + 1, apart.max(most)));
        assert!(!exact || count == 0, "{name}: picture {index} differs in {count} samples");
        assert!(count * 200 <= ours.len() && most <= 32, "{name}: picture {index}: {count} samples, by up to {most}");
    }
    assert!(rest.is_empty(), "{name}: ffmpeg has more pictures");
}

/// Whether samples must be those of ffmpeg to the last bit.
fn exact(info: &Info, path: &Path) -> bool {
    let reordered = || Movie::read(&mut File::open(path).unwrap()).unwrap().samples.iter().any(|s| s.pts != s.dts);
    !info.name.contains("native") || !reordered()
}

fn all(clips: &Path) -> Vec<PathBuf> {
    let entries = [clips.to_owned(), clips.join("variants")].into_iter().flat_map(|dir| dir.read_dir().unwrap());
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| {
        path.is_file() && !matches!(path.extension().and_then(|e| e.to_str()), Some("md" | "csv" | "txt"))
    });
    paths.sort();
    paths
}

#[test]
fn every_clip_has_the_times_and_samples_that_ffmpeg_gives() {
    let Some(clips) = clips() else { return };
    for path in all(&clips) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if ["v15", "v16", "v17", "v18", "v23", "v27"].iter().any(|special| name.starts_with(special)) {
            continue;
        }
        let mut source = open(&path, None).unwrap_or_else(|error| panic!("{error}"));
        let info = source.info().clone();
        let (mut pictures, mut times) = (Vec::new(), Vec::new());
        while let Some(captured) = source.next().unwrap_or_else(|error| panic!("{error}")) {
            assert_eq!(captured.picture.size(), info.size, "{name}");
            times.push(captured.pts.seconds());
            if pictures.len() < COMPARED {
                pictures.push(captured);
            }
        }
        assert_eq!(times, probed(&path), "{name}");
        assert!(info.frames.is_none_or(|frames| frames == times.len() as u64), "{name}");
        let full = pictures[0].picture.range() == Range::Full;
        let format = if full { "yuvj420p" } else { "yuv420p" };
        assert_same_samples(&pictures, &decoded(&path, format), exact(&info, &path), &name);
        eprintln!("{}: {} pictures of {}, {:.3} fps", info.name, times.len(), info.size, info.fps);
    }
}

/// The sentence with which a file is refused.
fn refused(path: &Path, program: &str) -> String {
    open_with(path, None, OsStr::new(program)).map(|source| source.info().name.clone()).unwrap_err().to_string()
}

#[test]
fn what_is_decoded_here_needs_no_ffmpeg() {
    let Some(clips) = clips() else { return };
    for prefix in
        ["v01", "v02", "v03", "v04", "v10", "v11", "v12", "v15", "v19", "v20", "v22", "v26", "v28", "v30", "v31"]
    {
        let source = open_with(&variant(&clips, prefix), None, OsStr::new("no-such-program")).unwrap();
        assert!(source.info().name.contains("H.264, native"), "{prefix}: {}", source.info().name);
    }
}

#[test]
fn without_ffmpeg_the_error_names_the_codec_and_the_way_out() {
    let Some(clips) = clips() else { return };
    for (prefix, what) in [
        ("v05", "is HEVC in MP4, which needs ffmpeg"),
        ("v06", "is VP9 in WebM"),
        ("v07", "is VP8 in WebM"),
        ("v08", "is AV1 in MP4"),
        ("v09", "is AVI"),
        ("v21", "is H.264 in MP4 (its samples have more than 8 bits)"),
        ("v23", "is raw H.264"),
        ("v24", "is MPEG transport stream"),
        ("v25", "is H.264 in Matroska"),
        ("v29", "is H.264 in MP4 (its pictures are interlaced)"),
    ] {
        let message = refused(&variant(&clips, prefix), "no-such-program");
        assert!(message.contains(what) && message.contains("apt install ffmpeg"), "{message}");
    }
}

#[test]
fn what_is_no_video_is_refused_with_the_reason() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let noise: Vec<u8> = (0..5000u32).map(|i| (i * i / 8) as u8).collect();
    for (path, reason) in [
        (variant(&clips, "v16"), "the index (moov) is missing"),
        (variant(&clips, "v17"), "is empty (0 bytes)"),
        (variant(&clips, "v18"), "holds no video"),
        (variant(&clips, "v27"), "is a text, not a video"),
        (folder.path().to_owned(), "is a directory"),
        (folder.path().join("absent.mp4"), "cannot read"),
        (file("noise.mp4", &noise), "not a video, as far as can be told; ffmpeg cannot decode it"),
        (file("-y:http", &noise), "ffmpeg cannot decode it: Invalid data"),
        (file("half.y4m", b"YUV4MPEG2 W4 H"), "cannot be read"),
    ] {
        let message = refused(&path, "ffmpeg");
        assert!(message.contains(reason) && !message.contains('\n'), "{message}");
        eprintln!("{message}");
    }
}

#[test]
fn sound_alone_outside_mp4_is_named_as_such() {
    let Some(_) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tone.wav");
    ffmpeg(&["-f", "lavfi", "-i", "sine=duration=0.1"], &path);
    assert!(refused(&path, "ffmpeg").contains("holds no video"), "{}", refused(&path, "ffmpeg"));
}

#[test]
fn a_cut_file_gives_what_is_there_and_then_says_where_it_ends() {
    let Some(clips) = clips() else { return };
    let path = variant(&clips, "v15");
    let mut source = open(&path, None).unwrap();
    assert_eq!(source.info().frames, Some(48));
    let (pictures, error) = drain(&mut *source);
    assert_eq!(pictures.len(), 48);
    assert_eq!(seconds(&pictures), probed(&path));
    assert_same_samples(&pictures, &decoded(&path, "yuv420p"), true, "v15");
    let error = error.unwrap();
    assert!(matches!(error, Error::Broken { frames: 48, seconds: 1.566667, .. }), "{error:?}");
    assert!(error.to_string().contains("its index lists 90 pictures, 48 are there"), "{error}");
}

#[test]
fn cut_files_of_every_kind_break_behind_the_whole_pictures() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (prefix, keep, whole) in [("v20", 0.5, false), ("v20", 0.345, false), ("v05", 0.6, true)] {
        let mut source = variant(&clips, prefix);
        if whole {
            let front = folder.path().join("front.mp4");
            ffmpeg(&["-i", source.to_str().unwrap(), "-c", "copy", "-movflags", "+faststart"], &front);
            source = front;
        }
        let bytes = std::fs::read(&source).unwrap();
        let path = folder.path().join("cut.mp4");
        std::fs::write(&path, &bytes[..(bytes.len() as f64 * keep) as usize]).unwrap();
        let (pictures, error) = drain(&mut *open(&path, None).unwrap());
        assert!(matches!(error, Some(Error::Broken { .. })), "{prefix}: {error:?}");
        assert!((20..90).contains(&pictures.len()), "{prefix}: {}", pictures.len());
        eprintln!("{prefix}: {}", error.unwrap());
    }
}

#[test]
fn a_corrupt_picture_ends_the_file_behind_those_before_it() {
    let Some(clips) = clips() else { return };
    let path = variant(&clips, "v02");
    let movie = Movie::read(&mut File::open(&path).unwrap()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = movie.samples[40].offset as usize;
    bytes[at + 4..at + movie.samples[40].size as usize].fill(0x41);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("corrupt.mp4");
    std::fs::write(&path, bytes).unwrap();
    let (pictures, error) = drain(&mut *open(&path, None).unwrap());
    let times = seconds(&pictures);
    assert!((30..=41).contains(&pictures.len()), "{}", pictures.len());
    assert!(times.is_sorted(), "{times:?}");
    let message = error.unwrap().to_string();
    assert!(message.contains("the next picture is corrupt"), "{message}");
}

#[test]
fn a_start_gives_the_same_pictures_without_those_before_it() {
    let Some(clips) = clips() else { return };
    for prefix in ["v03", "v06", "v10", "v20", "v26"] {
        let path = variant(&clips, prefix);
        let (all, _) = drain(&mut *open(&path, None).unwrap());
        for start in [0.0, 1.0, 1.533333, 2.97, 99.0] {
            let mut source = open(&path, Some(start)).unwrap();
            let announced = source.info().frames;
            let (some, error) = drain(&mut *source);
            let expected: Vec<_> = all.iter().filter(|captured| captured.pts.seconds() >= start).collect();
            assert!(error.is_none() && announced.is_none_or(|frames| frames == expected.len() as u64), "{prefix}");
            assert_eq!(
                seconds(&some),
                expected.iter().map(|c| c.pts.seconds()).collect::<Vec<_>>(),
                "{prefix} {start}"
            );
            let same = |(a, b): (&Captured, &&Captured)| samples(&a.picture) == samples(&b.picture);
            assert!(some.iter().zip(&expected).all(same), "{prefix} {start}");
        }
    }
}

#[test]
fn a_stream_without_times_counts_its_pictures() {
    let Some(clips) = clips() else { return };
    let (pictures, error) = drain(&mut *open(&variant(&clips, "v23"), None).unwrap());
    assert!(error.is_none() && pictures.len() == 90);
    assert_eq!(pictures[89].pts.seconds(), 2.966667);
}

#[test]
fn y4m_is_known_by_its_content() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (plain, path) = (folder.path().join("clip.y4m"), folder.path().join("clip.mp4"));
    ffmpeg(&["-i", variant(&clips, "v13").to_str().unwrap(), "-r", "30000/1001"], &plain);
    std::fs::rename(plain, &path).unwrap();
    let mut source = open(&path, None).unwrap();
    assert_eq!(source.info().name, "clip.mp4 (Y4M)");
    let (pictures, error) = drain(&mut *source);
    assert!(error.is_none());
    assert_eq!(seconds(&pictures), probed(&path));
    assert_same_samples(&pictures, &decoded(&path, "yuv420p"), true, "y4m");
}

/// Makes a file with ffmpeg.
pub(super) fn ffmpeg(args: &[&str], output: &Path) {
    let status = Command::new("ffmpeg").args(["-v", "error", "-y"]).args(args).arg(output).status().unwrap();
    assert!(status.success(), "ffmpeg {args:?}");
}

#[test]
fn fragments_and_turns_in_every_form_that_ffmpeg_writes_are_read_alike() {
    let Some(clips) = clips() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (v02, v19) = (variant(&clips, "v02"), variant(&clips, "v19"));
    let (v02, v19) = (v02.to_str().unwrap(), v19.to_str().unwrap());
    let forms: [&[&str]; 14] = [
        &["-i", v02, "-c", "copy", "-movflags", "frag_keyframe"],
        &["-i", v02, "-c", "copy", "-movflags", "frag_keyframe+delay_moov"],
        &["-i", v02, "-c", "copy", "-movflags", "frag_keyframe+empty_moov+default_base_moof"],
        &["-i", v02, "-c", "copy", "-movflags", "empty_moov+negative_cts_offsets", "-frag_duration", "300000"],
        &["-i", v02, "-c", "copy", "-movflags", "dash+delay_moov+negative_cts_offsets", "-frag_duration", "400000"],
        &["-i", v19, "-c", "copy", "-movflags", "empty_moov+omit_tfhd_offset", "-frag_duration", "200000"],
        &["-i", v19, "-c", "copy", "-movflags", "empty_moov+separate_moof", "-frag_duration", "200000"],
        &["-i", v02, "-c", "copy", "-movflags", "negative_cts_offsets"],
        &["-itsoffset", "0.7", "-i", v02, "-c", "copy", "-movflags", "frag_keyframe+delay_moov"],
        &["-ss", "1.3", "-i", v02, "-c", "copy"],
        &["-i", v02, "-c", "copy", "-metadata:s:v:0", "rotate=90"],
        &["-i", v02, "-c", "copy", "-metadata:s:v:0", "rotate=180"],
        &["-i", v02, "-c", "copy", "-metadata:s:v:0", "rotate=270"],
        &["-i", v02, "-c", "copy", "-use_editlist", "0"],
    ];
    let mut wrong = Vec::new();
    for form in forms {
        let path = folder.path().join("form.mp4");
        ffmpeg(form, &path);
        let mut source = open_with(&path, None, OsStr::new("no-such-program")).unwrap();
        let (pictures, error) = drain(&mut *source);
        assert!(error.is_none(), "{form:?}: {error:?}");
        if seconds(&pictures) != probed(&path) {
            wrong.push(format!("{form:?}\n ours {:?}\n ffprobe {:?}", seconds(&pictures), probed(&path)));
        }
        assert_same_samples(&pictures, &decoded(&path, "yuv420p"), false, &format!("{form:?}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
