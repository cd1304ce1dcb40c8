//! The receiver's HTTP doors with nothing left out but the socket, and time that passes by itself.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::Parser;
use cv_core::{
    process::{self, Stop, Stopper},
    report::Packets,
};
use cv_receiver::{
    admission::Admission,
    analysis::Catalog,
    cli::Cli,
    dispatch::{Places as Workplaces, Threads},
    session::{Attachment, Message, Session},
    sessions::Sessions,
    transport::{
        port::Port,
        whip::{Endpoint, Settings},
    },
    web::{
        self,
        doors::Doors,
        places::{Limits, Places},
        server::{Caller, Server},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    runtime::Runtime,
    sync::oneshot,
};

/// The session that there is.
pub const SESSION: &str = "a";
/// How long a client says and hears nothing new before it leaves: longer than any limit of the server.
const PATIENCE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_secs(1);
/// How long a connection may last that has such a client.
const LIMIT: Duration = Duration::from_secs(180);
/// Bytes on the way to the server, and back.
const PIPE: usize = 4096;
const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 1234);

/// A server, and the session whose results it gives.
pub struct World {
    runtime: Runtime,
    server: Server,
    sessions: Sessions,
    places: Places,
    closing: Stop,
    _close: Stopper,
}

/// When a client reads what it is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// While it speaks.
    AtOnce,
    /// When it has said all, or nobody listens any more.
    Late,
}

impl World {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let _guard = runtime.enter();
        // As many requests as the fuzzer makes, by any name; at most one offer that is good by chance.
        let cli = Cli::parse_from(["cv-receiver", "--rate-limit", "0", "--max-sessions", "1", "--cors-origin", "*"]);
        let doors = Doors::new(&cli.serve.doors, cli.serve.listen).expect("nothing is asked for that can fail");
        let sessions = Sessions::new(10, cli.serve.session_ttl, None);
        let catalog = Arc::new(Catalog::default());
        let threads = Arc::new(Threads::start("extract", 1).expect("a thread"));
        let endpoint = Endpoint::new(Settings {
            sessions: sessions.clone(),
            plan: catalog.plan("stats").expect("it is built in"),
            catalog: catalog.clone(),
            places: Workplaces { here: threads.clone(), away: threads },
            pictures: None,
            admission: Admission::new(0.0),
            max_sessions: 1,
            port: Port::bind(0).expect("a port"),
            ice_servers: Vec::new(),
        });
        let (close, closing) = process::stop();
        let server = doors.server(endpoint.routes(), web::routes(sessions.clone(), catalog, closing.clone()));
        let (places, _) = Places::new(Limits { total: 10, per_address: 10 });
        drop(_guard);
        Self { runtime, server, sessions, places, closing, _close: close }
    }

    /// All that the server answers to a client that says all this and then no more.
    pub fn converse(&self, said: &[u8], reads: Reads) -> Vec<u8> {
        self.runtime.block_on(async {
            let session = self.sessions.enter(&SESSION.parse().expect("it is a name")).expect("there is room");
            attach(&session).await;
            let (client, stream) = tokio::io::duplex(PIPE);
            let address = SocketAddr::from(CLIENT);
            let (place, _eviction) = self.places.take(address.ip()).expect("there are places");
            let caller = Caller::new(address, &place);
            let served = self.server.clone().converse(stream, caller, self.closing.clone());
            let spoken = async {
                let heard = speak(client, said, reads).await;
                // A reader that is gone is noticed when there is something to tell it.
                attach(&session).await;
                heard
            };
            let both = async { tokio::join!(served, spoken).1 };
            tokio::time::timeout(LIMIT, both).await.expect("a connection ends")
        })
    }
}

/// A new sender for the session, so that its readers hear something.
async fn attach(session: &Session) {
    let plan = Arc::new(Catalog::default().plan("stats").expect("it is built in"));
    let attachment = Attachment {
        peer: 1,
        client: None,
        mode: cv_core::whip::Mode::Live,
        next: None,
        run: None,
        plan,
        replaced: oneshot::channel().0,
        packets: Box::new(Packets::default),
    };
    assert!(session.ask(|answer| Message::Attach(attachment, answer)).await.flatten().is_some());
}

/// Says all, stays for a moment, then says that this was all, and leaves some time later.
async fn speak(client: DuplexStream, said: &[u8], reads: Reads) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(client);
    let speaking = async {
        // It may hang up while we are still talking, or listen no more.
        let spoken = tokio::time::timeout(PATIENCE, writer.write_all(said)).await;
        tokio::time::sleep(MOMENT).await;
        if matches!(spoken, Ok(Ok(()))) {
            writer.shutdown().await.ok();
        }
    };
    let mut heard = Vec::new();
    let mut listening = async || drop(tokio::time::timeout(PATIENCE, reader.read_to_end(&mut heard)).await);
    if reads == Reads::AtOnce {
        tokio::join!(speaking, listening());
    } else {
        speaking.await;
        listening().await;
    }
    heard
}
