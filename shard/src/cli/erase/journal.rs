//! How far a run of a plan has come: a file beside the plan, a line a step, on the disk before the next step begins. A run
//! that was cut off is taken up with it; every step may be done twice without harm.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// The first line: of which run it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    run: String,
    approval: String,
    digest: String,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Done {
    step: u32,
    outcome: String,
}

/// A run's journal.
#[derive(Debug)]
pub(super) struct Journal {
    /// What tells this run from any other.
    pub run: String,
    file: File,
    done: BTreeMap<u32, String>,
}

impl Journal {
    /// The journal's file: beside the plan.
    pub(super) fn path(plan: &Path) -> PathBuf {
        let mut name = plan.file_name().unwrap_or_default().to_owned();
        name.push(".run");
        plan.with_file_name(name)
    }

    /// Opens the journal of a plan's run, or begins one. What a crash tore at its end is left out.
    pub(super) fn open(plan: &Path, approval: &str, digest: &str) -> anyhow::Result<Self> {
        let path = Self::path(plan);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        if file.try_lock().is_err() {
            bail!("{} is in use: the plan is being run", path.display());
        }
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64)?;
        }
        let mut lines = text.get(..whole).unwrap_or_default().lines();
        let Some(head) = lines.next() else {
            return Self::begin(file, approval, digest);
        };
        let wrong = || format!("{} is no journal of a run", path.display());
        let head: Head = serde_json::from_str(head).with_context(wrong)?;
        let others = head.approval != approval || head.digest != digest;
        let mut lines = lines.peekable();
        if others && lines.peek().is_none() {
            // Nothing was done in it.
            file.set_len(0)?;
            return Self::begin(file, approval, digest);
        }
        if others {
            bail!("{} is of another run (approval {}): move it away to begin anew", path.display(), head.approval);
        }
        let mut done = BTreeMap::new();
        for line in lines {
            let Done { step, outcome } = serde_json::from_str(line).with_context(wrong)?;
            done.insert(step, outcome);
        }
        Ok(Self { run: head.run, file, done })
    }

    fn begin(mut file: File, approval: &str, digest: &str) -> anyhow::Result<Self> {
        let run = uuid::Uuid::now_v7().to_string();
        let head = Head { run: run.clone(), approval: approval.to_owned(), digest: digest.to_owned() };
        write(&mut file, &head)?;
        Ok(Self { run, file, done: BTreeMap::new() })
    }

    /// What came of a step, where it was done.
    pub(super) fn outcome(&self, step: u32) -> Option<&str> {
        self.done.get(&step).map(String::as_str)
    }

    /// Notes that a step is done; on the disk when this returns.
    pub(super) fn note(&mut self, step: u32, outcome: &str) -> anyhow::Result<()> {
        write(&mut self.file, &Done { step, outcome: outcome.to_owned() })?;
        self.done.insert(step, outcome.to_owned());
        Ok(())
    }
}

fn write(file: &mut File, line: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text).and_then(|()| file.sync_data()).context("the journal cannot be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_taken_up_where_it_was_cut_off_and_by_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let plan = folder.path().join("plan.json");
        let mut journal = Journal::open(&plan, "ap-1", "d").unwrap();
        journal.note(1, "done").unwrap();
        journal.note(2, "gone already").unwrap();
        assert!(Journal::open(&plan, "ap-1", "d").unwrap_err().to_string().contains("in use"));
        let run = journal.run.clone();
        drop(journal);
        let path = Journal::path(&plan);
        assert!(path.ends_with("plan.json.run"));
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"step\":3,\"out")).unwrap();
        let mut again = Journal::open(&plan, "ap-1", "d").unwrap();
        assert_eq!((&again.run, again.outcome(1), again.outcome(3)), (&run, Some("done"), None));
        again.note(3, "done").unwrap();
        drop(again);
        assert_eq!(Journal::open(&plan, "ap-1", "d").unwrap().outcome(3), Some("done"));
        for (approval, digest) in [("ap-2", "d"), ("ap-1", "other")] {
            assert!(Journal::open(&plan, approval, digest).unwrap_err().to_string().contains("another run"));
        }
        std::fs::write(&path, "{}\n").unwrap();
        assert!(Journal::open(&plan, "ap-1", "d").is_err());
    }
}
