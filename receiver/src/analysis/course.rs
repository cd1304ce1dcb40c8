//! What is drawn from a session's pictures at the moment, and that it may change while the session runs.

use std::sync::{Arc, Mutex, MutexGuard};

use super::Extraction;

/// The extraction of the moment. Cloning shares it: the session changes it, and the way of the pictures looks at it
/// before each of them.
#[derive(Clone)]
pub struct Course {
    /// Locked to look or to change, hence a plain mutex.
    state: Arc<Mutex<State>>,
}

struct State {
    leg: Leg,
    /// The sender whose pictures count.
    sender: u64,
}

/// A part of a course.
#[derive(Clone)]
pub struct Leg {
    /// Counts the changes before it. Pictures meet legs in this order, so what was drawn from a picture belongs to the
    /// analyzers whose leg it names.
    pub generation: u64,
    /// What is drawn.
    pub extraction: Extraction,
}

impl Course {
    /// A course that begins with `extraction`.
    pub fn new(extraction: Extraction) -> Self {
        let leg = Leg { generation: 0, extraction };
        Self { state: Arc::new(Mutex::new(State { leg, sender: 0 })) }
    }

    /// What is to be drawn from a picture that comes now.
    pub fn leg(&self) -> Leg {
        self.lock().leg.clone()
    }

    /// The same for a picture of `sender`; nothing where the session is another sender's by now. That one repeats what
    /// has no answer, and an analyzer that remembers what it saw must not see it twice.
    pub fn leg_of(&self, sender: u64) -> Option<Leg> {
        let state = self.lock();
        (state.sender == sender).then(|| state.leg.clone())
    }

    /// From now on nothing is drawn but from pictures of `sender`.
    pub fn hand_over(&self, sender: u64) {
        self.lock().sender = sender;
    }

    /// From the next picture on, `extraction`. Gives the number of the leg that begins.
    pub fn turn(&self, extraction: Extraction) -> u64 {
        let leg = &mut self.lock().leg;
        leg.generation += 1;
        leg.extraction = extraction;
        leg.generation
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding a leg")
    }
}
