//! The admin API's JSON: what is asked. The command line writes these types and the handlers read them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_policy::file::{OperationRule, ResourceRule};

use super::model::{About, ApprovalStatus, DecisionWord};

/// A request for a grant, for whoever asks. Either `duration`, or `not_before` and `not_after`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskGrant {
    /// The rule of the policy's `requests` to ask under; without it the first that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// On what, as in the policy file.
    #[schemars(length(min = 1))]
    pub resources: Vec<ResourceRule>,
    /// Which operations, as in the policy file.
    #[schemars(length(min = 1))]
    pub operations: Vec<OperationRule>,
    /// How long from the approval on, for instance `8h` or `30m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// From when on, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// Until when, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// What for; it stands in the evidence of every use.
    #[schemars(length(min = 1))]
    pub purpose: String,
    /// Why now; for the approver.
    #[schemars(length(min = 1))]
    pub reason: String,
}

/// That a grant is to last longer.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// How long from the approval on, for instance `8h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Until when, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// Why.
    #[schemars(length(min = 1))]
    pub reason: String,
}

/// Why something is done.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why, in one line.
    #[schemars(length(min = 1))]
    pub reason: String,
}

/// That a token counts no longer.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeToken {
    /// The token's id (`jti`).
    #[schemars(length(min = 1))]
    pub token_id: String,
    /// When the token ends by itself, RFC 3339; without it in 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why.
    #[schemars(length(min = 1))]
    pub reason: String,
}

/// That a principal is shut out, or let in again.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokePrincipal {
    /// The principal's name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// At this issuer only; without it at every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Until when, RFC 3339; without it until it is restored. Has no meaning when restoring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Why.
    #[schemars(length(min = 1))]
    pub reason: String,
}

/// That something is opened in an emergency, for whoever asks.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenBreakGlass {
    /// The rule of the policy's `break_glass`; without it the first that names the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How long, for instance `30m`; without it as long as the rule allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// What happened; everybody is told.
    #[schemars(length(min = 1))]
    pub reason: String,
}

/// A program's decision.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackBody {
    /// The approval, `ap-…`.
    pub approval: String,
    /// Which way.
    pub decision: DecisionWord,
    /// Why.
    #[schemars(length(min = 1))]
    pub reason: String,
}

/// Which questions to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListApprovals {
    /// Only those that stand so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ApprovalStatus>,
    /// Only those about this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    /// Only those that this principal asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Only those under this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How many at most, 1 to 500; 50 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListPage {
    /// Only those of this principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// How many at most, 1 to 500; 50 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// That a subject's data is to be erased by a plan, which approvers are given beside.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AskErasure {
    /// SHA-256 of the plan's file, in lower-case hexadecimal digits.
    #[schemars(length(min = 64, max = 64))]
    pub digest: String,
    /// The topics that it names, in order, each once.
    #[schemars(length(min = 1, max = 64))]
    pub topics: Vec<String>,
    /// How many steps it has.
    pub steps: u32,
    /// Why, for the approver.
    #[schemars(length(min = 1))]
    pub reason: String,
}

/// That an approved plan is begun, or taken up again.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginErasure {
    /// As it was asked.
    #[schemars(length(min = 64, max = 64))]
    pub digest: String,
    /// As it was asked.
    #[schemars(length(min = 1, max = 64))]
    pub topics: Vec<String>,
    /// What tells this run from any other; the same when it is taken up again.
    #[schemars(length(min = 16, max = 64))]
    pub run: String,
}

/// What came of a step of a plan.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErasureStep {
    /// The run.
    #[schemars(length(min = 16, max = 64))]
    pub run: String,
    /// Which step, from 1.
    pub step: u32,
    /// Of how many.
    pub of: u32,
    /// What it does.
    #[schemars(length(min = 1))]
    pub what: String,
    /// What came of it.
    #[schemars(length(min = 1))]
    pub outcome: String,
}

/// A look at a recording, by whoever can read its file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchedRecording {
    /// The session's id.
    #[schemars(length(min = 36, max = 36))]
    pub session: String,
    /// The part of its recording.
    pub part: u32,
    /// How: shown, replayed, replayed against a broker.
    #[schemars(length(min = 1, max = 300))]
    pub how: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 500))]
    pub why: String,
}

/// What was asked of the evidence's files, by whoever can read them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// What kind of question, for instance `subject`.
    #[schemars(length(min = 1, max = 100))]
    pub question: String,
    /// What was looked for, as keyed tags, `EPOCH:CLASS:TAG`; never the value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tags: Vec<String>,
    /// Entries that the answer names.
    #[serde(default)]
    pub entries: u64,
    /// Why it was asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 500))]
    pub why: String,
}
