//! Which pictures are answered, and how fast.

use std::{borrow::Cow, time::SystemTime};

use cv_core::report::millis_between;
use serde::{Deserialize, de::IgnoredAny};

/// Latencies are counted in steps of a tenth of a millisecond up to this many; beyond only the largest is known.
const STEPS: usize = 20_000;
/// Changes of analyzers before one picture that are told apart; a receiver makes no more of them.
const MAX_CHANGES: usize = 32;

/// One line of results, as far as the sender cares.
#[derive(Debug, Deserialize)]
pub struct Heard<'a> {
    /// `result`, `gap`, `session`, `final`.
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    frame: Option<u64>,
    from: Option<u64>,
    to: Option<u64>,
    #[serde(borrow)]
    cause: Option<Cow<'a, str>>,
    /// Of a session line: `started`, `resumed`, `analyzers`, `closed`.
    #[serde(borrow)]
    pub event: Option<Cow<'a, str>>,
    /// Of a session line: why it was closed.
    #[serde(borrow)]
    pub reason: Option<Cow<'a, str>>,
    /// Of an `analyzers` line: the list.
    #[serde(borrow)]
    analyze: Option<Cow<'a, str>>,
    /// Of a session line: whether another sender has the session now.
    #[serde(default)]
    pub taken_over: bool,
    errors: Option<Vec<IgnoredAny>>,
    #[serde(borrow)]
    clock: Option<HeardClock<'a>>,
}

#[derive(Debug, Deserialize)]
struct HeardClock<'a> {
    #[serde(borrow)]
    captured: Option<Cow<'a, str>>,
    #[serde(borrow)]
    emitted: Option<Cow<'a, str>>,
}

/// What is known of the answers so far.
#[derive(Debug, Default)]
pub struct Ledger {
    next: u64,
    /// Results.
    pub results: u64,
    /// Pictures without a result.
    pub gaps: u64,
    /// Results in which an analyzer failed.
    pub errors: u64,
    latency: Latency,
    /// When those changes of analyzers were told that no result has followed yet: after a break they are told again.
    changes: Vec<String>,
}

impl Ledger {
    /// The first picture that is neither answered nor accounted for.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes a line into account; `false` if it only repeats what is known already.
    pub fn hear(&mut self, heard: &Heard<'_>, now: SystemTime) -> bool {
        let failed = u64::from(heard.errors.as_ref().is_some_and(|errors| !errors.is_empty()));
        let (first, last) = match (heard.kind.as_ref(), heard.frame, heard.from, heard.to) {
            ("result", Some(frame), ..) => (frame, frame),
            ("gap", _, Some(from), Some(to)) if from <= to => (from, to),
            ("session", _, Some(from), _) => return self.hear_change(heard, from),
            ("final", ..) => {
                self.errors += failed;
                return true;
            }
            _ => return true,
        };
        if last < self.next {
            return false;
        }
        // Lines come in order, so what was passed over will not come any more.
        self.gaps = self.gaps.saturating_add(first.saturating_sub(self.next));
        match heard.kind.as_ref() {
            "result" => {
                self.results += 1;
                self.errors += failed;
                if let Some(captured) = heard.captured() {
                    self.latency.add(millis_between(captured, now));
                }
            }
            // The lines existed, we were too slow for them: that is a gap to us all the same.
            _ => self.gaps = self.gaps.saturating_add((last - first.max(self.next)).saturating_add(1)),
        }
        self.next = last.saturating_add(1);
        self.changes.clear();
        true
    }

    /// Takes note that other analyzers make the results from frame `from` on.
    fn hear_change(&mut self, heard: &Heard<'_>, from: u64) -> bool {
        let told = heard.clock.as_ref().and_then(|clock| clock.emitted.as_deref()).unwrap_or_default();
        // Two changes may be told in the same microsecond, but they name different lists.
        let told = format!("{told} {}", heard.analyze.as_deref().unwrap_or_default());
        if from < self.next || self.changes.contains(&told) {
            return false;
        }
        if self.changes.len() < MAX_CHANGES {
            self.changes.push(told);
        }
        true
    }

    /// Milliseconds from a picture's capture to its result, below which `share` of the results lie.
    pub fn latency(&self, share: f64) -> f64 {
        self.latency.quantile(share)
    }

    /// The longest of them.
    pub fn max_latency(&self) -> f64 {
        self.latency.max
    }
}

impl Heard<'_> {
    fn captured(&self) -> Option<SystemTime> {
        let text = self.clock.as_ref()?.captured.as_ref()?;
        Some(text.parse::<jiff::Timestamp>().ok()?.into())
    }

    /// Whether the line says that we were too slow to read.
    pub fn is_slow_reader(&self) -> bool {
        self.cause.as_deref() == Some("slow-reader")
    }
}

/// A histogram of milliseconds in bounded memory.
#[derive(Debug)]
struct Latency {
    steps: Vec<u32>,
    count: u64,
    max: f64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { steps: vec![0; STEPS + 1], count: 0, max: 0.0 }
    }
}

impl Latency {
    fn add(&mut self, millis: f64) {
        let step = (millis.max(0.0) * 10.0) as usize;
        self.steps[step.min(STEPS)] += 1;
        self.count += 1;
        self.max = self.max.max(millis);
    }

    fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        for (step, &count) in self.steps.iter().enumerate() {
            below += u64::from(count);
            if below >= rank {
                return if step == STEPS { self.max } else { (step as f64 + 0.5) / 10.0 };
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn hear(ledger: &mut Ledger, line: &str) -> bool {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1010);
        ledger.hear(&serde_json::from_str(line).unwrap(), now)
    }

    #[test]
    fn results_and_gaps_account_for_frames_once() {
        let mut ledger = Ledger::default();
        let result = r#"{"type":"result","frame":0,"errors":[],"clock":{"captured":"1970-01-01T00:00:01Z"}}"#;
        assert!(hear(&mut ledger, result));
        assert!(!hear(&mut ledger, result), "a repeated line is no news");
        assert!(hear(&mut ledger, r#"{"type":"gap","from":1,"to":3,"cause":"busy"}"#));
        assert!(hear(&mut ledger, r#"{"type":"result","frame":4,"errors":[{"analyzer":"x","message":"y"}]}"#));
        assert!(hear(&mut ledger, r#"{"type":"final","analysis":{}}"#));
        assert_eq!((ledger.next(), ledger.results, ledger.gaps, ledger.errors), (5, 2, 3, 1));
        assert!((ledger.latency(0.5) - 10.0).abs() < 0.1);
    }

    #[test]
    fn a_change_of_analyzers_that_is_told_again_is_no_news() {
        let change = |from: u64, told: u64| {
            format!(r#"{{"type":"session","event":"analyzers","from":{from},"clock":{{"emitted":"{told}"}}}}"#)
        };
        let mut ledger = Ledger::default();
        assert!(hear(&mut ledger, &change(1, 7)) && hear(&mut ledger, &change(1, 8)));
        assert!(!hear(&mut ledger, &change(1, 7)) && !hear(&mut ledger, &change(1, 8)));
        assert!(hear(&mut ledger, r#"{"type":"result","frame":1}"#));
        assert!(!hear(&mut ledger, &change(1, 7)));
        assert!(hear(&mut ledger, &change(2, 9)));
        assert!(hear(&mut ledger, r#"{"type":"session","event":"closed"}"#));
    }

    #[test]
    fn quantiles_are_exact_to_the_step() {
        let mut latency = Latency::default();
        (1..=100).for_each(|millis| latency.add(f64::from(millis)));
        latency.add(5000.0);
        assert!((latency.quantile(0.5) - 51.0).abs() <= 0.1);
        assert!((latency.quantile(0.95) - 96.0).abs() <= 0.1);
        assert_eq!(latency.quantile(1.0), 5000.0);
        assert_eq!(Latency::default().quantile(0.5), 0.0);
    }
}
