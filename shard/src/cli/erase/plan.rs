//! The plan of an erasure: a file that a person reads, an approver agrees to by its SHA-256, and `run` follows step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use tidegate_audit::subject::account::{Account, ranges_text};

/// The largest plan that is read, in bytes.
const PLAN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How a topic forgets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Forgetting {
    /// Whether later records of a key replace earlier ones (`cleanup.policy` has `compact`).
    pub compacts: bool,
    /// How long records are kept, in milliseconds, where age removes them; `None` where it never does.
    pub retention_millis: Option<i64>,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    /// The version of this form: 1.
    pub version: u32,
    /// What this is, for whoever opens the file.
    pub about: String,
    /// When it was made.
    pub made: String,
    /// The evidence that it was made from.
    pub evidence: String,
    /// Whose data: keyed tags, `EPOCH:CLASS:TAG`. Whoever has the evidence's secrets and the value can check them.
    pub subject: Vec<String>,
    /// What could not be searched: where it is not empty, there may be more.
    pub not_searched: Vec<String>,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Step {
    /// Write a record without a value with the key of this one, so that compaction removes it.
    Tombstone {
        topic: String,
        partition: i32,
        offset: i64,
        /// What that does, for people.
        note: String,
    },
    /// Delete every record of the partition before an offset, whoever's they are.
    DeleteRecords { topic: String, partition: i32, before: i64, note: String },
    /// Nothing: age removes these.
    Wait { topic: String, partition: i32, offsets: String, until: String, note: String },
    /// The last one, done by hand on the evidence itself.
    Shred { epochs: Vec<u32>, note: String },
}

impl Step {
    /// Its topic.
    pub(super) fn topic(&self) -> Option<&str> {
        match self {
            Self::Tombstone { topic, .. } | Self::DeleteRecords { topic, .. } | Self::Wait { topic, .. } => Some(topic),
            Self::Shred { .. } => None,
        }
    }

    /// What it does, in a line.
    pub(super) fn what(&self) -> String {
        match self {
            Self::Tombstone { topic, partition, offset, .. } => {
                format!("tombstone for the key of {topic}-{partition}@{offset}")
            }
            Self::DeleteRecords { topic, partition, before, .. } => {
                format!("delete all records of {topic}-{partition} before offset {before}")
            }
            Self::Wait { topic, partition, offsets, until, .. } => {
                format!("wait for retention of {topic}-{partition}: {offsets} ({until})")
            }
            Self::Shred { epochs, .. } => format!("shred epochs {epochs:?} of the evidence's secrets"),
        }
    }
}

impl Plan {
    /// Reads a plan; with it the SHA-256 of the file, in hexadecimal.
    pub(super) fn read(path: &Path) -> anyhow::Result<(Self, String)> {
        let length = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
        if length > PLAN_BYTES_MAX {
            bail!("{} is too large to be a plan", path.display());
        }
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let plan: Self =
            serde_json::from_slice(&bytes).with_context(|| format!("{} is no plan of an erasure", path.display()))?;
        if plan.version != 1 {
            bail!("{} has version {} of the form, which is not known", path.display(), plan.version);
        }
        let hash = digest(&SHA256, &bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Ok((plan, hash))
    }

    /// The topics that its steps touch, in order. Waiting touches none.
    pub(super) fn topics(&self) -> Vec<String> {
        let touching = self.steps.iter().filter(|step| !matches!(step, Step::Wait { .. }));
        let topics: BTreeSet<&str> = touching.filter_map(Step::topic).collect();
        topics.into_iter().map(str::to_owned).collect()
    }
}

/// The steps for what evidence says. `topics` has how each topic forgets; `delete` names topics whose records may be
/// deleted up to the subject's last one, others' with them.
pub(super) fn steps(
    account: &Account,
    topics: &BTreeMap<String, Forgetting>,
    delete: &[String],
    epochs: &BTreeSet<u32>,
    dir: &str,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for messages in &account.messages {
        let (topic, partition) = (messages.topic.clone(), messages.partition);
        let forgetting = topics.get(&topic).cloned().unwrap_or_default();
        let last = messages.offsets.last().map_or(0, |(_, last)| *last);
        if delete.contains(&topic) {
            let before = last.saturating_add(1);
            let note = format!(
                "Takes effect at once, and takes every record of this partition before offset {before} with it, whoever's \
                 it is; {} of them are this subject's. Nobody can ask for them any more; the broker's files lose them with \
                 their segment, and until then a batch that goes on behind that offset is still sent whole",
                messages.count
            );
            steps.push(Step::DeleteRecords { topic, partition, before, note });
        } else if forgetting.compacts {
            for offset in messages.offsets.iter().flat_map(|(first, last)| *first..=*last) {
                let note =
                    "The broker removes this record, and every other of its key, when it compacts; the empty one \
                            that stands for them goes after delete.retention.ms"
                        .to_owned();
                steps.push(Step::Tombstone { topic: topic.clone(), partition, offset, note });
            }
        } else {
            let offsets = ranges_text(&messages.offsets);
            let (until, note) = match forgetting.retention_millis {
                Some(millis) => (
                    format!("{millis} ms after {}, and when its segment is old enough", messages.last_seen),
                    "Nothing is done: age removes them. To be sooner, make the plan with --delete-records for this topic, \
                     which takes other people's records with it"
                        .to_owned(),
                ),
                None => (
                    "never".to_owned(),
                    "Age never removes records of this topic, and it does not compact: make the plan with \
                     --delete-records for it, or change its configuration"
                        .to_owned(),
                ),
            };
            steps.push(Step::Wait { topic, partition, offsets, until, note });
        }
    }
    if !epochs.is_empty() {
        let commands: Vec<String> =
            epochs.iter().map(|epoch| format!("tidegate audit shred {dir} --epoch {epoch}")).collect();
        let note = format!(
            "Last, by hand, once the others are done: after {} nobody can be looked for in these epochs, and `audit \
             verify` stays green. The newest epoch is in use until `tidegate audit epoch --begin` and a restart",
            commands.join(" and ")
        );
        steps.push(Step::Shred { epochs: epochs.iter().copied().collect(), note });
    }
    steps
}

#[cfg(test)]
mod tests {
    use tidegate_audit::subject::account::Messages;

    use super::*;

    fn messages(topic: &str, offsets: &[(i64, i64)]) -> Messages {
        Messages {
            topic: topic.to_owned(),
            partition: 0,
            offsets: offsets.to_vec(),
            count: offsets.iter().map(|(first, last)| (last - first + 1) as u64).sum(),
            classes: BTreeSet::new(),
            first_seen: "then".to_owned(),
            last_seen: "now".to_owned(),
        }
    }

    #[test]
    fn each_topic_forgets_in_its_own_way_and_the_plan_says_which() {
        let account = Account {
            messages: vec![
                messages("compacted", &[(3, 4), (9, 9)]),
                messages("deleted", &[(1, 1), (7, 7)]),
                messages("ages", &[(5, 6)]),
                messages("keeps", &[(0, 0)]),
            ],
            ..Account::default()
        };
        let topics = BTreeMap::from([
            ("compacted".to_owned(), Forgetting { compacts: true, retention_millis: None }),
            ("deleted".to_owned(), Forgetting { compacts: false, retention_millis: Some(1000) }),
            ("ages".to_owned(), Forgetting { compacts: false, retention_millis: Some(1000) }),
            ("keeps".to_owned(), Forgetting::default()),
        ]);
        let steps = steps(&account, &topics, &["deleted".to_owned()], &BTreeSet::from([1]), "DIR");
        let what: Vec<String> = steps.iter().map(Step::what).collect();
        assert_eq!(
            what,
            [
                "tombstone for the key of compacted-0@3",
                "tombstone for the key of compacted-0@4",
                "tombstone for the key of compacted-0@9",
                "delete all records of deleted-0 before offset 8",
                "wait for retention of ages-0: 5-6 (1000 ms after now, and when its segment is old enough)",
                "wait for retention of keeps-0: 0 (never)",
                "shred epochs [1] of the evidence's secrets",
            ]
        );
        let plan = Plan {
            version: 1,
            about: String::new(),
            made: String::new(),
            evidence: String::new(),
            subject: Vec::new(),
            not_searched: Vec::new(),
            steps,
        };
        assert_eq!(plan.topics(), ["compacted", "deleted"], "what is waited for is not touched");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&plan).unwrap()).unwrap();
        let (read, hash) = Plan::read(&path).unwrap();
        assert_eq!((&read, hash.len()), (&plan, 64));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"offset\": 9", "\"offset\": 8")).unwrap();
        assert_ne!(Plan::read(&path).unwrap().1, hash, "another plan");
        for (from, to) in [("\"version\": 1", "\"version\": 2"), ("\"do\"", "\"does\"")] {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            assert!(Plan::read(&path).is_err(), "{to}");
        }
    }
}
