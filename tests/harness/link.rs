//! A bad network between the two programs, without either knowing of it.
//!
//! A proxy passes the WHIP requests on and puts the address of its own UDP relay into the answer in
//! place of the receiver's. The offer's addresses are taken out, so that the receiver, too, learns
//! of no way but the one through the relay. The relay drops, repeats and reorders.

use std::{
    collections::HashMap,
    io::{BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::http;

/// How often a relay looks up from its socket, and how late a reordered datagram comes at most.
const PATIENCE: Duration = Duration::from_millis(20);

/// What happens to datagrams, each a share from 0 to 1, in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Dropped.
    pub loss: f64,
    /// Sent twice.
    pub duplicates: f64,
    /// Held back until after the next.
    pub reordered: f64,
    /// Followed by a datagram of nonsense from the same address.
    pub forged: f64,
    /// Where the chances begin.
    pub seed: u64,
}

impl Weather {
    /// Loss as given, a little of the rest.
    pub fn with_loss(loss: f64) -> Self {
        Self { loss, duplicates: 0.01, reordered: 0.01, forged: 0.0, seed: 1 }
    }
}

/// What the relay did so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Datagrams passed on.
    pub passed: AtomicU64,
    /// Datagrams dropped.
    pub dropped: AtomicU64,
}

/// The network; gone when dropped.
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    receiver: SocketAddr,
    weather: Weather,
    counts: Counts,
    /// The receiver's media ports that answers named.
    ports: Mutex<Vec<u16>>,
    /// Relays below this number pass nothing on any more.
    first_whole: AtomicU64,
    over: AtomicBool,
}

impl Link {
    /// A network that leads to the receiver at `receiver`.
    ///
    /// # Panics
    /// If no socket can be had.
    pub fn start(receiver: SocketAddr, weather: Weather) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            receiver,
            weather,
            counts: Counts::default(),
            ports: Mutex::default(),
            first_whole: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        let proxied = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if proxied.over() {
                    return;
                }
                let proxied = proxied.clone();
                thread::spawn(move || proxied.proxy(stream));
            }
        });
        Self { address, shared }
    }

    /// The WHIP endpoint at this end of it.
    pub fn url(&self) -> String {
        format!("http://{}/whip", self.address)
    }

    /// The receiver's media ports that are in use behind it.
    ///
    /// # Panics
    /// If a thread of the link has.
    pub fn media_ports(&self) -> Vec<u16> {
        self.shared.ports.lock().expect("nobody panics while holding it").clone()
    }

    /// Cuts off every connection there is; new ones get through.
    ///
    /// # Panics
    /// If a thread of the link has.
    pub fn cut(&self) {
        self.shared.first_whole.store(self.media_ports().len() as u64, Ordering::Relaxed);
    }

    /// What happened on it.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Passes one request on.
    fn proxy(self: &Arc<Self>, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket can be shared"));
        let head = http::read_head(&mut reader);
        let length = http::field(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut words = head.split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
        let kept = ["content-type", "authorization", "accept"];
        let fields: Vec<_> = kept.iter().filter_map(|name| Some((*name, http::field(&head, name)?))).collect();
        let offer = without_candidates(&String::from_utf8_lossy(&body));
        let answer = http::request(self.receiver, method, path, &fields, &offer);
        let body = if answer.status == 201 { self.through_relay(&answer.body) } else { answer.body.clone() };
        let skipped = ["content-length", "connection", "transfer-encoding"];
        let passed = |line: &&str| {
            line.split_once(':').is_some_and(|(name, _)| !skipped.contains(&name.to_ascii_lowercase().as_str()))
        };
        let fields: String = answer.head.lines().skip(1).filter(passed).map(|line| format!("{line}\r\n")).collect();
        let (status, length) = (answer.status, body.len());
        let answer = format!(
            "HTTP/1.1 {status} Passed On\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        drop(stream.write_all(answer.as_bytes()));
    }

    /// The answer with one address: that of a new relay to the receiver's loopback address.
    fn through_relay(self: &Arc<Self>, answer: &str) -> String {
        let mut relay: Option<(u16, u16)> = None;
        let mut rewritten = String::new();
        for line in answer.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let line = match words[..] {
                [first, _, _, _, address, port, ..] if first.starts_with("a=candidate:") => {
                    let Ok(port) = port.parse::<u16>() else { continue };
                    if address != "127.0.0.1" || relay.is_some_and(|(known, _)| known != port) {
                        continue;
                    }
                    let (_, own) = *relay.get_or_insert_with(|| (port, self.relay(port)));
                    line.replace(&format!(" {port} "), &format!(" {own} "))
                }
                _ => line.to_owned(),
            };
            rewritten += &line;
            rewritten += "\r\n";
        }
        assert!(relay.is_some(), "the answer has no loopback address:\n{answer}");
        rewritten
    }

    /// Starts a relay to `port`; gives its own.
    fn relay(self: &Arc<Self>, port: u16) -> u16 {
        let front = socket();
        let number = {
            let mut ports = self.ports.lock().expect("nobody panics while holding it");
            ports.push(port);
            ports.len() as u64 - 1
        };
        let own = front.local_addr().expect("a bound socket has an address").port();
        let shared = self.clone();
        thread::spawn(move || shared.forward(&front, (Ipv4Addr::LOCALHOST, port).into(), number));
        own
    }

    /// Takes datagrams from senders, gives each sender a socket of its own towards `target`.
    fn forward(self: &Arc<Self>, front: &UdpSocket, target: SocketAddr, relay: u64) {
        let mut ways: HashMap<SocketAddr, (Arc<UdpSocket>, Direction)> = HashMap::new();
        let mut buffer = [0; 2048];
        while !self.over() {
            let Ok((length, sender)) = front.recv_from(&mut buffer) else {
                ways.values_mut().for_each(|(_, direction)| direction.flush());
                continue;
            };
            let count = ways.len() as u64;
            let (_, direction) = ways.entry(sender).or_insert_with(|| {
                let back = Arc::new(socket());
                let front = front.try_clone().expect("a socket can be shared");
                let (shared, from) = (self.clone(), back.clone());
                let answers = Direction::new(self, front, sender, (relay, 2 * count + 1));
                thread::spawn(move || shared.backward(&from, answers));
                let out = back.try_clone().expect("a socket can be shared");
                (back, Direction::new(self, out, target, (relay, 2 * count)))
            });
            direction.pass(&buffer[..length]);
        }
    }

    fn backward(&self, from: &UdpSocket, mut direction: Direction) {
        let mut buffer = [0; 2048];
        while !self.over() {
            match from.recv_from(&mut buffer) {
                Ok((length, _)) => direction.pass(&buffer[..length]),
                Err(_nothing_yet) => direction.flush(),
            }
        }
    }
}

/// One direction of one sender's traffic.
struct Direction {
    shared: Arc<Shared>,
    socket: UdpSocket,
    to: SocketAddr,
    relay: u64,
    chances: u64,
    held: Option<Vec<u8>>,
}

impl Direction {
    fn new(shared: &Arc<Shared>, socket: UdpSocket, to: SocketAddr, (relay, number): (u64, u64)) -> Self {
        let chances = shared.weather.seed.wrapping_mul(1000).wrapping_add(100 * relay + number);
        Self { shared: shared.clone(), socket, to, relay, chances, held: None }
    }

    fn pass(&mut self, datagram: &[u8]) {
        let weather = self.shared.weather;
        if self.relay < self.shared.first_whole.load(Ordering::Relaxed) {
            return;
        }
        if self.happens(weather.loss) {
            self.shared.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.held.is_none() && self.happens(weather.reordered) {
            self.held = Some(datagram.to_vec());
            return;
        }
        self.send(datagram);
        if self.happens(weather.duplicates) {
            self.send(datagram);
        }
        self.flush();
        if self.happens(weather.forged) {
            let nonsense = nonsense(self.chances);
            self.send(&nonsense);
        }
    }

    fn flush(&mut self) {
        if let Some(held) = self.held.take() {
            self.send(&held);
        }
    }

    fn send(&self, datagram: &[u8]) {
        // A closed port at the other end is no concern of a network.
        drop(self.socket.send_to(datagram, self.to));
        self.shared.counts.passed.fetch_add(1, Ordering::Relaxed);
    }

    /// Splitmix64: the same chances in every run.
    fn happens(&mut self, share: f64) -> bool {
        self.chances = self.chances.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chances;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / ((1u64 << 53) as f64) < share
    }
}

/// A datagram that looks like STUN, DTLS, RTP, RTCP or nothing at all, and is none of them.
pub fn nonsense(seed: u64) -> Vec<u8> {
    let first = [0x00, 0x01, 0x16, 0x17, 0x80, 0x80, 0x90, 0xff][(seed >> 8) as usize % 8];
    let length = (seed >> 16) as usize % 1400;
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::once(first).chain(std::iter::repeat_with(&mut next).take(length)).collect()
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit above zero");
    socket
}

fn without_candidates(sdp: &str) -> String {
    let kept = sdp.lines().filter(|line| !line.starts_with("a=candidate:") && *line != "a=end-of-candidates");
    kept.map(|line| format!("{line}\r\n")).collect()
}
