//! The evidence as people read it: `tidegate audit tail` beside a gateway that runs, and after it.

use serde_json::Value;

use crate::gateway::{Setup, TIMEOUT, is_exchange, tidegate};
use crate::kafka::Kafka;
use crate::process::until;
use crate::records::{batch, fetch, produce};

const POLICY: &str = "
version: 1
grants:
  - name: evidence
    purpose: Showing what is written down
    groups: [analysts]
    resources: [{topic: evidence-mine}]
    operations: [read, write]
";

#[test]
fn audit_tail_prints_every_exchange_as_it_was() {
    let kafka = Kafka::shared();
    kafka.create_topic("evidence-mine", 1, 1);
    kafka.create_topic("evidence-theirs", 1, 1);
    let gateway = Setup { shards: 2, ..Setup::new(kafka, POLICY) }.start();
    // A client on each port, so that most likely both shards have something to say.
    for _ in 0..4 {
        let mut alice = gateway.connect_as("alice", &["analysts", "staff"]).client_id("evidence-app");
        alice.ask(11, &produce(&["evidence-mine"], batch(&["one", "two"])));
        alice.ask(12, &fetch(&["evidence-mine", "evidence-theirs"]));
    }
    let folder = gateway.evidence_folder();
    let tail = |more: &[&str]| -> Vec<Value> {
        let arguments =
            [&["audit", "tail", folder.to_str().unwrap(), "--output", "json", "--lines", "all"], more].concat();
        tidegate(&arguments).success().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let fetches = || tail(&[]).into_iter().filter(|entry| is_exchange(entry, "Fetch", "evidence-mine")).collect();
    let fetches: Vec<Value> = until("four fetches", TIMEOUT, || Some(fetches()).filter(|f: &Vec<Value>| f.len() == 4));
    for entry in &fetches {
        assert_eq!(entry["principal"], "alice");
        assert_eq!(entry["groups"], serde_json::json!(["analysts", "staff"]));
        assert_eq!(entry["client_id"], "evidence-app");
        assert_eq!(entry["outcome"], "partly_denied");
        assert_eq!(entry["broker"], 1);
        assert!(entry["latency_micros"].as_u64().unwrap() > 0 && entry["policy_version"].as_u64().unwrap() > 0);
        assert!(!entry["session"].as_str().unwrap().is_empty());
    }
    until("all four sessions ended", TIMEOUT, || {
        (tail(&[]).iter().filter(|entry| entry["kind"] == "session_end").count() == 4).then_some(())
    });
    // Entries of one shard have an order; between shards there is only time.
    let in_order = |mut entries: Vec<Value>| {
        entries.sort_by_key(|entry| (entry["shard"].as_u64(), entry["sequence"].as_u64()));
        entries
    };
    let all = in_order(tail(&[]));
    assert_eq!(all, in_order(gateway.evidence()), "the command and the library read the same");
    let denied = tail(&["--topic", "evidence-theirs", "--outcome", "partly_denied", "--principal", "alice"]);
    assert_eq!(denied.len(), 4);
    for shard in ["0", "1"] {
        assert!(tail(&["--shard", shard]).iter().all(|entry| entry["shard"] == shard.parse::<u64>().unwrap()));
    }
    // After the end it reads as before, with the end.
    gateway.process().signal("TERM");
    assert!(gateway.process().wait(TIMEOUT).success());
    let after = tail(&[]);
    assert!(all.iter().all(|entry| after.contains(entry)));
    assert!(after.iter().any(|entry| entry["kind"] == "stop"));
}

#[test]
fn durable_and_async_release_leave_the_same_evidence() {
    let kafka = Kafka::shared();
    kafka.create_topic("evidence-mine-too", 1, 1);
    for release in ["durable", "async"] {
        let policy = POLICY.replace("evidence-mine", "evidence-mine-too");
        let gateway = Setup { release, ..Setup::new(kafka, &policy) }.start();
        let mut alice = gateway.connect_as("alice", &["analysts"]);
        for _ in 0..10 {
            let answer = alice.ask(11, &produce(&["evidence-mine-too"], batch(&["x"])));
            assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        }
        gateway.process().signal("TERM");
        assert!(gateway.process().wait(TIMEOUT).success());
        let entries = gateway.evidence();
        let produced = entries.iter().filter(|entry| is_exchange(entry, "Produce", "evidence-mine-too")).count();
        assert_eq!(produced, 10, "{release}");
    }
}
