//! The simulated broker: answers in order, late and in pieces, and looks at what reaches it.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, FetchRequest, FetchResponse, HeartbeatResponse, MetadataRequest,
    MetadataResponse, ProduceRequest, ProduceResponse,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use tidegate_core::batch::build::BatchBuilder;
use tidegate_core::header::{self, RequestHeader};
use uuid::Uuid;

use super::super::session::Session;
use super::super::versions::UpstreamVersions;
use super::Chance;
use super::client::{FETCH, HEARTBEAT, METADATA, PRODUCE, TOPICS, encoded, name};

/// No frame of the simulation is larger.
pub(super) const FRAME_BYTES_MAX: usize = 16 * 1024;

#[derive(Default)]
pub(in super::super) struct Broker {
    waiting: VecDeque<Bytes>,
    outgoing: BytesMut,
}

impl Broker {
    /// What it offers.
    pub(in super::super) fn versions() -> UpstreamVersions {
        let offered = [
            (ApiKey::ApiVersions, 3),
            (ApiKey::Metadata, METADATA),
            (ApiKey::Produce, PRODUCE),
            (ApiKey::Fetch, FETCH),
            (ApiKey::Heartbeat, HEARTBEAT),
        ];
        let ranges: BTreeMap<i16, (i16, i16)> = offered.iter().map(|(api, max)| (*api as i16, (0, *max))).collect();
        UpstreamVersions::from_ranges(ranges)
    }

    /// Takes what the gateway sent, and checks that it should have.
    pub(in super::super) fn take(&mut self, session: &mut Session, seed: u64) {
        while let Some((frame, _)) = session.to_upstream.pop(u64::MAX) {
            let header = RequestHeader::parse(&frame).expect("the gateway sends whole headers");
            if header.api == ApiKey::Produce {
                let mut body = frame.slice(header.body_start..);
                let request = ProduceRequest::decode(&mut body, header.version).expect("Produce");
                for topic in &request.topic_data {
                    let records = topic.partition_data[0].records.clone().unwrap_or_default();
                    let text = String::from_utf8_lossy(&records);
                    let topic = topic.name.0.as_str();
                    assert_ne!(topic, "secret", "seed {seed}: a denied topic was written");
                    let card = text.contains("4111111111111111");
                    assert_eq!(card, topic != "logs", "seed {seed}: a card number in {topic}");
                }
            }
            if header.api == ApiKey::Fetch {
                let mut body = frame.slice(header.body_start..);
                let request = FetchRequest::decode(&mut body, header.version).expect("Fetch");
                assert!(
                    request.topics.iter().all(|topic| topic.topic.0.as_str() != "secret"),
                    "seed {seed}: asked for"
                );
            }
            self.waiting.push_back(frame);
        }
    }

    /// The answers to everything taken so far.
    pub(in super::super) fn answer_all(&mut self) -> Bytes {
        let mut chance = Chance(0);
        for frame in self.waiting.drain(..) {
            let answer = response(&frame, &mut chance);
            self.outgoing.extend_from_slice(&answer);
        }
        self.outgoing.split().freeze()
    }

    /// Answers the next request, or sends a piece of what was answered before.
    pub(super) fn answer(&mut self, chance: &mut Chance, session: &mut Session) {
        if let Some(frame) = self.waiting.pop_front() {
            let answer = response(&frame, chance);
            self.outgoing.extend_from_slice(&answer);
        }
        let piece = chance.below(self.outgoing.len() + 1);
        session.from_upstream.extend(&self.outgoing.split_to(piece));
    }
}

pub(in super::super) fn response(frame: &Bytes, chance: &mut Chance) -> Bytes {
    let RequestHeader { api, version, correlation_id, body_start, .. } =
        RequestHeader::parse(frame).expect("checked when taken");
    let mut body = frame.slice(body_start..);
    let answer = match api {
        ApiKey::ApiVersions => encoded(&versions_response(), version),
        ApiKey::Metadata => {
            let request = MetadataRequest::decode(&mut body, version).expect("Metadata");
            encoded(&metadata_response(&request), version)
        }
        ApiKey::Produce => {
            let request = ProduceRequest::decode(&mut body, version).expect("Produce");
            encoded(&produce_response(&request), version)
        }
        ApiKey::Fetch => {
            let request = FetchRequest::decode(&mut body, version).expect("Fetch");
            encoded(&fetch_response(&request, chance), version)
        }
        _ => encoded(&HeartbeatResponse::default(), version),
    };
    header::response_frame(correlation_id, api, version, &answer)
}

fn versions_response() -> ApiVersionsResponse {
    let keys = Broker::versions()
        .ranges()
        .iter()
        .map(|(key, (min, max))| ApiVersion::default().with_api_key(*key).with_min_version(*min).with_max_version(*max))
        .collect();
    ApiVersionsResponse::default().with_api_keys(keys)
}

fn metadata_response(request: &MetadataRequest) -> MetadataResponse {
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(StrBytes::from_static_str("broker"))
        .with_port(9092);
    let wanted: Vec<&'static str> = match &request.topics {
        Some(topics) => TOPICS
            .into_iter()
            .filter(|known| {
                topics.iter().any(|topic| topic.name.as_ref().is_some_and(|name| name.0.as_str() == *known))
            })
            .collect(),
        None => TOPICS.to_vec(),
    };
    let topics = wanted.into_iter().map(|topic| {
        let partition = MetadataResponsePartition::default().with_leader_id(BrokerId(1));
        MetadataResponseTopic::default()
            .with_name(Some(name(topic)))
            .with_topic_id(Uuid::from_u128(1 + topic.len() as u128))
            .with_partitions(vec![partition])
    });
    MetadataResponse::default().with_brokers(vec![broker]).with_topics(topics.collect())
}

fn produce_response(request: &ProduceRequest) -> ProduceResponse {
    let responses = request.topic_data.iter().map(|topic| {
        let partition = PartitionProduceResponse::default().with_base_offset(7);
        TopicProduceResponse::default().with_name(topic.name.clone()).with_partition_responses(vec![partition])
    });
    ProduceResponse::default().with_responses(responses.collect())
}

fn fetch_response(request: &FetchRequest, chance: &mut Chance) -> FetchResponse {
    let responses = request.topics.iter().map(|topic| {
        let count = chance.below(4);
        let mut batch = BatchBuilder::new(100);
        for number in 0..count {
            let value = format!(r#"{{"n":{number},"mail":"person{number}@example.com"}}"#);
            batch = batch.record(None, Some(value.as_bytes()));
        }
        let records = if count > 0 { batch.build().expect("a batch") } else { Bytes::new() };
        let partition = PartitionData::default().with_high_watermark(200).with_records(Some(records));
        FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(vec![partition])
    });
    FetchResponse::default().with_responses(responses.collect())
}
