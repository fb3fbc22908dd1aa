//! Where segments lie: names, listing, allocation.
//!
//! The one place that knows file names. Files that bear a segment's name but are none are errors
//! for whoever opens them; other files in a shard's directory are left alone.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// A file or directory that cannot be read, written or removed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError {
    /// What it was.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: says which file an error is about.
    pub fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { path: path.to_owned(), source }
    }
}

/// The ending of a segment's name.
pub const SEGMENT_EXTENSION: &str = "tgs";

/// The directory of one shard.
#[must_use]
pub fn shard_directory(root: &Path, shard: u32) -> PathBuf {
    root.join(format!("shard-{shard:03}"))
}

/// The segment whose first entry has this sequence number.
#[must_use]
pub fn segment_path(directory: &Path, first_sequence: u64) -> PathBuf {
    directory.join(format!("{first_sequence:020}.{SEGMENT_EXTENSION}"))
}

/// The first sequence number that a segment's name gives; `None` for other names.
#[must_use]
pub fn segment_first_sequence(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(SEGMENT_EXTENSION)?.strip_suffix('.')?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The segments of a shard's directory, by their first sequence numbers, in order.
///
/// # Errors
/// What the operating system says; a file that ends in `.tgs` but has no segment's name.
pub fn segments(directory: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match segment_first_sequence(&path) {
            Some(first) => found.push(first),
            None if path.extension().is_some_and(|extension| extension == SEGMENT_EXTENSION) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{} is not named like a segment (20 digits and .tgs)", path.display()),
                ));
            }
            None => {}
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The shards that have a directory below `root`, in order, with their directories.
///
/// # Errors
/// What the operating system says.
pub fn shards(root: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_prefix("shard-")?.parse::<u32>().ok());
        if let Some(shard) = number
            && path == shard_directory(root, shard)
            && path.is_dir()
        {
            found.push((shard, path));
        }
    }
    found.sort_unstable_by_key(|(shard, _)| *shard);
    Ok(found)
}

/// Makes names that were created, renamed or removed in a directory survive a loss of power.
///
/// # Errors
/// What the operating system says.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Creates a file of `bytes` zeros, or leaves nothing behind. With `written`, the zeros are
/// written to the disk: later syncs then need not record newly used blocks, which makes them several
/// times cheaper. Without it the space is only reserved.
pub(crate) fn allocate(path: &Path, bytes: u64, written: bool) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    let filled = if written {
        fill_with_zeros(&file, 0, bytes)
    } else {
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            // Not every file system can reserve; all can write.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => fill_with_zeros(&file, 0, bytes),
            other => other.map_err(io::Error::from),
        }
    };
    match filled.and_then(|()| file.sync_all()) {
        Ok(()) => Ok(file),
        Err(error) => {
            // The first error is the one to tell; a leftover is removed at the next opening.
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

/// Writes zeros from `start` up to `end`.
pub(crate) fn fill_with_zeros(file: &File, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; (end.saturating_sub(start)).min(1 << 20) as usize];
    let mut offset = start;
    while offset < end {
        let step = (end - offset).min(zeros.len() as u64);
        file.write_all_at(&zeros[..step as usize], offset)?;
        offset += step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let path = segment_path(Path::new("/e/shard-000"), 48213);
        assert_eq!(path.to_str(), Some("/e/shard-000/00000000000000048213.tgs"));
        for (name, first) in [
            ("00000000000000048213.tgs", Some(48213)),
            ("18446744073709551615.tgs", Some(u64::MAX)),
            ("99999999999999999999.tgs", None),
            ("48213.tgs", None),
            ("+0000000000000048213.tgs", None),
            ("00000000000000048213.tmp", None),
            (".tgs", None),
        ] {
            assert_eq!(segment_first_sequence(Path::new(name)), first, "{name}");
        }
    }

    #[test]
    fn listings() {
        let root = tempfile::tempdir().unwrap();
        for name in ["shard-010", "shard-000", "shard-1000", "shard-1", "other"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("shard-002"), "a file").unwrap();
        let found: Vec<u32> = shards(root.path()).unwrap().into_iter().map(|(shard, _)| shard).collect();
        assert_eq!(found, [0, 10, 1000]);

        let directory = shard_directory(root.path(), 0);
        for name in ["00000000000000000007.tgs", "00000000000000000000.tgs", "lock", "prepared-0.tmp"] {
            fs::write(directory.join(name), "").unwrap();
        }
        assert_eq!(segments(&directory).unwrap(), [0, 7]);
        fs::write(directory.join("copy.tgs"), "").unwrap();
        assert!(segments(&directory).unwrap_err().to_string().contains("copy.tgs"));
    }

    #[test]
    fn allocation_is_zeros_and_all_or_nothing() {
        let root = tempfile::tempdir().unwrap();
        for written in [false, true] {
            let path = root.path().join(format!("{written}"));
            allocate(&path, 3 << 20, written).unwrap();
            assert_eq!(fs::read(&path).unwrap(), vec![0; 3 << 20]);
            assert!(allocate(&path, 5, written).is_err(), "an existing file is never taken over");
            assert_eq!(fs::metadata(&path).unwrap().len(), 3 << 20);
        }
    }
}
