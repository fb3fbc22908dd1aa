//! Knows where the brokers are: asks the upstream's metadata at the start, on schedule and when a
//! shard asks, resolves names (which blocks, and so has no place on a shard) and publishes.
//!
//! An upstream that cannot be reached is one sentence in the log and a reason not to be ready; it is
//! tried again with growing pauses and never ends the gateway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::metrics::ControlMetrics;
use crate::config::{Config, HostPort};
use crate::shared::{Cluster, Condition, Server, Shared};

mod ask;
mod produce;

pub(crate) use ask::Access;
pub(crate) use produce::Producer;

use ask::Metadata;

/// Questions that may wait for the task.
const ASKS_MAX: usize = 16;
/// The least time between two questions to the upstream, whatever shards ask for.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// How long resolving one name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What shards ask of this task.
#[derive(Debug)]
pub(super) enum TopologyAsk {
    /// Look again.
    Refresh,
    /// These brokers were seen in a response.
    Learned(BTreeMap<i32, (String, u16)>),
}

/// The task that knows the brokers.
pub(super) struct Topology {
    config: Arc<Config>,
    shared: Arc<Shared>,
    metrics: Arc<ControlMetrics>,
    asks: mpsc::Receiver<TopologyAsk>,
    /// When the upstream is asked next.
    due: Instant,
    asked: Option<Instant>,
    failures: u32,
    /// Which bootstrap server is tried first, so that one that hangs isn't always waited for.
    turn: usize,
}

impl Topology {
    /// A task that has asked nothing, and where to ask it.
    #[must_use]
    pub(super) fn new(
        config: Arc<Config>,
        shared: Arc<Shared>,
        metrics: Arc<ControlMetrics>,
    ) -> (Self, mpsc::Sender<TopologyAsk>) {
        let (sender, asks) = mpsc::channel(ASKS_MAX);
        (Self { config, shared, metrics, asks, due: Instant::now(), asked: None, failures: 0, turn: 0 }, sender)
    }

    /// Asks when it is due, until the sender is dropped.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.due) => self.refresh().await,
                ask = self.asks.recv() => match ask {
                    Some(TopologyAsk::Refresh) => self.hurry(),
                    Some(TopologyAsk::Learned(brokers)) => self.learn(brokers).await,
                    None => return,
                },
            }
        }
    }

    /// Asks soon, though not more often than the least pause allows.
    fn hurry(&mut self) {
        let earliest = self.asked.map_or_else(Instant::now, |asked| asked + PAUSE_MIN);
        self.due = self.due.min(earliest);
    }

    /// Takes over brokers that a shard saw in a response: it knows before the next question does.
    async fn learn(&mut self, learned: BTreeMap<i32, (String, u16)>) {
        let known = self.shared.cluster.load_full();
        let news = learned.into_iter().filter(|(id, (host, port))| {
            known.brokers.get(id).is_none_or(|server| *server.host != **host || server.port != *port)
        });
        let news: Vec<(i32, HostPort)> = news.map(|(id, (host, port))| (id, HostPort { host, port })).collect();
        if news.is_empty() {
            return;
        }
        let mut cluster = Cluster::clone(&known);
        cluster.brokers.extend(resolve(news, &known).await);
        self.shared.publish_cluster(cluster);
    }

    /// Asks the upstream and publishes what it says.
    async fn refresh(&mut self) {
        self.asked = Some(Instant::now());
        let known = self.shared.cluster.load_full();
        let servers = (0i32..).zip(self.config.upstream.bootstrap_servers.iter().cloned()).collect();
        let bootstrap: Vec<Server> = resolve(servers, &known).await.into_values().collect();
        self.shared.publish_cluster(Cluster { bootstrap: bootstrap.clone(), ..Cluster::clone(&known) });

        let asked = self.ask_any(&bootstrap).await;
        self.metrics.asked_metadata(asked.is_ok());
        self.shared.readiness.set(Condition::Upstream, asked.is_ok());
        match asked {
            Ok(metadata) => {
                if self.failures > 0 || known.brokers.is_empty() {
                    tracing::info!(brokers = metadata.brokers.len(), "the upstream answers");
                }
                let brokers = resolve(metadata.brokers, &known).await;
                self.shared.publish_cluster(Cluster {
                    bootstrap,
                    brokers,
                    id: metadata.cluster_id,
                    versions: metadata.versions,
                });
                self.failures = 0;
                self.due = Instant::now() + self.config.upstream.metadata_interval;
            }
            Err(reason) => {
                // The first failure is news; that it goes on is not.
                if self.failures == 0 {
                    tracing::error!("the upstream cannot be reached: {reason}; trying again until it can");
                } else {
                    tracing::debug!(failures = self.failures, "the upstream still cannot be reached: {reason}");
                }
                let pause = PAUSE_MIN * 2u32.pow(self.failures.min(6));
                self.failures = self.failures.saturating_add(1);
                self.turn = self.turn.wrapping_add(1);
                self.due = Instant::now() + pause.min(self.config.upstream.metadata_interval);
            }
        }
    }

    /// The first answer of any bootstrap server, or why none answered.
    async fn ask_any(&self, bootstrap: &[Server]) -> Result<Metadata, String> {
        let limit = Duration::from_millis(u64::from(self.config.limits.upstream_connect_millis_max));
        let mut reasons = Vec::new();
        for at in 0..bootstrap.len() {
            let Some(server) = bootstrap.get((at + self.turn) % bootstrap.len()) else { continue };
            if server.addresses.is_empty() {
                reasons.push(format!("{}: the name does not resolve", server.host));
            }
            for address in &server.addresses {
                match timeout(limit, ask::metadata(&self.config, &self.shared, server, *address)).await {
                    Ok(Ok(metadata)) => return Ok(metadata),
                    Ok(Err(error)) => reasons.push(format!("{}:{} ({address}): {error}", server.host, server.port)),
                    Err(_) => {
                        reasons.push(format!("{}:{} ({address}): no answer within {limit:?}", server.host, server.port))
                    }
                }
            }
        }
        Err(reasons.join("; "))
    }
}

/// Resolves names side by side. A name that does not resolve now keeps what it resolved to before.
async fn resolve(servers: Vec<(i32, HostPort)>, known: &Cluster) -> BTreeMap<i32, Server> {
    let mut lookups = JoinSet::new();
    for (id, server) in servers {
        lookups.spawn(async move {
            let looked_up =
                timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((server.host.as_str(), server.port))).await;
            let addresses = match looked_up {
                Ok(Ok(addresses)) => addresses.collect(),
                Ok(Err(_)) | Err(_) => Vec::new(),
            };
            (id, Server { host: Arc::from(server.host.as_str()), port: server.port, addresses })
        });
    }
    let mut resolved = BTreeMap::new();
    while let Some(looked_up) = lookups.join_next().await {
        let Ok((id, mut server)) = looked_up else { continue };
        if server.addresses.is_empty() {
            let before = known.bootstrap.iter().chain(known.brokers.values());
            let before = before.into_iter().find(|before| before.host == server.host && before.port == server.port);
            server.addresses = before.map(|before| before.addresses.clone()).unwrap_or_default();
        }
        resolved.insert(id, server);
    }
    resolved
}
