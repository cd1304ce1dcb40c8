//! What came for one connection and was not read yet.

use std::{
    collections::VecDeque,
    io::IoSliceMut,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use webrtc::runtime::RecvMeta;

/// Datagrams that wait for one connection: more than the largest keyframe.
pub(super) const DATAGRAMS: usize = 2048;
/// Their bytes.
pub(super) const BYTES: usize = 2 << 20;
/// Memory that an empty inbox keeps.
const KEPT_BYTES: usize = 64 << 10;

/// Filled by the port, read by the connection's task. Locked for one copy at a time, hence a plain mutex.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// One for each local address: the library has a socket for each.
    queues: Vec<Queue>,
    datagrams: usize,
    bytes: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Queue {
    local: IpAddr,
    /// Lengths and senders of the datagrams that lie in `bytes` one behind the other.
    datagrams: VecDeque<(usize, SocketAddr)>,
    bytes: VecDeque<u8>,
    reader: Option<Waker>,
}

/// What became of a datagram.
pub(super) enum Pushed {
    /// It waits; who reads is to be woken, unless somebody does so already.
    Kept(Option<Waker>),
    /// There is no room.
    Full,
    /// The connection has no such local address.
    Elsewhere,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Makes room for what comes to `local`.
    pub(super) fn open(&self, local: IpAddr) {
        let mut state = self.state();
        if !state.queues.iter().any(|queue| queue.local == local) {
            let (datagrams, bytes) = (VecDeque::new(), VecDeque::new());
            state.queues.push(Queue { local, datagrams, bytes, reader: None });
        }
    }

    /// The local addresses there is room for.
    pub(super) fn locals(&self) -> Vec<IpAddr> {
        self.state().queues.iter().map(|queue| queue.local).collect()
    }

    /// Datagrams that found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.state().dropped
    }

    /// Keeps a datagram that came to `local`, where the system tells, for whoever reads there.
    pub(super) fn push(&self, datagram: &[u8], from: SocketAddr, local: Option<IpAddr>) -> Pushed {
        let mut state = self.state();
        let State { queues, datagrams, bytes, dropped } = &mut *state;
        let mut fitting = queues.iter_mut().filter(|queue| queue.local.is_ipv4() == from.is_ipv4());
        let Some(queue) = fitting.find(|queue| local.is_none_or(|local| local == queue.local)) else {
            return Pushed::Elsewhere;
        };
        if *datagrams == DATAGRAMS || *bytes + datagram.len() > BYTES {
            *dropped += 1;
            return Pushed::Full;
        }
        *datagrams += 1;
        *bytes += datagram.len();
        queue.datagrams.push_back((datagram.len(), from));
        queue.bytes.extend(datagram);
        Pushed::Kept(queue.reader.take())
    }

    /// The next datagram that came to `local`.
    pub(super) fn poll(&self, local: IpAddr, cx: &Context<'_>, buf: &mut IoSliceMut<'_>) -> Poll<RecvMeta> {
        let mut state = self.state();
        let State { queues, datagrams, bytes, dropped } = &mut *state;
        let Some(queue) = queues.iter_mut().find(|queue| queue.local == local) else { return Poll::Pending };
        while let Some((length, from)) = queue.datagrams.pop_front() {
            *datagrams -= 1;
            *bytes -= length;
            let fits = length <= buf.len();
            if fits {
                copy(&queue.bytes, &mut buf[..length]);
            } else {
                *dropped += 1;
            }
            queue.bytes.drain(..length);
            if queue.bytes.is_empty() {
                queue.bytes.shrink_to(KEPT_BYTES);
            }
            if fits {
                let mut meta = RecvMeta::default();
                (meta.addr, meta.len, meta.stride) = (from, length, length.max(1));
                return Poll::Ready(meta);
            }
        }
        match &mut queue.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            reader => *reader = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// The first bytes of `from`.
fn copy(from: &VecDeque<u8>, to: &mut [u8]) {
    let (front, back) = from.as_slices();
    let in_front = to.len().min(front.len());
    to[..in_front].copy_from_slice(&front[..in_front]);
    let rest = to.len() - in_front;
    to[in_front..].copy_from_slice(&back[..rest]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn from(port: u16) -> SocketAddr {
        (LOCAL, port).into()
    }

    fn read(inbox: &Inbox) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buf = [0; 4096];
        match inbox.poll(LOCAL, &Context::from_waker(Waker::noop()), &mut IoSliceMut::new(&mut buf)) {
            Poll::Ready(meta) => Some((buf[..meta.len].to_vec(), meta.addr)),
            Poll::Pending => None,
        }
    }

    fn open() -> Inbox {
        let inbox = Inbox::default();
        inbox.open(LOCAL);
        inbox
    }

    #[test]
    fn a_full_inbox_takes_nothing_more_and_counts() {
        let inbox = open();
        for number in 0..DATAGRAMS + 5 {
            inbox.push(&(number as u32).to_be_bytes(), from(1), Some(LOCAL));
        }
        assert_eq!(inbox.dropped(), 5);
        assert_eq!(read(&inbox), Some((vec![0, 0, 0, 0], from(1))));
        assert_eq!(std::iter::from_fn(|| read(&inbox)).count(), DATAGRAMS - 1);
        while matches!(inbox.push(&[7; 60_000], from(1), Some(LOCAL)), Pushed::Kept(_)) {}
        assert_eq!(inbox.state().datagrams, BYTES / 60_000);
    }

    #[test]
    fn one_wake_up_serves_a_whole_batch() {
        let inbox = open();
        assert_eq!(read(&inbox), None);
        assert!(matches!(inbox.push(&[1], from(1), None), Pushed::Kept(Some(_))));
        assert!(matches!(inbox.push(&[2], from(1), None), Pushed::Kept(None)));
    }

    #[test]
    fn a_datagram_for_another_local_address_is_not_taken() {
        let elsewhere = Some([192, 0, 2, 1].into());
        assert!(matches!(open().push(&[1], from(1), elsewhere), Pushed::Elsewhere));
        let v6 = "[::1]:5".parse().unwrap();
        assert!(matches!(open().push(&[1], v6, None), Pushed::Elsewhere));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(
            steps in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..1500)), 0..60)
        ) {
            let (inbox, mut expected) = (open(), VecDeque::new());
            for (port, (push, datagram)) in steps.into_iter().enumerate() {
                if push {
                    inbox.push(&datagram, from(port as u16), Some(LOCAL));
                    expected.push_back((datagram, from(port as u16)));
                } else {
                    prop_assert_eq!(read(&inbox), expected.pop_front());
                }
            }
        }
    }
}
