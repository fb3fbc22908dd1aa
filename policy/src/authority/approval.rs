//! One question to approvers, and where it stands.

use std::sync::Arc;

use serde::Serialize;
use tidegate_core::words::Timestamp;

use super::event::{Actor, ApprovalId, BreakGlass, DecidedBy, Decision, GrantRequest, HeldOperation};

/// One question to approvers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// The sequence number of the event that asked.
    pub sequence: u64,
    /// When it was asked.
    pub asked: Timestamp,
    /// What is asked.
    pub question: Question,
    /// What was decided, in order; at most one a person.
    pub votes: Vec<Vote>,
    /// What the log says of it; [`Approval::status`] says where it stands at a time.
    pub state: State,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Question {
    /// May somebody have this grant?
    Grant(GrantRequest),
    /// May this operation pass?
    Operation(HeldOperation),
    /// Was what was done in an emergency right?
    BreakGlass(BreakGlass),
}

/// What somebody decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vote {
    /// When.
    pub time: Timestamp,
    /// Who; the gateway where a rule decided.
    pub actor: Actor,
    /// Which way.
    pub decision: Decision,
    /// Why.
    pub reason: Arc<str>,
    /// A person or a rule.
    pub by: DecidedBy,
}

/// What the log says of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Undecided; a break-glass: not reviewed.
    Open {
        /// When it lapses; a break-glass: when the review is due.
        until: Timestamp,
    },
    /// Approved; an operation: not used yet.
    Approved {
        /// Since when.
        since: Timestamp,
        /// Until when an operation may use it; for a grant [`Timestamp::MAX`].
        until: Timestamp,
    },
    /// An operation passed on it.
    Used {
        /// When.
        at: Timestamp,
        /// In which session.
        session: Arc<str>,
    },
    /// Denied.
    Denied {
        /// When.
        at: Timestamp,
    },
    /// A break-glass: somebody else has looked at it.
    Reviewed {
        /// When.
        at: Timestamp,
    },
}

/// Where a question stands at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody has decided, or not enough.
    Pending,
    /// Approved, and not used yet where it is an operation.
    Approved,
    /// An operation passed on it.
    Used,
    /// Denied.
    Denied,
    /// The question lapsed undecided, or the approval unused.
    Expired,
    /// A break-glass that waits for its review.
    ReviewDue,
    /// A break-glass whose review is late.
    ReviewOverdue,
    /// A break-glass that was reviewed.
    Reviewed,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 8] = [
        Self::Pending,
        Self::Approved,
        Self::Used,
        Self::Denied,
        Self::Expired,
        Self::ReviewDue,
        Self::ReviewOverdue,
        Self::Reviewed,
    ];

    /// The name in lists.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Used => "used",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::ReviewDue => "review_due",
            Self::ReviewOverdue => "review_overdue",
            Self::Reviewed => "reviewed",
        }
    }
}

impl Approval {
    /// Where it stands at `now`.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        let emergency = matches!(self.question, Question::BreakGlass(_));
        match self.state {
            State::Open { until } if emergency && now < until => Status::ReviewDue,
            State::Open { .. } if emergency => Status::ReviewOverdue,
            State::Open { until } if now < until => Status::Pending,
            State::Approved { until, .. } if now < until => Status::Approved,
            State::Open { .. } | State::Approved { .. } => Status::Expired,
            State::Used { .. } => Status::Used,
            State::Denied { .. } => Status::Denied,
            State::Reviewed { .. } => Status::Reviewed,
        }
    }

    /// Who asked; he decides nothing about it.
    #[must_use]
    pub fn asked_by(&self) -> &Actor {
        match &self.question {
            Question::Grant(request) => &request.principal,
            Question::Operation(held) => &held.principal,
            Question::BreakGlass(opened) => &opened.principal,
        }
    }

    /// The policy's rule that it was asked under.
    #[must_use]
    pub fn rule(&self) -> &str {
        match &self.question {
            Question::Grant(request) => &request.rule,
            Question::Operation(held) => &held.rule,
            Question::BreakGlass(opened) => &opened.rule,
        }
    }

    /// When it lapses, or is due for its review, as long as it is open or approved and unused.
    #[must_use]
    pub const fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            State::Open { until } | State::Approved { until, .. } if until.0 != i64::MAX => Some(until),
            _ => None,
        }
    }

    /// Until when it waits for a decision; `None` where it is decided, or is a break-glass.
    pub(super) fn undecided(&self) -> Option<Timestamp> {
        match self.state {
            State::Open { until } if !matches!(self.question, Question::BreakGlass(_)) => Some(until),
            _ => None,
        }
    }

    /// What the questions of one asker are counted under.
    pub(super) fn asker_key(&self) -> Arc<str> {
        self.asked_by().name.to_lowercase().into()
    }

    /// The last thing that happened to it.
    pub(super) fn changed(&self) -> Timestamp {
        match self.state {
            State::Open { .. } => self.asked,
            State::Approved { since, .. } => since,
            State::Used { at, .. } | State::Denied { at } | State::Reviewed { at } => at,
        }
    }
}

/// Which questions a list shows; `None` lets everything through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Where it stands.
    pub status: Option<Status>,
    /// The name of who asked.
    pub principal: Option<String>,
    /// The rule.
    pub rule: Option<String>,
    /// `grant`, `operation` or `break_glass`.
    pub about: Option<String>,
}

impl Filter {
    pub(super) fn lets_through(&self, approval: &Approval, now: Timestamp) -> bool {
        let about = match &approval.question {
            Question::Grant(_) => "grant",
            Question::Operation(_) => "operation",
            Question::BreakGlass(_) => "break_glass",
        };
        let is = |wanted: &Option<String>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted == text);
        is(&self.about, about)
            && is(&self.principal, &approval.asked_by().name)
            && is(&self.rule, approval.rule())
            && self.status.is_none_or(|status| status == approval.status(now))
    }
}
