//! Who is to have the session next.

use std::time::Instant;

use tokio::sync::oneshot;

use super::{Admitted, Attachment, Loss};

/// A sender that was accepted and waits until what its forerunner showed is answered.
pub(super) struct Successor {
    pub(super) attachment: Attachment,
    pub(super) admitted: oneshot::Sender<Option<Admitted>>,
    /// When it waits no longer.
    pub(super) deadline: Instant,
}

impl Successor {
    /// What becomes of the sender before it.
    pub(super) fn loss(&self) -> Loss {
        if self.attachment.next.is_some() { Loss::CameBack } else { Loss::TakenOver }
    }
}
