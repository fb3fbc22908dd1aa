//! Writing records to a topic: for what the control plane publishes to the upstream, and what the command line exports
//! to any cluster. Nothing here is per record of a client.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};

use super::ask::{Access, AskError, Conversation, brokers};
use crate::config::HostPort;
use crate::control::now;
use crate::shared::{Cluster, Server};

/// The highest versions that are spoken: from Produce 13 on a topic is named by its id.
const PRODUCE_VERSION_MAX: i16 = 11;
const METADATA_VERSION_MAX: i16 = 12;
/// How long the leader may wait for its followers, in milliseconds.
const ACKS_TIMEOUT_MILLIS: i32 = 10_000;

/// Writes to one topic, over connections that stay open. After an error it asks anew who leads.
pub(crate) struct Producer {
    access: Access,
    /// Whom to ask first.
    servers: Vec<Server>,
    topic: String,
    known: Option<Topic>,
    open: HashMap<i32, Conversation>,
}

/// What a topic's partitions are and who leads them.
struct Topic {
    /// The leader's node by partition; negative where there is none now.
    leaders: BTreeMap<i32, i32>,
    brokers: BTreeMap<i32, Server>,
}

impl Producer {
    /// A producer for a topic, which must exist, of the cluster that `servers` belong to. Nothing is asked yet.
    pub(crate) fn new(access: Access, servers: Vec<Server>, topic: &str) -> Self {
        Self { access, servers, topic: topic.to_owned(), known: None, open: HashMap::new() }
    }

    /// A producer that first resolves the names of bootstrap servers.
    ///
    /// # Errors
    /// [`AskError`]: none resolves.
    pub(crate) async fn resolving(access: Access, servers: &[HostPort], topic: &str) -> Result<Self, AskError> {
        let resolved = super::resolve((0..).zip(servers.iter().cloned()).collect(), &Cluster::default()).await;
        Ok(Self::new(access, resolved.into_values().collect(), topic))
    }

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// [`AskError`]: the cluster cannot be reached, or there is no such topic for this login.
    pub(crate) async fn partitions(&mut self) -> Result<usize, AskError> {
        if self.known.is_none() {
            self.known = Some(ask(&self.access, &self.servers, &self.topic).await?);
        }
        Ok(self.known.as_ref().map_or(0, |topic| topic.leaders.len()))
    }

    /// Writes records (key, value) to a partition as one batch, and waits until all in-sync replicas have them.
    ///
    /// # Errors
    /// [`AskError`]: the cluster cannot be reached, or refuses. The records may have been written all the same.
    pub(crate) async fn send(&mut self, partition: i32, records: Vec<(String, Vec<u8>)>) -> Result<(), AskError> {
        let sent = self.try_send(partition, records).await;
        if sent.is_err() {
            self.known = None;
            self.open.clear();
        }
        sent
    }

    async fn try_send(&mut self, partition: i32, records: Vec<(String, Vec<u8>)>) -> Result<(), AskError> {
        self.partitions().await?;
        let topic = self.known.as_ref();
        let leader = topic.and_then(|topic| topic.leaders.get(&partition)).copied().unwrap_or(-1);
        let server = topic.and_then(|topic| topic.brokers.get(&leader));
        let Some(server) = server else {
            let why = format!("partition {partition} of {} has no leader now", self.topic);
            return Err(AskError::Metadata(why));
        };
        let mut conversation = match self.open.remove(&leader) {
            Some(conversation) => conversation,
            None => open(&self.access, std::slice::from_ref(server)).await?,
        };
        let request = request(&self.topic, partition, records).map_err(AskError::Metadata)?;
        let response: ProduceResponse = conversation.exchange(ApiKey::Produce, PRODUCE_VERSION_MAX, &request).await?;
        let answer = response.responses.first().and_then(|topic| topic.partition_responses.first());
        match answer.map(|answer| answer.error_code) {
            Some(0) => {
                self.open.insert(leader, conversation);
                Ok(())
            }
            Some(code) => {
                let name = tidegate_audit::json::kafka_error_name(code.into()).unwrap_or("an unknown error");
                Err(AskError::Metadata(format!("{} takes no record: {name} ({code})", self.topic)))
            }
            None => Err(AskError::Metadata("it names no partition".to_owned())),
        }
    }
}

/// Asks who leads the topic's partitions.
async fn ask(access: &Access, servers: &[Server], topic: &str) -> Result<Topic, AskError> {
    let mut conversation = open(access, servers).await?;
    let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
    let response: MetadataResponse = conversation.exchange(ApiKey::Metadata, METADATA_VERSION_MAX, &request).await?;
    let found = response.topics.first().filter(|topic| topic.error_code == 0 && !topic.partitions.is_empty());
    let Some(found) = found else {
        return Err(AskError::Metadata(format!("there is no topic {topic} that this login may write to; create it")));
    };
    let leaders = found.partitions.iter().map(|partition| (partition.partition_index, partition.leader_id.0));
    let brokers = super::resolve(brokers(&response)?, &Cluster::default()).await;
    Ok(Topic { leaders: leaders.collect(), brokers })
}

/// A conversation with the first of these servers that answers.
async fn open(access: &Access, servers: &[Server]) -> Result<Conversation, AskError> {
    let mut last = None;
    for server in servers {
        if server.addresses.is_empty() {
            last = Some(AskError::Metadata(format!("{}: the name does not resolve", server.host)));
        }
        for address in &server.addresses {
            match Conversation::open(access, server, *address).await {
                Ok(conversation) => return Ok(conversation),
                Err(error) => last = Some(error),
            }
        }
    }
    Err(last.unwrap_or_else(|| AskError::Metadata("no broker is known".to_owned())))
}

fn topic_name(topic: &str) -> TopicName {
    TopicName::from(StrBytes::from_string(topic.to_owned()))
}

fn request(topic: &str, partition: i32, records: Vec<(String, Vec<u8>)>) -> Result<ProduceRequest, String> {
    let timestamp = now().0 / 1000;
    let records: Vec<Record> = (0..)
        .zip(records)
        .map(|(offset, (key, value))| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset,
            // One batch: sequences go up with offsets, from what stands for none.
            sequence: NO_SEQUENCE.saturating_add(offset as i32),
            timestamp,
            key: Some(Bytes::from(key)),
            value: Some(Bytes::from(value)),
            headers: Default::default(),
        })
        .collect();
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut batch, &records, &options).map_err(|error| error.to_string())?;
    let partition = PartitionProduceData::default().with_index(partition).with_records(Some(batch.freeze()));
    let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![partition]);
    Ok(ProduceRequest::default().with_acks(-1).with_timeout_ms(ACKS_TIMEOUT_MILLIS).with_topic_data(vec![data]))
}
