//! Fetch sessions (KIP-227): what the client's holds, what the upstream's holds, what is answered.

use kafka_protocol::ResponseError as E;
use kafka_protocol::messages::fetch_request::{FetchRequest, ForgottenTopic};
use kafka_protocol::messages::fetch_response::FetchResponse;

use super::fetch::{broker, fetch, outcomes, topic_id, topic_name};
use super::*;

const SESSION: i32 = 4711;
const DENIED: i16 = 29;
/// One version that names topics by name and one by id.
const VERSIONS: [i16; 2] = [11, 17];

/// The policy after alice's grant on `brief` was taken away and one on `secret` given.
fn changed_policy() -> View {
    let policy = POLICY.replace("topic: brief", "topic: secret").replace("not_after: 2026-01-01T12:00:05Z", "");
    view(&policy, 2)
}

/// A full fetch that wants a session.
fn full(version: i16, partitions: &[(&str, i32)]) -> FetchRequest {
    fetch(version, partitions).with_session_epoch(0)
}

fn incremental(version: i16, epoch: i32, partitions: &[(&str, i32)], forgotten: &[(&str, i32)]) -> FetchRequest {
    let mut request = fetch(version, partitions).with_session_id(SESSION).with_session_epoch(epoch);
    for (name, partition) in forgotten {
        let topic = ForgottenTopic::default().with_partitions(vec![*partition]);
        request.forgotten_topics_data.push(if version >= 13 {
            topic.with_topic_id(topic_id(name))
        } else {
            topic.with_topic(topic_name(name))
        });
    }
    request
}

/// Begins the session with these partitions.
fn begin(world: &mut World, version: i16, partitions: &[(&str, i32)]) -> FetchResponse {
    let sent = full(version, partitions);
    let (asked, mut draft) = world.ask(ApiKey::Fetch, version, &sent);
    let (forwarded, _) = asked.forwarded::<FetchRequest>();
    let response = broker(&forwarded, &Bytes::new()).with_session_id(SESSION);
    world.respond(asked, &response, &mut draft).unwrap_or(response)
}

/// A topic as a message names it, by id or by name, and a partition.
type Named = (Uuid, String, i32);

/// One incremental round: what the upstream was asked (topics, forgotten), what the client got.
/// The upstream answers with `records` for the partitions of `delivers`.
fn round(
    world: &mut World,
    version: i16,
    request: &FetchRequest,
    delivers: &[(&str, i32)],
    records: &Bytes,
) -> (Vec<Named>, Vec<Named>, FetchResponse) {
    let (asked, mut draft) = world.ask(ApiKey::Fetch, version, request);
    let (forwarded, _) = asked.forwarded::<FetchRequest>();
    assert_eq!((forwarded.session_id, forwarded.session_epoch), (request.session_id, request.session_epoch));
    let topics = forwarded
        .topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.topic_id, t.topic.to_string(), p.partition)))
        .collect();
    let forgotten = forwarded
        .forgotten_topics_data
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.topic_id, t.topic.to_string(), *p)))
        .collect();
    let response = broker(&fetch(version, delivers), records).with_session_id(SESSION);
    let got = world.respond(asked, &response, &mut draft).unwrap_or(response);
    (topics, forgotten, got)
}

fn named(version: i16, name: &str, partition: i32) -> Named {
    if version >= 13 { (topic_id(name), String::new(), partition) } else { (Uuid::nil(), name.to_owned(), partition) }
}

#[test]
fn a_denied_partition_is_answered_in_every_response_and_never_in_the_upstreams_session() {
    for version in VERSIONS {
        let mut world = World::new();
        let got = begin(&mut world, version, &[("orders", 0), ("secret", 1)]);
        assert_eq!(got.session_id, SESSION, "the session's id stays the broker's");
        assert_eq!(outcomes(&got), [("orders".into(), 0, 0, 0), ("secret".into(), 1, DENIED, 0)]);
        for epoch in 1..4 {
            let request = incremental(version, epoch, &[], &[]);
            let (topics, forgotten, got) = round(&mut world, version, &request, &[], &Bytes::new());
            assert!(topics.is_empty() && forgotten.is_empty(), "v{version}");
            assert_eq!(outcomes(&got), [("secret".into(), 1, DENIED, 0)], "v{version} epoch {epoch}");
        }
        let request = incremental(version, 4, &[], &[("secret", 1)]);
        let (_, _, got) = round(&mut world, version, &request, &[], &Bytes::new());
        assert!(outcomes(&got).is_empty(), "forgotten by the client");
    }
}

#[test]
fn a_clean_incremental_fetch_passes_as_the_very_bytes_both_ways() {
    for version in VERSIONS {
        let mut world = World::new();
        begin(&mut world, version, &[("orders", 0), ("shop.a", 0)]);
        let request = incremental(version, 1, &[("orders", 0)], &[]);
        let (asked, mut draft) = world.ask(ApiKey::Fetch, version, &request);
        assert!(matches!(asked.verdict, Verdict::ForwardThen(_)), "{}", describe(&asked.verdict));
        let response = broker(&fetch(version, &[("shop.a", 0)]), &batch(&[PLAIN])).with_session_id(SESSION);
        assert!(world.respond(asked, &response, &mut draft).is_none());
        assert_eq!(resources(&draft), ["+read orders 0", "+read shop.a-0 1"]);
    }
}

#[test]
fn a_denied_partition_added_later_stays_out_of_the_upstreams_session() {
    for version in VERSIONS {
        let mut world = World::new();
        begin(&mut world, version, &[("orders", 0)]);
        let request = incremental(version, 1, &[("secret", 0), ("shop.a", 0)], &[]);
        let (topics, forgotten, got) = round(&mut world, version, &request, &[("shop.a", 0)], &Bytes::new());
        assert_eq!(topics, [named(version, "shop.a", 0)]);
        assert!(forgotten.is_empty());
        assert_eq!(outcomes(&got), [("secret".into(), 0, DENIED, 0), ("shop.a".into(), 0, 0, 0)]);
    }
}

#[test]
fn a_grant_that_ends_mid_session_is_withdrawn_upstream_and_answered() {
    for version in VERSIONS {
        let mut world = World::new();
        begin(&mut world, version, &[("brief", 0), ("orders", 0)]);
        world.now = NOON.plus_millis(6000);
        // The broker may have had data for it already.
        let request = incremental(version, 1, &[], &[]);
        let (topics, forgotten, got) = round(&mut world, version, &request, &[], &Bytes::new());
        assert!(topics.is_empty());
        assert_eq!(forgotten, [named(version, "brief", 0)], "v{version}");
        assert_eq!(outcomes(&got), [("brief".into(), 0, DENIED, 0)]);
        let request = incremental(version, 2, &[], &[]);
        let (_, forgotten, got) = round(&mut world, version, &request, &[], &Bytes::new());
        assert!(forgotten.is_empty(), "withdrawn once");
        assert_eq!(outcomes(&got), [("brief".into(), 0, DENIED, 0)], "and answered until the client forgets it");
    }
}

#[test]
fn records_that_arrive_after_the_grant_ended_are_not_released() {
    for version in VERSIONS {
        let mut world = World::new();
        world.now = NOON.plus_millis(4900);
        begin(&mut world, version, &[("brief", 0)]);
        let (asked, mut draft) = world.ask(ApiKey::Fetch, version, &incremental(version, 1, &[], &[]));
        assert!(matches!(asked.verdict, Verdict::ForwardThen(_)));
        // Too early for the regular look at the whole session.
        world.now = NOON.plus_millis(5000);
        let response = broker(&fetch(version, &[("brief", 0)]), &batch(&[PLAIN])).with_session_id(SESSION);
        let got = world.respond(asked, &response, &mut draft).unwrap();
        assert_eq!(outcomes(&got), [("brief".into(), 0, DENIED, 0)]);
        let (_, forgotten, _) = round(&mut world, version, &incremental(version, 2, &[], &[]), &[], &Bytes::new());
        assert_eq!(forgotten, [named(version, "brief", 0)], "the next request withdraws it at once");
    }
}

#[test]
fn a_new_policy_adds_and_withdraws_at_once() {
    for version in VERSIONS {
        let mut world = World::new();
        begin(&mut world, version, &[("brief", 0), ("secret", 1)]);
        world.view = changed_policy();
        let request = incremental(version, 1, &[], &[]);
        let records = batch(&[PLAIN]);
        let (topics, forgotten, got) = round(&mut world, version, &request, &[("secret", 1)], &records);
        assert_eq!(topics, [named(version, "secret", 1)]);
        assert_eq!(forgotten, [named(version, "brief", 0)]);
        assert_eq!(outcomes(&got), [("brief".into(), 0, DENIED, 0), ("secret".into(), 1, 0, records.len())]);
    }
}

#[test]
fn what_is_added_by_a_new_policy_keeps_the_clients_parameters() {
    let mut world = World::new();
    begin(&mut world, 11, &[("secret", 1), ("orders", 0)]);
    world.view = changed_policy();
    let (asked, _) = world.ask(ApiKey::Fetch, 11, &incremental(11, 1, &[], &[]));
    let (forwarded, _) = asked.forwarded::<FetchRequest>();
    assert_eq!(forwarded.topics[0].partitions[0].fetch_offset, 5);
}

#[test]
fn sessions_of_other_connections_are_unknown() {
    for version in VERSIONS {
        let mut world = World::new();
        let (asked, draft) = world.ask(ApiKey::Fetch, version, &incremental(version, 1, &[("orders", 0)], &[]));
        let answer: FetchResponse = asked.answer();
        assert_eq!(answer.error_code, E::FetchSessionIdNotFound.code());
        assert!(answer.responses.is_empty());
        assert!(draft.detail.contains("did not begin"), "{}", draft.detail);
    }
}

#[test]
fn session_errors_of_the_broker_pass() {
    for (error, kept) in [(E::FetchSessionIdNotFound, false), (E::InvalidFetchSessionEpoch, true)] {
        let mut world = World::new();
        begin(&mut world, 11, &[("orders", 0), ("secret", 0)]);
        let (asked, mut draft) = world.ask(ApiKey::Fetch, 11, &incremental(11, 9, &[], &[]));
        let response = FetchResponse::default().with_error_code(error.code());
        assert!(world.respond(asked, &response, &mut draft).is_none(), "nothing is merged into an error");
        assert_eq!(draft.upstream_errors, [i32::from(error.code())]);
        let (asked, _) = world.ask(ApiKey::Fetch, 11, &incremental(11, 1, &[], &[]));
        assert_eq!(matches!(asked.verdict, Verdict::ForwardThen(_)), kept);
    }
}

#[test]
fn a_closed_session_is_forgotten() {
    let mut world = World::new();
    begin(&mut world, 11, &[("orders", 0)]);
    let closing = fetch(11, &[("orders", 0)]).with_session_id(SESSION).with_session_epoch(-1);
    let (asked, _) = world.ask(ApiKey::Fetch, 11, &closing);
    assert!(matches!(asked.verdict, Verdict::ForwardThen(_)));
    let (asked, _) = world.ask(ApiKey::Fetch, 11, &incremental(11, 1, &[], &[]));
    assert_eq!(asked.answer::<FetchResponse>().error_code, E::FetchSessionIdNotFound.code());
}

#[test]
fn closing_a_session_reaches_the_upstream_even_if_all_else_is_denied() {
    let mut world = World::new();
    begin(&mut world, 11, &[("orders", 0)]);
    let closing = fetch(11, &[("secret", 0)]).with_session_id(SESSION).with_session_epoch(-1);
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 11, &closing);
    let (forwarded, _) = asked.forwarded::<FetchRequest>();
    assert_eq!((forwarded.session_id, forwarded.session_epoch, forwarded.topics.len()), (SESSION, -1, 0));
    let got = world.respond(asked, &FetchResponse::default(), &mut draft).unwrap();
    assert_eq!(outcomes(&got), [("secret".into(), 0, DENIED, 0)]);
}

#[test]
fn a_session_over_the_limit_becomes_full_fetches() {
    let mut world = World::new();
    world.limits.fetch_session_partitions_max = 2;
    let partitions = [("orders", 0), ("orders", 1), ("orders", 2)];
    let (asked, _) = world.ask(ApiKey::Fetch, 11, &full(11, &partitions));
    let (forwarded, as_it_is) = asked.forwarded::<FetchRequest>();
    assert!(!as_it_is);
    assert_eq!(forwarded.session_epoch, -1, "the broker is asked for no session");
    assert_eq!(forwarded.topics[0].partitions.len(), 3);

    begin(&mut world, 11, &partitions[..2]);
    let (asked, _) = world.ask(ApiKey::Fetch, 11, &incremental(11, 1, &[("orders", 2)], &[]));
    assert_eq!(asked.answer::<FetchResponse>().error_code, E::FetchSessionIdNotFound.code());
}

#[test]
fn a_connection_holds_few_sessions() {
    let mut world = World::new();
    for session in 1..=20 {
        let (asked, mut draft) = world.ask(ApiKey::Fetch, 11, &full(11, &[("orders", 0)]));
        let response = broker(&full(11, &[("orders", 0)]), &Bytes::new()).with_session_id(session);
        world.respond(asked, &response, &mut draft);
    }
    let next = |world: &mut World, session| {
        let request = incremental(11, 1, &[], &[]).with_session_id(session);
        world.ask(ApiKey::Fetch, 11, &request).0.verdict
    };
    assert!(matches!(next(&mut world, 20), Verdict::ForwardThen(_)));
    assert!(matches!(next(&mut world, 1), Verdict::Answer(_)));
}

#[test]
fn an_unknown_id_in_a_session_is_asked_for_once_its_name_is_known() {
    let mut world = World::new();
    world.may_resolve = false;
    let got = begin(&mut world, 17, &[("nowhere", 0), ("orders", 0)]);
    let unknown = E::UnknownTopicId.code();
    assert_eq!(outcomes(&got), [("nowhere".into(), 0, unknown, 0), ("orders".into(), 0, 0, 0)]);
    let (topics, _, got) = round(&mut world, 17, &incremental(17, 1, &[], &[]), &[], &Bytes::new());
    assert!(topics.is_empty());
    assert_eq!(outcomes(&got), [("nowhere".into(), 0, unknown, 0)]);

    world.topics.learn(id(99), "shop.new");
    world.now = NOON.plus_millis(1000);
    let (topics, _, got) = round(&mut world, 17, &incremental(17, 2, &[], &[]), &[], &Bytes::new());
    assert_eq!(topics, [(id(99), String::new(), 0)]);
    assert!(outcomes(&got).is_empty());
}

#[test]
fn a_pipelined_request_does_not_disturb_the_answer_before_it() {
    let mut world = World::new();
    begin(&mut world, 11, &[("orders", 0), ("shop.a", 0), ("secret", 0)]);
    let (first, mut first_draft) = world.ask(ApiKey::Fetch, 11, &incremental(11, 1, &[], &[]));
    let (second, mut second_draft) =
        world.ask(ApiKey::Fetch, 11, &incremental(11, 2, &[], &[("shop.a", 0), ("secret", 0)]));
    let records = batch(&[PLAIN]);
    let response = broker(&fetch(11, &[("shop.a", 0)]), &records).with_session_id(SESSION);
    let got = world.respond(first, &response, &mut first_draft).unwrap();
    assert_eq!(outcomes(&got), [("secret".into(), 0, DENIED, 0), ("shop.a".into(), 0, 0, records.len())]);
    let response = FetchResponse::default().with_session_id(SESSION);
    assert!(world.respond(second, &response, &mut second_draft).is_none());
}

#[test]
fn forgotten_partitions_make_room() {
    let mut world = World::new();
    world.limits.fetch_session_partitions_max = 2;
    begin(&mut world, 11, &[("orders", 0), ("secret", 0)]);
    for epoch in 1..10 {
        let added = [("orders", epoch)];
        let (last, request) = (("orders", epoch - 1), incremental(11, epoch, &added, &[]));
        let (asked, _) = world.ask(ApiKey::Fetch, 11, &request);
        assert!(matches!(asked.verdict, Verdict::Answer(_)), "three are over the limit");
        begin(&mut world, 11, &[last, ("secret", 0)]);
        let request = incremental(11, epoch, &[], &[last]);
        round(&mut world, 11, &request, &[], &Bytes::new());
        let (topics, _, _) = round(&mut world, 11, &incremental(11, epoch + 1, &added, &[]), &[], &Bytes::new());
        assert_eq!(topics, [named(11, "orders", epoch)]);
    }
}

#[test]
fn a_session_keeps_no_hold_on_the_request_that_began_it() {
    let mut world = World::new();
    let mut sent = full(17, &[("secret", 1), ("orders", 0)]);
    for topic in &mut sent.topics {
        topic.partitions[0].unknown_tagged_fields.insert(99, Bytes::from_static(b"more"));
    }
    let (asked, mut draft) = world.ask(ApiKey::Fetch, 17, &sent);
    let (forwarded, _) = asked.forwarded::<FetchRequest>();
    assert_eq!(forwarded.topics[0].partitions[0].unknown_tagged_fields.len(), 1, "what is forwarded keeps them");
    let response = broker(&forwarded, &Bytes::new()).with_session_id(SESSION);
    world.respond(asked, &response, &mut draft);
    world.view = changed_policy();
    let (asked, _) = world.ask(ApiKey::Fetch, 17, &incremental(17, 1, &[], &[]));
    let (forwarded, _) = asked.forwarded::<FetchRequest>();
    assert!(forwarded.topics[0].partitions[0].unknown_tagged_fields.is_empty());
}
