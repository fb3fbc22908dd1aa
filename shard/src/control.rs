//! The control thread: everything that is not per record. One thread, tokio and axum.
//!
//! Reading order: [`prepare`] reads policy, keys' files and secrets before anything binds; [`start`]
//! runs the thread, which does `signals`, `http`, `keys` (issuers' signing keys), `topology` (the
//! brokers' addresses), `reload` and `authority` (the control log). `tls`, `secrets` and `watch` serve them, `metrics` counts.
//!
//! It never touches a record, and no shard ever waits for it.

pub mod admin;
pub mod anchors;
pub mod authority;
mod dispatch;
mod http;
pub mod issuer;
mod keys;
mod listen;
mod metrics;
mod notify;
mod registry;
mod reload;
mod saml;
mod secrets;
mod signals;
mod signature;
pub mod tls;
mod topology;
mod watch;

pub(crate) use topology::{Access, Producer};

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tidegate_core::words::Timestamp;
use tidegate_policy::document::Problem;
use tidegate_policy::identity::{Issuers, RefreshPolicy};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::registry::fetch_schema;
pub use self::reload::{Report, ReportedProblem, compile_policy, next_version, read_key};
use crate::config::{Config, Tokens};
use crate::shared::{Ask, Condition, Shared};
use metrics::ControlMetrics;

/// Why the gateway cannot start with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The policy file is wrong.
    #[error("the policy has {} problems", .0.len())]
    Policy(Vec<Problem>),
    /// A certificate, key or secret cannot be used; one sentence each.
    #[error("{}", .0.join("\n"))]
    Files(Vec<String>),
}

/// What shards and the control thread share, and the control thread's end of it.
pub struct Prepared {
    /// For the shards and for [`start`].
    pub shared: Arc<Shared>,
    asks: mpsc::Receiver<Ask>,
    /// How each issuer's keys are fetched, in the order of the configuration.
    clients: Vec<reqwest::Client>,
    /// Asks the schema registry.
    registry: Option<reqwest::Client>,
    authority: authority::Opened,
    /// The gateway as an issuer of its own tokens.
    tokens: Option<Arc<issuer::Issuer>>,
    operator: admin::OperatorToken,
}

#[cfg(test)]
impl Prepared {
    /// For tests without a control thread: what is shared, and what shards ask.
    pub(crate) fn into_parts(self) -> (Arc<Shared>, mpsc::Receiver<Ask>) {
        (self.shared, self.asks)
    }
}

/// Reads the policy, certificates, keys and secrets that the configuration names.
///
/// # Errors
/// [`PrepareError`]: everything that is wrong with the policy, or with the other files.
pub fn prepare(config: &Config) -> Result<Prepared, PrepareError> {
    let policy = compile_policy(config, next_version(0)).map_err(PrepareError::Policy)?;
    let mut wrong = Vec::new();
    let mut listener_tls = Vec::new();
    for listener in &config.listeners {
        let built = listener.tls.as_ref().map(tls::server).transpose();
        listener_tls.push(built.unwrap_or_else(|error| {
            wrong.push(format!("listener {}: {error}", listener.name));
            None
        }));
    }
    let control_tls = config.control.tls.as_ref().map(tls::server).transpose().unwrap_or_else(|error| {
        wrong.push(format!("control: {error}"));
        None
    });
    let mut clients = Vec::new();
    for issuer in &config.identity.issuers {
        match keys::client(issuer, config.identity.ca_file.as_deref()) {
            Ok(client) => clients.push(client),
            Err(error) => wrong.push(format!("issuer {}: {error:#}", issuer.issuer)),
        }
    }
    let registry = config.schema_registry.as_ref().map(registry::client).transpose().unwrap_or_else(|error| {
        wrong.push(format!("schema_registry: {error:#}"));
        None
    });
    let upstream_tls = config.upstream.tls.as_ref().map(tls::upstream).transpose().unwrap_or_else(|error| {
        wrong.push(format!("upstream: {error}"));
        None
    });
    let login = match secrets::upstream_login(&config.upstream.sasl) {
        Ok(login) if wrong.is_empty() => login,
        Ok(_) => return Err(PrepareError::Files(wrong)),
        Err(error) => {
            wrong.push(format!("upstream: {error:#}"));
            return Err(PrepareError::Files(wrong));
        }
    };

    // Last: it makes a file and takes a lock, which what else is wrong should not leave behind.
    let authority = authority::open(config).map_err(|error| PrepareError::Files(vec![format!("{error:#}")]))?;
    let request_secret = authority::secret::open(&config.authority.directory)
        .map_err(|error| PrepareError::Files(vec![format!("control log: {error:#}")]))?;
    let policy = policy.with_standing(policy.version(), authority.authority().standing(now()));
    let operator = admin::OperatorToken::open(&config.authority.directory)
        .map_err(|error| PrepareError::Files(vec![format!("operator token: {error:#}")]))?;

    let own = config.tokens.as_ref().map(Tokens::issuer_config);
    let issuers = Issuers::new(config.identity.issuers.iter().cloned().chain(own));
    let (shared, asks) = Shared::new(config, Arc::new(policy), Arc::new(issuers), Arc::new(login));
    for (slot, built) in shared.listener_tls.iter().zip(listener_tls) {
        slot.store(built.map(Arc::new));
    }
    shared.request_secret.store(Arc::new(request_secret));
    shared.control_tls.store(control_tls.map(Arc::new));
    shared.upstream_tls.store(upstream_tls.map(Arc::new));
    let tokens = issuer::prepare(config, &shared).map_err(PrepareError::Files)?;
    shared.readiness.set(Condition::Keys, config.identity.issuers.is_empty());
    Ok(Prepared { shared, asks, clients, registry, authority, tokens, operator })
}

/// The running control thread.
#[derive(Debug)]
pub struct ControlThread {
    /// The address of the control port.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ControlThread {
    /// Ends the thread and waits for it.
    pub fn stop(self) {
        // A thread that ended by itself has dropped its end.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the control thread ended with a fault of the gateway; please report it");
        }
    }
}

/// Starts the control thread. Signals are handled from here on: SIGTERM and SIGINT drain, SIGHUP
/// reloads.
///
/// # Errors
/// One sentence where the control port is taken or signals cannot be handled.
pub fn start(config: Arc<Config>, prepared: Prepared) -> anyhow::Result<ControlThread> {
    let listener = TcpListener::bind(config.control.bind)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .with_context(|| format!("control.bind: cannot listen on {}", config.control.bind))?;
    let address = listener.local_addr()?;
    let token_listener = prepared.tokens.as_ref().map(|tokens| tokens.bind()).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _inside = runtime.enter();
        signals::Signals::register().context("signals cannot be handled")?
    };
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        runtime.block_on(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => run(config, prepared, (listener, token_listener), signals, stopped).await,
                Err(error) => tracing::error!(%error, "the control port cannot be served"),
            }
        });
        // Names that are being resolved may take a minute; nobody waits for them.
        runtime.shutdown_background();
    })?;
    Ok(ControlThread { address, stop, thread })
}

async fn run(
    config: Arc<Config>,
    prepared: Prepared,
    (listener, token_listener): (tokio::net::TcpListener, Option<TcpListener>),
    signals: signals::Signals,
    stopped: oneshot::Receiver<()>,
) {
    let Prepared { shared, asks, clients, registry: registry_client, authority, tokens, operator } = prepared;
    let metrics = Arc::new(ControlMetrics::default());
    metrics.policy_version(shared.policy.load().version());
    shared.notices.put(reload::policy_loaded(&config, &shared.policy.load()));
    let mut registry = metrics::registry(&shared, &metrics);

    let authority = authority.start(shared.clone(), metrics.clone());
    registry.register_collector(Box::new(admin::Gauges(authority.clone())));
    notify::Notifier::new(shared.clone(), config.clone(), authority.clone()).start();
    if let (Some(tokens), Some(listener)) = (tokens, token_listener) {
        tokens.serve(listener, authority.clone());
    }
    let (reloads, reload_requests) = mpsc::channel(8);
    let reloader = reload::Reloader::new(config.clone(), shared.clone(), metrics.clone());
    tokio::spawn(reloader.run(reload_requests));
    tokio::spawn(signals.run(shared.clone(), reloads.clone(), config.drain_timeout));

    anchors::Anchorer::start(&config, &shared, &metrics);

    let refresh = refresh_policy(&config);
    let mut unknown_keys = dispatch::UnknownKeys::new();
    for (issuer, client) in config.identity.issuers.iter().zip(clients) {
        let (keeper, sender) = keys::KeyKeeper::new(issuer.clone(), refresh, client, shared.clone(), metrics.clone());
        unknown_keys.insert(Arc::from(issuer.issuer.as_str()), sender);
        tokio::spawn(keeper.run());
    }
    let (topology, topology_asks) = topology::Topology::new(config.clone(), shared.clone(), metrics.clone());
    tokio::spawn(topology.run());
    let schemas = config.schema_registry.clone().zip(registry_client).map(|(registry, client)| {
        let (keeper, wanted) = registry::RegistryKeeper::new(registry, client, shared.clone());
        tokio::spawn(keeper.run());
        wanted
    });
    tokio::spawn(dispatch::dispatch(asks, unknown_keys, topology_asks, schemas, authority.clone(), metrics));

    let listener = match listen::HttpListener::new(listener, shared.clone()) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the control address cannot be served"),
    };
    let refuses = config.evidence.on_failure == crate::config::OnFailure::Refuse;
    let api = Arc::new(admin::Admin::new(shared.clone(), config, authority, reloads.clone(), Some(operator)));
    let app = http::router(http::App { shared, registry, reloads, refuses }).merge(admin::router(&api));
    tokio::select! {
        served = axum::serve(listener, app.into_make_service_with_connect_info::<listen::Peer>()) => {
            if let Err(error) = served {
                tracing::error!(%error, "the control port is served no longer");
            }
        }
        _ = stopped => {}
    }
}

fn refresh_policy(config: &Config) -> RefreshPolicy {
    let interval_millis = i64::try_from(config.identity.refresh_interval.as_millis()).unwrap_or(i64::MAX);
    let usual = RefreshPolicy::default();
    let (least, most) = usual.interval_millis_range;
    RefreshPolicy { interval_millis, interval_millis_range: (least.min(interval_millis), most), ..usual }
}

/// Now. The control thread's only clock for times that leave it.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
