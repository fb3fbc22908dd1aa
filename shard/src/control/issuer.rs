//! The gateway as an issuer of short-lived tokens of its own: for people who log in, for service accounts, for whoever
//! has an identity provider's token. OAuth 2.0 on an address of its own (`tokens.bind`).
//!
//! Its tokens are verified by the data plane like those of any issuer: the keys are published to it directly, from
//! here. Every token made and every one refused is in the evidence.
//!
//! Reading order:
//! 1. `oauth`: forms and errors; `shelf`, `throttle`: bounded stores, and who failed too often.
//! 2. `keys`: signing keys and their rotation.
//! 3. `accounts`: service accounts and how clients authenticate.
//! 4. `token`: the token endpoint; `exchange`: tokens of identity providers; `refresh`: logins that go on, which
//!    `families` keeps.
//! 5. `login`: people in browsers, which `cookie` tells apart, with `idp` (the provider they log in at), or `saml` where it speaks that.
//! 6. `device`: people whose program has no browser. `pages`: what people see.
//! 7. `revoke`: the end of tokens, and questions about them.

pub mod accounts;
mod cookie;
mod device;
mod exchange;
mod families;
mod idp;
mod keys;
mod login;
mod oauth;
mod pages;
mod refresh;
mod revoke;
mod saml;
mod shelf;
mod throttle;
mod token;

use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tidegate_core::event::{Event, Kind, Outcome};
use tidegate_core::words::{Principal, Timestamp};
use tidegate_policy::authority::{Actor, Command, PublishedKey};

use self::accounts::Accounts;
use self::keys::{Change, KeyRing};
use self::oauth::OAuthError;
use self::shelf::Shelf;
use self::throttle::{Gate, Throttle};
use super::saml::ServiceProvider;
use super::watch::Watch;
use super::{authority, listen, now, tls};
use crate::config::{Config, Tokens, UpstreamSasl};
use crate::shared::Shared;
use crate::upstream::{Minter, UpstreamCredentials};

/// The largest request body, in bytes: a SAML assertion is the longest.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long verifiers may keep the key set, in seconds. Half of what a key is published before it signs.
const JWKS_SECONDS: u32 = 1800;
/// The longest pause between two looks at the keys: clocks jump.
const LOOK: Duration = Duration::from_secs(60);
/// How often files are looked at.
const POLL: Duration = Duration::from_secs(1);

/// The issuer's state, shared by its handlers.
pub struct Issuer {
    config: Tokens,
    shared: Arc<Shared>,
    /// How tokens for the upstream are made, where they are.
    mint: Option<crate::config::Mint>,
    limits: Arc<tidegate_core::limits::Limits>,
    ring: Mutex<KeyRing>,
    accounts: ArcSwap<Accounts>,
    used_assertions: Mutex<Shelf<accounts::AssertionId, ()>>,
    throttle: Mutex<Throttle>,
    families: Mutex<families::Families>,
    logins: Mutex<login::Logins>,
    devices: Mutex<device::Devices>,
    idps: Vec<idp::Idp>,
    /// Providers that speak SAML, where there are any.
    saml: Option<Arc<ServiceProvider>>,
    /// The control log, once that is open.
    authority: OnceLock<authority::Handle>,
}

/// Reads what the issuer needs, publishes its keys to the data plane, and has sessions log in to the upstream with
/// tokens where they are made. `None` where `tokens` is not configured.
///
/// # Errors
/// A sentence for each file that cannot be used.
pub(super) fn prepare(config: &Config, shared: &Arc<Shared>) -> Result<Option<Arc<Issuer>>, Vec<String>> {
    let Some(tokens) = &config.tokens else { return Ok(None) };
    let mut wrong = Vec::new();
    match tokens.tls.as_ref().map(tls::server).transpose() {
        Ok(built) => shared.tokens_tls.store(built.map(Arc::new)),
        Err(error) => wrong.push(format!("tokens: {error}")),
    }
    let accounts = match load_accounts(tokens) {
        Ok(accounts) => accounts,
        Err(problems) => {
            wrong.extend(problems.iter().map(ToString::to_string));
            Accounts::default()
        }
    };
    let mint = match &config.upstream.sasl {
        UpstreamSasl::OAuthBearer { mint, .. } => mint.clone(),
        _ => None,
    };
    let algorithms = std::iter::once(tokens.algorithm).chain(mint.as_ref().map(|mint| mint.algorithm)).collect();
    let ring = KeyRing::open(&config.authority.directory, algorithms, tokens.key_rotation);
    let mut idps = Vec::new();
    for login in &tokens.login {
        match idp::Idp::new(login, config.identity.ca_file.as_deref(), &tokens.url(login::CALLBACK)) {
            Ok(idp) => idps.push(idp),
            Err(error) => wrong.push(format!("tokens.login {}: {error:#}", login.issuer.issuer)),
        }
    }
    let providers = &config.identity.saml;
    let saml = (!providers.is_empty())
        .then(|| ServiceProvider::prepare(providers, &tokens.issuer, &config.authority.directory))
        .transpose()
        .unwrap_or_else(|problems| {
            wrong.extend(problems);
            None
        });
    let ring = ring.map_err(|error| {
        wrong.push(format!("{error:#}"));
        std::mem::take(&mut wrong)
    })?;
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let (families, damaged) = families::Families::open(&config.authority.directory, now())
        .map_err(|error| vec![format!("logins in {}: {error}", config.authority.directory.display())])?;
    let issuer = Arc::new(Issuer {
        config: tokens.clone(),
        shared: shared.clone(),
        mint,
        limits: config.limits.clone(),
        ring: Mutex::new(ring),
        accounts: ArcSwap::from_pointee(accounts),
        used_assertions: Mutex::new(accounts::used_assertions()),
        throttle: Mutex::default(),
        families: Mutex::new(families),
        logins: Mutex::default(),
        devices: Mutex::default(),
        idps,
        saml: saml.map(Arc::new),
        authority: OnceLock::new(),
    });
    issuer.turn_keys().map_err(|error| vec![format!("{error:#}")])?;
    if let Some(detail) = damaged {
        tracing::error!("{detail}");
        issuer.note(Event { detail, ..issuer.event(Kind::Reconfigured, Outcome::Malformed, now()) });
    }
    Ok(Some(issuer))
}

fn load_accounts(tokens: &Tokens) -> Result<Accounts, Vec<tidegate_policy::document::Problem>> {
    let audiences = [tokens.issuer.to_string(), tokens.url("/token")];
    tokens.service_accounts_file.as_ref().map_or(Ok(Accounts::default()), |file| Accounts::load(file, &audiences))
}

/// A panic while the lock was held leaves the stores whole, so poisoning is ignored. No lock is held across an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Issuer {
    /// Binds the token endpoint's address.
    ///
    /// # Errors
    /// A sentence where it is taken.
    pub(super) fn bind(&self) -> anyhow::Result<TcpListener> {
        let bind = self.config.bind;
        let listener = TcpListener::bind(bind).with_context(|| format!("tokens.bind: cannot listen on {bind}"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Serves, and turns the keys, on the current tokio runtime, for as long as that lives.
    pub(super) fn serve(self: Arc<Self>, listener: TcpListener, authority: authority::Handle) {
        let _ = self.authority.set(authority);
        tokio::spawn(self.clone().keep_keys());
        tokio::spawn(self.clone().keep_files());
        if let Some(saml) = &self.saml {
            saml.clone().keep();
        }
        let shared = self.shared.clone();
        let router = self.router();
        tokio::spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)
                .and_then(|tcp| listen::HttpListener::with_certificate(tcp, move || shared.tokens_tls.load_full()));
            let served = match listener {
                Ok(listener) => {
                    axum::serve(listener, router.into_make_service_with_connect_info::<listen::Peer>()).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::error!(%error, "the token endpoint is served no longer");
            }
        });
    }

    /// The routes.
    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/.well-known/oauth-authorization-server", get(discovery))
            .route("/jwks", get(jwks))
            .route("/token", post(token::endpoint))
            .route("/revoke", post(revoke::revoke))
            .route("/introspect", post(revoke::introspect))
            .route("/authorize", get(login::authorize))
            .route(login::CALLBACK, get(login::callback))
            .route(device::AUTHORIZATION, post(device::authorization))
            .route(device::ENTRY, get(device::entry).post(device::enter))
            .route(device::ANSWER, post(device::answer))
            .route(saml::METADATA, get(saml::metadata))
            .route(saml::CONSUMER, post(saml::consume))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self)
    }

    /// Looks at the keys when something is due.
    async fn keep_keys(self: Arc<Self>) {
        // What was made just before a crash, or just now, the log learns.
        let entries = lock(&self.ring).entries().to_vec();
        let known = self.authority.get().map(authority::Handle::read);
        let known = |kid: &str| known.as_ref().is_some_and(|state| state.keys().contains_key(kid));
        for entry in entries.into_iter().filter(|entry| !known(entry.key.kid())) {
            self.log_key(&Change::Published(entry)).await;
        }
        loop {
            let next = lock(&self.ring).next_change(now());
            let wait = u64::try_from(next.millis_since(now())).unwrap_or(0).max(100);
            tokio::time::sleep(Duration::from_millis(wait).min(LOOK)).await;
            match self.turn_keys() {
                Ok(changes) => {
                    for change in &changes {
                        self.log_key(change).await;
                    }
                }
                Err(error) => {
                    tracing::error!("signing keys cannot be turned: {error:#}; trying again");
                    tokio::time::sleep(LOOK / 6).await;
                }
            }
        }
    }

    /// Makes and drops keys as is due, and publishes what changed: to the data plane, and to sessions that log in to
    /// the upstream.
    fn turn_keys(&self) -> anyhow::Result<Vec<Change>> {
        let now = now();
        let mut ring = lock(&self.ring);
        let changes = ring.turn(now)?;
        let keys = Arc::new(ring.key_set()?);
        let issuer = &self.config.issuer;
        if !changes.is_empty() || self.shared.issuers.load().keys(issuer).is_none() {
            self.shared.issuers.rcu(|issuers| issuers.with_keys(issuer, keys.clone()));
        }
        if let Some(mint) = &self.mint
            && let Some(key) = ring.signer(mint.algorithm, now)
        {
            // Published each time: it is one pointer, and the key may have come to its first use.
            let minter = Minter::new(issuer.clone(), key.clone(), mint.clone());
            self.shared.upstream_login.store(Arc::new(UpstreamCredentials::Mint(Arc::new(minter))));
        }
        drop(ring);
        for change in &changes {
            self.note_key(change, now);
        }
        Ok(changes)
    }

    /// Puts what became of a key into the control log.
    async fn log_key(&self, change: &Change) {
        let Some(authority) = self.authority.get() else { return };
        let command = match change {
            Change::Published(entry) => Command::PublishKey(PublishedKey {
                kid: entry.key.kid().to_string(),
                algorithm: entry.key.algorithm().name().to_owned(),
                public_jwk: entry.key.public_jwk().to_string(),
                not_before: entry.first_use,
            }),
            Change::Retired(entry) => Command::RetireKey { kid: entry.key.kid().to_string() },
        };
        if let Err(error) = authority.submit(Actor::gateway(), command).await {
            tracing::warn!("the control log does not take a key's event: {error}");
        }
    }

    fn note_key(&self, change: &Change, now: Timestamp) {
        let detail = match change {
            Change::Published(entry) => format!(
                "signing key {} ({}) is published at {}; it signs from {} on (seconds since 1970)",
                entry.key.kid(),
                entry.key.algorithm().name(),
                entry.published.as_secs(),
                entry.first_use.as_secs()
            ),
            Change::Retired(entry) => format!("signing key {} has left the key set", entry.key.kid()),
        };
        tracing::info!("{detail}");
        self.note(Event { detail, ..self.event(Kind::Reconfigured, Outcome::Unspecified, now) });
    }

    /// Reads certificate and service accounts anew when their files change. What is wrong is refused, and what was
    /// read before stays.
    async fn keep_files(self: Arc<Self>) {
        let tls_files = self.config.tls.iter().flat_map(|tls| [tls.certificate_file.clone(), tls.key_file.clone()]);
        let mut certificate = Watch::new(tls_files.collect());
        let mut accounts = Watch::new(self.config.service_accounts_file.iter().cloned().collect());
        let mut poll = tokio::time::interval(POLL);
        loop {
            poll.tick().await;
            if certificate.changed() {
                certificate.take();
                let built = self.config.tls.as_ref().map(tls::server).transpose().map_err(|error| error.to_string());
                let what = "certificate of the token endpoint";
                self.note_file(what, built.map(|built| self.shared.tokens_tls.store(built.map(Arc::new))));
            }
            if accounts.changed() {
                accounts.take();
                let loaded = load_accounts(&self.config)
                    .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
                self.note_file("service accounts", loaded.map(|loaded| self.accounts.store(Arc::new(loaded))));
            }
        }
    }

    fn note_file(&self, what: &str, taken: Result<(), String>) {
        let detail = match taken {
            Ok(()) => format!("{what}: a new one is in use"),
            Err(error) => format!("{what}: a new one was refused, the old one stays: {error}"),
        };
        tracing::info!("{detail}");
        self.note(Event { detail, ..self.event(Kind::Reconfigured, Outcome::Unspecified, now()) });
    }

    fn event(&self, kind: Kind, outcome: Outcome, now: Timestamp) -> Event {
        Event {
            time_micros: now.0,
            kind: kind as i32,
            outcome: outcome as i32,
            policy_version: self.shared.policy.load().version(),
            broker: -1,
            ..Event::default()
        }
    }

    fn note(&self, event: Event) {
        self.shared.notices.put(event);
    }

    /// Leaves a refusal in evidence and log, and counts it where it is one that guessing makes.
    fn refused(&self, peer: IpAddr, client: &str, what: &str, error: &OAuthError, principal: Option<&Principal>) {
        let now = now();
        if matches!(error.code, "invalid_client" | "invalid_grant" | "access_denied") {
            lock(&self.throttle).failed(peer, client, now);
        }
        tracing::info!(%peer, client, what, code = error.code, reason = %error.description, "token refused");
        let mut event = self.event(Kind::TokenRefused, Outcome::Denied, now);
        event.client_address = peer.to_string();
        event.client_id = client.chars().take(128).collect();
        event.api = what.chars().take(64).collect();
        event.detail = format!("{}: {}", error.code, error.description);
        name(&mut event, principal);
        self.note(event);
    }

    /// What a token may be asked for with.
    fn grant_types(&self) -> Vec<&'static str> {
        let mut types = vec!["client_credentials", "authorization_code", "refresh_token", token::TOKEN_EXCHANGE];
        types.push(device::GRANT_TYPE);
        types.extend(self.saml.is_some().then_some(token::SAML_BEARER));
        types
    }

    /// Whether `client` at `peer` may try.
    fn admit(&self, peer: IpAddr, client: &str, what: &str) -> Result<(), OAuthError> {
        match lock(&self.throttle).ask(peer, client, now()) {
            Gate::Open => Ok(()),
            Gate::Shut { seconds, first } => {
                let error = OAuthError::too_many(seconds);
                if first {
                    self.refused(peer, client, what, &error, None);
                }
                Err(error)
            }
        }
    }
}

fn name(event: &mut Event, principal: Option<&Principal>) {
    if let Some(principal) = principal {
        event.principal = principal.name.to_string();
        event.issuer = principal.issuer.to_string();
        event.subject = principal.subject.to_string();
        event.groups = principal.groups.iter().map(ToString::to_string).collect();
    }
}

/// OpenID Connect Discovery 1.0 and RFC 8414.
async fn discovery(State(issuer): State<Arc<Issuer>>) -> Response {
    let config = &issuer.config;
    axum::Json(json!({
        "issuer": &*config.issuer,
        "jwks_uri": config.url("/jwks"),
        "token_endpoint": config.url("/token"),
        "authorization_endpoint": config.url("/authorize"),
        "device_authorization_endpoint": config.url(device::AUTHORIZATION),
        "revocation_endpoint": config.url("/revoke"),
        "introspection_endpoint": config.url("/introspect"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "grant_types_supported": issuer.grant_types(),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [config.algorithm.name()],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256", "ES256", "ES384", "EdDSA"],
        "scopes_supported": ["kafka"],
    }))
    .into_response()
}

/// RFC 7517 §5.
async fn jwks(State(issuer): State<Arc<Issuer>>) -> Response {
    let keys = lock(&issuer.ring).jwks();
    let cache = format!("public, max-age={JWKS_SECONDS}");
    ([(header::CACHE_CONTROL, cache)], axum::Json(keys)).into_response()
}

#[cfg(test)]
mod tests;
