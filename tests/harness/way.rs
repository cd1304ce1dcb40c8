//! One direction of one sender's traffic through a bad network.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Condvar, Mutex, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::link::{Shared, nonsense};

/// What a datagram costs beside its payload: UDP and IP.
const HEADERS: usize = 28;

/// What happens to datagrams, in both directions. Shares are from 0 to 1.
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
    /// On the way for so long …
    pub delay: Duration,
    /// … give or take so much, without overtaking.
    pub jitter: Duration,
    /// This share of them for longer, so that others overtake them.
    pub late: (f64, Duration),
    /// What all of them must pass.
    pub bottleneck: Option<Bottleneck>,
    /// Where the chances begin.
    pub seed: u64,
}

/// A slow place with a queue in front.
#[derive(Clone, Copy, Debug)]
pub struct Bottleneck {
    /// Bits a second, headers included.
    pub rate: f64,
    /// How long a datagram may wait in the queue; who would have to wait longer is dropped.
    pub queue: Duration,
}

impl Weather {
    /// Nothing happens at all.
    pub const CLEAR: Self = Self {
        loss: 0.0,
        duplicates: 0.0,
        reordered: 0.0,
        forged: 0.0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        late: (0.0, Duration::ZERO),
        bottleneck: None,
        seed: 1,
    };

    /// Loss as given, a little of the rest.
    pub fn with_loss(loss: f64) -> Self {
        Self { loss, duplicates: 0.01, reordered: 0.01, ..Self::CLEAR }
    }
}

/// One direction.
pub(crate) struct Way {
    shared: Arc<Shared>,
    relay: u64,
    /// Whether it leads to the receiver.
    forth: bool,
    chances: u64,
    held: Option<Vec<u8>>,
    /// When the bottleneck has dealt with all that is in its queue.
    free: Instant,
    /// When the last datagram in order arrives.
    last: Instant,
    sent: u64,
    exit: Arc<Exit>,
}

/// A datagram with its time of arrival and its number: the earliest first, among equals the first one sent.
type Waiting = Reverse<(Instant, u64, Vec<u8>)>;

/// The end of a way, where datagrams wait for their time of arrival.
struct Exit {
    socket: UdpSocket,
    to: SocketAddr,
    waiting: Mutex<BinaryHeap<Waiting>>,
    changed: Condvar,
}

impl Way {
    pub(crate) fn new(shared: &Arc<Shared>, socket: UdpSocket, to: SocketAddr, (relay, number): (u64, u64)) -> Self {
        let chances = shared.weather().seed.wrapping_mul(1000).wrapping_add(100 * relay + number);
        let exit = Arc::new(Exit { socket, to, waiting: Mutex::default(), changed: Condvar::new() });
        let (delivering, over) = (exit.clone(), shared.clone());
        thread::spawn(move || delivering.deliver(&over));
        let now = Instant::now();
        let (shared, forth) = (shared.clone(), number.is_multiple_of(2));
        Self { shared, relay, forth, chances, held: None, free: now, last: now, sent: 0, exit }
    }

    /// Takes a datagram.
    pub(crate) fn pass(&mut self, datagram: &[u8]) {
        let weather = self.shared.weather();
        if !self.shared.is_up(self.relay) {
            return;
        }
        if self.happens(weather.loss) {
            self.shared.counts().dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.held.is_none() && self.happens(weather.reordered) {
            self.held = Some(datagram.to_vec());
            return;
        }
        self.send(&weather, datagram);
        if self.happens(weather.duplicates) {
            self.send(&weather, datagram);
        }
        self.flush();
        if self.happens(weather.forged) {
            let nonsense = nonsense(self.chances);
            self.send(&weather, &nonsense);
        }
    }

    /// Lets go of what was held back.
    pub(crate) fn flush(&mut self) {
        if let Some(held) = self.held.take() {
            self.send(&self.shared.weather(), &held);
        }
    }

    /// Sends a datagram through the bottleneck and over the distance.
    fn send(&mut self, weather: &Weather, datagram: &[u8]) {
        let now = Instant::now();
        let Some(through) = self.through(weather.bottleneck, now, datagram.len() + HEADERS) else {
            self.shared.counts().dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.shared.counts().passed.fetch_add(1, Ordering::Relaxed);
        let swing = weather.jitter.mul_f64(2.0 * self.chance());
        let arrives = (through + (weather.delay + swing).saturating_sub(weather.jitter)).max(self.last);
        self.last = arrives;
        let arrives = if self.happens(weather.late.0) { arrives + weather.late.1 } else { arrives };
        self.sent += 1;
        self.exit.take(arrives, self.sent, datagram, now);
    }

    /// When a datagram is through the bottleneck; `None` if the queue is full.
    fn through(&mut self, bottleneck: Option<Bottleneck>, now: Instant, bytes: usize) -> Option<Instant> {
        let queued = bottleneck.map_or(Duration::ZERO, |_| self.free.saturating_duration_since(now));
        let fits = bottleneck.is_none_or(|bottleneck| queued <= bottleneck.queue);
        if self.forth {
            self.shared.timeline().add(now, bytes, fits.then_some(queued));
        }
        let time = bottleneck.map_or(0.0, |bottleneck| bytes as f64 * 8.0 / bottleneck.rate);
        fits.then(|| {
            self.free = now + queued + Duration::from_secs_f64(time);
            self.free
        })
    }

    fn happens(&mut self, share: f64) -> bool {
        self.chance() < share
    }

    /// From 0 to 1. Splitmix64: the same chances in every run.
    fn chance(&mut self) -> f64 {
        self.chances = self.chances.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chances;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / ((1u64 << 53) as f64)
    }
}

impl Exit {
    /// Keeps a datagram until its time; what is due leaves without a detour through another thread.
    fn take(&self, arrives: Instant, number: u64, datagram: &[u8], now: Instant) {
        let mut waiting = self.waiting.lock().expect("nobody panics while holding it");
        if arrives <= now && waiting.is_empty() {
            self.send(datagram);
        } else {
            waiting.push(Reverse((arrives, number, datagram.to_vec())));
            self.changed.notify_one();
        }
    }

    /// Sends each datagram when its time has come.
    fn deliver(&self, shared: &Shared) {
        let mut waiting = self.waiting.lock().expect("nobody panics while holding it");
        while !shared.over() {
            let pause = waiting.peek().map_or(Duration::from_millis(100), |Reverse((arrives, ..))| {
                arrives.saturating_duration_since(Instant::now())
            });
            if pause.is_zero() {
                if let Some(Reverse((.., datagram))) = waiting.pop() {
                    self.send(&datagram);
                }
                continue;
            }
            waiting = self.changed.wait_timeout(waiting, pause).expect("nobody panics while holding it").0;
        }
    }

    fn send(&self, datagram: &[u8]) {
        // A closed port at the other end is no concern of a network.
        drop(self.socket.send_to(datagram, self.to));
    }
}
