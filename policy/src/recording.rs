//! Rules about recordings, compiled: whether a session is recorded, and what of it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tidegate_core::words::Principal;

pub use crate::file::{RecordingMode, WhenFull};
use crate::grant::{Pattern, Who};

/// How an auditor's public key begins as text.
const KEY_PREFIX: &str = "tidegate-auditor:";

/// A rule about recordings.
#[derive(Debug, PartialEq)]
pub struct RecordingRule {
    /// Its name.
    pub name: Arc<str>,
    /// What is recorded.
    pub mode: RecordingMode,
    /// Bytes of exchanges of one session, before compression.
    pub session_bytes_max: u64,
    /// How long a recording is kept, in milliseconds.
    pub keep_millis: u64,
    /// What happens where it cannot go on.
    pub when_full: WhenFull,
    /// Who can open originals: names and X25519 public keys.
    pub auditors: Vec<(String, [u8; 32])>,
    pub(crate) who: Who,
    pub(crate) except: Who,
    pub(crate) topics: Option<Vec<Pattern>>,
}

/// The name of the rule that no policy needs to have.
const EMERGENCY: &str = "break-glass";
/// Bytes that a session in an emergency may have recorded. At the bound it is closed.
const EMERGENCY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long that is kept, in milliseconds: ninety days.
const EMERGENCY_KEEP_MILLIS: u64 = 90 * 24 * 3600 * 1000;

impl RecordingRule {
    /// The rule for sessions of who has something open that he opened for himself in an emergency: all that he does is
    /// recorded as it passed after masking, or his session ends.
    #[must_use]
    pub(crate) fn of_emergency() -> Self {
        Self {
            name: EMERGENCY.into(),
            mode: RecordingMode::Masked,
            session_bytes_max: EMERGENCY_BYTES_MAX,
            keep_millis: EMERGENCY_KEEP_MILLIS,
            when_full: WhenFull::Close,
            auditors: Vec::new(),
            who: Who::default(),
            except: Who::default(),
            topics: None,
        }
    }

    /// Whether it says so of this principal's sessions.
    #[must_use]
    pub(crate) fn records(&self, principal: &Principal) -> bool {
        self.who.masks_for(principal) && !self.except.names(principal)
    }

    /// Whether it is about certain topics only.
    #[must_use]
    pub const fn is_of_topics(&self) -> bool {
        self.topics.is_some()
    }

    /// Whether an exchange that touches this topic is recorded.
    #[must_use]
    pub fn names_topic(&self, topic: &str) -> bool {
        self.topics.as_ref().is_none_or(|topics| topics.iter().any(|pattern| pattern.matches(topic)))
    }
}

/// The bytes of an auditor's public key; `None` where the text is none.
pub(crate) fn auditor_key(text: &str) -> Option<[u8; 32]> {
    BASE64.decode(text.strip_prefix(KEY_PREFIX)?).ok()?.try_into().ok()
}
