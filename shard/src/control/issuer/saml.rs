//! People whose identity provider speaks SAML: `/authorize` sends the browser there with a signed request, the provider
//! has it post a response to `/saml/acs`, and a code goes to the program that asked, as after an OIDC login.
//!
//! A login is bound to the browser that began it by a cookie, and to its request by the request's id, which the response
//! must answer. The same assertions at the token endpoint: RFC 7522.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidegate_core::words::Timestamp;
use tidegate_policy::identity::saml::VerifiedAssertion;
use url::Url;

use super::accounts::Client;
use super::login::{COOKIES, LOGIN_MILLIS, Purpose};
use super::oauth::{Form, OAuthError};
use super::pages::{page, redirect};
use super::refresh::Source;
use super::token::{Asked, Granted, known_client, new_session};
use super::{Issuer, lock};
use crate::config::tokens::CLI_CLIENT;
use crate::control::listen::Peer;
use crate::control::now;
use crate::control::saml::ServiceProvider;
use crate::tokens::secret::{SecretHash, draw};

/// Where a provider's response is posted.
pub(super) const CONSUMER: &str = "/saml/acs";
/// Our own metadata.
pub(super) const METADATA: &str = "/saml/metadata";
/// How long a login lasts where the provider does not say, in milliseconds: it cannot be asked anew.
const UNSAID_MILLIS: i64 = 3_600_000;

/// A login under way at a SAML provider.
pub(super) struct SamlLogin {
    entity_id: String,
    request_id: String,
    browser: SecretHash,
    purpose: Purpose,
}

/// `GET /saml/metadata`.
pub(super) async fn metadata(State(issuer): State<Arc<Issuer>>) -> Response {
    match &issuer.saml {
        Some(saml) => ([(header::CONTENT_TYPE, "application/samlmetadata+xml")], saml.own_metadata()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `POST /saml/acs`.
pub(super) async fn consume(
    State(issuer): State<Arc<Issuer>>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match issuer.end_saml(peer.ip(), &headers, &body) {
        Ok(response) => response,
        Err(error) => {
            issuer.refused(peer.ip(), CLI_CLIENT, "saml", &error, None);
            page(error.status, "You are not logged in", &error.description)
        }
    }
}

impl Issuer {
    /// Sends a browser to a SAML provider, which must be one of `saml`'s.
    pub(super) fn begin_saml(
        &self,
        saml: &ServiceProvider,
        entity_id: &str,
        purpose: Purpose,
        headers: &HeaderMap,
    ) -> Result<Response, OAuthError> {
        let random = || draw("").map_err(|_| OAuthError::server_error("the system has no randomness"));
        let (state, browser) = (random()?, random()?);
        let now = now();
        let started = saml
            .begin(entity_id, &state, now)
            .map_err(|error| OAuthError::unavailable(format!("the identity provider cannot be used: {error:#}")))?;
        let url = Url::parse(&started.url).map_err(|_| OAuthError::server_error("the provider's URL is none"))?;
        let login = SamlLogin {
            entity_id: entity_id.to_owned(),
            request_id: started.request_id,
            browser: SecretHash::of(&browser),
            purpose,
        };
        let of = SecretHash::of(&state);
        let gone = {
            let mut logins = lock(&self.logins);
            let gone = logins.make_room(COOKIES.others(headers), now);
            logins
                .saml
                .put(of, login, now.plus_millis(LOGIN_MILLIS), now)
                .map_err(|_| OAuthError::unavailable("too many people are logging in"))?;
            gone
        };
        // The response comes as a post from the provider's page, which only a cookie for all sites survives.
        let site = if self.config.issuer.starts_with("https:") { "None; Secure" } else { "Lax" };
        let cookie = COOKIES.make(&of, &browser, site);
        redirect(&url, std::iter::once(cookie).chain(gone.iter().map(|of| COOKIES.remove(of))))
    }

    fn end_saml(&self, peer: IpAddr, headers: &HeaderMap, body: &[u8]) -> Result<Response, OAuthError> {
        self.admit(peer, CLI_CLIENT, "saml")?;
        let form = Form::of_body(headers, body)?;
        let state = SecretHash::of(form.need("RelayState")?);
        let now = now();
        let login = lock(&self.logins).saml.take(&state, now);
        let login = login.ok_or_else(|| OAuthError::invalid_grant("the login is not known, over, or took too long"))?;
        if !COOKIES.is_from(headers, &state, &login.browser) {
            return Err(OAuthError::invalid_grant("the login was begun in another browser"));
        }
        let Some(saml) = &self.saml else { return Err(OAuthError::server_error("no such provider")) };
        let response = form.need("SAMLResponse")?;
        let verified = saml
            .finish(&login.entity_id, &login.request_id, response, now)
            .map_err(|error| OAuthError::invalid_grant(error.to_string()))?;
        self.check_standing(&verified.principal, None)?;
        let source = Source { idp: None, ends: ends(&verified, now) };
        self.end_at_purpose(login.purpose, verified.principal, source, &state)
    }

    /// RFC 7522: a SAML assertion for one of our tokens. Not refreshed: the client comes back with a fresh one.
    pub(super) fn saml_bearer(&self, asked: Asked<'_>) -> Result<Granted, OAuthError> {
        let Asked { form, client, now } = asked;
        let Some(saml) = &self.saml else {
            let description = "no SAML identity provider is configured";
            return Err(OAuthError::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", description));
        };
        let client_id = match client {
            Client::Unnamed => CLI_CLIENT.to_owned(),
            client => known_client(&client)?,
        };
        let verified =
            saml.bearer(form.need("assertion")?, now).map_err(|error| OAuthError::invalid_grant(error.to_string()))?;
        self.check_standing(&verified.principal, None)?;
        let sid = new_session();
        let minted = self.mint(&verified.principal, &client_id, &sid, ends(&verified, now), now)?;
        Ok(Granted {
            principal: verified.principal,
            client_id,
            sid,
            minted,
            refresh_token: None,
            issued_token_type: None,
        })
    }
}

/// When what rests on an assertion ends.
fn ends(verified: &VerifiedAssertion, now: Timestamp) -> Timestamp {
    verified.session_until.unwrap_or_else(|| now.plus_millis(UNSAID_MILLIS))
}
