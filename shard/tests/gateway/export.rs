//! Entries in other systems while the gateway writes them: the exporter is killed again and again, and nothing is missed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use kafka_protocol::records::RecordBatchDecoder;
use serde_json::Value;

use crate::gateway::{BINARY, Gateway, Setup, TIMEOUT, tidegate};
use crate::kafka::Kafka;
use crate::process::{Process, guarded, until};
use crate::records::{batch, fetch, produce};
use crate::tls::Authority;

const POLICY: &str = "
version: 1
grants:
  - name: export
    purpose: Being exported
    groups: [analysts]
    resources: [{topic: {prefix: export-load}}]
    operations: [read, write]
";

/// Ids of entries that arrived, and how many arrivals there were.
type Arrived = Arc<Mutex<(BTreeSet<String>, usize)>>;

fn note(arrived: &Arrived, event: &Value) {
    let mut arrived = arrived.lock().unwrap();
    arrived.0.insert(event["metadata"]["uid"].as_str().unwrap().to_owned());
    arrived.1 += 1;
}

/// Kills the exporter while it follows, three times, then lets it finish; everything must have arrived.
fn killed_and_resumed(
    kafka: &Kafka,
    gateway: &Gateway,
    words: &[String],
    mut arrived: impl FnMut() -> (BTreeSet<String>, usize),
) {
    let folder = gateway.evidence_folder();
    let cursor = gateway.folder().join("cursor");
    let words: Vec<&str> = ["audit", "export", folder.to_str().unwrap(), "--cursor", cursor.to_str().unwrap()]
        .into_iter()
        .chain(words.iter().map(String::as_str))
        .collect();
    let topic = format!("export-load-{}", gateway.process().id());
    kafka.create_topic(&topic, 1, 1);
    let mut alice = gateway.connect_as("alice", &["analysts"]);
    for kill in 0..3 {
        let before = arrived().1;
        let mut command = guarded(BINARY);
        command.args(&words).arg("--follow");
        let exporter = Process::start("export", command, gateway.folder().join(format!("export-{kill}.log")));
        exporter.ready("entries arrive", TIMEOUT, || {
            alice.ask(11, &produce(&[&topic], batch(&["x"])));
            (arrived().1 > before + 10 * kill).then_some(())
        });
        exporter.kill();
    }
    gateway.process().signal("TERM");
    assert!(gateway.process().wait(TIMEOUT).success());
    tidegate(&words).success();
    let id =
        |entry: &Value| format!("gateway-under-test/{:03}/{}", entry["shard"].as_u64().unwrap(), entry["sequence"]);
    let expected: BTreeSet<String> = gateway.evidence().iter().map(id).collect();
    until("all of it arrived", TIMEOUT, || (arrived().0 == expected).then_some(()));
    // Nothing is new, so nothing comes again.
    let arrivals = arrived().1;
    tidegate(&words).success();
    assert_eq!(arrived().1, arrivals);
    eprintln!("{} entries, {} arrivals", expected.len(), arrivals);
}

fn gateway(kafka: &Kafka) -> Gateway {
    Setup { shards: 2, evidence: ", segment_age_max: 500ms".to_owned(), ..Setup::new(kafka, POLICY) }.start()
}

#[test]
fn to_a_kafka_topic() {
    let kafka = Kafka::shared();
    kafka.create_topic("export-siem", 2, 1);
    let gateway = gateway(kafka);
    // The gateway's own configuration says how its upstream is reached.
    let file = gateway.folder().join("tidegate.yaml").to_str().unwrap().to_owned();
    let words = ["--to", "kafka:export-siem", "--kafka", &file].map(str::to_owned);
    let (mut offsets, arrived) = ([0; 2], Arrived::default());
    let mut control = kafka.control();
    killed_and_resumed(kafka, &gateway, &words, || {
        for (partition, next) in offsets.iter_mut().enumerate() {
            loop {
                let mut request = fetch(&["export-siem"]);
                request.topics[0].partitions[0].partition = partition as i32;
                request.topics[0].partitions[0].fetch_offset = *next;
                request.max_wait_ms = 1;
                let answer = control.ask(12, &request);
                let mut records = answer.responses[0].partitions[0].records.clone().unwrap_or_default();
                let sets = RecordBatchDecoder::decode_all(&mut records).unwrap();
                let new: Vec<_> = sets.iter().flat_map(|set| &set.records).filter(|r| r.offset >= *next).collect();
                let Some(last) = new.last() else { break };
                *next = last.offset + 1;
                for record in new {
                    let tree = format!("gateway-under-test/shard-{partition:03}");
                    assert_eq!(record.key.as_deref(), Some(tree.as_bytes()), "a shard's entries stay together");
                    note(&arrived, &serde_json::from_slice(record.value.as_deref().unwrap()).unwrap());
                }
            }
        }
        arrived.lock().unwrap().clone()
    });
}

#[test]
fn to_a_syslog_receiver_over_tls() {
    let kafka = Kafka::shared();
    let gateway = gateway(kafka);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("syslog+tls://localhost:{}", listener.local_addr().unwrap().port());
    let authority = Authority::shared();
    let config = authority.server_config();
    let arrived = Arrived::default();
    let receiver = arrived.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let tls = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut reader = BufReader::new(rustls::StreamOwned::new(tls, stream.unwrap()));
            // What a killed exporter left half said is none of this receiver's messages.
            if messages(&mut reader, &receiver).is_ok() {
                let stream = reader.get_mut();
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    let ca = authority.file().to_str().unwrap().to_owned();
    let words = ["--to", &to, "--ca", &ca].map(str::to_owned);
    killed_and_resumed(kafka, &gateway, &words, || arrived.lock().unwrap().clone());
}

/// Reads framed messages until the connection ends.
fn messages(reader: &mut impl std::io::BufRead, arrived: &Arrived) -> std::io::Result<()> {
    loop {
        let mut length = Vec::new();
        reader.read_until(b' ', &mut length)?;
        let Some(length) = std::str::from_utf8(&length).unwrap().strip_suffix(' ') else { return Ok(()) };
        let mut message = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut message)?;
        let message = String::from_utf8(message).unwrap();
        note(arrived, &serde_json::from_str(message.split_once("] ").unwrap().1).unwrap());
    }
}

#[test]
fn to_an_http_endpoint() {
    let kafka = Kafka::shared();
    let gateway = gateway(kafka);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let words = ["--to", &format!("http://{}/in", listener.local_addr().unwrap())].map(str::to_owned);
    let arrived = Arrived::default();
    let receiver = arrived.clone();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let _ = request(stream.unwrap(), n, &receiver);
        }
    });
    killed_and_resumed(kafka, &gateway, &words, || arrived.lock().unwrap().clone());
}

/// Takes one request; each third one is turned away as by a busy server.
fn request(stream: std::net::TcpStream, n: usize, arrived: &Arrived) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let busy = n % 3 == 2;
    if !busy {
        for line in String::from_utf8(body).unwrap().lines() {
            note(arrived, &serde_json::from_str(line).unwrap());
        }
    }
    let status = if busy { "503 x" } else { "200 x" };
    write!(reader.get_mut(), "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}
