//! Produce: partial denial, masking, the same bytes, acks=0, ids, and batches that are not sound.

use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    NodeEndpoint, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use super::*;

const VERSIONS: std::ops::RangeInclusive<i16> = 3..=13;

fn topic_id(name: &str) -> Uuid {
    let known = ["orders", "shop.a", "secret", "split", "brief"];
    id(known.iter().position(|n| *n == name).map_or(99, |n| n as u128 + 1))
}

/// A request for these partitions.
fn produce(version: i16, partitions: &[(&str, i32, Bytes)]) -> ProduceRequest {
    let mut request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000);
    for (name, partition, records) in partitions {
        let mut topic = TopicProduceData::default().with_partition_data(vec![
            PartitionProduceData::default().with_index(*partition).with_records(Some(records.clone())),
        ]);
        if version >= 13 {
            topic.topic_id = topic_id(name);
        } else {
            topic.name = TopicName(StrBytes::from_string((*name).to_owned()));
        }
        request.topic_data.push(topic);
    }
    request
}

/// What a broker answers to what it was sent: offsets from 100 on.
fn broker(request: &ProduceRequest) -> ProduceResponse {
    let mut response = ProduceResponse::default().with_throttle_time_ms(3);
    for topic in &request.topic_data {
        let partitions = topic.partition_data.iter();
        response.responses.push(
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partition_responses(
                    partitions
                        .map(|p| PartitionProduceResponse::default().with_index(p.index).with_base_offset(100))
                        .collect(),
                ),
        );
    }
    response
}

/// Name or id, partition and error of each partition of a response.
fn outcomes(response: &ProduceResponse) -> Vec<(String, i32, i16)> {
    let mut found = Vec::new();
    for topic in &response.responses {
        let name = if topic.name.is_empty() { topic.topic_id.as_u128().to_string() } else { topic.name.to_string() };
        found.extend(topic.partition_responses.iter().map(|p| (name.clone(), p.index, p.error_code)));
    }
    found.sort();
    found
}

#[test]
fn what_nothing_changes_is_forwarded_as_the_very_bytes_in_every_version() {
    for version in VERSIONS {
        let mut world = World::new();
        let sent = produce(version, &[("orders", 0, batch(&[PLAIN])), ("shop.a", 3, batch(&[PERSONAL, PLAIN]))]);
        let (asked, mut draft) = world.ask(ApiKey::Produce, version, &sent);
        assert!(matches!(asked.verdict, Verdict::ForwardThen(_)), "v{version}: {}", describe(&asked.verdict));
        let response = broker(&sent);
        assert!(world.respond(asked, &response, &mut draft).is_none(), "v{version}");
        assert_eq!(resources(&draft), ["+write orders-0 1", "+write shop.a-3 2"], "v{version}");
        let offsets: Vec<_> = draft.resources.iter().map(|r| (r.first_offset, r.last_offset)).collect();
        assert_eq!(offsets, [(Some(100), Some(100)), (Some(100), Some(101))], "v{version}");
        assert_eq!(draft.resources[0].bytes, batch(&[PLAIN]).len() as u64);
        assert_eq!(draft.resources[0].rule, "alice-orders");
    }
}

#[test]
fn denied_partitions_are_taken_out_and_merged_into_the_response() {
    for version in VERSIONS {
        let mut world = World::new();
        let clean = batch(&[PLAIN]);
        let sent = produce(
            version,
            &[
                ("secret", 0, clean.clone()),
                ("orders", 1, clean.clone()),
                ("split", 1, clean.clone()),
                ("split", 2, clean.clone()),
            ],
        );
        let (asked, mut draft) = world.ask(ApiKey::Produce, version, &sent);
        let (forwarded, as_it_is) = asked.forwarded::<ProduceRequest>();
        assert!(!as_it_is);
        let names: Vec<i32> =
            forwarded.topic_data.iter().flat_map(|t| t.partition_data.iter().map(|p| p.index)).collect();
        assert_eq!(names, [1, 1], "v{version}");
        assert_eq!((forwarded.acks, forwarded.timeout_ms), (-1, 1000));
        let response = world.respond(asked, &broker(&forwarded), &mut draft).unwrap();
        let denied = E::TopicAuthorizationFailed.code();
        let name = |n: &str| if version >= 13 { topic_id(n).as_u128().to_string() } else { n.to_owned() };
        let mut expected = vec![
            (name("orders"), 1, 0),
            (name("secret"), 0, denied),
            (name("split"), 1, 0),
            (name("split"), 2, denied),
        ];
        expected.sort();
        assert_eq!(outcomes(&response), expected, "v{version}");
        assert_eq!(response.throttle_time_ms, 3);
        let refused = response.responses.iter().flat_map(|t| &t.partition_responses).find(|p| p.error_code != 0);
        assert_eq!(refused.unwrap().base_offset, -1);
        assert_eq!(
            resources(&draft),
            ["-write secret-0 0", "+write orders-1 1", "+write split-1 1", "-write split-2 0"]
        );
    }
}

#[test]
fn a_request_that_is_denied_in_full_never_reaches_the_upstream() {
    for version in VERSIONS {
        let mut world = World::new();
        let sent = produce(version, &[("secret", 0, batch(&[PLAIN])), ("secret", 1, batch(&[PLAIN]))]);
        let (asked, _) = world.ask(ApiKey::Produce, version, &sent);
        let answer: ProduceResponse = asked.answer();
        assert_eq!(answer.responses.len(), 1, "one topic, not one a partition");
        assert!(outcomes(&answer).iter().all(|o| o.2 == E::TopicAuthorizationFailed.code()));
    }
}

#[test]
fn personal_data_is_masked_and_counted_in_every_codec() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut world = World::new();
        let sent =
            produce(9, &[("orders", 0, batch_at(0, codec, &[PLAIN, PERSONAL])), ("shop.a", 0, batch(&[PERSONAL]))]);
        let (asked, draft) = world.ask(ApiKey::Produce, 9, &sent);
        let (forwarded, _) = asked.forwarded::<ProduceRequest>();
        let records = |at: usize| forwarded.topic_data[at].partition_data[0].records.clone().unwrap();
        let masked = values(&records(0));
        assert_eq!(masked[0], PLAIN, "{codec:?}");
        assert!(!masked[1].contains("jane.doe"), "{codec:?}: {}", masked[1]);
        assert_eq!(records(1), batch(&[PERSONAL]), "no rule names shop.a");
        assert_eq!(findings(&draft), ["email redact 1 orders"], "{codec:?}");
        assert_eq!(draft.resources[0].bytes, records(0).len() as u64, "the bytes that go out are counted");
    }
}

#[test]
fn unknown_topic_ids_are_resolved_once_and_then_refused() {
    let mut world = World::new();
    let sent = produce(13, &[("nowhere", 0, batch(&[PLAIN])), ("orders", 0, batch(&[PLAIN]))]);
    let (asked, draft) = world.ask(ApiKey::Produce, 13, &sent);
    assert!(matches!(&asked.verdict, Verdict::Resolve(ids) if *ids == [id(99)]), "{}", describe(&asked.verdict));
    assert!(draft.resources.is_empty());

    world.may_resolve = false;
    let (asked, mut draft) = world.ask(ApiKey::Produce, 13, &sent);
    let (forwarded, _) = asked.forwarded::<ProduceRequest>();
    assert_eq!(forwarded.topic_data.len(), 1);
    let response = world.respond(asked, &broker(&forwarded), &mut draft).unwrap();
    assert_eq!(outcomes(&response), [("1".to_owned(), 0, 0), ("99".to_owned(), 0, E::UnknownTopicId.code())]);

    world.topics.learn(id(99), "shop.new");
    world.may_resolve = true;
    let (asked, _) = world.ask(ApiKey::Produce, 13, &sent);
    assert!(matches!(asked.verdict, Verdict::ForwardThen(_)), "{}", describe(&asked.verdict));
}

#[test]
fn an_id_that_the_upstream_no_longer_knows_is_forgotten() {
    let mut world = World::new();
    let sent = produce(13, &[("orders", 0, batch(&[PLAIN]))]);
    let (asked, mut draft) = world.ask(ApiKey::Produce, 13, &sent);
    let mut response = broker(&sent);
    response.responses[0].partition_responses[0].error_code = E::UnknownTopicId.code();
    assert!(world.respond(asked, &response, &mut draft).is_none());
    assert_eq!(draft.upstream_errors, [100]);
    assert_eq!(world.topics.name(&id(1)), None);
}

#[test]
fn acks_0_forwards_without_a_response_or_closes() {
    let cases: [(&str, Bytes, &str); 4] = [
        ("shop.a", batch(&[PERSONAL]), "without response, rewritten: false"),
        ("orders", batch(&[PERSONAL]), "without response, rewritten: true"),
        ("secret", batch(&[PLAIN]), "closed: "),
        ("orders", corrupt(), "closed: "),
    ];
    for (name, records, expected) in cases {
        let mut world = World::new();
        let sent = produce(9, &[(name, 0, records)]).with_acks(0);
        let (asked, draft) = world.ask(ApiKey::Produce, 9, &sent);
        assert!(describe(&asked.verdict).starts_with(expected), "{name}: {}", describe(&asked.verdict));
        assert_eq!(draft.resources.len(), 1);
    }
}

#[test]
fn a_transactional_id_needs_write_on_it() {
    let transactional = |name: Option<&str>, flag: bool| {
        let mut builder = BatchBuilder::new(0).values([PLAIN.as_bytes()]);
        builder.transactional = flag;
        let mut sent = produce(9, &[("orders", 0, builder.build().unwrap())]);
        sent.transactional_id = name.map(|n| TransactionalId(StrBytes::from_string(n.to_owned())));
        sent
    };
    for (name, flag, allowed) in [
        (Some("alice-tx"), true, true),
        (Some("bob-tx"), true, false),
        (Some("bob-tx"), false, true),
        (None, true, false),
        (None, false, true),
    ] {
        let mut world = World::new();
        let (asked, _) = world.ask(ApiKey::Produce, 9, &transactional(name, flag));
        if allowed {
            assert!(matches!(asked.verdict, Verdict::ForwardThen(_)), "{name:?} {flag}");
        } else {
            let refused = outcomes(&asked.answer());
            assert_eq!(refused, [("orders".to_owned(), 0, E::TransactionalIdAuthorizationFailed.code())]);
        }
    }
}

#[test]
fn batches_that_are_not_sound_are_refused_each_with_its_error() {
    let bad_codec = {
        let mut bytes = batch(&[PLAIN]).to_vec();
        bytes[22] |= 7;
        tidegate_core::batch::build::reseal(&mut bytes).unwrap();
        Bytes::from(bytes)
    };
    let lying = {
        let mut builder = BatchBuilder::new(0).values([PLAIN.as_bytes()]);
        builder.count = Some(1000);
        builder.build().unwrap()
    };
    let cases = [
        ("wrong checksum", corrupt(), E::CorruptMessage),
        ("format v1", old_format(), E::InvalidRecord),
        ("unknown codec", bad_codec, E::UnsupportedCompressionType),
        ("a count that lies", lying, E::InvalidRecord),
    ];
    for (what, records, error) in cases {
        for policy in [OnUnparseable::Reject, OnUnparseable::MaskWholeValue] {
            let mut world = World::new();
            world.on_unparseable = policy;
            let sent = produce(9, &[("orders", 0, records.clone()), ("orders", 1, batch(&[PLAIN]))]);
            let (asked, mut draft) = world.ask(ApiKey::Produce, 9, &sent);
            let (forwarded, _) = asked.forwarded::<ProduceRequest>();
            let response = world.respond(asked, &broker(&forwarded), &mut draft).unwrap();
            let name = || "orders".to_owned();
            assert_eq!(outcomes(&response), [(name(), 0, error.code()), (name(), 1, 0)], "{what}");
            let refused = response.responses.iter().flat_map(|t| &t.partition_responses).find(|p| p.index == 0);
            assert!(refused.unwrap().error_message.is_some(), "{what}: the client is told why");
            assert!(draft.unparseable && !draft.malformed, "{what}");
            assert_eq!(resources(&draft), ["-write orders-0 0", "+write orders-1 1"], "{what}");
            assert!(draft.detail.starts_with("orders-0 refused: "), "{what}: {}", draft.detail);
        }
    }
}

#[test]
fn pass_lets_unsound_batches_through_and_says_so() {
    let mut world = World::new();
    world.on_unparseable = OnUnparseable::Pass;
    let (asked, draft) = world.ask(ApiKey::Produce, 9, &produce(9, &[("orders", 0, corrupt())]));
    assert!(matches!(asked.verdict, Verdict::ForwardThen(_)));
    assert!(draft.detail.contains("orders-0 passed unparsed"), "{}", draft.detail);
    let (asked, _) = world.ask(ApiKey::Produce, 9, &produce(9, &[("orders", 0, old_format())]));
    assert_eq!(outcomes(&asked.answer())[0].2, E::InvalidRecord.code(), "old formats never pass");
}

#[test]
fn old_formats_are_refused_without_a_mask_rule_too() {
    let mut world = World::new();
    let (asked, _) = world.ask(ApiKey::Produce, 9, &produce(9, &[("shop.a", 0, old_format())]));
    assert_eq!(outcomes(&asked.answer())[0].2, E::InvalidRecord.code());
}

#[test]
fn endpoints_are_rewritten_and_those_without_an_address_left_out() {
    let mut world = World::new();
    let sent = produce(10, &[("orders", 0, batch(&[PLAIN]))]);
    let (asked, mut draft) = world.ask(ApiKey::Produce, 10, &sent);
    let endpoint = |node: i32| {
        NodeEndpoint::default().with_node_id(BrokerId(node)).with_host("kafka.internal".into()).with_port(9092)
    };
    let response = broker(&sent).with_node_endpoints(vec![endpoint(2), endpoint(77)]);
    let response = world.respond(asked, &response, &mut draft).unwrap();
    let shown: Vec<_> = response.node_endpoints.iter().map(|e| (e.node_id.0, e.host.as_str(), e.port)).collect();
    assert_eq!(shown, [(2, "gate.example.com", 9002)]);
    assert_eq!(world.addresses.real(2), Some(("kafka.internal", 9092)));
}
