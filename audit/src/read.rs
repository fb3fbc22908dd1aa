//! Reads the frames of one segment file, also while its writer is writing.
//!
//! A live writer only ever adds whole frames after the last one, so whatever is not a whole frame is
//! either not there yet or damage; which of the two, a single look cannot tell. [`SegmentReader`]
//! therefore never gets stuck: after [`Step::End`] and [`Step::Torn`] it stands at the same place, and
//! asking again looks at the file again. Nothing is believed from a buffer that is older than the
//! question.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::directory::segment_first_sequence;
use crate::format::{Damage, Frame, FrameType, HEADER_BYTES, Header, HeaderError, Parsed, Seal, parse_frame};

/// How much is read at a time, in bytes. A larger frame makes the buffer grow to its size.
const READ_BYTES: usize = 256 * 1024;

/// Why a segment cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system's error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is no segment, or none that can be read.
    #[error("{}: {source}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// The file's name gives another sequence number than its header: it was renamed.
    #[error("{}: the header says that the first sequence number is {first_sequence}, the name says otherwise", path.display())]
    Misnamed {
        /// The file.
        path: PathBuf,
        /// What the header says.
        first_sequence: u64,
    },
}

impl ReadError {
    /// Whether the file is not there: for one that was listed before, retention removed it since.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What came of looking for the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole frame, and the reader stands after it. Seals come as [`Step::Sealed`].
    Frame(Frame<'a>),
    /// Nothing more is written, so far.
    End,
    /// The segment is complete: it will never hold more.
    Sealed(Seal),
    /// No whole frame stands here: a write under way, torn by a crash, or tampered with.
    Torn(Damage),
}

/// Iterates over the frames of a segment file.
#[derive(Debug)]
pub struct SegmentReader {
    path: PathBuf,
    file: File,
    header: Header,
    /// Bytes of the file from `buffer_start` on.
    buffer: Vec<u8>,
    buffer_start: u64,
    /// Where the next frame begins in the file.
    position: u64,
    next_sequence: u64,
    sealed: Option<Seal>,
    /// Bytes of the last frame.
    last_bytes: usize,
}

/// The next frame as places in the buffer.
enum Found {
    Frame {
        kind: FrameType,
        sequence: u64,
        time_micros: i64,
        body: Range<usize>,
    },
    End,
    Torn(Damage),
    /// More bytes are needed for an answer.
    Wanting(usize),
}

impl SegmentReader {
    /// Opens a segment and reads its header.
    ///
    /// # Errors
    /// [`ReadError`]: it cannot be opened, is no segment, or bears another segment's name.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        Self::from_file(file, path)
    }

    /// As [`SegmentReader::open`], on a file that is open already.
    ///
    /// # Errors
    /// As there.
    pub fn from_file(file: File, path: &Path) -> Result<Self, ReadError> {
        let path = path.to_owned();
        let mut page = vec![0; HEADER_BYTES];
        let header = match read_at_most(&file, &mut page, 0) {
            Ok(bytes) => Header::parse(page.get(..bytes).unwrap_or_default()),
            Err(source) => return Err(ReadError::Io { path, source }),
        };
        let header = match header {
            Ok(header) => header,
            Err(source) => return Err(ReadError::Header { path, source }),
        };
        if segment_first_sequence(&path).is_some_and(|named| named != header.first_sequence) {
            return Err(ReadError::Misnamed { path, first_sequence: header.first_sequence });
        }
        Ok(Self {
            path,
            file,
            next_sequence: header.first_sequence,
            header,
            buffer: Vec::new(),
            buffer_start: 0,
            position: HEADER_BYTES as u64,
            sealed: None,
            last_bytes: 0,
        })
    }

    /// The segment's header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The segment's file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next frame begins in the file: the end of all frames read.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The sequence number that the next event must have.
    #[must_use]
    pub const fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The next frame.
    ///
    /// # Errors
    /// [`ReadError::Io`] only. Damage is a [`Step`].
    #[allow(clippy::should_implement_trait, reason = "it lends the frame, which `Iterator` cannot")]
    pub fn next(&mut self) -> Result<Step<'_>, ReadError> {
        if let Some(seal) = self.sealed {
            return Ok(Step::Sealed(seal));
        }
        let mut found = self.look();
        // Anything but a whole frame may be the buffer's age or end: look at the file itself.
        let mut bytes = READ_BYTES;
        while !matches!(found, Found::Frame { .. }) {
            self.refill(bytes)?;
            found = self.look();
            match found {
                Found::Wanting(wanted) if wanted > bytes => bytes = wanted,
                Found::Wanting(_) => found = Found::Torn(Damage::CutShort),
                _ => {}
            }
            if !matches!(found, Found::Wanting(_)) {
                break;
            }
        }
        match found {
            Found::Frame { kind, sequence, time_micros, body } => {
                let body = self.buffer.get(body).unwrap_or_default();
                let frame = Frame { kind, sequence, time_micros, body };
                self.last_bytes = frame.bytes();
                self.position += self.last_bytes as u64;
                self.next_sequence = frame.next_sequence();
                if kind == FrameType::Seal {
                    // A seal that cannot be parsed still ends the segment; it just says nothing.
                    let nothing = Seal {
                        first_sequence: self.header.first_sequence,
                        entries: 0,
                        offset: 0,
                        root: [0; 32],
                        checkpoint: 0,
                    };
                    let seal = Seal::parse(body).unwrap_or(nothing);
                    self.sealed = Some(seal);
                    return Ok(Step::Sealed(seal));
                }
                Ok(Step::Frame(frame))
            }
            Found::End => Ok(Step::End),
            Found::Torn(damage) => Ok(Step::Torn(damage)),
            Found::Wanting(_) => Ok(Step::Torn(Damage::CutShort)),
        }
    }

    /// The bytes of the last frame that [`SegmentReader::next`] gave, as they stand in the file.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        let end = self.position.saturating_sub(self.buffer_start) as usize;
        self.buffer.get(end.saturating_sub(self.last_bytes)..end).unwrap_or_default()
    }

    /// What the buffer holds at the reader's position.
    fn look(&self) -> Found {
        let start = self.position.saturating_sub(self.buffer_start) as usize;
        let bytes = self.buffer.get(start..).unwrap_or_default();
        match parse_frame(bytes) {
            Parsed::Frame(frame) if frame.sequence != self.next_sequence => {
                Found::Torn(Damage::Sequence { expected: self.next_sequence, found: frame.sequence })
            }
            Parsed::Frame(frame) => Found::Frame {
                kind: frame.kind,
                sequence: frame.sequence,
                time_micros: frame.time_micros,
                body: start + frame.bytes() - frame.body.len()..start + frame.bytes(),
            },
            Parsed::End => Found::End,
            Parsed::Incomplete(wanted) => Found::Wanting(wanted),
            Parsed::Bad(damage) => Found::Torn(damage),
        }
    }

    /// Reads `bytes` of the file anew from the reader's position on.
    fn refill(&mut self, bytes: usize) -> Result<(), ReadError> {
        self.buffer.resize(bytes, 0);
        self.buffer_start = self.position;
        let read = read_at_most(&self.file, &mut self.buffer, self.position)
            .map_err(|source| ReadError::Io { path: self.path.clone(), source })?;
        self.buffer.truncate(read);
        Ok(())
    }
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
