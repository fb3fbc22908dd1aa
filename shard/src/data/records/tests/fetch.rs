//! Full and sessionless fetches: denial, release, masking, the same bytes, ids, unsound batches.

use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic, ReplicaState};
use kafka_protocol::messages::fetch_response::{FetchResponse, FetchableTopicResponse, NodeEndpoint, PartitionData};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::*;

const VERSIONS: std::ops::RangeInclusive<i16> = 4..=18;
pub(super) const NAMES: [&str; 5] = ["orders", "shop.a", "secret", "split", "brief"];

pub(super) fn topic_id(name: &str) -> Uuid {
    id(NAMES.iter().position(|n| *n == name).map_or(99, |n| n as u128 + 1))
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A request without a session for these partitions, a topic each where names differ.
pub(super) fn fetch(version: i16, partitions: &[(&str, i32)]) -> FetchRequest {
    let mut request = FetchRequest::default().with_max_wait_ms(500).with_min_bytes(1).with_session_epoch(-1);
    for (name, partition) in partitions {
        let partition = FetchPartition::default().with_partition(*partition).with_fetch_offset(5);
        let (topic, topic_id) =
            if version >= 13 { (TopicName::default(), topic_id(name)) } else { (topic_name(name), Uuid::nil()) };
        match request.topics.last_mut().filter(|t| t.topic == topic && t.topic_id == topic_id) {
            Some(topic) => topic.partitions.push(partition),
            None => request
                .topics
                .push(FetchTopic::default().with_topic(topic).with_topic_id(topic_id).with_partitions(vec![partition])),
        }
    }
    request
}

/// A response with the same records in each partition that was asked for.
pub(super) fn broker(request: &FetchRequest, records: &Bytes) -> FetchResponse {
    let mut response = FetchResponse::default().with_throttle_time_ms(3);
    for topic in &request.topics {
        let partitions = topic.partitions.iter().map(|p| {
            PartitionData::default()
                .with_partition_index(p.partition)
                .with_high_watermark(7)
                .with_records(Some(records.clone()))
        });
        response.responses.push(
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions.collect()),
        );
    }
    response
}

/// Name, partition, error and bytes of records of each partition of a response.
pub(super) fn outcomes(response: &FetchResponse) -> Vec<(String, i32, i16, usize)> {
    let mut found = Vec::new();
    for topic in &response.responses {
        let name = if topic.topic.is_empty() {
            let at = (topic.topic_id.as_u128() as usize).wrapping_sub(1);
            NAMES.get(at).unwrap_or(&"nowhere").to_string()
        } else {
            topic.topic.to_string()
        };
        let bytes = |p: &PartitionData| p.records.as_ref().map_or(0, Bytes::len);
        found.extend(topic.partitions.iter().map(|p| (name.clone(), p.partition_index, p.error_code, bytes(p))));
    }
    found.sort();
    found
}

fn own(name: &str) -> String {
    name.to_owned()
}

const DENIED: i16 = 29;

#[test]
fn what_nothing_changes_passes_as_the_very_bytes_both_ways_in_every_version() {
    for version in VERSIONS {
        let mut world = World::new();
        let sent = fetch(version, &[("orders", 0), ("shop.a", 1)]);
        let (asked, mut draft) = world.ask(ApiKey::Fetch, version, &sent);
        assert!(matches!(asked.verdict, Verdict::ForwardThen(_)), "v{version}: {}", describe(&asked.verdict));
        let records = batch_at(5, Codec::None, &[PLAIN, PLAIN]);
        assert!(world.respond(asked, &broker(&sent, &records), &mut draft).is_none(), "v{version}");
        assert_eq!(resources(&draft), ["+read orders-0 2", "+read shop.a-1 2"], "v{version}");
        assert_eq!((draft.resources[0].first_offset, draft.resources[0].last_offset), (Some(5), Some(6)));
        assert_eq!(draft.resources[0].bytes, records.len() as u64);
        assert_eq!(draft.resources[0].purpose, "testing");
    }
}

#[test]
fn denied_partitions_are_not_asked_for_and_answered_with_a_brokers_error() {
    for version in VERSIONS {
        let mut world = World::new();
        let sent = fetch(version, &[("secret", 0), ("split", 0), ("split", 2), ("orders", 0)]);
        let (asked, mut draft) = world.ask(ApiKey::Fetch, version, &sent);
        let (forwarded, as_it_is) = asked.forwarded::<FetchRequest>();
        assert!(!as_it_is);
        let records = batch(&[PLAIN]);
        let upstream = broker(&forwarded, &records);
        assert_eq!(outcomes(&upstream).len(), 2);
        let response = world.respond(asked, &upstream, &mut draft).unwrap();
        let expected = [
            (own("orders"), 0, 0, records.len()),
            (own("secret"), 0, DENIED, 0),
            (own("split"), 0, 0, records.len()),
            (own("split"), 2, DENIED, 0),
        ];
        assert_eq!(outcomes(&response), expected, "v{version}");
        let refused = response.responses.iter().flat_map(|t| &t.partitions).find(|p| p.error_code != 0).unwrap();
        assert_eq!(refused.high_watermark, -1, "as a broker answers errors");
        assert_eq!(response.throttle_time_ms, 3);
        assert_eq!(
            resources(&draft),
            ["-read secret-0 0", "+read split-0 1", "-read split-2 0", "+read orders-0 1"],
            "v{version}"
        );
    }
}

#[test]
fn a_fetch_that_is_denied_in_full_is_answered_without_the_upstream() {
    for version in VERSIONS {
        let mut world = World::new();
        let (asked, _) = world.ask(ApiKey::Fetch, version, &fetch(version, &[("secret", 0), ("secret", 1)]));
        let answer: FetchResponse = asked.answer();
        assert_eq!(outcomes(&answer), [(own("secret"), 0, DENIED, 0), (own("secret"), 1, DENIED, 0)]);
        assert_eq!(answer.session_id, 0);
    }
}

#[test]
fn personal_data_is_masked_on_the_way_to_the_reader() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut world = World::new();
        let sent = fetch(12, &[("orders", 0), ("shop.a", 0)]);
        let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &sent);
        let records = batch_at(40, codec, &[PERSONAL, PLAIN]);
        let response = world.respond(asked, &broker(&sent, &records), &mut draft).unwrap();
        let of = |at: usize| response.responses[at].partitions[0].records.clone().unwrap();
        let masked = values(&of(0));
        assert!(!masked[0].contains("jane.doe"), "{codec:?}: {}", masked[0]);
        assert_eq!(masked[1], PLAIN);
        assert_eq!(of(1), records, "no rule names shop.a");
        assert_eq!(findings(&draft), ["email redact 1 orders"]);
        let entry = &draft.resources[0];
        assert_eq!((entry.first_offset, entry.last_offset, entry.bytes), (Some(40), Some(41), of(0).len() as u64));
    }
}

#[test]
fn a_grant_that_ends_while_the_broker_waits_releases_nothing() {
    let mut world = World::new();
    let sent = fetch(12, &[("brief", 0), ("orders", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &sent);
    assert!(matches!(asked.verdict, Verdict::ForwardThen(_)));
    world.now = NOON.plus_millis(5000);
    let records = batch(&[PLAIN]);
    let response = world.respond(asked, &broker(&sent, &records), &mut draft).unwrap();
    assert_eq!(outcomes(&response), [(own("brief"), 0, DENIED, 0), (own("orders"), 0, 0, records.len())]);
    assert!(resources(&draft).contains(&own("-read brief-0 0")), "{:?}", resources(&draft));
}

#[test]
fn what_the_upstream_was_not_asked_for_is_not_released_either() {
    for version in [12, 18] {
        let mut world = World::new();
        let (asked, mut draft) = world.ask(ApiKey::Fetch, version, &fetch(version, &[("orders", 0)]));
        let records = batch(&[PLAIN]);
        let unasked = broker(&fetch(version, &[("orders", 0), ("secret", 0), ("nowhere", 0)]), &records);
        let response = world.respond(asked, &unasked, &mut draft).unwrap();
        let nowhere = if version >= 13 { E::UnknownTopicId.code() } else { DENIED };
        let expected =
            [(own("nowhere"), 0, nowhere, 0), (own("orders"), 0, 0, records.len()), (own("secret"), 0, DENIED, 0)];
        assert_eq!(outcomes(&response), expected);
    }
}

#[test]
fn unknown_topic_ids_are_resolved_once_and_then_refused() {
    let mut world = World::new();
    let sent = fetch(13, &[("nowhere", 0), ("orders", 0)]);
    let (asked, _) = world.ask(ApiKey::Fetch, 13, &sent);
    assert!(matches!(&asked.verdict, Verdict::Resolve(ids) if *ids == [id(99)]));
    world.may_resolve = false;
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 13, &sent);
    let (forwarded, _) = asked.forwarded::<FetchRequest>();
    let response = world.respond(asked, &broker(&forwarded, &Bytes::new()), &mut draft).unwrap();
    assert_eq!(outcomes(&response), [(own("nowhere"), 0, E::UnknownTopicId.code(), 0), (own("orders"), 0, 0, 0)]);
}

#[test]
fn names_hold_until_the_response_even_if_the_shard_forgets_them() {
    let mut world = World::new();
    let sent = fetch(13, &[("orders", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 13, &sent);
    world.topics = TopicIds::new(1);
    assert!(world.respond(asked, &broker(&sent, &batch(&[PLAIN])), &mut draft).is_none());
}

#[test]
fn followers_need_the_cluster() {
    for version in [11, 15] {
        let mut world = World::new();
        let mut sent = fetch(version, &[("orders", 0)]);
        if version >= 15 {
            sent.replica_state = ReplicaState::default().with_replica_id(BrokerId(1));
        } else {
            sent.replica_id = BrokerId(1);
        }
        let (asked, draft) = world.ask(ApiKey::Fetch, version, &sent);
        assert_eq!(outcomes(&asked.answer()), [(own("orders"), 0, DENIED, 0)], "v{version}");
        assert_eq!(resources(&draft), ["-cluster_action kafka-cluster 0"]);
    }
}

#[test]
fn unsound_batches_under_a_mask_rule() {
    for (what, records) in [("wrong checksum", corrupt()), ("format v1", old_format())] {
        for policy in [OnUnparseable::Reject, OnUnparseable::MaskWholeValue, OnUnparseable::Pass] {
            let mut world = World::new();
            world.on_unparseable = policy;
            let sent = fetch(12, &[("orders", 0)]);
            let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &sent);
            let response = world.respond(asked, &broker(&sent, &records), &mut draft);
            if policy == OnUnparseable::Pass {
                assert!(response.is_none(), "{what}");
                assert!(draft.detail.contains("orders-0 passed unparsed"), "{what}: {}", draft.detail);
                assert_eq!(draft.resources[0].bytes, records.len() as u64);
            } else {
                let expected = [(own("orders"), 0, E::CorruptMessage.code(), 0)];
                assert_eq!(outcomes(&response.unwrap()), expected, "{what} {policy:?}");
                assert!(draft.unparseable && !draft.malformed);
                assert!(!draft.resources[0].allowed);
                assert!(draft.resources[0].rule.starts_with("unparseable records: "), "{}", draft.resources[0].rule);
            }
        }
    }
}

#[test]
fn without_a_mask_rule_records_are_only_counted() {
    for records in [corrupt(), old_format()] {
        let mut world = World::new();
        let sent = fetch(12, &[("shop.a", 0)]);
        let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &sent);
        assert!(world.respond(asked, &broker(&sent, &records), &mut draft).is_none());
        assert!(!draft.unparseable);
        assert_eq!(draft.resources[0].bytes, records.len() as u64);
    }
}

#[test]
fn upstream_errors_pass_and_are_noted_once() {
    let mut world = World::new();
    let sent = fetch(18, &[("orders", 0), ("orders", 1), ("shop.a", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 18, &sent);
    let mut response = broker(&sent, &Bytes::new());
    for partition in response.responses.iter_mut().flat_map(|t| &mut t.partitions) {
        partition.error_code = E::NotLeaderOrFollower.code();
    }
    response.node_endpoints =
        vec![NodeEndpoint::default().with_node_id(BrokerId(3)).with_host("kafka.internal".into()).with_port(9092)];
    let response = world.respond(asked, &response, &mut draft).unwrap();
    assert_eq!(draft.upstream_errors, [6]);
    assert_eq!(response.node_endpoints[0].host.as_str(), "gate.example.com");
    assert_eq!(response.node_endpoints[0].port, 9003);
}

#[test]
fn sound_batches_before_an_unsound_one_are_released_masked() {
    let mut world = World::new();
    let sent = fetch(12, &[("orders", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 12, &sent);
    let records =
        Bytes::from([batch_at(0, Codec::None, &[PERSONAL]), batch_at(1, Codec::Lz4, &[PLAIN]), corrupt()].concat());
    let response = world.respond(asked, &broker(&sent, &records), &mut draft).unwrap();
    let released = &response.responses[0].partitions[0];
    assert_eq!(released.error_code, 0);
    let released = values(released.records.as_ref().unwrap());
    assert_eq!(released.len(), 2);
    assert!(!released[0].contains("jane.doe"));
    assert_eq!((draft.resources[0].records, draft.resources[0].last_offset), (2, Some(1)));
    assert_eq!(findings(&draft), ["email redact 1 orders"], "counted once");
    assert!(draft.detail.contains("cut before a batch"), "{}", draft.detail);
    assert!(!draft.unparseable, "the next fetch begins with the unsound batch and is refused");
}
