//! Message bodies in and out: `kafka-protocol`'s codecs, behind a walk that makes them safe to feed
//! with bytes from outside. The only way in which the gateway decodes a body.
//!
//! The codecs reserve room for as many items as an array's count claims before they read the first
//! one: ten bytes can ask for hundreds of gigabytes, which aborts the process. So a body is first
//! walked by its [`Layout`], without allocating: every count must fit the bytes that are left, and
//! what decoding will allocate must stay under a bound. Byte fields, records above all, are stepped
//! over by the walk and shared by the decoder, never copied.
//!
//! Why a walk and not a buffer that watches the decoder's reads: a buffer sees integers, not what
//! they mean. It must take every `i32` for a count, so any plain number above the body's length
//! (`max_bytes` of every Fetch, most session ids) costs a second decoding; and it knows neither an
//! item's least size on the wire nor its size in memory, so 100 MiB could still ask for 30 GiB.
//! Measured on Produce and Fetch, requests and responses, of 100 partitions: the walk takes 8 to 30
//! ns a partition, the decoder itself 35 to 90; such a buffer added 6 to 100.
//!
//! Invariant: whatever passes the walk is decoded with at most the bound of memory. Bytes behind a
//! message are let be, as brokers and clients do: librdkafka 2.12 sends three behind Metadata v13,
//! and its mock cluster one behind that response. The frame ends them, so nothing hides there.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Message};

use crate::limits::{REQUEST_DECODED_BYTES_MAX, RESPONSE_DECODED_BYTES_MAX};

mod layout;
mod table;
#[cfg(test)]
mod tests;

pub use layout::{Layout, Walked};
pub use table::each_message;

/// A message whose layout the table knows: requests and responses of every API in [`crate::api`].
pub trait Body: Decodable + Message + std::fmt::Debug + 'static {
    /// Where lengths and counts stand in this message.
    fn layout() -> &'static Layout;
}

/// What tests and fuzz targets do with every message of the table; see [`each_message`].
pub trait VisitMessage {
    /// Called with each message's type and name.
    fn visit<T: Body>(&mut self, name: &'static str);
}

/// Why a body was not decoded. It is the fault of whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is longer than is accepted here.
    #[error("a body of {bytes} bytes is over {bytes_max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The message has no such version.
    #[error("the message has no version {0}")]
    Version(i16),
    /// It ends within a field.
    #[error("the body ends too early")]
    Truncated,
    /// A count claims more items than there are bytes for.
    #[error("an array claims {count} items in {remaining} bytes")]
    Count {
        /// The claim.
        count: usize,
        /// The bytes that are left.
        remaining: usize,
    },
    /// Decoding would allocate more than is accepted.
    #[error("the decoded body would take over {bytes_max} bytes of memory")]
    Memory {
        /// The bound.
        bytes_max: usize,
    },
    /// A variable-length integer of more than five bytes.
    #[error("a length is longer than five bytes")]
    Varint,
    /// What the decoder itself refuses: null where none may be, text that is not UTF-8, a tagged
    /// field that the version lacks.
    #[error("{0}")]
    Field(String),
}

/// A message that cannot be written in a version: a field that the version lacks, a string too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EncodeError(String);

/// Decodes a request's body. Byte fields share the body's memory.
///
/// # Errors
/// [`DecodeError`]; also where the body is longer than `bytes_max`.
pub fn decode_request<T: Body>(body: &Bytes, version: i16, bytes_max: usize) -> Result<T, DecodeError> {
    if body.len() > bytes_max {
        return Err(DecodeError::TooLong { bytes: body.len(), bytes_max });
    }
    let Walked { left, .. } = T::layout().walk(body, version, REQUEST_DECODED_BYTES_MAX)?;
    decode_walked(body, version, left)
}

/// Decodes a response's body. Byte fields share the body's memory.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_response<T: Body>(body: &Bytes, version: i16) -> Result<T, DecodeError> {
    let Walked { left, .. } = T::layout().walk(body, version, RESPONSE_DECODED_BYTES_MAX)?;
    decode_walked(body, version, left)
}

/// Encodes a body. Its size is computed first, so that records are copied once.
///
/// # Errors
/// [`EncodeError`].
pub fn encode<T: Encodable>(message: &T, version: i16) -> Result<Bytes, EncodeError> {
    let size = message.compute_size(version).map_err(|error| EncodeError(error.to_string()))?;
    let mut body = BytesMut::with_capacity(size);
    message.encode(&mut body, version).map_err(|error| EncodeError(error.to_string()))?;
    Ok(body.freeze())
}

/// Decodes what the walk found good, with `left` bytes behind it.
fn decode_walked<T: Body>(body: &Bytes, version: i16, left: usize) -> Result<T, DecodeError> {
    let mut rest = body.clone();
    let message = T::decode(&mut rest, version).map_err(|error| DecodeError::Field(error.to_string()))?;
    debug_assert_eq!(rest.len(), left, "the table of layouts disagrees with the decoder");
    Ok(message)
}
