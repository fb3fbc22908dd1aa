//! What the control thread publishes to the shards and what shards ask of it. Lock-free both ways.
//!
//! Control is the only writer of everything that is published here; a shard reads an [`ArcSwap`]
//! (a load is a few nanoseconds) and compares a version before it rebuilds what it derived. Shards
//! write only their own [`ShardMetrics`] and the bounded queue [`Shared::ask`].

mod handover;
mod metrics;
mod readiness;
mod schemas;
mod sessions;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use tidegate_core::event::Event;
use tokio::sync::mpsc;

pub use self::handover::{Handed, Handover, Place};
pub use self::metrics::{CachePadded, Counter, Gauge, Histogram, LATENCY_BOUNDS_MICROS, Refusal, ShardMetrics, Step};
pub use self::readiness::{Condition, Readiness};
pub use self::schemas::SchemaShelf;
pub use self::sessions::{LiveSession, Sessions};
use crate::config::Config;
use crate::data::versions::UpstreamVersions;
use tidegate_policy::authority::{ApprovalId, Approvals, HeldOperation, RequestSecret};
use tidegate_policy::identity::Issuers;
use tidegate_policy::mask::schema::SchemaId;
use tidegate_policy::snapshot::Snapshot;

/// Requests of shards that wait for the control thread. At the bound a request is dropped; whoever
/// needs the answer asks again with its next message.
const ASKS_MAX: usize = 1024;

/// Notices that wait for shard 0. At the bound the oldest is dropped and counted.
const NOTICES_MAX: usize = 16 * 1024;

/// Everything that crosses between the control thread and the shards.
pub struct Shared {
    /// The policy in force.
    pub policy: ArcSwap<Snapshot>,
    /// The version of `policy`, bumped after the swap: equal means nothing to do.
    pub policy_version: AtomicU64,
    /// Where questions about held operations stand.
    pub approvals: ArcSwap<Approvals>,
    /// The version of `approvals`, bumped after the swap.
    pub approvals_version: AtomicU64,
    /// What keys of held operations are made with. Random until the control log's own is put here, before any shard
    /// begins.
    pub request_secret: ArcSwap<RequestSecret>,
    /// The issuers and their keys, as last fetched.
    pub issuers: ArcSwap<Issuers>,
    /// TLS towards clients, by listener index; `None` where the listener is plain text. New
    /// connections take what is here; open ones keep theirs.
    pub listener_tls: Vec<ArcSwapOption<rustls::ServerConfig>>,
    /// TLS on the control address; `None` where it is plain HTTP.
    pub control_tls: ArcSwapOption<rustls::ServerConfig>,
    /// TLS of the token endpoint; `None` where it is plain, on the loopback.
    pub tokens_tls: ArcSwapOption<rustls::ServerConfig>,
    /// TLS towards brokers; `None` where the upstream is plain text.
    pub upstream_tls: ArcSwapOption<rustls::ClientConfig>,
    /// The gateway's own login at the brokers, with its secret read.
    pub upstream_login: ArcSwap<crate::upstream::UpstreamCredentials>,
    /// The cluster as last seen.
    pub cluster: ArcSwap<Cluster>,
    /// The version of `cluster`, bumped after the swap.
    pub cluster_version: AtomicU64,
    /// Set once and never unset: no new connections; finish what is in flight, then end.
    pub draining: AtomicBool,
    /// Set where the drain time is over: close everything now.
    pub aborting: AtomicBool,
    /// What readiness waits for.
    pub readiness: Readiness,
    /// The shards' counters, by shard index.
    pub shards: Vec<Arc<ShardMetrics>>,
    /// Connections on their way from the shard that accepted them to the one that serves them.
    pub handover: Arc<Handover>,
    /// Events of the control thread for the evidence; shard 0 writes them.
    pub notices: Notices,
    /// The registry's schemas, as far as they are known.
    pub schemas: SchemaShelf,
    /// The sessions that are open now, for lists.
    pub sessions: Sessions,
    asks: mpsc::Sender<Ask>,
}

/// The upstream cluster as the control thread last saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Addresses of the bootstrap servers, resolved, in the order to try.
    pub bootstrap: Vec<Server>,
    /// The brokers by node id.
    pub brokers: BTreeMap<i32, Server>,
    /// The cluster's id, where the upstream gives one.
    pub id: Option<Arc<str>>,
    /// What the broker that was asked last offers; empty where none was.
    pub versions: Arc<UpstreamVersions>,
}

/// A broker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The host as advertised; also what its certificate is checked against.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
    /// What the host resolved to, in the order to try; empty where it did not resolve.
    pub addresses: Vec<SocketAddr>,
}

impl Cluster {
    /// Hosts and ports by node id, as `Addresses::learn` takes them.
    #[must_use]
    pub fn hosts(&self) -> BTreeMap<i32, (String, u16)> {
        self.brokers.iter().map(|(id, server)| (*id, (server.host.to_string(), server.port))).collect()
    }
}

/// What a shard asks of the control thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A token named a key that isn't known.
    UnknownKey {
        /// The token's issuer.
        issuer: Arc<str>,
        /// The key's id.
        kid: Arc<str>,
    },
    /// Brokers and addresses that a response showed and `Cluster` lacks.
    LearnedBrokers(BTreeMap<i32, (String, u16)>),
    /// A record names a schema that isn't known. The answer comes through [`Shared::schemas`].
    Schema(SchemaId),
    /// A broker could not be reached or isn't known: look again.
    RefreshCluster,
    /// An operation waits for an approver. The answer comes through [`Shared::approvals`].
    Hold(Box<HeldOperation>),
    /// An approved operation is to pass now, in this session. It may once [`Shared::approvals`] says that it is used,
    /// in this very session.
    Use {
        /// The approval.
        approval: ApprovalId,
        /// The session.
        session: Arc<str>,
    },
}

impl Shared {
    /// Nothing published yet but what is given; the receiver is the control thread's.
    #[must_use]
    pub fn new(
        config: &Config,
        policy: Arc<Snapshot>,
        issuers: Arc<Issuers>,
        login: Arc<crate::upstream::UpstreamCredentials>,
    ) -> (Arc<Self>, mpsc::Receiver<Ask>) {
        let (asks, receiver) = mpsc::channel(ASKS_MAX);
        let version = policy.version();
        let shared = Self {
            policy: ArcSwap::new(policy),
            policy_version: AtomicU64::new(version),
            approvals: ArcSwap::default(),
            approvals_version: AtomicU64::new(0),
            request_secret: ArcSwap::from_pointee(random_secret()),
            issuers: ArcSwap::new(issuers),
            listener_tls: config.listeners.iter().map(|_| ArcSwapOption::empty()).collect(),
            control_tls: ArcSwapOption::empty(),
            tokens_tls: ArcSwapOption::empty(),
            upstream_tls: ArcSwapOption::empty(),
            upstream_login: ArcSwap::new(login),
            cluster: ArcSwap::default(),
            cluster_version: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
            readiness: Readiness::new(config.shards),
            shards: (0..config.shards).map(|_| Arc::new(ShardMetrics::default())).collect(),
            handover: Handover::new(config.shards),
            notices: Notices::default(),
            schemas: SchemaShelf::new(config.schema_registry.is_some(), config.limits.schemas_max, asks.clone()),
            sessions: Sessions::new(config.shards),
            asks,
        };
        (Arc::new(shared), receiver)
    }

    /// Asks the control thread, without waiting. False where its queue is full.
    pub fn ask(&self, ask: Ask) -> bool {
        self.asks.try_send(ask).is_ok()
    }

    /// Publishes a policy. Requests from now on are decided by it.
    pub fn publish_policy(&self, policy: Arc<Snapshot>) {
        let version = policy.version();
        self.policy.store(policy);
        // Sequentially consistent: when this returns, no shard reads the version before.
        self.policy_version.store(version, Ordering::SeqCst);
    }

    /// Publishes where questions about held operations stand.
    pub fn publish_approvals(&self, approvals: Arc<Approvals>) {
        self.approvals.store(approvals);
        self.approvals_version.fetch_add(1, Ordering::Release);
    }

    /// Publishes the cluster, where it differs from what is published.
    pub fn publish_cluster(&self, cluster: Cluster) {
        if **self.cluster.load() != cluster {
            self.cluster.store(Arc::new(cluster));
            self.cluster_version.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether the gateway is on its way out.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether the drain time is over.
    #[must_use]
    pub fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::Acquire)
    }
}

/// A secret that nobody else has, so that a gateway without the log's own answers no question by accident.
fn random_secret() -> RequestSecret {
    let mut bytes = zeroize::Zeroizing::new([0; tidegate_policy::authority::REQUEST_SECRET_BYTES]);
    // Where the system has no randomness, nothing of the gateway works; approvals are bound all the same.
    let _ = aws_lc_rs::rand::fill(&mut *bytes);
    RequestSecret::new(&bytes)
}

/// A bounded queue of events for the evidence: the control thread puts, shard 0 takes.
///
/// A few events an hour go through; a shard looks at the atomic length on each tick of its own
/// timer and takes the mutex only where there is something, so no request ever waits for it.
#[derive(Debug, Default)]
pub struct Notices {
    waiting: AtomicU64,
    dropped: AtomicU64,
    events: std::sync::Mutex<VecDeque<Event>>,
}

impl Notices {
    /// Leaves an event for the evidence. Where too many wait, the oldest is dropped and counted.
    pub fn put(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if events.len() >= NOTICES_MAX {
            events.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        events.push_back(event);
        self.waiting.store(events.len() as u64, Ordering::Release);
    }

    /// What waits, in order. Costs one atomic load where nothing does.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut events = self.events.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.waiting.store(0, Ordering::Release);
        events.drain(..).collect()
    }

    /// Whether so many wait that whoever puts many should wait until some are taken.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > NOTICES_MAX as u64 / 2
    }

    /// How many were dropped since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_bounded_and_come_in_order() {
        let notices = Notices::default();
        assert!(notices.take().is_empty());
        for time_micros in 0..NOTICES_MAX as i64 + 3 {
            notices.put(Event { time_micros, ..Event::default() });
        }
        let taken = notices.take();
        assert_eq!(taken.len(), NOTICES_MAX);
        assert_eq!(taken.first().map(|event| event.time_micros), Some(3), "the oldest go first");
        assert_eq!(notices.dropped(), 3);
        assert!(notices.take().is_empty());
    }
}
