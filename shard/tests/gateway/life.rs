//! The gateway's own life: reload, drain, crash; and the upstream's: dead brokers, moved leaders,
//! every way of logging in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, FindCoordinatorRequest, MetadataRequest};
use kafka_protocol::protocol::StrBytes;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::clients::{LibRdKafka, StockClient, create_librdkafka};
use crate::gateway::{Door, Gateway, Setup, TIMEOUT, is_exchange};
use crate::idp::Idp;
use crate::kafka::{Kafka, Listener, topic_name};
use crate::process::until;
use crate::raw::Connection;
use crate::records::{batch, fetch, produce};

fn policy(operations: &str, more: &str) -> String {
    format!(
        "
version: 1
grants:
  - name: life
    purpose: Tests
    principals: [alice]
    resources: [{{topic: {{prefix: life-}}}}, {{group: {{prefix: life-}}}}]
    operations: [{operations}]
    {more}
"
    )
}

/// The error code of a produce of one record.
fn produce_error(connection: &mut Connection, topic: &str) -> i16 {
    connection.ask(11, &produce(&[topic], batch(&["x"]))).responses[0].partition_responses[0].error_code
}

fn metadata_of_nothing() -> MetadataRequest {
    MetadataRequest::default().with_topics(Some(vec![]))
}

#[test]
fn an_open_connection_sees_a_new_policy_at_once() {
    let kafka = Kafka::shared();
    kafka.create_topic("life-reload", 1, 1);
    let gateway = Setup { shards: 2, ..Setup::new(kafka, &policy("read, write", "")) }.start();
    let mut alice = gateway.connect_as("alice", &[]);
    assert_eq!(produce_error(&mut alice, "life-reload"), 0);
    gateway.reload(&policy("read", ""));
    assert_eq!(produce_error(&mut alice, "life-reload"), 29);

    // A bad policy is refused, loudly, and the old one stays.
    gateway.write_policy("version: 1\ngrants: 7\n");
    gateway.process().signal("HUP");
    let refused = gateway.evidence_of("the refusal", |entry| entry["kind"] == "policy_refused");
    assert!(refused["detail"].as_str().unwrap().contains("grants"), "{refused}");
    assert!(gateway.process().output().contains("policy"), "the log says nothing");
    assert_eq!(produce_error(&mut alice, "life-reload"), 29);
    assert_eq!(alice.ask(12, &fetch(&["life-reload"])).responses[0].partitions[0].error_code, 0);

    // A changed file is noticed without a signal.
    gateway.write_policy(&policy("read, write", ""));
    until("the changed file is in force", TIMEOUT, || (produce_error(&mut alice, "life-reload") == 0).then_some(()));
    let versions: Vec<u64> = gateway
        .evidence()
        .iter()
        .filter(|entry| is_exchange(entry, "Produce", "life-reload"))
        .map(|entry| entry["policy_version"].as_u64().unwrap())
        .collect();
    assert!(versions.is_sorted() && versions.first() < versions.last(), "{versions:?}");
}

#[test]
fn who_lost_the_last_grant_is_closed() {
    let gateway = Setup::new(Kafka::shared(), &policy("read", "")).start();
    let mut alice = gateway.connect_as("alice", &[]);
    alice.ask(12, &metadata_of_nothing());
    gateway.write_policy(&policy("read", "").replace("[alice]", "[bob]"));
    gateway.process().signal("HUP");
    assert!(alice.is_closed(), "an idle connection outlived its last grant");
}

#[test]
fn a_grant_that_ends_closes_what_it_kept_open() {
    let gateway = Setup::new(Kafka::shared(), &policy("read", "")).start();
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 + 4;
    let end = jiff::Timestamp::from_second(end).unwrap();
    gateway.reload(&policy("read", &format!("not_after: {end}")));
    let mut connection = gateway.connect();
    let token = Idp::shared().token("alice", &[]);
    let lifetime = connection.authenticate("OAUTHBEARER", &crate::raw::bearer(&token)).unwrap();
    assert!(lifetime <= 4000, "the session's announced life must end with the grant: {lifetime} ms");
    assert!(connection.is_closed(), "the connection outlived its grant");
    assert!(jiff::Timestamp::now() >= end, "closed too early");
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    let kafka = Kafka::shared();
    kafka.create_topic("life-drain", 1, 1);
    let gateway = Setup::new(kafka, &policy("read, write", "")).start();
    let mut idle = gateway.connect_as("alice", &[]);
    let mut alice = gateway.connect_as("alice", &[]);
    let request = fetch(&["life-drain"]).with_max_wait_ms(3000).with_min_bytes(1);
    let before = bytes_to_brokers(&gateway);
    alice.send(12, &request).unwrap();
    // The broker answers nothing for three seconds, so from here on the request is in flight.
    until("the fetch is under way", TIMEOUT, || (bytes_to_brokers(&gateway) > before).then_some(()));
    gateway.process().signal("TERM");
    until("readiness goes", TIMEOUT, || {
        gateway.try_get("/readyz").is_none_or(|(status, _)| status == 503).then_some(())
    });
    let (_, body) = alice.receive(kafka_protocol::messages::ApiKey::Fetch, 12).expect("the answer in flight");
    let answer = crate::raw::decode::<kafka_protocol::messages::FetchRequest>(12, body).unwrap();
    assert_eq!(answer.responses[0].partitions[0].error_code, 0);
    assert!(alice.is_closed());
    assert!(idle.is_closed());
    assert!(gateway.process().wait(TIMEOUT).success());
    let evidence = gateway.evidence();
    assert!(evidence.iter().any(|entry| is_exchange(entry, "Fetch", "life-drain")));
    assert!(evidence.iter().any(|entry| entry["kind"] == "stop"), "the stop is no entry");
}

/// What the gateway has sent to brokers, from its metrics.
fn bytes_to_brokers(gateway: &Gateway) -> u64 {
    let metrics = gateway.get("/metrics").1;
    let of_brokers =
        |line: &&str| !line.starts_with('#') && line.contains("side=\"upstream\"") && line.contains("\"out\"");
    let lines = metrics.lines().filter(of_brokers);
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn evidence_of_what_was_answered_survives_a_crash() {
    let kafka = Kafka::shared();
    kafka.create_topic("life-crash", 1, 1);
    let mut gateway = Setup::new(kafka, &policy("read, write", "")).start();
    let mut answered = 0;
    for _ in 0..2 {
        let mut alice = gateway.connect_as("alice", &[]);
        for _ in 0..20 {
            assert_eq!(produce_error(&mut alice, "life-crash"), 0);
            answered += 1;
        }
        gateway.crash_and_restart();
    }
    let evidence = gateway.evidence();
    let produced = evidence.iter().filter(|entry| is_exchange(entry, "Produce", "life-crash")).count();
    assert_eq!(produced, answered, "answered without evidence, or the reverse");
    let sequences: Vec<u64> = evidence.iter().map(|entry| entry["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1), "a gap in {sequences:?}");
    assert_eq!(evidence.iter().filter(|entry| entry["kind"] == "start").count(), 3);
}

#[test]
fn a_client_recovers_when_the_gateway_comes_back() {
    Kafka::shared().create_topic("life-recovers", 1, 1);
    let mut gateway = Setup::new(Kafka::shared(), &policy("read, write", "")).start();
    let at = gateway.oauth("alice");
    let (producer, context): (BaseProducer<_>, _) = create_librdkafka(&at, &[("enable.idempotence", "true")]);
    for round in 0..3 {
        for index in 0..10 {
            let value = format!("{round}-{index}");
            producer.send(BaseRecord::<(), str>::to("life-recovers").payload(&value)).unwrap();
        }
        if round == 1 {
            gateway.crash_and_restart();
        }
        producer.flush(Duration::from_secs(60)).unwrap();
    }
    assert!(context.failures().is_empty(), "{:?}", context.failures());
    let values = LibRdKafka.consume(&at, "life-recovers", "life-recovers", 30);
    let expected: Vec<String> = (0..3).flat_map(|r| (0..10).map(move |i| format!("{r}-{i}"))).collect();
    assert_eq!(values, expected, "an idempotent producer's records, once each and in order");
}

#[test]
fn only_the_gateways_addresses_reach_a_client() {
    let mut kafka = Kafka::start(3);
    kafka.create_topic("life-three", 6, 3);
    let gateway = Setup { shards: 2, ..Setup::new(&kafka, &policy("read, write, describe", CLUSTER)) }.start();
    for door in [Door::Plain, Door::Sni] {
        check_addresses(&gateway, door);
    }

    // A leader dies while a client produces and another consumes.
    let at = gateway.oauth("alice");
    let settings = [("message.timeout.ms", "60000"), ("topic.metadata.refresh.interval.ms", "1000")];
    let (producer, context): (BaseProducer<_>, _) = create_librdkafka(&at, &settings);
    let send = |from: usize| {
        for index in from..from + 30 {
            let value = index.to_string();
            let record = BaseRecord::<(), str>::to("life-three").payload(&value).partition(index as i32 % 6);
            producer.send(record).unwrap();
        }
        producer.flush(Duration::from_secs(60)).unwrap();
    };
    send(0);
    kafka.kill_broker(2);
    send(30);
    kafka.start_broker(2);
    kafka.wait_for_brokers(3);
    kafka.kill_broker(3);
    send(60);
    assert!(context.failures().is_empty(), "{:?}", context.failures());
    let mut values: Vec<usize> =
        LibRdKafka.consume(&at, "life-three", "life-three", 90).iter().map(|v| v.parse().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, (0..90).collect::<Vec<_>>());
    check_fenced_fetch(&gateway, &kafka);
}

/// A Fetch of an epoch that is over names the leader (KIP-951), under the gateway's address.
fn check_fenced_fetch(gateway: &Gateway, kafka: &Kafka) {
    let metadata = kafka.metadata(&["life-three"]);
    let topic = &metadata.topics[0];
    let moved = topic.partitions.iter().find(|partition| partition.leader_epoch > 0).expect("a leader that moved");
    let mut request = fetch(&["life-three"]);
    request.topics[0].topic = Default::default();
    request.topics[0].topic_id = topic.topic_id;
    request.topics[0].partitions[0].partition = moved.partition_index;
    request.topics[0].partitions[0].current_leader_epoch = 0;
    let leader = moved.leader_id.0 as u16;
    let answer = gateway.connect_to(leader, "alice", &[]).ask(16, &request);
    assert_eq!(answer.responses[0].partitions[0].error_code, 74, "FENCED_LEADER_EPOCH");
    let nodes: Vec<_> = answer.node_endpoints.iter().map(|n| (n.node_id.0, n.host.to_string(), n.port)).collect();
    assert_eq!(
        nodes,
        [(i32::from(leader), "localhost".to_owned(), i32::from(gateway.broker_port(Door::Plain, leader)))]
    );
}

const CLUSTER: &str = "
  - name: cluster
    purpose: Tests
    principals: [alice]
    resources: [{cluster: true}]
    operations: [describe]";

fn check_addresses(gateway: &Gateway, door: Door) {
    let token = Idp::shared().token("alice", &[]);
    let mut alice = match door {
        Door::Sni => {
            let config = crate::tls::Authority::shared().client_config(None);
            Connection::tls(("127.0.0.1", gateway.port(door)), config, "bootstrap.kafka.localhost").login_token(&token)
        }
        _ => Connection::plain(("127.0.0.1", gateway.port(door))).login_token(&token),
    };
    let expected = |node: BrokerId| match door {
        Door::Sni => (format!("broker-{}.kafka.localhost", node.0), i32::from(gateway.port(door))),
        _ => ("localhost".to_owned(), i32::from(gateway.broker_port(door, node.0 as u16))),
    };
    for version in [1, 5, 8, 12] {
        let metadata = alice.ask(version, &MetadataRequest::default().with_topics(Some(vec![])));
        assert_eq!(metadata.brokers.len(), 3, "v{version}");
        for broker in metadata.brokers {
            assert_eq!((broker.host.to_string(), broker.port), expected(broker.node_id), "Metadata v{version}");
        }
    }
    for version in [0, 1] {
        let cluster = alice.ask(version, &DescribeClusterRequest::default().with_endpoint_type(1));
        assert_eq!(cluster.brokers.len(), 3);
        for broker in cluster.brokers {
            assert_eq!(
                (broker.host.to_string(), broker.port),
                expected(broker.broker_id),
                "DescribeCluster v{version}"
            );
        }
    }
    let group = StrBytes::from_static_str("life-coordinator");
    until("a coordinator is known", TIMEOUT, || {
        let found = alice.ask(2, &FindCoordinatorRequest::default().with_key(group.clone()));
        let many = alice.ask(4, &FindCoordinatorRequest::default().with_coordinator_keys(vec![group.clone()]));
        let many = many.coordinators.first()?;
        (found.error_code == 0 && many.error_code == 0).then(|| {
            assert_eq!((found.host.to_string(), found.port), expected(found.node_id), "FindCoordinator v2");
            assert_eq!((many.host.to_string(), many.port), expected(many.node_id), "FindCoordinator v4");
        })
    });
    // A produce to who is not the leader names the leader (KIP-951), under the gateway's address.
    if door == Door::Plain {
        let metadata = alice.ask(12, &{
            use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
            let topic = MetadataRequestTopic::default().with_name(Some(topic_name("life-three")));
            MetadataRequest::default().with_topics(Some(vec![topic]))
        });
        let leader = metadata.topics[0].partitions.iter().find(|p| p.partition_index == 0).unwrap().leader_id;
        let other = (1..=3).find(|node| *node != leader.0).unwrap();
        let mut wrong = gateway.connect_to(other as u16, "alice", &[]);
        let answer = wrong.ask(11, &produce(&["life-three"], batch(&["x"])));
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 6, "NOT_LEADER_OR_FOLLOWER");
        assert_eq!(answer.node_endpoints.len(), 1, "{answer:?}");
        for node in answer.node_endpoints {
            assert_eq!((node.host.to_string(), node.port), expected(node.node_id), "NodeEndpoints");
        }
    }
}

#[test]
fn the_gateway_logs_in_upstream_in_every_way() {
    let kafka = Kafka::shared();
    kafka.create_topic("life-upstream", 1, 1);
    let password = "username: gateway, password_file: upstream-secret";
    let rows = [
        (Listener::Ssl, "{mechanism: none}".to_owned()),
        (Listener::SaslPlaintext, format!("{{mechanism: PLAIN, {password}}}")),
        (Listener::SaslPlaintext, format!("{{mechanism: SCRAM-SHA-256, {password}}}")),
        (Listener::SaslSsl, format!("{{mechanism: SCRAM-SHA-512, {password}}}")),
        (Listener::SaslSsl, "{mechanism: OAUTHBEARER, token_file: TOKEN}".to_owned()),
    ];
    for (upstream, upstream_sasl) in rows {
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), Idp::shared().token("gateway", &[])).unwrap();
        let upstream_sasl = upstream_sasl.replace("TOKEN", &token.path().display().to_string());
        let gateway = Setup { upstream, upstream_sasl, ..Setup::new(kafka, &policy("read, write", "")) }.start();
        assert_eq!(produce_error(&mut gateway.connect_as("alice", &[]), "life-upstream"), 0, "{upstream:?}");
    }
}

#[test]
fn a_wrong_upstream_password_is_said_and_harms_nobody() {
    let setup = Setup {
        upstream: Listener::SaslPlaintext,
        upstream_sasl: "{mechanism: PLAIN, username: admin, password_file: upstream-secret}".to_owned(),
        ..Setup::new(Kafka::shared(), &policy("read", ""))
    };
    let gateway = setup.prepare();
    gateway.process().ready("complaining", TIMEOUT, || gateway.process().output().contains("login").then_some(()));
    assert_ne!(gateway.try_get("/readyz").map(|(status, _)| status), Some(200));
    assert!(!gateway.process().output().contains("gateway-secret"), "the secret stands in the log");
}

#[test]
fn an_upstream_that_is_away_is_said_and_waited_for() {
    let mut kafka = Kafka::start(1);
    kafka.kill_broker(1);
    let gateway = Setup::new(&kafka, &policy("read", "")).prepare();
    let output = || gateway.process().output();
    gateway.process().ready("complaining", TIMEOUT, || output().contains("cannot be reached").then_some(()));
    assert_eq!(gateway.get("/livez").0, 200);
    let (status, body) = gateway.get("/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("upstream"), "{body}");
    kafka.start_broker(1);
    kafka.wait_for_brokers(1);
    gateway.wait_until_ready();
    gateway.connect_as("alice", &[]).ask(12, &metadata_of_nothing());
}

#[test]
fn an_upstream_that_must_be_there_ends_the_start() {
    let nobody = format!("localhost:{}", crate::ports::free(1));
    let setup = Setup { upstream_servers: Some(nobody.clone()), ..Setup::new(Kafka::shared(), &policy("read", "")) };
    let folder = setup.write();
    let config = folder.path().join("tidegate.yaml");
    let output = crate::gateway::tidegate(&["serve", "--require-upstream", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.contains(&nobody), "{}", output.stderr);
}

#[test]
fn a_load_balancers_header_names_the_client() {
    let gateway = Setup::new(Kafka::shared(), &policy("read", "")).start();
    let address = ("127.0.0.1", gateway.port(Door::Proxied));
    let token = Idp::shared().token("alice", &[]);
    let version_2 = {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
        header.extend([203, 0, 113, 8, 127, 0, 0, 1]);
        header.extend([4711_u16.to_be_bytes(), 9092_u16.to_be_bytes()].concat());
        header
    };
    let version_1 = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 9092\r\n".to_vec();
    for (header, client) in [(version_1, "203.0.113.7:4711"), (version_2, "203.0.113.8:4711")] {
        let mut connection = Connection::plain(address);
        connection.write(&header).unwrap();
        let mut connection = connection.login_token(&token);
        connection.ask(12, &metadata_of_nothing());
        gateway.evidence_of("the session", |entry| {
            entry["kind"] == "session_start" && entry["client_address"] == client && entry["principal"] == "alice"
        });
    }
    let mut without = Connection::plain(address);
    assert!(without.authenticate("OAUTHBEARER", &crate::raw::bearer(&token)).is_err());
    // And where none is expected, one is garbage.
    let mut unexpected = Connection::plain(("127.0.0.1", gateway.port(Door::Plain)));
    unexpected.write(b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 9092\r\n").unwrap();
    assert!(unexpected.is_closed());
}

#[test]
fn a_taken_port_is_one_clear_sentence() {
    let gateway = Setup::new(Kafka::shared(), &policy("read", "")).start();
    // The same files once more: the same ports, and the evidence folder's lock.
    let config = gateway.folder().join("tidegate.yaml");
    let output = crate::gateway::tidegate(&["serve", "--config", config.to_str().unwrap()]).failure();
    assert!(output.contains(&gateway.port(Door::Tls).to_string()), "{output}");
    assert!(!output.contains("panicked"), "{output}");
}

#[test]
fn a_client_that_never_reads_costs_bounded_memory() {
    let kafka = Kafka::shared();
    kafka.create_topic("life-greedy", 1, 1);
    let big = "x".repeat(900_000);
    for _ in 0..20 {
        kafka.control().ask(11, &produce(&["life-greedy"], batch(&[&big])));
    }
    let gateway = Setup::new(kafka, &policy("read", "")).start();
    let mut other = gateway.connect_as("alice", &[]);
    let before = resident_bytes(gateway.process().id());
    let mut greedy = gateway.connect_as("alice", &[]);
    let mut request = fetch(&["life-greedy"]);
    request.topics[0].partitions[0].partition_max_bytes = 50 * 1024 * 1024;
    // Hundreds of answers of 18 MB each, should anything collect them.
    for _ in 0..200 {
        greedy.send(12, &request).unwrap();
    }
    let mut highest = before;
    for _ in 0..60 {
        other.ask(12, &metadata_of_nothing());
        highest = highest.max(resident_bytes(gateway.process().id()));
        std::thread::sleep(Duration::from_millis(50));
    }
    let grown = (highest - before) / 1024 / 1024;
    eprintln!("a client that never reads: {grown} MiB");
    assert!(grown < 200, "grew by {grown} MiB");
}

#[test]
fn idle_connections_are_cheap() {
    // Each takes one descriptor here and in the broker, and two in the gateway.
    let connections = 10_000.min((raise_open_files() - 500) / 2);
    let gateway = Setup::new(Kafka::shared(), &policy("read", "")).start();
    let token = Idp::shared().token("alice", &[]);
    let connect = |count: usize| -> Vec<Connection> {
        let one = || Connection::plain(("127.0.0.1", gateway.port(Door::Plain))).login_token(&token);
        let few = || (0..count / 8).map(|_| one()).collect::<Vec<_>>();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(few)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    };
    let mut open = connect(80);
    let before = resident_bytes(gateway.process().id());
    open.extend(connect(connections - 80));
    let each = resident_bytes(gateway.process().id()).saturating_sub(before) / connections as u64;
    eprintln!("{connections} idle connections: {each} bytes of the gateway's memory each");
    assert!(each < 64 * 1024, "{each} bytes for an idle connection");
    for connection in open.iter_mut().step_by(500) {
        connection.ask(12, &metadata_of_nothing());
    }
}

/// Lets this process open as many files as it may; how many that are.
fn raise_open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard: usize = line.split_whitespace().nth(4).unwrap().parse().unwrap();
    let process = std::process::id().to_string();
    let mut prlimit = std::process::Command::new("prlimit");
    let raised = prlimit.args(["--pid", &process, &format!("--nofile={hard}:{hard}")]).status().unwrap();
    assert!(raised.success(), "the limit of open files cannot be raised to {hard}");
    hard
}

/// Resident memory of a process.
fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
