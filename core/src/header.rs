//! The request header, read in place: `api_key`, `api_version`, `correlation_id`, `client_id`, and
//! for flexible versions tagged fields (Kafka protocol guide, request header v1 and v2).
//!
//! Only offsets are taken; the body is neither decoded nor copied. The response header is a
//! correlation id, and in v1 tagged fields.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;

use crate::api;
use crate::frame::LENGTH_BYTES;

/// Where things stand in one request frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API asked for, already known to the table.
    pub api: ApiKey,
    /// Its version, as the client sent it; not yet checked against the enforced range.
    pub version: i16,
    /// The client's correlation id.
    pub correlation_id: i32,
    /// Where the `client.id` stands in the frame, `None` where it is null.
    pub client_id: Option<Range<usize>>,
    /// Where the body begins in the frame (length prefix included in the count).
    pub body_start: usize,
}

/// A header that cannot be read or names what is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The frame ends within the header.
    #[error("the request ends within its header")]
    Truncated,
    /// The API key is not in the table.
    #[error("API key {0} is unknown")]
    UnknownApi(i16),
    /// The client id is not UTF-8.
    #[error("the client id is not UTF-8")]
    ClientIdNotUtf8,
}

impl RequestHeader {
    /// Reads the header of `frame`, whose first four bytes are the length.
    ///
    /// # Errors
    /// [`HeaderError`]; the connection is to be closed, as a broker does, since without a known
    /// API not even the shape of an error response is known.
    pub fn parse(frame: &[u8]) -> Result<Self, HeaderError> {
        let fixed = frame.get(LENGTH_BYTES..LENGTH_BYTES + 8).ok_or(HeaderError::Truncated)?;
        let key = i16::from_be_bytes([fixed[0], fixed[1]]);
        let version = i16::from_be_bytes([fixed[2], fixed[3]]);
        let correlation_id = i32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        let api = ApiKey::try_from(key).map_err(|()| HeaderError::UnknownApi(key))?;

        let mut at = LENGTH_BYTES + 8;
        let length = frame.get(at..at + 2).ok_or(HeaderError::Truncated)?;
        let length = i16::from_be_bytes([length[0], length[1]]);
        at += 2;
        let client_id = match usize::try_from(length) {
            Ok(length) => {
                let range = at..at + length;
                let bytes = frame.get(range.clone()).ok_or(HeaderError::Truncated)?;
                std::str::from_utf8(bytes).map_err(|_| HeaderError::ClientIdNotUtf8)?;
                at += length;
                Some(range)
            }
            Err(_) => None,
        };
        if api::request_header_is_flexible(api, version) {
            at = skip_tagged_fields(frame, at).ok_or(HeaderError::Truncated)?;
        }
        Ok(Self { api, version, correlation_id, client_id, body_start: at })
    }

    /// The `client.id`, empty where it is null.
    #[must_use]
    pub fn client_id<'a>(&self, frame: &'a [u8]) -> &'a str {
        let bytes = self.client_id.clone().and_then(|range| frame.get(range)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// Puts a new body behind the header of `frame`, and the length right.
#[must_use]
pub fn with_body(frame: &Bytes, body_start: usize, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body_start + body.len());
    out.put_i32((body_start + body.len() - LENGTH_BYTES) as i32);
    out.extend_from_slice(&frame[LENGTH_BYTES..body_start]);
    out.extend_from_slice(body);
    out.freeze()
}

/// Where the body of a response frame begins: after length, correlation id and, for flexible
/// versions, tagged fields. `None` where the frame is too short.
#[must_use]
pub fn response_body_start(frame: &[u8], api: ApiKey, version: i16) -> Option<usize> {
    let at = LENGTH_BYTES + 4;
    if api::response_header_is_flexible(api, version) {
        skip_tagged_fields(frame, at)
    } else {
        (frame.len() >= at).then_some(at)
    }
}

/// The correlation id of a response frame.
#[must_use]
pub fn response_correlation_id(frame: &[u8]) -> Option<i32> {
    frame.get(LENGTH_BYTES..LENGTH_BYTES + 4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// A whole response frame around `body`, with the header that `api` and `version` want.
#[must_use]
pub fn response_frame(correlation_id: i32, api: ApiKey, version: i16, body: &[u8]) -> Bytes {
    let flexible = api::response_header_is_flexible(api, version);
    let length = 4 + usize::from(flexible) + body.len();
    let mut out = BytesMut::with_capacity(LENGTH_BYTES + length);
    out.put_i32(length as i32);
    out.put_i32(correlation_id);
    if flexible {
        out.put_u8(0);
    }
    out.extend_from_slice(body);
    out.freeze()
}

/// A whole request frame, for requests that the gateway sends itself.
#[must_use]
pub fn request_frame(correlation_id: i32, api: ApiKey, version: i16, client_id: &str, body: &[u8]) -> Bytes {
    let flexible = api::request_header_is_flexible(api, version);
    let length = 10 + client_id.len() + usize::from(flexible) + body.len();
    let mut out = BytesMut::with_capacity(LENGTH_BYTES + length);
    out.put_i32(length as i32);
    out.put_i16(api as i16);
    out.put_i16(version);
    out.put_i32(correlation_id);
    out.put_i16(client_id.len() as i16);
    out.extend_from_slice(client_id.as_bytes());
    if flexible {
        out.put_u8(0);
    }
    out.extend_from_slice(body);
    out.freeze()
}

fn skip_tagged_fields(frame: &[u8], mut at: usize) -> Option<usize> {
    let count = unsigned_varint(frame, &mut at)?;
    for _ in 0..count {
        unsigned_varint(frame, &mut at)?;
        let size = unsigned_varint(frame, &mut at)? as usize;
        at = at.checked_add(size).filter(|end| *end <= frame.len())?;
    }
    Some(at)
}

/// Reads an unsigned varint of at most five bytes at `at` and moves `at` behind it.
fn unsigned_varint(bytes: &[u8], at: &mut usize) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_frame_reads_back() {
        for (api, version) in [(ApiKey::Metadata, 1), (ApiKey::Metadata, 12), (ApiKey::ApiVersions, 3)] {
            let frame = request_frame(7, api, version, "me", b"body");
            let header = RequestHeader::parse(&frame).unwrap();
            assert_eq!((header.api, header.version, header.correlation_id), (api, version, 7));
            assert_eq!(header.client_id(&frame), "me");
            assert_eq!(&frame[header.body_start..], b"body");
            let swapped = with_body(&frame, header.body_start, b"another body");
            let again = RequestHeader::parse(&swapped).unwrap();
            assert_eq!(&swapped[again.body_start..], b"another body");
            assert_eq!(i32::from_be_bytes(swapped[..4].try_into().unwrap()) as usize + 4, swapped.len());
        }
    }

    #[test]
    fn a_header_cut_at_every_byte_is_truncated_not_a_panic() {
        let frame = request_frame(7, ApiKey::Metadata, 12, "client", b"");
        for cut in 0..frame.len() {
            assert_eq!(RequestHeader::parse(&frame[..cut]), Err(HeaderError::Truncated), "cut at {cut}");
        }
    }

    #[test]
    fn the_api_versions_response_header_is_always_v0() {
        let frame = response_frame(3, ApiKey::ApiVersions, 3, b"");
        assert_eq!(frame.len(), 8);
        assert_eq!(response_body_start(&frame, ApiKey::ApiVersions, 3), Some(8));
        assert_eq!(response_body_start(&response_frame(3, ApiKey::Metadata, 12, b""), ApiKey::Metadata, 12), Some(9));
    }

    #[test]
    fn tagged_fields_that_overrun_are_truncated() {
        let mut frame = request_frame(7, ApiKey::Metadata, 12, "c", b"").to_vec();
        let last = frame.len() - 1;
        frame[last] = 1;
        frame.extend([0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(RequestHeader::parse(&frame), Err(HeaderError::Truncated));
    }
}
