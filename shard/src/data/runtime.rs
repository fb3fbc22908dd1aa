//! The runtime behind one small door: spawn a shard, listen, accept, read, write, sleep. glommio is
//! named here and nowhere else in the hot path, so that a successor can take its place.
//!
//! House rules (measured, see the README's decisions): accepts are never raced, so a listener ends
//! by being shut down; reads are 64 KiB; timeouts are deadlines that one tick per shard looks at,
//! since a timer costs more than a message; addresses are resolved elsewhere, since connecting by
//! name blocks.

pub mod ffi;
mod pulse;

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::{LocalExecutorBuilder, Placement};
use socket2::{Domain, Protocol, Socket, Type};

/// How much one read asks for. 64 KiB costs the least CPU per byte on the machines measured.
pub const READ_BYTES: usize = 64 * 1024;

/// Memory that glommio registers per executor. Small, since sockets do not use it, and quiet under
/// the 8 MiB memlock limit that distributions set.
const IO_MEMORY_BYTES: usize = 1024 * 1024;

/// Entries of an executor's ring. Of no use to traffic, which has few under way at once, but the kernel sizes the
/// table of what a ring polls by it: with glommio's own 128, ten thousand idle connections share eight chains, and
/// looking through these at every wake-up costs more than all else that an idle shard does.
const RING_ENTRIES: usize = 2048;

/// How long a task may run before the others are looked at. glommio's own 100 ms makes a wake-up
/// from another thread take 54 ms on a busy shard.
const PREEMPT: Duration = Duration::from_millis(5);

/// A shard's thread.
pub type ShardThread = glommio::ExecutorJoinHandle<anyhow::Result<()>>;

/// A future that runs by itself; it ends when done or when the handle is dropped.
pub type Task<T> = glommio::Task<T>;

/// Starts a thread with an executor pinned to `cpu` that runs the future `start` makes.
///
/// # Errors
/// Where the thread, the pinning or the ring cannot be had.
pub fn spawn_shard<S, F>(name: &str, cpu: usize, start: S) -> io::Result<ShardThread>
where
    S: FnOnce() -> F + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    spawn_executor(name, Some(cpu), Duration::ZERO, start)
}

/// As [`spawn_shard`]; where `cpu` is `None` the kernel places the thread, for what is no shard. For
/// `spin` it looks for work before it sleeps: waking up costs tens of microseconds on a virtual machine.
///
/// # Errors
/// Where the thread, the pinning or the ring cannot be had.
pub fn spawn_executor<S, F>(name: &str, cpu: Option<usize>, spin: Duration, start: S) -> io::Result<ShardThread>
where
    S: FnOnce() -> F + Send + 'static,
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    LocalExecutorBuilder::new(cpu.map_or(Placement::Unbound, Placement::Fixed))
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_ENTRIES)
        .preempt_timer(PREEMPT)
        .spin_before_park(spin)
        .spawn(move || pulse::with_pulse(async move { start().await }))
        .map_err(|error| io::Error::other(error.to_string()))
}

/// Runs `future` on the executor of this thread; it ends when done or when the handle is cancelled.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> glommio::Task<T> {
    glommio::spawn_local(future)
}

/// Runs a blocking call on a thread of its own and waits for it without holding the shard up.
pub fn spawn_blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> {
    glommio::executor().spawn_blocking(call)
}

/// Sleeps.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Lets the shard's other tasks run.
pub async fn yield_now() {
    glommio::executor().yield_now().await;
}

/// Opens a listening socket that the other shards' sockets share their port with.
///
/// # Errors
/// Where the address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket)
}

/// A listening socket of this shard.
#[derive(Debug)]
pub struct Listener {
    inner: glommio::net::TcpListener,
}

/// Ends a [`Listener`]'s accepting from outside: accepts are never cancelled, since glommio loses
/// a connection that arrives at that moment.
#[derive(Debug)]
pub struct ListenerStop {
    socket: Socket,
}

impl Listener {
    /// Takes a listening socket over.
    ///
    /// # Errors
    /// Where the descriptor cannot be duplicated.
    pub fn new(socket: Socket) -> io::Result<(Self, ListenerStop)> {
        let stop = ListenerStop { socket: socket.try_clone()? };
        Ok((Self { inner: ffi::listener_from(socket) }, stop))
    }

    /// The next connection and the peer's address. Never to be raced or cancelled.
    ///
    /// # Errors
    /// The socket's error; `InvalidInput` after [`ListenerStop::stop`].
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let stream = self.inner.accept().await.map_err(io_error)?;
        let peer = stream.peer_addr().map_err(io_error)?;
        stream.set_nodelay(true).map_err(io_error)?;
        Ok((Stream { inner: stream }, peer))
    }
}

impl ListenerStop {
    /// Makes the listener's `accept` fail from now on; connections in its backlog are reset.
    pub fn stop(&self) {
        // The only error is a socket that is not connected, which a listener is not.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// A connected stream of this shard.
#[derive(Debug)]
pub struct Stream {
    inner: glommio::net::TcpStream,
}

impl Stream {
    /// Connects, within `timeout`.
    ///
    /// # Errors
    /// The socket's error, `TimedOut` among them.
    pub async fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = glommio::net::TcpStream::connect_timeout(address, timeout).await.map_err(io_error)?;
        stream.set_nodelay(true).map_err(io_error)?;
        Ok(Self { inner: stream })
    }

    /// Reads what is there into `buffer`; `Ok(0)` is the peer's end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }

    /// Writes what the socket takes of `bytes`.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    /// Writes what the socket takes of `parts`, one behind the other, with one system call.
    pub fn poll_write_vectored(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match ffi::send_vectored(&self.inner, parts) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                // glommio arms the wake-up; it takes no parts, so it is asked with the first.
                self.poll_write(cx, parts.first().map_or(&[][..], |part| part))
            }
            done => Poll::Ready(done),
        }
    }

    /// Gives the socket up, so that another shard can take it over; nothing may have been read yet.
    ///
    /// # Errors
    /// Where the process has no descriptor left.
    pub fn hand_over(self) -> io::Result<OwnedFd> {
        // The stream's own descriptor is closed with it, which ends what its reactor knows of it.
        ffi::duplicate(&self.inner)
    }

    /// Takes a socket over that another shard accepted.
    #[must_use]
    pub fn take_over(descriptor: OwnedFd) -> Self {
        Self { inner: ffi::stream_from(descriptor) }
    }

    /// Says that nothing more will be written, so that the peer sees an orderly end.
    pub async fn finish(&self) {
        // A peer that is already gone needs no goodbye.
        let _ = self.inner.shutdown(Shutdown::Write).await;
    }
}

fn io_error(error: glommio::GlommioError<()>) -> io::Error {
    match error {
        glommio::GlommioError::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ring_is_set_up_with_coop_taskrun() {
        let before = ffi::rings_with_flag();
        spawn_shard("ring-test", 0, || async { Ok(()) }).unwrap().join().unwrap().unwrap();
        assert!(ffi::rings_with_flag() > before, "the linker did not wrap liburing's set-up call");
    }

    #[test]
    fn a_stopped_listener_ends_its_accept() {
        spawn_shard("listener-test", 0, || async {
            let (listener, stop) = Listener::new(bind("127.0.0.1:0".parse().unwrap()).unwrap()).unwrap();
            let accepting = spawn(async move { listener.accept().await.map(|_| ()) });
            yield_now().await;
            stop.stop();
            assert!(accepting.await.is_err());
            Ok(())
        })
        .unwrap()
        .join()
        .unwrap()
        .unwrap();
    }
}
