//! Writing one recording: exchanges go into a chunk; a full or old chunk is compressed, sealed where the rule says so,
//! and written as one frame with one system call. The file is closed in between, so that thousands of recordings cost
//! no descriptors.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use prost::Message;
use tidegate_core::event::{RecordingAct, RecordingNote};

use super::format::{
    End, Exchange, FramePrefix, Header, PAYLOAD_BYTES_MAX, RecordedMode, encode_frame, encode_header, hash,
};
use super::seal::{DataKey, PublicKey, SealError};
use super::{RecordingId, recording_path, recordings_directory};
use crate::tree::Hash;

/// How much of exchanges a chunk holds before it is written, in bytes.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// zstd's default level: 0.25 GB/s, off the hot path.
const LEVEL: i32 = 3;

/// Why a recording cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What the operating system said.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// It cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A chunk became larger than a reader would take.
    #[error("a chunk of {0} bytes is larger than any reader takes")]
    TooLarge(usize),
}

/// A recording that is being written.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    key: Option<DataKey>,
    durable: bool,
    part: u32,
    rule: String,
    mode: RecordedMode,
    /// Exchanges not written yet, each behind its length.
    plain: Vec<u8>,
    plain_exchanges: u64,
    exchanges: u64,
    number: u32,
    position: u64,
    before: Hash,
}

impl Writer {
    /// Begins a recording below `root`; the note for the evidence says so. With `durable` each write is on the disk before
    /// its note is returned. `auditors` are those that sealed payloads are for; without any nothing is sealed.
    ///
    /// # Errors
    /// [`WriteError`]; a recording of this name exists.
    pub fn begin(
        root: &Path,
        mut header: Header,
        auditors: &[(String, PublicKey)],
        durable: bool,
    ) -> Result<(Self, RecordingNote), WriteError> {
        let key = if auditors.is_empty() { None } else { Some(DataKey::make(&mut header, auditors)?) };
        let directory = recordings_directory(root, header.shard);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(|source| WriteError::Io { path: directory, source })?;
        let id = RecordingId { session: header.session.clone(), part: header.part };
        let path = recording_path(root, header.shard, &id);
        let bytes = encode_header(&header);
        let mut writer = Self {
            path,
            key,
            durable,
            part: header.part,
            rule: header.rule.clone(),
            mode: RecordedMode::try_from(header.mode).unwrap_or(RecordedMode::Headers),
            plain: Vec::new(),
            plain_exchanges: 0,
            exchanges: 0,
            number: 0,
            position: 0,
            before: hash(&bytes),
        };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&writer.path);
        let file = file.map_err(|source| writer.io(source))?;
        writer.write(file, &bytes)?;
        let note = writer.note(RecordingAct::Started, 0, 0, bytes.len(), 0);
        Ok((writer, note))
    }

    /// Takes an exchange into the chunk.
    pub fn push(&mut self, exchange: &Exchange) {
        // A vector takes any message.
        let _ = exchange.encode_length_delimited(&mut self.plain);
        self.plain_exchanges += 1;
    }

    /// Bytes of exchanges that are not written yet.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        self.position
    }

    /// Writes the chunk, where there is anything in it; the note for the evidence.
    ///
    /// # Errors
    /// [`WriteError`]. What was in the chunk is lost then, and the recording must be cut.
    pub fn write_chunk(&mut self) -> Result<Option<RecordingNote>, WriteError> {
        if self.plain.is_empty() {
            return Ok(None);
        }
        let plain = std::mem::take(&mut self.plain);
        let exchanges = std::mem::take(&mut self.plain_exchanges);
        let note = self.frame(&plain, false, RecordingAct::Chunk, exchanges)?;
        self.exchanges += exchanges;
        // The room is kept for the next chunk, unless one exchange made it large.
        if plain.capacity() <= 2 * CHUNK_BYTES {
            self.plain = plain;
            self.plain.clear();
        }
        Ok(Some(note))
    }

    /// Writes what is left and the end; the notes for the evidence.
    ///
    /// # Errors
    /// [`WriteError`].
    pub fn end(mut self, cut: bool, reason: &str, time_micros: i64) -> Result<Vec<RecordingNote>, WriteError> {
        let mut notes: Vec<RecordingNote> = self.write_chunk()?.into_iter().collect();
        let end = End { exchanges: self.exchanges, cut, reason: reason.to_owned(), time_micros };
        let act = if cut { RecordingAct::Cut } else { RecordingAct::Ended };
        notes.push(self.frame(&end.encode_to_vec(), true, act, self.exchanges)?);
        Ok(notes)
    }

    /// The note of a cut that no end frame could be written for.
    #[must_use]
    pub fn abandoned(&self) -> RecordingNote {
        RecordingNote {
            sha256: Vec::new(),
            ..self.note(RecordingAct::Cut, self.number, self.position, 0, self.exchanges)
        }
    }

    fn frame(
        &mut self,
        plain: &[u8],
        end: bool,
        act: RecordingAct,
        exchanges: u64,
    ) -> Result<RecordingNote, WriteError> {
        let mut payload = zstd::bulk::compress(plain, LEVEL).map_err(|source| self.io(source))?;
        let overhead = if self.key.is_some() { DataKey::overhead() } else { 0 };
        let payload_bytes = payload.len() + overhead;
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(WriteError::TooLarge(payload_bytes));
        }
        let prefix =
            FramePrefix { number: self.number, payload_bytes, sealed: self.key.is_some(), end, before: self.before };
        if let Some(key) = &self.key {
            key.seal(&prefix, &mut payload)?;
        }
        debug_assert_eq!(payload.len(), payload_bytes);
        let frame = encode_frame(&prefix, &payload);
        let file = OpenOptions::new().append(true).open(&self.path).map_err(|source| self.io(source))?;
        let offset = self.position;
        self.before = hash(&frame);
        self.write(file, &frame)?;
        let note = self.note(act, self.number, offset, frame.len(), exchanges);
        self.number += 1;
        Ok(note)
    }

    fn write(&mut self, mut file: File, bytes: &[u8]) -> Result<(), WriteError> {
        let written = file.write_all(bytes).and_then(|()| if self.durable { file.sync_data() } else { Ok(()) });
        if let Err(source) = written {
            // What was written of it must not stand there as if it belonged to the recording.
            let _ = file.set_len(self.position);
            return Err(self.io(source));
        }
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn note(&self, act: RecordingAct, chunk: u32, offset: u64, bytes: usize, exchanges: u64) -> RecordingNote {
        RecordingNote {
            act: act as i32,
            part: self.part,
            chunk,
            offset,
            bytes: bytes as u64,
            sha256: self.before.to_vec(),
            exchanges,
            rule: self.rule.clone(),
            mode: self.mode.name().to_owned(),
        }
    }

    fn io(&self, source: io::Error) -> WriteError {
        WriteError::Io { path: self.path.clone(), source }
    }
}
