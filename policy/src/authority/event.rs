//! The control log's words: what happened, who did it, and when. Serialised as JSON, a line an event.
//!
//! Fields are only ever added, with a default. A kind of event or a field that is unknown is an error: whoever
//! reads the log without understanding all of it would admit what it forbids.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidegate_core::words::{Principal, Timestamp};

use super::request_key::RequestKey;
use crate::file::{OperationRule, ResourceRule};

/// The issuer of the gateway itself; no identity provider has it, since it is no URL of one.
const GATEWAY_ISSUER: &str = "tidegate:gateway";
/// The issuer of the machine's own operator token; no identity provider has it either.
const LOCAL_ISSUER: &str = "tidegate:local";

/// Who does something, as verified: never from a request's own words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The issuer that vouches for it.
    pub issuer: Arc<str>,
    /// The name that policy and evidence use.
    pub name: Arc<str>,
    /// The subject at that issuer.
    pub subject: Arc<str>,
    /// Its groups at that time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Arc<str>>,
}

impl Actor {
    /// The gateway itself: expiries, automatic decisions, key rotation.
    #[must_use]
    pub fn gateway() -> Self {
        Self {
            issuer: Arc::from(GATEWAY_ISSUER),
            name: Arc::from("tidegate"),
            subject: Arc::from("tidegate"),
            groups: Vec::new(),
        }
    }

    /// Whoever holds the machine's own operator token. It has the role `operator` without being named for it.
    #[must_use]
    pub fn local_operator() -> Self {
        let name: Arc<str> = Arc::from("local-operator");
        Self { issuer: Arc::from(LOCAL_ISSUER), name: name.clone(), subject: name, groups: Vec::new() }
    }

    /// Whether `issuer` is one that the gateway keeps for itself.
    #[must_use]
    pub fn is_reserved_issuer(issuer: &str) -> bool {
        issuer.starts_with("tidegate:")
    }

    /// Whether this is the gateway itself.
    #[must_use]
    pub fn is_gateway(&self) -> bool {
        &*self.issuer == GATEWAY_ISSUER
    }

    /// Whether both are the same person or service, whichever account or group it came through: the same
    /// subject, or the same name but for case. Two issuers may give strangers the same subject; who decides on
    /// his own request must be told apart from others beyond doubt, so strangers of that kind are refused too.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        let same = |one: &str, two: &str| !one.is_empty() && one.to_lowercase() == two.to_lowercase();
        same(&self.subject, &other.subject)
            || same(&self.name, &other.name)
            || same(&self.name, &other.subject)
            || same(&self.subject, &other.name)
    }

    /// Whether `principal` is this very one: issuer, name and subject.
    #[must_use]
    pub fn is(&self, principal: &Principal) -> bool {
        self.issuer == principal.issuer && self.name == principal.name && self.subject == principal.subject
    }

    /// As a principal, for rules that name principals and groups.
    #[must_use]
    pub fn principal(&self) -> Principal {
        Principal {
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
            name: self.name.clone(),
            groups: self.groups.clone(),
        }
    }
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        // Whatever an issuer calls itself, nobody that it vouches for becomes the gateway.
        let impostor = &*principal.issuer == GATEWAY_ISSUER;
        Self {
            issuer: if impostor { Arc::from("") } else { principal.issuer.clone() },
            name: principal.name.clone(),
            subject: principal.subject.clone(),
            groups: principal.groups.clone(),
        }
    }
}

/// Gives an id its `Display` and conversions.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Arc<str>);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }
    };
}

id! {
    /// An approval's id: `ap-` and 16 characters of base32 (lower case, RFC 4648 without padding), of 10 random
    /// bytes that the caller draws.
    ApprovalId
}

id! {
    /// A run-time grant's id, which is its name in evidence: `gr-` and 16 characters as in [`ApprovalId`].
    GrantId
}

impl ApprovalId {
    /// The id of these random bytes.
    #[must_use]
    pub fn of(random: [u8; 10]) -> Self {
        Self(format!("ap-{}", base32(random)).into())
    }
}

impl GrantId {
    /// The id of these random bytes.
    #[must_use]
    pub fn of(random: [u8; 10]) -> Self {
        Self(format!("gr-{}", base32(random)).into())
    }
}

/// 80 bits as 16 characters of five each.
fn base32(bytes: [u8; 10]) -> String {
    const ALPHABET: [u8; 32] = *b"abcdefghijklmnopqrstuvwxyz234567";
    let number = bytes.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    (0..16).rev().map(|place| char::from(ALPHABET[(number >> (5 * place) & 31) as usize])).collect()
}

/// One line of the control log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlEvent {
    /// The version of this format: 1.
    pub v: Version,
    /// When it was decided on, by the clock of the gateway that wrote it.
    pub time: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// What changes by it.
    pub change: Change,
}

impl ControlEvent {
    /// An event of this format's version.
    #[must_use]
    pub fn new(time: Timestamp, actor: Actor, change: Change) -> Self {
        Self { v: Version, time, actor, change }
    }
}

/// The version of the control log's format, written as the number 1; another one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Version;

impl From<Version> for u32 {
    fn from(_: Version) -> Self {
        1
    }
}

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, String> {
        (version == 1).then_some(Self).ok_or_else(|| format!("version {version} of the format is not known"))
    }
}

/// What changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Somebody asked for a grant, or for a longer one.
    GrantRequested(GrantRequest),
    /// An operation waits for an approver.
    OperationHeld(HeldOperation),
    /// Somebody approved or denied.
    Decided {
        /// What.
        approval: ApprovalId,
        /// Which way.
        decision: Decision,
        /// Why.
        reason: String,
        /// A person or an automatic rule.
        by: DecidedBy,
        /// How many approvals the policy asked for when this one was given.
        quorum: u32,
    },
    /// A held operation passes; written before it is forwarded, so that it passes once.
    Used {
        /// The approval that is used up.
        approval: ApprovalId,
        /// The session whose request passes.
        session: String,
    },
    /// A run-time grant ended before its time.
    GrantRevoked {
        /// The grant.
        grant: GrantId,
        /// Why.
        reason: String,
    },
    /// A session is to end.
    SessionRevoked {
        /// The session's id.
        session: String,
        /// Why.
        reason: String,
    },
    /// A token counts no longer.
    TokenRevoked {
        /// The token's id (`jti`).
        token_id: String,
        /// When the token ends by itself, so that the revocation can be forgotten.
        until: Timestamp,
        /// Why.
        reason: String,
    },
    /// A principal is shut out.
    PrincipalRevoked {
        /// At which issuer; `None` at all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issuer: Option<Arc<str>>,
        /// The principal's name.
        name: Arc<str>,
        /// Until when; `None` until it is restored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// Why.
        reason: String,
    },
    /// A principal is shut out no longer.
    PrincipalRestored {
        /// As it was revoked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        issuer: Option<Arc<str>>,
        /// As it was revoked.
        name: Arc<str>,
        /// Why.
        reason: String,
    },
    /// Somebody opened something for himself in an emergency.
    BreakGlassOpened(BreakGlass),
    /// Another has looked at what was done in the emergency.
    BreakGlassReviewed {
        /// What was opened.
        id: ApprovalId,
        /// What the review found.
        reason: String,
    },
    /// A key of the token issuer is published.
    KeyPublished(PublishedKey),
    /// A key of the token issuer is used no longer and disappears from the key set.
    KeyRetired {
        /// The key's id.
        kid: String,
    },
}

impl Change {
    /// The kind's name, as in the log.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::GrantRequested(_) => "grant_requested",
            Self::OperationHeld(_) => "operation_held",
            Self::Decided { .. } => "decided",
            Self::Used { .. } => "used",
            Self::GrantRevoked { .. } => "grant_revoked",
            Self::SessionRevoked { .. } => "session_revoked",
            Self::TokenRevoked { .. } => "token_revoked",
            Self::PrincipalRevoked { .. } => "principal_revoked",
            Self::PrincipalRestored { .. } => "principal_restored",
            Self::BreakGlassOpened(_) => "break_glass_opened",
            Self::BreakGlassReviewed { .. } => "break_glass_reviewed",
            Self::KeyPublished(_) => "key_published",
            Self::KeyRetired { .. } => "key_retired",
        }
    }

    /// The approval that this is about.
    #[must_use]
    pub const fn approval(&self) -> Option<&ApprovalId> {
        match self {
            Self::GrantRequested(GrantRequest { id, .. })
            | Self::OperationHeld(HeldOperation { id, .. })
            | Self::BreakGlassOpened(BreakGlass { id, .. })
            | Self::BreakGlassReviewed { id, .. } => Some(id),
            Self::Decided { approval, .. } | Self::Used { approval, .. } => Some(approval),
            _ => None,
        }
    }
}

/// A grant that somebody asks for, for himself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// The approval that it waits for.
    pub id: ApprovalId,
    /// The grant that it becomes; where it extends one, that one.
    pub grant: GrantId,
    /// Whether `grant` exists already and is to last longer.
    #[serde(default)]
    pub extends: bool,
    /// For whom.
    pub principal: Actor,
    /// The rule of `requests` that allows asking.
    pub rule: String,
    /// On what.
    pub resources: Vec<ResourceRule>,
    /// What.
    pub operations: Vec<OperationRule>,
    /// When.
    pub span: GrantSpan,
    /// What for; in the evidence of every use.
    pub purpose: String,
    /// Why now; for the approver.
    pub reason: String,
    /// When the request lapses undecided.
    pub expires: Timestamp,
}

/// When a run-time grant holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantSpan {
    /// From its approval on, so many milliseconds.
    Millis(u64),
    /// From a first moment until, but not including, a last.
    Between(Timestamp, Timestamp),
}

impl GrantSpan {
    /// How long it is, in milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        match self {
            Self::Millis(millis) => millis,
            Self::Between(from, to) => to.millis_since(from).unsigned_abs(),
        }
    }

    /// The window of a grant approved at `now`.
    #[must_use]
    pub fn window(self, now: Timestamp) -> (Timestamp, Timestamp) {
        match self {
            Self::Millis(millis) => (now, now.plus_millis(i64::try_from(millis).unwrap_or(i64::MAX))),
            Self::Between(from, to) => (from, to),
        }
    }
}

/// An operation that waits for an approver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOperation {
    /// The approval that it waits for.
    pub id: ApprovalId,
    /// The one request that is approved.
    pub key: RequestKey,
    /// The Kafka API's name, for instance `DeleteTopics`.
    pub api: String,
    /// What it would do, for people: one sentence.
    pub summary: String,
    /// What it is about.
    pub resources: Vec<HeldResource>,
    /// Who asks.
    pub principal: Actor,
    /// The session that asked first.
    pub session: String,
    /// The rule of `holds`.
    pub rule: String,
    /// The policy's fingerprint; under another policy the approval counts for nothing.
    pub policy_fingerprint: String,
    /// When the question lapses undecided. Whatever the caller gives, the rule decides.
    pub expires: Timestamp,
    /// How long an approval may be used, in milliseconds. Whatever the caller gives, the rule decides.
    pub valid_millis: u64,
}

impl HeldOperation {
    /// Whether its use answers the question for good: a principal uses a topic for the first time once.
    #[must_use]
    pub fn is_for_good(&self) -> bool {
        [Self::FIRST_PRODUCE, Self::FIRST_CONSUME].contains(&self.api.as_str())
    }

    /// What stands as the API of a first produce to a topic.
    pub const FIRST_PRODUCE: &str = "FirstProduce";
    /// What stands as the API of a first fetch from a topic.
    pub const FIRST_CONSUME: &str = "FirstConsume";
}

/// A resource of a held operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldResource {
    /// `topic`, `cluster`, …
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// Which way somebody decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// For it.
    Approve,
    /// Against it.
    Deny,
}

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// A person: the event's actor.
    Person,
    /// The automated approver of a rule.
    Automatic {
        /// The rule's name.
        rule: String,
    },
}

/// Something opened in an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakGlass {
    /// Its id among approvals.
    pub id: ApprovalId,
    /// The grant that it opened.
    pub grant: GrantId,
    /// For whom: who opened it.
    pub principal: Actor,
    /// The rule of `break_glass`.
    pub rule: String,
    /// On what.
    pub resources: Vec<ResourceRule>,
    /// What.
    pub operations: Vec<OperationRule>,
    /// From when on.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Why; the purpose in the evidence of every use.
    pub reason: String,
    /// When somebody else must have reviewed it.
    pub review_by: Timestamp,
}

/// A public key of the token issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedKey {
    /// Its id.
    pub kid: String,
    /// Its algorithm, for instance `EdDSA` or `ES256`.
    pub algorithm: String,
    /// The public key as a JWK (RFC 7517), as text.
    pub public_jwk: String,
    /// When it signs for the first time.
    pub not_before: Timestamp,
}
