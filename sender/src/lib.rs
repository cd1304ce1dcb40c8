//! The sender: pictures from one source, cropped, encoded and published over WHIP.
//!
//! Roles, in the order in which a picture meets them: [`cv_source`] or [`camera`], [`encode`],
//! [`outlet`], [`transport`]; what comes back meets [`ledger`], [`expect`] and [`output`]. Only
//! [`sender`] and [`pipeline`] join them.

pub mod camera;
pub mod cli;
pub mod encode;
pub mod expect;
pub mod ledger;
pub mod link;
pub mod outlet;
pub mod output;
pub mod pipeline;
pub mod progress;
pub mod rate;
pub mod results;
pub mod sender;
pub mod summary;
pub mod transport;
