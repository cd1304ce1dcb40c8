//! Movie fragments (ISO 14496-12, section 8.8), as recorders that fear a power cut write them.

use std::collections::HashMap;

use super::{
    Error, Sample, Track,
    boxes::{Fields, child, children},
};

/// `trun` and `tfhd` flags that say which fields are there.
mod flag {
    pub(super) const BASE_DATA_OFFSET: u32 = 0x01;
    pub(super) const DESCRIPTION: u32 = 0x02;
    pub(super) const DEFAULT_DURATION: u32 = 0x08;
    pub(super) const DEFAULT_SIZE: u32 = 0x10;
    pub(super) const DEFAULT_FLAGS: u32 = 0x20;
    pub(super) const BASE_IS_MOOF: u32 = 0x02_0000;
    pub(super) const DATA_OFFSET: u32 = 0x01;
    pub(super) const FIRST_FLAGS: u32 = 0x04;
    pub(super) const DURATION: u32 = 0x100;
    pub(super) const SIZE: u32 = 0x200;
    pub(super) const FLAGS: u32 = 0x400;
    pub(super) const CTS: u32 = 0x800;
    /// In the flags of a sample: it depends on others, or is not a sync sample.
    pub(super) const NOT_SYNC: u32 = 0x0101_0000;
}

/// What holds for a sample that does not say otherwise.
#[derive(Clone, Copy, Default)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

/// Reads fragments one after the other.
pub(super) struct Fragments {
    track: u32,
    defaults: HashMap<u32, Defaults>,
    /// What the edit list subtracts from all times.
    offset: i64,
    /// Where the next fragment begins unless it says so, in decoding time.
    end: i64,
    /// How far the most negative composition offset reaches back; ffmpeg adds it to every time.
    reach: i64,
    /// Decoding time of the last sample; one that comes again overlaps and is not shown.
    previous: Option<i64>,
    /// How many samples there may be in all.
    limit: usize,
}

/// A run of samples: where its data begin and whose defaults hold.
struct Run {
    ours: bool,
    base: u64,
    next: u64,
    defaults: Defaults,
}

impl Fragments {
    /// The defaults from `moov`, going on behind the `samples` listed there.
    pub(super) fn new(moov: &[u8], track: &Track, samples: &[Sample], limit: usize) -> Self {
        let mvex = child(moov, b"mvex").unwrap_or(&[]);
        let trex = children(mvex).filter(|(kind, _)| kind == b"trex");
        let defaults = trex.filter_map(|(_, content)| {
            let (_, _, mut fields) = Fields::full(content)?;
            let (id, _) = (fields.u32()?, fields.u32()?);
            Some((id, Defaults { duration: fields.u32()?, size: fields.u32()?, flags: fields.u32()? }))
        });
        let reach = samples.iter().map(|sample| sample.dts - sample.pts).max().unwrap_or(0).max(0);
        Self {
            track: track.id,
            defaults: defaults.collect(),
            offset: track.edits.offset(),
            end: track.length,
            reach,
            previous: None,
            limit,
        }
    }

    /// Appends the samples that the fragment `moof`, found at `position`, has for our track.
    pub(super) fn read(&mut self, moof: &[u8], position: u64, samples: &mut Vec<Sample>) -> Result<(), Error> {
        let before = samples.len();
        let mut next = position;
        for (_, traf) in children(moof).filter(|(kind, _)| kind == b"traf") {
            let tfhd = child(traf, b"tfhd").ok_or(Error::Malformed("a fragment without a header"))?;
            let mut run = self.run(tfhd, position, next).ok_or(Error::Malformed("a fragment's header is cut off"))?;
            if run.ours
                && let Some(tfdt) = child(traf, b"tfdt")
            {
                let time = Fields::full(tfdt).and_then(|(version, _, mut fields)| fields.sized(version));
                self.end = time.and_then(|time| i64::try_from(time).ok()).unwrap_or(self.end);
            }
            for (_, trun) in children(traf).filter(|(kind, _)| kind == b"trun") {
                self.trun(trun, &mut run, samples)?;
            }
            next = run.next;
        }
        for sample in &mut samples[before..] {
            sample.pts = sample.pts.saturating_add(self.reach);
        }
        Ok(())
    }

    fn run(&self, tfhd: &[u8], moof: u64, implied: u64) -> Option<Run> {
        let (_, flags, mut fields) = Fields::full(tfhd)?;
        let id = fields.u32()?;
        let mut defaults = self.defaults.get(&id).copied().unwrap_or_default();
        let base = match flags {
            _ if flags & flag::BASE_DATA_OFFSET != 0 => fields.u64()?,
            _ if flags & flag::BASE_IS_MOOF != 0 => moof,
            _ => implied,
        };
        if flags & flag::DESCRIPTION != 0 {
            fields.u32()?;
        }
        for (bit, value) in [
            (flag::DEFAULT_DURATION, &mut defaults.duration),
            (flag::DEFAULT_SIZE, &mut defaults.size),
            (flag::DEFAULT_FLAGS, &mut defaults.flags),
        ] {
            if flags & bit != 0 {
                *value = fields.u32()?;
            }
        }
        Some(Run { ours: id == self.track, base, next: base, defaults })
    }

    fn trun(&mut self, trun: &[u8], run: &mut Run, samples: &mut Vec<Sample>) -> Result<(), Error> {
        const CUT: Error = Error::Malformed("a fragment's table is cut off");
        let (_, flags, mut fields) = Fields::full(trun).ok_or(CUT)?;
        let count = fields.u32().ok_or(CUT)?;
        if flags & flag::DATA_OFFSET != 0 {
            let offset = fields.i32().ok_or(CUT)?;
            run.next = run.base.checked_add_signed(offset.into()).ok_or(Error::Malformed("a position below zero"))?;
        }
        let first = if flags & flag::FIRST_FLAGS != 0 { Some(fields.u32().ok_or(CUT)?) } else { None };
        if count as usize > self.limit.saturating_sub(samples.len()) {
            return Err(Error::Malformed("a fragment lists more pictures than the file can hold"));
        }
        for index in 0..count {
            let mut field = |bit, default| if flags & bit != 0 { fields.u32().ok_or(CUT) } else { Ok(default) };
            let duration = field(flag::DURATION, run.defaults.duration)?;
            let size = field(flag::SIZE, run.defaults.size)?;
            let fallback = if index == 0 { first.unwrap_or(run.defaults.flags) } else { run.defaults.flags };
            let sample_flags = field(flag::FLAGS, fallback)?;
            let cts = field(flag::CTS, 0)? as i32;
            if run.ours {
                let sync = sample_flags & flag::NOT_SYNC == 0;
                samples.push(self.sample(run.next, size, cts, sync));
                self.end = self.end.saturating_add(duration.into());
            }
            run.next = run.next.checked_add(size.into()).ok_or(Error::Malformed("a position beyond 64 bits"))?;
        }
        Ok(())
    }

    fn sample(&mut self, offset: u64, size: u32, cts: i32, sync: bool) -> Sample {
        let dts = self.end.saturating_sub(self.offset);
        self.reach = self.reach.max(-i64::from(cts));
        let shown = self.previous.is_none_or(|previous| previous < dts);
        self.previous = Some(dts);
        Sample { offset, size, dts, pts: dts.saturating_add(cts.into()), sync, shown }
    }
}
