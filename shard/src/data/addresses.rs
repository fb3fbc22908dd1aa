//! Addresses: what brokers' hosts and ports look like to clients (decision 5 of the design).
//!
//! One leaked address and a client talks past the gateway. Every response that carries addresses
//! is rewritten here, and the real addresses are learned on the way, for whoever connects to a
//! broker's own port or host.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// How a broker's address is shown to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// One host; broker `n` has the port `base_port + n - first node id`.
    PortPerBroker {
        /// The host that clients use.
        host: Arc<str>,
        /// The port of the first node id.
        base_port: u16,
        /// The node ids that have a port.
        node_ids: RangeInclusive<i32>,
    },
    /// One port; broker `n` has the host with `$(node_id)` filled in. Needs TLS: SNI tells brokers apart.
    SniHostPerBroker {
        /// For instance `broker-$(node_id).kafka.example.com`.
        host_pattern: Arc<str>,
        /// The port that clients use.
        port: u16,
    },
}

/// A broker that has no address that clients could use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("broker {node_id} is outside the node ids {first}..={last} that have a port; widen `listener.broker_ports.node_ids`")]
pub struct NoAddress {
    /// The broker.
    pub node_id: i32,
    /// First node id with a port.
    pub first: i32,
    /// Last node id with a port.
    pub last: i32,
}

/// The real addresses of brokers seen by one shard, and how they are shown.
#[derive(Debug, Clone)]
pub struct Addresses {
    scheme: Arc<Scheme>,
    real: BTreeMap<i32, (String, u16)>,
    /// True where `real` changed since it was last published.
    changed: bool,
}

impl Addresses {
    /// No broker known yet.
    #[must_use]
    pub fn new(scheme: Arc<Scheme>) -> Self {
        Self { scheme, real: BTreeMap::new(), changed: false }
    }

    /// The address to show for a broker whose real one is `host:port`, which is remembered.
    ///
    /// # Errors
    /// [`NoAddress`] where the broker has no port: the response must not be passed on.
    pub fn show(&mut self, node_id: i32, host: &str, port: i32) -> Result<(String, i32), NoAddress> {
        let port = u16::try_from(port).unwrap_or(0);
        if node_id >= 0 && port != 0 && self.real.get(&node_id).is_none_or(|(h, p)| h != host || *p != port) {
            self.real.insert(node_id, (host.to_owned(), port));
            self.changed = true;
        }
        self.shown(node_id)
    }

    fn shown(&self, node_id: i32) -> Result<(String, i32), NoAddress> {
        match &*self.scheme {
            Scheme::PortPerBroker { host, base_port, node_ids } => {
                if !node_ids.contains(&node_id) {
                    return Err(NoAddress { node_id, first: *node_ids.start(), last: *node_ids.end() });
                }
                Ok((host.to_string(), i32::from(*base_port) + node_id - node_ids.start()))
            }
            Scheme::SniHostPerBroker { host_pattern, port } => {
                Ok((host_pattern.replace("$(node_id)", &node_id.to_string()), i32::from(*port)))
            }
        }
    }

    /// The real address of a broker, where it is known.
    #[must_use]
    pub fn real(&self, node_id: i32) -> Option<(&str, u16)> {
        self.real.get(&node_id).map(|(host, port)| (host.as_str(), *port))
    }

    /// The addresses learned since the last call, if any: for publishing to other shards.
    pub fn take_changes(&mut self) -> Option<BTreeMap<i32, (String, u16)>> {
        std::mem::take(&mut self.changed).then(|| self.real.clone())
    }

    /// Takes over what another shard or the control thread learned.
    pub fn learn(&mut self, real: &BTreeMap<i32, (String, u16)>) {
        self.real.extend(real.iter().map(|(id, address)| (*id, address.clone())));
    }
}
