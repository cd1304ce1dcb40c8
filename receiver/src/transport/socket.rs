//! The UDP sockets under a peer connection: on the common port, with cures for two faults of webrtc 0.21.1.
//!
//! 1. *Lost nomination.* A binding request with USE-CANDIDATE (RFC 8445, 7.3.1.5) that comes before
//!    our own check of that path succeeded is forgotten, and a client that nominates once never
//!    connects. The request is delivered again after the first success response from its address.
//! 2. *Early media.* SRTP that arrives before the DTLS handshake is seen as done is dropped, the
//!    first keyframe with it. Such packets wait until the connection is up.
//!
//! An ICE restart is a connection that comes up again, with the same faults.

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    io::IoSliceMut,
    net::{SocketAddr, UdpSocket},
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use cv_wire::{Agreement, Repeating, SocketRuntime};
use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Runtime, Transmit};

use super::port::Sockets;

/// Datagrams kept back before the connection is up: several pictures' worth.
const HELD_DATAGRAMS: usize = 512;
const HELD_BYTES: usize = 1 << 20;
/// Addresses whose nomination is remembered; a client offers far fewer candidates.
const NOMINATIONS: usize = 64;

/// Tokio, with cured sockets on the common port.
pub(super) fn runtime(up: Arc<Up>, sockets: Sockets, agreement: Agreement) -> Arc<dyn Runtime> {
    // What the library has bound only stands for an address; it is closed here.
    Arc::new(SocketRuntime::new(move |placeholder: UdpSocket| {
        let inner = Arc::new(Repeating::new(sockets.open(placeholder.local_addr()?)?, agreement.clone()));
        let socket: Arc<dyn AsyncUdpSocket> = Arc::new(CuredSocket { inner, up: up.clone(), held: Mutex::default() });
        Ok(socket)
    }))
}

/// Whether the connection is up. Shared by all its sockets.
#[derive(Debug, Default)]
pub(super) struct Up {
    state: Mutex<UpState>,
}

#[derive(Debug, Default)]
struct UpState {
    connected: bool,
    waiting: Vec<Waker>,
}

impl Up {
    /// Lets held media through.
    pub(super) fn connected(&self) {
        let waiting = {
            let mut state = self.state.lock().expect("nobody panics while holding it");
            state.connected = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Holds media back again: while ICE restarts the library drops what arrives, by whatever way.
    pub(super) fn connecting(&self) {
        self.state.lock().expect("nobody panics while holding it").connected = false;
    }

    fn is_connected(&self) -> bool {
        self.state.lock().expect("nobody panics while holding it").connected
    }

    fn wake_when_connected(&self, waker: &Waker) {
        let mut state = self.state.lock().expect("nobody panics while holding it");
        if !state.connected && !state.waiting.iter().any(|known| known.will_wake(waker)) {
            state.waiting.truncate(16);
            state.waiting.push(waker.clone());
        }
    }
}

struct CuredSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    up: Arc<Up>,
    held: Mutex<Held>,
}

/// Datagrams kept back. Once the connection is up and they are gone, nothing is kept any more.
#[derive(Default)]
struct Held {
    /// SRTP that came too early.
    media: VecDeque<(RecvMeta, Vec<u8>)>,
    media_bytes: usize,
    /// The nominating request of each address.
    nominations: HashMap<SocketAddr, (RecvMeta, Vec<u8>)>,
    /// Nominations to deliver again now.
    replays: VecDeque<(RecvMeta, Vec<u8>)>,
}

impl CuredSocket {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nobody panics while holding it")
    }
}

impl AsyncUdpSocket for CuredSocket {
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
        self.inner.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let connected = self.up.is_connected();
        let mut held = self.held();
        loop {
            if let Some((kept, datagram)) = held.next(connected)
                && deliver(&datagram, kept, bufs, meta)
            {
                return Poll::Ready(Ok(1));
            }
            // One message at a time: what is kept back must not leave a hole among those delivered.
            let received = self.inner.poll_recv(cx, &mut bufs[..1], &mut meta[..1]);
            let (Poll::Ready(Ok(1..)), Some(first)) = (&received, meta.first().copied()) else {
                if !connected {
                    self.up.wake_when_connected(cx.waker());
                }
                return received;
            };
            let datagram = &bufs[0][..first.len.min(bufs[0].len())];
            if connected || !held.keep(datagram, first) {
                return received;
            }
        }
    }
}

impl fmt::Debug for CuredSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CuredSocket").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Held {
    /// What is to be delivered instead of something new.
    fn next(&mut self, connected: bool) -> Option<(RecvMeta, Vec<u8>)> {
        if let Some(replay) = self.replays.pop_front() {
            return Some(replay);
        }
        if !connected {
            return None;
        }
        self.nominations.clear();
        let (meta, datagram) = self.media.pop_front()?;
        self.media_bytes -= datagram.len();
        Some((meta, datagram))
    }

    /// Looks at a datagram that came before the connection was up; `true` if it is kept back.
    fn keep(&mut self, datagram: &[u8], meta: RecvMeta) -> bool {
        match Kind::of(datagram) {
            Kind::Media => {
                let room = self.media.len() < HELD_DATAGRAMS && self.media_bytes + datagram.len() <= HELD_BYTES;
                if room {
                    self.media_bytes += datagram.len();
                    self.media.push_back((meta, datagram.to_vec()));
                }
                true
            }
            Kind::Nomination => {
                if self.nominations.len() < NOMINATIONS {
                    self.nominations.insert(meta.addr, (meta, datagram.to_vec()));
                }
                false
            }
            Kind::Success => {
                self.replays.extend(self.nominations.remove(&meta.addr));
                false
            }
            Kind::Other => false,
        }
    }
}

fn deliver(datagram: &[u8], kept: RecvMeta, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> bool {
    let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else { return false };
    if buf.len() < datagram.len() {
        return false;
    }
    buf[..datagram.len()].copy_from_slice(datagram);
    *meta = kept;
    true
}

/// What a datagram is, as far as the cures care (RFC 7983 tells the protocols apart by the first byte).
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// SRTP or SRTCP.
    Media,
    /// A STUN binding request with USE-CANDIDATE.
    Nomination,
    /// A STUN binding success response.
    Success,
    Other,
}

impl Kind {
    fn of(datagram: &[u8]) -> Self {
        match datagram {
            [128..=191, ..] => Self::Media,
            [0x01, 0x01, ..] => Self::Success,
            [0x00, 0x01, ..] if has_use_candidate(datagram) => Self::Nomination,
            _ => Self::Other,
        }
    }
}

/// Whether a STUN message carries the attribute USE-CANDIDATE (RFC 8489, 14; RFC 8445, 7.1.2).
fn has_use_candidate(message: &[u8]) -> bool {
    const USE_CANDIDATE: [u8; 2] = [0x00, 0x25];
    let mut attributes = message.get(20..).unwrap_or_default();
    while let [kind_high, kind_low, length_high, length_low, rest @ ..] = attributes {
        if [*kind_high, *kind_low] == USE_CANDIDATE {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low])).next_multiple_of(4);
        attributes = rest.get(length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stun(kind: [u8; 2], attributes: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 20];
        message[..2].copy_from_slice(&kind);
        message[3] = attributes.len() as u8;
        message.extend(attributes);
        message
    }

    fn meta() -> RecvMeta {
        let mut meta = RecvMeta::default();
        meta.addr = ([127, 0, 0, 1], 9).into();
        meta
    }

    #[test]
    fn datagrams_are_told_apart() {
        let priority = [0x00, 0x24, 0x00, 0x04, 1, 2, 3, 4];
        let nominating = [&priority[..], &[0x00, 0x25, 0x00, 0x00]].concat();
        assert_eq!(Kind::of(&stun([0, 1], &priority)), Kind::Other);
        assert_eq!(Kind::of(&stun([0, 1], &nominating)), Kind::Nomination);
        assert_eq!(Kind::of(&stun([1, 1], &[])), Kind::Success);
        assert_eq!(Kind::of(&[0x80, 96]), Kind::Media);
        for garbage in [&[][..], &[0], &[0, 1, 0], &stun([0, 1], &[0, 9, 255, 255])] {
            assert_eq!(Kind::of(garbage), Kind::Other);
        }
    }

    #[test]
    fn a_nomination_is_delivered_again_after_the_first_success_from_its_address() {
        let mut held = Held::default();
        let nomination = stun([0, 1], &[0x00, 0x25, 0, 0]);
        assert!(!held.keep(&nomination, meta()));
        assert!(held.next(false).is_none());
        assert!(!held.keep(&stun([1, 1], &[]), meta()));
        assert_eq!(held.next(false).unwrap().1, nomination);
        assert!(!held.keep(&stun([1, 1], &[]), meta()));
        assert!(held.next(false).is_none());
    }

    #[test]
    fn early_media_waits_in_order_and_within_bounds() {
        let mut held = Held::default();
        for number in 0..HELD_DATAGRAMS + 10 {
            assert!(held.keep(&[0x80, number as u8], meta()));
        }
        assert!(held.next(false).is_none());
        let kept: Vec<u8> = std::iter::from_fn(|| held.next(true)).map(|(_, datagram)| datagram[1]).collect();
        assert_eq!(kept.len(), HELD_DATAGRAMS);
        assert_eq!(kept[..3], [0, 1, 2]);
    }
}
