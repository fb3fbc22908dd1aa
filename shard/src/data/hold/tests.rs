//! The stage in sessions, with the real authority behind it and no socket: what passes, what waits,
//! what is refused; and a seeded simulation whose oracle is the control log.

mod canonical;
mod desk;
mod seeds;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{
    ApiKey, DeleteTopicsRequest, DeleteTopicsResponse, DescribeConfigsResponse, FetchRequest, FetchResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;
use tidegate_core::event::{Event, Kind, Outcome};
use tidegate_core::header;
use tidegate_core::words::Principal;
use tidegate_policy::authority::{Actor, ApprovalId, Command, HeldOperation, RequestKey};

use self::canonical::alter;
use self::desk::{Desk, NOW, POLICY, ask, bob, look, name, open, response, upstream, with_desk};
use crate::data::session::{HeldFor, Phase};

const DELETE: i16 = 6;

fn delete(topics: &[&str]) -> DeleteTopicsRequest {
    let state = |topic: &&str| DeleteTopicState::default().with_name(Some(name(topic)));
    DeleteTopicsRequest::default().with_topics(topics.iter().map(state).collect()).with_timeout_ms(10_000)
}

fn exchange<'a>(events: &'a [Event], api: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.kind == Kind::Exchange as i32 && event.api == api).collect()
}

#[test]
fn what_is_approved_while_it_waits_passes_once() {
    let events = with_desk(POLICY, |shard, mut desk| async move {
        let mut session = open(&shard);
        ask(&mut session, &shard, 1, ApiKey::DeleteTopics, DELETE, &delete(&["orders"]), NOW);
        desk.serve(&shard, NOW);
        assert!(session.held.as_ref().is_some_and(|held| held.reason == HeldFor::Approval));
        assert_eq!(shard.metrics.held_now.get(), 1);
        look(&mut session, &shard, &mut desk, NOW.plus_millis(50));
        assert!(upstream(&mut session).is_none(), "it passed without an approval");

        desk.approve_all(&shard, NOW.plus_millis(60));
        look(&mut session, &shard, &mut desk, NOW.plus_millis(70));
        let frame = upstream(&mut session).expect("approved");
        assert_eq!(header::RequestHeader::parse(&frame).unwrap().api, ApiKey::DeleteTopics);
        assert_eq!(desk.used(), 1);
        assert_eq!(shard.metrics.held_now.get(), 0);
        let answer = response(1, ApiKey::DeleteTopics, DELETE, &DeleteTopicsResponse::default());
        session.from_upstream.extend(&answer);
        session.take_responses(&shard, NOW.plus_millis(80));

        // The same once more, on the same connection: another question.
        ask(&mut session, &shard, 2, ApiKey::DeleteTopics, DELETE, &delete(&["orders"]), NOW.plus_millis(90));
        look(&mut session, &shard, &mut desk, NOW.plus_millis(100));
        assert!(upstream(&mut session).is_none(), "an approval passed twice");
        assert_eq!(desk.pending().len(), 1);
        session.ended(&shard, NOW.plus_millis(110));
    });
    let entries = exchange(&events, "DeleteTopics");
    assert_eq!(entries.len(), 2, "one that passed, one that the end of the connection left waiting");
    assert_eq!((entries[0].outcome, entries[1].outcome), (Outcome::Allowed as i32, Outcome::Denied as i32));
    assert!(entries.iter().all(|entry| entry.approval.starts_with("ap-")));
    assert_ne!(entries[0].approval, entries[1].approval);
    assert!(entries[1].detail.contains("while the request was held"), "{}", entries[1].detail);
}

#[test]
fn what_timed_out_names_its_approval_and_its_retry_passes() {
    let events = with_desk(POLICY, |shard, mut desk| async move {
        let mut session = open(&shard);
        ask(&mut session, &shard, 1, ApiKey::DeleteTopics, DELETE, &delete(&["orders", "free"]), NOW);
        look(&mut session, &shard, &mut desk, NOW.plus_millis(900));
        assert!(session.held.is_some());
        look(&mut session, &shard, &mut desk, NOW.plus_millis(1000));
        assert!(session.held.is_none(), "it waited longer than the rule says");
        let answer: DeleteTopicsResponse = desk::answer(&mut session, ApiKey::DeleteTopics, DELETE);
        let pending = desk.pending();
        let [id] = &pending[..] else { panic!("{pending:?}") };
        assert_eq!(answer.responses.len(), 2, "it is held as a whole");
        for topic in &answer.responses {
            assert_eq!(topic.error_code, 44);
            assert!(topic.error_message.as_ref().is_some_and(|text| text.contains(&*id.0)), "{topic:?}");
        }

        // From another connection, in another order and version, with another timeout: the same wish.
        let mut again = open(&shard);
        let mut retry = DeleteTopicsRequest::default().with_timeout_ms(5);
        retry.topic_names = vec![name("free"), name("orders")];
        let now = NOW.plus_millis(5000);
        desk.approve_all(&shard, now);
        ask(&mut again, &shard, 7, ApiKey::DeleteTopics, 3, &retry, now);
        look(&mut again, &shard, &mut desk, now);
        assert!(upstream(&mut again).is_some(), "the retry did not find its approval");
        assert_eq!(desk.used(), 1);

        // Changed between approval and retry: not covered.
        let mut third = open(&shard);
        ask(&mut third, &shard, 8, ApiKey::DeleteTopics, DELETE, &delete(&["orders", "logs"]), now);
        look(&mut third, &shard, &mut desk, now);
        assert!(upstream(&mut third).is_none());
    });
    let refused = exchange(&events, "DeleteTopics")[0];
    assert_eq!(refused.outcome, Outcome::Denied as i32);
    assert!(refused.upstream_errors.is_empty(), "the upstream was not asked");
    assert!(refused.resources.iter().all(|resource| !resource.allowed));
}

#[test]
fn a_denial_is_told_with_its_reason() {
    with_desk(POLICY, |shard, mut desk| async move {
        let mut session = open(&shard);
        ask(&mut session, &shard, 1, ApiKey::DeleteTopics, DELETE, &delete(&["orders"]), NOW);
        desk.serve(&shard, NOW);
        for approval in desk.pending() {
            let command = Command::Deny { approval, reason: "we need it".to_owned() };
            desk.command(&shard, bob(), command, NOW).unwrap();
        }
        look(&mut session, &shard, &mut desk, NOW.plus_millis(30));
        let answer: DeleteTopicsResponse = desk::answer(&mut session, ApiKey::DeleteTopics, DELETE);
        assert_eq!(answer.responses[0].error_code, 44);
        assert!(answer.responses[0].error_message.as_ref().unwrap().contains("we need it"));
    });
}

#[test]
fn retention_may_grow_without_asking_but_not_shrink() {
    let current = |value: &'static str| {
        let config = DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str("retention.ms"))
            .with_value(Some(StrBytes::from_static_str(value)));
        let topic = DescribeConfigsResult::default().with_resource_type(2);
        let topic = topic.with_resource_name(StrBytes::from_static_str("orders")).with_configs(vec![config]);
        DescribeConfigsResponse::default().with_results(vec![topic])
    };
    let cases = [("1000", "2000", true), ("1000", "999", false), ("-1", "5000", false), ("5000", "-1", true)];
    for (from, to, passes) in cases {
        let now_is = current(from);
        let events = with_desk(POLICY, move |shard, mut desk| async move {
            let mut session = open(&shard);
            let request = alter("orders", &[("retention.ms", to)]);
            ask(&mut session, &shard, 1, ApiKey::IncrementalAlterConfigs, 1, &request, NOW);
            let question = header::RequestHeader::parse(&upstream(&mut session).expect("the broker is asked")).unwrap();
            assert_eq!(question.api, ApiKey::DescribeConfigs);
            session.from_upstream.extend(&response(question.correlation_id, ApiKey::DescribeConfigs, 4, &now_is));
            session.take_responses(&shard, NOW);
            look(&mut session, &shard, &mut desk, NOW.plus_millis(10));
            assert_eq!(upstream(&mut session).is_some(), passes, "from {from} to {to}");
            assert_eq!(desk.pending().is_empty(), passes);
            let answer = response(1, ApiKey::IncrementalAlterConfigs, 1, &IncrementalAlterConfigsResponse::default());
            session.from_upstream.extend(if passes { &answer } else { &[] });
            session.take_responses(&shard, NOW);
            session.ended(&shard, NOW);
        });
        let entry = exchange(&events, "IncrementalAlterConfigs")[0];
        assert_eq!(entry.detail.contains("pass without asking"), passes, "{}", entry.detail);
    }
}

#[test]
fn what_no_rule_names_does_not_wait() {
    with_desk(POLICY, |shard, mut desk| async move {
        let mut session = open(&shard);
        ask(&mut session, &shard, 1, ApiKey::DeleteTopics, DELETE, &delete(&["free"]), NOW);
        assert!(upstream(&mut session).is_some());
        let other = alter("orders", &[("segment.ms", "5")]);
        ask(&mut session, &shard, 2, ApiKey::IncrementalAlterConfigs, 1, &other, NOW);
        assert!(upstream(&mut session).is_some());
        let mut only_asks: IncrementalAlterConfigsRequest = alter("orders", &[("retention.ms", "1")]);
        only_asks.validate_only = true;
        ask(&mut session, &shard, 3, ApiKey::IncrementalAlterConfigs, 1, &only_asks, NOW);
        assert!(upstream(&mut session).is_some(), "whether it could be done may be asked");
        desk.serve(&shard, NOW);
        assert!(desk.pending().is_empty());
    });
}

#[test]
fn another_policy_asks_anew_and_a_drain_ends_the_wait() {
    with_desk(POLICY, |shard, mut desk| async move {
        let mut session = open(&shard);
        ask(&mut session, &shard, 1, ApiKey::DeleteTopics, DELETE, &delete(&["orders"]), NOW);
        desk.serve(&shard, NOW);
        desk.approve_all(&shard, NOW);
        desk.reload(&shard, &POLICY.replace("purpose: tests", "purpose: other tests"), NOW);
        look(&mut session, &shard, &mut desk, NOW.plus_millis(30));
        assert!(upstream(&mut session).is_none(), "an approval of another policy counted");
        look(&mut session, &shard, &mut desk, NOW.plus_millis(40));
        assert_eq!(desk.pending().len(), 1);

        shard.shared.draining.store(true, std::sync::atomic::Ordering::Release);
        look(&mut session, &shard, &mut desk, NOW.plus_millis(50));
        let answer: DeleteTopicsResponse = desk::answer(&mut session, ApiKey::DeleteTopics, DELETE);
        assert_eq!(answer.responses[0].error_code, 44);
    });
}

#[test]
fn nobody_is_kept_waiting_for_longer_than_he_waits() {
    with_desk(&POLICY.replace("hold: 1s", "hold: 20s"), |shard, mut desk| async move {
        let mut session = open(&shard);
        ask(&mut session, &shard, 1, ApiKey::DeleteTopics, DELETE, &delete(&["orders"]).with_timeout_ms(5000), NOW);
        look(&mut session, &shard, &mut desk, NOW.plus_millis(4499));
        assert!(session.held.is_some());
        look(&mut session, &shard, &mut desk, NOW.plus_millis(4501));
        let answer: DeleteTopicsResponse = desk::answer(&mut session, ApiKey::DeleteTopics, DELETE);
        assert_eq!(answer.responses[0].error_code, 44, "there is still time for it to reach its client");
        assert_eq!(desk.pending().len(), 1, "and the question stays");
        // Who does not say waits as long as the rule has it, within the bound of all.
        ask(
            &mut session,
            &shard,
            2,
            ApiKey::DeleteTopics,
            DELETE,
            &delete(&["logs"]).with_timeout_ms(0),
            NOW.plus_millis(5000),
        );
        look(&mut session, &shard, &mut desk, NOW.plus_millis(24_990));
        assert!(session.held.is_some());
    });
}

/// Logs of before bind approvals by a key without a secret; what was approved there counts, and is asked no more.
#[test]
fn what_was_asked_before_keys_were_secret_still_counts() {
    with_desk(POLICY, |shard, mut desk| async move {
        let (id, session) = (ApprovalId::from("ap-before"), "s".to_owned());
        let anonymous = Principal::anonymous();
        let held = HeldOperation {
            id: id.clone(),
            key: RequestKey::unkeyed(&anonymous, HeldOperation::FIRST_CONSUME, b"new"),
            api: HeldOperation::FIRST_CONSUME.to_owned(),
            summary: "consume from topic new for the first time".to_owned(),
            resources: Vec::new(),
            principal: Actor::from(&anonymous),
            session: session.clone(),
            rule: "first".to_owned(),
            policy_fingerprint: shard.policy().fingerprint().to_owned(),
            expires: NOW,
            valid_millis: 0,
        };
        desk.command(&shard, Actor::from(&anonymous), Command::Hold(held), NOW).unwrap();
        desk.approve_all(&shard, NOW);
        desk.command(&shard, Actor::gateway(), Command::Use { approval: id, session }, NOW).unwrap();
        let mut session = open(&shard);
        ask(&mut session, &shard, 1, ApiKey::Fetch, 12, &fetch("new"), NOW);
        assert!(upstream(&mut session).is_some(), "it was answered for good");
        desk.serve(&shard, NOW);
        assert!(desk.pending().is_empty());
    });
}

fn fetch(topic: &str) -> FetchRequest {
    let partition = FetchPartition::default().with_partition_max_bytes(1000);
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![partition]);
    FetchRequest::default().with_session_epoch(-1).with_topics(vec![topic])
}

#[test]
fn a_topic_is_consumed_for_the_first_time_with_an_approval_and_then_for_good() {
    with_desk(POLICY, |shard, mut desk| async move {
        let mut session = open(&shard);
        ask(&mut session, &shard, 1, ApiKey::Fetch, 12, &fetch("new"), NOW);
        look(&mut session, &shard, &mut desk, NOW.plus_millis(2000));
        let answer: FetchResponse = desk::answer(&mut session, ApiKey::Fetch, 12);
        assert_eq!(answer.responses[0].partitions[0].error_code, 29);
        // It waited once; as long as nobody decides it is refused at once.
        ask(&mut session, &shard, 2, ApiKey::Fetch, 12, &fetch("new"), NOW.plus_millis(2001));
        assert!(session.held.is_none());
        let answer: FetchResponse = desk::answer(&mut session, ApiKey::Fetch, 12);
        assert_eq!(answer.responses[0].partitions[0].error_code, 29);

        let now = NOW.plus_millis(3000);
        desk.approve_all(&shard, now);
        ask(&mut session, &shard, 3, ApiKey::Fetch, 12, &fetch("new"), now);
        look(&mut session, &shard, &mut desk, now);
        assert!(upstream(&mut session).is_some(), "approved");
        assert_eq!(desk.used(), 1);
        ask(&mut session, &shard, 4, ApiKey::Fetch, 12, &fetch("new"), now);
        assert!(upstream(&mut session).is_some(), "and so is what follows");
        desk.reload(&shard, &POLICY.replace("purpose: tests", "purpose: other tests"), now);
        let mut other = open(&shard);
        ask(&mut other, &shard, 5, ApiKey::Fetch, 12, &fetch("new"), now);
        assert!(upstream(&mut other).is_some(), "on every connection, under every policy");
        desk.serve(&shard, now);
        assert!(desk.pending().is_empty());
    });
}

#[test]
fn a_revocation_ends_an_open_connection_and_withholds_what_is_under_way() {
    let revoke = |desk: &mut Desk, shard: &crate::data::shard::Shard| {
        let (name, reason) = ("ANONYMOUS".into(), "left the company".to_owned());
        desk.command(shard, bob(), Command::RevokePrincipal { issuer: None, name, until: None, reason }, NOW).unwrap();
    };
    // At the next request: its own API's refusal, then the end.
    let events = with_desk(POLICY, move |shard, mut desk| async move {
        let mut session = open(&shard);
        revoke(&mut desk, &shard);
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"));
        ask(&mut session, &shard, 1, ApiKey::FindCoordinator, 3, &request, NOW);
        assert!(upstream(&mut session).is_none(), "it was admitted after its revocation");
        let answer: FindCoordinatorResponse = desk::answer(&mut session, ApiKey::FindCoordinator, 3);
        assert_eq!(answer.error_code, 30);
        assert_eq!(session.phase, Phase::Closing);
    });
    let refused = events.iter().find(|event| event.kind == Kind::ConnectionRefused as i32).unwrap();
    assert!(refused.detail.contains("left the company"), "{}", refused.detail);

    // With a response owed and one that has not left: neither leaves, and idle ones are closed too.
    let events = with_desk(POLICY, move |shard, mut desk| async move {
        let mut session = open(&shard);
        for id in [1, 2] {
            session.from_client.extend(&header::request_frame(id, ApiKey::PushTelemetry, 0, "tester", b"x"));
        }
        session.take_requests(&shard, NOW);
        session.from_upstream.extend(&header::response_frame(1, ApiKey::PushTelemetry, 0, b"answered"));
        session.take_responses(&shard, NOW);
        revoke(&mut desk, &shard);
        session.check_deadlines(&shard, NOW);
        assert_eq!(session.phase, Phase::Closing);
        session.from_upstream.extend(&header::response_frame(2, ApiKey::PushTelemetry, 0, b"answered"));
        session.take_responses(&shard, NOW);
        assert!(session.to_client.pop(u64::MAX).is_none(), "something left after the revocation");
    });
    let refused = events.iter().find(|event| event.kind == Kind::ConnectionRefused as i32).unwrap();
    assert!(refused.detail.contains("2 responses were not released"), "{}", refused.detail);
}

#[test]
fn whoever_authenticates_anew_without_the_group_that_gave_him_rights_is_shut_out() {
    let events = with_desk(&POLICY.replace("principals: [ANONYMOUS]", "groups: [team]"), |shard, _| async move {
        let named = |groups: &[&str]| tidegate_core::words::Principal {
            issuer: "idp".into(),
            subject: "ann".into(),
            name: "ann".into(),
            groups: groups.iter().map(|group| (*group).into()).collect(),
        };
        let mut session = open(&shard);
        session.authenticated(&shard, named(&["team"]), None, "by token".to_owned(), NOW);
        session.check_deadlines(&shard, NOW);
        assert_eq!(session.phase, Phase::Open);
        session.authenticated(&shard, named(&[]), None, "by token, anew".to_owned(), NOW);
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"));
        ask(&mut session, &shard, 1, ApiKey::FindCoordinator, 3, &request, NOW);
        assert!(upstream(&mut session).is_none(), "it was admitted");
        assert_eq!(session.phase, Phase::Closing);
    });
    assert!(events.iter().any(|event| event.detail.contains("no grant left")), "{events:?}");
}

#[test]
fn revoking_a_login_ends_each_of_its_connections_and_no_other() {
    with_desk(POLICY, move |shard, mut desk| async move {
        let mut sessions = [open(&shard), open(&shard), open(&shard)];
        for (session, login) in sessions.iter_mut().zip(["login-1", "login-1", "login-2"]) {
            session.login_session = Some(login.into());
        }
        let reason = "lost laptop".to_owned();
        let command = Command::RevokeSession { session: "login-1".to_owned(), reason, holder: None };
        desk.command(&shard, bob(), command, NOW).unwrap();
        for session in &mut sessions {
            session.check_deadlines(&shard, NOW);
        }
        assert_eq!(sessions.map(|session| session.phase), [Phase::Closing, Phase::Closing, Phase::Open]);
    });
}
