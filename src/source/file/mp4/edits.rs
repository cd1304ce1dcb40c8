//! Edit lists (ISO 14496-12, section 8.6.6), as ffmpeg understands them.

use super::Sample;

/// What a track's edit list says, in ticks of the track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Edits {
    /// Length of the empty edits in front: how much later than zero the track starts.
    pub(super) empty: i64,
    /// The part of the track that is shown, as start and length; all of it where there is no list.
    pub(super) media: Option<(i64, i64)>,
    /// Whether there is more in the list than that.
    pub(super) several: bool,
}

impl Edits {
    /// What to subtract from the times of fragments.
    pub(super) fn offset(&self) -> i64 {
        self.media.map_or(0, |(start, _)| start).saturating_sub(self.empty)
    }
}

/// Hides what lies outside the edit and shifts the rest so that the first picture shown comes
/// right behind the empty edits.
///
/// Decoding times count from the first picture shown in decoding order. Only then are they
/// pulled back to the first in presentation order, and never pushed forward.
pub(super) fn apply(edits: &Edits, samples: &mut [Sample]) {
    let Some((start, length)) = edits.media else { return };
    let end = start.saturating_add(length);
    for sample in samples.iter_mut() {
        sample.shown = (start..end).contains(&sample.pts);
    }
    let Some(first) = samples.iter().find(|sample| sample.shown) else { return };
    let shift = edits.empty.saturating_sub(first.dts);
    let mut least = -1;
    for sample in samples.iter_mut() {
        sample.dts = sample.dts.saturating_add(shift);
        sample.pts = sample.pts.saturating_add(shift);
        if sample.shown {
            least = if least < 0 { sample.pts } else { least.min(sample.pts) };
        }
    }
    let early = least.saturating_sub(edits.empty).max(0);
    for sample in samples {
        sample.dts = sample.dts.saturating_sub(early);
        sample.pts = sample.pts.saturating_sub(early);
    }
}
