//! What somebody wants of the authority, and why he is refused.

use std::fmt;
use std::sync::Arc;

use tidegate_core::words::Timestamp;

use super::event::{Actor, ApprovalId, Decision, GrantId, GrantSpan, HeldOperation, PublishedKey};
use crate::file::{OperationRule, ResourceRule};

/// What an actor wants. Ids are drawn at random by the caller ([`ApprovalId::of`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A grant for the actor.
    RequestGrant {
        /// The approval's id.
        id: ApprovalId,
        /// The grant's id.
        grant: GrantId,
        /// The rule of `requests` to ask under; `None` for the first that fits.
        rule: Option<String>,
        /// On what.
        resources: Vec<ResourceRule>,
        /// What.
        operations: Vec<OperationRule>,
        /// When.
        span: GrantSpan,
        /// What for.
        purpose: String,
        /// Why now.
        reason: String,
    },
    /// A grant of the actor is to last longer; it is asked for like a new one.
    ExtendGrant {
        /// The approval's id.
        id: ApprovalId,
        /// The grant.
        grant: GrantId,
        /// The new span, counted from the approval or as a window.
        span: GrantSpan,
        /// Why.
        reason: String,
    },
    /// The actor's operation waits.
    Hold(HeldOperation),
    /// The actor approves.
    Approve {
        /// What.
        approval: ApprovalId,
        /// Why.
        reason: String,
    },
    /// The actor denies.
    Deny {
        /// What.
        approval: ApprovalId,
        /// Why.
        reason: String,
    },
    /// A rule's automated approver answered. The actor is the gateway.
    DecideAutomatically {
        /// What.
        approval: ApprovalId,
        /// Which way.
        decision: Decision,
        /// Why, in the approver's words.
        reason: String,
    },
    /// The held operation passes now. The actor is the gateway or who holds the session.
    Use {
        /// The approval.
        approval: ApprovalId,
        /// The session.
        session: String,
    },
    /// A run-time grant ends now.
    RevokeGrant {
        /// The grant.
        grant: GrantId,
        /// Why.
        reason: String,
    },
    /// A session ends now.
    RevokeSession {
        /// The session's id.
        session: String,
        /// Why.
        reason: String,
        /// Who holds it, where the caller has verified that; he may end it himself.
        holder: Option<Actor>,
    },
    /// A token counts no longer.
    RevokeToken {
        /// The token's id (`jti`).
        token_id: String,
        /// When the token ends by itself.
        until: Timestamp,
        /// Why.
        reason: String,
        /// Who holds it, where the caller has verified that; he may end it himself.
        holder: Option<Actor>,
    },
    /// A principal is shut out.
    RevokePrincipal {
        /// At which issuer; `None` at all.
        issuer: Option<Arc<str>>,
        /// The principal's name.
        name: Arc<str>,
        /// Until when.
        until: Option<Timestamp>,
        /// Why.
        reason: String,
    },
    /// A principal is let in again.
    RestorePrincipal {
        /// As it was revoked.
        issuer: Option<Arc<str>>,
        /// As it was revoked.
        name: Arc<str>,
        /// Why.
        reason: String,
    },
    /// The actor opens something for himself in an emergency.
    BreakGlass {
        /// Its id among approvals.
        id: ApprovalId,
        /// The grant's id.
        grant: GrantId,
        /// The rule of `break_glass`; `None` for the first that names the actor.
        rule: Option<String>,
        /// How long, in milliseconds; `None` for as long as the rule allows.
        millis: Option<u64>,
        /// Why.
        reason: String,
    },
    /// The actor has reviewed what was opened.
    Review {
        /// What was opened.
        id: ApprovalId,
        /// What the review found.
        reason: String,
    },
    /// A key of the token issuer is published.
    PublishKey(PublishedKey),
    /// A key of the token issuer disappears.
    RetireKey {
        /// The key's id.
        kid: String,
    },
}

/// Why a command is refused; nothing has changed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind.
    pub kind: RefusalKind,
    /// What to tell people.
    pub sentence: String,
}

impl Refusal {
    pub(super) fn new(kind: RefusalKind, sentence: impl Into<String>) -> Self {
        Self { kind, sentence: sentence.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Refusal {}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// No rule lets the actor do this.
    NotAllowed,
    /// Nobody decides on what he asked for himself.
    OwnRequest,
    /// There is no such thing.
    NotFound,
    /// It is decided, used or revoked already.
    NotPending,
    /// The question, the approval or the grant has lapsed.
    Expired,
    /// The policy is another than the one that was asked under.
    PolicyChanged,
    /// It would last longer than the policy allows.
    TooLong,
    /// Too many wait already.
    TooMany,
    /// The same was asked before and is open, or was denied.
    AlreadyAsked,
    /// It makes no sense as it stands.
    Malformed,
}

impl RefusalKind {
    /// The name in answers and evidence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAllowed => "not_allowed",
            Self::OwnRequest => "own_request",
            Self::NotFound => "not_found",
            Self::NotPending => "not_pending",
            Self::Expired => "expired",
            Self::PolicyChanged => "policy_changed",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::AlreadyAsked => "already_asked",
            Self::Malformed => "malformed",
        }
    }
}
