//! Notices that files changed, by asking for their metadata once a second.
//!
//! Polling sees what inotify misses: network file systems, Kubernetes' symlink swaps, a folder that
//! was replaced. A change counts once the file looked the same twice in a row, so that a file that is
//! being written isn't read half.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a file looks like from outside; `None` where it isn't there.
type Look = Option<(u64, u64, u64, i64, i64, i64)>;

/// A set of files that belong together: when one changes, all are read anew.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// How they looked when they were last taken over.
    taken: Vec<Look>,
    /// How they looked the last time.
    seen: Vec<Look>,
}

impl Watch {
    /// Watches these files from now on.
    #[must_use]
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let taken = look(&files);
        Self { files, seen: taken.clone(), taken }
    }

    /// Whether it is these files that are watched.
    pub(super) fn is_of(&self, files: &[PathBuf]) -> bool {
        self.files == files
    }

    /// Whether the files are others than were taken over, and no longer change.
    pub(super) fn changed(&mut self) -> bool {
        let now = look(&self.files);
        let settled = now == self.seen;
        self.seen = now;
        settled && self.seen != self.taken
    }

    /// The files as they are now are taken over (or refused): they are news no longer.
    pub(super) fn take(&mut self) {
        self.seen = look(&self.files);
        self.taken.clone_from(&self.seen);
    }
}

fn look(files: &[PathBuf]) -> Vec<Look> {
    files.iter().map(|file| look_at(file)).collect()
}

fn look_at(file: &Path) -> Look {
    let metadata = std::fs::metadata(file).ok()?;
    let (modified, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    Some((metadata.dev(), metadata.ino(), metadata.size(), modified, nanos, metadata.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_it_settles_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        std::fs::write(&file, "one").unwrap();
        let mut watch = Watch::new(vec![file.clone()]);
        assert!(!watch.changed());
        std::fs::write(&file, "one, and more").unwrap();
        assert!(!watch.changed(), "it may still be being written");
        assert!(watch.changed());
        watch.take();
        assert!(!watch.changed());
        std::fs::remove_file(&file).unwrap();
        assert!(!watch.changed());
        assert!(watch.changed(), "a file that went away is a change too");
    }

    #[test]
    fn a_swapped_symlink_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("a"), "x").unwrap();
        std::fs::write(at("b"), "x").unwrap();
        std::os::unix::fs::symlink(at("a"), at("link")).unwrap();
        let mut watch = Watch::new(vec![at("link")]);
        std::os::unix::fs::symlink(at("b"), at("new")).unwrap();
        std::fs::rename(at("new"), at("link")).unwrap();
        assert!(!watch.changed());
        assert!(watch.changed());
    }
}
