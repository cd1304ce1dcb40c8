//! The lines of late, for readers that come late or come back.

use std::{collections::VecDeque, sync::Arc};

use crate::sink::Rendered;

const LINES: usize = 2048;
const BYTES: usize = 4 << 20;

/// A bounded memory of lines, each with a serial number.
#[derive(Default)]
pub(super) struct History {
    lines: VecDeque<(u64, Arc<Rendered>)>,
    bytes: usize,
    next_serial: u64,
}

impl History {
    /// Keeps `line`; forgets the oldest beyond the bound.
    pub(super) fn push(&mut self, line: Arc<Rendered>) {
        self.bytes += line.json.len();
        self.lines.push_back((self.next_serial, line));
        self.next_serial += 1;
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some((_, oldest)) = self.lines.pop_front() else { return };
            self.bytes -= oldest.json.len();
        }
    }

    /// The serial number of the line that comes next.
    pub(super) fn serial(&self) -> u64 {
        self.next_serial
    }

    /// Forgets every line: what comes next is another run.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.bytes = 0;
    }

    /// Lines about frame `since` or later, and from `serial` on those about no frame; without `since` all from
    /// `serial` on.
    pub(super) fn replay(&self, serial: u64, since: Option<u64>) -> impl Iterator<Item = &Arc<Rendered>> {
        let wanted = move |(number, line): &&(u64, Arc<Rendered>)| match (since, line.frames) {
            (Some(since), Some((_, to))) => to >= since,
            _ => *number >= serial,
        };
        self.lines.iter().filter(wanted).map(|(_, line)| line)
    }
}
