//! Telling containers apart by their first bytes; names of files mean nothing.

/// How many bytes from the start of a file are looked at.
pub(super) const HEAD: usize = 4096;

/// What a file holds, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Empty,
    /// YUV4MPEG2.
    Y4m,
    /// MP4 or QuickTime.
    Mp4,
    /// A text.
    Text,
    /// H.264, H.265 or so without a container, hence without times: what it is called.
    Elementary(&'static str),
    /// Something else: what it is called, where that is known.
    Other(Option<&'static str>),
}

/// Signatures: position, bytes, name.
const SIGNATURES: [(usize, &[u8], &str); 14] = [
    (8, b"AVI ", "AVI"),
    (0, b"FLV", "FLV"),
    (0, b"OggS", "Ogg"),
    (0, &[0x30, 0x26, 0xb2, 0x75], "Windows Media"),
    (0, b"DKIF", "IVF"),
    (0, &[0, 0, 1, 0xba], "MPEG program stream"),
    (0, b"GIF8", "GIF"),
    (0, b"\x89PNG", "PNG"),
    (0, &[0xff, 0xd8, 0xff], "JPEG"),
    (8, b"WAVE", "WAV sound"),
    (8, b"WEBP", "WebP"),
    (0, b"ID3", "MP3 sound"),
    (0, b"fLaC", "FLAC sound"),
    (0, b"PK\x03\x04", "ZIP archive"),
];

/// Codec ids that Matroska writes near its start, the longest first (matroska.org, codec mappings).
const MATROSKA: [(&[u8], &str); 6] = [
    (b"V_MPEG4/ISO/AVC", "H.264 in Matroska"),
    (b"V_MPEGH/ISO/HEVC", "HEVC in Matroska"),
    (b"V_VP8", "VP8 in WebM or Matroska"),
    (b"V_VP9", "VP9 in WebM or Matroska"),
    (b"V_AV1", "AV1 in WebM or Matroska"),
    (b"V_MJPEG", "Motion-JPEG in Matroska"),
];

/// What the file that begins with `head` is. A shorter `head` than [`HEAD`] is the whole file.
pub(super) fn identify(head: &[u8]) -> Kind {
    let has = |at: usize, bytes: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(bytes));
    let boxes: [&[u8]; 11] =
        [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"moof", b"uuid"];
    if head.is_empty() {
        Kind::Empty
    } else if has(0, b"YUV4MPEG2") {
        Kind::Y4m
    } else if boxes.iter().any(|kind| has(4, kind)) {
        Kind::Mp4
    } else if is_text(head) {
        Kind::Text
    } else if has(0, &[0x1a, 0x45, 0xdf, 0xa3]) {
        let within = |id: &[u8]| head.windows(id.len()).any(|window| window == id);
        let codec = MATROSKA.iter().find(|(id, _)| within(id));
        Kind::Other(Some(codec.map_or("Matroska or WebM", |(_, name)| name)))
    } else if let Some(name) = elementary(head) {
        Kind::Elementary(name)
    } else if head.len() > 376 && [0, 188, 376].iter().all(|at| head[*at] == 0x47) {
        Kind::Other(Some("MPEG transport stream"))
    } else {
        Kind::Other(SIGNATURES.iter().find(|(at, bytes, _)| has(*at, bytes)).map(|(_, _, name)| *name))
    }
}

/// What a sample entry of an MP4 file means (mp4ra.org, codecs).
pub(super) fn codec(format: [u8; 4]) -> String {
    let known = match &format {
        b"avc1" | b"avc3" => "H.264",
        b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => "HEVC",
        b"vp08" => "VP8",
        b"vp09" => "VP9",
        b"av01" => "AV1",
        b"mp4v" => "MPEG-4 Visual",
        b"jpeg" | b"mjpa" | b"mjpb" => "Motion-JPEG",
        b"apcn" | b"apch" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => "ProRes",
        b"encv" => "encrypted video",
        _ => return format.escape_ascii().to_string(),
    };
    known.to_owned()
}

/// Streams that begin with a start code and a parameter set or a delimiter.
fn elementary(head: &[u8]) -> Option<&'static str> {
    let start = if head.starts_with(&[0, 0, 0, 1]) { 4 } else { 3 };
    if !head.starts_with(&[0, 0, 1]) && start == 3 {
        return None;
    }
    match *head.get(start)? {
        // Parameter sets, delimiters and supplemental information.
        0x06 | 0x09 | 0x27 | 0x47 | 0x67 => Some("raw H.264"),
        0x40 | 0x42 | 0x44 | 0x46 | 0x4e => Some("raw HEVC"),
        0xb3 => Some("raw MPEG-1 or MPEG-2 video"),
        0xb0 => Some("raw MPEG-4 Visual"),
        _ => None,
    }
}

fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be cut in the middle.
        Err(error) if error.error_len().is_none() && head.len() == HEAD => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.chars().any(|c| c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_containers_apart() {
        assert_eq!(identify(b""), Kind::Empty);
        assert_eq!(identify(b"YUV4MPEG2 W4 H4 F30:1\n"), Kind::Y4m);
        assert_eq!(identify(b"\0\0\0\x1cftypisom"), Kind::Mp4);
        assert_eq!(identify("#EXTM3U\nçа va\n".as_bytes()), Kind::Text);
        assert_eq!(identify(&[0, 0, 0, 1, 0x67, 0x42]), Kind::Elementary("raw H.264"));
        assert_eq!(identify(&[0, 0, 1, 0x09, 0x10]), Kind::Elementary("raw H.264"));
        assert_eq!(identify(&[0, 0, 0, 1, 0x40, 1]), Kind::Elementary("raw HEVC"));
        assert_eq!(identify(b"RIFF\x01\0\0\0AVI LIST"), Kind::Other(Some("AVI")));
        assert_eq!(identify(b"\x1aE\xdf\xa3\0V_VP9"), Kind::Other(Some("VP9 in WebM or Matroska")));
        assert_eq!(identify(&[7, 0, 1]), Kind::Other(None));
    }

    #[test]
    fn codecs_have_names_and_unknown_ones_their_own() {
        assert_eq!(codec(*b"hev1"), "HEVC");
        assert_eq!(codec(*b"\0abc"), "\\x00abc");
    }
}
