//! The gateway is killed at random moments under load: nothing reached a client without its entry, no entry is torn,
//! and the trees go on.
//!
//! Clients write down what they were answered, then SIGKILL, a restart on the same files, and on. At the end the
//! evidence must name every record that a client was told of. `TIDEGATE_CRASH_KILLS` says how often (`make crash`).

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::records::RecordBatchDecoder;
use serde_json::Value;

use crate::gateway::{Door, Gateway, Setup, TIMEOUT, tidegate};
use crate::idp::Idp;
use crate::kafka::Kafka;
use crate::process::until;
use crate::raw::Connection;
use crate::records::{batch, fetch, produce};

const POLICY: &str = "
version: 1
grants:
  - name: crash
    purpose: Being killed
    groups: [analysts]
    resources: [{topic: crash-written}, {topic: crash-durable}]
    operations: [read, write]
";

/// Clients of each kind.
const CLIENTS: usize = 3;

/// What clients were told: offsets by client id.
type Told = Arc<Mutex<HashMap<String, BTreeSet<i64>>>>;

/// Milliseconds that nobody can foresee, below `n`.
fn random_below(n: u64) -> u64 {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    u64::from_le_bytes(bytes) % n
}

fn connect(port: u16, token: &str, id: &str) -> Option<Connection> {
    let mut connection = Connection::try_plain(("127.0.0.1", port))?.client_id(id);
    connection.authenticate("OAUTHBEARER", &crate::raw::bearer(token)).ok()?;
    Some(connection)
}

/// One client until it is told to stop; it connects again whenever its connection breaks.
fn work(port: u16, topic: &'static str, id: &str, writes: bool, told: &Told, stop: &AtomicBool) {
    let token = Idp::shared().token("alice", &["analysts"]);
    while !stop.load(Ordering::Relaxed) {
        let Some(mut connection) = connect(port, &token, id) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let mut next = 0;
        while !stop.load(Ordering::Relaxed) {
            let offsets = if writes { write_one(&mut connection, topic) } else { read(&mut connection, topic, next) };
            let Some(offsets) = offsets else { break };
            // From the end on again, so that reads carry few records.
            next = offsets.last().map_or(0, |last| last + 1);
            told.lock().unwrap().entry(id.to_owned()).or_default().extend(offsets);
        }
    }
}

fn write_one(connection: &mut Connection, topic: &'static str) -> Option<Vec<i64>> {
    let answer = connection.try_ask(11, &produce(&[topic], batch(&["a record that must have an entry"]))).ok()?;
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code == 0).then(|| vec![partition.base_offset])
}

fn read(connection: &mut Connection, topic: &'static str, next: i64) -> Option<Vec<i64>> {
    let mut request: FetchRequest = fetch(&[topic]);
    request.topics[0].partitions[0].fetch_offset = next;
    request.max_wait_ms = 20;
    request.min_bytes = 1;
    let answer = connection.try_ask(12, &request).ok()?;
    let partition = &answer.responses[0].partitions[0];
    if partition.error_code != 0 {
        return None;
    }
    let mut records: Bytes = partition.records.clone().unwrap_or_default();
    let sets = RecordBatchDecoder::decode_all(&mut records).unwrap();
    Some(sets.iter().flat_map(|set| &set.records).map(|record| record.offset).collect())
}

/// What the evidence says that clients were told.
fn in_evidence(entries: &[Value], api: &str) -> HashMap<String, BTreeSet<i64>> {
    let mut found: HashMap<String, BTreeSet<i64>> = HashMap::new();
    for entry in entries.iter().filter(|entry| entry["kind"] == "exchange" && entry["api"] == api) {
        let offsets = found.entry(entry["client_id"].as_str().unwrap().to_owned()).or_default();
        for resource in entry["resources"].as_array().into_iter().flatten() {
            if let (Some(first), Some(last)) = (resource["first_offset"].as_i64(), resource["last_offset"].as_i64()) {
                offsets.extend(first..=last);
            }
        }
    }
    found
}

fn kills() -> u64 {
    std::env::var("TIDEGATE_CRASH_KILLS").map_or(3, |text| text.parse().unwrap())
}

/// The checkpoints beside the segments now, copied as somebody who anchors them would.
fn keep_checkpoints(gateway: &Gateway, into: &Path, round: u64) -> Vec<String> {
    let shards = ["shard-000", "shard-001"];
    let copies = shards.iter().filter_map(|shard| {
        let to = into.join(format!("{round}-{shard}"));
        std::fs::copy(gateway.evidence_folder().join(shard).join("checkpoint"), &to).ok()?;
        Some(to.to_str().unwrap().to_owned())
    });
    copies.collect()
}

fn is_killed_and_loses_nothing(release: &'static str, topic: &'static str) {
    let kafka = Kafka::shared();
    kafka.create_topic(topic, 1, 1);
    let mut gateway = Setup { shards: 2, release, ..Setup::new(kafka, POLICY) }.start();
    let told: [Told; 2] = Default::default();
    let stop = Arc::new(AtomicBool::new(false));
    let port = gateway.broker_port(Door::Plain, 1);
    let clients: Vec<_> = (0..CLIENTS * 2)
        .map(|n| {
            let (writes, stop) = (n % 2 == 0, stop.clone());
            let told = told[usize::from(!writes)].clone();
            std::thread::spawn(move || work(port, topic, &format!("client-{n}"), writes, &told, &stop))
        })
        .collect();
    let counts = |told: &[Told; 2]| {
        told.iter().map(|told| told.lock().unwrap().values().map(BTreeSet::len).sum::<usize>()).collect::<Vec<_>>()
    };
    let kept = tempfile::tempdir().unwrap();
    let mut checkpoints = Vec::new();
    for round in 0..kills() {
        let before = counts(&told);
        until("all clients are at work again", TIMEOUT, || (counts(&told)[0] > before[0] + 5).then_some(()));
        std::thread::sleep(Duration::from_millis(random_below(400)));
        checkpoints.extend(keep_checkpoints(&gateway, kept.path(), round));
        gateway.crash_and_restart();
    }
    let before = counts(&told);
    until("clients work after the last kill", TIMEOUT, || (counts(&told)[0] > before[0] + 5).then_some(()));
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    gateway.process().signal("TERM");
    assert!(gateway.process().wait(TIMEOUT).success());

    // No entry is torn: reading panics on damage, and on a gap in the sequence.
    let entries = gateway.evidence();
    for (told, api) in told.iter().zip(["Produce", "Fetch"]) {
        let found = in_evidence(&entries, api);
        let told = told.lock().unwrap();
        assert_eq!(told.len(), CLIENTS);
        for (client, offsets) in told.iter() {
            let missing: Vec<_> = offsets.difference(&found[client]).collect();
            assert!(missing.is_empty(), "{release}: {api} of {client}: no entry for {missing:?}");
        }
    }
    let starts = entries.iter().filter(|entry| entry["kind"] == "start").count() as u64;
    assert_eq!(starts, 2 * (kills() + 1));
    // The trees go on: every checkpoint of every life is still true.
    let folder = gateway.evidence_folder();
    let mut words = vec!["audit", "verify", folder.to_str().unwrap(), "--output", "json"];
    words.extend(checkpoints.iter().flat_map(|file| ["--checkpoint", file]));
    let report: Value = serde_json::from_str(&tidegate(&words).stdout).unwrap();
    assert_eq!(report["verdict"], "intact", "{release}: {report}");
    eprintln!("{release}: {} kills, {} entries, told of {:?} records", kills(), entries.len(), counts(&told));
}

#[test]
fn killed_while_written() {
    is_killed_and_loses_nothing("written", "crash-written");
}

#[test]
fn killed_while_durable() {
    is_killed_and_loses_nothing("durable", "crash-durable");
}

/// Sets the largest file that the gateway may write: its disk is full.
fn limit_files(gateway: &Gateway, limit: &str) {
    let pid = gateway.process().id().to_string();
    let status = std::process::Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:")]).status();
    assert!(status.unwrap().success());
}

const FULL: &str = "
version: 1
grants:
  - name: full
    purpose: Having no room
    groups: [analysts]
    resources: [{topic: crash-full}]
    operations: [read, write]
";

#[test]
fn a_full_disk_holds_everything_back_or_sheds_as_configured() {
    let kafka = Kafka::shared();
    kafka.create_topic("crash-full", 1, 1);
    for evidence in ["", ", on_failure: shed"] {
        let shed = !evidence.is_empty();
        let gateway = Setup { evidence: evidence.to_owned(), ..Setup::new(kafka, FULL) }.start();
        let mut alice = gateway.connect_as("alice", &["analysts"]);
        let request = produce(&["crash-full"], batch(&["x"]));
        alice.ask(11, &request);
        limit_files(&gateway, "1");
        let begun = Instant::now();
        alice.send(11, &request).unwrap();
        if shed {
            alice.receive_frame().unwrap();
            for _ in 0..20 {
                alice.ask(11, &request);
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "nothing waits: {:?}", begun.elapsed());
            assert_eq!(gateway.get("/readyz").0, 200);
            let metrics = gateway.get("/metrics").1;
            let line = metrics.lines().find(|line| line.starts_with("tidegate_evidence_shed_total")).unwrap();
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() >= 20.0, "{line}");
        } else {
            until("readiness is withdrawn", TIMEOUT, || {
                let (status, why) = gateway.get("/readyz");
                (status == 503 && why.contains("evidence cannot be written")).then_some(())
            });
            alice.set_read_timeout(Duration::from_millis(500));
            assert!(alice.receive_frame().is_err(), "nothing leaves without its entry");
            alice.set_read_timeout(TIMEOUT);
        }
        limit_files(&gateway, "unlimited");
        if shed {
            alice.ask(11, &request);
        } else {
            alice.receive_frame().unwrap();
        }
        let gap = gateway.evidence_of("the gap", |entry| entry["kind"] == "gap");
        let said = gap["detail"].as_str().unwrap();
        assert!(said.contains(if shed { "entries were given up" } else { "no entry was lost" }), "{said}");
        until("ready again", TIMEOUT, || (gateway.get("/readyz").0 == 200).then_some(()));
        gateway.process().signal("TERM");
        assert!(gateway.process().wait(TIMEOUT).success());
        let produced = gateway.evidence().iter().filter(|entry| entry["api"] == "Produce").count();
        assert_eq!(produced, 2, "what was given up is not there, what was held back is");
        let verified = tidegate(&["audit", "verify", gateway.evidence_folder().to_str().unwrap()]).success();
        assert!(verified.starts_with("intact"), "{verified}");
    }
}
