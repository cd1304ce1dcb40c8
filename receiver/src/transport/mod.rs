//! The network side: WHIP in, WebRTC beneath it, access units out.

pub mod candidate;
pub mod credentials;
pub mod offer;
pub mod peer;
pub mod port;
pub mod rtp;
pub mod sdpfrag;
pub mod slots;
pub mod whip;

mod arrivals;
mod connection;
mod ice;
mod ingest;
mod liveness;
mod socket;
