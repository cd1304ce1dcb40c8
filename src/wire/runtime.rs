//! Tokio for the library, with sockets of our own.

use std::{fmt, io, net::SocketAddr, net::UdpSocket, pin::Pin, sync::Arc, time::Duration};

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, Runtime, TokioRuntime,
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Tokio, but for UDP sockets, which a function makes of those that the library has bound.
pub struct SocketRuntime<F>(F);

impl<F> SocketRuntime<F>
where
    F: Fn(UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>>,
{
    /// A runtime whose sockets are what `wrap` makes.
    pub fn new(wrap: F) -> Self {
        Self(wrap)
    }
}

impl<F> fmt::Debug for SocketRuntime<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketRuntime").finish_non_exhaustive()
    }
}

impl<F> Runtime for SocketRuntime<F>
where
    F: Fn(UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> + Send + Sync + 'static,
{
    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        (self.0)(socket)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(&'a self, remote: SocketAddr) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(remote)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Boxed<'static, ()> {
        TokioRuntime.yield_now()
    }
}
