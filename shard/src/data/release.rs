//! Release: what waits to be written to a peer, and for a client what waits for its evidence.
//!
//! A response leaves only after its entry is committed (decision 8 of the design). The queue keeps
//! whole frames that share the memory they were read into. Plain ones are written from where they
//! are, a burst with one system call; those for TLS are encrypted into a chunk that the shard lends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};

use super::runtime::Stream;
use super::tls::Transport;

/// How much is encrypted at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// How much is written with one system call. More than the socket takes only costs.
const WRITE_BYTES: usize = 256 * 1024;
/// Frames of one system call. A burst is as deep as clients pipeline; Kafka's go up to 5, others to 64.
const PARTS: usize = 64;
/// A chunk above this is not kept for the next connection.
const SPARE_BYTES_MAX: usize = 256 * 1024;

/// What waits to be written to one peer.
#[derive(Default)]
pub struct Outbox {
    waiting: VecDeque<(Bytes, u64)>,
    waiting_bytes: usize,
    /// A part of the first waiting frame has left, or is in the chunk.
    front_has_begun: bool,
    /// Encrypted bytes on their way.
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
    /// takes no more. `spare` is the shard's chunk for whoever encrypts.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        transport: &mut Transport,
        spare: &RefCell<Vec<u8>>,
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
                self.borrow_chunk(spare);
                transport.send(&[], &mut self.chunk);
                continue;
            }
            let Some((_, sequence)) = self.waiting.front() else { break };
            if *sequence > committed || !transport.is_ready() {
                break;
            }
            if transport.is_plain() {
                let mut parts = [IoSlice::new(&[]); PARTS];
                let count = self.gather(&mut parts, committed);
                let wrote = match stream.poll_write_vectored(cx, &parts[..count]) {
                    Poll::Pending if total > 0 => return Poll::Ready(Ok(total)),
                    other => ready!(other)?,
                };
                self.left(wrote);
                total += wrote;
                continue;
            }
            self.borrow_chunk(spare);
            self.fill_chunk(transport, committed);
        }
        self.shrink(spare);
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

    /// The frames that may leave, in order, up to what one system call takes. Returns how many.
    fn gather<'a>(&'a self, parts: &mut [IoSlice<'a>], committed: u64) -> usize {
        let (mut count, mut bytes) = (0, 0);
        for (part, (frame, sequence)) in parts.iter_mut().zip(&self.waiting) {
            if *sequence > committed || bytes >= WRITE_BYTES {
                break;
            }
            *part = IoSlice::new(frame);
            bytes += frame.len();
            count += 1;
        }
        count
    }

    /// Takes off what was written.
    fn left(&mut self, mut wrote: usize) {
        self.waiting_bytes -= wrote;
        while let Some((front, _)) = self.waiting.front_mut() {
            if wrote < front.len() {
                front.advance(wrote);
                self.front_has_begun |= wrote > 0;
                return;
            }
            wrote -= front.len();
            self.waiting.pop_front();
            self.front_has_begun = false;
        }
    }

    fn borrow_chunk(&mut self, spare: &RefCell<Vec<u8>>) {
        if self.chunk.capacity() == 0 {
            self.chunk = spare.take();
        }
    }

    /// Takes the next frame that may leave, with the evidence it waited for: the simulation's socket.
    #[cfg(any(test, feature = "benching"))]
    pub(crate) fn pop(&mut self, committed: u64) -> Option<(Bytes, u64)> {
        self.waiting.front().filter(|(_, sequence)| *sequence <= committed)?;
        let (frame, sequence) = self.waiting.pop_front()?;
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
    fn shrink(&mut self, spare: &RefCell<Vec<u8>>) {
        if !self.waiting.is_empty() || self.written < self.chunk.len() {
            return;
        }
        if self.chunk.capacity() > 0 {
            let mut chunk = std::mem::take(&mut self.chunk);
            chunk.clear();
            self.written = 0;
            if chunk.capacity() <= SPARE_BYTES_MAX {
                spare.replace(chunk);
            }
        }
        if self.waiting.capacity() > PARTS {
            self.waiting = VecDeque::new();
        }
    }
}
