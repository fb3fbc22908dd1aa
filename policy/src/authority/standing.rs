//! What the control log adds to the policy right now: run-time grants in force or to come, and revocations.
//! Immutable; part of a [`crate::snapshot::Snapshot`], so that both are published with one swap.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_core::words::{Principal, SessionId, Timestamp};

use super::event::Actor;
use crate::grant::Grant;

/// What the log adds to the policy.
#[derive(Debug, Default)]
pub struct Standing {
    /// By the principal's name.
    pub(super) grants: HashMap<Arc<str>, Vec<(Actor, Arc<Grant>)>>,
    /// By the session's id as text, lower case.
    pub(super) sessions: HashMap<Arc<str>, Arc<str>>,
    /// Those of `sessions` that are UUIDs, so that a lookup formats nothing.
    pub(super) session_ids: HashMap<SessionId, Arc<str>>,
    pub(super) tokens: HashMap<Arc<str>, Arc<str>>,
    /// By name.
    pub(super) principals: HashMap<Arc<str>, Vec<ShutOut>>,
    /// When the first of all this ends by itself.
    pub(super) ends: Option<Timestamp>,
}

/// At which issuer a principal is shut out, `None` at all, and why.
pub(super) type ShutOut = (Option<Arc<str>>, Arc<str>);

impl Standing {
    /// The run-time grants of `principal`, oldest first.
    pub(crate) fn grants_of(&self, principal: &Principal) -> impl Iterator<Item = Arc<Grant>> {
        let named = self.grants.get(&principal.name).map_or(&[][..], Vec::as_slice);
        named.iter().filter(|(holder, _)| holder.is(principal)).map(|(_, grant)| grant.clone())
    }

    /// Whether something in here has ended by `now`, so that it is to be published anew.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends.is_some_and(|end| end <= now)
    }

    /// How many run-time grants there are.
    #[must_use]
    pub fn grants(&self) -> usize {
        self.grants.values().map(Vec::len).sum()
    }

    /// Why `principal`, its session or its token counts no longer. Hash lookups without allocation.
    #[must_use]
    pub fn revoked(&self, principal: &Principal, session: &SessionId, token_id: Option<&str>) -> Option<&str> {
        let of_session = || self.session_ids.get(session);
        let of_token = || self.tokens.get(token_id?);
        of_session().or_else(of_token).map(|reason| &**reason).or_else(|| self.principal_revoked(principal))
    }

    /// Why a session counts no longer, by its id as text.
    #[must_use]
    pub fn session_revoked(&self, session: &str) -> Option<&str> {
        self.sessions.get(session).map(|reason| &**reason)
    }

    /// Why a token counts no longer, by its id (`jti`).
    #[must_use]
    pub fn token_revoked(&self, token_id: &str) -> Option<&str> {
        self.tokens.get(token_id).map(|reason| &**reason)
    }

    /// Why a principal is shut out.
    #[must_use]
    pub fn principal_revoked(&self, principal: &Principal) -> Option<&str> {
        let revoked = self.principals.get(&principal.name)?;
        let at = |(issuer, _): &&ShutOut| issuer.as_ref().is_none_or(|issuer| *issuer == principal.issuer);
        revoked.iter().find(at).map(|(_, reason)| &**reason)
    }
}
