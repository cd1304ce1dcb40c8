//! What `cv-sender` and `cv-receiver` share: pictures, time, the stamp that travels
//! with every picture, bounded queues and the JSON lines that come out.
//!
//! A picture's way, with the type that carries it:
//!
//! ```text
//! source ─Frame─► crop ─Frame─► encode ─AccessUnit─► transport ═► transport ─AccessUnit─► decode ─Frame─► analysis ─Line─► sink
//! ```
//!
//! Not here: anything that opens a device, a socket or a codec.

pub mod access_unit;
pub mod analyzers;
pub mod annex_b;
pub mod assembly;
pub mod frame;
pub mod geometry;
pub mod ice_server;
pub mod interface;
pub mod logging;
pub mod mailbox;
pub mod message;
pub mod ntp;
pub mod picture;
pub mod process;
pub mod report;
pub mod rgb;
pub mod session_id;
pub mod stamp;
pub mod timestamp;
pub mod whip;
pub mod worker;
