//! Lib.

pub mod transport;
