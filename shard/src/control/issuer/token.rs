//! The token endpoint (RFC 6749 §3.2): who asks, what for, and the token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tidegate_core::event::{Kind, Outcome};
use tidegate_core::words::{Principal, Timestamp};
use zeroize::Zeroizing;

use super::accounts::{Client, authenticate, claimed_name};
use super::oauth::{Form, OAuthError, no_store};
use super::{Issuer, device, lock, name};
use crate::config::tokens::CLI_CLIENT;
use crate::control::listen::Peer;
use crate::control::now;
use crate::tokens::Claims;
use crate::tokens::claims::Vouched;

/// RFC 8693.
pub(super) const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 7522.
pub(super) const SAML_BEARER: &str = "urn:ietf:params:oauth:grant-type:saml2-bearer";
/// The scope of every token.
pub(super) const SCOPE: &str = "kafka";

/// A token made, and what is to be remembered of it.
pub(super) struct Minted {
    /// The token.
    pub token: Zeroizing<String>,
    /// Its id.
    pub jti: Arc<str>,
    /// Its `exp`.
    pub expires: Timestamp,
}

/// A request at the token endpoint that came far enough to be answered.
pub(super) struct Asked<'a> {
    pub form: &'a Form,
    pub client: Client,
    pub now: Timestamp,
}

/// What a grant gives.
pub(super) struct Granted {
    /// To whom.
    pub principal: Principal,
    /// The client.
    pub client_id: String,
    /// The session.
    pub sid: Arc<str>,
    /// The token.
    pub minted: Minted,
    /// Goes into the answer beside the token.
    pub refresh_token: Option<Zeroizing<String>>,
    /// The same, for RFC 8693.
    pub issued_token_type: Option<&'static str>,
}

/// `POST /token`.
pub(super) async fn endpoint(
    State(issuer): State<Arc<Issuer>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let form = match Form::of_body(&headers, &body) {
        Ok(form) => form,
        Err(error) => {
            issuer.refused(peer.ip(), "", "token", &error, None);
            return error.into_response();
        }
    };
    let (client, grant) = (claimed_name(&headers, &form), form.get("grant_type").unwrap_or_default().to_owned());
    if let Err(error) = issuer.admit(peer.ip(), &client, &grant) {
        return error.into_response();
    }
    match issuer.grant(&headers, &form).await {
        Ok(granted) => issuer.answer(peer.ip(), &grant, &granted),
        Err(error) => {
            // A device that asks again and again is as it should be.
            if !matches!(error.code, "authorization_pending" | "slow_down") {
                issuer.refused(peer.ip(), &client, &grant, &error, None);
            }
            error.into_response()
        }
    }
}

impl Issuer {
    async fn grant(&self, headers: &HeaderMap, form: &Form) -> Result<Granted, OAuthError> {
        let now = now();
        let client = authenticate(&self.accounts.load(), &mut lock(&self.used_assertions), headers, form, now)?;
        check_scope(form)?;
        let asked = Asked { form, client, now };
        match form.need("grant_type")? {
            "client_credentials" => self.client_credentials(asked),
            "authorization_code" => self.redeem_code(asked).await,
            "refresh_token" => self.refresh(asked).await,
            device::GRANT_TYPE => self.redeem_device(asked),
            TOKEN_EXCHANGE => self.exchange(asked).await,
            SAML_BEARER => self.saml_bearer(asked),
            _ => Err(OAuthError::new(
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "this grant type is not supported",
            )),
        }
    }

    /// RFC 6749 §4.4. No refresh token: the secret is at hand.
    fn client_credentials(&self, asked: Asked<'_>) -> Result<Granted, OAuthError> {
        let Client::Account(account) = &asked.client else { return Err(OAuthError::invalid_client()) };
        let sid = new_session();
        let principal = account.principal(&self.config.issuer);
        self.check_standing(&principal, None)?;
        let minted = self.mint(&principal, &account.name, &sid, Timestamp::MAX, asked.now)?;
        let client_id = account.name.to_string();
        Ok(Granted { principal, client_id, sid, minted, refresh_token: None, issued_token_type: None })
    }

    /// A token for `principal` that ends with `ends` at the latest.
    pub(super) fn mint(
        &self,
        principal: &Principal,
        client_id: &str,
        sid: &str,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<Minted, OAuthError> {
        let from = now.as_secs();
        let lifetime = i64::try_from(self.config.lifetime.as_secs()).unwrap_or(300);
        let exp = (from + lifetime).min(ends.as_secs());
        if exp <= from {
            return Err(OAuthError::invalid_grant("what the token would rest on has ended"));
        }
        let jti = uuid::Uuid::now_v7().to_string();
        let own = *principal.issuer == *self.config.issuer;
        let claims = Claims {
            iss: &self.config.issuer,
            sub: &principal.name,
            aud: &self.config.audience,
            client_id,
            sid,
            jti: &jti,
            scope: SCOPE,
            groups: &principal.groups,
            iat: from,
            nbf: from,
            exp,
            idp: (!own).then(|| Vouched { iss: &principal.issuer, sub: &principal.subject }),
        };
        let key = lock(&self.ring).signer(self.config.algorithm, now).cloned();
        let key = key.ok_or_else(|| OAuthError::server_error("there is no signing key"))?;
        let token = key.sign(&claims).map_err(|error| OAuthError::server_error(error.to_string()))?;
        if token.len() > self.limits.token_bytes_max as usize {
            return Err(OAuthError::invalid_grant("the principal has more groups than fit into a token"));
        }
        Ok(Minted { token: Zeroizing::new(token), jti: Arc::from(jti), expires: Timestamp::from_secs(exp) })
    }

    /// Leaves the token in the evidence and answers with it (RFC 6749 §5.1).
    fn answer(&self, peer: IpAddr, grant: &str, granted: &Granted) -> Response {
        let now = now();
        let Granted { principal, client_id, sid, minted, refresh_token, issued_token_type } = granted;
        let mut event = self.event(Kind::TokenIssued, Outcome::Allowed, now);
        event.session = sid.to_string();
        event.client_address = peer.to_string();
        event.client_id.clone_from(client_id);
        event.api = grant.to_owned();
        event.detail = format!("token {}, until {} (seconds since 1970)", minted.jti, minted.expires.as_secs());
        name(&mut event, Some(principal));
        self.note(event);
        tracing::info!(%peer, principal = %principal.name, client = client_id, %sid, jti = %minted.jti, grant, "token issued");
        let mut answer = json!({
            "access_token": &*minted.token,
            "token_type": "Bearer",
            "expires_in": minted.expires.as_secs() - now.as_secs(),
            "scope": SCOPE,
        });
        if let Some(kind) = issued_token_type {
            answer["issued_token_type"] = Value::from(*kind);
        }
        if let Some(token) = refresh_token {
            answer["refresh_token"] = Value::from(token.as_str());
        }
        (no_store(), axum::Json(answer)).into_response()
    }
}

/// The name of a public client that we know, or of an account.
///
/// # Errors
/// `invalid_client`.
pub(super) fn known_client(client: &Client) -> Result<String, OAuthError> {
    match client {
        Client::Account(account) => Ok(account.name.to_string()),
        Client::Named(name) if name == CLI_CLIENT => Ok(name.clone()),
        Client::Named(_) | Client::Unnamed => Err(OAuthError::invalid_client()),
    }
}

/// A new session's id.
pub(super) fn new_session() -> Arc<str> {
    Arc::from(uuid::Uuid::now_v7().to_string())
}

/// What a request may ask for: nothing beyond what there is.
fn check_scope(form: &Form) -> Result<(), OAuthError> {
    let known = |scope: &str| [SCOPE, "openid", "offline_access"].contains(&scope);
    if form.get("scope").is_some_and(|scopes| !scopes.split(' ').all(known)) {
        return Err(OAuthError::new(StatusCode::BAD_REQUEST, "invalid_scope", "the only scope is `kafka`"));
    }
    Ok(())
}
