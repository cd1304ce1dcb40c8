//! The network side: an offer to a WHIP endpoint, access units out, results back.

mod connection;
mod fragment;
pub mod history;
pub mod packetize;
pub mod peer;
pub mod publish;
pub mod whip;
