//! The sample tables of a track (ISO 14496-12, sections 8.6 and 8.7): one pass over all of them.

use super::{
    Error, Sample,
    boxes::{Fields, child, table},
};

/// The coded pictures that `stbl` lists, at most `limit`, edit list not applied.
pub(super) fn read(stbl: &[u8], limit: usize) -> Result<Vec<Sample>, Error> {
    let sizes = Sizes::find(stbl).ok_or(Error::Malformed("no sample sizes"))?;
    let count = sizes.count();
    if count > limit {
        return Err(Error::Malformed("it lists more pictures than the file can hold"));
    }
    let mut durations = Runs::find(stbl, b"stts");
    let mut offsets = Runs::find(stbl, b"ctts");
    let mut samples = Vec::new();
    let mut dts = 0i64;
    for (start, in_chunk) in chunks(stbl)? {
        let mut offset = start;
        for _ in 0..in_chunk {
            if samples.len() == count {
                return Ok(with_sync(stbl, samples));
            }
            let size = sizes.get(samples.len());
            // Both versions of ctts carry negative offsets in the wild.
            let pts = dts + i64::from(offsets.next().unwrap_or(0) as i32);
            samples.push(Sample { offset, size, dts, pts, sync: false, shown: true });
            offset = offset.checked_add(size.into()).ok_or(Error::Malformed("a position beyond 64 bits"))?;
            dts += i64::from(durations.next().unwrap_or(durations.last));
        }
    }
    Ok(with_sync(stbl, samples))
}

/// Sizes of the coded pictures.
enum Sizes<'a> {
    /// All the same.
    Constant { size: u32, count: usize },
    /// `stsz`.
    Words(&'a [[u8; 4]]),
    /// `stz2` with 4, 8 or 16 bits each.
    Compact { bits: usize, count: usize, bytes: &'a [u8] },
}

impl<'a> Sizes<'a> {
    fn find(stbl: &'a [u8]) -> Option<Self> {
        if let Some(stsz) = child(stbl, b"stsz") {
            let (_, _, mut fields) = Fields::full(stsz)?;
            return Some(match fields.u32()? {
                0 => Self::Words(table(fields)?),
                size => Self::Constant { size, count: fields.u32()? as usize },
            });
        }
        let (_, _, mut fields) = Fields::full(child(stbl, b"stz2")?)?;
        let bits = (fields.u32()? & 0xff) as usize;
        let (claimed, bytes) = (fields.u32()? as usize, fields.rest());
        let fits = |bits: usize| claimed.min(bytes.len().saturating_mul(8) / bits);
        matches!(bits, 4 | 8 | 16).then(|| Self::Compact { bits, count: fits(bits), bytes })
    }

    fn count(&self) -> usize {
        match self {
            Self::Constant { count, .. } | Self::Compact { count, .. } => *count,
            Self::Words(words) => words.len(),
        }
    }

    /// Size of picture `index`, which is below the count.
    fn get(&self, index: usize) -> u32 {
        match self {
            Self::Constant { size, .. } => *size,
            Self::Words(words) => u32::from_be_bytes(words[index]),
            Self::Compact { bits: 4, bytes, .. } => u32::from(bytes[index / 2] >> (4 * (1 - index % 2)) & 0xf),
            Self::Compact { bits: 8, bytes, .. } => bytes[index].into(),
            Self::Compact { bytes, .. } => u16::from_be_bytes([bytes[2 * index], bytes[2 * index + 1]]).into(),
        }
    }
}

/// Values of a run-length coded table (`stts`, `ctts`), one for each picture.
struct Runs<'a> {
    rows: std::slice::Iter<'a, [u8; 8]>,
    left: u32,
    last: u32,
}

impl<'a> Runs<'a> {
    /// The table of type `kind`, empty where there is none.
    fn find(stbl: &'a [u8], kind: &[u8; 4]) -> Self {
        let rows = child(stbl, kind).and_then(Fields::full).and_then(|(_, _, fields)| table(fields)).unwrap_or(&[]);
        Self { rows: rows.iter(), left: 0, last: 0 }
    }

    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            let [a, b, c, d, value @ ..] = self.rows.next()?;
            self.left = u32::from_be_bytes([*a, *b, *c, *d]);
            self.last = u32::from_be_bytes(*value);
        }
        self.left -= 1;
        Some(self.last)
    }
}

/// Position and number of pictures of every chunk, from `stco` or `co64` and `stsc`.
fn chunks(stbl: &[u8]) -> Result<impl Iterator<Item = (u64, u32)>, Error> {
    let full = |kind| child(stbl, kind).and_then(Fields::full).map(|(_, _, fields)| fields);
    let narrow: &[[u8; 4]] = full(b"stco").and_then(table).unwrap_or(&[]);
    let wide: &[[u8; 8]] = full(b"co64").and_then(table).unwrap_or(&[]);
    let runs: &[[u8; 12]] = full(b"stsc").and_then(table).unwrap_or(&[]);
    if runs.is_empty() && narrow.len() + wide.len() > 0 {
        return Err(Error::Malformed("no sample-to-chunk table"));
    }
    let field = |run: &[u8; 12], at: usize| u32::from_be_bytes([run[at], run[at + 1], run[at + 2], run[at + 3]]);
    let positions = narrow.iter().map(|word| u64::from(u32::from_be_bytes(*word)));
    let positions = positions.chain(wide.iter().map(|word| u64::from_be_bytes(*word)));
    let mut run = 0;
    Ok(positions.zip(1u32..).map(move |(position, number)| {
        while runs.get(run + 1).is_some_and(|next| field(next, 0) <= number) {
            run += 1;
        }
        (position, field(&runs[run], 4))
    }))
}

/// Marks the sync samples: those in `stss`, or all where there is none.
fn with_sync(stbl: &[u8], mut samples: Vec<Sample>) -> Vec<Sample> {
    let Some(listed) = child(stbl, b"stss").and_then(Fields::full).and_then(|(_, _, fields)| table::<4>(fields)) else {
        samples.iter_mut().for_each(|sample| sample.sync = true);
        return samples;
    };
    for number in listed {
        let index = (u32::from_be_bytes(*number) as usize).wrapping_sub(1);
        if let Some(sample) = samples.get_mut(index) {
            sample.sync = true;
        }
    }
    samples
}
