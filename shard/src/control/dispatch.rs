//! Passes what shards ask to the task that can answer it. Never waits: a task that is behind misses
//! a question, and whoever needs the answer asks again.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_policy::authority::{Actor, Command};
use tidegate_policy::mask::schema::SchemaId;
use tokio::sync::mpsc;

use super::authority::Handle;
use super::metrics::ControlMetrics;
use super::topology::TopologyAsk;
use crate::shared::Ask;

/// Where to send key ids that aren't known, by issuer.
pub(super) type UnknownKeys = HashMap<Arc<str>, mpsc::Sender<Arc<str>>>;

/// Passes questions on until every shard is gone.
pub(super) async fn dispatch(
    mut asks: mpsc::Receiver<Ask>,
    keys: UnknownKeys,
    topology: mpsc::Sender<TopologyAsk>,
    schemas: Option<mpsc::Sender<SchemaId>>,
    authority: Handle,
    metrics: Arc<ControlMetrics>,
) {
    while let Some(ask) = asks.recv().await {
        metrics.asked();
        match ask {
            Ask::UnknownKey { issuer, kid } => {
                if let Some(keeper) = keys.get(&issuer) {
                    let _ = keeper.try_send(kid);
                }
            }
            Ask::LearnedBrokers(brokers) => drop(topology.try_send(TopologyAsk::Learned(brokers))),
            Ask::Hold(held) => authority.post(held.principal.clone(), Command::Hold(*held)),
            Ask::Use { approval, session } => {
                authority.post(Actor::gateway(), Command::Use { approval, session: session.to_string() });
            }
            Ask::Schema(id) => {
                if let Some(keeper) = &schemas {
                    let _ = keeper.try_send(id);
                }
            }
            Ask::RefreshCluster => drop(topology.try_send(TopologyAsk::Refresh)),
        }
    }
}
