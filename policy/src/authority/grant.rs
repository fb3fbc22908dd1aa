//! Run-time grants: what became of an approved request or of a break-glass.

use std::sync::Arc;

use serde::Serialize;
use tidegate_core::words::Timestamp;

use super::approval::Question;
use super::event::{Actor, ApprovalId, GrantId};
use crate::file::{OperationRule, ResourceRule};
use crate::grant::{Denials, Grant, Operations, Who};
use crate::snapshot;

/// A run-time grant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunGrant {
    /// Its id, and its name in evidence.
    pub id: GrantId,
    /// The approval that it stands on, the latest where it was extended.
    pub approval: ApprovalId,
    /// The sequence number of the event that made it.
    pub sequence: u64,
    /// For whom.
    pub principal: Actor,
    /// The policy's rule.
    pub rule: String,
    /// On what.
    pub resources: Vec<ResourceRule>,
    /// What.
    pub operations: Vec<OperationRule>,
    /// What for.
    pub purpose: String,
    /// From when on.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Whether it was opened in an emergency.
    pub break_glass: bool,
    /// When and why it was revoked, by whom.
    pub revoked: Option<GrantRevoked>,
    #[serde(skip)]
    compiled: Compiled,
}

/// A grant's revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantRevoked {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Arc<str>,
    /// By whom.
    pub by: Actor,
}

/// The grant as views take it. It follows from the other fields, so two are never told apart by it.
#[derive(Debug, Clone)]
struct Compiled(Arc<Grant>);

impl PartialEq for Compiled {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl RunGrant {
    /// The grant that an approved question makes at `now`; `None` where it is not about one.
    pub(super) fn of(question: &Question, sequence: u64, now: Timestamp) -> Option<Self> {
        let made = match question {
            Question::Grant(request) => {
                let (not_before, not_after) = request.span.window(now);
                Self {
                    id: request.grant.clone(),
                    approval: request.id.clone(),
                    sequence,
                    principal: request.principal.clone(),
                    rule: request.rule.clone(),
                    resources: request.resources.clone(),
                    operations: request.operations.clone(),
                    purpose: request.purpose.clone(),
                    not_before,
                    not_after,
                    break_glass: false,
                    revoked: None,
                    compiled: Compiled::placeholder(),
                }
            }
            Question::BreakGlass(opened) => Self {
                id: opened.grant.clone(),
                approval: opened.id.clone(),
                sequence,
                principal: opened.principal.clone(),
                rule: opened.rule.clone(),
                resources: opened.resources.clone(),
                operations: opened.operations.clone(),
                purpose: opened.reason.clone(),
                not_before: opened.not_before,
                not_after: opened.not_after,
                break_glass: true,
                revoked: None,
                compiled: Compiled::placeholder(),
            },
            Question::Operation(_) => return None,
        };
        Some(made.compile())
    }

    /// Lets it last until `not_after`, where that is later.
    pub(super) fn extend(&self, not_after: Timestamp, approval: &ApprovalId) -> Self {
        let extended = Self { not_after: self.not_after.max(not_after), approval: approval.clone(), ..self.clone() };
        extended.compile()
    }

    fn compile(mut self) -> Self {
        self.compiled = Compiled(Arc::new(Grant {
            name: self.id.0.clone(),
            purpose: self.purpose.as_str().into(),
            // Its holder is matched by issuer, name and subject before; rules about names have no say.
            who: Who::default(),
            scopes: self.resources.iter().filter_map(snapshot::scope).collect(),
            operations: Operations::implied_by(snapshot::operations(&self.operations)),
            not_before: self.not_before,
            not_after: self.not_after,
            schedule: None,
            emergency: self.break_glass,
            denials: Denials::of(&self.id.0, self.not_before, self.not_after),
        }));
        self
    }

    /// Whether it holds at `now` or will.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.not_after
    }

    pub(super) fn compiled(&self) -> Arc<Grant> {
        self.compiled.0.clone()
    }
}

impl Compiled {
    fn placeholder() -> Self {
        Self(Arc::new(Grant {
            name: Arc::from(""),
            purpose: Arc::from(""),
            who: Who::default(),
            scopes: Vec::new(),
            operations: Operations::default(),
            not_before: Timestamp::MAX,
            not_after: Timestamp::MAX,
            schedule: None,
            emergency: false,
            denials: Denials::of("", Timestamp::MAX, Timestamp::MAX),
        }))
    }
}
