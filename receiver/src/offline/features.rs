//! Saved features are folded again.
//!
//! Takes the lines that `--emit features` printed, and gives the lines that were printed beside them, without
//! `clock`: those of sessions and gaps as they were, results and final lines made anew. With the list of analyzers of
//! that run they are the same; with other parameters they show what these would have said. Where analyzers changed in the
//! middle of a session, the one list that is given is at work before and after.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader, Read, Write, stdin},
    path::Path,
};

use anyhow::{Context, Result, bail};
use cv_core::report::{self, Final, Line, VERSION};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::analysis::{Folding, Plan};

/// The longest line: features of a large picture may be most of it.
const MAX_LINE: u64 = 512 << 20;

/// Folds the lines of the file at `path` by `plan` and writes lines to `output`. Gives the number of results that carry
/// an error.
///
/// # Errors
/// If the file cannot be read or is none of ours, with the number of the line; if `output` fails.
pub(super) fn fold(path: &Path, plan: Plan, output: impl Write) -> Result<u64> {
    let name = path.display();
    let lines = open(path).with_context(|| format!("cannot open {name}"))?;
    fold_lines(plan, lines, output).with_context(|| format!("cannot fold {name}"))
}

/// Folds `lines` by `plan` and writes lines to `output`. Gives the number of results that carry an error.
///
/// # Errors
/// If a line is none of ours; if `output` fails.
pub fn fold_lines(plan: Plan, mut lines: impl BufRead, mut output: impl Write) -> Result<u64> {
    let (mut desk, mut line, mut number) =
        (Desk { plan, sessions: HashMap::new(), folded: 0, results: 0, errors: 0 }, Vec::new(), 0u64);
    while lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? > 0 {
        number += 1;
        if !line.trim_ascii().is_empty()
            && let Some(said) = desk.take(&line).with_context(|| format!("line {number}"))?
        {
            writeln!(output, "{said}")?;
        }
        line.clear();
    }
    if number == 0 {
        bail!("it is empty; cv-receiver --emit features prints what belongs there");
    }
    // Where a reader was too slow for some features, their results may be there alone.
    if desk.folded == 0 && desk.results > 0 {
        bail!("it has results and no features; cv-receiver --emit features prints them");
    }
    output.flush()?;
    Ok(desk.errors)
}

fn open(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(stdin().lock()));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 20, File::open(path)?)))
}

/// The sessions of a file.
struct Desk {
    plan: Plan,
    sessions: HashMap<String, Folding>,
    /// How many pictures there were features of, and how many results beside them.
    folded: u64,
    results: u64,
    /// Lines that carry an error.
    errors: u64,
}

/// What every line tells.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    session: String,
    event: Option<String>,
    state: Option<String>,
}

/// One picture's features.
#[derive(Deserialize)]
struct Saved {
    v: u32,
    session: String,
    frame: u64,
    time: f64,
    session_time: f64,
    width: u32,
    height: u32,
    features: Map<String, Value>,
}

impl Desk {
    /// What there is to say about a line, if anything.
    fn take(&mut self, line: &[u8]) -> Result<Option<String>> {
        let head: Head = serde_json::from_slice(line).context("this is no line of cv-receiver")?;
        match head.kind.as_str() {
            "features" => self.fold(line).map(Some),
            "result" => {
                self.results += 1;
                // Made anew out of the features.
                Ok(None)
            }
            "final" => {
                let (analysis, errors) = self.session(&head.session).finish();
                self.errors += u64::from(!errors.is_empty());
                Ok(Some(Line::Final(Final { session: head.session, analysis, errors }).to_json()))
            }
            _ => {
                let anew = matches!(head.event.as_deref(), Some("started" | "forgotten"))
                    || head.state.as_deref() == Some("lost");
                // A session that is closed may be gone for good; if it comes back, it tells whether it kept its state.
                if anew {
                    self.sessions.remove(&head.session);
                }
                let mut line: Map<String, Value> = serde_json::from_slice(line)?;
                line.shift_remove("clock");
                Ok(Some(serde_json::to_string(&line)?))
            }
        }
    }

    fn fold(&mut self, line: &[u8]) -> Result<String> {
        let saved: Saved = serde_json::from_slice(line).context("these are no features of this version")?;
        if saved.v != VERSION {
            bail!("these features are of version {}, this program knows {VERSION}", saved.v);
        }
        self.folded += 1;
        let folding = self.session(&saved.session);
        let extracted = folding.restore(&saved.features);
        let (analysis, errors) = folding.fold(saved.session_time, &extracted);
        let Saved { v, session, frame, time, width, height, .. } = saved;
        self.errors += u64::from(!errors.is_empty());
        let result = report::Result { v, session, frame, time, width, height, analysis, errors, clock: None };
        Ok(Line::Result(result).to_json())
    }

    fn session(&mut self, name: &str) -> &mut Folding {
        let plan = &self.plan;
        self.sessions.entry(name.to_owned()).or_insert_with(|| plan.begin(name).1)
    }
}
