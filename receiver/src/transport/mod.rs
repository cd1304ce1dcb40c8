//! How access units come from senders.

pub mod rtp;
