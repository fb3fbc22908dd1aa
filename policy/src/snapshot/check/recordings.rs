//! The checks of the section about recordings.

use super::Checks;
use crate::document::{join_index, join_key, shortened};
use crate::file::{Except, RecordingMode, RecordingRule};
use crate::grant::Kind;
use crate::recording::auditor_key;

/// The least that a session may have recorded: a few exchanges.
const SESSION_BYTES_MIN: u64 = 64 * 1024;
/// The longest that recordings are kept, in days.
const KEEP_DAYS_MAX: u64 = 3660;

impl Checks<'_> {
    pub(super) fn recordings(&mut self) {
        let rules = &self.file.value.recordings;
        self.unique_names("recordings", rules.iter().map(|rule| rule.name.as_str()));
        let all = rules.iter().position(|rule| rule.everyone && rule.except.is_none());
        for (index, rule) in rules.iter().enumerate() {
            let path = join_index("recordings", index);
            self.recording(&path, rule);
            if let Some(all) = all.filter(|all| *all < index) {
                let message = format!("never decides: recordings[{all}] before it names everyone; put this one first");
                self.note(&path, message);
            }
        }
    }

    fn recording(&mut self, path: &str, rule: &RecordingRule) {
        self.somebody(path, &rule.principals, &rule.groups, rule.everyone);
        if let Some(Except { principals, groups }) = &rule.except {
            let path = join_key(path, "except");
            self.somebody(&path, principals, groups, false);
        }
        for (index, topic) in rule.topics.iter().flatten().enumerate() {
            self.name(&join_index(&join_key(path, "topics"), index), Kind::Topic, topic);
        }
        self.no_repetition(&join_key(path, "topics"), rule.topics.as_deref().unwrap_or_default());
        let auditors = join_key(path, "auditors");
        match (rule.mode, rule.auditors.is_empty()) {
            (RecordingMode::Originals, true) => {
                let message =
                    "originals are sealed; name at least one in `auditors` (`tidegate session key` makes a key)";
                self.note(path, message);
            }
            (RecordingMode::Headers | RecordingMode::Masked, false) => {
                let message = format!("only `mode: originals` is sealed; this rule has `{}`", rule.mode.name());
                self.note(&auditors, message);
            }
            _ => {}
        }
        for (index, auditor) in rule.auditors.iter().enumerate() {
            let path = join_index(&auditors, index);
            self.text(&join_key(&path, "name"), &auditor.name);
            if auditor_key(&auditor.key).is_none() {
                let what =
                    if auditor.key.contains("secret") { "is a secret key; here stands the public one" } else { "" };
                let message = if what.is_empty() {
                    format!("`{}` is no public key as `tidegate session key` prints it", shortened(&auditor.key))
                } else {
                    what.to_owned()
                };
                self.note(&join_key(&path, "key"), message);
            }
            if rule.auditors.iter().take(index).any(|other| other.key == auditor.key || other.name == auditor.name) {
                self.note(&path, "repeats the name or key of another auditor");
            }
        }
        if rule.session_bytes_max.0 < SESSION_BYTES_MIN {
            self.note(&join_key(path, "session_bytes_max"), "must be 64KiB at least");
        }
        let keep = rule.keep.0.as_secs();
        if keep == 0 || keep > KEEP_DAYS_MAX * 86_400 {
            self.note(&join_key(path, "keep"), format!("must be from 1s to {KEEP_DAYS_MAX}d"));
        }
    }
}
