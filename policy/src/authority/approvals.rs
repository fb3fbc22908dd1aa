//! What shards are told of held operations: an immutable table, looked up only by requests that wait.

use std::collections::HashMap;
use std::sync::Arc;

use super::event::ApprovalId;
use super::request_key::RequestKey;

/// Where the question about one request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApprovalState {
    /// Nobody has decided, or not enough.
    Pending {
        /// The approval.
        id: ApprovalId,
    },
    /// It may pass, once: [`super::Command::Use`] comes first.
    Approved {
        /// The approval.
        id: ApprovalId,
    },
    /// It passes, in this session only; for every other the question is to be asked anew.
    Used {
        /// The approval.
        id: ApprovalId,
        /// The session.
        session: Arc<str>,
    },
    /// It is denied, until the question would have lapsed.
    Denied {
        /// The approval.
        id: ApprovalId,
        /// Why.
        reason: Arc<str>,
    },
    /// The question, or the approval, has lapsed; it is to be asked anew.
    Expired {
        /// The approval.
        id: ApprovalId,
    },
}

impl ApprovalState {
    /// The approval's id.
    #[must_use]
    pub const fn id(&self) -> &ApprovalId {
        match self {
            Self::Pending { id }
            | Self::Approved { id }
            | Self::Used { id, .. }
            | Self::Denied { id, .. }
            | Self::Expired { id } => id,
        }
    }
}

/// The questions about held operations, by request.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Approvals {
    by_key: HashMap<RequestKey, Known>,
    refused: HashMap<RequestKey, Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    policy_fingerprint: Arc<str>,
    state: ApprovalState,
}

impl Approvals {
    pub(super) fn put(&mut self, key: RequestKey, policy_fingerprint: Arc<str>, state: ApprovalState) {
        self.by_key.insert(key, Known { policy_fingerprint, state });
    }

    /// Where the question about a request stands; `None` where it was not asked under this policy.
    #[must_use]
    pub fn get(&self, key: &RequestKey, policy_fingerprint: &str) -> Option<&ApprovalState> {
        let known = self.by_key.get(key)?;
        (*known.policy_fingerprint == *policy_fingerprint).then_some(&known.state)
    }

    /// The approval of a request that has passed on it, under whichever policy: for questions that are answered for
    /// good.
    #[must_use]
    pub fn used(&self, key: &RequestKey) -> Option<&ApprovalId> {
        match &self.by_key.get(key)?.state {
            ApprovalState::Used { id, .. } => Some(id),
            _ => None,
        }
    }

    /// These, and requests whose question was lately refused, each with the sentence why.
    #[must_use]
    pub fn with_refused(mut self, refused: HashMap<RequestKey, Arc<str>>) -> Self {
        self.refused = refused;
        self
    }

    /// Why a request's question could not even be asked: too many wait, say. Whoever waits need wait no longer.
    #[must_use]
    pub fn refused(&self, key: &RequestKey) -> Option<&Arc<str>> {
        self.refused.get(key)
    }

    /// How many questions are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}
