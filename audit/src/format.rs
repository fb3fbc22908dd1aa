//! The bytes of a segment: the header page and the frame, encoded and parsed.
//!
//! Pure: bytes in, values out. The layout is described in the crate's documentation; this file and
//! that description change together, with the version number. Everything parsed here may come from
//! a damaged or foreign file: no length is trusted and nothing panics.

use std::fmt;

use crc_fast::{CrcAlgorithm, checksum};

use crate::note::VerifierKey;
use crate::tree::{CompactRange, Hash, RANGE_BYTES};

/// Bytes of the header page.
pub const HEADER_BYTES: usize = 4096;
/// Bytes of a frame before its body.
pub const FRAME_HEADER_BYTES: usize = 25;
/// Bytes of a frame's length and CRC fields, which the length does not count.
pub const FRAME_PREFIX_BYTES: usize = 8;
/// The largest frame that a reader accepts, in bytes. A longer length is damage.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a seal's body.
pub const SEAL_BODY_BYTES: usize = 64;
/// Bytes of a whole seal frame: what a writer keeps free at a segment's end.
pub const SEAL_FRAME_BYTES: usize = FRAME_HEADER_BYTES + SEAL_BODY_BYTES;
/// The largest checkpoint frame that a writer writes, in bytes, and keeps free for the last one.
pub const CHECKPOINT_FRAME_BYTES_MAX: usize = 1024;
/// The longest origin name, in bytes.
pub const ORIGIN_BYTES_MAX: usize = 256;
/// The version that is written.
pub const VERSION: u16 = 2;

const MAGIC: [u8; 8] = *b"\x89TGS\r\n\x1a\n";
const CODEC_PROTOBUF_EVENT: u8 = 1;
const HASH_SHA256: u8 = 1;
const ORIGIN_START: usize = 64;
const ROOT_START: usize = 320;
const TREE_START: usize = 352;
const SIGNER_START: usize = 2464;
/// Epoch and check of the key of subjects' tags.
const INDEX_KEY_START: usize = 2408;
/// The end of the last field; zeros from there to the CRC.
const FIELDS_END: usize = 2760;
const CRC_START: usize = HEADER_BYTES - 4;
/// The part of a frame's length that is not body: type, sequence and time.
const COUNTED_HEADER_BYTES: usize = FRAME_HEADER_BYTES - FRAME_PREFIX_BYTES;

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Which gateway writes, from its configuration.
    pub origin: String,
    /// The shard.
    pub shard: u32,
    /// The segment's number within the shard, from 0.
    pub number: u64,
    /// The first entry's sequence number.
    pub first_sequence: u64,
    /// When it was created: microseconds since the Unix epoch.
    pub created_micros: i64,
    /// Bytes allocated for it.
    pub segment_bytes: u64,
    /// The tree of all entries before this segment.
    pub tree: CompactRange,
    /// The key that signs checkpoints from here on, where one does.
    pub signer: Option<VerifierKey>,
    /// Which key made the tags of subjects in it, where entries have some.
    pub index_key: Option<IndexKeyId>,
}

/// Which key made tags of subjects, without the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexKeyId {
    /// Its epoch, from 1.
    pub epoch: u32,
    /// Tells it apart from other gateways' keys of the same epoch.
    pub check: [u8; 8],
}

/// Why a header page is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file is empty.
    #[error("the file is empty")]
    Empty,
    /// The file ends within the header page.
    #[error("the file ends after {0} bytes, within the header page of {HEADER_BYTES}")]
    Short(usize),
    /// Some other kind of file.
    #[error("this is not a Tidegate segment (wrong magic number)")]
    Magic,
    /// Written by a newer Tidegate.
    #[error("segment version {0} is not known to this Tidegate, which knows version {VERSION}")]
    Version(u16),
    /// A codec, hash, encryption or flag of a newer Tidegate.
    #[error("the segment uses a feature that this Tidegate does not know ({field} = {value})")]
    Feature {
        /// The header's field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// Damage.
    #[error("the header page is damaged (CRC mismatch)")]
    Crc,
    /// The CRC fits but a field makes no sense.
    #[error("the header page is malformed: {0}")]
    Malformed(&'static str),
}

impl Header {
    /// The header page. An origin over [`ORIGIN_BYTES_MAX`] is cut at a character's boundary; the
    /// log refuses such names before it comes to this.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut end = self.origin.len().min(ORIGIN_BYTES_MAX);
        while !self.origin.is_char_boundary(end) {
            end -= 1;
        }
        let origin = &self.origin.as_bytes()[..end];

        let mut page = Vec::with_capacity(HEADER_BYTES);
        page.extend_from_slice(&MAGIC);
        page.extend_from_slice(&VERSION.to_le_bytes());
        page.extend_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
        page.extend_from_slice(&0u32.to_le_bytes());
        page.extend_from_slice(&self.shard.to_le_bytes());
        page.extend_from_slice(&[CODEC_PROTOBUF_EVENT, HASH_SHA256, 0, 0]);
        page.extend_from_slice(&self.number.to_le_bytes());
        page.extend_from_slice(&self.first_sequence.to_le_bytes());
        page.extend_from_slice(&self.created_micros.to_le_bytes());
        page.extend_from_slice(&self.segment_bytes.to_le_bytes());
        page.extend_from_slice(&(origin.len() as u16).to_le_bytes());
        page.resize(ORIGIN_START, 0);
        page.extend_from_slice(origin);
        page.resize(ROOT_START, 0);
        page.extend_from_slice(&self.tree.root());
        page.extend_from_slice(&self.tree.encode());
        page.resize(INDEX_KEY_START, 0);
        if let Some(key) = self.index_key {
            page.extend_from_slice(&key.epoch.to_le_bytes());
            page.extend_from_slice(&[0; 4]);
            page.extend_from_slice(&key.check);
        }
        page.resize(SIGNER_START, 0);
        // A name that does not fit is refused when the log is opened.
        if let Some(key) = self.signer.as_ref().filter(|key| key.name().len() <= ORIGIN_BYTES_MAX) {
            page.extend_from_slice(&(key.name().len() as u64).to_le_bytes());
            page.extend_from_slice(key.bytes());
            page.extend_from_slice(key.name().as_bytes());
        }
        page.resize(CRC_START, 0);
        let crc = crc32c(&page);
        page.extend_from_slice(&crc.to_le_bytes());
        page
    }

    /// Parses a header page: `bytes` is the beginning of the file, as much of it as there is.
    ///
    /// # Errors
    /// [`HeaderError`], the most telling one: a foreign file is named as such before its CRC is looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.is_empty() {
            return Err(HeaderError::Empty);
        }
        if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
            return Err(HeaderError::Magic);
        }
        let Some(page) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderError::Short(bytes.len()));
        };
        let mut fields = Fields(&page[MAGIC.len()..]);
        let version = u16::from_le_bytes(fields.take());
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        if u32::from_le_bytes(page_array(page, CRC_START)) != crc32c(&page[..CRC_START]) {
            return Err(HeaderError::Crc);
        }
        if usize::from(u16::from_le_bytes(fields.take())) != HEADER_BYTES {
            return Err(HeaderError::Malformed("unexpected header size"));
        }
        let flags = u32::from_le_bytes(fields.take());
        let shard = u32::from_le_bytes(fields.take());
        let [codec, hash, encryption, _reserved] = fields.take();
        for (field, value, known) in [
            ("flags", flags, 0),
            ("codec", u32::from(codec), u32::from(CODEC_PROTOBUF_EVENT)),
            ("hash", u32::from(hash), u32::from(HASH_SHA256)),
            ("encryption", u32::from(encryption), 0),
        ] {
            if value != known {
                return Err(HeaderError::Feature { field, value });
            }
        }
        let number = u64::from_le_bytes(fields.take());
        let first_sequence = u64::from_le_bytes(fields.take());
        let created_micros = i64::from_le_bytes(fields.take());
        let segment_bytes = u64::from_le_bytes(fields.take());
        let origin_bytes = usize::from(u16::from_le_bytes(fields.take()));
        let origin = page[ORIGIN_START..ORIGIN_START + ORIGIN_BYTES_MAX]
            .get(..origin_bytes)
            .ok_or(HeaderError::Malformed("origin longer than its field"))?;
        let origin = std::str::from_utf8(origin).map_err(|_| HeaderError::Malformed("origin is not UTF-8"))?.to_owned();
        let tree = CompactRange::parse(&page[TREE_START..TREE_START + RANGE_BYTES])
            .ok_or(HeaderError::Malformed("the tree before the segment is none"))?;
        if tree.root() != page_array(page, ROOT_START) {
            return Err(HeaderError::Malformed("the root before the segment is not that of the tree before it"));
        }
        if page[FIELDS_END..CRC_START].iter().any(|byte| *byte != 0) {
            return Err(HeaderError::Malformed("bytes other than zero where nothing is defined"));
        }
        let signer = parse_signer(page)?;
        let index_key = parse_index_key(page);
        Ok(Self { origin, shard, number, first_sequence, created_micros, segment_bytes, tree, signer, index_key })
    }
}

fn parse_index_key(page: &[u8; HEADER_BYTES]) -> Option<IndexKeyId> {
    let mut fields = Fields(&page[INDEX_KEY_START..]);
    let epoch = u32::from_le_bytes(fields.take());
    let _reserved: [u8; 4] = fields.take();
    (epoch != 0).then(|| IndexKeyId { epoch, check: fields.take() })
}

fn parse_signer(page: &[u8; HEADER_BYTES]) -> Result<Option<VerifierKey>, HeaderError> {
    let mut fields = Fields(&page[SIGNER_START..]);
    let name_bytes = u64::from_le_bytes(fields.take());
    let key = fields.take();
    if name_bytes == 0 {
        return Ok(None);
    }
    let name = usize::try_from(name_bytes)
        .ok()
        .and_then(|bytes| page.get(FIELDS_END - ORIGIN_BYTES_MAX..FIELDS_END)?.get(..bytes));
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    let key = name.and_then(|name| VerifierKey::new(name, key).ok());
    key.map(Some).ok_or(HeaderError::Malformed("the signer's name is none"))
}

/// What kind of frame it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameType {
    /// An evidence entry.
    Event,
    /// The end of a complete segment.
    Seal,
    /// A signed checkpoint of the tree.
    Checkpoint,
    /// Something of a newer Tidegate, to be skipped.
    Other(u8),
}

impl FrameType {
    /// The type's byte.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Event => 1,
            Self::Seal => 2,
            Self::Checkpoint => 3,
            Self::Other(byte) => byte,
        }
    }

    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Event,
            2 => Self::Seal,
            3 => Self::Checkpoint,
            other => Self::Other(other),
        }
    }
}

/// A whole frame whose CRC fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its kind.
    pub kind: FrameType,
    /// An event's sequence number; the next event's for any other kind.
    pub sequence: u64,
    /// Microseconds since the Unix epoch.
    pub time_micros: i64,
    /// What it carries.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Bytes of the whole frame.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.body.len()
    }

    /// The sequence number that the event after this frame must have.
    #[must_use]
    pub const fn next_sequence(&self) -> u64 {
        match self.kind {
            FrameType::Event => self.sequence.saturating_add(1),
            FrameType::Seal | FrameType::Checkpoint | FrameType::Other(_) => self.sequence,
        }
    }
}

/// What stands at a place in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A whole frame.
    Frame(Frame<'a>),
    /// Nothing: the bytes end here, or a length of zero.
    End,
    /// The frame has this many bytes in all, more than were given.
    Incomplete(usize),
    /// No frame that anybody wrote.
    Bad(Damage),
}

/// How a frame is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A length that no writer writes.
    Length(u32),
    /// The CRC does not fit.
    Crc,
    /// A sequence number that does not follow the one before.
    Sequence {
        /// The one that should stand there.
        expected: u64,
        /// The one that does.
        found: u64,
    },
    /// The file ends within the frame.
    CutShort,
    /// Bytes other than zeros where nothing was written.
    NotZero,
    /// The frame is whole but its body is no event.
    Body,
    /// The segment ends without a seal although another follows, so its end may be missing.
    Unsealed,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "impossible frame length {length}"),
            Self::Crc => f.write_str("CRC mismatch"),
            Self::Sequence { expected, found } => write!(f, "sequence {found} where {expected} should follow"),
            Self::CutShort => f.write_str("the file ends within a frame"),
            Self::NotZero => f.write_str("bytes after the last frame"),
            Self::Body => f.write_str("the entry cannot be decoded"),
            Self::Unsealed => f.write_str("the segment was never sealed although another follows"),
        }
    }
}

/// Parses the frame at the beginning of `bytes`. Does not check its sequence number.
#[must_use]
pub fn parse_frame(bytes: &[u8]) -> Parsed<'_> {
    let Some(length) = bytes.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes)) else {
        return if bytes.iter().all(|byte| *byte == 0) { Parsed::End } else { Parsed::Incomplete(FRAME_HEADER_BYTES) };
    };
    if length == 0 {
        return Parsed::End;
    }
    let counted = length as usize;
    if !(COUNTED_HEADER_BYTES..=FRAME_BYTES_MAX - FRAME_PREFIX_BYTES).contains(&counted) {
        return Parsed::Bad(Damage::Length(length));
    }
    let Some(frame) = bytes.get(..FRAME_PREFIX_BYTES + counted) else {
        return Parsed::Incomplete(FRAME_PREFIX_BYTES + counted);
    };
    let mut fields = Fields(&frame[4..]);
    let crc = u32::from_le_bytes(fields.take());
    if crc != crc32c(fields.0) {
        return Parsed::Bad(Damage::Crc);
    }
    let [kind] = fields.take();
    let sequence = u64::from_le_bytes(fields.take());
    let time_micros = i64::from_le_bytes(fields.take());
    Parsed::Frame(Frame { kind: FrameType::from_byte(kind), sequence, time_micros, body: fields.0 })
}

/// Begins a frame at the end of `buffer`. The body is appended by the caller; then [`finish_frame`]
/// is called with the returned start. To give the frame up, truncate the buffer to the start.
pub fn begin_frame(buffer: &mut Vec<u8>, kind: FrameType, sequence: u64, time_micros: i64) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; FRAME_PREFIX_BYTES]);
    buffer.push(kind.byte());
    buffer.extend_from_slice(&sequence.to_le_bytes());
    buffer.extend_from_slice(&time_micros.to_le_bytes());
    start
}

/// Fills in length and CRC of the frame that began at `start` and goes to the end of `buffer`.
pub fn finish_frame(buffer: &mut [u8], start: usize) {
    let frame = &mut buffer[start..];
    let counted = frame.len() - FRAME_PREFIX_BYTES;
    assert!(counted <= FRAME_BYTES_MAX - FRAME_PREFIX_BYTES, "a frame must be cut to size before it is finished");
    let crc = crc32c(&frame[FRAME_PREFIX_BYTES..]);
    frame[..4].copy_from_slice(&(counted as u32).to_le_bytes());
    frame[4..FRAME_PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// What a seal frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The segment's first sequence number.
    pub first_sequence: u64,
    /// Entries in the segment.
    pub entries: u64,
    /// Where in the file the seal frame begins.
    pub offset: u64,
    /// The root of the tree, this segment's entries included.
    pub root: Hash,
    /// Where in the file the last checkpoint frame begins; 0 where there is none.
    pub checkpoint: u64,
}

impl Seal {
    /// The whole frame.
    #[must_use]
    pub fn encode(&self, time_micros: i64) -> Vec<u8> {
        let next = self.first_sequence.saturating_add(self.entries);
        let mut frame = Vec::with_capacity(SEAL_FRAME_BYTES);
        let start = begin_frame(&mut frame, FrameType::Seal, next, time_micros);
        for field in [self.first_sequence, self.entries, self.offset] {
            frame.extend_from_slice(&field.to_le_bytes());
        }
        frame.extend_from_slice(&self.root);
        frame.extend_from_slice(&self.checkpoint.to_le_bytes());
        finish_frame(&mut frame, start);
        frame
    }

    /// From a seal frame's body; `None` where it is too short.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let mut fields = Fields(body.first_chunk::<SEAL_BODY_BYTES>()?);
        Some(Self {
            first_sequence: u64::from_le_bytes(fields.take()),
            entries: u64::from_le_bytes(fields.take()),
            offset: u64::from_le_bytes(fields.take()),
            root: fields.take(),
            checkpoint: u64::from_le_bytes(fields.take()),
        })
    }
}

/// CRC-32C (Castagnoli), as in iSCSI.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    // The algorithm yields 32 bits in a u64.
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn page_array<const N: usize>(page: &[u8; HEADER_BYTES], start: usize) -> [u8; N] {
    Fields(&page[start..]).take()
}

/// Fixed-size fields one after the other. What is too short yields zeros: callers have checked the
/// length, and a wrong value fails a later check rather than panicking.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            origin: "gateway-1.example".into(),
            shard: 3,
            number: 7,
            first_sequence: 4711,
            created_micros: -5,
            segment_bytes: 1 << 26,
            tree: {
                let mut tree = CompactRange::default();
                (0..3).for_each(|n| tree.append([n + 1; 32]));
                tree
            },
            signer: Some(VerifierKey::new("gw", [0xab; 32]).unwrap()),
            index_key: Some(IndexKeyId { epoch: 3, check: [7; 8] }),
        }
    }

    fn frame(kind: FrameType, sequence: u64, body: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        let start = begin_frame(&mut buffer, kind, sequence, 99);
        buffer.extend_from_slice(body);
        finish_frame(&mut buffer, start);
        buffer
    }

    /// The layout in the crate's documentation, checked with numbers written out.
    #[test]
    fn header_layout_is_as_documented() {
        let page = header().encode();
        assert_eq!(page.len(), 4096);
        assert_eq!(&page[..8], b"\x89TGS\r\n\x1a\n");
        assert_eq!(&page[8..24], [2, 0, 0, 16, 0, 0, 0, 0, 3, 0, 0, 0, 1, 1, 0, 0]);
        assert_eq!(page[24..32], 7u64.to_le_bytes());
        assert_eq!(page[32..40], 4711u64.to_le_bytes());
        assert_eq!(page[40..48], (-5i64).to_le_bytes());
        assert_eq!(page[48..56], (1u64 << 26).to_le_bytes());
        assert_eq!(page[56..58], 17u16.to_le_bytes());
        assert_eq!(&page[64..81], b"gateway-1.example");
        assert!(page[81..320].iter().all(|byte| *byte == 0));
        assert_eq!(page[320..352], header().tree.root());
        assert_eq!(page[352..360], 3u64.to_le_bytes());
        assert_eq!(page[392..424], [3; 32]);
        assert!(page[424..2408].iter().all(|byte| *byte == 0));
        assert_eq!(page[2408..2424], [3, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7]);
        assert!(page[2424..2464].iter().all(|byte| *byte == 0));
        assert_eq!(page[2464..2472], 2u64.to_le_bytes());
        assert_eq!(page[2472..2504], [0xab; 32]);
        assert_eq!(&page[2504..2506], b"gw");
        assert!(page[2506..4092].iter().all(|byte| *byte == 0));
        let unsigned = Header { signer: None, index_key: None, ..header() };
        assert_eq!(Header::parse(&unsigned.encode()), Ok(unsigned));
        assert_eq!(Header::parse(&page), Ok(header()));
    }

    #[test]
    fn frame_layout_is_as_documented() {
        let bytes = frame(FrameType::Event, 258, b"abc");
        assert_eq!(bytes[..4], 20u32.to_le_bytes());
        assert_eq!(bytes[8], 1);
        assert_eq!(bytes[9..17], 258u64.to_le_bytes());
        assert_eq!(bytes[17..25], 99i64.to_le_bytes());
        assert_eq!(&bytes[25..], b"abc");
        // CRC-32C's check value, so that the algorithm is the one documented.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(bytes[4..8], crc32c(&bytes[8..]).to_le_bytes());
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let page = header().encode();
        for bit in 0..page.len() * 8 {
            let mut page = page.clone();
            page[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(&page).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn headers_that_are_none() {
        let page = header().encode();
        let with = |offset: usize, byte: u8| {
            let mut page = page.clone();
            page[offset] = byte;
            let crc = crc32c(&page[..CRC_START]).to_le_bytes();
            page[CRC_START..].copy_from_slice(&crc);
            page
        };
        for (what, bytes, error) in [
            ("empty", vec![], HeaderError::Empty),
            ("half a magic number", page[..5].to_vec(), HeaderError::Short(5)),
            ("short", page[..4095].to_vec(), HeaderError::Short(4095)),
            ("foreign", b"hello".to_vec(), HeaderError::Magic),
            ("zeros", vec![0; 4096], HeaderError::Magic),
            ("newer version", with(8, 3), HeaderError::Version(3)),
            ("unknown codec", with(20, 9), HeaderError::Feature { field: "codec", value: 9 }),
            ("unknown hash", with(21, 2), HeaderError::Feature { field: "hash", value: 2 }),
            ("unknown encryption", with(22, 1), HeaderError::Feature { field: "encryption", value: 1 }),
            ("unknown flag", with(13, 1), HeaderError::Feature { field: "flags", value: 256 }),
            ("origin too long", with(57, 0xff), HeaderError::Malformed("origin longer than its field")),
            (
                "root",
                with(320, 9),
                HeaderError::Malformed("the root before the segment is not that of the tree before it"),
            ),
            ("tree", with(425, 9), HeaderError::Malformed("the tree before the segment is none")),
            ("signer", with(2505, b' '), HeaderError::Malformed("the signer's name is none")),
            ("signer too long", with(2466, 1), HeaderError::Malformed("the signer's name is none")),
            ("spare", with(3000, 1), HeaderError::Malformed("bytes other than zero where nothing is defined")),
            ("origin not UTF-8", with(64, 0xff), HeaderError::Malformed("origin is not UTF-8")),
        ] {
            assert_eq!(Header::parse(&bytes), Err(error), "{what}");
        }
    }

    #[test]
    fn frames_and_what_is_none() {
        let bytes = frame(FrameType::Event, 5, b"body");
        let Parsed::Frame(parsed) = parse_frame(&bytes) else { panic!("no frame") };
        assert_eq!((parsed.sequence, parsed.time_micros, parsed.body), (5, 99, &b"body"[..]));
        assert_eq!((parsed.bytes(), parsed.next_sequence()), (bytes.len(), 6));

        for cut in 4..bytes.len() {
            assert_eq!(parse_frame(&bytes[..cut]), Parsed::Incomplete(bytes.len()), "cut at {cut}");
        }
        for offset in 4..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[offset] ^= 0x40;
            assert_eq!(parse_frame(&bytes), Parsed::Bad(Damage::Crc), "flipped at {offset}");
        }
        assert_eq!(parse_frame(&[]), Parsed::End);
        assert_eq!(parse_frame(&[0, 0]), Parsed::End);
        assert_eq!(parse_frame(&[0; 64]), Parsed::End);
        assert_eq!(parse_frame(&[0xff; 64]), Parsed::Bad(Damage::Length(u32::MAX)));
        assert_eq!(parse_frame(&[16, 0, 0, 0, 0]), Parsed::Bad(Damage::Length(16)));
    }

    #[test]
    fn seal_round_trip_and_unknown_types() {
        let seal = Seal { first_sequence: 10, entries: 5, offset: 8192, root: [7; 32], checkpoint: 4096 };
        let bytes = seal.encode(1);
        assert_eq!(bytes.len(), SEAL_FRAME_BYTES);
        let Parsed::Frame(frame_) = parse_frame(&bytes) else { panic!("no frame") };
        assert_eq!((frame_.kind, frame_.sequence, frame_.next_sequence()), (FrameType::Seal, 15, 15));
        assert_eq!(Seal::parse(frame_.body), Some(seal));
        assert_eq!(Seal::parse(&frame_.body[1..]), None);

        let other = frame(FrameType::Other(77), 4, b"");
        let Parsed::Frame(other) = parse_frame(&other) else { panic!("no frame") };
        assert_eq!((other.kind, other.next_sequence()), (FrameType::Other(77), 4));
    }
}
