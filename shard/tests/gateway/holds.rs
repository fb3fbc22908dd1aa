//! Held operations in front of a real broker, asked for by stock tools. The approver's decision is put
//! into the control log while the gateway is down, so a restart in the middle is part of every story.

use std::path::Path;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, DescribeConfigsRequest};
use kafka_protocol::protocol::StrBytes;
use tidegate::control::authority::log::{ControlLog as _, FileLog};
use tidegate_core::words::Timestamp;
use tidegate_policy::authority::{Actor, ApprovalId, Change, ControlEvent, DecidedBy, Decision};

use crate::clients::java_tool;
use crate::gateway::{Gateway, Setup, is_exchange, tidegate};
use crate::kafka::{Kafka, topic_name};

const POLICY: &str = "
version: 1
grants:
  - name: held
    purpose: Tests
    principals: [alice]
    resources: [{topic: {prefix: held-}}]
    operations: [read, write, create, delete, alter, describe, describe_configs, alter_configs]
holds:
  - name: no-quiet-deletion
    everyone: true
    operations: [delete_topics]
    topics: [{prefix: held-}]
    approvers: {groups: [platform-owners]}
    hold: 1s
    pending: 1h
  - name: retention-does-not-shrink
    everyone: true
    operations: [alter_configs]
    configs: [retention.ms]
    unless: [{config: retention.ms, change: grows}]
    approvers: {groups: [platform-owners]}
    hold: 1s
";

/// The id of an approval in what a client was told.
fn approval_in(text: &str) -> String {
    const BEFORE: &str = "approval ";
    let at = text.find("approval ap-").unwrap_or_else(|| panic!("no approval is named: {text}"));
    text[at + BEFORE.len()..].chars().take(19).collect()
}

/// Approves as bob, who is asleep while the gateway is up.
fn approve(gateway: &mut Gateway, approval: &str) {
    gateway.restart_after(|folder: &Path| {
        let mut log = FileLog::open(&folder.join("evidence/control")).unwrap();
        let mut last = Timestamp::default();
        let replayed = log.replay(&mut |_, event| {
            last = event.time;
            Ok(())
        });
        assert!(replayed.unwrap().events > 0, "the question is not in the control log");
        let bob = Actor { issuer: "idp".into(), name: "bob".into(), subject: "bob".into(), groups: Vec::new() };
        let change = Change::Decided {
            approval: ApprovalId::from(approval),
            decision: Decision::Approve,
            reason: "the topic is empty".to_owned(),
            by: DecidedBy::Person,
            quorum: 1,
        };
        log.append(&ControlEvent::new(last.plus_millis(1), bob, change)).unwrap();
        log.sync().unwrap();
    });
}

fn exists(topic: &str) -> bool {
    Kafka::shared().metadata(&[topic]).topics[0].error_code == 0
}

#[test]
fn a_deletion_waits_for_its_approval_and_passes_once() {
    let kafka = Kafka::shared();
    kafka.create_topic("held-deletion", 1, 1);
    let mut gateway = Setup::new(kafka, POLICY).start();
    let at = gateway.oauth("alice");
    let delete = |at| {
        let arguments = ["--delete", "--topic", "held-deletion"];
        java_tool(at, "org.apache.kafka.tools.TopicCommand", "--command-config", &arguments, "")
    };
    let told = delete(&at).failure();
    assert!(told.contains("PolicyViolation") && told.contains("no-quiet-deletion"), "{told}");
    let approval = approval_in(&told);
    assert!(exists("held-deletion"), "it was deleted without an approval");
    // The retry finds the same question.
    assert_eq!(approval_in(&delete(&at).failure()), approval);

    approve(&mut gateway, &approval);
    delete(&at).success();
    crate::process::until("the topic is gone", crate::gateway::TIMEOUT, || (!exists("held-deletion")).then_some(()));

    // An approval passes once.
    kafka.create_topic("held-deletion", 1, 1);
    assert_ne!(approval_in(&delete(&at).failure()), approval);
    assert!(exists("held-deletion"));

    let passed = gateway.evidence_of("the deletion", |entry| {
        is_exchange(entry, "DeleteTopics", "held-deletion") && entry["outcome"] == "allowed"
    });
    assert_eq!(passed["approval"], approval.as_str());
    let folder = gateway.evidence_folder();
    let story = tidegate(&["audit", "show", &approval, folder.to_str().unwrap()]).success();
    for part in ["DeleteTopics denied", "DeleteTopics allowed", "alice", "held-deletion", "used"] {
        assert!(story.contains(part), "{part} is not in the story:\n{story}");
    }
    let json = tidegate(&["audit", "show", &approval, folder.to_str().unwrap(), "--output", "json"]).success();
    assert!(
        json.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()) && json.lines().count() >= 4
    );
}

#[test]
fn a_request_changed_after_its_approval_is_another_request() {
    let kafka = Kafka::shared();
    let mut gateway = Setup::new(kafka, POLICY).start();
    for topic in ["held-a", "held-b"] {
        kafka.create_topic(topic, 1, 1);
    }
    let delete = |gateway: &Gateway, topics: &[&str]| -> DeleteTopicsResponse {
        let state = |topic: &&str| DeleteTopicState::default().with_name(Some(topic_name(topic)));
        let request = DeleteTopicsRequest::default().with_topics(topics.iter().map(state).collect());
        gateway.connect_as("alice", &[]).ask(6, &request.with_timeout_ms(10_000))
    };
    let told = delete(&gateway, &["held-a"]);
    assert_eq!(told.responses[0].error_code, 44);
    approve(&mut gateway, &approval_in(told.responses[0].error_message.as_deref().unwrap()));
    let told = delete(&gateway, &["held-a", "held-b"]);
    assert!(told.responses.iter().all(|topic| topic.error_code == 44), "{told:?}");
    assert!(exists("held-a") && exists("held-b"));
    assert_eq!(delete(&gateway, &["held-a"]).responses[0].error_code, 0, "the very request passes");
}

#[test]
fn retention_grows_without_asking_and_shrinks_with_an_approval() {
    let kafka = Kafka::shared();
    kafka.create_topic("held-retention", 1, 1);
    let mut gateway = Setup::new(kafka, POLICY).start();
    let at = gateway.oauth("alice");
    let set = |at, value: &str| {
        let config = format!("retention.ms={value}");
        let arguments =
            ["--alter", "--entity-type", "topics", "--entity-name", "held-retention", "--add-config", &config];
        java_tool(at, "kafka.admin.ConfigCommand", "--command-config", &arguments, "")
    };
    let retention = || {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(StrBytes::from_static_str("held-retention"))
            .with_configuration_keys(Some(vec![StrBytes::from_static_str("retention.ms")]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = kafka.control().ask(4, &request);
        answer.results[0].configs[0].value.as_deref().unwrap().to_owned()
    };
    // The default is a week.
    set(&at, "700000000").success();
    assert_eq!(retention(), "700000000");
    let told = set(&at, "60000").failure();
    assert!(told.contains("PolicyViolation"), "{told}");
    assert_eq!(retention(), "700000000");
    approve(&mut gateway, &approval_in(&told));
    set(&at, "60000").success();
    assert_eq!(retention(), "60000");
}
