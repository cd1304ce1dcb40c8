//! A bad network between the two programs, without either knowing of it.
//!
//! A proxy passes the WHIP requests on and puts the address of its own UDP relay into the answer in
//! place of the receiver's. The offer's addresses are taken out, so that the receiver, too, learns
//! of no way but the one through the relay. The relay drops, repeats, reorders and delays, has a
//! bottleneck with a queue of its own in each direction, and can go down altogether.

use std::{
    collections::HashMap,
    io::{BufReader, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    http,
    timeline::Timeline,
    way::{Way, Weather},
};

/// How often a relay looks up from its socket, and how late a reordered datagram comes at most.
const PATIENCE: Duration = Duration::from_millis(20);

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

pub(crate) struct Shared {
    receiver: SocketAddr,
    /// The address that media go over.
    ip: IpAddr,
    weather: Mutex<Weather>,
    down: AtomicBool,
    counts: Counts,
    /// What became of datagrams towards the receiver.
    timeline: Timeline,
    /// Where the receiver sees senders come from: the relays' sockets towards it.
    fronts: Mutex<Vec<(Arc<UdpSocket>, SocketAddr)>>,
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
        Self::start_over(Ipv4Addr::LOCALHOST.into(), receiver, weather)
    }

    /// The same with media over `ip`, a loopback address.
    ///
    /// # Panics
    /// If no socket can be had.
    pub fn start_over(ip: IpAddr, receiver: SocketAddr, weather: Weather) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            receiver,
            ip,
            weather: Mutex::new(weather),
            down: AtomicBool::new(false),
            counts: Counts::default(),
            timeline: Timeline::default(),
            fronts: Mutex::default(),
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

    /// Where its HTTP is.
    pub fn address(&self) -> SocketAddr {
        self.address
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

    /// Sends `datagram` to the receiver from every address that senders seem to have there.
    ///
    /// # Panics
    /// If a thread of the link has.
    pub fn forge(&self, datagram: &[u8]) {
        for (socket, target) in &*self.shared.fronts.lock().expect("nobody panics while holding it") {
            drop(socket.send_to(datagram, target));
        }
    }

    /// Lets nothing through any more, in either direction.
    pub fn down(&self) {
        self.shared.down.store(true, Ordering::Relaxed);
    }

    /// Ends [`Self::down`].
    pub fn up(&self) {
        self.shared.down.store(false, Ordering::Relaxed);
    }

    /// Changes the weather from the next datagram on.
    ///
    /// # Panics
    /// If a thread of the link has.
    pub fn set(&self, weather: Weather) {
        *self.shared.weather.lock().expect("nobody panics while holding it") = weather;
    }

    /// What became of datagrams towards the receiver, and when.
    pub fn timeline(&self) -> &Timeline {
        &self.shared.timeline
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
    pub(crate) fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn weather(&self) -> Weather {
        *self.weather.lock().expect("nobody panics while holding it")
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Whether relay number `relay` passes anything on.
    pub(crate) fn is_up(&self, relay: u64) -> bool {
        !self.down.load(Ordering::Relaxed) && relay >= self.first_whole.load(Ordering::Relaxed)
    }

    /// Passes one request on.
    fn proxy(self: &Arc<Self>, mut stream: TcpStream) {
        if self.down.load(Ordering::Relaxed) {
            return;
        }
        let mut reader = BufReader::new(stream.try_clone().expect("a socket can be shared"));
        let head = http::read_head(&mut reader);
        let length = http::field(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let mut words = head.split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
        let kept = ["content-type", "authorization", "accept", "if-match"];
        let fields: Vec<_> = kept.iter().filter_map(|name| Some((*name, http::field(&head, name)?))).collect();
        let offer = without_candidates(&String::from_utf8_lossy(&body));
        let answer = http::request(self.receiver, method, path, &fields, &offer);
        let describes = answer.status == 201 || answer.status == 200 && method == "PATCH";
        let body = if describes { self.through_relay(&answer.body) } else { answer.body.clone() };
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
                // What leads elsewhere is none of this network's business.
                [first, .., "relay", _, _, _, _] if first.starts_with("a=candidate:") => line.to_owned(),
                [first, _, _, _, address, port, ..] if first.starts_with("a=candidate:") => {
                    let Ok(port) = port.parse::<u16>() else { continue };
                    if address != self.ip.to_string() || relay.is_some_and(|(known, _)| known != port) {
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
        let front = socket(self.ip);
        let number = {
            let mut ports = self.ports.lock().expect("nobody panics while holding it");
            ports.push(port);
            ports.len() as u64 - 1
        };
        let own = front.local_addr().expect("a bound socket has an address").port();
        let shared = self.clone();
        thread::spawn(move || shared.forward(&front, (shared.ip, port).into(), number));
        own
    }

    /// Takes datagrams from senders, gives each sender a socket of its own towards `target`.
    fn forward(self: &Arc<Self>, front: &UdpSocket, target: SocketAddr, relay: u64) {
        let mut ways: HashMap<SocketAddr, (Arc<UdpSocket>, Way)> = HashMap::new();
        let mut buffer = [0; 2048];
        while !self.over() {
            let Ok((length, sender)) = front.recv_from(&mut buffer) else {
                ways.values_mut().for_each(|(_, direction)| direction.flush());
                continue;
            };
            let count = ways.len() as u64;
            let (_, direction) = ways.entry(sender).or_insert_with(|| {
                let back = Arc::new(socket(self.ip));
                self.fronts.lock().expect("nobody panics while holding it").push((back.clone(), target));
                let front = front.try_clone().expect("a socket can be shared");
                let (shared, from) = (self.clone(), back.clone());
                let answers = Way::new(self, front, sender, (relay, 2 * count + 1));
                thread::spawn(move || shared.backward(&from, answers));
                let out = back.try_clone().expect("a socket can be shared");
                (back, Way::new(self, out, target, (relay, 2 * count)))
            });
            direction.pass(&buffer[..length]);
        }
    }

    fn backward(&self, from: &UdpSocket, mut direction: Way) {
        let mut buffer = [0; 2048];
        while !self.over() {
            match from.recv_from(&mut buffer) {
                Ok((length, _)) => direction.pass(&buffer[..length]),
                Err(_nothing_yet) => direction.flush(),
            }
        }
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

fn socket(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).expect("a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit above zero");
    socket
}

fn without_candidates(sdp: &str) -> String {
    let own = |line: &str| line.starts_with("a=candidate:") && !line.contains(" typ relay ");
    let kept = sdp.lines().filter(|line| !own(line) && *line != "a=end-of-candidates");
    kept.map(|line| format!("{line}\r\n")).collect()
}
