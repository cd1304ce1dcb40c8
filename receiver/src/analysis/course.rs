//! What is drawn from a session's pictures at the moment, and that it may change while the session runs.

use std::sync::{Arc, Mutex, MutexGuard};

use super::Extraction;

/// The extraction of the moment. Cloning shares it: the session changes it, and the way of the pictures looks at it
/// before each of them.
#[derive(Clone)]
pub struct Course {
    /// Locked to look or to change, hence a plain mutex.
    leg: Arc<Mutex<Leg>>,
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
        Self { leg: Arc::new(Mutex::new(Leg { generation: 0, extraction })) }
    }

    /// What is to be drawn from a picture that comes now.
    pub fn leg(&self) -> Leg {
        self.lock().clone()
    }

    /// From the next picture on, `extraction`. Gives the number of the leg that begins.
    pub fn turn(&self, extraction: Extraction) -> u64 {
        let mut leg = self.lock();
        leg.generation += 1;
        leg.extraction = extraction;
        leg.generation
    }

    fn lock(&self) -> MutexGuard<'_, Leg> {
        self.leg.lock().expect("nobody panics while holding a leg")
    }
}
