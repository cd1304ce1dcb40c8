//! A socket that says again, after an outage, what was said into it.
//!
//! Lines of results go over SCTP, whose timer for retransmissions doubles with each that stays
//! unanswered (RFC 9260, 6.3.3): five seconds without a network are followed by two more, or four,
//! in which lines wait for a timer. The library gives no hold on that timer. But whatever is said
//! twice below DTLS is dropped by its replay protection, if it was heard the first time; so what
//! left while nothing was heard of the sender leaves once more as soon as something is.

use std::{
    collections::VecDeque,
    fmt, io,
    io::IoSliceMut,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

/// Silence of a sender that may be an outage. Longer than a packet loss, shorter than anybody minds.
const SILENCE: Duration = Duration::from_millis(700);
/// What left so shortly before the silence may have been lost, too.
const BEFORE: Duration = Duration::from_millis(500);
/// Datagrams kept: a second of lines and what SCTP repeats of them.
const KEPT: usize = 48;
/// The first byte of DTLS records with application data (RFC 6347, 4.1; RFC 7983).
const APPLICATION_DATA: u8 = 23;

/// Any socket, with a memory.
pub(super) struct Repeating {
    inner: Arc<dyn AsyncUdpSocket>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// What left since something was heard last, and shortly before.
    said: VecDeque<(Instant, SocketAddr, Vec<u8>)>,
    heard: Option<Instant>,
}

impl Repeating {
    pub(super) fn new(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        Self { inner, memory: Mutex::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("nobody panics while holding it")
    }
}

impl Memory {
    fn say(&mut self, now: Instant, to: SocketAddr, datagram: &[u8]) {
        if datagram.first() == Some(&APPLICATION_DATA) {
            self.said.truncate(KEPT - 1);
            self.said.push_front((now, to, datagram.to_vec()));
        }
    }

    /// Something was heard: what is to be said again, the oldest first.
    fn hear(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        let last = self.heard.replace(now);
        let again = match last.filter(|last| now.saturating_duration_since(*last) >= SILENCE) {
            Some(last) => {
                let lost = self.said.drain(..).take_while(|(at, ..)| *at + BEFORE >= last);
                let mut lost: Vec<_> = lost.map(|(_, to, datagram)| (to, datagram)).collect();
                lost.reverse();
                lost
            }
            None => Vec::new(),
        };
        while self.said.back().is_some_and(|(at, ..)| *at + BEFORE < now) {
            self.said.pop_back();
        }
        again
    }
}

impl AsyncUdpSocket for Repeating {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let sent = self.inner.poll_send(cx, transmit);
        if let (Poll::Ready(Ok(_)), None) = (&sent, transmit.segment_size) {
            self.memory().say(Instant::now(), transmit.destination, transmit.contents);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(1..)) = received {
            let again = self.memory().hear(Instant::now());
            for (destination, contents) in &again {
                let transmit =
                    Transmit { destination: *destination, ecn: None, contents, segment_size: None, src_ip: None };
                // Where the socket has no room now, SCTP's timer has the last word.
                drop(self.inner.poll_send(cx, &transmit));
            }
        }
        received
    }
}

impl fmt::Debug for Repeating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeating").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn said_again(memory: &mut Memory, now: Instant) -> Vec<u8> {
        memory.hear(now).into_iter().map(|(_, datagram)| datagram[1]).collect()
    }

    #[test]
    fn what_left_during_an_outage_is_said_again_in_order_and_once() {
        let (start, to) = (Instant::now(), ([127, 0, 0, 1], 9).into());
        let mut memory = Memory::default();
        memory.say(start, to, &[APPLICATION_DATA, 0]);
        assert!(said_again(&mut memory, start + ms(1000)).is_empty(), "nothing had been heard before");
        for (at, number) in [(1400, 1), (2000, 2), (4000, 3)] {
            memory.say(start + ms(at), to, &[APPLICATION_DATA, number]);
        }
        memory.say(start + ms(4000), to, &[128, 9]);
        assert_eq!(said_again(&mut memory, start + ms(6000)), [1, 2, 3]);
        assert!(said_again(&mut memory, start + ms(8000)).is_empty());
    }

    #[test]
    fn nothing_is_said_again_while_the_sender_is_heard_and_memory_is_bounded() {
        let (start, to) = (Instant::now(), ([127, 0, 0, 1], 9).into());
        let mut memory = Memory::default();
        for step in 0..1000 {
            let now = start + ms(step * 33);
            memory.say(now, to, &[APPLICATION_DATA, 0]);
            assert!(said_again(&mut memory, now).is_empty());
            assert!(memory.said.len() <= 17);
        }
        (0..1000).for_each(|_| memory.say(start, to, &[APPLICATION_DATA, 0]));
        assert_eq!(memory.said.len(), KEPT);
    }
}
