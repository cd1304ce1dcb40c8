//! The sender: pictures from one source, cropped, encoded and published over WHIP.
//!
//! Roles, in the order in which a picture meets them: [`source`], [`framing`], [`encode`], [`transport`].

pub mod encode;
pub mod framing;
pub mod source;
pub mod transport;
