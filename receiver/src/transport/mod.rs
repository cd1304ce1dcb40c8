//! The network side: WHIP in, WebRTC beneath it, access units out.

pub mod offer;
pub mod peer;
pub mod rtp;
pub mod whip;

mod arrivals;
mod connection;
mod ingest;
mod repeat;
mod socket;
