//! A socket that says again what DTLS said into it.

use std::{
    fmt, io,
    io::IoSliceMut,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::time::Sleep;
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Transmit};

use crate::{acknowledgement::Acknowledgement, flight::Flight, heard::Heard, memory::Memory};

/// Whether the peer acknowledges what it hears, and wants the same of us. Shared by the sockets of a connection;
/// without it only what left during an outage is said again, and flights of the handshake.
#[derive(Clone, Debug, Default)]
pub struct Agreement(Arc<AtomicBool>);

impl Agreement {
    /// The peer is one of our own.
    pub fn reach(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_reached(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Any socket, with a memory.
pub struct Repeating {
    inner: Arc<dyn AsyncUdpSocket>,
    agreement: Agreement,
    /// Locked for the look at one batch of datagrams, hence a plain mutex.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    flight: Flight,
    memory: Memory,
    heard: Heard,
    timer: Option<Pin<Box<Sleep>>>,
    /// Who reads, and until when that task sleeps.
    reader: Option<(Waker, Option<Instant>)>,
}

type Datagrams = Vec<(SocketAddr, Vec<u8>)>;

impl Repeating {
    /// `inner` with a memory.
    pub fn new(inner: Arc<dyn AsyncUdpSocket>, agreement: Agreement) -> Self {
        Self { inner, agreement, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    fn send(&self, cx: &mut Context<'_>, datagrams: Datagrams) {
        for (destination, contents) in &datagrams {
            let transmit =
                Transmit { destination: *destination, ecn: None, contents, segment_size: None, src_ip: None };
            // Where the socket has no room now, the next time or SCTP's timer has the last word.
            drop(self.inner.poll_send(cx, &transmit));
        }
    }
}

impl State {
    /// Takes note of what leaves; gives who has to look at the time anew.
    fn say(&mut self, transmit: &Transmit<'_>, agreed: bool) -> Option<Waker> {
        let now = Instant::now();
        for datagram in transmit.contents.chunks(transmit.segment_size.unwrap_or(usize::MAX).max(1)) {
            match Kind::of(datagram) {
                Kind::Handshake => self.flight.say(now, transmit.destination, datagram),
                Kind::Data(number) => self.memory.say(now, transmit.destination, (number, datagram), agreed),
                Kind::Media | Kind::Other => {}
            }
        }
        let deadline = self.deadline()?;
        let (reader, sleeps) = self.reader.as_mut()?;
        let too_long = sleeps.is_none_or(|until| deadline < until);
        *sleeps = Some(deadline);
        too_long.then(|| reader.clone())
    }

    /// Takes note of what came; gives what is to be said now.
    fn hear(&mut self, messages: &[IoSliceMut<'_>], meta: &[RecvMeta], agreed: bool) -> Datagrams {
        let now = Instant::now();
        let mut answers = self.memory.hear(now);
        for (memory, meta) in messages.iter().zip(meta) {
            for datagram in memory[..meta.len.min(memory.len())].chunks(meta.stride.max(1)) {
                match Kind::of(datagram) {
                    Kind::Handshake => self.flight.hear(),
                    Kind::Media => self.flight.end(),
                    Kind::Data(number) => {
                        self.flight.end();
                        let told = self.heard.hear(now, number).filter(|_| agreed);
                        answers.extend(told.map(|told| (meta.addr, told.to_datagram().to_vec())));
                    }
                    Kind::Other => {
                        if let Some(told) = Acknowledgement::from_datagram(datagram).filter(|_| agreed) {
                            self.memory.acknowledged(now, &told);
                        }
                    }
                }
            }
        }
        answers
    }

    fn deadline(&self) -> Option<Instant> {
        self.flight.deadline().into_iter().chain(self.memory.deadline()).min()
    }

    fn due(&mut self) -> Datagrams {
        let now = Instant::now();
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        let mut due = self.flight.due(now);
        due.extend(self.memory.due(now));
        due
    }

    /// Has the reading task woken when something is due; `true` if it is already.
    fn sleep(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.deadline();
        self.reader = Some((cx.waker().clone(), deadline));
        let Some(deadline) = deadline else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        timer.as_mut().reset(deadline.into());
        timer.as_mut().poll(cx).is_ready()
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
        if matches!(sent, Poll::Ready(Ok(_)))
            && matches!(Kind::of(transmit.contents), Kind::Handshake | Kind::Data(_))
            && let Some(reader) = { self.state().say(transmit, self.agreement.is_reached()) }
        {
            reader.wake();
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let received = self.inner.poll_recv(cx, bufs, meta);
            let mut state = self.state();
            let answers = match received {
                Poll::Ready(Ok(count)) => state.hear(&bufs[..count], &meta[..count], self.agreement.is_reached()),
                _ => Vec::new(),
            };
            let due = state.due();
            let again = received.is_pending() && state.sleep(cx);
            drop(state);
            self.send(cx, answers);
            self.send(cx, due);
            if !again {
                return received;
            }
        }
    }
}

impl fmt::Debug for Repeating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeating").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// What a datagram is, as far as it matters here (RFC 7983; RFC 6347, 4.1).
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Handshake,
    /// A record with application data, with the number that DTLS gave it.
    Data(u64),
    /// SRTP or SRTCP.
    Media,
    Other,
}

impl Kind {
    fn of(datagram: &[u8]) -> Self {
        match datagram {
            [20..=22, ..] => Self::Handshake,
            [128..=191, ..] => Self::Media,
            // Epoch 0 is that of the handshake; nobody sends data in it.
            [23, _, _, 0, 0, ..] => Self::Other,
            [23, _, _, number @ ..] => match number.first_chunk() {
                Some(number) => Self::Data(u64::from_be_bytes(*number)),
                None => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, time::Duration};

    use super::*;

    #[test]
    fn datagrams_are_told_apart() {
        let data = [23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 7, 0, 1, 9];
        assert_eq!(Kind::of(&data), Kind::Data(1 << 48 | 7));
        let early = [23, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 9];
        for other in [&early[..], &data[..10], &[23], &[0, 1], &[8], &[]] {
            assert_eq!(Kind::of(other), Kind::Other, "{other:?}");
        }
        assert_eq!((Kind::of(&[22]), Kind::of(&[0x80, 96])), (Kind::Handshake, Kind::Media));
    }

    /// One end of a wire that loses every second datagram.
    #[derive(Debug, Default)]
    struct Lossy {
        inbox: Mutex<(VecDeque<Vec<u8>>, Option<Waker>)>,
        peer: Mutex<Option<Arc<Lossy>>>,
        passed: Mutex<usize>,
    }

    impl AsyncUdpSocket for Lossy {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 9).into())
        }

        fn poll_send(&self, _: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
            let mut passed = self.passed.lock().unwrap();
            *passed += 1;
            if passed.is_multiple_of(2) {
                let peer = self.peer.lock().unwrap().clone().unwrap();
                let mut inbox = peer.inbox.lock().unwrap();
                inbox.0.push_back(transmit.contents.to_vec());
                inbox.1.take().into_iter().for_each(Waker::wake);
            }
            Poll::Ready(Ok(transmit.contents.len()))
        }

        fn poll_recv(
            &self,
            cx: &mut Context<'_>,
            bufs: &mut [IoSliceMut<'_>],
            meta: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            let mut inbox = self.inbox.lock().unwrap();
            let Some(datagram) = inbox.0.pop_front() else {
                inbox.1 = Some(cx.waker().clone());
                return Poll::Pending;
            };
            bufs[0][..datagram.len()].copy_from_slice(&datagram);
            (meta[0].len, meta[0].stride, meta[0].addr) = (datagram.len(), datagram.len(), self.local_addr()?);
            Poll::Ready(Ok(1))
        }
    }

    fn record(number: u8) -> [u8; 14] {
        [23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, number, 0, 1, 9]
    }

    /// Both ends, and a task that keeps the first one reading.
    fn wire() -> (Arc<Repeating>, Repeating, tokio::task::JoinHandle<()>) {
        let ends = [Arc::new(Lossy::default()), Arc::new(Lossy::default())];
        *ends[0].peer.lock().unwrap() = Some(ends[1].clone());
        *ends[1].peer.lock().unwrap() = Some(ends[0].clone());
        let agreement = Agreement::default();
        agreement.reach();
        let [here, there] = ends.map(|end| Repeating::new(end, agreement.clone()));
        let here = Arc::new(here);
        let reading = here.clone();
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while reading.recv_from(&mut buffer).await.is_ok() {}
        });
        (here, there, reader)
    }

    #[tokio::test]
    async fn every_record_arrives_although_every_second_datagram_is_lost() {
        let (here, there, reader) = wire();
        // Its reader sleeps already when something is said.
        tokio::task::yield_now().await;
        for number in 1..=30 {
            here.send_to(&record(number), ([127, 0, 0, 1], 9).into()).await.unwrap();
        }
        let mut missing: Vec<u8> = (1..=30).collect();
        let mut buffer = [0; 2048];
        let all = async {
            while !missing.is_empty() {
                let (length, _) = there.recv_from(&mut buffer).await.unwrap();
                missing.retain(|number| buffer[..length] != record(*number));
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.expect("it arrives sometime");
        reader.abort();
    }
}
