//! The simulated client: asks at random, and checks all that it is told.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, GroupId, HeartbeatRequest, HeartbeatResponse, MetadataRequest,
    MetadataResponse, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tidegate_core::batch::build::BatchBuilder;
use tidegate_core::header;

use super::super::session::Session;
use super::super::shard::Shard;
use super::{Chance, Totals};

pub(super) const TOPICS: [&str; 3] = ["orders", "logs", "secret"];
/// Kafka's TOPIC_AUTHORIZATION_FAILED.
const DENIED: i16 = 29;

pub(super) const METADATA: i16 = 12;
pub(super) const PRODUCE: i16 = 9;
pub(in super::super) const FETCH: i16 = 12;
pub(in super::super) const HEARTBEAT: i16 = 4;

struct Asked {
    correlation_id: i32,
    api: ApiKey,
    topic: &'static str,
    /// `orders` was granted at some moment since it was asked.
    orders_granted: bool,
}

pub(super) struct Client {
    next_id: i32,
    /// Bytes that wait for being sent: they arrive in pieces.
    outgoing: BytesMut,
    asked: VecDeque<Asked>,
    orders_granted: bool,
    broken: bool,
}

impl Client {
    pub(super) fn new(seed: u64) -> Self {
        let next_id = i32::try_from(seed % 1000).unwrap_or(0) * 1000;
        Self { next_id, outgoing: BytesMut::new(), asked: VecDeque::new(), orders_granted: true, broken: false }
    }

    pub(super) fn policy_changed(&mut self, granted: bool) {
        self.orders_granted = granted;
        for asked in &mut self.asked {
            asked.orders_granted |= granted;
        }
    }

    /// Asks something, or sends a piece of what was asked before.
    pub(super) fn ask(&mut self, chance: &mut Chance, session: &mut Session) {
        if !self.broken && chance.once_in(2) {
            self.compose(chance);
        }
        let piece = chance.below(self.outgoing.len() + 1);
        session.from_client.extend(&self.outgoing.split_to(piece));
    }

    fn compose(&mut self, chance: &mut Chance) {
        self.next_id += 1;
        let topic = TOPICS[chance.below(TOPICS.len())];
        let (api, version, body) = match chance.below(4) {
            0 => (ApiKey::Metadata, METADATA, encoded(&metadata(topic), METADATA)),
            1 => (ApiKey::Produce, PRODUCE, encoded(&produce(topic, chance), PRODUCE)),
            2 => (ApiKey::Fetch, FETCH, encoded(&fetch(topic), FETCH)),
            _ => (ApiKey::Heartbeat, HEARTBEAT, encoded(&heartbeat(), HEARTBEAT)),
        };
        self.outgoing.extend_from_slice(&header::request_frame(self.next_id, api, version, "simulated", &body));
        self.asked.push_back(Asked { correlation_id: self.next_id, api, topic, orders_granted: self.orders_granted });
    }

    /// Bytes that are no request; after them nothing more is expected to be answered.
    pub(super) fn garbage(&mut self, chance: &mut Chance, session: &mut Session) {
        session.from_client.extend(&self.outgoing.split());
        let bytes: Vec<u8> = (0..1 + chance.below(64)).map(|_| chance.next().to_le_bytes()[0]).collect();
        session.from_client.extend(&bytes);
        self.broken = true;
    }

    /// Takes what may leave, and checks it against what was asked.
    pub(super) fn read(&mut self, shard: &Shard, session: &mut Session, totals: &mut Totals, seed: u64) {
        let committed = shard.evidence.committed();
        while let Some((frame, sequence)) = session.to_client.pop(committed) {
            assert!(sequence > 0 && sequence <= committed, "seed {seed}: released before its evidence");
            let asked = self.asked.pop_front().unwrap_or_else(|| panic!("seed {seed}: an answer to nothing"));
            let id = header::response_correlation_id(&frame);
            assert_eq!(id, Some(asked.correlation_id), "seed {seed}: out of order ({:?})", asked.api);
            check(&asked, &frame, totals, seed);
            totals.answered += 1;
        }
    }
}

fn check(asked: &Asked, frame: &Bytes, totals: &mut Totals, seed: u64) {
    let version = match asked.api {
        ApiKey::Metadata => METADATA,
        ApiKey::Produce => PRODUCE,
        ApiKey::Fetch => FETCH,
        _ => HEARTBEAT,
    };
    let start = header::response_body_start(frame, asked.api, version).expect("a header");
    let mut body = frame.slice(start..);
    let ungranted = asked.topic == "secret" || (asked.topic == "orders" && !asked.orders_granted);
    match asked.api {
        ApiKey::Metadata => {
            let response = MetadataResponse::decode(&mut body, version).expect("Metadata");
            for broker in &response.brokers {
                assert_eq!(&*broker.host, "gw", "seed {seed}: a broker's address leaked");
            }
            let code = response.topics.first().map_or(0, |topic| topic.error_code);
            expect(ungranted, code, asked, seed);
            totals.denied += usize::from(code == DENIED);
        }
        ApiKey::Produce => {
            let response = ProduceResponse::decode(&mut body, version).expect("Produce");
            let code = response.responses[0].partition_responses[0].error_code;
            expect(ungranted, code, asked, seed);
            totals.denied += usize::from(code == DENIED);
        }
        ApiKey::Fetch => {
            let response = FetchResponse::decode(&mut body, version).expect("Fetch");
            let partition = &response.responses[0].partitions[0];
            expect(ungranted, partition.error_code, asked, seed);
            let records = partition.records.clone().unwrap_or_default();
            let text = String::from_utf8_lossy(&records);
            assert!(!ungranted || records.is_empty(), "seed {seed}: records of {}", asked.topic);
            assert!(!text.contains("@example.com"), "seed {seed}: an e-mail address in clear");
            totals.records_read += usize::from(!records.is_empty());
            totals.masked += text.matches("[email]").count();
        }
        _ => {
            HeartbeatResponse::decode(&mut body, version).expect("Heartbeat");
        }
    }
}

fn expect(ungranted: bool, code: i16, asked: &Asked, seed: u64) {
    if ungranted {
        assert_eq!(code, DENIED, "seed {seed}: {:?} of {} was not denied", asked.api, asked.topic);
    } else if asked.topic == "logs" {
        assert_eq!(code, 0, "seed {seed}: {:?} of {} was denied", asked.api, asked.topic);
    }
}

pub(in super::super) fn encoded(message: &impl Encodable, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).expect("a message of ours");
    body.freeze()
}

pub(in super::super) fn name(topic: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(topic))
}

fn metadata(topic: &'static str) -> MetadataRequest {
    MetadataRequest::default()
        .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name(topic)))]))
        .with_allow_auto_topic_creation(false)
}

fn produce(topic: &'static str, chance: &mut Chance) -> ProduceRequest {
    let value = format!(r#"{{"card":"4111111111111111","pad":"{}"}}"#, "x".repeat(chance.below(200)));
    let records = BatchBuilder::new(0).record(None, Some(value.as_bytes())).build().expect("a batch");
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(records));
    ProduceRequest::default()
        .with_acks(1)
        .with_timeout_ms(1000)
        .with_topic_data(vec![TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![partition])])
}

fn fetch(topic: &'static str) -> FetchRequest {
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 20);
    FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition])])
}

fn heartbeat() -> HeartbeatRequest {
    HeartbeatRequest::default().with_group_id(GroupId(StrBytes::from_static_str("g")))
}
