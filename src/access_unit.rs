//! One compressed picture.

use bytes::Bytes;

/// The NAL units of one H.264 picture (an access unit, H.264 section 3.1) in Annex B form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessUnit {
    /// NAL units, each behind a start code `00 00 00 01` or `00 00 01`.
    pub data: Bytes,
    /// Whether decoding can begin here: an IDR picture with its parameter sets.
    pub keyframe: bool,
}
