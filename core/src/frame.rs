//! Kafka's framing: a big-endian `i32` length, then that many bytes. Bytes in, frames out.
//!
//! The buffer hands out frames as [`Bytes`] that share the memory they were read into, so a frame
//! that nobody edits travels through the gateway without another copy. A frame keeps its four
//! length bytes: forwarding it is writing it.

use bytes::{Bytes, BytesMut};

/// Length of the length prefix.
pub const LENGTH_BYTES: usize = 4;

/// A frame whose length cannot be accepted. The connection can only be closed: where the next
/// frame would start is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is negative.
    #[error("frame length {0} is negative")]
    Negative(i32),
    /// The length is over the bound that holds for this connection now.
    #[error("frame length {length} is over the limit of {max} bytes")]
    TooLong {
        /// The announced length.
        length: u32,
        /// The bound.
        max: u32,
    },
    /// The first bytes are a TLS record (a TLS client on a plain port).
    #[error("these bytes are a TLS handshake, but this port speaks plain Kafka")]
    Tls,
    /// The first bytes are an HTTP request.
    #[error("these bytes are an HTTP request, but this port speaks Kafka")]
    Http,
}

/// Collects bytes and yields whole frames.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    buffer: BytesMut,
    /// True until the first frame's length was seen: only then are other protocols recognised.
    fresh: bool,
}

impl FrameBuffer {
    /// An empty buffer at the start of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self { buffer: BytesMut::new(), fresh: true }
    }

    /// Appends bytes that were read.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer to read into: the caller reserves, fills and sets the length.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The bytes held.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer
    }

    /// How many bytes are held that are not yet a whole frame.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// How many bytes are missing until the frame under way is whole; 0 where that is unknown or
    /// a frame is ready. Readers use it to size the next read.
    #[must_use]
    pub fn missing(&self) -> usize {
        match self.buffer.first_chunk::<LENGTH_BYTES>() {
            Some(prefix) => {
                let length = i32::from_be_bytes(*prefix).max(0) as usize;
                (LENGTH_BYTES + length).saturating_sub(self.buffer.len())
            }
            None => 0,
        }
    }

    /// The next whole frame, length prefix included, or `None` where more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`] where the length is negative or over `frame_bytes_max`.
    pub fn next_frame(&mut self, frame_bytes_max: u32) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = checked_length(*prefix, frame_bytes_max, self.fresh)?;
        self.fresh = false;
        let total = LENGTH_BYTES + length;
        if self.buffer.len() < total {
            // Room for the whole frame at once: growing step by step would copy it again and again.
            self.buffer.reserve(total - self.buffer.len());
            return Ok(None);
        }
        Ok(Some(self.buffer.split_to(total).freeze()))
    }

    /// All bytes that are held, as they are: for handing a connection to another protocol.
    pub fn take_all(&mut self) -> BytesMut {
        std::mem::take(&mut self.buffer)
    }
}

fn checked_length(prefix: [u8; 4], max: u32, fresh: bool) -> Result<usize, FrameError> {
    let length = i32::from_be_bytes(prefix);
    if fresh {
        // A TLS record: type 22 (handshake), version 3.x. As a length it would be 369 MiB or more.
        if prefix[0] == 0x16 && prefix[1] == 0x03 {
            return Err(FrameError::Tls);
        }
        if matches!(&prefix, b"GET " | b"POST" | b"PUT " | b"HEAD" | b"OPTI" | b"DELE" | b"PRI ") {
            return Err(FrameError::Http);
        }
    }
    let Ok(unsigned) = u32::try_from(length) else { return Err(FrameError::Negative(length)) };
    if unsigned > max {
        return Err(FrameError::TooLong { length: unsigned, max });
    }
    Ok(unsigned as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn frames_cut_at_every_byte_come_out_whole() {
        let mut wire = frame(b"first");
        wire.extend(frame(b""));
        wire.extend(frame(b"third, longer"));
        for cut in 0..=wire.len() {
            let mut buffer = FrameBuffer::new();
            let mut seen = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                buffer.extend(part);
                while let Some(whole) = buffer.next_frame(1024).unwrap() {
                    seen.push(whole.slice(LENGTH_BYTES..));
                }
            }
            assert_eq!(seen, [&b"first"[..], b"", b"third, longer"], "cut at {cut}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn absurd_lengths_are_refused_before_any_body_arrives() {
        let check = |prefix: [u8; 4], expected: FrameError| {
            let mut buffer = FrameBuffer::new();
            buffer.extend(&prefix);
            assert_eq!(buffer.next_frame(1000), Err(expected));
        };
        check((-1i32).to_be_bytes(), FrameError::Negative(-1));
        check(i32::MIN.to_be_bytes(), FrameError::Negative(i32::MIN));
        check(1001i32.to_be_bytes(), FrameError::TooLong { length: 1001, max: 1000 });
        check([0x16, 0x03, 0x01, 0x02], FrameError::Tls);
        check(*b"GET ", FrameError::Http);
    }

    #[test]
    fn a_frame_shares_the_memory_it_was_read_into() {
        let mut buffer = FrameBuffer::new();
        buffer.buffer_mut().reserve(64);
        buffer.extend(&frame(b"body"));
        let start = buffer.buffer_mut().as_ptr();
        let whole = buffer.next_frame(1000).unwrap().unwrap();
        assert_eq!(whole.as_ptr(), start, "the frame was copied");
    }

    #[test]
    fn a_large_frame_is_not_moved_while_it_grows() {
        let mut buffer = FrameBuffer::new();
        let wire = frame(&vec![7; 3_000_000]);
        let mut parts = wire.chunks(65_536);
        buffer.extend(parts.next().unwrap());
        assert_eq!(buffer.next_frame(4_000_000), Ok(None));
        let start = buffer.as_slice().as_ptr();
        for part in parts {
            buffer.extend(part);
        }
        let whole = buffer.next_frame(4_000_000).unwrap().unwrap();
        assert_eq!(whole.as_ptr(), start, "the frame was moved");
        assert_eq!(whole.len(), wire.len());
    }

    #[test]
    fn missing_bytes_are_known_once_the_length_is() {
        let mut buffer = FrameBuffer::new();
        assert_eq!(buffer.missing(), 0);
        buffer.extend(&100i32.to_be_bytes());
        assert_eq!(buffer.missing(), 100);
        buffer.extend(&[0; 40]);
        assert_eq!(buffer.missing(), 60);
    }
}
