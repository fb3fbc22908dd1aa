//! The main job: unmodified clients log in, produce, consume in a group and administer through the
//! gateway, and the evidence says so.

use crate::clients::{Confluent, Endpoint, Java, KafkaJs, Kcat, LibRdKafka, StockClient, java_tool};
use crate::gateway::{Door, Gateway, Setup, is_exchange};
use crate::kafka::Kafka;

/// What a team may do with everything of its own.
const POLICY: &str = "
version: 1
grants:
  - name: team-works
    purpose: The team's own data
    principals: [alice]
    resources:
      - topic: {prefix: team-}
      - group: {prefix: team-}
      - transactional_id: {prefix: team-}
    operations: [read, write, create, delete, alter, describe, describe_configs, alter_configs]
";

/// Produces, consumes and administers, and looks for each step in the evidence.
fn check(gateway: &Gateway, client: &dyn StockClient, at: &Endpoint, label: &str) {
    let (topic, group) = (format!("team-{label}"), format!("team-{label}-group"));
    Kafka::shared().create_topic(&topic, 1, 1);
    client.produce(at, &topic, &["one", "two", "three"]);
    assert_eq!(client.consume(at, &topic, &group, 3), ["one", "two", "three"], "{label}");
    let created = format!("team-{label}-created");
    let topics = client.administer(at, &created);
    assert!(topics.contains(&topic), "{label}: {topics:?}");
    assert!(topics.iter().all(|topic| topic.starts_with("team-")), "{label} sees what it has no grant for: {topics:?}");

    let records = |api: &str| {
        let entries = gateway.evidence();
        let uses = entries.iter().filter(|entry| is_exchange(entry, api, &topic));
        uses.flat_map(|entry| entry["resources"].as_array().unwrap())
            .filter(|resource| resource["allowed"] == true && resource["rule"] == "team-works")
            .map(|resource| resource["records"].as_u64().unwrap_or(0))
            .sum::<u64>()
    };
    assert_eq!(records("Produce"), 3, "{label}");
    assert!(records("Fetch") >= 3, "{label}");
    let produce = gateway.evidence_of("the produce", |entry| is_exchange(entry, "Produce", &topic));
    assert_eq!(produce["principal"], "alice");
    assert_eq!(produce["outcome"], "allowed");
    assert_eq!(produce["resources"][0]["purpose"], "The team's own data");
    assert_eq!(produce["resources"][0]["first_offset"], 0, "{produce}");
    gateway.evidence_of("joining the group", |entry| is_exchange(entry, "JoinGroup", &group));
}

#[test]
fn clients_log_in_with_tokens_of_their_own() {
    let gateway = Setup { shards: 2, ..Setup::new(Kafka::shared(), POLICY) }.start();
    let at = gateway.oauth("alice");
    let clients: [(&dyn StockClient, &str); 4] =
        [(&Java, "java"), (&LibRdKafka, "librdkafka"), (&Confluent, "confluent"), (&KafkaJs, "kafkajs")];
    for (client, label) in clients {
        check(&gateway, client, &at, label);
    }
}

#[test]
fn clients_log_in_with_a_token_as_password() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let at = gateway.token_as_password("alice", &[]);
    let clients: [(&dyn StockClient, &str); 4] =
        [(&LibRdKafka, "p-librdkafka"), (&Confluent, "p-confluent"), (&KafkaJs, "p-kafkajs"), (&Kcat, "p-kcat")];
    for (client, label) in clients {
        check(&gateway, client, &at, label);
    }
    // Without TLS the same holds.
    let at = Endpoint { ca: None, bootstrap: gateway.bootstrap(Door::Plain), ..at };
    check(&gateway, &LibRdKafka, &at, "p-without-tls");
}

#[test]
fn brokers_are_told_apart_by_server_name() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let at = Endpoint { bootstrap: gateway.bootstrap(Door::Sni), ..gateway.oauth("alice") };
    // Java, because it is the one client here that can be told what names mean (`jdk.net.hosts.file`).
    check(&gateway, &Java, &at, "sni");
}

#[test]
fn the_java_tools_work() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    Kafka::shared().create_topic("team-tools", 2, 1);
    use_the_java_tools(&gateway.oauth("alice"));
}

/// KIP-368: a client that stays longer than its session authenticates anew, loses nothing by it, and
/// the evidence says so.
#[test]
fn a_client_that_stays_authenticates_anew() {
    let gateway = Setup { session_max: Some("4s"), ..Setup::new(Kafka::shared(), POLICY) }.start();
    Kafka::shared().create_topic("team-stays", 1, 1);
    let arguments = ["--topic", "team-stays", "--max-messages", "100", "--throughput", "10"];
    let class = "org.apache.kafka.tools.VerifiableProducer";
    let output = java_tool(&gateway.oauth("alice"), class, "--command-config", &arguments, "").success();
    assert!(output.contains("\"acked\":100"), "{output}");
    let anew = gateway.evidence_of("authentication anew", |entry| {
        entry["kind"] == "session_start" && entry["detail"].as_str().is_some_and(|how| how.contains("anew"))
    });
    let entries = gateway.evidence();
    let after = entries
        .iter()
        .filter(|entry| entry["session"] == anew["session"] && entry["sequence"].as_u64() > anew["sequence"].as_u64());
    assert!(after.count() > 0, "the session that authenticated anew was not used again");
    assert!(!entries.iter().any(|entry| entry["kind"] == "connection_refused"), "somebody was cut off");
}

/// Each of Kafka's tools once, on the topic `team-tools`.
fn use_the_java_tools(at: &Endpoint) {
    let rows: [(&str, &str, &[&str], &str); 9] = [
        (
            "org.apache.kafka.tools.VerifiableProducer",
            "--command-config",
            &["--topic", "team-tools", "--max-messages", "20"],
            "\"acked\":20",
        ),
        (
            "org.apache.kafka.tools.VerifiableConsumer",
            "--command-config",
            &[
                "--topic",
                "team-tools",
                "--group-id",
                "team-verifiable",
                "--max-messages",
                "20",
                "--reset-policy",
                "earliest",
            ],
            "records_consumed",
        ),
        // KIP-848's protocol.
        (
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            "--command-config",
            &[
                "--topic",
                "team-tools",
                "--group",
                "team-new-protocol",
                "--from-beginning",
                "--max-messages",
                "20",
                "--timeout-ms",
                "60000",
                "--command-property",
                "group.protocol=consumer",
            ],
            "19",
        ),
        (
            "org.apache.kafka.tools.ProducerPerformance",
            "--command-config",
            &[
                "--topic",
                "team-tools",
                "--num-records",
                "1000",
                "--record-size",
                "100",
                "--throughput",
                "-1",
                "--transactional-id",
                "team-perf",
                "--transaction-duration-ms",
                "100",
            ],
            "1000 records sent",
        ),
        (
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            "--command-config",
            &["--list"],
            "team-verifiable",
        ),
        (
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            "--command-config",
            &["--describe", "--group", "team-verifiable"],
            "team-tools",
        ),
        (
            "kafka.admin.ConfigCommand",
            "--command-config",
            &[
                "--alter",
                "--entity-type",
                "topics",
                "--entity-name",
                "team-tools",
                "--add-config",
                "retention.ms=86400000",
            ],
            "Completed updating config",
        ),
        (
            "kafka.admin.ConfigCommand",
            "--command-config",
            &["--describe", "--entity-type", "topics", "--entity-name", "team-tools"],
            "retention.ms=86400000",
        ),
        (
            "org.apache.kafka.tools.TopicCommand",
            "--command-config",
            &["--alter", "--topic", "team-tools", "--partitions", "3"],
            "",
        ),
    ];
    for (class, config, arguments, expected) in rows {
        let output = java_tool(at, class, config, arguments, "").success();
        assert!(output.contains(expected), "{class} {arguments:?}: {output}");
    }
}
