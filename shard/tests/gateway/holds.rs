//! Held operations in front of a real broker, asked for by stock tools: decided while the client waits, and later.
//! Where it is later, the decision is put into the control log while the gateway is down, so that a restart in the
//! middle is part of the story.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, DescribeConfigsRequest, MetadataRequest};
use kafka_protocol::protocol::StrBytes;
use serde_json::Value;
use tidegate::control::authority::log::{ControlLog as _, FileLog};
use tidegate_core::words::Timestamp;
use tidegate_policy::authority::{Actor, ApprovalId, Change, ControlEvent, DecidedBy, Decision};

use crate::admin::Person;
use crate::clients::{Endpoint, Kcat, StockClient as _, java_tool};
use crate::gateway::{Gateway, Setup, is_exchange, tidegate};
use crate::kafka::{Kafka, topic_name};
use crate::process::{Finished, until};

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

/// What the approver's rules hold while a client waits, and what it waits too short for.
const LIVE: &str = "
version: 1
grants:
  - name: held
    purpose: Tests
    principals: [alice]
    resources: [{topic: {prefix: live-}}, {group: '*'}, {cluster: true}]
    operations: [all]
holds:
  - name: waits
    everyone: true
    operations: [delete_topics, create_partitions, delete_records, alter_configs, alter_quotas, first_produce, first_consume]
    topics: [{prefix: live-}]
    approvers: {groups: [platform-owners]}
    hold: 25s
  - name: credentials
    everyone: true
    operations: [alter_acls]
    approvers: {groups: [platform-owners]}
    hold: 500ms
";

/// The questions that wait, with their summaries.
fn pending(bob: &Person<'_>) -> Vec<(String, String)> {
    let list = bob.json(&["approval", "list", "--status", "pending"]);
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    list["items"].as_array().unwrap().iter().map(|item| (text(item, "id"), text(item, "summary"))).collect()
}

fn admin_tool(at: &Endpoint, class: &str, arguments: &[&str]) -> Finished {
    java_tool(at, class, "--command-config", arguments, "")
}

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

#[test]
fn what_is_approved_while_its_client_waits_passes_once_and_nobody_else_waits() {
    let kafka = Kafka::shared();
    for topic in ["live-deleted", "live-configured"] {
        kafka.create_topic(topic, 1, 1);
    }
    let gateway = Setup { shards: 2, ..Setup::new(kafka, LIVE) }.start();
    let at = gateway.oauth("alice");
    let bob = Person::new(&gateway, "bob", &["platform-owners"]);
    let nothing = MetadataRequest::default().with_topics(Some(vec![]));
    let mut other = gateway.connect_as("alice", &[]);
    let ids = std::thread::scope(|scope| {
        let deletes = scope.spawn(|| admin_tool(&at, TOPICS, &["--delete", "--topic", "live-deleted"]));
        let configures = scope.spawn(|| {
            let entity = ["--alter", "--entity-type", "topics", "--entity-name", "live-configured"];
            admin_tool(&at, CONFIGS, &[&entity[..], &["--add-config", "retention.ms=60000"]].concat())
        });
        let waiting = until("both wait", Duration::from_secs(60), || Some(pending(&bob)).filter(|all| all.len() == 2));
        assert!(exists("live-deleted"));
        // The very connections wait, and no other: of the same principal, on each of the shards.
        for _ in 0..50 {
            other.ask(12, &nothing);
            gateway.connect_as("alice", &[]).ask(12, &nothing);
        }
        assert_eq!(pending(&bob).len(), 2, "they still wait");
        for (id, _) in &waiting {
            bob.json(&["approval", "approve", id, "--reason", "agreed on the phone"]);
        }
        deletes.join().unwrap().success();
        configures.join().unwrap().success();
        waiting.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    });
    until("the topic is gone", crate::gateway::TIMEOUT, || (!exists("live-deleted")).then_some(()));
    for id in &ids {
        let entries = || gateway.evidence().into_iter().filter(|entry| entry["approval"] == id.as_str());
        until("the exchange is in the evidence", crate::gateway::TIMEOUT, || {
            (entries().filter(|entry| entry["kind"] == "exchange").count() == 1).then_some(())
        });
        let used = entries().filter(|e| e["detail"].as_str().is_some_and(|detail| detail.starts_with("used:")));
        assert_eq!(used.count(), 1, "once");
        let passed = entries().find(|entry| entry["kind"] == "exchange").unwrap();
        assert_eq!((&passed["outcome"], &passed["principal"]), (&"allowed".into(), &"alice".into()), "{passed}");
    }
    // The same again is another question; its denial reaches the client that waits, with the reason.
    kafka.create_topic("live-deleted", 1, 1);
    let state = DeleteTopicState::default().with_name(Some(topic_name("live-deleted")));
    let again = DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(10_000);
    other.send(6, &again).unwrap();
    let (id, _) = until("it asks anew", crate::gateway::TIMEOUT, || pending(&bob).pop());
    assert!(!ids.contains(&id));
    bob.json(&["approval", "deny", &id, "--reason", "it is needed again"]);
    let (_, body) = other.receive(kafka_protocol::messages::ApiKey::DeleteTopics, 6).unwrap();
    assert!(String::from_utf8_lossy(&body).contains("it is needed again"));
    assert!(exists("live-deleted"));
}

#[test]
fn stock_tools_wait_for_an_approver_of_every_kind() {
    let kafka = Kafka::shared();
    for topic in ["live-records", "live-partitions", "live-first"] {
        kafka.create_topic(topic, 1, 1);
        kafka.control().ask(11, &crate::records::produce(&[topic], crate::records::batch(&["one", "two"])));
    }
    let gateway = Setup::new(kafka, LIVE).start();
    let at = gateway.oauth("alice");
    let by_token = gateway.token_as_password("alice", &[]);
    let bob = Person::new(&gateway, "bob", &["platform-owners"]);
    let folder = tempfile::tempdir().unwrap();
    let offsets = folder.path().join("offsets.json");
    let up_to = r#"{"partitions": [{"topic": "live-records", "partition": 0, "offset": 1}], "version": 1}"#;
    std::fs::write(&offsets, up_to).unwrap();
    let user = ["--alter", "--entity-type", "users", "--entity-name", "hold-user"];
    let quota = [&user[..], &["--add-config", "producer_byte_rate=1048576"]].concat();

    // Each waits until bob has looked at it.
    std::thread::scope(|scope| {
        let done = [
            scope.spawn(|| {
                let arguments = ["--offset-json-file", offsets.to_str().unwrap()];
                admin_tool(&at, "org.apache.kafka.tools.DeleteRecordsCommand", &arguments).success()
            }),
            scope.spawn(|| {
                admin_tool(&at, TOPICS, &["--alter", "--topic", "live-partitions", "--partitions", "3"]).success()
            }),
            scope.spawn(|| admin_tool(&at, CONFIGS, &quota).success()),
            scope.spawn(|| Kcat.consume(&by_token, "live-first", "live-group", 2).join(" ")),
        ];
        let mut seen = BTreeSet::new();
        until("all have asked", Duration::from_secs(90), || {
            for (id, summary) in pending(&bob) {
                bob.json(&["approval", "approve", &id, "--reason", "fine"]);
                seen.insert(summary);
            }
            (seen.len() == 4).then_some(())
        });
        let outputs = done.map(|tool| tool.join().unwrap());
        assert!(outputs[0].contains("low_watermark: 1"), "{}", outputs[0]);
        assert_eq!(outputs[3], "one two");
        let asked: Vec<&str> = seen.iter().map(String::as_str).collect();
        assert_eq!(
            asked,
            [
                "add partitions live-partitions to 3",
                "change quotas of user hold-user: producer_byte_rate=1048576",
                "consume from topic live-first for the first time",
                "delete records live-records-0 before offset 1",
            ]
        );
    });
    assert_eq!(kafka.metadata(&["live-partitions"]).topics[0].partitions.len(), 3);
    std::thread::scope(|scope| {
        let produces = scope.spawn(|| Kcat.produce(&by_token, "live-first", &["three"]));
        let (id, summary) = until("the producer waits", Duration::from_secs(30), || pending(&bob).pop());
        assert_eq!(summary, "produce to topic live-first for the first time");
        bob.json(&["approval", "approve", &id, "--reason", "fine"]);
        produces.join().unwrap();
    });

    // Too short for anybody: refused with the approval's name, and the same command passes once it is approved. For
    // a password too, whose salt is another with every try.
    let scram = [&user[..], &["--add-config", "SCRAM-SHA-256=[iterations=4096,password=hold-secret]"]].concat();
    let acl =
        ["--add", "--allow-principal", "User:hold-user", "--operation", "Read", "--topic", "live-first", "--force"];
    let rows: [(&str, &[&str], &str); 2] = [
        (CONFIGS, &scram, "set that of hold-user (SCRAM-SHA-256, 4096 iterations)"),
        ("org.apache.kafka.tools.AclCommand", &acl, "create ACLs allow User:hold-user"),
    ];
    for (class, arguments, says) in rows {
        let told = admin_tool(&at, class, arguments);
        let told = format!("{}{}", told.stdout, told.stderr);
        assert!(told.contains("PolicyViolation") && told.contains("credentials"), "{told}");
        let (id, summary) = pending(&bob).pop().unwrap_or_else(|| panic!("nothing waits: {told}"));
        assert!(summary.contains(says), "{summary}");
        assert!(told.contains(&id), "{told}");
        bob.json(&["approval", "approve", &id, "--reason", "fine"]);
        let done = admin_tool(&at, class, arguments).success();
        assert!(!done.contains("PolicyViolation"), "{done}");
        let passed = gateway.evidence_of("the use", |entry| {
            entry["approval"] == id.as_str() && entry["kind"] == "exchange" && entry["outcome"] == "allowed"
        });
        assert_eq!(passed["principal"], "alice");
        assert!(pending(&bob).is_empty());
    }
    let log = std::fs::read_to_string(gateway.evidence_folder().join("control/control.log")).unwrap();
    assert!(!log.contains("hold-secret"));
}
