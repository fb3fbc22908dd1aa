//! The end of tokens (RFC 7009), and questions about them (RFC 7662).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidegate_core::event::{Kind, Outcome};
use tidegate_core::words::{Principal, Timestamp};
use tidegate_policy::authority::{Actor, Command};
use tidegate_policy::identity::{Verified, verify};

use super::accounts::{Client, authenticate, claimed_name};
use super::families::Family;
use super::oauth::{Form, OAuthError, no_store};
use super::token::known_client;
use super::{Issuer, lock, name};
use crate::control::listen::Peer;
use crate::control::now;

/// `POST /revoke`: a refresh token ends its login, an access token ends by itself. What is not known is gone already.
pub(super) async fn revoke(
    State(issuer): State<Arc<Issuer>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match issuer.revoke(&headers, &body, peer.ip()).await {
        Ok(()) => (StatusCode::OK, no_store()).into_response(),
        Err((client, error)) => {
            issuer.refused(peer.ip(), &client, "revoke", &error, None);
            error.into_response()
        }
    }
}

/// `POST /introspect`: for service accounts that may ask.
pub(super) async fn introspect(
    State(issuer): State<Arc<Issuer>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match issuer.introspect(&headers, &body, peer.ip()) {
        Ok(answer) => (no_store(), axum::Json(answer)).into_response(),
        Err((client, error)) => {
            issuer.refused(peer.ip(), &client, "introspect", &error, None);
            error.into_response()
        }
    }
}

type Refused = (String, OAuthError);

/// By how much longer than a token says its revocation is kept, in milliseconds: more than the leeway that it has.
const LEEWAY_MILLIS: i64 = 60_000;

impl Issuer {
    async fn revoke(&self, headers: &HeaderMap, body: &[u8], peer: std::net::IpAddr) -> Result<(), Refused> {
        let (form, client) = self.client_of(headers, body, peer, "revoke")?;
        let client_id = known_client(&client).map_err(|error| (claimed_name(headers, &form), error))?;
        let token = form.need("token").map_err(|error| (client_id.clone(), error))?;
        let family = lock(&self.families).end_of_token(token, &client_id);
        if let Some(family) = family {
            self.end_family(&family, "the client asked for it").await;
            return Ok(());
        }
        let issuers = self.shared.issuers.load().clone();
        let Ok(verified) = verify(token, &issuers, now(), &self.limits) else { return Ok(()) };
        let ours = *verified.issuer == *self.config.issuer && said(token, "client_id") == Some(client_id);
        if let (true, Some(jti)) = (ours, &verified.token_id) {
            let (sid, principal) = (verified.session.as_deref().unwrap_or_default(), &verified.principal);
            let actor = Actor::from(principal);
            self.revoke_token(&actor, principal, sid, jti, verified.expires, "the client asked for it").await;
        }
        Ok(())
    }

    fn introspect(&self, headers: &HeaderMap, body: &[u8], peer: std::net::IpAddr) -> Result<Value, Refused> {
        let (form, client) = self.client_of(headers, body, peer, "introspect")?;
        let account = match client {
            Client::Account(account) => account,
            _ => return Err((claimed_name(headers, &form), OAuthError::invalid_client())),
        };
        let refused = |error| (account.name.to_string(), error);
        if !account.may_introspect {
            return Err(refused(OAuthError::new(
                StatusCode::FORBIDDEN,
                "access_denied",
                "it may not ask about tokens",
            )));
        }
        let token = form.need("token").map_err(refused)?;
        let inactive = json!({ "active": false });
        let issuers = self.shared.issuers.load();
        let Ok(verified) = verify(token, &issuers, now(), &self.limits) else { return Ok(inactive) };
        if *verified.issuer != *self.config.issuer || self.is_revoked(&verified) {
            return Ok(inactive);
        }
        let Some(Value::Object(mut claims)) = claims_of(token) else { return Ok(inactive) };
        claims.insert("active".to_owned(), Value::Bool(true));
        claims.insert("token_type".to_owned(), Value::from("Bearer"));
        claims.insert("username".to_owned(), Value::from(&*verified.principal.name));
        Ok(Value::Object(claims))
    }

    fn client_of(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        peer: std::net::IpAddr,
        what: &str,
    ) -> Result<(Form, Client), Refused> {
        let form = Form::of_body(headers, body).map_err(|error| (String::new(), error))?;
        let claimed = claimed_name(headers, &form);
        self.admit(peer, &claimed, what).map_err(|error| (claimed.clone(), error))?;
        let client = authenticate(&self.accounts.load(), &mut lock(&self.used_assertions), headers, &form, now());
        let client = client.map_err(|error| (claimed, error))?;
        Ok((form, client))
    }

    /// A login has ended before its time: its tokens end too.
    pub(super) async fn end_family(&self, family: &Family, reason: &str) {
        let (now, principal) = (now(), family.principal());
        let actor = Actor::from(&principal);
        for (jti, expires) in family.tokens().iter().filter(|(_, expires)| *expires > now) {
            self.revoke_token(&actor, &principal, family.sid(), jti, *expires, reason).await;
        }
    }

    /// Ends one access token of `principal`, who may do so himself.
    pub(super) async fn revoke_token(
        &self,
        actor: &Actor,
        principal: &Principal,
        sid: &str,
        jti: &Arc<str>,
        expires: Timestamp,
        reason: &str,
    ) {
        let now = now();
        if let Some(authority) = self.authority.get() {
            let holder = Some(Actor::from(principal));
            // The data plane takes it a little longer than it says.
            let until = expires.plus_millis(LEEWAY_MILLIS);
            let command = Command::RevokeToken { token_id: jti.to_string(), until, reason: reason.to_owned(), holder };
            // The refresh is refused in any case; the token ends within minutes.
            if let Err(error) = authority.submit(actor.clone(), command).await {
                tracing::error!(%jti, "a token's revocation is not in the control log: {error}");
            }
        }
        let mut event = self.event(Kind::TokenRevoked, Outcome::Denied, now);
        event.session = sid.to_owned();
        event.detail = format!("token {jti}: {reason}");
        name(&mut event, Some(principal));
        tracing::info!(principal = %principal.name, sid, %jti, reason, "token revoked");
        self.note(event);
    }

    /// Whether a token's principal, login or id was revoked.
    fn is_revoked(&self, verified: &Verified) -> bool {
        let policy = self.shared.policy.load();
        let standing = policy.standing();
        standing.principal_revoked(&verified.principal).is_some()
            || verified.session.as_ref().is_some_and(|sid| standing.session_revoked(sid).is_some())
            || verified.token_id.as_ref().is_some_and(|id| standing.token_revoked(id).is_some())
    }

    /// Refuses a token that was revoked, by itself, with its login or with its principal.
    pub(super) fn check_token(&self, verified: &Verified) -> Result<(), OAuthError> {
        if self.is_revoked(verified) {
            return Err(OAuthError::invalid_grant("the token, its session or its principal was revoked"));
        }
        Ok(())
    }

    /// Refuses whoever was revoked: a principal, or a login.
    pub(super) fn check_standing(&self, principal: &Principal, sid: Option<&str>) -> Result<(), OAuthError> {
        let policy = self.shared.policy.load();
        let standing = policy.standing();
        let of_login = || standing.session_revoked(sid?);
        if standing.principal_revoked(principal).or_else(of_login).is_some() {
            return Err(OAuthError::invalid_grant("the principal or the session was revoked"));
        }
        Ok(())
    }
}

/// The claims of a token that was verified already.
fn claims_of(token: &str) -> Option<Value> {
    use base64::Engine as _;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

/// A claim of a token that was verified already, where it is text.
pub(super) fn said(token: &str, claim: &str) -> Option<String> {
    claims_of(token)?.get(claim)?.as_str().map(str::to_owned)
}
