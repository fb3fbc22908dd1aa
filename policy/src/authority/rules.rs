//! The policy file's sections about authority, compiled: who may ask, what waits, who decides, who has a role.

use std::sync::Arc;

use tidegate_core::words::{Principal, Timestamp};

use crate::file::{ConfigChange, HeldKind, NotifyRule, OperationRule, ResourceRule, RolesRule, UnlessRule};
use crate::grant::{Operations, Pattern, Scope, Who};
use crate::recording::RecordingRule;

/// Everything that the policy says about authority.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) requests: Vec<RequestRule>,
    pub(crate) holds: Vec<Arc<HoldRule>>,
    pub(crate) break_glass: Vec<BreakGlassRule>,
    pub(crate) roles: Roles,
    pub(crate) notify: Vec<NotifyRule>,
    pub(crate) recordings: Vec<Arc<RecordingRule>>,
}

/// Who may ask for which grants.
#[derive(Debug)]
pub(crate) struct RequestRule {
    pub(crate) name: Arc<str>,
    pub(crate) who: Who,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) operations: Operations,
    pub(crate) duration_millis_max: u64,
    pub(crate) approvers: Approvers,
    pub(crate) pending_millis: u64,
}

/// Who decides, and how many it takes.
#[derive(Debug)]
pub(crate) struct Approvers {
    pub(crate) who: Who,
    pub(crate) quorum: u32,
}

/// What may be opened in an emergency.
#[derive(Debug)]
pub(crate) struct BreakGlassRule {
    pub(crate) name: Arc<str>,
    pub(crate) who: Who,
    pub(crate) reviewers: Who,
    pub(crate) resources: Vec<ResourceRule>,
    pub(crate) operations: Vec<OperationRule>,
    pub(crate) duration_millis_max: u64,
    pub(crate) review_millis: u64,
}

/// A rule about operations that wait for an approver.
#[derive(Debug)]
pub struct HoldRule {
    /// Its name.
    pub name: Arc<str>,
    /// How long the client is kept waiting, in milliseconds.
    pub hold_millis: u64,
    /// How long the question stays open, in milliseconds.
    pub pending_millis: u64,
    /// How long an approval may be used, in milliseconds.
    pub valid_millis: u64,
    /// The automated approver.
    pub automatic: Option<Automatic>,
    pub(crate) who: Who,
    pub(crate) except: Who,
    /// A bit a kind.
    pub(crate) kinds: u16,
    /// `None` for all.
    pub(crate) topics: Option<Vec<Pattern>>,
    /// `None` for all.
    pub(crate) configs: Option<Vec<Box<str>>>,
    pub(crate) unless: Vec<UnlessRule>,
    pub(crate) approvers: Approvers,
}

/// An automated approver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Automatic {
    /// Where it is asked.
    pub url: Arc<str>,
    /// How long its answer is waited for, in milliseconds.
    pub timeout_millis: u64,
    /// The file with the secret, as it stands in the policy: relative to the policy's folder.
    pub secret_file: Arc<str>,
}

impl HoldRule {
    /// Whether the rule is about an operation of this kind, on this topic and this configuration; `None` where
    /// the operation has none.
    #[must_use]
    pub fn matches(&self, kind: HeldKind, topic: Option<&str>, config: Option<&str>) -> bool {
        let topic_is_meant = || match (&self.topics, topic) {
            (Some(patterns), Some(topic)) => patterns.iter().any(|pattern| pattern.matches(topic)),
            _ => true,
        };
        let config_is_meant = || match (&self.configs, config) {
            (Some(names), Some(config)) if kind == HeldKind::AlterConfigs => names.iter().any(|name| **name == *config),
            _ => true,
        };
        self.kinds & bit(kind) != 0 && topic_is_meant() && config_is_meant()
    }

    /// Whether a change of a configuration passes without asking: from a value to a value, as the broker writes
    /// them. `None`, or what is no number, never passes.
    #[must_use]
    pub fn passes(&self, config: &str, from: Option<&str>, to: Option<&str>) -> bool {
        let number = |text: Option<&str>| {
            let number: i64 = text?.trim().parse().ok()?;
            // Kafka writes "no bound" as -1.
            Some(if number == -1 { i64::MAX } else { number })
        };
        let (Some(from), Some(to)) = (number(from), number(to)) else { return false };
        self.unless.iter().filter(|unless| unless.config == config).any(|unless| match unless.change {
            ConfigChange::Grows => to >= from,
            ConfigChange::Shrinks => to <= from,
        })
    }

    /// Whether some change of this configuration passes without asking, so that its present value is worth knowing.
    #[must_use]
    pub fn may_pass(&self, config: &str) -> bool {
        self.unless.iter().any(|unless| unless.config == config)
    }

    /// When a question asked at `now` lapses.
    #[must_use]
    pub fn expires(&self, now: Timestamp) -> Timestamp {
        now.plus_millis(i64::try_from(self.pending_millis).unwrap_or(i64::MAX))
    }

    pub(crate) fn holds_for(&self, principal: &Principal) -> bool {
        (self.who.everyone || self.who.names(principal)) && !self.except.names(principal)
    }
}

/// The set of kinds in a word.
pub(crate) fn kinds(kinds: &[HeldKind]) -> u16 {
    kinds.iter().fold(0, |set, kind| set | bit(*kind))
}

const fn bit(kind: HeldKind) -> u16 {
    1 << kind as u16
}

/// A role at the admin API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Revokes, reloads, manages keys, sees everything.
    Admin,
    /// Sees what there is to approve.
    Approver,
    /// Sees everything, reviews break-glass.
    Auditor,
    /// Revokes and reloads, sees sessions and grants.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Approver, Self::Auditor, Self::Operator];

    /// The name in policy files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }
}

/// Who has which role.
#[derive(Debug, Default)]
pub(crate) struct Roles([Who; 4]);

impl Roles {
    pub(crate) fn new(rule: &RolesRule, who: impl Fn(&crate::file::Except) -> Who) -> Self {
        let who = |given: &Option<crate::file::Except>| given.as_ref().map(&who).unwrap_or_default();
        Self([who(&rule.admin), who(&rule.approver), who(&rule.auditor), who(&rule.operator)])
    }

    pub(crate) fn has(&self, principal: &Principal, role: Role) -> bool {
        let Self([admin, approver, auditor, operator]) = self;
        let who = match role {
            Role::Admin => admin,
            Role::Approver => approver,
            Role::Auditor => auditor,
            Role::Operator => operator,
        };
        let local = || role == Role::Operator && super::Actor::local_operator().is(principal);
        who.names(principal) || local()
    }
}
