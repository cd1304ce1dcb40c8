//! The life of a process: stop signals and exit codes.

use std::process::{ExitCode, Termination};

use tokio::sync::watch;

/// How a program ended, as README lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All done.
    Done = 0,
    /// Failed; one sentence on stderr says why.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A frame stayed unanswered or a result carried an error.
    Incomplete = 3,
    /// Results differ from those expected.
    Different = 4,
    /// Ended by a second stop signal.
    Interrupted = 130,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// Says on stderr, in one line, why `program` failed.
pub fn complain(program: &str, problem: &str) {
    use std::io::Write;
    // Nobody is left to tell if stderr is closed.
    drop(writeln!(std::io::stderr().lock(), "{program}: {problem}"));
}

/// The stop signal, shared by every wait of the program. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Stop {
    receiver: watch::Receiver<bool>,
}

/// Raises the stop signal.
#[derive(Clone, Debug)]
pub struct Stopper {
    sender: watch::Sender<bool>,
}

/// A stop signal and what raises it.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper { sender }, Stop { receiver })
}

impl Stopper {
    /// Asks everybody to end in good order.
    pub fn raise(&self) {
        self.sender.send_replace(true);
    }
}

impl Stop {
    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        *self.receiver.borrow()
    }

    /// Completes once it is raised; cancel-safe. Never completes if nobody can raise it any more.
    pub async fn raised(&mut self) {
        if self.receiver.wait_for(|raised| *raised).await.is_err() {
            std::future::pending().await
        }
    }
}

/// SIGHUP, which asks a daemon to read its files again. Never comes where there is no such thing.
#[derive(Debug)]
pub struct Hangups {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Hangups {
    /// From now on SIGHUP no longer ends the process. Must be called inside a tokio runtime.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }

    /// The next one; cancel-safe.
    pub async fn recv(&mut self) {
        #[cfg(unix)]
        if self.signal.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}

/// Raises the stop signal on SIGINT or SIGTERM; a second one ends the process at once with 130, after `last`, which
/// ends what would outlive it.
///
/// Must be called inside a tokio runtime.
pub fn stop_on_signals(last: fn()) -> std::io::Result<(Stopper, Stop)> {
    let (stopper, stop) = stop();
    let raise = stopper.clone();
    let mut signals = Signals::new()?;
    tokio::spawn(async move {
        signals.recv().await;
        raise.raise();
        signals.recv().await;
        last();
        std::process::exit(Exit::Interrupted as i32);
    });
    Ok((stopper, stop))
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn recv(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
