//! Reading boxes (ISO 14496-12, section 4.2) and big-endian fields out of a byte slice.
//!
//! Everything answers `None` past the end instead of trusting a length that the file claims.

/// Big-endian fields one after the other.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Version and flags of a "full box", then its fields.
    pub(super) fn full(bytes: &'a [u8]) -> Option<(u8, u32, Self)> {
        let mut fields = Self(bytes);
        let word = fields.u32()?;
        Some(((word >> 24) as u8, word & 0x00ff_ffff, fields))
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A 64-bit field in version 1 of a box, else a 32-bit one.
    pub(super) fn sized(&mut self, version: u8) -> Option<u64> {
        if version == 1 { self.u64() } else { self.u32().map(u64::from) }
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// The boxes in `payload` as type and content. One that claims to reach beyond its parent is cut there.
pub(super) fn children(payload: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let mut fields = Fields::new(rest);
        let (short, kind) = (fields.u32()?, fields.array()?);
        let (header, size) = match short {
            0 => (8, rest.len() as u64),
            1 => (16, fields.u64()?),
            size => (8, u64::from(size)),
        };
        let end = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        let content = rest.get(header..end)?;
        rest = &rest[end..];
        Some((kind, content))
    })
}

/// Content of the first box of type `kind` in `payload`.
pub(super) fn child<'a>(payload: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    children(payload).find(|(found, _)| found == kind).map(|(_, content)| content)
}

/// Content of the box reached by going down `path`.
pub(super) fn descend<'a>(payload: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(payload, |at, kind| child(at, kind))
}

/// A table of `N` byte rows behind a count; never longer than the bytes that are there.
pub(super) fn table<const N: usize>(mut fields: Fields<'_>) -> Option<&[[u8; N]]> {
    let count = fields.u32()? as usize;
    let (rows, _) = fields.rest().as_chunks::<N>();
    Some(&rows[..count.min(rows.len())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_of_all_three_size_forms_are_found() {
        let mut bytes = vec![0, 0, 0, 9, b'a', b'a', b'a', b'a', 7];
        bytes.extend([0, 0, 0, 1, b'b', b'b', b'b', b'b', 0, 0, 0, 0, 0, 0, 0, 17, 8]);
        bytes.extend([0, 0, 0, 0, b'c', b'c', b'c', b'c', 9, 9]);
        let found: Vec<_> = children(&bytes).collect();
        assert_eq!(found, [(*b"aaaa", &[7][..]), (*b"bbbb", &[8]), (*b"cccc", &[9, 9])]);
    }

    #[test]
    fn a_size_smaller_than_its_header_ends_the_walk() {
        assert_eq!(children(&[0, 0, 0, 4, b'a', b'a', b'a', b'a', 0, 0, 0, 0]).count(), 0);
        assert_eq!(children(&[0, 0, 0, 1, b'a', b'a', b'a', b'a', 0, 0, 0, 0, 0, 0, 0, 3]).count(), 0);
    }

    #[test]
    fn a_count_beyond_the_data_yields_the_rows_that_are_there() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5];
        assert_eq!(table::<2>(Fields::new(&bytes)), Some(&[[1, 2], [3, 4]][..]));
    }
}
