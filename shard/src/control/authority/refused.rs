//! Starts that the control log refused. The gateway does not run then, so it keeps a line a refused start beside the
//! log, and the next start that succeeds puts them into the evidence: what somebody did to the log leaves an entry.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use tidegate_core::words::Timestamp;
use tidegate_policy::document::text::Moment;

/// The file's name in the authority's folder.
const FILE_NAME: &str = "refused-starts";
/// The most that is kept, in bytes: a gateway that is started over and over must not fill the disk.
const BYTES_MAX: u64 = 64 * 1024;

/// Keeps that a start was refused at `now`, and why. Says so in the log where it cannot.
pub(super) fn note(directory: &Path, now: Timestamp, why: &str) {
    if let Err(error) = try_note(directory, now, why) {
        tracing::warn!("that this start was refused cannot be kept for the evidence: {error}");
    }
}

fn try_note(directory: &Path, now: Timestamp, why: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(directory.join(FILE_NAME))?;
    if file.metadata()?.len() >= BYTES_MAX {
        return Ok(());
    }
    let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect();
    file.write_all(format!("{} {why}\n", Moment(now)).as_bytes())?;
    file.sync_all()
}

/// The refused starts since the last that succeeded, a line each.
pub(super) fn read(directory: &Path) -> Vec<String> {
    let text = fs::read(directory.join(FILE_NAME)).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

/// Forgets them: the evidence has them now.
pub(super) fn clear(directory: &Path) {
    match fs::remove_file(directory.join(FILE_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!("refused starts will be in the evidence once more: {error}");
        }
        _ => {}
    }
}
