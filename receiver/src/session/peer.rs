//! The sender of the moment, and what became of its pictures.

use std::{collections::VecDeque, net::IpAddr, time::Instant};

use cv_core::{report::Packets, whip::Mode};
use tokio::sync::oneshot;

use super::{Attachment, Ending, Loss, Outcome, PeerId};

/// One sender, from its offer to its end.
pub(super) struct Peer {
    pub(super) id: PeerId,
    pub(super) client: Option<IpAddr>,
    pub(super) began: Instant,
    pub(super) mode: Mode,
    /// The first line of this peer, and the first frame it still wants to hear of.
    pub(super) since: (u64, Option<u64>),
    /// Outcomes from `next_order` on; those that came before their turn behind empty places.
    outcomes: VecDeque<Option<Outcome>>,
    next_order: u64,
    /// Whether every outcome has come.
    pub(super) drained: bool,
    pub(super) ending: Option<Ending>,
    /// Dropped unused it means that the session is over.
    pub(super) replaced: Option<oneshot::Sender<Loss>>,
    pub(super) packets: Box<dyn Fn() -> Packets + Send>,
}

impl Peer {
    /// A sender that begins now; the line about it has the number `serial`.
    pub(super) fn new(attachment: Attachment, serial: u64) -> Self {
        let Attachment { peer, client, mode, next, replaced, packets, .. } = attachment;
        Self {
            id: peer,
            client,
            began: Instant::now(),
            mode,
            since: (serial, next),
            outcomes: VecDeque::new(),
            next_order: 0,
            drained: false,
            ending: None,
            replaced: Some(replaced),
            packets,
        }
    }

    /// Keeps an outcome until its turn.
    pub(super) fn put(&mut self, order: u64, outcome: Outcome) {
        let Some(place) = order.checked_sub(self.next_order).map(|place| place as usize) else { return };
        if self.outcomes.len() <= place {
            self.outcomes.resize_with(place + 1, || None);
        }
        self.outcomes[place] = Some(outcome);
    }

    /// The outcome that is due, if it is there.
    pub(super) fn next_outcome(&mut self) -> Option<Outcome> {
        let outcome = self.outcomes.front_mut()?.take()?;
        self.outcomes.pop_front();
        self.next_order += 1;
        Some(outcome)
    }
}
