//! Tokens for whoever has an identity provider's word: RFC 8693 token exchange.
//!
//! The token that comes in is verified like one that a client shows to the data plane. What goes out ends when it ends
//! at the latest, and is not refreshed: the client comes back with a fresh one.

use std::time::Duration;

use axum::http::StatusCode;
use tidegate_core::words::Timestamp;
use tidegate_policy::identity::{IssuerConfig, Issuers, TokenError, Verified, verify};

use super::Issuer;
use super::accounts::Client;
use super::oauth::OAuthError;
use super::token::{Asked, Granted, known_client, new_session};
use crate::config::tokens::CLI_CLIENT;
use crate::control::now;
use crate::shared::Ask;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// How long a token waits for keys that its issuer may have published meanwhile.
const KEYS_PATIENCE: Duration = Duration::from_secs(3);

impl Issuer {
    /// RFC 8693: another issuer's token for one of ours.
    pub(super) async fn exchange(&self, asked: Asked<'_>) -> Result<Granted, OAuthError> {
        let Asked { form, client, now } = asked;
        let client_id = match client {
            Client::Unnamed => CLI_CLIENT.to_owned(),
            client => known_client(&client)?,
        };
        if form.get("actor_token").is_some() {
            return Err(OAuthError::invalid_request("acting for somebody else (`actor_token`) is not supported"));
        }
        if form.get("requested_token_type").is_some_and(|kind| kind != ACCESS_TOKEN && kind != JWT) {
            return Err(OAuthError::invalid_request("only access tokens are issued"));
        }
        let is_ours = |target: &str| *target == *self.config.audience || *target == *self.config.issuer;
        if ["audience", "resource"].iter().any(|target| form.get(target).is_some_and(|target| !is_ours(target))) {
            let description = "tokens are issued for this gateway only";
            return Err(OAuthError::new(StatusCode::BAD_REQUEST, "invalid_target", description));
        }
        let token = form.need("subject_token")?;
        let verified = match form.need("subject_token_type")? {
            ACCESS_TOKEN | JWT => self.verify_fresh(token, &Issuers::clone).await,
            ID_TOKEN => self.verify_fresh(token, &|issuers| self.with_login_audiences(issuers)).await,
            _ => return Err(OAuthError::invalid_request("`subject_token_type` must be access_token, id_token or jwt")),
        }?;
        if *verified.issuer == *self.config.issuer {
            // Otherwise a token of minutes would be good for ever.
            return Err(OAuthError::invalid_request("tokens of this gateway are refreshed, not exchanged"));
        }
        self.check_token(&verified)?;
        let ends = self.end_of(&verified);
        let sid = new_session();
        let minted = self.mint(&verified.principal, &client_id, &sid, ends, now)?;
        let issued_token_type = Some(ACCESS_TOKEN);
        Ok(Granted { principal: verified.principal, client_id, sid, minted, refresh_token: None, issued_token_type })
    }

    /// The `exp` of a verified token, without the leeway that its issuer is given.
    pub(super) fn end_of(&self, verified: &Verified) -> Timestamp {
        let issuers = self.shared.issuers.load();
        let config = issuers.configs().find(|config| *config.issuer == *verified.issuer);
        let leeway = config.map_or(0, |config| i64::from(config.leeway_seconds));
        verified.expires.plus_millis(-leeway * 1000)
    }

    /// The issuers as they verify id tokens, whose audience is the client that logged in: the gateway.
    pub(super) fn with_login_audiences(&self, issuers: &Issuers) -> Issuers {
        let configs = self
            .config
            .login
            .iter()
            .map(|login| IssuerConfig { audiences: vec![login.client_id.clone()], ..login.issuer.clone() });
        issuers.reconfigured(configs)
    }

    /// Verifies a token with the keys that are published now, or that come within seconds.
    pub(super) async fn verify_fresh(
        &self,
        token: &str,
        adapt: &(dyn Fn(&Issuers) -> Issuers + Sync),
    ) -> Result<Verified, OAuthError> {
        let patience = now().plus_millis(i64::try_from(KEYS_PATIENCE.as_millis()).unwrap_or(0));
        let mut asked = false;
        loop {
            let now = now();
            let error = match verify(token, &adapt(&self.shared.issuers.load()), now, &self.limits) {
                Ok(verified) => return Ok(verified),
                Err(error) => error,
            };
            let TokenError::UnknownKey { issuer, kid } = &error else {
                return Err(OAuthError::invalid_grant(error.to_string()));
            };
            if now >= patience || **issuer == *self.config.issuer {
                let unreachable = self.shared.issuers.load().keys(issuer).is_none();
                return Err(if unreachable {
                    OAuthError::unavailable("the keys of the token's issuer are not known: it does not answer")
                } else {
                    OAuthError::invalid_grant(error.to_string())
                });
            }
            if !std::mem::replace(&mut asked, true) {
                self.shared.ask(Ask::UnknownKey { issuer: issuer.clone(), kid: kid.as_str().into() });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
