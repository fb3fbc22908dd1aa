//! The sockets of the control address: plain HTTP or HTTPS, bounded in number and in idle time.
//!
//! Handshakes run side by side, so that a peer that never finishes one delays nobody. Invariants: at
//! most [`CONNECTIONS_MAX`] connections are open, a further one waits in the kernel's queue; a
//! connection without a byte for [`IDLE`] or older than [`LIFE`] is closed, so that slow peers cannot
//! keep the places for long.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::shared::Shared;

/// Open connections; health checks, scrapes and people share them.
const CONNECTIONS_MAX: usize = 256;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a connection may be silent. Above the longest that a handler takes.
const IDLE: Duration = Duration::from_secs(60);
/// How long a connection may live.
const LIFE: Duration = Duration::from_secs(15 * 60);

/// Accepts connections for axum.
pub(super) struct HttpListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<(Connection, SocketAddr)>,
}

impl HttpListener {
    /// Accepts on `tcp` from now on; with TLS where `shared.control_tls` is set.
    ///
    /// # Errors
    /// Where the socket has no address.
    pub(super) fn new(tcp: TcpListener, shared: Arc<Shared>) -> io::Result<Self> {
        Self::with_certificate(tcp, move || shared.control_tls.load_full())
    }

    /// Accepts on `tcp` from now on; with TLS where `certificate` gives one for a new connection.
    ///
    /// # Errors
    /// Where the socket has no address.
    pub(super) fn with_certificate(
        tcp: TcpListener,
        certificate: impl Fn() -> Option<Arc<rustls::ServerConfig>> + Send + 'static,
    ) -> io::Result<Self> {
        let address = tcp.local_addr()?;
        let (sender, accepted) = mpsc::channel(16);
        tokio::spawn(accept(tcp, certificate, sender));
        Ok(Self { address, accepted })
    }
}

async fn accept(
    mut tcp: TcpListener,
    certificate: impl Fn() -> Option<Arc<rustls::ServerConfig>>,
    sender: mpsc::Sender<(Connection, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = places.clone().acquire_owned().await {
        // axum's own accept waits where the process has no descriptors left, and goes on.
        let (stream, peer) = axum::serve::Listener::accept(&mut tcp).await;
        // Answers are small and should not wait for company.
        let _ = stream.set_nodelay(true);
        if sender.is_closed() {
            return;
        }
        let (tls, sender) = (certificate(), sender.clone());
        tokio::spawn(async move {
            let stream = match tls {
                None => Stream::Plain(stream),
                Some(tls) => match tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(tls).accept(stream)).await {
                    Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                    // A failed handshake is that peer's loss alone.
                    Ok(Err(_)) | Err(_) => return,
                },
            };
            let _ = sender.send((Connection::new(stream, place), peer)).await;
        });
    }
}

impl axum::serve::Listener for HttpListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The task that accepts never ends while this exists.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Who is at the other end, as handlers get it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub SocketAddr);

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, HttpListener>> for Peer {
    fn connect_info(stream: axum::serve::IncomingStream<'_, HttpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection, its place among those that may be open, and its two ends of time.
pub(super) struct Connection {
    stream: Stream,
    idle: Pin<Box<Sleep>>,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: Stream, place: OwnedSemaphorePermit) -> Self {
        let now = Instant::now();
        Self { stream, idle: Box::pin(tokio::time::sleep_until(now + IDLE)), until: now + LIFE, _place: place }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        if read.is_ready() {
            let until = (Instant::now() + IDLE).min(self.until);
            self.idle.as_mut().reset(until);
            return read;
        }
        match self.idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
