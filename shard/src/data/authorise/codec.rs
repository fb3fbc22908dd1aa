//! Bodies in and out: `kafka-protocol`'s codecs behind a guard against absurd lengths.
//!
//! The codecs reserve room for as many items as an array's length claims before they read the
//! first one, so a body of ten bytes could ask for hundreds of gigabytes and end the process.
//! [`decode`] first reads through [`Guarded`], in which no length exceeds what is left to read.
//!
//! Invariant: every byte of a request body is consumed, or the body is refused.

use bytes::{Buf, Bytes, BytesMut, TryGetError};
use kafka_protocol::protocol::buf::ByteBuf;
use kafka_protocol::protocol::{Decodable, Encodable};

/// Largest request body that is decoded here, in bytes; over it the connection is closed. These
/// requests carry names and numbers, no records: the largest in use, the assignment of a group of
/// thousands of members, stays below it.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Decodes a request body, whole.
///
/// # Errors
/// What the decoder has to say, or that bytes were left over.
pub(super) fn decode<T: Decodable>(body: &Bytes, version: i16) -> Result<T, String> {
    match decode_head(body, version)? {
        (message, 0) => Ok(message),
        (_, left) => Err(format!("{left} bytes are left over")),
    }
}

/// Decodes a response body. Bytes behind it, which every client skips, are let be: brokers of other
/// makers send some (librdkafka's mock cluster one behind Metadata).
///
/// # Errors
/// What the decoder has to say.
pub(super) fn decode_response<T: Decodable>(body: &Bytes, version: i16) -> Result<T, String> {
    decode_head(body, version).map(|(message, _)| message)
}

/// A message at the start of `body`, and how many bytes follow it.
fn decode_head<T: Decodable>(body: &Bytes, version: i16) -> Result<(T, usize), String> {
    let mut guarded = Guarded::new(body.clone());
    let first = T::decode(&mut guarded, version).map_err(|e| e.to_string())?;
    let Guarded { mut rest, clamped, .. } = guarded;
    let message = if clamped {
        // A plain integer looked like an overlong length. No length is overlong, or the first
        // reading would have run out of bytes, so the second needs no guard.
        rest = body.clone();
        T::decode(&mut rest, version).map_err(|e| e.to_string())?
    } else {
        first
    };
    Ok((message, rest.remaining()))
}

/// Encodes a body.
///
/// # Errors
/// What the encoder has to say: a field that the version lacks, a string too long.
pub(super) fn encode<T: Encodable>(message: &T, version: i16) -> Result<Bytes, String> {
    let size = message.compute_size(version).map_err(|e| e.to_string())?;
    let mut body = BytesMut::with_capacity(size);
    message.encode(&mut body, version).map_err(|e| e.to_string())?;
    Ok(body.freeze())
}

/// A body in which a length that exceeds what is left is read as just too much.
///
/// An `i32` may be a length or a plain number; where it is greater than what is left it is read as
/// one more than what is left (`clamped`): as a length it then fails cleanly, since every item
/// takes a byte at least; as a number it is wrong, but moves nothing. Unsigned varints of two
/// bytes and more are lengths in every message, and fail at once.
struct Guarded {
    rest: Bytes,
    clamped: bool,
    /// The last bytes read one by one: the varint in progress, at most five bytes.
    run: [u8; VARINT_BYTES_MAX],
    run_length: usize,
}

const VARINT_BYTES_MAX: usize = 5;

impl Guarded {
    fn new(rest: Bytes) -> Self {
        Self { rest, clamped: false, run: [0; VARINT_BYTES_MAX], run_length: 0 }
    }

    /// Takes note of a byte read by itself. Where a varint begins cannot be seen, so the longest
    /// run of bytes that could be one counts; a shorter one within it is smaller.
    fn note(&mut self, byte: u8) -> Result<(), TryGetError> {
        if self.run_length == VARINT_BYTES_MAX {
            self.run.copy_within(1.., 0);
            self.run_length -= 1;
        }
        self.run[self.run_length] = byte;
        self.run_length += 1;
        if byte & 0x80 != 0 && self.run_length < VARINT_BYTES_MAX {
            return Ok(());
        }
        let bytes = &self.run[..self.run_length];
        let value = bytes.iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
        if byte & 0x80 == 0 {
            self.run_length = 0;
        }
        let most = self.rest.remaining() as u64 + 1;
        if bytes_are_many(value) && value > most {
            return Err(TryGetError {
                requested: usize::try_from(value).unwrap_or(usize::MAX),
                available: most as usize,
            });
        }
        Ok(())
    }
}

/// Whether a varint's value is more than one byte holds: less is harmless as a length, and may be a tag.
const fn bytes_are_many(value: u64) -> bool {
    value > 0x7f
}

impl Buf for Guarded {
    fn remaining(&self) -> usize {
        self.rest.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.rest.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.run_length = 0;
        self.rest.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.rest.try_get_u8()?;
        self.note(byte)?;
        Ok(byte)
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        self.run_length = 0;
        let value = self.rest.try_get_i32()?;
        let most = self.rest.remaining() as u64 + 1;
        if i64::from(value) > most as i64 {
            self.clamped = true;
            return Ok(i32::try_from(most).unwrap_or(i32::MAX));
        }
        Ok(value)
    }
}

impl ByteBuf for Guarded {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.rest.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.run_length = 0;
        self.rest.split_to(size)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{HeartbeatRequest, ListConfigResourcesRequest, ListOffsetsRequest, MetadataRequest};

    use super::*;

    #[test]
    fn lengths_beyond_the_body_are_refused_before_room_is_made() {
        let claims = [i32::MAX.to_be_bytes().to_vec(), 0x4000_0000i32.to_be_bytes().to_vec()];
        for claim in claims {
            assert!(decode::<MetadataRequest>(&Bytes::from(claim), 1).is_err());
        }
        for version in [9, 12, 13] {
            for claim in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff, 0xff, 0xff, 0x7f, 1, 1, 1]] {
                assert!(decode::<MetadataRequest>(&Bytes::copy_from_slice(claim), version).is_err());
            }
        }
        // Items of one byte each.
        let claim = [0xff, 0xff, 0xff, 0xff, 0x07, 1, 1, 1, 0];
        assert!(decode::<ListConfigResourcesRequest>(&Bytes::copy_from_slice(&claim), 1).is_err());
    }

    #[test]
    fn numbers_that_look_like_lengths_are_read_as_they_stand() {
        let request = HeartbeatRequest::default().with_generation_id(i32::MAX);
        for version in 0..=4 {
            let body = encode(&request, version).unwrap();
            assert_eq!(decode::<HeartbeatRequest>(&body, version).unwrap(), request, "v{version}");
        }
        let request = ListOffsetsRequest::default().with_timeout_ms(30_000);
        let body = encode(&request, 10).unwrap();
        assert_eq!(decode::<ListOffsetsRequest>(&body, 10).unwrap(), request);
    }

    #[test]
    fn left_over_bytes_are_refused() {
        let mut body = encode(&HeartbeatRequest::default(), 4).unwrap().to_vec();
        body.push(0);
        assert!(decode::<HeartbeatRequest>(&Bytes::from(body), 4).unwrap_err().contains("left over"));
    }
}
