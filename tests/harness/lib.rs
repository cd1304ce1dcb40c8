//! What the end-to-end tests share: both programs as a user would run them, a bad network between
//! them, and the reading of their lines.
//!
//! Nothing here reaches into the programs: they are started from their binaries, told things on
//! their command lines and over the network, and judged by their output. Every wait has a limit.

pub mod clips;
pub mod foreign;
pub mod front;
pub mod http;
pub mod lines;
pub mod link;
pub mod metrics;
pub mod models;
pub mod offer;
pub mod peers;
pub mod program;
pub mod python;
pub mod receiver;
pub mod sender;
pub mod streams;
pub mod stun;
pub mod timeline;
pub mod turn;
pub mod way;

pub use receiver::Receiver;
pub use sender::{Finished, Sender};
