//! Analysis without a network: a clip's own pictures, or features that were saved.
//!
//! Both give the lines that a sender of the same pictures would have seen, without `clock`: nothing here takes time
//! that would be worth telling, and two runs are the same to the byte.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use cv_core::process::{self, Exit};

use crate::{
    analysis::{self, Plan, Setup},
    cli::analyze::Analyze,
};

mod clip;
mod features;

pub use features::fold_lines;

/// Does what `options` say. A reader of stdout that has seen enough ends it quietly.
///
/// # Errors
/// If the list of analyzers makes no sense, the input cannot be read to its end, or the output not be written.
pub fn analyze(options: &Analyze) -> Result<Exit> {
    // What was saved needs nobody to look at it again.
    let setup = Setup { asleep: options.features.is_some(), ..Setup::default() };
    let (_, plan) = options.analyzers.load(setup)?;
    let input = options.features.as_ref().or(options.file.as_ref());
    let input = input.context("name a clip with --file or saved features with --features")?;
    // Before anything is overwritten.
    if !is_stdio(input) {
        input.metadata().with_context(|| format!("cannot open {}", input.display()))?;
        if !is_stdio(&options.out) && is_same(input, &options.out) {
            bail!("--out names the file that is read, {}: name another", input.display());
        }
    }
    let output = open(&options.out)?;
    let done = match options.features {
        Some(_) => features::fold(input, plan, output),
        None => on_a_runtime(clip::Clip::new(input, options)?, plan, output),
    };
    match done {
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => Ok(Exit::Done),
        Err(error) => Err(error),
        Ok(0) => Ok(Exit::Done),
        Ok(_) => Ok(Exit::Incomplete),
    }
}

/// The runtime's only thread listens for signals, whatever the caller's is busy with.
fn on_a_runtime(clip: clip::Clip, plan: Plan, output: impl Write) -> Result<u64> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("signals").enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let done = runtime.block_on(async {
        let (_stopper, stop) = process::stop_on_signals(|| analysis::end_processes(Duration::ZERO))
            .context("cannot listen for signals")?;
        clip.analyze(&plan, stop, output).await
    });
    runtime.shutdown_background();
    done
}

fn is_stdio(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn open(path: &Path) -> Result<BufWriter<Box<dyn Write>>> {
    let output: Box<dyn Write> = if is_stdio(path) {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(path).with_context(|| format!("cannot write to {}", path.display()))?)
    };
    Ok(BufWriter::with_capacity(64 << 10, output))
}

/// A reader that has seen enough is no failure.
fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}
