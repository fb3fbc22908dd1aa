//! One socket with what lies between it and frames: read into a buffer of frames, written from a
//! vector that callers append to. Both the generator's and the blackhole's connections are pumped so.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tidegate::data::runtime::{READ_BYTES, Stream};
use tidegate::data::tls::Transport;
use tidegate_core::frame::FrameBuffer;

/// Frames are at most this long: Kafka's own default bound.
const FRAME_BYTES_MAX: u32 = 100 << 20;
/// An emptied buffer larger than this is given back, so that idle connections cost little.
const KEPT_BYTES: usize = 256 * 1024;

/// A connection, either side of it.
pub struct Link {
    stream: Stream,
    transport: Transport,
    incoming: FrameBuffer,
    /// What is to be sent, not yet encrypted.
    outgoing: Vec<u8>,
    /// The same, encrypted; unused on a plain connection.
    wire: Vec<u8>,
    /// How much of `wire` (plain: of `outgoing`) the socket has taken.
    written: usize,
}

/// The buffer that one thread's links read into.
#[must_use]
pub fn scratch() -> Vec<u8> {
    vec![0; READ_BYTES]
}

impl Link {
    /// A link over a connected socket.
    #[must_use]
    pub fn new(stream: Stream, transport: Transport) -> Self {
        let incoming = FrameBuffer::new();
        Self { stream, transport, incoming, outgoing: Vec::new(), wire: Vec::new(), written: 0 }
    }

    /// What is to be sent: append to it.
    pub fn outgoing(&mut self) -> &mut Vec<u8> {
        &mut self.outgoing
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.outgoing.len() + self.wire.len() - self.written
    }

    /// The next whole frame that has come.
    ///
    /// # Errors
    /// Where what came is no frame.
    pub fn next_frame(&mut self) -> io::Result<Option<Bytes>> {
        self.incoming.next_frame(FRAME_BYTES_MAX).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Reads once; how many bytes came, 0 at the peer's end.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(self.stream.poll_read(cx, scratch))?;
        self.transport
            .receive(&scratch[..read], &mut self.incoming)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Poll::Ready(Ok(read))
    }

    /// Writes what waits; ready once all of it is with the socket.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.transport.is_plain() {
            while self.written < self.outgoing.len() {
                self.written += ready!(self.stream.poll_write(cx, &self.outgoing[self.written..]))?;
            }
            empty(&mut self.outgoing);
            self.written = 0;
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.transport.is_ready() && !self.outgoing.is_empty() {
                self.transport.send(&self.outgoing, &mut self.wire);
                empty(&mut self.outgoing);
            } else if self.transport.wants_write() {
                self.transport.send(&[], &mut self.wire);
            }
            if self.written == self.wire.len() {
                empty(&mut self.wire);
                self.written = 0;
                return Poll::Ready(Ok(()));
            }
            self.written += ready!(self.stream.poll_write(cx, &self.wire[self.written..]))?;
        }
    }

    /// Sends what waits and waits for the next frame.
    ///
    /// # Errors
    /// The socket's error; `UnexpectedEof` where the peer ended.
    pub async fn exchange(&mut self, scratch: &std::cell::RefCell<Vec<u8>>) -> io::Result<Bytes> {
        poll_fn(|cx| {
            loop {
                // Handshakes answer what they read, so sending is tried after every read.
                let flushed = self.poll_flush(cx)?;
                if let Some(frame) = self.next_frame()? {
                    return Poll::Ready(Ok(frame));
                }
                let read = self.poll_read(cx, &mut scratch.borrow_mut())?;
                match read {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                    Poll::Ready(_) => {}
                    Poll::Pending => {
                        let _ = flushed;
                        return Poll::Pending;
                    }
                }
            }
        })
        .await
    }

    /// Whether TLS is done, or there is none.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.transport.is_ready()
    }

    /// Ends the connection in good order.
    pub async fn close(mut self) {
        self.transport.close();
        poll_fn(|cx| {
            // One try: a peer that reads nothing is not waited for.
            let _ = self.poll_flush(cx);
            Poll::Ready(())
        })
        .await;
        self.stream.finish().await;
    }
}

fn empty(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BYTES {
        *buffer = Vec::new();
    } else {
        buffer.clear();
    }
}
