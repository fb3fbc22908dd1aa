//! Single conversations with a session: what the simulation's chance would not pin down.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tidegate_core::event::{Event, Kind, Outcome};
use tidegate_core::header;
use tidegate_core::words::Timestamp;

use super::{Phase, Session};
use crate::config::Target;
use crate::data::shard::Shard;
use crate::data::simulation::broker::Broker;
use crate::data::simulation::{self};
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
    let mut tail = tidegate_audit::tail::Tail::open(
        &directory,
        None,
        tidegate_audit::tail::StartAt::First,
        Box::new(|_| true),
    )
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
