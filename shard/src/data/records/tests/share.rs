//! ShareFetch (KIP-932): group and topics, share sessions, acknowledgements, acquired records.

use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::GroupId;
use kafka_protocol::messages::share_fetch_request::{
    AcknowledgementBatch, FetchPartition, FetchTopic, ForgottenTopic, ShareFetchRequest,
};
use kafka_protocol::messages::share_fetch_response::{
    AcquiredRecords, PartitionData, ShareFetchResponse, ShareFetchableTopicResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::fetch::topic_id;
use super::*;

pub(super) const VERSION: i16 = 1;
const DENIED: i16 = 29;

pub(super) fn share(group: &str, epoch: i32, partitions: &[(&str, i32)]) -> ShareFetchRequest {
    let mut request = ShareFetchRequest::default()
        .with_group_id(Some(GroupId(StrBytes::from_string(group.to_owned()))))
        .with_member_id(Some("member-1".into()))
        .with_share_session_epoch(epoch);
    for (name, partition) in partitions {
        request.topics.push(
            FetchTopic::default()
                .with_topic_id(topic_id(name))
                .with_partitions(vec![FetchPartition::default().with_partition_index(*partition)]),
        );
    }
    request
}

pub(super) fn broker(request: &ShareFetchRequest, records: &Bytes) -> ShareFetchResponse {
    let mut response = ShareFetchResponse::default().with_acquisition_lock_timeout_ms(30_000);
    for topic in &request.topics {
        let partitions = topic.partitions.iter().map(|p| {
            let acquired = AcquiredRecords::default().with_first_offset(0).with_last_offset(0).with_delivery_count(1);
            PartitionData::default()
                .with_partition_index(p.partition_index)
                .with_records(Some(records.clone()))
                .with_acquired_records(vec![acquired])
        });
        response.responses.push(
            ShareFetchableTopicResponse::default().with_topic_id(topic.topic_id).with_partitions(partitions.collect()),
        );
    }
    response
}

/// Topic, partition, error, acknowledgement's error, bytes, acquired ranges.
fn outcomes(response: &ShareFetchResponse) -> Vec<(u128, i32, i16, i16, usize, usize)> {
    let mut found: Vec<_> = response
        .responses
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.topic_id.as_u128(), p)))
        .map(|(topic, p)| {
            let bytes = p.records.as_ref().map_or(0, Bytes::len);
            (topic, p.partition_index, p.error_code, p.acknowledge_error_code, bytes, p.acquired_records.len())
        })
        .collect();
    found.sort_unstable();
    found
}

/// One exchange: what the upstream got and what the client.
fn exchange(
    world: &mut World,
    request: &ShareFetchRequest,
    records: &Bytes,
) -> (ShareFetchRequest, ShareFetchResponse) {
    let (asked, mut draft) = world.ask(ApiKey::ShareFetch, VERSION, request);
    let (forwarded, _) = asked.forwarded::<ShareFetchRequest>();
    let response = broker(&forwarded, records);
    let got = world.respond(asked, &response, &mut draft).unwrap_or(response);
    (forwarded, got)
}

#[test]
fn the_group_needs_read() {
    let mut world = World::new();
    let (asked, draft) = world.ask(ApiKey::ShareFetch, VERSION, &share("bob-group", 0, &[("orders", 0)]));
    assert_eq!(asked.answer::<ShareFetchResponse>().error_code, E::GroupAuthorizationFailed.code());
    assert_eq!(resources(&draft), ["-read bob-group 0"]);
}

#[test]
fn what_nothing_changes_passes_as_the_very_bytes() {
    let mut world = World::new();
    let sent = share("alice-group", 0, &[("orders", 0), ("shop.a", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::ShareFetch, VERSION, &sent);
    assert!(matches!(asked.verdict, Verdict::ForwardThen(_)));
    assert!(world.respond(asked, &broker(&sent, &batch(&[PLAIN])), &mut draft).is_none());
    assert_eq!(resources(&draft), ["+read alice-group 0", "+read orders-0 1", "+read shop.a-0 1"]);
}

#[test]
fn denied_partitions_stay_out_of_the_upstreams_session_and_are_answered_each_time() {
    let mut world = World::new();
    let records = batch(&[PLAIN]);
    let (forwarded, got) = exchange(&mut world, &share("alice-group", 0, &[("secret", 2), ("shop.a", 0)]), &records);
    assert_eq!(forwarded.topics.len(), 1);
    assert_eq!(outcomes(&got), [(2, 0, 0, 0, records.len(), 1), (3, 2, DENIED, 0, 0, 0)]);
    let mut next = share("alice-group", 1, &[]);
    let (forwarded, got) = exchange(&mut world, &next, &records);
    assert!(forwarded.topics.is_empty());
    assert_eq!(outcomes(&got), [(3, 2, DENIED, 0, 0, 0)]);
    next.forgotten_topics_data =
        vec![ForgottenTopic::default().with_topic_id(topic_id("secret")).with_partitions(vec![2])];
    let (_, got) = exchange(&mut world, &next, &records);
    assert!(outcomes(&got).is_empty());
}

#[test]
fn acknowledgements_of_a_denied_topic_are_refused_too() {
    let mut world = World::new();
    exchange(&mut world, &share("alice-group", 0, &[("brief", 0), ("orders", 0)]), &Bytes::new());
    world.now = NOON.plus_millis(6000);
    let mut request = share("alice-group", 1, &[("brief", 0)]);
    request.topics[0].partitions[0].acknowledgement_batches =
        vec![AcknowledgementBatch::default().with_acknowledge_types(vec![1])];
    let (forwarded, got) = exchange(&mut world, &request, &Bytes::new());
    assert!(forwarded.topics.is_empty());
    let withdrawn: Vec<_> =
        forwarded.forgotten_topics_data.iter().map(|t| (t.topic_id, t.partitions.clone())).collect();
    assert_eq!(withdrawn, [(topic_id("brief"), vec![0])]);
    assert_eq!(outcomes(&got), [(5, 0, DENIED, DENIED, 0, 0)]);
}

#[test]
fn records_are_masked_and_stay_acquired() {
    let mut world = World::new();
    let sent = share("alice-group", 0, &[("orders", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::ShareFetch, VERSION, &sent);
    let got = world.respond(asked, &broker(&sent, &batch(&[PERSONAL])), &mut draft).unwrap();
    let partition = &got.responses[0].partitions[0];
    assert!(!values(partition.records.as_ref().unwrap())[0].contains("jane.doe"));
    assert_eq!(partition.acquired_records.len(), 1);
    assert_eq!(findings(&draft), ["email redact 1 orders"]);
}

#[test]
fn what_is_refused_at_release_is_not_acquired() {
    let mut world = World::new();
    let sent = share("alice-group", 0, &[("brief", 0), ("orders", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::ShareFetch, VERSION, &sent);
    world.now = NOON.plus_millis(6000);
    let got = world.respond(asked, &broker(&sent, &corrupt()), &mut draft).unwrap();
    assert_eq!(outcomes(&got), [(1, 0, E::CorruptMessage.code(), 0, 0, 0), (5, 0, DENIED, 0, 0, 0)]);
}

#[test]
fn a_share_session_of_another_connection_is_unknown_and_a_closed_one_gone() {
    let mut world = World::new();
    let (asked, _) = world.ask(ApiKey::ShareFetch, VERSION, &share("alice-group", 1, &[]));
    assert_eq!(asked.answer::<ShareFetchResponse>().error_code, E::ShareSessionNotFound.code());
    exchange(&mut world, &share("alice-group", 0, &[("orders", 0)]), &Bytes::new());
    exchange(&mut world, &share("alice-group", -1, &[]), &Bytes::new());
    let (asked, _) = world.ask(ApiKey::ShareFetch, VERSION, &share("alice-group", 2, &[]));
    assert_eq!(asked.answer::<ShareFetchResponse>().error_code, E::ShareSessionNotFound.code());
}

#[test]
fn unknown_topic_ids_are_resolved_once_and_then_refused() {
    let mut world = World::new();
    let sent = share("alice-group", 0, &[("nowhere", 0), ("orders", 0)]);
    let (asked, _) = world.ask(ApiKey::ShareFetch, VERSION, &sent);
    assert!(matches!(&asked.verdict, Verdict::Resolve(ids) if *ids == [id(99)]));
    world.may_resolve = false;
    let (_, got) = exchange(&mut world, &sent, &Bytes::new());
    assert_eq!(outcomes(&got), [(1, 0, 0, 0, 0, 1), (99, 0, E::UnknownTopicId.code(), 0, 0, 0)]);
}

#[test]
fn an_unsound_batch_refuses_all_that_was_acquired_with_it() {
    let mut world = World::new();
    let sent = share("alice-group", 0, &[("orders", 0)]);
    let (asked, mut draft) = world.ask(ApiKey::ShareFetch, VERSION, &sent);
    let records = Bytes::from([batch(&[PLAIN]), corrupt()].concat());
    let got = world.respond(asked, &broker(&sent, &records), &mut draft).unwrap();
    assert_eq!(outcomes(&got), [(1, 0, E::CorruptMessage.code(), 0, 0, 0)]);
}

#[test]
fn a_grant_that_ends_mid_session_is_withdrawn_and_one_that_begins_is_added() {
    let mut world = World::new();
    exchange(&mut world, &share("alice-group", 0, &[("brief", 0), ("orders", 0), ("secret", 1)]), &Bytes::new());
    let changed = POLICY.replace("topic: brief", "topic: secret").replace("not_after: 2026-01-01T12:00:05Z", "");
    world.view = view(&changed, 2);
    let (forwarded, got) = exchange(&mut world, &share("alice-group", 1, &[]), &Bytes::new());
    let added: Vec<_> = forwarded.topics.iter().map(|t| (t.topic_id, t.partitions[0].partition_index)).collect();
    assert_eq!(added, [(topic_id("secret"), 1)]);
    let withdrawn: Vec<_> =
        forwarded.forgotten_topics_data.iter().map(|t| (t.topic_id, t.partitions.clone())).collect();
    assert_eq!(withdrawn, [(topic_id("brief"), vec![0])]);
    assert_eq!(outcomes(&got), [(3, 1, 0, 0, 0, 1), (5, 0, DENIED, 0, 0, 0)]);
}
