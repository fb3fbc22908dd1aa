//! Who goes where: topics and leaders as Metadata shows them, shared out among connections.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context as _, bail};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, CreateTopicsResponse, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::Thread;
use super::open::{Opened, body, open};
use crate::profile::Profile;
use crate::wire::Topic;

/// How often Metadata is asked again for topics that are being made.
const TRIES: u32 = 50;

/// The cluster as the load sees it.
pub(crate) struct Plan {
    pub(crate) topics: Vec<Topic>,
    /// By broker, in the order of node ids: where it is, and what it leads.
    pub(crate) brokers: Vec<Broker>,
}

/// A broker and its partitions.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    /// Index of the topic, and the partition.
    pub(crate) leads: Vec<(usize, i32)>,
}

/// Asks the target for the profile's topics; makes those that are missing.
pub(crate) async fn discover(thread: &Thread) -> anyhow::Result<Plan> {
    let target = &thread.shared.target;
    let mut failure = None;
    for address in &target.bootstrap {
        match discover_at(thread, *address).await {
            Ok(plan) => return Ok(plan),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| anyhow::anyhow!("{} has no address", target.name)))
}

async fn discover_at(thread: &Thread, address: SocketAddr) -> anyhow::Result<Plan> {
    let profile = &thread.shared.profile;
    let mut opened = open(thread, address, thread.index).await?;
    let mut created = false;
    for _ in 0..TRIES {
        let metadata = metadata(thread, &mut opened).await?;
        let missing = metadata.topics.iter().any(|topic| topic.error_code != 0 || topic.partitions.is_empty());
        let leaderless = metadata.topics.iter().flat_map(|topic| &topic.partitions).any(|one| one.leader_id.0 < 0);
        if !missing && !leaderless {
            let plan = planned(thread, &metadata, address)?;
            opened.link.close().await;
            return Ok(plan);
        }
        if missing && !created {
            create(thread, &mut opened, profile).await?;
            created = true;
        }
        tidegate::data::runtime::sleep(std::time::Duration::from_millis(100)).await;
    }
    bail!("{address}: the topics load-0 … are not there, and do not come into being")
}

async fn metadata(thread: &Thread, opened: &mut Opened) -> anyhow::Result<MetadataResponse> {
    let wanted = (0..thread.shared.profile.topics)
        .map(|index| MetadataRequestTopic::default().with_name(Some(name(index))))
        .collect();
    let request = MetadataRequest::default().with_topics(Some(wanted)).with_allow_auto_topic_creation(false);
    opened.call(&thread.scratch, ApiKey::Metadata, 12, |version| body(&request, version)).await
}

async fn create(thread: &Thread, opened: &mut Opened, profile: &Profile) -> anyhow::Result<()> {
    let topic = |index| {
        CreatableTopic::default()
            .with_name(name(index))
            .with_num_partitions(i32::try_from(profile.partitions).unwrap_or(1))
            .with_replication_factor(1)
    };
    let request =
        CreateTopicsRequest::default().with_topics((0..profile.topics).map(topic).collect()).with_timeout_ms(30_000);
    // Whether it worked shows in the metadata; somebody else may have been quicker.
    let _: CreateTopicsResponse =
        opened.call(&thread.scratch, ApiKey::CreateTopics, 7, |version| body(&request, version)).await?;
    Ok(())
}

fn name(index: u32) -> TopicName {
    TopicName(StrBytes::from_string(Profile::topic(index)))
}

fn planned(thread: &Thread, metadata: &MetadataResponse, reached: SocketAddr) -> anyhow::Result<Plan> {
    let target = &thread.shared.target;
    let mut nodes: Vec<_> = metadata.brokers.iter().collect();
    nodes.sort_by_key(|broker| broker.node_id.0);
    let mut brokers = Vec::new();
    for broker in &nodes {
        let fixed = usize::try_from(broker.node_id.0).ok().and_then(|id| target.brokers.get(id)).copied();
        let address = match fixed {
            Some(address) => address,
            None => resolve(broker.host.as_str(), broker.port, reached)?,
        };
        brokers.push(Broker { address, leads: Vec::new() });
    }
    let mut topics = Vec::new();
    for (index, topic) in metadata.topics.iter().enumerate() {
        let name = topic.name.as_ref().context("a topic without a name")?.0.to_string();
        topics.push(Topic { name, id: *topic.topic_id.as_bytes() });
        for partition in &topic.partitions {
            let leader = nodes.iter().position(|node| node.node_id == partition.leader_id);
            let leader =
                leader.and_then(|at| brokers.get_mut(at)).context("a partition's leader is not among the brokers")?;
            leader.leads.push((index, partition.partition_index));
        }
    }
    for broker in &mut brokers {
        broker.leads.sort_unstable();
    }
    brokers.retain(|broker| !broker.leads.is_empty());
    Ok(Plan { topics, brokers })
}

fn resolve(host: &str, port: i32, reached: SocketAddr) -> anyhow::Result<SocketAddr> {
    let port = u16::try_from(port).context("a broker's port is no port")?;
    let found: Vec<_> =
        (host, port).to_socket_addrs().with_context(|| format!("the broker {host} has no address"))?.collect();
    // Of several the one of the family that is known to work.
    let same = found.iter().find(|address| address.is_ipv4() == reached.is_ipv4());
    same.or(found.first()).copied().with_context(|| format!("the broker {host} has no address"))
}

impl Plan {
    /// The broker of producing connection `number`, and its partitions from a turning start.
    pub(crate) fn for_producer(&self, number: u32) -> (&Broker, Vec<(usize, i32)>) {
        let broker = &self.brokers[number as usize % self.brokers.len()];
        let mut leads = broker.leads.clone();
        let turn = number as usize / self.brokers.len() % leads.len();
        leads.rotate_left(turn);
        (broker, leads)
    }

    /// The broker of fetching connection `number` of `count`, and the partitions that it reads, so
    /// that each partition of a broker has `fan_out` readers where there are connections enough.
    pub(crate) fn for_consumer(&self, number: u32, count: u32, fan_out: u32) -> (&Broker, Vec<(usize, i32)>) {
        let brokers = self.brokers.len();
        let broker = &self.brokers[number as usize % brokers];
        let own = number as usize / brokers;
        // How many connections this very broker has: the first ones have one more where they don't divide.
        let of = (count as usize).saturating_sub(number as usize % brokers).div_ceil(brokers).max(1);
        let slots = broker.leads.len() * fan_out as usize;
        let mut reads: Vec<_> = (own..slots).step_by(of).map(|slot| broker.leads[slot % broker.leads.len()]).collect();
        if reads.is_empty() {
            reads.push(broker.leads[own % broker.leads.len()]);
        }
        reads.sort_unstable();
        reads.dedup();
        (broker, reads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let broker = |id: i32| Broker {
            address: "127.0.0.1:1".parse().unwrap(),
            leads: (0..4).map(|partition| (0, partition * 3 + id)).collect(),
        };
        Plan { topics: Vec::new(), brokers: (0..3).map(broker).collect() }
    }

    #[test]
    fn every_partition_has_as_many_readers_as_wanted() {
        let plan = plan();
        for (consumers, fan_out) in [(3, 1), (4, 1), (6, 2), (12, 1), (24, 2), (36, 3)] {
            let mut readers = std::collections::BTreeMap::new();
            for number in 0..consumers {
                for slot in plan.for_consumer(number, consumers, fan_out).1 {
                    *readers.entry(slot).or_insert(0) += 1;
                }
            }
            assert_eq!(readers.len(), 12, "{consumers} {fan_out}: {readers:?}");
            // A consumer that would get a partition twice reads it once.
            assert!(readers.values().all(|count| (1..=fan_out).contains(count)), "{consumers} {fan_out}: {readers:?}");
        }
    }

    #[test]
    fn producers_reach_every_partition() {
        let plan = plan();
        let all: std::collections::BTreeSet<_> = (0..3).flat_map(|number| plan.for_producer(number).1).collect();
        assert_eq!(all.len(), 12);
        assert_ne!(plan.for_producer(0).1[0], plan.for_producer(3).1[0]);
    }
}
