//! A client's connection: bytes both ways, but no endless patience with a peer that takes nothing.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::counters::{HttpCounters, count};

/// How long a peer may take nothing at all of what waits for it.
pub const STALL_LIMIT: Duration = Duration::from_secs(30);

/// A stream whose writes fail once the peer has taken nothing for a while. `H` is held as long as it lives.
pub struct Connection<S, H> {
    stream: S,
    limit: Duration,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    counters: Arc<HttpCounters>,
    _held: H,
}

impl<S, H> Connection<S, H> {
    /// `stream`, given up after `limit`, and `held` until it is closed, upgraded or not.
    pub fn new(stream: S, limit: Duration, held: H, counters: Arc<HttpCounters>) -> Self {
        Self { stream, limit, stalled: None, counters, _held: held }
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        std::task::ready!(stalled.as_mut().poll(cx));
        count(&self.counters.stalled);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing")))
    }
}

impl<S: AsyncRead + Unpin, H: Unpin> AsyncRead for Connection<S, H> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin, H: Unpin> AsyncWrite for Connection<S, H> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, data);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::atomic::Ordering;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    fn connect(limit: Duration) -> (Connection<DuplexStream, ()>, DuplexStream, Arc<HttpCounters>) {
        let (near, far) = tokio::io::duplex(10);
        let counters = Arc::new(HttpCounters::default());
        (Connection::new(near, limit, (), counters.clone()), far, counters)
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_given_up() {
        let (mut connection, _far, counters) = connect(Duration::from_millis(5));
        let error = connection.write_all(&[0; 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(counters.stalled.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_reader_that_takes_a_little_gets_all_the_time_again() {
        let (mut connection, mut far, counters) = connect(STALL_LIMIT);
        assert!(connection.write_all(&[0; 20]).now_or_never().is_none());
        assert!(connection.stalled.is_some());
        far.read_exact(&mut [0; 1]).await.unwrap();
        connection.write_all(&[0; 1]).await.unwrap();
        assert!(connection.stalled.is_none());
        assert_eq!(counters.stalled.load(Ordering::Relaxed), 0);
    }
}
