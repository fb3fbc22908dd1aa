//! Records for raw Produce and Fetch requests.

use std::io::Write as _;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{BrokerId, FetchRequest, ProduceRequest};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};

use crate::kafka::topic_name;

/// When all records are said to be written, in milliseconds: one time, so that equal records make equal batches, and
/// a recent one, so that no broker takes them for older than it keeps.
static WRITTEN: LazyLock<i64> = LazyLock::new(|| jiff::Timestamp::now().as_millisecond());

/// A batch of records with these values, uncompressed.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    compressed_batch(values, Compression::None)
}

/// A batch of records with these values.
pub(crate) fn compressed_batch(values: &[&str], compression: Compression) -> Bytes {
    let records: Vec<Record> = values
        .iter()
        .enumerate()
        .map(|(offset, value)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            timestamp_type: TimestampType::Creation,
            offset: offset as i64,
            sequence: if NO_SEQUENCE < 0 { NO_SEQUENCE + offset as i32 } else { offset as i32 },
            timestamp: *WRITTEN,
            key: None,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: Default::default(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    // kafka-protocol is built without codecs; the only one that the tests need is gzip.
    let gzip = |plain: &mut BytesMut, out: &mut BytesMut, _: Compression| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(plain)?;
        out.extend_from_slice(&encoder.finish()?);
        Ok(())
    };
    let options = RecordEncodeOptions { version: 2, compression };
    match compression {
        Compression::None => RecordBatchEncoder::encode(&mut bytes, &records, &options),
        _ => RecordBatchEncoder::encode_with_custom_compression(&mut bytes, &records, &options, Some(gzip)),
    }
    .unwrap();
    bytes.freeze()
}

/// A Produce of one batch to partition 0 of each topic.
pub(crate) fn produce(topics: &[&str], records: Bytes) -> ProduceRequest {
    let data = topics.iter().map(|&topic| {
        let partition = PartitionProduceData::default().with_index(0).with_records(Some(records.clone()));
        TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![partition])
    });
    ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(data.collect())
}

/// A sessionless Fetch of partition 0 of each topic, from the beginning. It waits for nothing.
pub(crate) fn fetch(topics: &[&str]) -> FetchRequest {
    let topics = topics.iter().map(|&topic| {
        let partition = FetchPartition::default()
            .with_partition(0)
            .with_fetch_offset(0)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(1024 * 1024);
        FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition])
    });
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(50 * 1024 * 1024)
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(topics.collect())
}
