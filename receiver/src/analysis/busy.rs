//! `busy`: spends a set time on every picture, to see what a heavy analyzer would do to a machine.
//!
//! It measures nothing of the picture. Operators use it to size a machine and to rehearse
//! overload: in live mode pictures are left out and counted, in every-frame mode the sender waits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Build, Cost, Extract, Features, Fold, Input, Parameters, Row};

pub(super) const ROW: Row = Row {
    name: "busy",
    help: "keeps a processor busy for a set time on every picture: a rehearsal of load",
    parameters: &[("ms", "10", "milliseconds of work a picture, 0 to 10000")],
    cost: Cost::Heavy,
    build: Build::Pictures(build),
};

fn build(parameters: &Parameters) -> Result<super::Halves, String> {
    let millis: u64 = parameters.number("ms", 10, 0..=10_000)?;
    Ok((Arc::new(Busy(Duration::from_millis(millis))), Box::new(Echo { millis })))
}

struct Busy(Duration);

impl Extract for Busy {
    fn extract(&self, _: &Input<'_>) -> Result<Features, String> {
        let started = Instant::now();
        while started.elapsed() < self.0 {
            std::hint::spin_loop();
        }
        Ok(Value::Null.into())
    }
}

struct Echo {
    millis: u64,
}

impl Fold for Echo {
    fn fold(&mut self, _: f64, _: &Features) -> Result<Value, String> {
        Ok(json!({ "ms": self.millis }))
    }
}
