//! What makes the evidence trustworthy over years: keys that are replaced, segments that are removed, holds.

use std::path::Path;

use serde_json::Value;

use crate::gateway::{Gateway, Setup, TIMEOUT, tidegate};
use crate::kafka::Kafka;
use crate::process::until;
use crate::records::{batch, produce};

const POLICY: &str = "
version: 1
grants:
  - name: trust
    purpose: Showing what can be relied on
    groups: [analysts]
    resources: [{topic: trust-key}, {topic: trust-old}]
    operations: [read, write]
";

fn produce_one(gateway: &Gateway, topic: &'static str) {
    let mut alice = gateway.connect_as("alice", &["analysts"]);
    let answer = alice.ask(11, &produce(&[topic], batch(&["x"])));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

fn stop(gateway: &Gateway) {
    gateway.process().signal("TERM");
    assert!(gateway.process().wait(TIMEOUT).success());
}

fn verify(evidence: &Path, more: &[&str]) -> Value {
    let words = [&["audit", "verify", evidence.to_str().unwrap(), "--output", "json"], more].concat();
    let finished = tidegate(&words);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{}", finished.stderr))
}

#[test]
fn the_signing_key_is_replaced_and_the_first_one_still_leads_to_all() {
    let kafka = Kafka::shared();
    kafka.create_topic("trust-key", 1, 1);
    let mut gateway = Setup { shards: 2, ..Setup::new(kafka, POLICY) }.start();
    produce_one(&gateway, "trust-key");
    let config = gateway.folder().join("tidegate.yaml");
    let rotate = ["audit", "key", "rotate", "--config", config.to_str().unwrap()];
    let refused = tidegate(&rotate).failure();
    assert!(refused.contains("stop the gateway first"), "{refused}");
    let evidence = gateway.evidence_folder();
    let first = gateway.folder().join("first.key");
    std::fs::copy(evidence.join("verifier.key"), &first).unwrap();

    stop(&gateway);
    let said = tidegate(&rotate).success();
    assert!(said.contains("signed with both keys"), "{said}");
    gateway.restart_after(|_| {});
    produce_one(&gateway, "trust-key");
    let entry = gateway.evidence_of("the announcement", |entry| entry["kind"] == "evidence_key");
    let announcement = std::fs::read_to_string(evidence.join("rotation-0001.note")).unwrap();
    assert!(entry["detail"].as_str().unwrap().contains(&announcement), "{entry}");
    stop(&gateway);

    // Who only ever saw the first key follows it to the second.
    let report = verify(&evidence, &["--key", first.to_str().unwrap()]);
    assert_eq!((&report["verdict"], &report["key_rotations"]), (&"intact".into(), &1.into()), "{report}");
    let shown = tidegate(&["audit", "key", "show", evidence.to_str().unwrap()]).success();
    assert!(shown.lines().count() == 3 && shown.contains("its use ended in shard 0 at"), "{shown}");
    std::fs::remove_file(evidence.join("rotation-0001.note")).unwrap();
    let report = verify(&evidence, &["--key", first.to_str().unwrap()]);
    assert_eq!(report["verdict"], "tampered", "{report}");
}

#[test]
fn old_evidence_is_removed_unless_it_is_held() {
    let kafka = Kafka::shared();
    kafka.create_topic("trust-old", 1, 1);
    let evidence = ", segment_age_max: 300ms, retention: {age_max: 1s, interval: 200ms}";
    let gateway = Setup { evidence, ..Setup::new(kafka, POLICY) }.start();
    let folder = gateway.evidence_folder();
    let dir = folder.to_str().unwrap();
    let hold = ["audit", "hold", "add", "case-7", "--to", "2200-01-01", "--reason", "a letter", "--dir", dir];
    tidegate(&hold).success();
    gateway.evidence_of("the hold", |entry| {
        entry["kind"] == "retention" && entry["detail"].as_str().unwrap_or_default().contains("case-7")
    });
    let metric = |name: &str| -> u64 {
        let text = gateway.get("/metrics").1;
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}")).to_owned();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
    };
    until("segments are old but held", TIMEOUT, || {
        produce_one(&gateway, "trust-old");
        (metric("tidegate_evidence_segments_held") > 0).then_some(())
    });
    assert_eq!(metric("tidegate_evidence_segments_removed"), 0);
    tidegate(&["audit", "hold", "remove", "case-7", "--reason", "settled", "--dir", dir]).success();
    until("segments are removed", TIMEOUT, || {
        produce_one(&gateway, "trust-old");
        (metric("tidegate_evidence_segments_removed") > 0).then_some(())
    });
    let said = gateway.evidence_of("the removal", |entry| {
        entry["kind"] == "retention" && entry["detail"].as_str().unwrap_or_default().starts_with("removed by retention")
    });
    assert!(said["sequence"].as_u64().unwrap() > 0);
    stop(&gateway);
    let report = verify(&folder, &[]);
    assert_eq!(report["verdict"], "intact", "{report}");
    assert!(report["shards"][0]["removed_segments"].as_u64().unwrap() > 0, "{report}");
}
