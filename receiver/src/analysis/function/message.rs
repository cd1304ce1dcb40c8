//! What is said over the socket to a process and what comes back: one JSON object a line.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The protocol's version, in the first line.
pub(super) const VERSION: u32 = 1;

/// From us to the process.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(super) enum Request<'a> {
    /// The first line. Answered, once all is ready.
    Hello {
        /// [`VERSION`].
        v: u32,
        /// What pictures are: `rgb`, `bgr`, `gray`, `yuv`.
        format: &'a str,
        /// Bytes of the shared memory.
        memory: usize,
        /// What the operator wrote beside the parameters that mean something to us.
        parameters: &'a std::collections::BTreeMap<String, String>,
    },
    /// A session's state begins. Not answered.
    Start {
        /// Names the state.
        key: u64,
        /// The session.
        session: &'a str,
    },
    /// A picture lies in the shared memory, from its first byte on. Answered.
    Frame {
        /// The session's state.
        key: u64,
        /// The session.
        session: &'a str,
        /// The sender's number of the picture.
        frame: u64,
        /// Its presentation time in seconds.
        time: f64,
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// What the analyzer that it builds on found in the picture.
        #[serde(skip_serializing_if = "Option::is_none")]
        given: Option<&'a Value>,
    },
    /// Pictures of a function that takes several at once. Answered by `results`, one for each.
    Batch {
        /// The pictures.
        pictures: Vec<Shown<'a>>,
    },
    /// A sender ends in good order; its session's state may go on. Answered.
    Finish {
        /// The session's state.
        key: u64,
    },
    /// A session's state will not be asked for any more. Not answered.
    Forget {
        /// The session's state.
        key: u64,
    },
}

/// One of several pictures in the shared memory.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    /// Its first byte in the memory.
    pub(super) offset: usize,
    /// The session.
    pub(super) session: &'a str,
    /// The sender's number of the picture.
    pub(super) frame: u64,
    /// Its presentation time in seconds.
    pub(super) time: f64,
    /// Pixels in a row.
    pub(super) width: u32,
    /// Rows.
    pub(super) height: u32,
    /// What the analyzer that it builds on found in the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) given: Option<&'a Value>,
}

/// From the process to us.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Reply {
    /// What was found, `null` if nothing.
    #[serde(default)]
    pub(super) result: Option<Value>,
    /// Why nothing could be found.
    #[serde(default)]
    pub(super) error: Option<String>,
    /// What is said of each of several pictures.
    #[serde(default)]
    pub(super) results: Option<Vec<Reply>>,
    /// In the answer to `hello`: whether several pictures are taken at once.
    #[serde(default)]
    pub(super) batch: bool,
    /// In the answer to `hello`: files beside the one that was named of which the code is made.
    #[serde(default)]
    pub(super) files: Vec<std::path::PathBuf>,
    /// What the operator should know of a process that is ready.
    #[serde(default)]
    pub(super) warning: Option<String>,
}

impl From<Reply> for Result<Option<Value>, String> {
    fn from(reply: Reply) -> Self {
        reply.error.map_or(Ok(reply.result), Err)
    }
}
