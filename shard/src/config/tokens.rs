//! `tokens`: the gateway as an issuer of short-lived tokens of its own. As it is written, and as it is once checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_policy::identity::{IssuerConfig, SigningAlgorithm};

use super::values::{Span, Written};
use super::{ListenerTls, file};
use crate::tokens::TokenAlgorithm;

/// The longest that a token of the gateway may live.
pub const LIFETIME_MAX: Duration = Duration::from_secs(15 * 60);
/// The least time for which a signing key is published before anything is signed with it: an hour, longer than
/// verifiers keep a key set that they fetched, and some minutes in which the control log takes it.
pub const PUBLISHED_AHEAD: Duration = Duration::from_secs(65 * 60);
/// The least time for which one key signs.
pub const ROTATION_MIN: Duration = Duration::from_secs(2 * 3600);
/// The client that `tidegate login` is: public, known to every gateway.
pub const CLI_CLIENT: &str = "tidegate-cli";
/// Seconds by which the gateway's clock may have been set back between making a token and verifying it.
const LEEWAY_SECONDS: u32 = 5;

/// The gateway as an issuer, as it is written: session tokens for people and service accounts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokensFile {
    /// The address to listen on.
    pub bind: Written<SocketAddr>,
    /// The URL under which clients and brokers reach it, the `iss` of its tokens: https://, without a slash at the
    /// end. `http://` only on the loopback.
    pub issuer: String,
    /// TLS; must be there where `issuer` is https:// and no proxy before the gateway ends it.
    pub tls: Option<file::Tls>,
    /// The audience of its tokens, which only this gateway should accept.
    #[serde(default = "audience")]
    pub audience: String,
    /// How long a token lives, at most 15m.
    #[serde(default = "lifetime")]
    pub lifetime: Written<Span>,
    /// How long a login can be refreshed before its user has to log in anew.
    #[serde(default = "refresh_max")]
    pub refresh_max: Written<Span>,
    /// What tokens are signed with.
    #[serde(default)]
    pub algorithm: TokenAlgorithm,
    /// How long one key signs before the next takes over, at least 2h.
    #[serde(default = "key_rotation")]
    pub key_rotation: Written<Span>,
    /// Service accounts, which log in with a secret or a key of their own: a YAML file. Read anew when it changes.
    pub service_accounts_file: Option<PathBuf>,
    /// Identity providers that people log in at with a browser, each one of `identity.issuers`.
    #[serde(default)]
    pub login: Vec<LoginFile>,
}

/// An identity provider that people log in at.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginFile {
    /// One of `identity.issuers`.
    pub issuer: String,
    /// The gateway's client id there, registered with the redirect URL `ISSUER/callback`, `ISSUER` being
    /// `tokens.issuer`.
    pub client_id: String,
    /// The file that holds its secret; without it the gateway is a public client there.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for. `offline_access` lets the gateway ask the provider anew with every refresh, so that a group
    /// lost there is lost here.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// What the login page calls it.
    pub label: Option<String>,
}

fn audience() -> String {
    "kafka".to_owned()
}

const fn lifetime() -> Written<Span> {
    Written::unwritten(Span::secs(300))
}

const fn refresh_max() -> Written<Span> {
    Written::unwritten(Span::secs(12 * 3600))
}

const fn key_rotation() -> Written<Span> {
    Written::unwritten(Span::secs(30 * 86_400))
}

fn scopes() -> Vec<String> {
    ["openid", "profile", "groups", "offline_access"].map(str::to_owned).to_vec()
}

/// The gateway as an issuer, checked.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The address to listen on.
    pub bind: SocketAddr,
    /// Its URL, without a slash at the end.
    pub issuer: Arc<str>,
    /// TLS; `None` where it listens on the loopback only.
    pub tls: Option<ListenerTls>,
    /// The audience of its tokens.
    pub audience: Arc<str>,
    /// How long a token lives.
    pub lifetime: Duration,
    /// How long a login can be refreshed.
    pub refresh_max: Duration,
    /// What tokens are signed with.
    pub algorithm: TokenAlgorithm,
    /// How long one key signs.
    pub key_rotation: Duration,
    /// Service accounts.
    pub service_accounts_file: Option<PathBuf>,
    /// Identity providers that people log in at.
    pub login: Vec<Login>,
}

/// An identity provider that people log in at, checked.
#[derive(Debug, Clone)]
pub struct Login {
    /// How its tokens are verified.
    pub issuer: IssuerConfig,
    /// The gateway's client id there.
    pub client_id: String,
    /// The file that holds its secret.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for, words with spaces between.
    pub scope: String,
    /// What the login page calls it.
    pub label: String,
}

impl Tokens {
    /// The gateway's own issuer, as its data plane verifies its tokens.
    #[must_use]
    pub fn issuer_config(&self) -> IssuerConfig {
        IssuerConfig {
            algorithms: vec![SigningAlgorithm::ES256, SigningAlgorithm::EdDSA],
            leeway_seconds: LEEWAY_SECONDS,
            passes_on: true,
            ..IssuerConfig::new(&self.issuer, &self.audience)
        }
    }

    /// The URL of one of its endpoints, `path` beginning with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }
}

/// How the gateway's tokens for the upstream are made, as it is written in `upstream.sasl.mint`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mint {
    /// The audience that the brokers expect (`sasl.oauthbearer.expected.audience`). Must not be `tokens.audience`, or
    /// a token that a broker saw would be good at the gateway.
    pub audience: String,
    /// The `scope` claim, which Kafka's validator wants.
    #[serde(default = "mint_scope")]
    pub scope: String,
    /// How long a token lives, in seconds, at most 300.
    #[serde(default = "mint_lifetime_seconds")]
    pub lifetime_seconds: u32,
    /// What they are signed with.
    #[serde(default)]
    pub algorithm: TokenAlgorithm,
    /// Who the gateway itself is at the brokers, where it asks for their addresses.
    #[serde(default = "gateway_principal")]
    pub gateway_principal: String,
}

fn mint_scope() -> String {
    "kafka".to_owned()
}

const fn mint_lifetime_seconds() -> u32 {
    300
}

fn gateway_principal() -> String {
    "tidegate".to_owned()
}
