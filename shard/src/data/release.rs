//! Release: what waits to be written to a peer, and for a client what waits for its evidence.
//!
//! A response leaves only after its entry is committed (decision 8 of the design). The queue keeps
//! whole frames that share the memory they were read into; only small ones are put together, so
//! that a burst of small responses costs one system call.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};

use super::runtime::Stream;
use super::tls::Transport;

/// Frames below this are put together; larger ones are written from where they are.
const COALESCE_BYTES: usize = 16 * 1024;
/// How much is put together or encrypted at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// What waits to be written to one peer.
#[derive(Default)]
pub struct Outbox {
    waiting: VecDeque<(Bytes, u64)>,
    waiting_bytes: usize,
    /// A part of the first waiting frame has left, or is in the chunk.
    front_has_begun: bool,
    /// Bytes on their way: encrypted, or put together from small frames.
    chunk: Vec<u8>,
    written: usize,
}

impl Outbox {
    /// Queues a frame that may leave once the evidence is committed up to `sequence` (0: at once).
    pub fn push(&mut self, frame: Bytes, sequence: u64) {
        self.waiting_bytes += frame.len();
        self.waiting.push_back((frame, sequence));
    }

    /// Bytes that wait, those being written included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.waiting_bytes + self.chunk.len() - self.written
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// The evidence that the first waiting frame waits for, where one does.
    #[must_use]
    pub fn blocked_on(&self) -> Option<u64> {
        self.waiting.front().map(|(_, sequence)| *sequence)
    }

    /// Writes what may leave, given that the evidence is committed up to `committed`. Ready with
    /// the number of bytes that the socket took (0: nothing may leave), pending where the socket
    /// takes no more.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        transport: &mut Transport,
        committed: u64,
    ) -> Poll<io::Result<usize>> {
        let mut total = 0;
        loop {
            if self.written < self.chunk.len() {
                let wrote = match stream.poll_write(cx, &self.chunk[self.written..]) {
                    Poll::Pending if total > 0 => return Poll::Ready(Ok(total)),
                    other => ready!(other)?,
                };
                self.written += wrote;
                total += wrote;
                continue;
            }
            self.chunk.clear();
            self.written = 0;
            if transport.wants_write() {
                transport.send(&[], &mut self.chunk);
                continue;
            }
            let Some((front, sequence)) = self.waiting.front_mut() else { break };
            if *sequence > committed || !transport.is_ready() {
                break;
            }
            if transport.is_plain() && front.len() >= COALESCE_BYTES {
                let wrote = match stream.poll_write(cx, front) {
                    Poll::Pending if total > 0 => return Poll::Ready(Ok(total)),
                    other => ready!(other)?,
                };
                front.advance(wrote);
                self.front_has_begun = !front.is_empty();
                self.waiting_bytes -= wrote;
                total += wrote;
                if front.is_empty() {
                    self.waiting.pop_front();
                }
                continue;
            }
            self.fill_chunk(transport, committed);
        }
        self.shrink();
        Poll::Ready(Ok(total))
    }

    /// Takes out the frames of which nothing has left yet, and says how many they were. One that has
    /// begun to leave stays: without its rest the peer could not read on.
    pub fn withhold(&mut self) -> usize {
        let kept = usize::from(self.front_has_begun).min(self.waiting.len());
        let withheld = self.waiting.len() - kept;
        for (frame, _) in self.waiting.drain(kept..) {
            self.waiting_bytes -= frame.len();
        }
        withheld
    }

    /// Takes the next frame that may leave, with the evidence it waited for: the simulation's socket.
    #[cfg(any(test, feature = "benching"))]
    pub(crate) fn pop(&mut self, committed: u64) -> Option<(Bytes, u64)> {
        let (frame, sequence) = self.waiting.pop_front_if(|(_, sequence)| *sequence <= committed)?;
        self.waiting_bytes -= frame.len();
        Some((frame, sequence))
    }

    /// Takes frames that may leave into the chunk, up to its size.
    fn fill_chunk(&mut self, transport: &mut Transport, committed: u64) {
        let mut taken = 0;
        while let Some((front, sequence)) = self.waiting.front_mut() {
            if *sequence > committed || taken >= CHUNK_BYTES {
                break;
            }
            if transport.is_plain() && taken > 0 && front.len() >= COALESCE_BYTES {
                break;
            }
            let part = front.split_to(front.len().min(CHUNK_BYTES - taken));
            transport.send(&part, &mut self.chunk);
            self.front_has_begun = !front.is_empty();
            taken += part.len();
            self.waiting_bytes -= part.len();
            if front.is_empty() {
                self.waiting.pop_front();
            }
        }
    }

    /// An idle connection holds no buffer: with ten thousand of them that is what counts.
    fn shrink(&mut self) {
        if self.waiting.is_empty() && self.chunk.capacity() > 0 && self.written >= self.chunk.len() {
            self.chunk = Vec::new();
            self.written = 0;
            if self.waiting.capacity() > 64 {
                self.waiting = VecDeque::new();
            }
        }
    }
}
