//! A TURN server, coturn, on loopback.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::clips;

/// How long it may take to listen.
const LIMIT: Duration = Duration::from_secs(20);
/// An address and its credentials.
const USER: &str = "camera";
const PASSWORD: &str = "pass,word";

/// The server; gone when dropped.
pub struct Turn {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Turn {
    /// Starts one and waits until it answers. `None`, and a loud word, where coturn is not installed.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start() -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let address = free_port();
        let mut command = Command::new("turnserver");
        command.current_dir(folder.path()).args(["-n", "--no-tls", "--no-dtls", "--no-cli", "--lt-cred-mech"]);
        command.args(["--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--allow-loopback-peers"]);
        command.args(["--listening-port", &address.port().to_string(), "--realm", "cv.test"]);
        command.args(["--user", &format!("{USER}:{PASSWORD}"), "--userdb", "users.db", "--pidfile", "pid"]);
        command.args(["--log-file", "log", "--simple-log", "--verbose"]);
        let child = match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "turnserver: {error}");
                clips::skipped("relays, for want of coturn (turnserver); NONE WAS TESTED");
                return None;
            }
        };
        let mut turn = Self { child, address, folder };
        turn.wait();
        Some(turn)
    }

    /// What --ice-server takes.
    pub fn server(&self) -> String {
        self.server_for(USER, PASSWORD)
    }

    /// The same with credentials of one's own.
    pub fn server_for(&self, user: &str, password: &str) -> String {
        format!("turn:{},{user},{password}", self.address)
    }

    /// Its address for STUN.
    pub fn stun(&self) -> String {
        format!("stun:{}", self.address)
    }

    /// Addresses that it gave out so far.
    ///
    /// # Panics
    /// If it writes no log.
    pub fn allocations(&self) -> usize {
        self.log().matches("ALLOCATE processed, success").count()
    }

    /// Waits until `count` addresses were given back.
    ///
    /// # Panics
    /// If they are not.
    pub fn wait_for_releases(&self, count: usize) {
        let began = Instant::now();
        // Looked at now and then: it tells nobody.
        while self.log().matches("lifetime=0").count() < count {
            assert!(began.elapsed() < LIMIT, "{} addresses were not given back:\n{}", count, self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("coturn writes a log")
    }

    /// Asks until it answers.
    fn wait(&mut self) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a limit above zero");
        let mut request = vec![0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42];
        request.extend([9; 12]);
        let (began, mut answer) = (Instant::now(), [0; 512]);
        loop {
            socket.send_to(&request, self.address).ok();
            if socket.recv_from(&mut answer).is_ok() {
                return;
            }
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none() && began.elapsed() < LIMIT, "coturn does not come up: {ended:?}");
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A port that is free for UDP and TCP, as coturn wants it.
fn free_port() -> SocketAddr {
    loop {
        let tcp = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = tcp.local_addr().expect("a bound socket has an address");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}
