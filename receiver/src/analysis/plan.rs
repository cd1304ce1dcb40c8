//! Lists of analyzers as people write them: `stats`, `stats:window=5,busy:ms=20`, `python:clip.py:analyze`.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    ANALYZERS, Build, Cost, Extract, Extraction, Fold, Folding, Gives, Parameters, Row,
    extraction::Extractor,
    folding::{Part, Source},
    function::{self, Function, Setup},
};

mod listed;
mod succession;

pub use succession::Succession;

/// The longest list a session may ask for.
const MAX_ANALYZERS: usize = 32;

/// What lists may name: the built-in analyzers, and what the operator defined.
#[derive(Default)]
pub struct Catalog {
    setup: Setup,
    definitions: BTreeMap<String, Plan>,
}

/// Analyzers with their parameters, in order. Cloning is cheap.
#[derive(Clone)]
pub struct Plan {
    steps: Vec<Step>,
}

#[derive(Clone)]
struct Step {
    /// Where its findings stand in a result.
    name: String,
    kind: Kind,
    /// The earlier step that it builds on, once the whole list is known.
    from: Option<usize>,
}

#[derive(Clone)]
enum Kind {
    BuiltIn(&'static Row, Parameters),
    /// Code of the operator's, in a process of its own.
    Function(Arc<Function>),
}

/// A list of analyzers that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No analyzer and no definition has this name.
    #[error("there is no analyzer '{name}'; known are {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An analyzer cannot take a parameter, or cannot be had at all.
    #[error("analyzer {name}: {problem}")]
    Parameter {
        /// The analyzer.
        name: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A session named a file.
    #[error("only the operator may name files, by --define NAME={name}:…; known are {known}")]
    File {
        /// What takes a file.
        name: String,
        /// The names there are.
        known: String,
    },
    /// An analyzer builds on another one that is not there.
    #[error("analyzer {name} {problem}")]
    From {
        /// The analyzer.
        name: String,
        /// What is missing and how to write it.
        problem: String,
    },
    /// Two analyzers would give results under one name.
    #[error("analyzer {0} is listed twice; give a model or a function of your own another name=, the others once")]
    Twice(String),
    /// Nothing, or far too much.
    #[error("a list of analyzers has 1 to {MAX_ANALYZERS} entries, written like stats,busy:ms=20")]
    Length,
}

/// An entry of a list with what belongs to it.
enum Entry<'a> {
    Named(&'a str, Parameters),
    Defined(&'a Plan),
    /// `python` or `program`, and which; `detect` or `pose`.
    Function(&'a str, &'a str, Parameters),
}

impl Catalog {
    /// A catalog without definitions.
    pub fn new(setup: Setup) -> Self {
        Self { setup, definitions: BTreeMap::new() }
    }

    /// Lets lists ask for what `list` says by `name`. The operator's: files may be named.
    pub fn define(&mut self, name: &str, list: &str) -> Result<(), PlanError> {
        if self.definitions.contains_key(name) {
            return Err(PlanError::Parameter { name: name.into(), problem: "is defined twice".into() });
        }
        let mut plan = self.trusted_steps(list)?;
        if let [Step { name: own, kind: Kind::Function(function), .. }] = &mut *plan.steps
            && !function.is_named()
        {
            name.clone_into(own);
        }
        self.definitions.insert(name.to_owned(), plan);
        Ok(())
    }

    /// Reads a list of the operator's, which may name files.
    pub fn trusted(&self, list: &str) -> Result<Plan, PlanError> {
        self.trusted_steps(list)?.joined()
    }

    fn trusted_steps(&self, list: &str) -> Result<Plan, PlanError> {
        self.read(self.entries(list)?, |kind, target, parameters| self.start(kind, target, &parameters))
    }

    /// Reads a list of a session's: names with parameters, `name:key=value,key=value,other`, commas between all of them.
    ///
    /// An entry without a colon but with `=` belongs to the analyzer before it.
    pub fn plan(&self, list: &str) -> Result<Plan, PlanError> {
        self.read(self.entries(list)?, |kind, _, _| Err(self.refuse(kind)))?.joined()
    }

    fn start(&self, kind: &str, target: &str, parameters: &Parameters) -> Result<Arc<Function>, PlanError> {
        let title = if target.is_empty() { kind.to_owned() } else { format!("{kind}:{target}") };
        let problem = |problem| PlanError::Parameter { name: title, problem };
        Function::new(kind, target, parameters, &self.setup).map(Arc::new).map_err(problem)
    }

    fn refuse(&self, kind: &str) -> PlanError {
        PlanError::File { name: kind.to_owned(), known: self.known() }
    }

    /// The costliest of all that may be asked for beside the built-in ones.
    pub fn cost(&self) -> Cost {
        self.definitions.values().map(Plan::cost).max().unwrap_or(Cost::Light)
    }

    fn read(
        &self,
        entries: Vec<Entry<'_>>,
        function: impl Fn(&str, &str, Parameters) -> Result<Arc<Function>, PlanError>,
    ) -> Result<Plan, PlanError> {
        let mut steps = Vec::new();
        for entry in entries {
            match entry {
                Entry::Named(name, parameters) => {
                    let row = self.row(name)?;
                    steps.push(Step { name: row.name.to_owned(), kind: Kind::BuiltIn(row, parameters), from: None });
                }
                Entry::Defined(plan) => steps.extend(plan.steps.iter().cloned()),
                Entry::Function(kind, target, parameters) => {
                    let function = function(kind, target, parameters)?;
                    let name = function.name().to_owned();
                    steps.push(Step { name, kind: Kind::Function(function), from: None });
                }
            }
        }
        Plan { steps }.checked()
    }

    fn entries<'a>(&'a self, list: &'a str) -> Result<Vec<Entry<'a>>, PlanError> {
        let mut entries = Vec::new();
        for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let (name, parameter) = match (text.split_once(':'), entries.last_mut()) {
                (Some((kind, target)), _) if function::KINDS.contains(&kind) => {
                    entries.push(Entry::Function(kind, target, Parameters::default()));
                    continue;
                }
                (Some((name, parameter)), _) => (name, Some(parameter)),
                (None, Some(Entry::Named(name, parameters) | Entry::Function(name, _, parameters)))
                    if text.contains('=') =>
                {
                    add(parameters, text, name)?;
                    continue;
                }
                (None, _) => (text, None),
            };
            if let (Some(plan), None) = (self.definitions.get(name), parameter) {
                entries.push(Entry::Defined(plan));
                continue;
            }
            let mut parameters = Parameters::default();
            let is_model = function::MODELS.contains(&name);
            if let Some(parameter) = parameter {
                if !is_model {
                    self.row(name)?;
                }
                add(&mut parameters, parameter, name)?;
            }
            entries.push(match is_model {
                true => Entry::Function(name, "", parameters),
                false => Entry::Named(name, parameters),
            });
        }
        Ok(entries)
    }

    fn row(&self, name: &str) -> Result<&'static Row, PlanError> {
        let unknown = || {
            if self.definitions.contains_key(name) {
                let problem = "stands for what the operator defined and takes no parameters of its own".into();
                return PlanError::Parameter { name: name.into(), problem };
            }
            PlanError::Unknown { name: name.chars().take(64).collect(), known: self.known() }
        };
        ANALYZERS.iter().find(|row| row.name == name).ok_or_else(unknown)
    }

    fn known(&self) -> String {
        let built_in = ANALYZERS.iter().map(|row| row.name);
        built_in.chain(self.definitions.keys().map(String::as_str)).collect::<Vec<_>>().join(", ")
    }
}

/// What an analyzer says that has nothing to build on.
fn missing(needs: &[Gives]) -> String {
    let names: Vec<_> = needs.iter().map(|gives| gives.analyzer()).collect();
    format!("needs {} before it in the list, or from=NAME for another one that is", names.join(" or "))
}

fn add(parameters: &mut Parameters, text: &str, name: &str) -> Result<(), PlanError> {
    parameters.add(text).map_err(|problem| PlanError::Parameter { name: name.into(), problem })
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        self.steps == other.steps
    }
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.is_as(other) && self.from == other.from
    }
}

impl Step {
    /// Whether it is the same, whatever it builds on.
    fn is_as(&self, other: &Self) -> bool {
        let same = match (&self.kind, &other.kind) {
            (Kind::BuiltIn(row, parameters), Kind::BuiltIn(other_row, others)) => {
                row.name == other_row.name && parameters == others
            }
            (Kind::Function(function), Kind::Function(other)) => Arc::ptr_eq(function, other),
            _ => false,
        };
        same && self.name == other.name
    }
}

impl Plan {
    /// Refuses lists that cannot be built, so that building one later cannot fail.
    fn checked(self) -> Result<Self, PlanError> {
        if !(1..=MAX_ANALYZERS).contains(&self.steps.len()) {
            return Err(PlanError::Length);
        }
        for (index, step) in self.steps.iter().enumerate() {
            if self.steps[..index].iter().any(|earlier| earlier.name == step.name) {
                return Err(PlanError::Twice(step.name.clone()));
            }
            if let Kind::BuiltIn(row, parameters) = &step.kind {
                let wrong = |problem| PlanError::Parameter { name: row.name.into(), problem };
                if let Some(key) = parameters.unknown(row.parameters) {
                    let known: Vec<_> = row.parameters.iter().map(|(name, ..)| *name).collect();
                    return Err(wrong(format!("has no parameter '{key}'; it takes {}", known.join(", "))));
                }
                match &row.build {
                    Build::Pictures(build) => drop(build(parameters).map_err(wrong)?),
                    Build::Findings(_, build) => drop(build(parameters).map_err(wrong)?),
                }
            }
        }
        Ok(self)
    }

    /// Finds for each step that builds on another one which that is.
    fn joined(mut self) -> Result<Self, PlanError> {
        for index in 0..self.steps.len() {
            let (earlier, [step, ..]) = self.steps.split_at_mut(index) else { break };
            let problem = |problem| PlanError::From { name: step.name.clone(), problem };
            step.from = step.kind.source(earlier).map_err(problem)?;
        }
        Ok(self)
    }

    /// The costliest of its parts.
    pub fn cost(&self) -> Cost {
        self.steps.iter().map(|step| step.kind.cost()).max().unwrap_or(Cost::Light)
    }

    /// The analyzers, ready to run for a session: the pure halves and the ordered ones.
    pub fn begin(&self, session: &str) -> (Extraction, Folding) {
        let (extraction, parts) = self.assemble(|index| self.steps[index].kind.begin(session));
        let parts = parts.into_iter().map(|(name, fold, source)| Part { name, fold, source });
        (extraction, Folding { parts: parts.collect(), cost: self.cost() })
    }

    /// Puts together what `halves` gives for each step: the pure halves, and with name and source the ordered ones.
    fn assemble<F>(
        &self,
        mut halves: impl FnMut(usize) -> (Option<Arc<dyn Extract>>, F),
    ) -> (Extraction, Vec<(String, F, Source)>) {
        let (mut extractors, mut parts) = (Vec::new(), Vec::<(String, F, Source)>::with_capacity(self.steps.len()));
        for (index, step) in self.steps.iter().enumerate() {
            let (extract, fold) = halves(index);
            let source = match (extract, step.from) {
                (Some(extract), from) => {
                    let from = from.and_then(|from| match parts[from].2 {
                        Source::Extractor(index) => Some((index, self.steps[from].name.clone())),
                        Source::Part(_) => None,
                    });
                    extractors.push(Extractor { extract, from });
                    Source::Extractor(extractors.len() - 1)
                }
                (None, from) => Source::Part(from.expect("a list is joined before it begins")),
            };
            parts.push((step.name.clone(), fold, source));
        }
        let width = self.steps.iter().filter_map(|step| step.kind.width()).min();
        (Extraction::new(extractors, self.cost(), width), parts)
    }
}

impl Kind {
    fn begin(&self, session: &str) -> (Option<Arc<dyn Extract>>, Box<dyn Fold>) {
        const BUILT: &str = "every plan was built once when it was checked";
        let (extract, fold) = match self {
            Self::BuiltIn(Row { build: Build::Pictures(build), .. }, parameters) => build(parameters).expect(BUILT),
            Self::BuiltIn(Row { build: Build::Findings(_, build), .. }, parameters) => {
                return (None, build(parameters).expect(BUILT));
            }
            Self::Function(function) => Function::begin(function, session),
        };
        (Some(extract), fold)
    }

    /// What its findings hold for others.
    fn gives(&self) -> Option<Gives> {
        match self {
            Self::BuiltIn(..) => None,
            Self::Function(function) => function.gives(),
        }
    }

    /// Which of the `earlier` steps it builds on: the one that it names, or the nearest that gives what it needs.
    fn source(&self, earlier: &[Step]) -> Result<Option<usize>, String> {
        let (named, needs, must) = match self {
            Self::BuiltIn(Row { build: Build::Findings(needs, _), .. }, parameters) => {
                (parameters.text("from"), *needs, true)
            }
            Self::BuiltIn(_, parameters) => (parameters.text("from"), &[][..], false),
            Self::Function(function) => (function.from(), function.needs(), false),
        };
        let Some(name) = named else {
            let gives = |step: &Step| step.kind.gives().is_some_and(|gives| needs.contains(&gives));
            let nearest = earlier.iter().rposition(gives);
            return match nearest {
                None if must => Err(missing(needs)),
                nearest => Ok(nearest),
            };
        };
        let Some(index) = earlier.iter().position(|step| step.name == name) else {
            return Err(format!("has from={name}, but there is no {name} before it in the list"));
        };
        if !must && matches!(earlier[index].kind, Kind::BuiltIn(..)) {
            return Err(format!(
                "has from={name}, but in pictures one can build only on a model or a function of one's own"
            ));
        }
        // Nobody knows before what a function of one's own gives.
        if let Some(gives) = earlier[index].kind.gives().filter(|gives| !self.takes().contains(gives)) {
            let others: Vec<_> = self.takes().iter().map(|gives| gives.analyzer()).collect();
            let (others, own) = (others.join(" or "), gives.analyzer());
            return Err(format!("has from={name}, which finds what {own} does; it builds on what {others} does"));
        }
        Ok(Some(index))
    }

    /// What it can make something of.
    fn takes(&self) -> &'static [Gives] {
        match self {
            Self::BuiltIn(Row { build: Build::Findings(needs, _), .. }, _) => needs,
            Self::BuiltIn(Row { build: Build::Pictures(_), .. }, _) => &[Gives::Objects],
            Self::Function(function) => function.takes(),
        }
    }

    /// Whether it draws nothing from pictures itself.
    fn is_folded(&self) -> bool {
        matches!(self, Self::BuiltIn(Row { build: Build::Findings(..), .. }, _))
    }

    fn cost(&self) -> Cost {
        match self {
            Self::BuiltIn(row, _) => row.cost,
            Self::Function(_) => Cost::Away,
        }
    }

    /// How many pictures of a session may be at work at once, where that matters.
    fn width(&self) -> Option<usize> {
        match self {
            Self::BuiltIn(..) => None,
            Self::Function(function) => Some(function.width()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Result<Vec<String>, PlanError> {
        let mut catalog = Catalog::default();
        catalog.define("quick", "stats:window=2").unwrap();
        catalog.plan(list).map(|plan| plan.steps.iter().map(|step| step.name.clone()).collect())
    }

    #[test]
    fn lists_keep_their_order_and_parameters_their_analyzer() {
        assert_eq!(names("stats").unwrap(), ["stats"]);
        assert_eq!(names("busy:ms=3, stats:window=5").unwrap(), ["busy", "stats"]);
        assert_eq!(names("quick").unwrap(), ["stats"]);
    }

    #[test]
    fn an_analyzer_builds_on_what_it_can_make_something_of() {
        let catalog = Catalog::new(Setup { asleep: true, ..Setup::default() });
        assert!(catalog.trusted("detect,pulse:from=detect,pose,track:from=pose").is_ok());
        let message = |list| catalog.trusted(list).err().unwrap().to_string();
        assert!(message("pose,pulse:from=pose").contains("which finds what pose does; it builds on what detect does"));
        assert!(message("detect,reps:exercise=squat,from=detect").contains("it builds on what pose does"));
    }

    #[test]
    fn wrong_lists_say_what_would_be_right() {
        let message = |list| names(list).unwrap_err().to_string();
        let known = format!("{}, quick", ANALYZERS.iter().map(|row| row.name).collect::<Vec<_>>().join(", "));
        assert!(message("quick:window=3").contains("takes no parameters of its own"));
        assert_eq!(message("stat"), format!("there is no analyzer 'stat'; known are {known}"));
        assert_eq!(message("stats:windo=3"), "analyzer stats: has no parameter 'windo'; it takes window");
        assert!(message("stats:window=-1").contains("from"));
        assert_eq!(
            message("stats,quick"),
            "analyzer stats is listed twice; give a model or a function of your own another name=, the others once"
        );
        assert!(message("").contains("1 to 32"));
        assert!(message("stats:window=3,window=4").contains("twice"));
        assert!(message("window=3").contains("no analyzer 'window=3'"));
    }

    #[test]
    fn a_name_stands_for_one_list() {
        let mut catalog = Catalog::default();
        catalog.define("quick", "stats:window=2").unwrap();
        let again = catalog.define("quick", "stats:window=3").unwrap_err();
        assert_eq!(again.to_string(), "analyzer quick: is defined twice");
    }

    #[test]
    fn an_analyzer_builds_on_what_is_there_before_it() {
        let message = |list| names(list).unwrap_err().to_string();
        assert!(message("track").contains("needs detect or pose before it"));
        assert!(message("pulse:from=faces").contains("there is no faces before it"));
        assert!(message("stats,pulse:from=stats").contains("only on a model or a function"));
    }

    #[test]
    fn a_session_may_not_name_files() {
        for list in ["python:/etc/passwd:f", "stats,program:/bin/sh", "python:"] {
            assert!(names(list).unwrap_err().to_string().contains("only the operator"), "{list}");
        }
    }
}
