//! `cv-sender`: reads the command line, runs the library, reports the end.

use std::io::Write;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use cv_core::process::{self, Exit};
use cv_sender::{
    camera,
    cli::{Cli, Generated, Report},
    sender::Sender,
};

fn main() -> Exit {
    let cli = Cli::parse();
    if let Some(contradiction) = cli.contradiction() {
        process::complain("cv-sender", contradiction);
        return Exit::Usage;
    }
    let done = match cli.generate {
        Some(what) => generate(what).and_then(|text| print(&text)),
        None if cli.source.list_cameras => cameras(cli.results.output).and_then(|text| print(&text)),
        None => send(cli),
    };
    match done {
        Ok(exit) => exit,
        Err(error) => {
            process::complain("cv-sender", &format!("{error:#}"));
            Exit::Failed
        }
    }
}

fn send(cli: Cli) -> Result<Exit> {
    cli.log.init();
    // Capture and encoder have threads of their own; one is enough for the network.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let exit = runtime.block_on(async {
        let (_stopper, mut stop) = process::stop_on_signals(|| {}).context("cannot listen for signals")?;
        // Opening a camera or a pipe may take its time, and a signal must be heard meanwhile.
        let listening = stop.clone();
        let opening = tokio::task::spawn_blocking(move || Sender::prepare(cli, listening));
        let (sender, source, framing) = tokio::select! {
            opened = opening => opened.context("opening the source failed")??,
            () = stop.raised() => return Ok(Exit::Done),
        };
        sender.run(source, framing).await
    });
    runtime.shutdown_background();
    exit
}

fn cameras(report: Report) -> Result<String> {
    let devices = camera::list()?;
    if devices.is_empty() {
        process::complain("cv-sender", "no camera is connected: plug one in, or send a file or a pattern");
    }
    Ok(match report {
        Report::Json => format!("{}\n", serde_json::to_string(&devices)?),
        Report::Human => devices.iter().map(ToString::to_string).collect(),
    })
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
    clap_complete::generate(shell, &mut command, "cv-sender", &mut text);
    Ok(String::from_utf8(text)?)
}

/// Prints to stdout; a reader that has seen enough is no failure.
fn print(text: &str) -> Result<Exit> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(Exit::Done),
    }
}
