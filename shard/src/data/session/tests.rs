//! Single conversations with a session: what the simulation's chance would not pin down.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, FindCoordinatorRequest, FindCoordinatorResponse, MetadataResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tidegate_core::batch::build::BatchBuilder;
use tidegate_core::event::{Event, Kind, Outcome, Touched};
use tidegate_core::header;
use tidegate_core::words::Timestamp;

use super::{Phase, Session, outcome_of};
use crate::config::Target;
use crate::data::shard::Shard;
use crate::data::simulation::broker::Broker;
use crate::data::simulation::client::{FETCH, name};
use crate::data::simulation::{self};
use crate::data::stage::Draft;
use crate::data::{evidence, runtime};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Runs `test` with a shard whose policy grants the anonymous principal `orders` and `logs`, and
/// returns the evidence it left.
fn with_shard<F: Future<Output = ()>>(test: impl FnOnce(Rc<Shard>) -> F + Send + 'static) -> Vec<Event> {
    let folder = tempfile::tempdir().unwrap();
    let config = Arc::new(simulation::config(folder.path()));
    let directory = config.evidence.directory.clone();
    runtime::spawn_shard("session-test", 0, move || async move {
        let shard = simulation::shard(config);
        let version = shard.policy_version() + 1;
        shard.shared.publish_policy(simulation::policy(true, version));
        let committing = runtime::spawn(evidence::commit(shard.evidence.clone(), 0, shard.metrics.clone()));
        test(shard.clone()).await;
        shard.evidence.stop();
        committing.await;
        Ok(())
    })
    .unwrap()
    .join()
    .unwrap()
    .unwrap();
    let mut events = Vec::new();
    let mut tail =
        tidegate_audit::tail::Tail::open(&directory, None, tidegate_audit::tail::StartAt::First, Box::new(|_| true))
            .unwrap();
    while let Some(item) = tail.next().unwrap() {
        if let tidegate_audit::tail::Item::Entry(entry) = item {
            events.push(entry.event);
        }
    }
    events
}

/// A session that is authenticated (as anonymous) and logged in to the upstream.
fn open(shard: &Rc<Shard>) -> Session {
    let mut session = Session::new(shard, 0, Target::Broker(1), SocketAddr::from(([127, 0, 0, 1], 4242)), NOW);
    session.begin(shard, None, None, NOW);
    session.begin_login(shard, NOW);
    let mut broker = Broker::default();
    broker.take(&mut session, 0);
    session.from_upstream.extend(&broker.answer_all());
    session.take_responses(shard, NOW);
    assert_eq!(session.phase, Phase::Open);
    session
}

fn ask(session: &mut Session, shard: &Shard, id: i32, api: ApiKey, version: i16, body: &[u8]) {
    session.from_client.extend(&header::request_frame(id, api, version, "tester", body));
    session.take_requests(shard, NOW);
}

fn encoded(message: &impl Encodable, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).unwrap();
    body.freeze()
}

#[test]
fn a_body_that_nobody_needs_is_neither_decoded_nor_copied() {
    with_shard(|shard| async move {
        let mut session = open(&shard);
        // Not a PushTelemetry body at all: whoever decoded it would fail.
        let frame = header::request_frame(9, ApiKey::PushTelemetry, 0, "tester", &[0xff; 3000]);
        session.from_client.extend(&frame);
        let read_into = session.from_client.as_slice().as_ptr();
        session.take_requests(&shard, NOW);
        let (forwarded, _) = session.to_upstream.pop(u64::MAX).unwrap();
        assert_eq!(forwarded, frame);
        assert_eq!(forwarded.as_ptr(), read_into, "the request was copied");

        let answer = header::response_frame(9, ApiKey::PushTelemetry, 0, &[0xee; 3000]);
        session.from_upstream.extend(&answer);
        let read_into = session.from_upstream.as_slice().as_ptr();
        session.take_responses(&shard, NOW);
        let (released, _) = session.to_client.pop(u64::MAX).unwrap();
        assert_eq!(released, answer);
        assert_eq!(released.as_ptr(), read_into, "the response was copied");
    });
}

#[test]
fn an_answer_of_the_gateways_own_waits_for_the_requests_before_it() {
    with_shard(|shard| async move {
        let mut session = open(&shard);
        ask(&mut session, &shard, 1, ApiKey::PushTelemetry, 0, b"forwarded");
        let denied = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("not-granted"));
        ask(&mut session, &shard, 2, ApiKey::FindCoordinator, 3, &encoded(&denied, 3));
        session.take_responses(&shard, NOW);
        assert!(session.to_client.pop(u64::MAX).is_none(), "the denial overtook the request before it");

        session.from_upstream.extend(&header::response_frame(1, ApiKey::PushTelemetry, 0, b"answered"));
        session.take_responses(&shard, NOW);
        let order: Vec<_> = std::iter::from_fn(|| session.to_client.pop(u64::MAX))
            .map(|(frame, _)| header::response_correlation_id(&frame).unwrap())
            .collect();
        assert_eq!(order, [1, 2]);
    });
}

#[test]
fn a_denial_is_the_brokers_and_stands_in_the_evidence() {
    let events = with_shard(|shard| async move {
        let mut session = open(&shard);
        let denied = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("not-granted"));
        ask(&mut session, &shard, 2, ApiKey::FindCoordinator, 3, &encoded(&denied, 3));
        session.take_responses(&shard, NOW);
        let (frame, _) = session.to_client.pop(u64::MAX).unwrap();
        let start = header::response_body_start(&frame, ApiKey::FindCoordinator, 3).unwrap();
        let response = FindCoordinatorResponse::decode(&mut frame.slice(start..), 3).unwrap();
        assert_eq!(response.error_code, 30, "GROUP_AUTHORIZATION_FAILED");
    });
    let entry = events.iter().find(|event| event.kind == Kind::Exchange as i32).unwrap();
    assert_eq!(entry.outcome, Outcome::Denied as i32);
    assert_eq!((entry.api.as_str(), entry.client_id.as_str()), ("FindCoordinator", "tester"));
    assert_eq!(entry.resources[0].rule, "no grant");
}

#[test]
fn whoever_loses_the_last_grant_is_closed_at_the_next_look() {
    let events = with_shard(|shard| async move {
        let mut session = open(&shard);
        let version = shard.policy_version() + 1;
        let none = "version: 1\n";
        let policy = tidegate_policy::snapshot::Snapshot::read(none, "policy.yaml", version).unwrap();
        shard.shared.publish_policy(Arc::new(policy));
        session.check_deadlines(&shard, NOW);
        assert_eq!(session.phase, Phase::Closing);
    });
    assert!(events.iter().any(|event| event.detail.contains("no grant left")));
}

#[test]
fn what_cannot_be_understood_closes_its_connection_and_is_said() {
    let unknown_api = [0, 0, 0, 10, 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let broker_only = header::request_frame(1, ApiKey::Vote, 0, "tester", b"");
    let newer = header::request_frame(1, ApiKey::Fetch, 99, "tester", b"");
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("negative length", vec![0xff; 8], "negative"),
        ("huge length", vec![0x7f, 0xff, 0xff, 0xff], "over the limit"),
        ("unknown API", unknown_api.to_vec(), "unknown"),
        ("an API between brokers", broker_only.to_vec(), "not served"),
        ("a version to come", newer.to_vec(), "not a version"),
        ("an answer out of nowhere", Vec::new(), "out of order"),
    ];
    for (what, bytes, words) in cases {
        let events = with_shard(move |shard| async move {
            let mut session = open(&shard);
            if bytes.is_empty() {
                session.from_upstream.extend(&header::response_frame(77, ApiKey::Heartbeat, 4, b""));
                session.take_responses(&shard, NOW);
            } else {
                session.from_client.extend(&bytes);
                session.take_requests(&shard, NOW);
            }
            assert_eq!(session.phase, Phase::Closing, "{what}");
            assert!(session.to_upstream.pop(u64::MAX).is_none(), "{what}: something was relayed");
        });
        let refused = events.iter().find(|event| event.kind == Kind::ConnectionRefused as i32);
        let detail = &refused.unwrap_or_else(|| panic!("{what}: no entry")).detail;
        assert!(detail.contains(words), "{what}: {detail}");
    }
}

/// A fetch's answer of some `mebibytes` of records with personal data in each, in batches of 64 KiB or so.
fn large_answer(id: i32, mebibytes: usize) -> Bytes {
    let mut records = Vec::new();
    while records.len() < mebibytes << 20 {
        // No two batches are alike, so that each is looked at.
        let at = records.len();
        let value = format!(r#"{{"mail":"jane.doe@example.com","pad":"{at}{}"}}"#, "x".repeat(400));
        let values = std::iter::repeat_n(value.as_bytes(), 150);
        records.extend_from_slice(&BatchBuilder::new(0).values(values).build().unwrap());
    }
    let partition = PartitionData::default().with_records(Some(records.into()));
    let topic = FetchableTopicResponse::default().with_topic(name("orders")).with_partitions(vec![partition]);
    let response = FetchResponse::default().with_responses(vec![topic]);
    header::response_frame(id, ApiKey::Fetch, FETCH, &encoded(&response, FETCH))
}

fn fetch_of_orders() -> Bytes {
    let partition = FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 30);
    let topic = FetchTopic::default().with_topic(name("orders")).with_partitions(vec![partition]);
    encoded(&FetchRequest::default().with_session_epoch(-1).with_topics(vec![topic]), FETCH)
}

fn ids(session: &mut Session) -> Vec<i32> {
    std::iter::from_fn(|| session.to_client.pop(u64::MAX))
        .map(|(frame, _)| header::response_correlation_id(&frame).unwrap())
        .collect()
}

#[test]
fn a_small_request_is_served_between_the_turns_of_a_large_one() {
    let events = with_shard(|shard| async move {
        let mut large = open(&shard);
        ask(&mut large, &shard, 1, ApiKey::Fetch, FETCH, &fetch_of_orders());
        ask(&mut large, &shard, 2, ApiKey::PushTelemetry, 0, b"behind it");
        let denied = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("not-granted"));
        ask(&mut large, &shard, 3, ApiKey::FindCoordinator, 3, &encoded(&denied, 3));
        large.from_upstream.extend(&large_answer(1, 2));
        large.from_upstream.extend(&header::response_frame(2, ApiKey::PushTelemetry, 0, b"answered"));
        let mut small = open(&shard);

        let turns = Rc::new(Cell::new(0));
        let counting = turns.clone();
        let of_large = shard.clone();
        let releasing = runtime::spawn(async move {
            loop {
                large.begin_turn();
                large.take_responses(&of_large, NOW);
                counting.set(counting.get() + 1);
                let released = ids(&mut large);
                if !large.is_releasing() {
                    // The next turn takes what came behind.
                    large.begin_turn();
                    large.take_responses(&of_large, NOW);
                    return (released, ids(&mut large));
                }
                assert!(large.is_spent(), "a turn ends where its work is used up");
                assert!(released.is_empty(), "something overtook the large response");
                assert!(!large.wants_upstream_bytes(&of_large), "reading pauses meanwhile");
                assert!(!large.is_quiet());
                runtime::yield_now().await;
            }
        });
        for id in 0..5 {
            let before = turns.get();
            while turns.get() == before {
                runtime::yield_now().await;
            }
            small.begin_turn();
            ask(&mut small, &shard, id, ApiKey::PushTelemetry, 0, b"small");
            small.from_upstream.extend(&header::response_frame(id, ApiKey::PushTelemetry, 0, b"answered"));
            small.take_responses(&shard, NOW);
            assert_eq!(ids(&mut small), [id]);
            assert_eq!(turns.get(), before + 1);
        }
        let (first, behind) = releasing.await;
        assert!(turns.get() > 15, "{} turns", turns.get());
        assert_eq!([first, behind].concat(), [1, 2, 3]);
    });
    let fetched = events.iter().find(|event| event.api == "Fetch").unwrap();
    assert_eq!(fetched.outcome, Outcome::Allowed as i32);
    assert_eq!(fetched.findings[0].count, fetched.resources[0].records);
    assert!(fetched.resources[0].records > 4000);
}

#[test]
fn a_response_left_midway_stands_in_the_evidence() {
    let events = with_shard(|shard| async move {
        let mut session = open(&shard);
        ask(&mut session, &shard, 1, ApiKey::Fetch, FETCH, &fetch_of_orders());
        session.from_upstream.extend(&large_answer(1, 1));
        session.begin_turn();
        session.take_responses(&shard, NOW);
        assert!(session.is_releasing());
        session.upstream_gone(&shard, "it broke", NOW);
        session.begin_turn();
        session.take_responses(&shard, NOW);
        assert!(ids(&mut session).is_empty());
    });
    let fetched = events.iter().find(|event| event.api == "Fetch").unwrap();
    assert_eq!((fetched.outcome, fetched.response_bytes), (Outcome::UpstreamFailed as i32, 0));
}

#[test]
fn an_unknown_topic_id_is_asked_about_once_in_a_while() {
    with_shard(|shard| async move {
        let mut session = open(&shard);
        let topic = FetchTopic::default().with_topic_id(uuid::Uuid::from_u128(77));
        let topic = topic.with_partitions(vec![FetchPartition::default()]);
        let body = encoded(&FetchRequest::default().with_session_epoch(-1).with_topics(vec![topic]), 13);
        for (id, at, asks) in [(1, 0, true), (2, 900, false), (3, 1001, true)] {
            let now = NOW.plus_millis(at);
            session.from_client.extend(&header::request_frame(id, ApiKey::Fetch, 13, "tester", &body));
            session.take_requests(&shard, now);
            let asked = session.to_upstream.pop(u64::MAX);
            assert_eq!(asked.is_some(), asks, "at {at} ms");
            if let Some((question, _)) = asked {
                let question = header::RequestHeader::parse(&question).unwrap();
                assert_eq!(question.api, ApiKey::Metadata);
                let unknown = MetadataResponseTopic::default()
                    .with_topic_id(uuid::Uuid::from_u128(77))
                    .with_name(None)
                    .with_error_code(100);
                let answer = encoded(&MetadataResponse::default().with_topics(vec![unknown]), 12);
                session.from_upstream.extend(&header::response_frame(
                    question.correlation_id,
                    ApiKey::Metadata,
                    12,
                    &answer,
                ));
                session.take_responses(&shard, now);
                session.take_requests(&shard, now);
                assert!(session.to_upstream.pop(u64::MAX).is_none());
            }
            session.take_responses(&shard, now);
            assert_eq!(ids(&mut session), [id]);
        }
    });
}

#[test]
fn an_exchange_of_which_part_was_refused_is_denied_in_part() {
    let resource = |allowed| Touched { allowed, ..Touched::default() };
    let cases = [
        (false, false, vec![], Outcome::Allowed),
        (false, false, vec![true, true], Outcome::Allowed),
        (false, false, vec![true, false], Outcome::PartlyDenied),
        (false, false, vec![false], Outcome::Denied),
        (false, true, vec![true, false], Outcome::PartlyDenied),
        (false, true, vec![false, false], Outcome::Malformed),
        (true, false, vec![true], Outcome::Malformed),
    ];
    for (malformed, unparseable, resources, outcome) in cases {
        let resources = resources.into_iter().map(resource).collect();
        let draft = Draft { malformed, unparseable, resources, ..Draft::default() };
        assert_eq!(outcome_of(&draft), outcome, "{draft:?}");
    }
}
