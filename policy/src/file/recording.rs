//! The section of the policy file that says whose sessions are recorded, and what of them.
//!
//! As in [`super`], these comments are what the published JSON Schema shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Except, Identity, NameRule};
use crate::document::text::{ByteSize, Duration};

/// Sessions that are recorded. The first rule in the file that names the principal decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordingRule {
    /// A name that no other rule of `recordings` has; evidence cites it.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Whose sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<Identity>,
    /// Those of members of which groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Identity>,
    /// Those of every principal, unauthenticated ones included.
    #[serde(default)]
    pub everyone: bool,
    /// Who of them is not recorded by this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except: Option<Except>,
    /// Only exchanges that touch one of these topics. Without it: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub topics: Option<Vec<NameRule>>,
    /// What is recorded.
    #[serde(default)]
    pub mode: RecordingMode,
    /// Who can open originals: at least one, and only for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub auditors: Vec<AuditorRule>,
    /// Bytes of exchanges that one session may have recorded, before compression.
    #[serde(default = "session_bytes")]
    pub session_bytes_max: ByteSize,
    /// What happens at that bound, when recordings may take no more room, or when they cannot be written.
    #[serde(default)]
    pub when_full: WhenFull,
    /// How long a recording is kept.
    #[serde(default = "thirty_days")]
    pub keep: Duration,
}

const fn session_bytes() -> ByteSize {
    ByteSize(64 * 1024 * 1024)
}

const fn thirty_days() -> Duration {
    Duration(std::time::Duration::from_secs(30 * 86_400))
}

/// What of a session is recorded. Credentials never are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordingMode {
    /// What was asked, of what, what was decided, sizes and times; no contents.
    Headers,
    /// Requests and responses as they passed after masking. Where personal data was found and passed unmasked,
    /// or records were not looked at on their way in that readers see masked, the contents are left out.
    #[default]
    Masked,
    /// Requests and responses as they came, sealed to the auditors' keys.
    Originals,
}

impl RecordingMode {
    /// The name in policy files and evidence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Masked => "masked",
            Self::Originals => "originals",
        }
    }
}

/// What happens where a recording cannot go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The recording is cut, which the evidence says, and the session goes on.
    #[default]
    Cut,
    /// The session is closed, which the evidence says. Where recordings are only written too slowly, it waits.
    Close,
}

/// Somebody who can open originals.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditorRule {
    /// A name, for people.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// His public key, as `tidegate session key` prints it: `tidegate-auditor:…`. The secret key never comes near the
    /// gateway.
    #[schemars(length(min = 1, max = 200))]
    pub key: String,
}
