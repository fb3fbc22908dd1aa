//! One writer a directory: an advisory lock that ends with the process, however it ends.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use super::errors::OpenError;

/// How often, and after which pause, a lock is tried for again that this very process seems to hold.
pub(super) const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// Takes the shard's advisory lock and leaves the process id for whoever is refused.
pub(super) fn lock(directory: &Path, patience: u32) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { directory: directory.to_owned(), source };
    let path = directory.join("lock");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = (&file).take(20).read_to_string(&mut pid);
            // A child of ours that is about to become another program holds what we held, for a moment.
            if pid.trim() == std::process::id().to_string() && patience > 0 {
                std::thread::sleep(LOCK_PAUSE);
                return lock(directory, patience - 1);
            }
            let holder = if pid.trim().is_empty() { String::new() } else { format!(" (pid {})", pid.trim()) };
            return Err(OpenError::Locked { directory: directory.to_owned(), holder });
        }
        Err(fs::TryLockError::Error(source)) => return Err(io(source)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(io)?;
    Ok(file)
}
