//! Fetches issuers' signing keys over HTTPS and publishes them: on schedule, and when a token names
//! a key that isn't known.
//!
//! When to fetch is decided by `tidegate_policy::identity::refresh`, which is pure; here are the
//! clock and the sockets. One task an issuer, so that a slow one holds up no other. Invariants: keys
//! that were fetched stay in use while fetching fails (stale-if-error, a day at most); made-up key
//! ids cost an issuer at most one fetch in ten seconds; an answer is bounded in size and time.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CACHE_CONTROL;
use tidegate_core::words::Timestamp;
use tidegate_policy::identity::{
    Ask as Advice, IssuerConfig, KeyFreshness, KeySet, RefreshGate, RefreshPolicy, parse_discovery,
};
use tokio::sync::mpsc;

use super::metrics::ControlMetrics;
use super::{now, tls};
use crate::shared::{Condition, Shared};

/// The largest discovery document or key set that is read, in bytes.
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// How long one request may take, from connecting to the last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Key ids that wait for an issuer's task. Beyond it they are dropped: clients ask again.
const UNKNOWN_MAX: usize = 64;

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// No answer, or a broken one.
    #[error("{url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// Why, down to the root cause.
        reason: String,
    },
    /// Another status than 200.
    #[error("{url} answered {status}{hint}")]
    Status {
        /// What was asked.
        url: String,
        /// The status code.
        status: u16,
        /// What to do about it.
        hint: &'static str,
    },
    /// More bytes than any key set has.
    #[error("{url} answered with more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
    },
    /// The document is not what it should be.
    #[error("{url}: {reason}")]
    Document {
        /// What was asked.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

/// The HTTPS client that fetches an issuer's keys. Its certificate is checked against the issuer's
/// own `ca_file`, else against `ca_file`, else against the system's authorities.
///
/// # Errors
/// A sentence about the authorities' file, or reqwest's.
pub(super) fn client(issuer: &IssuerConfig, ca_file: Option<&Path>) -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(REQUEST_TIMEOUT)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
    // One that is reached by plain HTTP needs no authorities, and a machine may have none.
    let url = issuer.jwks_url.clone().unwrap_or_else(|| issuer.discovery_url().to_string());
    let plain = url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"));
    let tls = if plain { tls::no_authorities()? } else { tls::client(issuer.ca_file.as_deref().or(ca_file), None)? };
    Ok(builder.tls_backend_preconfigured(tls).build()?)
}

/// Keeps one issuer's keys.
pub(super) struct KeyKeeper {
    config: IssuerConfig,
    name: Arc<str>,
    client: reqwest::Client,
    shared: Arc<Shared>,
    metrics: Arc<ControlMetrics>,
    gate: RefreshGate,
    freshness: KeyFreshness,
    /// When a key id that came too early is worth asking about.
    retry: Option<Timestamp>,
    unknown: mpsc::Receiver<Arc<str>>,
}

impl KeyKeeper {
    /// A keeper that has fetched nothing, and where to send it key ids that aren't known.
    #[must_use]
    pub(super) fn new(
        config: IssuerConfig,
        policy: RefreshPolicy,
        client: reqwest::Client,
        shared: Arc<Shared>,
        metrics: Arc<ControlMetrics>,
    ) -> (Self, mpsc::Sender<Arc<str>>) {
        let (sender, unknown) = mpsc::channel(UNKNOWN_MAX);
        let keeper = Self {
            name: Arc::from(config.issuer.as_str()),
            config,
            client,
            shared,
            metrics,
            gate: RefreshGate::new(policy),
            freshness: KeyFreshness::new(policy),
            retry: None,
            unknown,
        };
        (keeper, sender)
    }

    /// Fetches when it is due or worth it, until the sender is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let due = self.retry.map_or(self.freshness.due(), |retry| retry.min(self.freshness.due()));
            let wait = Duration::from_millis(u64::try_from(due.millis_since(now())).unwrap_or(0));
            tokio::select! {
                () = tokio::time::sleep(wait) => self.on_time().await,
                unknown = self.unknown.recv() => match unknown {
                    Some(kid) => self.on_unknown(&kid).await,
                    None => return,
                },
            }
        }
    }

    async fn on_time(&mut self) {
        let now = now();
        if self.retry.is_some_and(|retry| retry <= now) {
            self.retry = None;
            if self.gate.ask(&self.name, "", now) == Advice::Refresh {
                return self.refresh().await;
            }
        }
        if self.freshness.due() <= now {
            self.refresh().await;
        }
    }

    async fn on_unknown(&mut self, kid: &str) {
        // It may have come with a fetch since the shard asked.
        if self.shared.issuers.load().keys(&self.name).is_some_and(|keys| keys.has(kid)) {
            return;
        }
        match self.gate.ask(&self.name, kid, now()) {
            Advice::Refresh => self.refresh().await,
            Advice::Later(at) => self.retry = Some(self.retry.map_or(at, |retry| retry.min(at))),
            Advice::Absent(_) => {}
        }
    }

    async fn refresh(&mut self) {
        match fetch(&self.client, &self.config).await {
            Ok((keys, max_age)) => {
                let now = now();
                self.freshness.succeeded(now, max_age);
                self.gate.refreshed(&self.name, &keys, now);
                self.metrics.fetched_keys(&self.name, true, keys.len());
                tracing::debug!(issuer = %self.name, keys = keys.len(), ignored = keys.ignored(), "signing keys fetched");
                self.publish(Some(Arc::new(keys)));
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &FetchError) {
        let now = now();
        self.freshness.failed(now);
        let known = self.shared.issuers.load().keys(&self.name).map_or(0, |keys| keys.len());
        let usable = self.freshness.usable(now);
        let consequence = match (known, usable) {
            (0, _) => "its tokens are refused until then",
            (_, true) => "the keys known so far stay in use",
            (_, false) => "the keys known so far are too old and are trusted no longer",
        };
        tracing::warn!(issuer = %self.name, "signing keys cannot be fetched: {error}; trying again, {consequence}");
        self.metrics.fetched_keys(&self.name, false, if usable { known } else { 0 });
        if known > 0 && !usable {
            self.publish(None);
        }
    }

    /// Publishes the issuer's keys, or that it has none that are trusted.
    fn publish(&self, keys: Option<Arc<KeySet>>) {
        self.shared.issuers.rcu(|issuers| match &keys {
            Some(keys) => issuers.with_keys(&self.name, keys.clone()),
            None => issuers.without_keys(&self.name),
        });
        let issuers = self.shared.issuers.load();
        let complete = issuers.configs().all(|config| issuers.keys(&config.issuer).is_some());
        self.shared.readiness.set(Condition::Keys, complete);
    }
}

/// The issuer's keys, and for how many seconds it says they hold.
async fn fetch(client: &reqwest::Client, config: &IssuerConfig) -> Result<(KeySet, Option<u32>), FetchError> {
    let url = match &config.jwks_url {
        Some(url) => url.clone(),
        None => {
            let url = config.discovery_url();
            let (document, _) = get(client, &url).await?;
            parse_discovery(&document, config)
                .map_err(|error| FetchError::Document { url: url.to_string(), reason: error.to_string() })?
        }
    };
    let (document, max_age) = get(client, &url).await?;
    let keys = KeySet::parse(&document).map_err(|error| FetchError::Document { url, reason: error.to_string() })?;
    Ok((keys, max_age))
}

/// A bounded GET: the body, and `max-age` where the answer has one.
async fn get(client: &reqwest::Client, url: &str) -> Result<(Vec<u8>, Option<u32>), FetchError> {
    let unreachable =
        |error: reqwest::Error| FetchError::Unreachable { url: url.to_owned(), reason: root_cause(error) };
    let mut response = client.get(url).send().await.map_err(unreachable)?;
    let status = response.status();
    if status != reqwest::StatusCode::OK {
        let hint = if status.is_redirection() { "; redirects are not followed, name the final URL" } else { "" };
        return Err(FetchError::Status { url: url.to_owned(), status: status.as_u16(), hint });
    }
    let max_age = response.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).and_then(max_age);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > DOCUMENT_BYTES_MAX {
            return Err(FetchError::TooLarge { url: url.to_owned() });
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, max_age))
}

/// The seconds of `max-age` (RFC 9111 §5.2.2.1).
fn max_age(cache_control: &str) -> Option<u32> {
    cache_control.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("max-age").then(|| value.trim().trim_matches('"').parse().ok()).flatten()
    })
}

/// What reqwest says, down to the reason at the bottom, without the URL that stands there already.
fn root_cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
