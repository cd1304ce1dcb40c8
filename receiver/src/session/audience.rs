//! Everybody who hears a session's lines.

use std::sync::Arc;

use cv_core::report::Line;

use super::{Printing, history::History};
use crate::sink::{Outbox, Rendered};

/// Readers of one session at once, its sender aside.
const MAX_READERS: usize = 256;

/// Stdout, the sender over its channel, whoever reads along, and those who come later.
pub(super) struct Audience {
    session: String,
    printing: Option<Printing>,
    /// The way to the sender of the moment.
    channel: Option<Outbox>,
    /// Who reads along over HTTP.
    readers: Vec<Outbox>,
    history: History,
}

impl Audience {
    /// Nobody yet but stdout.
    pub(super) fn new(session: String, printing: Option<Printing>) -> Self {
        Self { session, printing, channel: None, readers: Vec::new(), history: History::default() }
    }

    /// Gives `line` to everybody; forgets readers that are gone.
    pub(super) fn emit(&mut self, line: &Line) {
        let line = Rendered::new(&self.session, line);
        if let Some(printing) = &self.printing {
            printing.outbox.push(line.clone());
        }
        self.readers.retain(|reader| reader.push(line.clone()));
        if let Some(channel) = &self.channel {
            channel.push(line.clone());
        }
        self.history.push(line);
    }

    /// Whether stdout is to hear what analyzers drew from pictures.
    pub(super) fn prints_features(&self) -> bool {
        self.printing.as_ref().is_some_and(|printing| printing.features)
    }

    /// Gives `line` to stdout alone.
    pub(super) fn print(&self, line: &Line) {
        if let Some(printing) = &self.printing {
            printing.outbox.push(Rendered::new(&self.session, line));
        }
    }

    /// The serial number of the line that comes next.
    pub(super) fn serial(&self) -> u64 {
        self.history.serial()
    }

    /// Forgets what was said: what comes next is another run.
    pub(super) fn forget(&mut self) {
        self.history.clear();
    }

    /// Lets the sender hear what was said from line `serial` and frame `since` on, and what comes.
    pub(super) fn open_channel(&mut self, outbox: Outbox, (serial, since): (u64, Option<u64>)) {
        self.replay(&outbox, serial, since);
        self.channel = Some(outbox);
    }

    /// The sender is gone and hears no more than what was said.
    pub(super) fn close_channel(&mut self) {
        if let Some(channel) = self.channel.take() {
            channel.finish();
        }
    }

    /// Takes a reader in, from frame `since` on where it says so; `serial` is the first line about the sender of the
    /// moment. `false` if there is no room.
    pub(super) fn subscribe(&mut self, outbox: Outbox, since: Option<u64>, serial: Option<u64>) -> bool {
        self.readers.retain(Outbox::is_read);
        if self.readers.len() >= MAX_READERS {
            return false;
        }
        if since.is_some() {
            self.replay(&outbox, serial.unwrap_or(self.history.serial()), since);
        }
        self.readers.push(outbox);
        true
    }

    /// How many read along.
    pub(super) fn readers(&self) -> usize {
        self.readers.len()
    }

    fn replay(&self, outbox: &Outbox, serial: u64, since: Option<u64>) {
        for line in self.history.replay(serial, since) {
            outbox.push(Arc::clone(line));
        }
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        // Stdout serves other sessions, too, and ends with the program.
        self.readers.iter().for_each(Outbox::finish);
    }
}
