//! The sender: pictures from one source, cropped, encoded and published over WHIP.
//!
//! Roles, in the order in which a picture meets them: [`source`], [`encode`], [`transport`].

pub mod source;
pub mod transport;
