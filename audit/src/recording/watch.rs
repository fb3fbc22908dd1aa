//! Who watched recordings where no gateway could be told: on copied files, far from any.
//!
//! Watching belongs into the evidence of the gateway (an entry of kind `recording`, act `watched`). Where that cannot
//! be, it is written into a log of its own beside the recordings, which says so: a JSON object a line, each with the
//! hash of the line before it. It is no evidence: whoever may write it may write it anew.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// The log's name below the evidence's folder.
pub const WATCH_LOG: &str = "watched-offline.jsonl";
/// The longest line.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// One look at one recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// When, RFC 3339.
    pub time: String,
    /// Which recording.
    pub recording: String,
    /// How: shown, replayed, replayed against a broker.
    pub how: String,
    /// The user of the operating system.
    pub user: String,
    /// Why, where it was said.
    #[serde(default)]
    pub why: String,
    /// That this is no evidence.
    #[serde(default)]
    pub remark: String,
    /// SHA-256 of the line before, in hexadecimal; empty in the first.
    #[serde(default)]
    pub before: String,
}

/// Appends to the log at `path`, and syncs it.
///
/// # Errors
/// What the operating system says: then nothing may be shown.
pub fn append(path: &Path, mut watched: Watched) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    file.lock()?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LINE_BYTES_MAX)))?;
    let mut end = Vec::new();
    (&mut file).take(LINE_BYTES_MAX).read_to_end(&mut end)?;
    let last = end.strip_suffix(b"\n").and_then(|end| end.rsplit(|byte| *byte == b'\n').next());
    watched.before = last.map(hex).unwrap_or_default();
    watched.remark = "written by the command line; no part of the gateway's evidence".to_owned();
    let mut line = serde_json::to_vec(&watched)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_data()
}

fn hex(line: &[u8]) -> String {
    digest(&SHA256, line).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
