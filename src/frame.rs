//! One picture of a stream with what identifies it.

use std::time::SystemTime;

use crate::{picture::Picture, timestamp::Timestamp};

/// One picture on its way from the source to the encoder.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The sender's number of the picture, counted from 0 at the source.
    pub number: u64,
    /// When the picture is to be seen, in the source's own time.
    pub pts: Timestamp,
    /// When the picture was taken, by the sender's wall clock.
    pub captured: SystemTime,
    /// The samples.
    pub picture: Picture,
}
