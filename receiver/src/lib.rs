//! The receiver: answers WHIP senders, decodes, analyses every picture, hands out result lines.
//!
//! Roles, in the order in which a picture meets them: [`transport`], [`decode`], [`dispatch`] with
//! [`analysis`], [`session`], [`sink`]. Only [`pipeline`] and [`receiver`]
//! join them.

pub mod admission;
pub mod analysis;
pub mod cli;
pub mod decode;
pub mod dispatch;
pub mod metrics;
pub mod model;
pub mod offline;
pub mod ops;
pub mod pipeline;
mod process;
pub mod progress;
pub mod receiver;
pub mod service;
pub mod session;
pub mod sessions;
pub mod sink;
pub mod transport;
pub mod web;
