//! What a track says of itself: its clock, its codec, how it is to be turned and cut.

use cv_core::timestamp::TimeBase;

use super::{
    Error,
    boxes::{Fields, child, children, descend},
    edits::Edits,
    time_base,
};

/// A video track.
#[derive(Debug)]
pub struct Track {
    /// Its number in the file.
    pub id: u32,
    /// Length of one tick of its clock.
    pub base: TimeBase,
    /// Type of its sample entry, which names the codec: `avc1`, `hvc1`, `vp09` and so on.
    pub format: [u8; 4],
    /// Decoder configuration, where the codec is H.264.
    pub avc: Option<Avc>,
    /// Whether samples span 0 to 255, where a `colr` box says so.
    pub full_range: Option<bool>,
    /// How to turn the pictures upright; `None` for a matrix that mirrors or skews.
    pub rotation: Option<Rotation>,
    pub(super) edits: Edits,
    /// Sum of all durations listed in `stts`, in ticks.
    pub(super) length: i64,
    descriptions: u32,
}

/// Clockwise turn that makes a picture upright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    /// It is upright.
    #[default]
    None,
    /// 90 degrees clockwise.
    Right,
    /// 180 degrees.
    Half,
    /// 90 degrees counter-clockwise.
    Left,
}

/// H.264 decoder configuration record (ISO 14496-15, section 5.3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Avc {
    /// Bytes of the length in front of each NAL unit: 1 to 4.
    pub length_size: usize,
    /// Sequence, then picture parameter sets, without start codes.
    pub parameter_sets: Vec<Vec<u8>>,
}

impl Track {
    /// The first video track in `moov` and its `trak` box.
    pub(super) fn first_video(moov: &[u8]) -> Result<(Self, &[u8]), Error> {
        let mut tracks = children(moov).filter(|(kind, _)| kind == b"trak").map(|(_, trak)| trak);
        let trak = tracks.find(|trak| is_video(trak)).ok_or(Error::NoVideo)?;
        let movie_scale = child(moov, b"mvhd").and_then(timescale).unwrap_or(0);
        Self::read(trak, movie_scale).map(|track| (track, trak))
    }

    fn read(trak: &[u8], movie_scale: u32) -> Result<Self, Error> {
        let header = child(trak, b"tkhd").and_then(header).ok_or(Error::Malformed("no track header"))?;
        let scale =
            descend(trak, &[b"mdia", b"mdhd"]).and_then(timescale).ok_or(Error::Malformed("no media header"))?;
        let base = time_base(scale)?;
        let stbl = descend(trak, &[b"mdia", b"minf", b"stbl"]).unwrap_or(&[]);
        let (_, _, mut fields) =
            child(stbl, b"stsd").and_then(Fields::full).ok_or(Error::Malformed("no sample description"))?;
        let descriptions = fields.u32().unwrap_or(0);
        let (format, entry) = children(fields.rest()).next().ok_or(Error::Malformed("no sample entry"))?;
        // Fixed fields of a visual sample entry (ISO 14496-12, section 12.1.3).
        let extensions = entry.get(78..).unwrap_or(&[]);
        Ok(Self {
            id: header.0,
            base,
            format,
            avc: child(extensions, b"avcC").and_then(avc),
            full_range: child(extensions, b"colr").and_then(full_range),
            rotation: header.1,
            edits: descend(trak, &[b"edts", b"elst"])
                .and_then(|elst| edits(elst, scale, movie_scale))
                .unwrap_or_default(),
            length: length(stbl),
            descriptions,
        })
    }

    /// Why this track's pictures cannot simply be decoded one after the other, or `None`.
    pub fn obstacle(&self) -> Option<&'static str> {
        match self {
            Self { descriptions: 2.., .. } => Some("it changes its format on the way"),
            Self { edits: Edits { several: true, .. }, .. } => Some("its edit list has several parts"),
            Self { rotation: None, .. } => Some("its pictures are mirrored or skewed"),
            _ => None,
        }
    }
}

fn is_video(trak: &[u8]) -> bool {
    descend(trak, &[b"mdia", b"hdlr"]).is_some_and(|hdlr| hdlr.get(8..12) == Some(b"vide"))
}

/// Ticks a second out of `mvhd` or `mdhd`, which begin alike.
fn timescale(content: &[u8]) -> Option<u32> {
    let (version, _, mut fields) = Fields::full(content)?;
    fields.bytes(if version == 1 { 16 } else { 8 })?;
    fields.u32()
}

/// Number and rotation out of `tkhd`.
fn header(tkhd: &[u8]) -> Option<(u32, Option<Rotation>)> {
    let (version, _, mut fields) = Fields::full(tkhd)?;
    fields.bytes(if version == 1 { 16 } else { 8 })?;
    let id = fields.u32()?;
    fields.bytes(if version == 1 { 12 } else { 8 } + 16)?;
    let (a, b, _) = (fields.i32()?, fields.i32()?, fields.i32()?);
    let (c, d) = (fields.i32()?, fields.i32()?);
    let rotation = match (a.signum(), b.signum(), c.signum(), d.signum()) {
        (1, 0, 0, 1) | (0, 0, 0, 0) => Some(Rotation::None),
        (0, 1, -1, 0) => Some(Rotation::Right),
        (-1, 0, 0, -1) => Some(Rotation::Half),
        (0, -1, 1, 0) => Some(Rotation::Left),
        _ => None,
    };
    Some((id, rotation))
}

fn avc(content: &[u8]) -> Option<Avc> {
    let mut fields = Fields::new(content);
    fields.bytes(4)?;
    let length_size = usize::from(fields.u8()? & 3) + 1;
    let mut parameter_sets = Vec::new();
    for mask in [0x1f, 0xff] {
        for _ in 0..fields.u8()? & mask {
            let length = fields.u16()?;
            parameter_sets.push(fields.bytes(length.into())?.to_vec());
        }
    }
    Some(Avc { length_size, parameter_sets })
}

/// The range flag out of `colr` (ISO 14496-12, section 12.1.5).
fn full_range(colr: &[u8]) -> Option<bool> {
    let mut fields = Fields::new(colr);
    let known = fields.array::<4>()? == *b"nclx";
    fields.bytes(6)?;
    let byte = fields.u8()?;
    known.then_some(byte & 0x80 != 0)
}

fn edits(elst: &[u8], scale: u32, movie_scale: u32) -> Option<Edits> {
    let (version, _, mut fields) = Fields::full(elst)?;
    let count = fields.u32()?;
    if movie_scale == 0 {
        return None;
    }
    let mut edits = Edits::default();
    for _ in 0..count {
        let Some(duration) = fields.sized(version) else { break };
        let time = if version == 1 { fields.u64()? as i64 } else { fields.i32()?.into() };
        fields.u32()?;
        let ticks = rescale(duration, scale, movie_scale);
        match (time, edits.media) {
            (-1, None) => edits.empty = edits.empty.saturating_add(ticks),
            (0.., None) => edits.media = Some((time, ticks)),
            _ => edits.several = true,
        }
    }
    Some(edits)
}

/// A duration in another clock, rounded to the nearest tick.
fn rescale(duration: u64, to: u32, from: u32) -> i64 {
    let ticks = (u128::from(duration) * u128::from(to) + u128::from(from) / 2) / u128::from(from);
    i64::try_from(ticks).unwrap_or(i64::MAX)
}

/// Sum of the durations in `stts`.
fn length(stbl: &[u8]) -> i64 {
    let Some((_, _, fields)) = child(stbl, b"stts").and_then(Fields::full) else { return 0 };
    let rows = super::boxes::table::<8>(fields).unwrap_or(&[]);
    let product = |[a, b, c, d, value @ ..]: &[u8; 8]| {
        i64::from(u32::from_be_bytes([*a, *b, *c, *d])).saturating_mul(u32::from_be_bytes(*value).into())
    };
    rows.iter().map(product).fold(0, i64::saturating_add)
}
