//! The control log: every event in one order, kept for ever.
//!
//! [`ControlLog`] is what the actor needs of one; [`FileLog`] is a local file, for one gateway. A topic of one
//! partition will be the other form, for several.
//!
//! The file holds a line an event, each a JSON object by itself: its sequence number, the event, `hash`, which is
//! SHA-256 over the hash of the line before and this line up to it, and `crc`, the CRC-32C of the line up to it. So a
//! line that was changed, left out, put elsewhere or written twice is found when the gateway starts, and named by
//! its number. What follows the last newline was torn by a crash before anybody was told of it, and is cut off. Whole
//! lines missing at the end leave no trace in the file: the evidence has every event's hash.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use tidegate_policy::authority::{ControlEvent, Inconsistent};

/// The file's name in its folder.
pub const FILE_NAME: &str = "control.log";
/// The longest line that is read or written, in bytes: a held operation of 1,000 resources fits.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// What replaying gives each event to; the first refusal ends it.
pub type Each<'a> = &'a mut dyn FnMut(u64, ControlEvent) -> Result<(), Inconsistent>;

/// An ordered log of events.
pub trait ControlLog: Send {
    /// Gives every event so far to `each`, in order, with sequence numbers from 1.
    ///
    /// # Errors
    /// Where the log cannot be read or its events do not follow from each other, with the place.
    fn replay(&mut self, each: Each<'_>) -> Result<Replayed, LogError>;

    /// Puts an event to the end and returns its sequence number. It may be lost until [`ControlLog::sync`].
    ///
    /// # Errors
    /// What the operating system says. Nothing may be appended after it.
    fn append(&mut self, event: &ControlEvent) -> io::Result<u64>;

    /// Makes everything that was appended survive a loss of power.
    ///
    /// # Errors
    /// What the operating system says. Nothing may be appended after it.
    fn sync(&mut self) -> io::Result<()>;

    /// The hash of the last event, in hexadecimal, which stands for everything up to it.
    fn head(&self) -> String;
}

/// What replaying found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many events.
    pub events: u64,
    /// Bytes of a line torn by a crash that were cut off.
    pub torn_bytes: u64,
}

/// Why a control log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// What the operating system says.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("{path} is in use by another process; one gateway writes a control log")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A line is not what was written.
    #[error("{path}, line {line}: {what}. The control log was changed; the gateway does not start on it")]
    Changed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// A local file.
#[derive(Debug)]
pub struct FileLog {
    path: PathBuf,
    file: File,
    sequence: u64,
    head: [u8; 32],
    /// Lines appended and not yet written.
    waiting: Vec<u8>,
}

impl FileLog {
    /// Opens, or makes, the log in `directory`, for this process alone. [`ControlLog::replay`] comes next.
    ///
    /// # Errors
    /// What the operating system says; another process that has it open.
    pub fn open(directory: &Path) -> Result<Self, LogError> {
        let path = directory.join(FILE_NAME);
        let failed = |source| LogError::Io { path: path.clone(), source };
        fs::create_dir_all(directory).map_err(failed)?;
        // It names people and their reasons, and who may write to it may grant himself anything.
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogError::Locked { path }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The name itself must survive a loss of power as well.
        File::open(directory).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(Self { path, file, sequence: 0, head: [0; 32], waiting: Vec::new() })
    }

    fn io(&self, source: io::Error) -> LogError {
        LogError::Io { path: self.path.clone(), source }
    }

    fn changed(&self, line: u64, what: impl Into<String>) -> LogError {
        LogError::Changed { path: self.path.clone(), line, what: what.into() }
    }
}

impl ControlLog for FileLog {
    fn replay(&mut self, each: Each<'_>) -> Result<Replayed, LogError> {
        let mut file = self.file.try_clone().map_err(|error| self.io(error))?;
        file.seek(SeekFrom::Start(0)).map_err(|error| self.io(error))?;
        let mut reader = BufReader::new(file);
        let (mut line, mut whole_bytes, mut number) = (Vec::new(), 0u64, 0u64);
        (self.sequence, self.head) = (0, [0; 32]);
        loop {
            line.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            let read = io::Read::take(&mut reader, limit).read_until(b'\n', &mut line).map_err(|e| self.io(e))?;
            if read == 0 {
                return Ok(Replayed { events: number, torn_bytes: 0 });
            }
            number += 1;
            let Some(text) = line.strip_suffix(b"\n") else {
                if line.len() > LINE_BYTES_MAX {
                    return Err(self.changed(number, format!("it is longer than {LINE_BYTES_MAX} bytes")));
                }
                break;
            };
            let (event, head) = read_line(text, number, &self.head).map_err(|what| self.changed(number, what))?;
            each(number, event).map_err(|error| self.changed(number, error.to_string()))?;
            (self.sequence, self.head) = (number, head);
            whole_bytes += read as u64;
        }
        self.file.set_len(whole_bytes).and_then(|()| self.file.sync_all()).map_err(|error| self.io(error))?;
        Ok(Replayed { events: self.sequence, torn_bytes: line.len() as u64 })
    }

    fn append(&mut self, event: &ControlEvent) -> io::Result<u64> {
        let sequence = self.sequence + 1;
        let (line, head) = write_line(event, sequence, &self.head)?;
        self.waiting.extend_from_slice(&line);
        (self.sequence, self.head) = (sequence, head);
        Ok(sequence)
    }

    fn sync(&mut self) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.file.write_all(&waiting)?;
        self.file.sync_data()
    }

    fn head(&self) -> String {
        hex(&self.head)
    }
}

const HASH_KEY: &[u8] = b",\"hash\":\"";
const CRC_KEY: &[u8] = b"\",\"crc\":\"";
const END: &[u8] = b"\"}";

/// A line with its newline, and its hash.
fn write_line(event: &ControlEvent, sequence: u64, before: &[u8; 32]) -> io::Result<(Vec<u8>, [u8; 32])> {
    let mut line = format!("{{\"sequence\":{sequence},\"event\":").into_bytes();
    serde_json::to_writer(&mut line, event)?;
    let head = chain(before, &line);
    line.extend_from_slice(HASH_KEY);
    line.extend_from_slice(hex(&head).as_bytes());
    line.extend_from_slice(CRC_KEY);
    let crc = crc_fast::crc32_iscsi(&line);
    line.extend_from_slice(format!("{crc:08x}").as_bytes());
    line.extend_from_slice(END);
    line.push(b'\n');
    if line.len() > LINE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the event is too large for the control log"));
    }
    Ok((line, head))
}

/// The event of a line without its newline, and its hash.
fn read_line(line: &[u8], sequence: u64, before: &[u8; 32]) -> Result<(ControlEvent, [u8; 32]), String> {
    let shape = || "it is not shaped like a line of a control log".to_owned();
    let rest = line.strip_suffix(END).ok_or_else(shape)?;
    let (checked, crc) = rest.split_at_checked(rest.len().saturating_sub(8)).ok_or_else(shape)?;
    let expected = crc_fast::crc32_iscsi(checked);
    if crc != format!("{expected:08x}").as_bytes() {
        return Err("its checksum is wrong".to_owned());
    }
    let rest = checked.strip_suffix(CRC_KEY).ok_or_else(shape)?;
    let (rest, hash) = rest.split_at_checked(rest.len().saturating_sub(64)).ok_or_else(shape)?;
    let body = rest.strip_suffix(HASH_KEY).ok_or_else(shape)?;
    let head = chain(before, body);
    let start = format!("{{\"sequence\":{sequence},\"event\":");
    let Some(event) = body.strip_prefix(start.as_bytes()) else {
        return Err(format!("event {sequence} belongs here, and another stands here"));
    };
    if hash != hex(&head).as_bytes() {
        return Err("it does not follow from the line before".to_owned());
    }
    let event = serde_json::from_slice(event).map_err(|error| format!("its event cannot be read: {error}"))?;
    Ok((event, head))
}

fn chain(before: &[u8; 32], body: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(body);
    let mut head = [0; 32];
    head.copy_from_slice(context.finish().as_ref());
    head
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
