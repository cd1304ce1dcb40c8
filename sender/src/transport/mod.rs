//! The network side: an offer to a WHIP endpoint, access units out, results back.

mod connection;
mod estimate;
pub mod feedback;
mod fragment;
pub mod history;
pub mod ice;
mod interfaces;
mod joint;
mod links;
mod pacer;
pub mod packetize;
pub mod peer;
pub mod publish;
mod twcc;
pub mod whip;
