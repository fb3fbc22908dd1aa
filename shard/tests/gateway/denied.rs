//! What no grant allows is denied as a broker with ACLs denies it, and stands in the evidence.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{GroupId, InitProducerIdRequest, MetadataRequest, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use crate::clients::java_tool;
use crate::gateway::{Setup, is_exchange};
use crate::kafka::{Kafka, topic_name};
use crate::records::{batch, fetch, produce};

const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
const GROUP_AUTHORIZATION_FAILED: i16 = 30;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;

const POLICY: &str = "
version: 1
grants:
  - name: mine
    purpose: Own data
    principals: [alice]
    resources: [{topic: denied-mine}, {group: denied-mine}]
    operations: [read, write]
  - name: over
    purpose: A grant that ended
    principals: [alice]
    resources: [{topic: denied-over}]
    operations: [read, write]
    not_after: 2020-01-01T00:00:00Z
";

#[test]
fn raw_requests_are_answered_per_topic() {
    let kafka = Kafka::shared();
    let gateway = Setup::new(kafka, POLICY).start();
    for topic in ["denied-mine", "denied-theirs", "denied-over"] {
        kafka.create_topic(topic, 1, 1);
    }
    let mut alice = gateway.connect_as("alice", &[]);
    let topics = ["denied-mine", "denied-theirs", "denied-over"];
    let expected = [0, TOPIC_AUTHORIZATION_FAILED, TOPIC_AUTHORIZATION_FAILED];

    let produced = alice.ask(11, &produce(&topics, batch(&["x"])));
    for (topic, expected) in topics.iter().zip(expected) {
        let answer = produced.responses.iter().find(|r| r.name.as_str() == *topic).unwrap();
        assert_eq!(answer.partition_responses[0].error_code, expected, "{topic}");
    }
    let fetched = alice.ask(12, &fetch(&topics));
    for (topic, expected) in topics.iter().zip(expected) {
        let answer = fetched.responses.iter().find(|r| r.topic.as_str() == *topic).unwrap();
        assert_eq!(answer.partitions[0].error_code, expected, "{topic}");
    }
    let asked = topics.iter().map(|&t| MetadataRequestTopic::default().with_name(Some(topic_name(t)))).collect();
    let metadata = alice.ask(12, &MetadataRequest::default().with_topics(Some(asked)));
    for (topic, expected) in topics.iter().zip(expected) {
        let answer = metadata.topics.iter().find(|t| t.name.as_ref().unwrap().as_str() == *topic).unwrap();
        assert_eq!(answer.error_code, expected, "{topic}");
    }
    let all = alice.ask(12, &MetadataRequest::default().with_topics(None));
    let names: Vec<&str> = all.topics.iter().map(|t| t.name.as_ref().unwrap().as_str()).collect();
    assert_eq!(names, ["denied-mine"], "a listing is filtered");

    let entry = gateway.evidence_of("the partly denied produce", |e| is_exchange(e, "Produce", "denied-theirs"));
    assert_eq!(entry["outcome"], "partly_denied");
    let of = |name: &str| entry["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap().clone();
    assert_eq!((&of("denied-mine")["allowed"], &of("denied-mine")["rule"]), (&true.into(), &"mine".into()));
    assert_eq!((&of("denied-theirs")["allowed"], &of("denied-theirs")["rule"]), (&false.into(), &"no grant".into()));
    assert_eq!(of("denied-over")["allowed"], false);
    assert!(of("denied-over")["rule"].as_str().unwrap().contains("over"), "{entry}");

    // What was denied did not reach the broker.
    let stored = kafka.control().ask(12, &fetch(&["denied-theirs"]));
    assert_eq!(stored.responses[0].partitions[0].high_watermark, 0);
}

#[test]
fn groups_and_transactions_are_denied_by_name() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let mut alice = gateway.connect_as("alice", &[]);
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text("theirs"))))
        .with_transaction_timeout_ms(1000);
    assert_eq!(alice.ask(5, &request).error_code, TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
    let request = kafka_protocol::messages::HeartbeatRequest::default().with_group_id(GroupId(text("theirs")));
    assert_eq!(alice.ask(4, &request).error_code, GROUP_AUTHORIZATION_FAILED);
    let entry = gateway.evidence_of("the heartbeat", |e| is_exchange(e, "Heartbeat", "theirs"));
    assert_eq!(entry["outcome"], "denied");
}

#[test]
fn a_java_user_reads_the_usual_error() {
    Kafka::shared().create_topic("denied-java", 1, 1);
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    let arguments =
        ["--topic", "denied-java", "--group", "denied-mine", "--max-messages", "1", "--timeout-ms", "20000"];
    let class = "org.apache.kafka.tools.consumer.ConsoleConsumer";
    let output = java_tool(&gateway.oauth("alice"), class, "--command-config", &arguments, "");
    let text = format!("{}{}", output.stdout, output.stderr);
    assert!(text.contains("TopicAuthorizationException"), "{text}");
}
