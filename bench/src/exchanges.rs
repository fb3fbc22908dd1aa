//! Exchanges as clients and brokers put them on the wire: what the `pipeline` bench relays.

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, GroupId, HeartbeatRequest, HeartbeatResponse, ProduceRequest, ProduceResponse,
    TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_core::batch::Codec;
use tidegate_core::batch::build::{BatchBuilder, OwnedRecord};
use tidegate_core::decode::encode;
use tidegate_core::header;
use uuid::Uuid;

use crate::payloads::{Content, value};

/// The topic of every exchange.
pub const TOPIC: &str = "orders";
/// Its id.
pub const TOPIC_ID: Uuid = Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
/// What the exchanges are allowed by: nine grants, of which the last counts, and masks of the
/// classes that most policies name.
pub const POLICY: &str = "version: 1\n\
grants:\n  - {name: everybody-orders, purpose: order processing, principals: [ANONYMOUS], operations: [read, write], resources: [{topic: orders}, {group: g}]}\n\
masks:\n  - {name: contacts, topics: [orders], everyone: true, directions: [produce, fetch], classes: [email, phone, payment_card, iban, ipv4], operator: redact}\n";
/// The same rights, and nothing to mask.
pub const POLICY_WITHOUT_MASKS: &str = "version: 1\n\
grants:\n  - {name: everybody-orders, purpose: order processing, principals: [ANONYMOUS], operations: [read, write], resources: [{topic: orders}, {group: g}]}\n";

const CORRELATION_ID: i32 = 7;

/// A request and its response, as frames.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The client's frame.
    pub request: Bytes,
    /// The broker's.
    pub response: Bytes,
}

impl Exchange {
    fn new(api: ApiKey, version: i16, request: &impl Encodable, response: &impl Encodable) -> Self {
        let request = encode(request, version).expect("the message has this version");
        let response = encode(response, version).expect("the message has this version");
        Self {
            request: header::request_frame(CORRELATION_ID, api, version, "producer-orders-1", &request),
            response: header::response_frame(CORRELATION_ID, api, version, &response),
        }
    }

    /// `depth` of them, one behind the other, as they arrive when they are pipelined.
    #[must_use]
    pub fn pipelined(&self, depth: usize) -> Self {
        Self { request: self.request.repeat(depth).into(), response: self.response.repeat(depth).into() }
    }
}

/// A batch whose records have `value_bytes` in all, at least one.
#[must_use]
pub fn records(value_bytes: usize, content: Content, codec: Codec) -> Bytes {
    let (mut records, mut left) = (Vec::new(), value_bytes);
    while left > 0 || records.is_empty() {
        let index = records.len();
        let mut value = value(index, content);
        value.truncate(left.max(16));
        left -= value.len().min(left);
        records.push(OwnedRecord {
            offset_delta: index as i32,
            timestamp_delta_millis: index as i64,
            key: Some(index.to_string().into_bytes()),
            value: Some(value),
            headers: Vec::new(),
        });
    }
    let batch = BatchBuilder { codec, base_timestamp_millis: 1_700_000_000_000, records, ..BatchBuilder::default() };
    batch.build().expect("the batch is within the format's bounds")
}

/// A Produce of one batch. From version 13 on the topic is named by its id.
#[must_use]
pub fn produce(version: i16, records: Bytes) -> Exchange {
    let (name, id) = named(version >= 13);
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let topic =
        TopicProduceData::default().with_name(name.clone()).with_topic_id(id).with_partition_data(vec![partition]);
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    let partition = PartitionProduceResponse::default().with_index(0).with_base_offset(4711);
    let topic =
        TopicProduceResponse::default().with_name(name).with_topic_id(id).with_partition_responses(vec![partition]);
    Exchange::new(ApiKey::Produce, version, &request, &ProduceResponse::default().with_responses(vec![topic]))
}

/// A sessionless Fetch of one batch. From version 13 on the topic is named by its id.
#[must_use]
pub fn fetch(version: i16, records: Bytes) -> Exchange {
    let (name, id) = named(version >= 13);
    let partition =
        FetchPartition::default().with_partition(0).with_fetch_offset(4711).with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic(name.clone()).with_topic_id(id).with_partitions(vec![partition]);
    let request = FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_topics(vec![topic]);
    let partition =
        PartitionData::default().with_partition_index(0).with_high_watermark(9999).with_records(Some(records));
    let topic = FetchableTopicResponse::default().with_topic(name).with_topic_id(id).with_partitions(vec![partition]);
    Exchange::new(ApiKey::Fetch, version, &request, &FetchResponse::default().with_responses(vec![topic]))
}

/// A group member's sign of life: what is inspected but carries no records.
#[must_use]
pub fn heartbeat() -> Exchange {
    let request = HeartbeatRequest::default().with_group_id(GroupId(StrBytes::from_static_str("g")));
    Exchange::new(ApiKey::Heartbeat, 4, &request, &HeartbeatResponse::default())
}

fn named(by_id: bool) -> (TopicName, Uuid) {
    if by_id { (TopicName::default(), TOPIC_ID) } else { (TopicName(StrBytes::from_static_str(TOPIC)), Uuid::nil()) }
}
