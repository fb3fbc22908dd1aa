//! Reading a recording, also while it is written, also where somebody has changed it.
//!
//! Invariants: no length that is read decides what is allocated (memory grows with the bytes that are there, to a
//! bound); nothing is given out of a frame whose checksum, number or place in the chain is wrong.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use super::format::{
    Damage, End, Exchange, FRAME_PREFIX_BYTES, FramePrefix, HEADER_PREFIX_BYTES, Header, PLAIN_BYTES_MAX, crc_fits,
    hash, header_body_bytes, parse_header,
};
use super::seal::{DataKey, SealError, SecretKey};
use crate::tree::Hash;

/// The largest window that a payload's compression may ask memory for, as a power of two: what zstd's levels
/// up to the default's neighbours use.
const WINDOW_LOG_MAX: u32 = 23;

/// Why a recording cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What the operating system said.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// The bytes from here on are no recording.
    #[error("{}: at byte {offset}: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong.
        source: Damage,
    },
    /// The payload cannot be opened.
    #[error("{}: frame {number}: {source}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// The frame.
        number: u32,
        /// Why.
        source: SealError,
    },
    /// The payload is not what it should be.
    #[error("{}: frame {number}: {reason}", path.display())]
    Payload {
        /// The file.
        path: PathBuf,
        /// The frame.
        number: u32,
        /// Why.
        reason: String,
    },
}

/// A frame as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// What stands before the payload.
    pub prefix: FramePrefix,
    /// Where it begins.
    pub offset: u64,
    /// Its bytes, prefix included.
    pub bytes: u64,
    /// Its hash.
    pub hash: Hash,
    payload: Vec<u8>,
}

/// What comes next in a recording.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A chunk's exchanges.
    Exchanges(Vec<Exchange>),
    /// The recording is complete.
    End(End),
    /// Nothing more is there, so far: it is being written, or a crash ended it. So many bytes of a frame that is not whole
    /// follow.
    Open(u64),
}

/// Reads a recording from its beginning.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    header: Header,
    header_hash: Hash,
    header_bytes: u64,
    position: u64,
    next: u32,
    before: Hash,
    ended: bool,
    key: Option<DataKey>,
}

impl Reader {
    /// Opens it and reads its header.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Self::from_file(file, path)
    }

    /// As [`Reader::open`], on a file that is open already.
    ///
    /// # Errors
    /// As there.
    pub fn from_file(file: File, path: &Path) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let damaged = |source| ReadError::Damaged { path: path.to_owned(), offset: 0, source };
        let mut file = BufReader::with_capacity(64 * 1024, file);
        let mut bytes = Vec::new();
        read_up_to(&mut file, HEADER_PREFIX_BYTES, &mut bytes).map_err(io)?;
        let prefix = bytes.first_chunk().ok_or_else(|| damaged(Damage::Torn("header")))?;
        let body = header_body_bytes(prefix).map_err(damaged)?;
        read_up_to(&mut file, body, &mut bytes).map_err(io)?;
        let header = parse_header(&bytes).map_err(damaged)?;
        let before = hash(&bytes);
        Ok(Self {
            path: path.to_owned(),
            file,
            header,
            header_hash: before,
            header_bytes: bytes.len() as u64,
            position: bytes.len() as u64,
            next: 0,
            before,
            ended: false,
            key: None,
        })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The header's hash and length.
    #[must_use]
    pub const fn header_hash(&self) -> (&Hash, u64) {
        (&self.header_hash, self.header_bytes)
    }

    /// Lets the payloads be opened with an auditor's key.
    ///
    /// # Errors
    /// [`ReadError::Sealed`]: not with this one.
    pub fn unlock(&mut self, key: &SecretKey) -> Result<(), ReadError> {
        let opened = DataKey::open(&self.header, key);
        self.key = Some(opened.map_err(|source| ReadError::Sealed { path: self.path.clone(), number: 0, source })?);
        Ok(())
    }

    /// Whether its payloads are sealed.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        !self.header.recipients.is_empty()
    }

    /// The next whole frame, without its contents; `None` where nothing more is there, `Torn` where no whole one is.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn next_frame(&mut self) -> Result<Option<RawFrame>, ReadError> {
        let mut bytes = Vec::new();
        read_up_to(&mut self.file, FRAME_PREFIX_BYTES, &mut bytes).map_err(|source| self.io(source))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if self.ended {
            return Err(self.damaged(Damage::Field("bytes stand after the end".to_owned())));
        }
        let Some(prefix) = bytes.first_chunk() else { return Err(self.damaged(Damage::Torn("frame"))) };
        let prefix = FramePrefix::parse(prefix).map_err(|damage| self.damaged(damage))?;
        read_up_to(&mut self.file, prefix.payload_bytes, &mut bytes).map_err(|source| self.io(source))?;
        if bytes.len() != FRAME_PREFIX_BYTES + prefix.payload_bytes {
            return Err(self.damaged(Damage::Torn("frame")));
        }
        if !crc_fits(&bytes) {
            return Err(self.damaged(Damage::Checksum));
        }
        if prefix.number != self.next {
            return Err(self.damaged(Damage::Number { found: prefix.number, expected: self.next }));
        }
        if prefix.before != self.before {
            return Err(self.damaged(Damage::Chain));
        }
        let frame = RawFrame {
            prefix,
            offset: self.position,
            bytes: bytes.len() as u64,
            hash: hash(&bytes),
            payload: bytes.split_off(FRAME_PREFIX_BYTES),
        };
        self.position += frame.bytes;
        self.before = frame.hash;
        self.next = self.next.saturating_add(1);
        self.ended = prefix.end;
        Ok(Some(frame))
    }

    /// What comes next.
    ///
    /// # Errors
    /// [`ReadError`]; a payload that is sealed and for which no key was given.
    pub fn step(&mut self) -> Result<Step, ReadError> {
        let frame = match self.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Step::Open(0)),
            Err(ReadError::Damaged { source: Damage::Torn(_), .. }) => {
                let length = self.file.get_ref().metadata().map_err(|source| self.io(source))?.len();
                return Ok(Step::Open(length.saturating_sub(self.position)));
            }
            Err(error) => return Err(error),
        };
        let prefix = frame.prefix;
        let plain = Bytes::from(self.plain(frame)?);
        let wrong = |reason: String| ReadError::Payload { path: self.path.clone(), number: prefix.number, reason };
        if prefix.end {
            return End::decode(plain).map(Step::End).map_err(|error| wrong(error.to_string()));
        }
        let mut rest = plain;
        let mut exchanges = Vec::new();
        while !rest.is_empty() {
            exchanges.push(Exchange::decode_length_delimited(&mut rest).map_err(|error| wrong(error.to_string()))?);
        }
        Ok(Step::Exchanges(exchanges))
    }

    fn plain(&self, frame: RawFrame) -> Result<Vec<u8>, ReadError> {
        let RawFrame { prefix, payload, .. } = frame;
        let number = prefix.number;
        let payload = match (&self.key, prefix.sealed) {
            (_, false) => payload,
            (None, true) => {
                let names: Vec<&str> = self.header.recipients.iter().map(|one| one.name.as_str()).collect();
                let source = SealError::NotForYou(names.join(", "));
                return Err(ReadError::Sealed { path: self.path.clone(), number, source });
            }
            (Some(key), true) => key.open_payload(&prefix, payload).map_err(|source| ReadError::Sealed {
                path: self.path.clone(),
                number,
                source,
            })?,
        };
        decompress(&payload).map_err(|error| ReadError::Payload {
            path: self.path.clone(),
            number,
            reason: error.to_string(),
        })
    }

    fn io(&self, source: io::Error) -> ReadError {
        ReadError::Io { path: self.path.clone(), source }
    }

    fn damaged(&self, source: Damage) -> ReadError {
        ReadError::Damaged { path: self.path.clone(), offset: self.position, source }
    }
}

/// Decompresses to a bound, with memory that grows with what comes out.
fn decompress(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(payload)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    let mut plain = Vec::new();
    decoder.take(PLAIN_BYTES_MAX as u64 + 1).read_to_end(&mut plain)?;
    if plain.len() > PLAIN_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it becomes more than {PLAIN_BYTES_MAX} bytes"),
        ));
    }
    Ok(plain)
}

/// Appends up to so many bytes; fewer where the file ends. The vector grows with what is read.
fn read_up_to(file: &mut impl Read, bytes: usize, into: &mut Vec<u8>) -> io::Result<()> {
    file.take(bytes as u64).read_to_end(into).map(drop)
}
