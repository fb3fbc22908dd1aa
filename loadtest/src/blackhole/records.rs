//! Produce and Fetch, the two that carry records: decoded with `kafka-protocol`, answered by hand
//! where the answer is large.

use std::task::Waker;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ApiKey, FetchRequest, ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::Decodable as _;
use tidegate_core::decode::encode;
use tidegate_core::header::response_frame;

use super::cluster::{Cluster, PREPARED_RECORDS, Partition, Serves};
use crate::payload::Identity;
use crate::wire::unsigned_varint;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_ID: i16 = 100;

/// The first Fetch version that names topics by id.
const IDS_FROM: i16 = 13;

/// Takes a Produce request and appends its answer; `None` where it cannot be read.
pub(super) fn produce(
    cluster: &Cluster,
    mut body: Bytes,
    version: i16,
    correlation: i32,
    out: &mut Vec<u8>,
) -> Option<()> {
    let request = ProduceRequest::decode(&mut body, version).ok()?;
    let mut response = ProduceResponse::default();
    for topic_data in &request.topic_data {
        let topic = match version {
            IDS_FROM.. => cluster.topic_by_id(topic_data.topic_id.as_bytes()),
            _ => cluster.topic(&topic_data.name.0, true),
        };
        let mut answer = TopicProduceResponse::default();
        answer.name = topic_data.name.clone();
        answer.topic_id = topic_data.topic_id;
        for data in &topic_data.partition_data {
            let mut one = PartitionProduceResponse::default().with_index(data.index).with_log_append_time_ms(-1);
            let partition = topic.as_ref().and_then(|topic| Some((topic, topic.partition(data.index)?)));
            let records = data.records.as_ref();
            let appended = match (partition, records) {
                (Some((topic, partition)), Some(records)) => partition.append(&topic.name, records, cluster),
                (Some(_), None) => Ok(-1),
                (None, _) if version >= IDS_FROM => Err(UNKNOWN_TOPIC_ID),
                (None, _) => Err(UNKNOWN_TOPIC_OR_PARTITION),
            };
            match appended {
                Ok(offset) => one.base_offset = offset,
                Err(code) => {
                    one.error_code = code;
                    one.base_offset = -1;
                }
            }
            answer.partition_responses.push(one);
        }
        response.responses.push(answer);
    }
    if request.acks != 0 {
        let body = encode(&response, version).ok()?;
        out.extend_from_slice(&response_frame(correlation, ApiKey::Produce, version, &body));
    }
    Some(())
}

/// A Fetch under way.
pub(super) struct Fetching {
    request: FetchRequest,
    version: i16,
    correlation: i32,
}

impl Fetching {
    pub(super) fn read(mut body: Bytes, version: i16, correlation: i32) -> Option<Self> {
        Some(Self { request: FetchRequest::decode(&mut body, version).ok()?, version, correlation })
    }

    /// How long it may wait for data, in milliseconds.
    pub(super) fn wait_millis(&self) -> u64 {
        u64::try_from(self.request.max_wait_ms).unwrap_or(0)
    }

    /// Appends the answer. Where there is no data and it `may_wait`, nothing is appended, `waker` is
    /// called when there may be, and the result is false.
    pub(super) fn answer(&self, cluster: &Cluster, may_wait: Option<&Waker>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let flexible = self.version >= 12;
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.correlation.to_be_bytes());
        if flexible {
            out.push(0);
        }
        out.extend_from_slice(&0i32.to_be_bytes()); // throttle time
        if self.version >= 7 {
            out.extend_from_slice(&0i16.to_be_bytes());
            out.extend_from_slice(&0i32.to_be_bytes()); // no session
        }
        count(out, self.request.topics.len(), flexible);
        let mut left = usize::try_from(self.request.max_bytes).unwrap_or(0);
        let mut any = false;
        for topic in &self.request.topics {
            any |= self.answer_topic(cluster, topic, &mut left, out);
        }
        if flexible {
            out.push(0);
        }
        if !any && let Some(waker) = may_wait {
            out.truncate(start);
            // Data that came since would have woken nobody, so look once more.
            self.wait_for_data(cluster, waker);
            return false;
        }
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        true
    }

    fn answer_topic(&self, cluster: &Cluster, topic: &FetchTopic, left: &mut usize, out: &mut Vec<u8>) -> bool {
        let flexible = self.version >= 12;
        let by_id = self.version >= IDS_FROM;
        let found =
            if by_id { cluster.topic_by_id(topic.topic_id.as_bytes()) } else { cluster.topic(&topic.topic.0, false) };
        if by_id {
            out.extend_from_slice(topic.topic_id.as_bytes());
        } else if flexible {
            count(out, topic.topic.0.len(), true);
            out.extend_from_slice(topic.topic.0.as_bytes());
        } else {
            out.extend_from_slice(&(topic.topic.0.len() as i16).to_be_bytes());
            out.extend_from_slice(topic.topic.0.as_bytes());
        }
        count(out, topic.partitions.len(), flexible);
        let mut any = false;
        for asked in &topic.partitions {
            let partition = found.as_ref().and_then(|topic| topic.partition(asked.partition));
            let unknown = if by_id && found.is_none() { UNKNOWN_TOPIC_ID } else { UNKNOWN_TOPIC_OR_PARTITION };
            any |= self.answer_partition(cluster, partition, unknown, asked, left, out);
        }
        if flexible {
            out.push(0);
        }
        any
    }

    /// Appends one partition; whether there is anything to tell.
    fn answer_partition(
        &self,
        cluster: &Cluster,
        partition: Option<&Partition>,
        unknown: i16,
        asked: &FetchPartition,
        left: &mut usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let flexible = self.version >= 12;
        let log = partition.map(Partition::log);
        let (start, end) = match (cluster.serves, &log) {
            (Serves::Prepared, _) => (0, PREPARED_RECORDS),
            (Serves::Kept { .. }, Some(log)) => (log.start, log.next),
            (Serves::Kept { .. }, None) => (0, 0),
        };
        let error = match partition {
            None => unknown,
            Some(_) if !(start..=end).contains(&asked.fetch_offset) => OFFSET_OUT_OF_RANGE,
            Some(_) => 0,
        };
        out.extend_from_slice(&asked.partition.to_be_bytes());
        out.extend_from_slice(&error.to_be_bytes());
        out.extend_from_slice(&(if error == unknown { -1 } else { end }).to_be_bytes());
        out.extend_from_slice(&(if error == unknown { -1 } else { end }).to_be_bytes()); // last stable offset
        if self.version >= 5 {
            out.extend_from_slice(&start.to_be_bytes());
        }
        count(out, 0, flexible); // no aborted transactions
        if self.version >= 11 {
            out.extend_from_slice(&(-1i32).to_be_bytes());
        }
        // The length comes before the bytes: room for it in full, as a padded varint or as an i32.
        let length_at = out.len();
        out.extend_from_slice(if flexible { &[0; 5] } else { &[0; 4] });
        let records_at = out.len();
        let bytes_max = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(*left);
        if let (Some(partition), 0) = (partition, error) {
            match cluster.serves {
                Serves::Prepared => put_prepared(cluster, partition, asked.fetch_offset, bytes_max, out),
                Serves::Kept { .. } => {
                    for batch in log.iter().flat_map(|log| log.from(asked.fetch_offset)) {
                        let taken = out.len() - records_at;
                        if taken > 0 && taken + batch.len() > bytes_max {
                            break;
                        }
                        out.extend_from_slice(batch);
                    }
                }
            }
        }
        let length = out.len() - records_at;
        *left = left.saturating_sub(length);
        if flexible {
            out[length_at..records_at].copy_from_slice(&padded_varint(length as u32 + 1));
            out.push(0);
        } else {
            out[length_at..records_at].copy_from_slice(&(length as i32).to_be_bytes());
        }
        length > 0 || error != 0
    }

    fn wait_for_data(&self, cluster: &Cluster, waker: &Waker) {
        for topic in &self.request.topics {
            let found = match self.version {
                IDS_FROM.. => cluster.topic_by_id(topic.topic_id.as_bytes()),
                _ => cluster.topic(&topic.topic.0, false),
            };
            for asked in &topic.partitions {
                if let Some(partition) = found.as_ref().and_then(|topic| topic.partition(asked.partition)) {
                    let mut log = partition.log();
                    if asked.fetch_offset < log.next {
                        waker.wake_by_ref();
                    } else {
                        log.waiting.push(waker.clone());
                    }
                }
            }
        }
    }
}

/// Appends prepared batches from the one that holds `offset` on: at least one, else up to `bytes_max`.
fn put_prepared(cluster: &Cluster, partition: &Partition, offset: i64, bytes_max: usize, out: &mut Vec<u8>) {
    let each = i64::from(cluster.pool.records_per_batch());
    let before = out.len();
    let mut number = offset / each;
    loop {
        let identity = prepared(partition.prepared_writer, number);
        let bytes = cluster.pool.batch(identity.number()).bytes.len();
        let taken = out.len() - before;
        if taken > 0 && taken + bytes > bytes_max {
            return;
        }
        cluster.pool.put(identity.number(), number * each, identity.timestamp(), out);
        number += 1;
    }
}

/// Who the `number`th batch of a prepared partition says it is from.
pub(crate) fn prepared(writer: u32, number: i64) -> Identity {
    Identity { writer, sequence: (number % i64::from(Identity::SEQUENCES)) as u32 }
}

fn count(out: &mut Vec<u8>, count: usize, flexible: bool) {
    if flexible {
        unsigned_varint(out, count as u32 + 1);
    } else {
        out.extend_from_slice(&(count as i32).to_be_bytes());
    }
}

/// A varint of five bytes, whatever its value: every reader takes it.
fn padded_varint(value: u32) -> [u8; 5] {
    [
        value as u8 | 0x80,
        (value >> 7) as u8 | 0x80,
        (value >> 14) as u8 | 0x80,
        (value >> 21) as u8 | 0x80,
        (value >> 28) as u8,
    ]
}
