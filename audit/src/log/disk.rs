//! The log's way to the disk: one place where every write, sync and rename of it passes, so that tests can put
//! faults there and take away what was not synced, as a loss of power does.
//!
//! Without [`Faults`] these are the operating system's calls and nothing else.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

/// What stands between the log and the disk in a test.
pub trait Faults: fmt::Debug + Send + Sync {
    /// Writes `bytes`, or a part of them and then fails.
    ///
    /// # Errors
    /// Those of a write.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Sets a file's length.
    ///
    /// # Errors
    /// Those of `ftruncate`.
    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()>;
    /// Makes a file's content durable.
    ///
    /// # Errors
    /// Those of `fsync`.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Gives a file another name, in place of whatever had it.
    ///
    /// # Errors
    /// Those of `rename`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a directory's names durable.
    ///
    /// # Errors
    /// Those of `fsync`.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// The disk, with faults or without.
#[derive(Debug, Clone, Default)]
pub struct Disk(Option<Arc<dyn Faults>>);

impl Disk {
    /// A disk with faults.
    #[must_use]
    pub fn with_faults(faults: Arc<dyn Faults>) -> Self {
        Self(Some(faults))
    }

    pub(super) fn file(&self, file: File) -> LogFile {
        LogFile { file, disk: self.clone() }
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match &self.0 {
            None => fs::rename(from, to),
            Some(faults) => faults.rename(from, to),
        }
    }

    pub(super) fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        match &self.0 {
            None => crate::directory::sync_directory(directory),
            Some(faults) => faults.sync_directory(directory),
        }
    }

    /// Replaces a file's content as a whole: after a loss of power it is the one before or the one after.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&new)?;
        let file = self.file(file);
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        self.rename(&new, path)
    }
}

/// A file of the log. Reading goes to the file itself.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    disk: Disk,
}

impl Deref for LogFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl LogFile {
    pub(super) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &self.disk.0 {
            None => self.file.write_all_at(bytes, offset),
            Some(faults) => faults.write(&self.file, bytes, offset),
        }
    }

    pub(super) fn set_len(&self, bytes: u64) -> io::Result<()> {
        match &self.disk.0 {
            None => self.file.set_len(bytes),
            Some(faults) => faults.set_len(&self.file, bytes),
        }
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        match &self.disk.0 {
            None => self.file.sync_data(),
            Some(faults) => faults.sync(&self.file),
        }
    }

    pub(super) fn sync_all(&self) -> io::Result<()> {
        match &self.disk.0 {
            None => self.file.sync_all(),
            Some(faults) => faults.sync(&self.file),
        }
    }

    /// Writes zeros from `start` up to `end`.
    pub(super) fn fill_with_zeros(&self, start: u64, end: u64) -> io::Result<()> {
        let zeros = vec![0; end.saturating_sub(start).min(1 << 20) as usize];
        let mut offset = start;
        while let Some(part) = zeros.get(..(end.saturating_sub(offset)).min(zeros.len() as u64) as usize)
            && !part.is_empty()
        {
            self.write_all_at(part, offset)?;
            offset += part.len() as u64;
        }
        Ok(())
    }
}
