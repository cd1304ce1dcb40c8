//! What this program and a service manager tell each other (sd_notify(3), sd_listen_fds(3)).
//!
//! Without a manager, which its environment variables tell, all of it does nothing.

use std::{io, net::TcpListener, time::Duration};

use sd_notify::NotifyState;

use crate::{
    metrics::METRICS,
    ops::{STUCK, Vitals},
};

/// How often the manager is told how many there are, unless it wants to hear more often that all is well.
const STATUS: Duration = Duration::from_secs(5);

/// The socket to listen on that the manager passed, if it did. Changes the environment: call it before there are threads.
///
/// # Errors
/// If what it passed is no TCP socket, or more than one.
pub fn inherited() -> io::Result<Option<TcpListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    if passed.len() > 1 {
        let problem = format!("{} sockets were passed, one for HTTP is wanted", passed.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    passed.take_tcp_listener(0)
}

/// All sockets are open.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The program ends.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("ending sessions")]);
}

/// Tells the manager how things are, and that all is well for as long as it is. Ends with the program, or at once where
/// nobody listens.
pub async fn report(vitals: Vitals) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    // Half of what the manager grants is usual; half of that is left for sessions to answer in.
    let period = watchdog.map_or(STATUS, |limit| (limit / 4).min(STATUS));
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stop = vitals.stop.clone();
    let (mut told, mut was_well) = (String::new(), true);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            // Ending has its own limits.
            () = stop.raised() => return,
        }
        let health = vitals.check(watchdog.unwrap_or(STUCK)).await;
        match &health {
            Ok(()) if watchdog.is_some() => notify(&[NotifyState::Watchdog]),
            Err(problem) if was_well => {
                tracing::error!(event = "stuck", "no progress: {problem}");
            }
            _ => {}
        }
        was_well = health.is_ok();
        let status = match health {
            Ok(()) => status(&vitals),
            Err(problem) => format!("no progress: {problem}"),
        };
        if status != told {
            notify(&[NotifyState::Status(&status)]);
            told = status;
        }
    }
}

fn status(vitals: &Vitals) -> String {
    let (connected, remembered) = (METRICS.connected.value().max(0), vitals.sessions.count());
    let (load, limit) = vitals.admission.load();
    let limit = limit.map(|limit| format!(" of {limit:.1}")).unwrap_or_default();
    format!("{connected} senders, {remembered} sessions remembered, live ones use {load:.1}{limit} processors")
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
