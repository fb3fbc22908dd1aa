//! The sections of the policy file that say on whose word: who may ask for which grants, what waits for an
//! approver, what may be opened in an emergency, who has which role, and who is told.
//!
//! As in [`super`], these comments are what the published JSON Schema shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Except, Identity, NameRule, OperationRule, ResourceRule};
use crate::document::text::Duration;

/// Who may ask for which grants at run time. A request outside of every rule is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestRule {
    /// A name that no other rule of `requests` has; the control log and evidence cite it.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Principals who may ask, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<Identity>,
    /// Groups whose members may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Identity>,
    /// Whether every authenticated principal may ask.
    #[serde(default)]
    pub everyone: bool,
    /// The most that may be asked for: each resource of a request lies within one of these.
    #[schemars(length(min = 1))]
    pub resources: Vec<ResourceRule>,
    /// Which operations may be asked for.
    #[schemars(length(min = 1))]
    pub operations: Vec<OperationRule>,
    /// The longest that one grant may last.
    pub duration_max: Duration,
    /// Who decides.
    pub approvers: Approvers,
    /// How long a request stays open that nobody decides.
    #[serde(default = "four_hours")]
    pub pending: Duration,
}

const fn four_hours() -> Duration {
    Duration(std::time::Duration::from_secs(4 * 3600))
}

/// Who decides. Nobody decides what he asked for himself, and each counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approvers {
    /// Principals by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<Identity>,
    /// Groups whose members decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Identity>,
    /// How many have to approve. One denial is enough to deny.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 20))]
    pub quorum: u32,
}

const fn one() -> u32 {
    1
}

/// Operations that wait for an approver. The first rule in the file decides that names the principal, the
/// operation and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRule {
    /// A name that no other rule of `holds` has; the control log and evidence cite it.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// For which principals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<Identity>,
    /// For members of which groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Identity>,
    /// For every principal, unauthenticated ones included.
    #[serde(default)]
    pub everyone: bool,
    /// Who of them is exempt and does not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except: Option<Except>,
    /// What waits.
    #[schemars(length(min = 1))]
    pub operations: Vec<HeldKind>,
    /// On which topics. Without it: all. ACLs and quotas are of no topic, and wait whatever stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub topics: Option<Vec<NameRule>>,
    /// For `alter_configs`: only where one of these is changed. Without it: whichever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub configs: Option<Vec<String>>,
    /// For `alter_configs`: changes that pass without asking anybody; the evidence notes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unless: Vec<UnlessRule>,
    /// Who decides.
    pub approvers: Approvers,
    /// How long the client is kept waiting; less than its own timeout.
    #[serde(default = "twenty_seconds")]
    pub hold: Duration,
    /// How long the question stays open.
    #[serde(default = "one_hour")]
    pub pending: Duration,
    /// How long after it was given an approval may be used.
    #[serde(default = "quarter_hour")]
    pub valid: Duration,
    /// An automated approver that is asked first. Without its answer a person must decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic: Option<AutomaticRule>,
}

const fn twenty_seconds() -> Duration {
    Duration(std::time::Duration::from_secs(20))
}

const fn one_hour() -> Duration {
    Duration(std::time::Duration::from_secs(3600))
}

const fn quarter_hour() -> Duration {
    Duration(std::time::Duration::from_secs(15 * 60))
}

/// What may have to wait for an approver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum HeldKind {
    /// DeleteTopics.
    DeleteTopics = 0,
    /// CreateTopics.
    CreateTopics = 1,
    /// CreatePartitions.
    CreatePartitions = 2,
    /// DeleteRecords.
    DeleteRecords = 3,
    /// AlterConfigs and IncrementalAlterConfigs.
    AlterConfigs = 4,
    /// CreateAcls and DeleteAcls.
    AlterAcls = 5,
    /// AlterClientQuotas.
    AlterQuotas = 6,
    /// A principal's first Produce to a topic.
    FirstProduce = 7,
    /// A principal's first Fetch from a topic.
    FirstConsume = 8,
    /// Erasing a person's data by a plan (`tidegate erase`).
    Erase = 9,
}

impl HeldKind {
    /// Every kind, in order of its number.
    pub const ALL: [Self; 10] = [
        Self::DeleteTopics,
        Self::CreateTopics,
        Self::CreatePartitions,
        Self::DeleteRecords,
        Self::AlterConfigs,
        Self::AlterAcls,
        Self::AlterQuotas,
        Self::FirstProduce,
        Self::FirstConsume,
        Self::Erase,
    ];

    /// The name in policy files and evidence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeleteTopics => "delete_topics",
            Self::CreateTopics => "create_topics",
            Self::CreatePartitions => "create_partitions",
            Self::DeleteRecords => "delete_records",
            Self::AlterConfigs => "alter_configs",
            Self::AlterAcls => "alter_acls",
            Self::AlterQuotas => "alter_quotas",
            Self::FirstProduce => "first_produce",
            Self::FirstConsume => "first_consume",
            Self::Erase => "erase",
        }
    }
}

/// A change of a configuration that passes without asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnlessRule {
    /// The configuration, for instance `retention.ms`.
    #[schemars(length(min = 1))]
    pub config: String,
    /// Which way its number changes.
    pub change: ConfigChange,
}

/// Which way a number changes. -1 stands for no bound, as in `retention.ms`, and is the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConfigChange {
    /// It becomes larger or stays.
    Grows,
    /// It becomes smaller or stays.
    Shrinks,
}

/// A service that decides by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AutomaticRule {
    /// Where it is asked, by POST.
    #[schemars(length(min = 1))]
    pub url: String,
    /// How long its answer is waited for.
    #[serde(default = "three_seconds")]
    pub timeout: Duration,
    /// The file with the secret that signs question and answer (HMAC), at least 32 bytes; a path that is not
    /// absolute begins where the policy file stands.
    #[schemars(length(min = 1))]
    pub secret_file: String,
}

const fn three_seconds() -> Duration {
    Duration(std::time::Duration::from_secs(3))
}

/// What somebody may open for himself in an emergency, without asking; everybody is told, and another
/// reviews it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassRule {
    /// A name that no other rule of `break_glass` has.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Principals who may, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<Identity>,
    /// Groups whose members may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Identity>,
    /// What is opened.
    #[schemars(length(min = 1))]
    pub resources: Vec<ResourceRule>,
    /// For which operations.
    #[schemars(length(min = 1))]
    pub operations: Vec<OperationRule>,
    /// The longest that it lasts.
    pub duration_max: Duration,
    /// How soon it has to be reviewed.
    pub review_within: Duration,
    /// Who reviews it, beside whoever has the role `auditor` or `admin`; never who opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewers: Option<Except>,
}

/// Who may do what through the admin API. Nobody has a role that is not given here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolesRule {
    /// May revoke, reload and manage keys, and see everything. Approves nothing by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Except>,
    /// May see what there is to approve. Approves what rules name him as an approver of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<Except>,
    /// May see everything, and review break-glass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auditor: Option<Except>,
    /// May revoke and reload, and see sessions and grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Except>,
}

impl RolesRule {
    /// Whether nobody is given a role.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Somebody who is told by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifyRule {
    /// Where to, by POST.
    #[schemars(length(min = 1))]
    pub url: String,
    /// In which form.
    #[serde(default)]
    pub kind: NotifyKind,
    /// The file with the secret that signs the message (HMAC), at least 32 bytes; a path that is not absolute
    /// begins where the policy file stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub secret_file: Option<String>,
    /// Of what. Without it: of everything.
    #[serde(default = "everything")]
    #[schemars(length(min = 1))]
    pub events: Vec<NotifyEvent>,
}

fn everything() -> Vec<NotifyEvent> {
    vec![NotifyEvent::Requested, NotifyEvent::Decided, NotifyEvent::Revoked, NotifyEvent::BreakGlass]
}

/// The form of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyKind {
    /// JSON with every field.
    #[default]
    Generic,
    /// What Slack's incoming webhooks take.
    Slack,
}

/// What somebody is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyEvent {
    /// A grant was asked for, or an operation waits.
    Requested,
    /// Somebody approved or denied.
    Decided,
    /// A grant, session, token or principal was revoked.
    Revoked,
    /// Something was opened in an emergency, or reviewed.
    BreakGlass,
}
