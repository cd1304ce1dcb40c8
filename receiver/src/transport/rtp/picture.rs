//! One access unit while its NAL units arrive.

use bytes::{BufMut, Bytes, BytesMut};
use cv_core::annex_b::{START_CODE, nal_type};

/// The most bytes one access unit may have: over a hundred times the largest that a sender at sensible settings makes.
pub(super) const MAX_ACCESS_UNIT: usize = 16 << 20;
/// Parameter sets are some ten bytes each; more than this is not remembered.
const MAX_PARAMETER_SETS: usize = 16 << 10;

/// The access unit cannot be completed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// NAL units in Annex B form, and what is known of them.
#[derive(Debug, Default)]
pub(super) struct Picture {
    data: BytesMut,
    /// Size of the access unit before: the best guess for this one.
    expected: usize,
    /// Where the fragmented NAL unit begins whose end has not come yet.
    fragmented: Option<usize>,
    has_slice: bool,
    has_idr: bool,
    has_sps: bool,
    has_pps: bool,
    /// The parameter sets of this access unit.
    own_sets: BytesMut,
    /// Those seen last, for IDR pictures that come without.
    last_sets: BytesMut,
}

impl Picture {
    /// Adds a whole NAL unit.
    pub(super) fn push(&mut self, nal: &[u8]) -> Result<(), Broken> {
        let at = self.begin_unit(nal)?;
        self.end_unit(at);
        Ok(())
    }

    /// Adds the first piece of a NAL unit that was cut up; `header` is the unit's own.
    pub(super) fn push_first(&mut self, header: u8, piece: &[u8]) -> Result<(), Broken> {
        let at = self.begin_unit(&[header])?;
        self.append(piece)?;
        self.fragmented = Some(at);
        Ok(())
    }

    /// Adds a further piece of the NAL unit of type `kind`, and ends it with the last one.
    pub(super) fn push_next(&mut self, kind: u8, piece: &[u8], last: bool) -> Result<(), Broken> {
        let at = self.fragmented.ok_or(Broken)?;
        if self.kind(at) != kind {
            return Err(Broken);
        }
        self.append(piece)?;
        if last {
            self.fragmented = None;
            self.end_unit(at);
        }
        Ok(())
    }

    /// Ends the access unit: its bytes and whether decoding can begin there.
    ///
    /// `None` if no slice has come: what did come then belongs to the picture that follows
    /// (parameter sets sent ahead, for example) and stays.
    pub(super) fn finish(&mut self) -> Result<Option<(Bytes, bool)>, Broken> {
        if self.fragmented.is_some() {
            return Err(Broken);
        }
        if !self.has_slice {
            self.remember_sets();
            return Ok(None);
        }
        let idr = self.has_idr;
        if idr && !(self.has_sps && self.has_pps) && !self.last_sets.is_empty() {
            self.data = BytesMut::from_iter(self.last_sets.iter().chain(&self.data));
        }
        self.remember_sets();
        let data = self.data.split().freeze();
        self.expected = data.len();
        self.clear();
        Ok(Some((data, idr)))
    }

    /// Throws away what has come of the access unit.
    pub(super) fn clear(&mut self) {
        let Self { mut data, expected, last_sets, .. } = std::mem::take(self);
        data.clear();
        *self = Self { data, expected, last_sets, ..Self::default() };
    }

    fn begin_unit(&mut self, nal: &[u8]) -> Result<usize, Broken> {
        if self.fragmented.is_some() {
            return Err(Broken);
        }
        if self.data.is_empty() {
            self.data.reserve(self.expected);
        }
        let at = self.data.len() + START_CODE.len();
        self.append(&START_CODE)?;
        self.append(nal)?;
        Ok(at)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if self.data.len() + bytes.len() > MAX_ACCESS_UNIT {
            return Err(Broken);
        }
        self.data.put_slice(bytes);
        Ok(())
    }

    fn kind(&self, at: usize) -> u8 {
        cv_core::annex_b::nal_type(&self.data[at..])
    }

    fn end_unit(&mut self, at: usize) {
        let kind = self.kind(at);
        match kind {
            // 2 to 4 are data partitions, which hold slices too.
            nal_type::SLICE..=4 => self.has_slice = true,
            nal_type::IDR => (self.has_slice, self.has_idr) = (true, true),
            nal_type::SPS => self.has_sps = true,
            nal_type::PPS => self.has_pps = true,
            _ => {}
        }
        let unit = &self.data[at - START_CODE.len()..];
        if matches!(kind, nal_type::SPS | nal_type::PPS) && self.own_sets.len() + unit.len() <= MAX_PARAMETER_SETS {
            self.own_sets.put_slice(unit);
        }
    }

    /// An SPS replaces all sets before, a PPS alone joins them.
    fn remember_sets(&mut self) {
        if self.has_sps {
            self.last_sets.clear();
        }
        let known =
            self.own_sets.is_empty() || self.last_sets.windows(self.own_sets.len()).any(|sets| sets == self.own_sets);
        if !known && self.last_sets.len() + self.own_sets.len() <= MAX_PARAMETER_SETS {
            self.last_sets.put_slice(&self.own_sets);
        }
    }
}
