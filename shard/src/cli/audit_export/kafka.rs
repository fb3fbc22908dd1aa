//! To a Kafka topic, of any cluster: a record an entry.
//!
//! A shard's entries go to one partition, so that they stay in order, with the tree's name as the key. A batch counts as
//! delivered when all in-sync replicas have it.

use std::time::Duration;

use anyhow::Context as _;
use tidegate_audit::note::tree_name;
use tokio::time::timeout;

use super::{Args, Item, Tried};
use crate::config::{Config, Upstream};
use crate::control::{Access, Producer};

/// How long one batch may take.
const BATCH: Duration = Duration::from_secs(30);
/// Bytes of values in one request: under the million that brokers take by default. A longer one goes alone, and the
/// topic's `max.message.bytes` decides.
const REQUEST_BYTES: usize = 512 * 1024;

/// A topic and the way there.
pub(super) struct Kafka {
    upstream: Upstream,
    topic: String,
    producer: Option<Producer>,
}

impl Kafka {
    /// # Errors
    /// The file that says how the cluster is reached is missing or wrong.
    pub(super) fn open(topic: &str, args: &Args) -> anyhow::Result<Self> {
        let file = args.kafka.as_ref().context("--kafka FILE must say how the cluster is reached: `upstream: {…}`")?;
        let upstream = Config::load_upstream(file).map_err(|problems| {
            let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", sentences.join("\n"))
        })?;
        // Files of secrets are read now, so that what is wrong with them is said at once.
        Access::new(&upstream)?;
        Ok(Self { upstream, topic: topic.to_owned(), producer: None })
    }

    /// Sends a batch once.
    pub(super) async fn send(&mut self, items: &[Item<'_>], origin: &str) -> Tried {
        match timeout(BATCH, self.try_send(items, origin)).await {
            Ok(Ok(())) => Tried::Done,
            Ok(Err(error)) => Tried::Failed(error),
            Err(_) => {
                // A question may be under way on its connections.
                self.producer = None;
                Tried::Failed(anyhow::anyhow!("no answer within {BATCH:?}"))
            }
        }
    }

    async fn try_send(&mut self, items: &[Item<'_>], origin: &str) -> anyhow::Result<()> {
        let producer = match &mut self.producer {
            Some(producer) => producer,
            none => {
                let access = Access::new(&self.upstream)?;
                none.insert(Producer::resolving(access, &self.upstream.bootstrap_servers, &self.topic).await?)
            }
        };
        let partitions = u32::try_from(producer.partitions().await?).unwrap_or(u32::MAX).max(1);
        for (shard, records) in batches(items, origin) {
            producer.send((shard % partitions) as i32, records).await?;
        }
        Ok(())
    }
}

/// Key and value.
type Record = (String, Vec<u8>);

/// Records of one shard each, in order, and not too many bytes of them.
fn batches(items: &[Item<'_>], origin: &str) -> Vec<(u32, Vec<Record>)> {
    let mut batches: Vec<(u32, Vec<Record>)> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let (shard, value) = (item.entry.shard, item.value.to_string().into_bytes());
        bytes += value.len();
        let record = (tree_name(origin, shard), value);
        match batches.last_mut() {
            Some((of, records)) if *of == shard && bytes <= REQUEST_BYTES => records.push(record),
            _ => {
                bytes = record.1.len();
                batches.push((shard, vec![record]));
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_audit::tail::Entry;
    use tidegate_core::event::Event;

    use super::*;

    #[test]
    fn a_batch_is_of_one_shard_and_not_too_long() {
        let long = "x".repeat(200 * 1024);
        let entries: Vec<Entry> = [0, 0, 0, 1, 1]
            .iter()
            .enumerate()
            .map(|(n, shard)| Entry { shard: *shard, sequence: n as u64, event: Event::default() })
            .collect();
        let items: Vec<Item<'_>> = entries.iter().map(|entry| Item { entry, value: json!(long) }).collect();
        let lengths: Vec<(u32, usize)> =
            batches(&items, "gw").iter().map(|(shard, records)| (*shard, records.len())).collect();
        assert_eq!(lengths, [(0, 2), (0, 1), (1, 2)]);
        assert_eq!(batches(&items, "gw")[0].1[0].0, "gw/shard-000");
    }
}
