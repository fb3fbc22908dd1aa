//! Writing records to a topic of the upstream, with the gateway's own login: for what the control plane publishes.
//! One conversation per call; nothing here is per record of a client.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, MetadataRequest, ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};

use super::ask::{AskError, Conversation};
use crate::config::Config;
use crate::control::now;
use crate::shared::Shared;

/// The highest versions that are spoken: from Produce 13 on a topic is named by its id.
const PRODUCE_VERSION_MAX: i16 = 11;
const METADATA_VERSION_MAX: i16 = 12;
/// How long the leader may wait for its followers, in milliseconds.
const ACKS_TIMEOUT_MILLIS: i32 = 10_000;

/// Writes records (key, value) to partition 0 of a topic, which must exist, and waits until all in-sync replicas
/// have them.
///
/// # Errors
/// [`AskError`]: the upstream cannot be reached, or refuses.
pub(in crate::control) async fn produce(
    config: &Config,
    shared: &Shared,
    topic: &str,
    records: Vec<(String, Vec<u8>)>,
) -> Result<(), AskError> {
    let leader = leader(config, shared, topic).await?;
    let mut conversation = open(config, shared, Some(leader)).await?;
    let request = request(topic, records).map_err(AskError::Metadata)?;
    let response: ProduceResponse = conversation.exchange(ApiKey::Produce, PRODUCE_VERSION_MAX, &request).await?;
    let partition = response.responses.first().and_then(|topic| topic.partition_responses.first());
    match partition.map(|partition| partition.error_code) {
        Some(0) => Ok(()),
        Some(code) => {
            let name = tidegate_audit::json::kafka_error_name(code.into()).unwrap_or("an unknown error");
            Err(AskError::Metadata(format!("{topic} takes no record: {name} ({code})")))
        }
        None => Err(AskError::Metadata("it names no partition".to_owned())),
    }
}

/// The node that leads partition 0.
async fn leader(config: &Config, shared: &Shared, topic: &str) -> Result<i32, AskError> {
    let mut conversation = open(config, shared, None).await?;
    let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
    let response: kafka_protocol::messages::MetadataResponse =
        conversation.exchange(ApiKey::Metadata, METADATA_VERSION_MAX, &request).await?;
    let found = response.topics.first().filter(|topic| topic.error_code == 0);
    let partition = found.and_then(|topic| topic.partitions.iter().find(|partition| partition.partition_index == 0));
    match partition {
        Some(partition) if partition.leader_id.0 >= 0 => Ok(partition.leader_id.0),
        Some(_) => Err(AskError::Metadata(format!("partition 0 of {topic} has no leader now"))),
        None => Err(AskError::Metadata(format!("there is no topic {topic} that the gateway may write to; create it"))),
    }
}

/// A conversation with a node, or with any.
async fn open(config: &Config, shared: &Shared, node: Option<i32>) -> Result<Conversation, AskError> {
    let cluster = shared.cluster.load_full();
    let servers = cluster.brokers.iter().filter(|(id, _)| node.is_none_or(|node| node == **id));
    let mut last = None;
    for (_, server) in servers {
        for address in &server.addresses {
            match Conversation::open(config, shared, server, *address).await {
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

fn request(topic: &str, records: Vec<(String, Vec<u8>)>) -> Result<ProduceRequest, String> {
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
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch.freeze()));
    let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![partition]);
    Ok(ProduceRequest::default().with_acks(-1).with_timeout_ms(ACKS_TIMEOUT_MILLIS).with_topic_data(vec![data]))
}
