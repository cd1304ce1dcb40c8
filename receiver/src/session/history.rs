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

    /// Lines about frame `since` or later, with those that belong in front of them, and from `serial` on those about no
    /// frame; without `since` all from `serial` on.
    pub(super) fn replay(&self, serial: u64, since: Option<u64>) -> impl Iterator<Item = &Arc<Rendered>> {
        let wanted = move |(number, line): &&(u64, Arc<Rendered>)| match (since, line.frames) {
            (Some(since), Some((_, to))) => to >= since,
            (Some(since), None) => *number >= serial || line.before.is_some_and(|frame| frame >= since),
            (None, _) => *number >= serial,
        };
        self.lines.iter().filter(wanted).map(|(_, line)| line)
    }
}

#[cfg(test)]
mod tests {
    use cv_core::report::{Cause, Event, Gap, Line, Session};

    use super::*;

    fn history() -> History {
        let gap = |from, to| Line::Gap(Gap { session: "s".into(), from, to, cause: Cause::Busy });
        let change = |from| Line::Session(Session { from: Some(from), ..Session::new(Event::Analyzers, "s") });
        let started = Line::Session(Session::new(Event::Started, "s"));
        let mut history = History::default();
        for line in [started.clone(), gap(0, 4), change(5), gap(5, 9), change(10), started] {
            history.push(Rendered::new("s", &line));
        }
        history
    }

    fn replayed(history: &History, serial: u64, since: Option<u64>) -> Vec<usize> {
        let places = history
            .replay(serial, since)
            .map(|line| history.lines.iter().position(|(_, kept)| Arc::ptr_eq(kept, line)).expect("it is one of them"));
        places.collect()
    }

    #[test]
    fn a_change_of_analyzers_comes_with_the_result_that_it_stands_before() {
        let history = history();
        assert_eq!(replayed(&history, 5, Some(5)), [2, 3, 4, 5]);
        assert_eq!(replayed(&history, 5, Some(6)), [3, 4, 5]);
        assert_eq!(replayed(&history, 5, Some(10)), [4, 5]);
        assert_eq!(replayed(&history, 0, Some(11)), [0, 2, 4, 5], "all news of the sender at hand");
        assert_eq!(replayed(&history, 4, None), [4, 5]);
    }
}
