//! An identity provider that people log in at: OpenID Connect's code flow, with the gateway as its client.
//!
//! Its endpoints come from its discovery document and are asked for anew every quarter of an hour; answers are bounded
//! in size and time. A provider that does not answer is no verdict about anybody.

use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tidegate_core::words::Timestamp;
use tidegate_policy::identity::{IssuerConfig, Verified};
use url::Url;
use zeroize::Zeroizing;

use super::oauth::OAuthError;
use super::revoke::said;
use super::{Issuer, lock};
use crate::config::tokens::Login;
use crate::control::{keys, now};
use crate::upstream::Secret;

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long endpoints are believed, in milliseconds.
const DISCOVERY_MILLIS: i64 = 15 * 60_000;

/// A provider's endpoints.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Endpoints {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
}

/// What a provider's token endpoint says.
#[derive(Deserialize)]
struct Answer {
    id_token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
}

/// The tokens that a provider gave.
pub(super) struct Said {
    /// Who it is.
    pub id_token: Option<Secret>,
    /// The same for others, where a refresh brings no id token.
    pub access_token: Option<Secret>,
    /// For asking anew.
    pub refresh_token: Option<Secret>,
}

/// A provider.
pub(super) struct Idp {
    login: Login,
    redirect_uri: String,
    http: reqwest::Client,
    known: Mutex<Option<(Timestamp, Arc<Endpoints>)>>,
}

impl Idp {
    /// Nothing is asked yet: the provider may be away.
    ///
    /// # Errors
    /// Where its authorities' file cannot be used.
    pub(super) fn new(login: &Login, ca_file: Option<&Path>, redirect_uri: &str) -> anyhow::Result<Self> {
        Ok(Self {
            http: keys::client(&login.issuer, ca_file)?,
            login: login.clone(),
            redirect_uri: redirect_uri.to_owned(),
            known: Mutex::default(),
        })
    }

    /// What the login page calls it.
    pub(super) fn label(&self) -> &str {
        &self.login.label
    }

    /// How its tokens are verified.
    pub(super) fn issuer(&self) -> &IssuerConfig {
        &self.login.issuer
    }

    /// Where a browser is sent (OpenID Connect Core §3.1.2.1).
    ///
    /// # Errors
    /// `temporarily_unavailable` where the provider does not answer.
    pub(super) async fn authorization_url(&self, state: &str, nonce: &str, challenge: &str) -> Result<Url, OAuthError> {
        let endpoints = self.endpoints().await?;
        let mut url = Url::parse(&endpoints.authorization_endpoint).map_err(|_| self.away("names no usable URL"))?;
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", self.login.client_id.as_str()),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("scope", self.login.scope.as_str()),
            ("state", state),
            ("nonce", nonce),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
        ]);
        Ok(url)
    }

    /// What it gives for a code.
    ///
    /// # Errors
    /// `invalid_grant` where it refuses, `temporarily_unavailable` where it does not answer.
    pub(super) async fn redeem(&self, code: &str, verifier: &str) -> Result<Said, OAuthError> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", verifier),
        ];
        self.ask(&fields).await
    }

    /// What it gives for its refresh token.
    ///
    /// # Errors
    /// As [`Self::redeem`].
    pub(super) async fn refresh(&self, token: &Secret) -> Result<Said, OAuthError> {
        self.ask(&[("grant_type", "refresh_token"), ("refresh_token", token.reveal())]).await
    }

    async fn ask(&self, fields: &[(&str, &str)]) -> Result<Said, OAuthError> {
        let endpoints = self.endpoints().await?;
        let secret = self.secret()?;
        let body = {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(fields);
            if secret.is_none() {
                form.append_pair("client_id", &self.login.client_id);
            }
            form.finish()
        };
        let request = self.http.post(&endpoints.token_endpoint);
        let request = match secret {
            Some(secret) => {
                let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = Zeroizing::new(format!("{}:{}", encode(&self.login.client_id), encode(&secret)));
                request.header("authorization", format!("Basic {}", STANDARD.encode(pair.as_bytes())))
            }
            None => request,
        };
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let response = request.send().await.map_err(|_| self.away("does not answer"))?;
        let status = response.status();
        let body = self.body(response).await?;
        if status.is_client_error() {
            return Err(OAuthError::invalid_grant("the identity provider refuses: the login there is over or revoked"));
        }
        if !status.is_success() {
            return Err(self.away("answers with an error"));
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|_| self.away("answers with something else"))?;
        let secret = |token: Option<String>| token.map(Secret::new);
        Ok(Said {
            id_token: secret(answer.id_token),
            access_token: secret(answer.access_token),
            refresh_token: secret(answer.refresh_token),
        })
    }

    async fn endpoints(&self) -> Result<Arc<Endpoints>, OAuthError> {
        let now = now();
        if let Some((until, endpoints)) = &*lock(&self.known)
            && now < *until
        {
            return Ok(endpoints.clone());
        }
        let url = self.login.issuer.discovery_url();
        let response = self.http.get(&url).send().await.map_err(|_| self.away("does not answer"))?;
        if !response.status().is_success() {
            return Err(self.away("answers with an error"));
        }
        let endpoints: Endpoints = serde_json::from_slice(&self.body(response).await?)
            .map_err(|_| self.away("has no usable discovery document"))?;
        let config = &self.login.issuer;
        let fetched = [&endpoints.authorization_endpoint, &endpoints.token_endpoint];
        if endpoints.issuer != config.issuer || !fetched.iter().all(|url| config.may_fetch(url)) {
            return Err(self.away("has a discovery document of somebody else, or without TLS"));
        }
        let endpoints = Arc::new(endpoints);
        *lock(&self.known) = Some((now.plus_millis(DISCOVERY_MILLIS), endpoints.clone()));
        Ok(endpoints)
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Zeroizing<Vec<u8>>, OAuthError> {
        let mut body = Zeroizing::new(Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|_| self.away("does not answer in full"))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(self.away("answers with too much"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The gateway's secret there, read each time: it may be rotated.
    fn secret(&self) -> Result<Option<Zeroizing<String>>, OAuthError> {
        let Some(file) = &self.login.client_secret_file else { return Ok(None) };
        let secret = std::fs::read_to_string(file).map(Zeroizing::new);
        let secret = secret.map_err(|_| OAuthError::server_error("the gateway's secret there cannot be read"))?;
        Ok(Some(Zeroizing::new(secret.trim_end_matches(['\r', '\n']).to_owned())))
    }

    fn away(&self, what: &str) -> OAuthError {
        tracing::warn!(issuer = %self.login.issuer.issuer, "the identity provider {what}");
        OAuthError::unavailable(format!("the identity provider {what}; try again"))
    }
}

impl Issuer {
    /// Who a provider's answer is about: its id token, for the gateway as its client, and of this very login where a
    /// `nonce` was sent (OpenID Connect Core §3.1.3.7); after a refresh its access token where there is no id token.
    ///
    /// # Errors
    /// `invalid_grant`, or `temporarily_unavailable` where the provider's keys are not known.
    pub(super) async fn verify_said(
        &self,
        idp: &Idp,
        answer: &Said,
        nonce: Option<&str>,
    ) -> Result<Verified, OAuthError> {
        let verified = match (&answer.id_token, &answer.access_token) {
            (Some(token), _) => {
                let token = token.reveal();
                let verified = self.verify_fresh(token, &|issuers| self.with_login_audiences(issuers)).await?;
                if nonce.is_some() && said(token, "nonce").as_deref() != nonce {
                    return Err(OAuthError::invalid_grant("the id token is of another login"));
                }
                if said(token, "azp").is_some_and(|azp| azp != idp.login.client_id) {
                    return Err(OAuthError::invalid_grant("the id token is for another client"));
                }
                verified
            }
            (None, Some(token)) if nonce.is_none() => {
                self.verify_fresh(token.reveal(), &tidegate_policy::identity::Issuers::clone).await?
            }
            _ => return Err(OAuthError::invalid_grant("the identity provider gave no id token")),
        };
        if *verified.issuer != *idp.issuer().issuer {
            return Err(OAuthError::invalid_grant("the id token is another provider's"));
        }
        Ok(verified)
    }
}
