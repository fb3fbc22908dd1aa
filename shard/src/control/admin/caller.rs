//! Who calls: a token of one of the issuers, or the machine's own operator token.
//!
//! A token is verified exactly as on the data plane, against the same issuers and keys; a key id that
//! is not known yet is fetched and waited for. Invariants: a revoked principal, session or token is
//! nobody here either; nothing of a token is kept, logged or answered.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use tidegate_core::words::Principal;
use tidegate_policy::authority::{Actor, Role};
use tidegate_policy::identity::{TokenError, verify};

use super::Admin;
use super::problem::Problem;
use crate::control::now;
use crate::shared::Ask;

/// How long a key that isn't known is waited for.
const KEY_PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked for.
const KEY_LOOK: Duration = Duration::from_millis(25);

/// Who calls, verified.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// As the authority takes it.
    pub actor: Actor,
    /// The same as rules match it.
    pub principal: Principal,
    /// The roles that the policy gives it.
    pub roles: Vec<Role>,
    /// The id of the token, where it has one.
    pub token_id: Option<Arc<str>>,
    /// The login session that the token is part of, where it is part of one.
    pub login: Option<Arc<str>>,
}

impl Caller {
    /// Whether it has one of these roles.
    #[must_use]
    pub(super) fn has(&self, roles: &[Role]) -> bool {
        self.roles.iter().any(|role| roles.contains(role))
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = || {
        Problem::unauthenticated(
            "send a token of one of the configured issuers as `authorization: Bearer TOKEN`; \
             `tidegate login` gets one",
        )
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?.to_str().map_err(|_| missing())?;
    if values.next().is_some() {
        return Err(Problem::unauthenticated("there is more than one `authorization` header"));
    }
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() { Err(missing()) } else { Ok(token) }
}

impl Admin {
    /// Who sends these headers.
    ///
    /// # Errors
    /// 401 and why.
    pub(super) async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let token = bearer(headers)?;
        if let Some(principal) = self.operator.as_ref().and_then(|operator| operator.verify(token)) {
            return self.caller(principal, None, None);
        }
        let limits = &self.config.limits;
        let mut verified = verify(token, &self.shared.issuers.load(), now(), limits);
        if let Err(TokenError::UnknownKey { issuer, kid }) = &verified
            && self.shared.ask(Ask::UnknownKey { issuer: issuer.clone(), kid: Arc::from(kid.as_str()) })
        {
            let until = tokio::time::Instant::now() + KEY_PATIENCE;
            let known = || self.shared.issuers.load().keys(issuer).is_some_and(|keys| keys.has(kid));
            while !known() && tokio::time::Instant::now() < until {
                tokio::time::sleep(KEY_LOOK).await;
            }
            verified = verify(token, &self.shared.issuers.load(), now(), limits);
        }
        let verified = verified.map_err(|error| Problem::unauthenticated(error.to_string()))?;
        self.caller(verified.principal, verified.token_id, verified.session)
    }

    fn caller(
        &self,
        principal: Principal,
        token_id: Option<Arc<str>>,
        login: Option<Arc<str>>,
    ) -> Result<Caller, Problem> {
        let policy = self.shared.policy.load();
        let standing = policy.standing();
        let revoked = standing
            .principal_revoked(&principal)
            .or_else(|| standing.token_revoked(token_id.as_deref()?))
            .or_else(|| standing.session_revoked(login.as_deref()?));
        if let Some(reason) = revoked {
            return Err(Problem::unauthenticated(format!("revoked: {reason}")));
        }
        let roles = Role::ALL.into_iter().filter(|role| policy.has_role(&principal, *role)).collect();
        Ok(Caller { actor: Actor::from(&principal), principal, roles, token_id, login })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_bearer_token_is_taken() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&headers).map(str::to_owned).map_err(|problem| problem.status)
        };
        assert_eq!(with(&["Bearer abc"]), Ok("abc".to_owned()));
        assert_eq!(with(&["bearer  abc "]), Ok("abc".to_owned()));
        for values in [&[][..], &["abc"], &["Bearer"], &["Bearer "], &["Basic abc"], &["Bearer a", "Bearer a"]] {
            assert_eq!(with(values), Err(401), "{values:?}");
        }
    }
}
