//! How access units reach a WHIP endpoint.

pub mod history;
pub mod packetize;
