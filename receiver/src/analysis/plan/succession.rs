//! One plan after another within a session: analyzers that both have go on with their state.

use super::Plan;
use crate::analysis::{
    Cost, Extraction, Fold, Folding,
    folding::{Part, Source},
};

/// The ordered halves of a plan that follows another, until their turn comes.
pub struct Succession {
    parts: Vec<(String, Origin, Source)>,
    cost: Cost,
}

/// Where a fold comes from.
enum Origin {
    /// From the plan before, by its place there.
    Kept(usize),
    Anew(Box<dyn Fold>),
}

impl Plan {
    /// The halves of this plan for `session`, which `before` was at work for, whose pure halves are in `extraction`.
    ///
    /// An analyzer is the same if its name and parameters are, and if that on which it builds is the same; its pure
    /// half is shared then, and its ordered half goes on.
    pub fn succeed(&self, session: &str, before: &Self, extraction: &Extraction) -> (Extraction, Succession) {
        let kept = self.kept_of(before);
        let (extraction, parts) = self.assemble(|index| match kept[index] {
            Some(place) => (before.extractor(place).and_then(|own| extraction.extract(own)), Origin::Kept(place)),
            None => {
                let (extract, fold) = self.steps[index].kind.begin(session);
                (extract, Origin::Anew(fold))
            }
        });
        (extraction, Succession { parts, cost: self.cost() })
    }

    /// For each step its place in the plan `before`, where it goes on.
    fn kept_of(&self, before: &Self) -> Vec<Option<usize>> {
        let mut kept = Vec::<Option<usize>>::with_capacity(self.steps.len());
        for step in &self.steps {
            let place = before.steps.iter().position(|earlier| earlier.is_as(step)).filter(|place| {
                match (before.steps[*place].from, step.from) {
                    (None, None) => true,
                    (Some(then), Some(now)) => kept[now] == Some(then),
                    _ => false,
                }
            });
            kept.push(place);
        }
        kept
    }

    /// The index among the pure halves of that of the step at `place`, if it has one.
    fn extractor(&self, place: usize) -> Option<usize> {
        let extracting = |step: &&super::Step| !step.kind.is_folded();
        let own = self.steps.get(place).filter(extracting);
        own.map(|_| self.steps[..place].iter().filter(extracting).count())
    }
}

impl Succession {
    /// Takes the place of `folding`, which the plan before made, and from it what goes on.
    pub fn settle(self, folding: &mut Folding) {
        let mut before: Vec<_> = std::mem::take(&mut folding.parts).into_iter().map(|part| Some(part.fold)).collect();
        let parts = self.parts.into_iter().map(|(name, origin, source)| {
            let fold = match origin {
                Origin::Kept(place) => before[place].take().expect("names are unique, so each goes on once"),
                Origin::Anew(fold) => fold,
            };
            Part { name, fold, source }
        });
        *folding = Folding { parts: parts.collect(), cost: self.cost };
    }
}

/// Nothing goes on.
impl From<Folding> for Succession {
    fn from(folding: Folding) -> Self {
        let anew = |part: Part| (part.name, Origin::Anew(part.fold), part.source);
        Self { parts: folding.parts.into_iter().map(anew).collect(), cost: folding.cost }
    }
}

#[cfg(test)]
mod tests {
    use cv_core::{
        geometry::Size,
        picture::{Pool, Range},
    };
    use serde_json::Value;

    use crate::analysis::{Catalog, Input, Moment};

    use super::*;

    fn plan(list: &str) -> Plan {
        Catalog::default().plan(list).unwrap()
    }

    /// What is said of a grey picture at `time`.
    fn say(extraction: &Extraction, folding: &mut Folding, time: f64) -> Value {
        let picture = Pool::default().picture(Size::new(16, 16).unwrap(), Range::Limited).freeze();
        let extracted = extraction.run(&Input::new(&picture, None, Moment { frame: 0, time }));
        let (analysis, errors) = folding.fold(time, &extracted);
        assert!(errors.is_empty(), "{errors:?}");
        serde_json::to_value(analysis).unwrap()
    }

    #[test]
    fn what_both_plans_have_goes_on_and_the_rest_begins_or_is_gone() {
        let before = plan("busy:ms=0,stats:window=4");
        let (extraction, mut folding) = before.begin("s");
        for time in [0.0, 1.0, 2.0] {
            say(&extraction, &mut folding, time);
        }
        let after = plan("cycles,stats:window=4");
        let (extraction, succession) = after.succeed("s", &before, &extraction);
        succession.settle(&mut folding);
        let said = say(&extraction, &mut folding, 3.0);
        assert_eq!(said.as_object().unwrap().keys().collect::<Vec<_>>(), ["cycles", "stats"]);
        assert_eq!(said["stats"]["baseline"]["progress"], 0.75);
        let other = plan("stats:window=8");
        let (extraction, succession) = other.succeed("s", &after, &extraction);
        succession.settle(&mut folding);
        assert_eq!(say(&extraction, &mut folding, 4.0)["stats"]["baseline"]["progress"], 0.0, "parameters differ");
    }

    #[test]
    fn what_an_intermediate_plan_leaves_out_begins_anew() {
        let (first, second) = (plan("stats:window=4"), plan("busy:ms=0"));
        let (extraction, mut folding) = first.begin("s");
        for time in [0.0, 1.0] {
            say(&extraction, &mut folding, time);
        }
        let (between, one) = second.succeed("s", &first, &extraction);
        let (extraction, two) = first.succeed("s", &second, &between);
        one.settle(&mut folding);
        two.settle(&mut folding);
        assert_eq!(say(&extraction, &mut folding, 2.0)["stats"]["baseline"]["progress"], 0.0);
    }
}
