//! A UDP socket that many tasks send on.

use std::{
    io::{self, IoSliceMut},
    net::UdpSocket,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

use webrtc::runtime::{AsyncUdpSocket, RecvMeta, Runtime, TokioRuntime, Transmit};

/// Tokio remembers one task that waits for room in a socket; this one remembers them all.
#[derive(Debug)]
pub(super) struct CommonSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    senders: Arc<Senders>,
    /// Wakes the senders.
    waker: Waker,
}

/// Tasks that wait for room. Locked for a push or a swap, hence a plain mutex.
#[derive(Debug, Default)]
struct Senders(Mutex<Vec<Waker>>);

impl Senders {
    fn add(&self, waker: &Waker) {
        let mut waiting = self.0.lock().expect("nobody panics while holding it");
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }
}

impl Wake for Senders {
    fn wake(self: Arc<Self>) {
        let waiting = std::mem::take(&mut *self.0.lock().expect("nobody panics while holding it"));
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl CommonSocket {
    /// Needs the runtime.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let senders = Arc::new(Senders::default());
        let waker = Waker::from(senders.clone());
        Ok(Self { inner: TokioRuntime.wrap_udp_socket(socket)?, senders, waker })
    }

    /// For any number of tasks.
    pub(super) fn poll_send(&self, cx: &Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let common = &mut Context::from_waker(&self.waker);
        match self.inner.poll_send(common, transmit) {
            Poll::Pending => {
                self.senders.add(cx.waker());
                // There may be room since, and those who wait may have been told before this one was among them.
                self.inner.poll_send(common, transmit)
            }
            sent => sent,
        }
    }

    /// For one task.
    pub(super) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    pub(super) fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    pub(super) fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        net::SocketAddr,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use super::*;

    /// A socket that has room when told, and remembers one waker, as tokio's does.
    #[derive(Debug, Default)]
    struct Narrow {
        room: AtomicBool,
        waiting: Mutex<Option<Waker>>,
    }

    impl AsyncUdpSocket for Narrow {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 1).into())
        }

        fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
            if self.room.load(Ordering::SeqCst) {
                return Poll::Ready(Ok(transmit.contents.len()));
            }
            *self.waiting.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    struct Task(usize, Arc<Mutex<HashSet<usize>>>, AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().insert(self.0);
            self.2.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn every_task_that_waits_for_room_is_woken() {
        let narrow = Arc::new(Narrow::default());
        let senders = Arc::new(Senders::default());
        let waker = Waker::from(senders.clone());
        let socket = CommonSocket { inner: narrow.clone(), senders, waker };
        let destination = ([127, 0, 0, 1], 9).into();
        let transmit = Transmit { destination, ecn: None, contents: &[1], segment_size: None, src_ip: None };
        let woken = Arc::new(Mutex::new(HashSet::new()));
        let tasks: Vec<_> =
            (0..5).map(|number| Waker::from(Arc::new(Task(number, woken.clone(), AtomicUsize::new(0))))).collect();
        for waker in tasks.iter().chain(&tasks) {
            assert!(socket.poll_send(&Context::from_waker(waker), &transmit).is_pending());
        }
        narrow.room.store(true, Ordering::SeqCst);
        narrow.waiting.lock().unwrap().take().unwrap().wake();
        assert_eq!(woken.lock().unwrap().len(), 5);
        assert!(socket.poll_send(&Context::from_waker(&tasks[0]), &transmit).is_ready());
    }
}
