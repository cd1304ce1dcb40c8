//! A session's analysis state, and the changes of its analyzers that no picture has met yet.

use std::{collections::VecDeque, sync::Arc};

use cv_core::report::{Analysis, AnalyzerError};

use super::PeerId;
use crate::analysis::{Course, Folding, Plan, Succession};

/// Changes that may wait for a picture: whoever asks for more hears that there is none.
const MAX_WAITING: usize = 16;

/// Analysis state with the plan it belongs to.
pub(super) struct Kept {
    /// What the sender asked for, or would have to ask for to go on here.
    asked: Arc<Plan>,
    /// What the findings of the moment are made by.
    plan: Arc<Plan>,
    /// The list of the change that it came with.
    list: Option<String>,
    pub(super) folding: Folding,
    /// What is drawn from pictures that come now; ahead of `folding` by what is `waiting`.
    course: Course,
    waiting: VecDeque<Change>,
}

/// Other analyzers, from the first picture on that they drew from.
struct Change {
    generation: u64,
    list: String,
    plan: Arc<Plan>,
    succession: Succession,
}

impl Kept {
    pub(super) fn new(plan: Arc<Plan>, session: &str) -> Self {
        let (extraction, folding) = plan.begin(session);
        Self {
            asked: plan.clone(),
            plan,
            list: None,
            folding,
            course: Course::new(extraction),
            waiting: VecDeque::new(),
        }
    }

    /// What is drawn from pictures, now and after every change.
    pub(super) fn course(&self) -> Course {
        self.course.clone()
    }

    /// From now on only pictures of that sender are looked at.
    pub(super) fn hand_over(&self, sender: PeerId) {
        self.course.hand_over(sender);
    }

    /// Whether a sender that asks for `plan` goes on here: with what was asked for first, changed since or not, or with
    /// what it was changed to.
    pub(super) fn suits(&self, plan: &Plan) -> bool {
        *self.asked == *plan || **self.latest() == *plan
    }

    /// Goes on for a sender that asks for `plan`, which [`Self::suits`] it.
    pub(super) fn go_on(&mut self, plan: Arc<Plan>) {
        self.asked = plan;
    }

    /// The list that a change asked for last, where what is at work is not what the sender asks for.
    pub(super) fn changed(&self) -> Option<&str> {
        if *self.asked == **self.latest() {
            return None;
        }
        self.waiting.back().map(|change| change.list.as_str()).or(self.list.as_deref())
    }

    /// Has `plan`, which `list` says, follow with the next picture. `false` if too many changes wait for one already.
    pub(super) fn change(&mut self, session: &str, plan: Arc<Plan>, list: String) -> bool {
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        let (extraction, succession) = plan.succeed(session, self.latest(), &self.course.leg().extraction);
        let generation = self.course.turn(extraction);
        self.waiting.push_back(Change { generation, list, plan, succession });
        true
    }

    /// The next change whose turn has come with a picture of `generation`, as the list that asked for it.
    pub(super) fn turn(&mut self, generation: u64) -> Option<String> {
        if self.waiting.front()?.generation > generation {
            return None;
        }
        let change = self.waiting.pop_front()?;
        change.succession.settle(&mut self.folding);
        self.plan = change.plan;
        self.list = Some(change.list.clone());
        Some(change.list)
    }

    /// Forgets all that was learnt; a sender of the moment goes on.
    pub(super) fn begin_anew(&mut self, session: &str) {
        let (mut extraction, folding) = self.plan.begin(session);
        self.folding = folding;
        for change in &mut self.waiting {
            let (latest, folding) = change.plan.begin(session);
            (extraction, change.succession) = (latest, folding.into());
        }
        self.course.leg().extraction.renew(&extraction);
    }

    /// What the analyzers say about the whole session.
    pub(super) fn finish(&mut self) -> (Analysis, Vec<AnalyzerError>) {
        if self.folding.waits() {
            return tokio::task::block_in_place(|| self.folding.finish());
        }
        self.folding.finish()
    }

    fn latest(&self) -> &Arc<Plan> {
        self.waiting.back().map_or(&self.plan, |change| &change.plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Catalog;

    fn plan(list: &str) -> Arc<Plan> {
        Arc::new(Catalog::default().plan(list).unwrap())
    }

    #[test]
    fn a_sender_goes_on_with_what_was_changed_whatever_it_asked_for_last() {
        let mut kept = Kept::new(plan("stats"), "s");
        assert!(kept.change("s", plan("cycles"), "cycles".into()));
        assert_eq!(kept.turn(1).as_deref(), Some("cycles"));
        assert!(kept.suits(&plan("stats")) && kept.suits(&plan("cycles")) && !kept.suits(&plan("pulse")));
        kept.go_on(plan("cycles"));
        assert_eq!(kept.changed(), None);
        assert!(kept.change("s", plan("pulse"), "pulse".into()));
        assert!(kept.suits(&plan("cycles")), "its own sender comes back after a break");
        assert_eq!(kept.changed(), Some("pulse"));
    }
}
