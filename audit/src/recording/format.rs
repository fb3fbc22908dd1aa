//! A recording's bytes: a header, then frames, each bound to what is before it. Pure.
//!
//! ```text
//! header   "TGRECORD" | version u16 = 1 | 0 u16 | bytes of the body u32 | CRC-32C u32 | body: Protocol Buffers
//! frame    "TGRC" | number u32 | bytes of the payload u32 | flags u32 | hash of what is before 32 | CRC-32C u32 | payload
//! ```
//! Integers are little-endian. A CRC covers all bytes of its header or frame but its own four. The hash of a header or
//! frame is SHA-256(0x02 ‖ its bytes); the first frame names the header's, each other one that of the frame before.
//! Flag 1: the payload is sealed. Flag 2: this frame ends the recording. A payload is a zstd frame of exchanges
//! ([`Exchange`]), each behind its length as a varint; that of the end is an [`End`].

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use prost::Message;
use tidegate_core::event::{FindingCount, ResourceUse};

use crate::format::crc32c;
use crate::tree::Hash;

/// How a recording begins.
pub const MAGIC: [u8; 8] = *b"TGRECORD";
/// How a frame begins.
pub const FRAME_MAGIC: [u8; 4] = *b"TGRC";
/// The version of this format.
pub const VERSION: u16 = 1;
/// Bytes before a header's body.
pub const HEADER_PREFIX_BYTES: usize = 20;
/// Bytes before a frame's payload.
pub const FRAME_PREFIX_BYTES: usize = 52;
/// The largest body of a header: a rule with many auditors.
pub const HEADER_BODY_BYTES_MAX: usize = 64 * 1024;
/// The largest payload of a frame, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 48 * 1024 * 1024;
/// The largest that a payload may become, in bytes.
pub const PLAIN_BYTES_MAX: usize = 48 * 1024 * 1024;
/// The largest request or response whose bytes are kept. Of what is larger the rest is kept, and that it was left out.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

const FLAG_SEALED: u32 = 1;
const FLAG_END: u32 = 2;

/// Which bytes of an exchange are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub enum RecordedMode {
    /// None; what was asked, of what, what was decided, sizes and times.
    Headers = 0,
    /// As they passed after masking, where nothing found passed unmasked.
    Masked = 1,
    /// As they came, sealed.
    Originals = 2,
}

impl RecordedMode {
    /// The name, as in policy files and evidence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Masked => "masked",
            Self::Originals => "originals",
        }
    }
}

/// What stands at the beginning.
#[derive(Clone, PartialEq, Message)]
pub struct Header {
    /// The gateway's name.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// The shard.
    #[prost(uint32, tag = "2")]
    pub shard: u32,
    /// The session's id.
    #[prost(string, tag = "3")]
    pub session: String,
    /// The part, from 1.
    #[prost(uint32, tag = "4")]
    pub part: u32,
    /// The principal's name.
    #[prost(string, tag = "5")]
    pub principal: String,
    /// Its issuer.
    #[prost(string, tag = "6")]
    pub issuer: String,
    /// Its subject.
    #[prost(string, tag = "7")]
    pub subject: String,
    /// Its groups.
    #[prost(string, repeated, tag = "8")]
    pub groups: Vec<String>,
    /// The client's address.
    #[prost(string, tag = "9")]
    pub client_address: String,
    /// The rule by which it is recorded.
    #[prost(string, tag = "10")]
    pub rule: String,
    /// What of it.
    #[prost(enumeration = "RecordedMode", tag = "11")]
    pub mode: i32,
    /// When it began: microseconds since the Unix epoch.
    #[prost(int64, tag = "12")]
    pub started_micros: i64,
    /// Until when it is kept; 0: without end.
    #[prost(int64, tag = "13")]
    pub keep_until_micros: i64,
    /// Where the payloads are sealed: who can open them.
    #[prost(message, repeated, tag = "14")]
    pub recipients: Vec<Recipient>,
    /// The broker that the session is with; -1 for a bootstrap connection.
    #[prost(sint32, tag = "15")]
    pub broker: i32,
    /// The gateway's version.
    #[prost(string, tag = "16")]
    pub software: String,
}

/// Somebody who can open a sealed recording: its key, wrapped for his (HPKE, RFC 9180: DHKEM(X25519, HKDF-SHA256),
/// HKDF-SHA256, AES-256-GCM).
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Recipient {
    /// His name in the policy.
    #[prost(string, tag = "1")]
    pub name: String,
    /// His public key.
    #[prost(bytes = "vec", tag = "2")]
    pub public_key: Vec<u8>,
    /// The encapsulated secret.
    #[prost(bytes = "vec", tag = "3")]
    pub encapsulated: Vec<u8>,
    /// The recording's key, encrypted.
    #[prost(bytes = "vec", tag = "4")]
    pub wrapped: Vec<u8>,
}

/// Why bytes were left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub enum LeftOut {
    /// They are here.
    No = 0,
    /// The rule records headers only.
    Mode = 1,
    /// The API carries credentials.
    Secret = 2,
    /// Personal data passed unmasked, or may have; `originals` would have kept it, sealed.
    Unmasked = 3,
    /// They are larger than is kept.
    TooLarge = 4,
    /// There were none: no response, or the request ended before it was carried out.
    Absent = 5,
}

impl LeftOut {
    /// A few words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Mode => "only headers are recorded",
            Self::Secret => "left out: carries credentials",
            Self::Unmasked => "left out: personal data passed, or may have, unmasked",
            Self::TooLarge => "left out: too large",
            Self::Absent => "none",
        }
    }
}

/// A request and its response.
#[derive(Clone, PartialEq, Message)]
pub struct Exchange {
    /// When the request's last byte had come: microseconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub started_micros: i64,
    /// Until the response was ready.
    #[prost(uint64, tag = "2")]
    pub latency_micros: u64,
    /// Kafka's number of the API.
    #[prost(sint32, tag = "3")]
    pub api_key: i32,
    /// The client's version of it.
    #[prost(sint32, tag = "4")]
    pub api_version: i32,
    /// Its name.
    #[prost(string, tag = "5")]
    pub api: String,
    /// The `client.id`.
    #[prost(string, tag = "6")]
    pub client_id: String,
    /// The request's size on the wire.
    #[prost(uint64, tag = "7")]
    pub request_bytes: u64,
    /// The response's.
    #[prost(uint64, tag = "8")]
    pub response_bytes: u64,
    /// The request: a whole frame, its length included.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub request: Option<Bytes>,
    /// The response, in the version of the request that is here.
    #[prost(bytes = "bytes", optional, tag = "10")]
    pub response: Option<Bytes>,
    /// Why the request is not here.
    #[prost(enumeration = "LeftOut", tag = "11")]
    pub request_left_out: i32,
    /// Why the response is not here.
    #[prost(enumeration = "LeftOut", tag = "12")]
    pub response_left_out: i32,
    /// What policy said: as in the entry of the evidence, and so is what follows.
    #[prost(enumeration = "tidegate_core::event::Outcome", tag = "13")]
    pub outcome: i32,
    /// What was touched and what was decided.
    #[prost(message, repeated, tag = "14")]
    pub resources: Vec<ResourceUse>,
    /// What was found and done about it.
    #[prost(message, repeated, tag = "15")]
    pub findings: Vec<FindingCount>,
    /// A sentence.
    #[prost(string, tag = "16")]
    pub detail: String,
    /// The broker's errors.
    #[prost(int32, repeated, tag = "17")]
    pub upstream_errors: Vec<i32>,
    /// One more than the sequence number of its entry in the shard's evidence; 0 where that is not known.
    #[prost(uint64, tag = "18")]
    pub entry: u64,
}

impl Exchange {
    /// The sequence number of its entry.
    #[must_use]
    pub const fn entry(&self) -> Option<u64> {
        self.entry.checked_sub(1)
    }
}

/// What stands at the end.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct End {
    /// Exchanges in the recording.
    #[prost(uint64, tag = "1")]
    pub exchanges: u64,
    /// Whether it was cut while the session went on.
    #[prost(bool, tag = "2")]
    pub cut: bool,
    /// Why it ends.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// When.
    #[prost(int64, tag = "4")]
    pub time_micros: i64,
}

/// What is wrong with bytes that should be a header or a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file ends within it.
    #[error("it ends within its {0}")]
    Torn(&'static str),
    /// It does not begin as it must.
    #[error("no {0} begins here")]
    Magic(&'static str),
    /// Another version.
    #[error("version {0} of the format is not known")]
    Version(u16),
    /// A length, flag or field that none has.
    #[error("{0}")]
    Field(String),
    /// The bytes are not those that were written.
    #[error("the checksum is wrong")]
    Checksum,
    /// It is not the frame that belongs here.
    #[error("frame {found} stands where {expected} belongs")]
    Number {
        /// What stands there.
        found: u32,
        /// What should.
        expected: u32,
    },
    /// It follows another frame than the one before it.
    #[error("it does not follow what is before it")]
    Chain,
}

/// The hash of a header or frame.
#[must_use]
pub fn hash(bytes: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[2]);
    context.update(bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// A header's bytes.
#[must_use]
pub fn encode_header(header: &Header) -> Vec<u8> {
    let body = header.encode_to_vec();
    let mut bytes = Vec::with_capacity(HEADER_PREFIX_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 2]);
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    let crc = crc32c(&[&bytes[..], &body[..]].concat());
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// The length of a header's body, by what stands before it.
///
/// # Errors
/// [`Damage`].
pub fn header_body_bytes(prefix: &[u8; HEADER_PREFIX_BYTES]) -> Result<usize, Damage> {
    if prefix[..8] != MAGIC {
        return Err(Damage::Magic("recording"));
    }
    let version = u16::from_le_bytes([prefix[8], prefix[9]]);
    if version != VERSION {
        return Err(Damage::Version(version));
    }
    let length = u32_at(prefix, 12) as usize;
    if length > HEADER_BODY_BYTES_MAX || prefix[10..12] != [0; 2] {
        return Err(Damage::Field(format!("a header of {length} bytes is none")));
    }
    Ok(length)
}

/// Reads a header: all of its bytes.
///
/// # Errors
/// [`Damage`].
pub fn parse_header(bytes: &[u8]) -> Result<Header, Damage> {
    let Some((prefix, body)) = bytes.split_first_chunk::<HEADER_PREFIX_BYTES>() else {
        return Err(Damage::Torn("header"));
    };
    if header_body_bytes(prefix)? != body.len() {
        return Err(Damage::Torn("header"));
    }
    if u32_at(prefix, 16) != crc32c(&[&prefix[..16], body].concat()) {
        return Err(Damage::Checksum);
    }
    Header::decode(body).map_err(|error| Damage::Field(format!("the header cannot be read: {error}")))
}

/// What stands before a frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePrefix {
    /// Its number, from 0.
    pub number: u32,
    /// Bytes of its payload.
    pub payload_bytes: usize,
    /// The payload is sealed.
    pub sealed: bool,
    /// It ends the recording.
    pub end: bool,
    /// The hash of what is before.
    pub before: Hash,
}

impl FramePrefix {
    /// The first 48 bytes, which are also what is authenticated with a sealed payload.
    #[must_use]
    pub fn encode(&self) -> [u8; FRAME_PREFIX_BYTES - 4] {
        let mut bytes = [0; FRAME_PREFIX_BYTES - 4];
        let flags = if self.sealed { FLAG_SEALED } else { 0 } | if self.end { FLAG_END } else { 0 };
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&u32::try_from(self.payload_bytes).unwrap_or(u32::MAX).to_le_bytes());
        bytes[12..16].copy_from_slice(&flags.to_le_bytes());
        bytes[16..48].copy_from_slice(&self.before);
        bytes
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`Damage`].
    pub fn parse(bytes: &[u8; FRAME_PREFIX_BYTES]) -> Result<Self, Damage> {
        if bytes[..4] != FRAME_MAGIC {
            return Err(Damage::Magic("frame"));
        }
        let (length, flags) = (u32_at(bytes, 8) as usize, u32_at(bytes, 12));
        if length > PAYLOAD_BYTES_MAX || flags & !(FLAG_SEALED | FLAG_END) != 0 {
            return Err(Damage::Field(format!("a frame of {length} bytes with the flags {flags:#x} is none")));
        }
        let mut before = [0; 32];
        before.copy_from_slice(&bytes[16..48]);
        Ok(Self {
            number: u32_at(bytes, 4),
            payload_bytes: length,
            sealed: flags & FLAG_SEALED != 0,
            end: flags & FLAG_END != 0,
            before,
        })
    }
}

/// A whole frame.
#[must_use]
pub fn encode_frame(prefix: &FramePrefix, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_PREFIX_BYTES + payload.len());
    frame.extend_from_slice(&prefix.encode());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    let crc = frame_crc(&frame);
    frame[FRAME_PREFIX_BYTES - 4..FRAME_PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// The checksum of a frame, whatever stands in its place.
pub(super) fn frame_crc(frame: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(frame.get(..FRAME_PREFIX_BYTES - 4).unwrap_or_default());
    digest.update(frame.get(FRAME_PREFIX_BYTES..).unwrap_or_default());
    u32::try_from(digest.finalize()).unwrap_or_default()
}

/// Checks a whole frame against its checksum.
pub(super) fn crc_fits(frame: &[u8]) -> bool {
    let stored = frame.get(FRAME_PREFIX_BYTES - 4..FRAME_PREFIX_BYTES);
    stored == Some(&frame_crc(frame).to_le_bytes()[..])
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}
