//! What makes the evidence trustworthy over years: keys that are replaced, segments that are removed, holds.

use std::collections::BTreeSet;
use std::path::Path;

use kafka_protocol::records::RecordBatchDecoder;
use serde_json::Value;
use tidegate_audit::keys::load_or_make;
use tidegate_audit::log::{LogOptions, ShardLog};
use tidegate_core::event::Event;
use tidegate_core::words::Timestamp;

use crate::gateway::{BINARY, Gateway, Setup, TIMEOUT, tidegate};
use crate::kafka::Kafka;
use crate::process::{Process, guarded, until};
use crate::records::{batch, fetch, produce};

const POLICY: &str = "
version: 1
grants:
  - name: trust
    purpose: Showing what can be relied on
    groups: [analysts]
    resources: [{topic: trust-key}, {topic: trust-old}, {topic: trust-anchored}, {topic: trust-two}, {topic: trust-tail}]
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
    let evidence = ", segment_age_max: 300ms, retention: {age_max: 1s, interval: 200ms}".to_owned();
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

#[test]
fn a_second_gateway_on_the_same_evidence_is_refused_and_a_place_that_cannot_be_written_too() {
    let kafka = Kafka::shared();
    kafka.create_topic("trust-two", 1, 1);
    let first = Setup::new(kafka, POLICY).start();
    let folder = first.evidence_folder();
    let started_on = |evidence: &Path| {
        let mut second = Setup::new(kafka, POLICY).start();
        second.start_again_after(|files| {
            let file = files.join("tidegate.yaml");
            let text = std::fs::read_to_string(&file).unwrap();
            let there = format!("evidence: {{directory: {}", evidence.display());
            std::fs::write(&file, text.replace("evidence: {directory: evidence", &there)).unwrap();
        });
        assert!(!second.process().wait(TIMEOUT).success());
        second.process().output()
    };
    let said = started_on(&folder);
    assert!(said.contains("is in use by another process"), "{said}");
    // The one that is there goes on, and its evidence is whole.
    produce_one(&first, "trust-two");
    stop(&first);
    assert_eq!(verify(&folder, &[])["verdict"], "intact");
    // Nobody can make folders there, not even root.
    let said = started_on(Path::new("/sys/tidegate"));
    assert!(said.contains("/sys/tidegate"), "{said}");
}

#[test]
fn a_tail_that_follows_misses_nothing_through_rotations() {
    let kafka = Kafka::shared();
    kafka.create_topic("trust-tail", 1, 1);
    let evidence = ", segment_age_max: 100ms".to_owned();
    let gateway = Setup { shards: 2, evidence, ..Setup::new(kafka, POLICY) }.start();
    let folder = gateway.evidence_folder();
    let mut command = guarded(BINARY);
    command.args(["audit", "tail", "-f", "-n", "all", "--output", "json", folder.to_str().unwrap()]);
    let tail = Process::start("tail", command, gateway.folder().join("tail.ndjson"));
    let segments = || {
        let shards = ["shard-000", "shard-001"].map(|shard| std::fs::read_dir(folder.join(shard)).unwrap());
        let names = shards.into_iter().flatten().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|extension| extension == "tgs")).count()
    };
    until("segments were rotated", TIMEOUT, || {
        produce_one(&gateway, "trust-tail");
        (segments() > 8).then_some(())
    });
    stop(&gateway);
    let expected: BTreeSet<String> = gateway.evidence().iter().map(place).collect();
    let shown = || -> Vec<String> {
        let text = tail.output();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| place(&serde_json::from_str(line).unwrap())).collect()
    };
    until("the tail shows it all", TIMEOUT, || (shown().len() >= expected.len()).then_some(()));
    let shown = shown();
    assert_eq!(shown.len(), expected.len(), "nothing twice");
    assert_eq!(shown.into_iter().collect::<BTreeSet<_>>(), expected);
    tail.kill();
}

fn place(entry: &Value) -> String {
    format!("{}/{}", entry["shard"], entry["sequence"])
}

#[test]
fn checkpoints_are_anchored_and_betray_another_history() {
    let kafka = Kafka::shared();
    kafka.create_topic("trust-anchored", 1, 1);
    kafka.create_topic("trust-anchors", 1, 1);
    let store = tempfile::tempdir().unwrap();
    let evidence = format!(
        ", anchors: {{kafka_topic: trust-anchors, object_store: \"file://{}/worm\", interval: 200ms}}",
        store.path().display()
    );
    let gateway = Setup { evidence, ..Setup::new(kafka, POLICY) }.start();
    produce_one(&gateway, "trust-anchored");
    // In both places, and as new ones come, not once only.
    let in_topic = || -> Vec<String> {
        let mut control = kafka.control();
        let answer = control.ask(12, &fetch(&["trust-anchors"]));
        let mut records = answer.responses[0].partitions[0].records.clone().unwrap_or_default();
        let sets = RecordBatchDecoder::decode_all(&mut records).unwrap();
        let value =
            |record: &kafka_protocol::records::Record| String::from_utf8(record.value.clone().unwrap().to_vec());
        sets.iter().flat_map(|set| &set.records).map(|record| value(record).unwrap()).collect()
    };
    let folder = store.path().join("worm/gateway-under-test/shard-000");
    let in_store = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    until("two anchors in both places", TIMEOUT, || {
        produce_one(&gateway, "trust-anchored");
        (in_topic().len() >= 2 && in_store() >= 2).then_some(())
    });
    stop(&gateway);

    // As `kafka-console-consumer` would print them.
    let consumed = gateway.folder().join("consumed");
    std::fs::write(&consumed, in_topic().join("\n")).unwrap();
    let places = ["--anchors", store.path().to_str().unwrap(), "--checkpoint", consumed.to_str().unwrap()];
    let folder = gateway.evidence_folder();
    let report = verify(&folder, &places);
    assert_eq!(report["verdict"], "intact", "{report}");

    // Whoever has the key and the files writes another history, whole and signed.
    let shard = folder.join("shard-000");
    std::fs::remove_dir_all(&shard).unwrap();
    let signer = std::sync::Arc::new(load_or_make(&folder, None, "gateway-under-test").unwrap().signer);
    let options = LogOptions { signer: Some(signer), ..LogOptions::default() };
    let (mut log, _) = ShardLog::open(&folder, 0, "gateway-under-test", options, Timestamp(0)).unwrap();
    (0..500).for_each(|n| {
        log.append(&Event { time_micros: n, detail: "nothing happened".into(), ..Event::default() });
    });
    log.close().unwrap();
    assert_eq!(verify(&folder, &[])["verdict"], "intact", "the files alone cannot tell");
    for place in places.chunks(2) {
        let report = verify(&folder, place);
        assert_eq!(
            (&report["verdict"], &report["findings"][0]["kind"]),
            (&"tampered".into(), &"fork".into()),
            "{report}"
        );
    }
}
