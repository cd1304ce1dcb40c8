//! `cv-receiver`: reads the command line, runs the library, reports the end.

use std::{io::Write, time::Duration};

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use cv_core::process::{self, Exit};
use cv_receiver::{
    analysis::{self, Description},
    cli::{Cli, Command, Generated, Output, Serve, analyze::Analyze},
    model, offline,
    receiver::Receiver,
    service,
};

/// How long processes of functions and models may take to end, once all else has.
const PROCESSES_LIMIT: Duration = Duration::from_millis(400);

fn main() -> Exit {
    let cli = Cli::parse();
    let done = match cli.command {
        None => serve(&cli.serve).map(|()| Exit::Done),
        Some(Command::Serve(options)) => serve(&options).map(|()| Exit::Done),
        Some(Command::Analyze(options)) => analyze(&options),
        Some(Command::Analyzers { output }) => print(&analyzers(output)).map(|()| Exit::Done),
        Some(Command::Model(options)) => model::serve(&options).map(|()| Exit::Done),
        Some(Command::Generate { what }) => generate(what).and_then(|text| print(&text)).map(|()| Exit::Done),
    };
    // Other threads may be about to end these in good order, or wait for them for long.
    analysis::end_processes(PROCESSES_LIMIT);
    match done {
        Ok(exit) => exit,
        Err(error) => {
            process::complain("cv-receiver", &format!("{error:#}"));
            Exit::Failed
        }
    }
}

fn serve(options: &Serve) -> Result<()> {
    options.log.init();
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    // Before there are threads: it changes the environment.
    let inherited = service::inherited().context("cannot use the socket that the service manager passed")?;
    // Pictures are decoded and analysed on threads of their own; what is left for the runtime is light,
    // and more workers would only wake each other.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("network").enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let done = runtime.block_on(async {
        let (stopper, stop) = process::stop_on_signals(|| analysis::end_processes(Duration::ZERO))
            .context("cannot listen for signals")?;
        Receiver::bind(options, inherited, stopper).await?.run(stop).await
    });
    // Every session had its time to end; what hangs still is not waited for.
    runtime.shutdown_background();
    done
}

fn analyze(options: &Analyze) -> Result<Exit> {
    options.log.init();
    offline::analyze(options)
}

fn analyzers(output: Output) -> String {
    if output == Output::Json {
        let rows = descriptions().map(|(name, help, parameters)| {
            let parameters = parameters
                .iter()
                .map(|(name, default, help)| serde_json::json!({ "name": name, "default": default, "help": help }));
            serde_json::json!({ "name": name, "help": help, "parameters": parameters.collect::<Vec<_>>() })
        });
        return format!("{}\n", rows.collect::<serde_json::Value>());
    }
    let mut text = String::new();
    for (analyzer, help, parameters) in descriptions() {
        text += &format!("{analyzer}\n    {help}\n");
        let separator = if analyzer.contains(':') { ',' } else { ':' };
        for (name, default, help) in parameters {
            text += &format!("    {analyzer}{separator}{name}={default}    {help}\n");
        }
    }
    text
}

/// Everything that a list of analyzers can name.
fn descriptions() -> impl Iterator<Item = Description> {
    let built_in = analysis::ANALYZERS.iter().map(|row| (row.name, row.help, row.parameters));
    built_in.chain(analysis::FUNCTIONS.iter().copied())
}

fn generate(what: Generated) -> Result<String> {
    let mut command = Cli::command();
    let mut text = Vec::new();
    let shell = match what {
        Generated::Bash => clap_complete::Shell::Bash,
        Generated::Zsh => clap_complete::Shell::Zsh,
        Generated::Fish => clap_complete::Shell::Fish,
        Generated::Man => {
            clap_mangen::Man::new(command).render(&mut text)?;
            return Ok(String::from_utf8(text)?);
        }
    };
    clap_complete::generate(shell, &mut command, "cv-receiver", &mut text);
    Ok(String::from_utf8(text)?)
}

/// Prints to stdout; a reader that has seen enough is no failure.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(()),
    }
}
