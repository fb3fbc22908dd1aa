//! Addresses: what brokers' hosts and ports look like to clients (decision 5 of the design).
//!
//! One leaked address and a client talks past the gateway. Every response that carries addresses
//! is rewritten here, and the real addresses are learned on the way, for whoever connects to a
//! broker's own port or host.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use kafka_protocol::messages::{
    DescribeClusterResponse, DescribeQuorumResponse, FindCoordinatorResponse, MetadataResponse,
};
use kafka_protocol::messages::{find_coordinator_response::Coordinator, share_acknowledge_response};
use kafka_protocol::protocol::StrBytes;

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
#[error(
    "broker {node_id} is outside the node ids {first}..={last} that have a port; widen `listener.broker_ports.node_ids`"
)]
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

    /// Puts the address that clients see in place of a broker's real one, which is remembered. An
    /// answer that names no broker (a negative node id) gets none: an empty host and port -1.
    ///
    /// # Errors
    /// [`NoAddress`] where the broker has no port: the response must not be passed on.
    pub fn rewrite(&mut self, node_id: i32, host: &mut StrBytes, port: &mut i32) -> Result<(), NoAddress> {
        if node_id < 0 {
            (*host, *port) = nowhere();
            return Ok(());
        }
        let (shown_host, shown_port) = self.show(node_id, host, *port)?;
        (*host, *port) = (StrBytes::from_string(shown_host), shown_port);
        Ok(())
    }
}

fn nowhere() -> (StrBytes, i32) {
    (StrBytes::new(), -1)
}

/// Rewrites the brokers of a Metadata response.
///
/// # Errors
/// [`NoAddress`]: the response must not be passed on.
pub fn rewrite_metadata(addresses: &mut Addresses, response: &mut MetadataResponse) -> Result<(), NoAddress> {
    let brokers = &mut response.brokers;
    brokers.iter_mut().try_for_each(|b| addresses.rewrite(b.node_id.0, &mut b.host, &mut b.port))
}

/// Rewrites a FindCoordinator response, in the layout of one coordinator (up to v3) and of several.
/// The answer to an error names no broker.
///
/// # Errors
/// [`NoAddress`]: the response must not be passed on.
pub fn rewrite_coordinators(
    addresses: &mut Addresses,
    response: &mut FindCoordinatorResponse,
) -> Result<(), NoAddress> {
    if response.error_code != 0 {
        (response.host, response.port) = nowhere();
    } else if !response.host.is_empty() {
        addresses.rewrite(response.node_id.0, &mut response.host, &mut response.port)?;
    }
    for Coordinator { error_code, node_id, host, port, .. } in &mut response.coordinators {
        if *error_code != 0 {
            (*host, *port) = nowhere();
        } else {
            addresses.rewrite(node_id.0, host, port)?;
        }
    }
    Ok(())
}

/// Rewrites the brokers of a DescribeCluster response.
///
/// # Errors
/// [`NoAddress`]: the response must not be passed on.
pub fn rewrite_cluster(addresses: &mut Addresses, response: &mut DescribeClusterResponse) -> Result<(), NoAddress> {
    let brokers = &mut response.brokers;
    brokers.iter_mut().try_for_each(|b| addresses.rewrite(b.broker_id.0, &mut b.host, &mut b.port))
}

/// Takes the listeners out of a DescribeQuorum response (v2 and later): they are the controllers',
/// which clients do not reach through the gateway. Yields whether there were any.
pub fn remove_quorum_listeners(response: &mut DescribeQuorumResponse) -> bool {
    let mut removed = false;
    for node in &mut response.nodes {
        removed |= !std::mem::take(&mut node.listeners).is_empty();
    }
    removed
}

/// Rewrites the leaders' endpoints of a ShareAcknowledge response (KIP-951). Yields whether there were any.
///
/// # Errors
/// [`NoAddress`]: the response must not be passed on.
pub fn rewrite_share_endpoints(
    addresses: &mut Addresses,
    endpoints: &mut [share_acknowledge_response::NodeEndpoint],
) -> Result<bool, NoAddress> {
    endpoints.iter_mut().try_for_each(|e| addresses.rewrite(e.node_id.0, &mut e.host, &mut e.port))?;
    Ok(!endpoints.is_empty())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::describe_quorum_response::{Listener, Node};
    use kafka_protocol::messages::metadata_response::MetadataResponseBroker;

    use super::*;

    fn ports() -> Addresses {
        let scheme = Scheme::PortPerBroker { host: "gw".into(), base_port: 9100, node_ids: 1..=3 };
        Addresses::new(Arc::new(scheme))
    }

    fn names() -> Addresses {
        let scheme = Scheme::SniHostPerBroker { host_pattern: "b$(node_id).gw".into(), port: 443 };
        Addresses::new(Arc::new(scheme))
    }

    fn metadata(node_ids: &[i32]) -> MetadataResponse {
        let broker = |id: &i32| {
            MetadataResponseBroker::default().with_node_id(BrokerId(*id)).with_host("real".into()).with_port(9000 + id)
        };
        MetadataResponse::default().with_brokers(node_ids.iter().map(broker).collect())
    }

    #[test]
    fn brokers_are_shown_by_the_scheme_and_remembered() {
        for (mut addresses, host, port) in [(ports(), "gw", 9102), (names(), "b3.gw", 443)] {
            let mut response = metadata(&[3]);
            rewrite_metadata(&mut addresses, &mut response).unwrap();
            assert_eq!((&*response.brokers[0].host, response.brokers[0].port), (host, port));
            assert_eq!(addresses.real(3), Some(("real", 9003)));
            assert!(addresses.take_changes().is_some());
            assert!(addresses.take_changes().is_none());
        }
    }

    #[test]
    fn a_broker_without_a_port_is_an_error() {
        let error = rewrite_metadata(&mut ports(), &mut metadata(&[1, 4])).unwrap_err();
        assert_eq!(error, NoAddress { node_id: 4, first: 1, last: 3 });
    }

    #[test]
    fn coordinators_are_rewritten_in_both_layouts_and_errors_name_none() {
        let found = |code| {
            let one = Coordinator::default()
                .with_node_id(BrokerId(2))
                .with_host("real".into())
                .with_port(9)
                .with_error_code(code);
            FindCoordinatorResponse::default()
                .with_node_id(BrokerId(2))
                .with_host("real".into())
                .with_port(9)
                .with_error_code(code)
                .with_coordinators(vec![one])
        };
        for (code, host, port) in [(0, "gw", 9101), (15, "", -1)] {
            let mut response = found(code);
            rewrite_coordinators(&mut ports(), &mut response).unwrap();
            assert_eq!((&*response.host, response.port), (host, port), "error {code}");
            assert_eq!((&*response.coordinators[0].host, response.coordinators[0].port), (host, port), "error {code}");
        }
        // No coordinator, as a broker says it.
        let mut response = FindCoordinatorResponse::default().with_node_id(BrokerId(-1)).with_port(-1);
        rewrite_coordinators(&mut ports(), &mut response).unwrap();
        assert_eq!((&*response.host, response.port), ("", -1));
    }

    #[test]
    fn quorum_listeners_do_not_pass() {
        let node = Node::default().with_listeners(vec![Listener::default().with_host("controller".into())]);
        let mut response = DescribeQuorumResponse::default().with_nodes(vec![node]);
        assert!(remove_quorum_listeners(&mut response));
        assert!(response.nodes[0].listeners.is_empty());
        assert!(!remove_quorum_listeners(&mut response));
    }
}
