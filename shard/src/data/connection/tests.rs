//! Two clients of one shard over real sockets: one fetches much that is masked, the other little
//! and often.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchResponse, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{ApiKey, FetchRequest, GroupId, HeartbeatRequest};
use kafka_protocol::protocol::StrBytes;
use tidegate_core::batch::build::BatchBuilder;
use tidegate_core::header::{self, RequestHeader};

use crate::config::Target;
use crate::data::simulation::broker::{Broker, response};
use crate::data::simulation::client::{FETCH, HEARTBEAT, encoded, name};
use crate::data::simulation::{self, Chance};
use crate::data::{accept, evidence, runtime};
use crate::shared::{Cluster, Server};

/// A fetch's answer of so many MiB of records with personal data in each.
fn large_answer(mebibytes: usize) -> Bytes {
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
    encoded(&FetchResponse::default().with_responses(vec![topic]), FETCH)
}

fn read_frame(stream: &mut TcpStream) -> Option<Bytes> {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).ok()?;
    let length = u32::from_be_bytes(frame[..4].try_into().unwrap()) as usize;
    frame.resize(4 + length, 0);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(frame.into())
}

/// A broker that answers every fetch with `large`.
fn broker(large: Bytes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, large) = (stream.unwrap(), large.clone());
            thread::spawn(move || {
                while let Some(frame) = read_frame(&mut stream) {
                    let asked = RequestHeader::parse(&frame).unwrap();
                    let answer = match asked.api {
                        ApiKey::Fetch => header::response_frame(asked.correlation_id, ApiKey::Fetch, FETCH, &large),
                        _ => response(&frame, &mut Chance(0)),
                    };
                    stream.write_all(&answer).unwrap();
                }
            });
        }
    });
    address
}

/// A shard in front of `broker`, until `done`; its address.
fn gateway(broker: SocketAddr, done: Arc<AtomicBool>) -> (SocketAddr, runtime::ShardThread) {
    let folder = tempfile::tempdir().unwrap();
    let config = Arc::new(simulation::config(folder.path()));
    let (tell, told) = mpsc::channel();
    let shard = runtime::spawn_shard("fairness-test", 0, move || async move {
        let _folder = folder;
        let shard = simulation::shard(config);
        shard.shared.publish_policy(simulation::policy(true, shard.policy_version() + 1));
        let server = Server { host: Arc::from("broker"), port: broker.port(), addresses: vec![broker] };
        let versions = Arc::new(Broker::versions());
        shard.shared.publish_cluster(Cluster { brokers: [(1, server)].into(), versions, ..Cluster::default() });
        let committing = runtime::spawn(evidence::commit(shard.evidence.clone(), 0, shard.metrics.clone()));
        let socket = runtime::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        tell.send(socket.local_addr().unwrap().as_socket().unwrap()).unwrap();
        let (listener, stop) = runtime::Listener::new(socket).unwrap();
        let accepting = runtime::spawn(accept::accept(shard.clone(), 0, Target::Broker(1), listener));
        while !done.load(Ordering::Acquire) {
            runtime::sleep(Duration::from_millis(20)).await;
        }
        shard.shared.draining.store(true, Ordering::Release);
        stop.stop();
        accepting.await;
        shard.evidence.stop();
        committing.await;
        Ok(())
    });
    (told.recv().unwrap(), shard.unwrap())
}

fn exchange(stream: &mut TcpStream, id: i32, api: ApiKey, version: i16, body: &[u8]) -> Bytes {
    stream.write_all(&header::request_frame(id, api, version, "tester", body)).unwrap();
    let frame = read_frame(stream).expect("an answer");
    assert_eq!(header::response_correlation_id(&frame), Some(id));
    frame
}

#[test]
fn a_large_masked_fetch_does_not_hold_the_others_up() {
    const MEBIBYTES: usize = 6;
    let done = Arc::new(AtomicBool::new(false));
    let (gateway, shard) = gateway(broker(large_answer(MEBIBYTES)), done.clone());
    let mut small = TcpStream::connect(gateway).unwrap();
    let heartbeat =
        encoded(&HeartbeatRequest::default().with_group_id(GroupId(StrBytes::from_static_str("g"))), HEARTBEAT);
    exchange(&mut small, 0, ApiKey::Heartbeat, HEARTBEAT, &heartbeat);

    let fetched = Arc::new(AtomicBool::new(false));
    let large = thread::spawn({
        let fetched = fetched.clone();
        move || {
            let mut stream = TcpStream::connect(gateway).unwrap();
            let topic = FetchTopic::default()
                .with_topic(name("orders"))
                .with_partitions(vec![FetchPartition::default().with_partition(0).with_partition_max_bytes(1 << 30)]);
            let request = FetchRequest::default().with_session_epoch(-1).with_topics(vec![topic]);
            let began = Instant::now();
            let answer = exchange(&mut stream, 1, ApiKey::Fetch, FETCH, &encoded(&request, FETCH));
            fetched.store(true, Ordering::Release);
            assert!(answer.len() > (MEBIBYTES - 1) << 20);
            assert!(!answer.windows(8).any(|bytes| bytes == b"jane.doe"));
            began.elapsed()
        }
    });
    let (mut slowest, mut served) = (Duration::ZERO, 0);
    while !fetched.load(Ordering::Acquire) {
        let asked = Instant::now();
        served += 1;
        exchange(&mut small, served, ApiKey::Heartbeat, HEARTBEAT, &heartbeat);
        slowest = slowest.max(asked.elapsed());
    }
    let took = large.join().unwrap();
    done.store(true, Ordering::Release);
    shard.join().unwrap().unwrap();
    assert!(slowest * 4 < took, "a heartbeat took {slowest:?} of the large fetch's {took:?}");
}
