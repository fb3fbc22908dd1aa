//! Masking as real consumers see it, and what the evidence says about it.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::clients::{Endpoint, Java, LibRdKafka, StockClient, create_librdkafka, java_tool};
use crate::gateway::{Gateway, Setup, is_exchange};
use crate::kafka::{Kafka, Listener};
use crate::process::until;
use crate::records::{batch, fetch, produce};

const POLICY: &str = "
version: 1
grants:
  - name: reading
    purpose: Support
    principals: [carol, dora]
    resources: [{topic: {prefix: mask-}}, {group: {prefix: mask-}}]
    operations: [read]
  - name: writing
    purpose: Intake
    principals: [walter]
    resources: [{topic: {prefix: mask-}}]
    operations: [write]
masks:
  - name: card-endings
    topics: [{prefix: mask-}]
    everyone: true
    except: {principals: [dora]}
    classes: [payment_card]
    operator: {keep_last: 4}
  - name: contact-data
    topics: [{prefix: mask-}]
    everyone: true
    except: {principals: [dora]}
    classes: [email]
    operator: redact
  - name: phones
    topics: [{prefix: mask-}]
    everyone: true
    except: {principals: [dora]}
    classes: [phone]
    operator: {replace: \"(phone)\"}
  - name: not-even-stored
    topics: [mask-in]
    everyone: true
    directions: [produce]
    classes: [email]
    operator: {replace: \"(gone)\"}
";

const ORIGINAL: &str =
    r#"{"id":7,"email":"jane.doe@example.com","phone":"+4915112345678","card":"4111 1111 1111 1111"}"#;
const MASKED: &str = r#"{"id":7,"email":"[email]","phone":"(phone)","card":"**** **** **** 1111"}"#;
const CLEAN: &str = r#"{"id":8,"note":"nothing personal"}"#;

fn direct() -> Endpoint {
    Endpoint::plain(&Kafka::shared().bootstrap(Listener::SaslSsl), "admin", "admin-secret")
}

/// Findings of all entries that are `principal`'s in `topic`: class, operator, count.
fn findings(gateway: &Gateway, principal: &str, topic: &str) -> Vec<(String, String, u64)> {
    let mut found: Vec<(String, String, u64)> = Vec::new();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for entry in gateway.evidence().iter().filter(|entry| entry["principal"] == principal) {
        for finding in entry["findings"].as_array().into_iter().flatten().filter(|f| f["topic"] == topic) {
            let (class, operator) = (text(&finding["class"]), text(&finding["operator"]));
            let count = finding["count"].as_u64().unwrap();
            match found.iter_mut().find(|(c, o, _)| *c == class && *o == operator) {
                Some(known) => known.2 += count,
                None => found.push((class, operator, count)),
            }
        }
    }
    found.sort();
    found
}

fn expected(rows: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    rows.iter().map(|(class, operator, count)| ((*class).to_owned(), (*operator).to_owned(), *count)).collect()
}

#[test]
fn each_reader_sees_what_the_rules_leave_in_every_codec() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("mask-{codec}");
        Kafka::shared().create_topic(&topic, 1, 1);
        let (producer, _): (BaseProducer<_>, _) =
            create_librdkafka(&direct(), &[("compression.type", codec), ("linger.ms", "100")]);
        for value in [ORIGINAL, CLEAN, ORIGINAL] {
            producer.send(BaseRecord::<(), str>::to(&topic).payload(value)).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();

        let read = |at: &Endpoint, reader: &str| LibRdKafka.consume(at, &topic, &format!("mask-{codec}-{reader}"), 3);
        assert_eq!(read(&direct(), "direct"), [ORIGINAL, CLEAN, ORIGINAL], "{codec}");
        assert_eq!(read(&gateway.oauth("carol"), "carol"), [MASKED, CLEAN, MASKED], "{codec}");
        assert_eq!(read(&gateway.oauth("dora"), "dora"), [ORIGINAL, CLEAN, ORIGINAL], "{codec}");

        assert_eq!(
            findings(&gateway, "carol", &topic),
            expected(&[("email", "redact", 2), ("payment_card", "keep_last", 2), ("phone", "replace", 2)]),
            "{codec}"
        );
        assert_eq!(
            findings(&gateway, "dora", &topic),
            expected(&[("email", "none", 2), ("payment_card", "none", 2), ("phone", "none", 2)]),
            "{codec}"
        );
        let entries = gateway.evidence().iter().map(Value::to_string).collect::<String>();
        assert!(!entries.contains("jane.doe"), "evidence must not hold personal data");
    }
}

#[test]
fn java_snappy_is_masked_for_a_java_consumer() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    Kafka::shared().create_topic("mask-java", 1, 1);
    // Java frames snappy in its own way (xerial).
    let class = "org.apache.kafka.tools.ConsoleProducer";
    let arguments = ["--topic", "mask-java", "--sync", "--compression-codec", "snappy"];
    java_tool(&direct(), class, "--command-config", &arguments, ORIGINAL).success();
    assert_eq!(Java.consume(&gateway.oauth("carol"), "mask-java", "mask-java-group", 1), [MASKED]);
}

#[test]
fn a_share_group_sees_masked_records() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    Kafka::shared().create_topic("mask-share", 1, 1);
    LibRdKafka.produce(&direct(), "mask-share", &[ORIGINAL, CLEAN]);
    // Share groups begin at the end unless they are told otherwise.
    let config = ["--alter", "--entity-type", "groups", "--entity-name", "mask-share-group", "--add-config"];
    let config = [&config[..], &["share.auto.offset.reset=earliest"]].concat();
    java_tool(&direct(), "kafka.admin.ConfigCommand", "--command-config", &config, "").success();
    let class = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
    let arguments =
        ["--topic", "mask-share", "--group", "mask-share-group", "--max-messages", "2", "--timeout-ms", "60000"];
    let output = java_tool(&gateway.oauth("carol"), class, "--command-config", &arguments, "").success();
    assert_eq!(output.lines().collect::<Vec<_>>(), [MASKED, CLEAN]);
    gateway.evidence_of("the share fetch", |entry| is_exchange(entry, "ShareFetch", "mask-share"));
    assert_eq!(
        findings(&gateway, "carol", "mask-share"),
        expected(&[("email", "redact", 1), ("payment_card", "keep_last", 1), ("phone", "replace", 1)])
    );
}

#[test]
fn aborted_transactions_are_masked_too() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    Kafka::shared().create_topic("mask-aborted", 1, 1);
    let (producer, _): (BaseProducer<_>, _) = create_librdkafka(&direct(), &[("transactional.id", "mask-aborting")]);
    let patience = Duration::from_secs(60);
    producer.init_transactions(patience).unwrap();
    for commit in [false, true] {
        producer.begin_transaction().unwrap();
        producer.send(BaseRecord::<(), str>::to("mask-aborted").payload(ORIGINAL)).unwrap();
        producer.flush(patience).unwrap();
        if commit {
            producer.commit_transaction(patience).unwrap();
        } else {
            producer.abort_transaction(patience).unwrap();
        }
    }
    let read = |level: &str, count: usize| {
        let group = format!("mask-aborted-{level}");
        let settings = [("group.id", &*group), ("auto.offset.reset", "earliest"), ("isolation.level", level)];
        let (consumer, _): (BaseConsumer<_>, _) = create_librdkafka(&gateway.oauth("carol"), &settings);
        consumer.subscribe(&["mask-aborted"]).unwrap();
        let mut values = Vec::new();
        crate::process::until("the messages", patience, || {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                values.push(String::from_utf8_lossy(message.payload().unwrap()).into_owned());
            }
            (values.len() == count).then_some(())
        });
        values
    };
    assert_eq!(read("read_uncommitted", 2), [MASKED, MASKED]);
    assert_eq!(read("read_committed", 1), [MASKED]);
}

#[test]
fn what_is_masked_on_its_way_in_is_not_stored() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    Kafka::shared().create_topic("mask-in", 1, 1);
    LibRdKafka.produce(&gateway.oauth("walter"), "mask-in", &[ORIGINAL, CLEAN]);
    let stored = LibRdKafka.consume(&direct(), "mask-in", "mask-in-direct", 2);
    assert_eq!(stored, [&ORIGINAL.replace("jane.doe@example.com", "(gone)"), CLEAN]);
    assert_eq!(findings(&gateway, "walter", "mask-in"), expected(&[("email", "replace", 1)]));
}

#[test]
fn a_batch_without_findings_passes_as_the_same_bytes() {
    let kafka = Kafka::shared();
    let gateway = Setup::new(kafka, POLICY).start();
    // A broker may name itself as a new topic's leader a moment before it serves it.
    let write = |topic: &str, records: Bytes| {
        kafka.create_topic(topic, 1, 1);
        until(&format!("{topic} is written to"), Duration::from_secs(30), || {
            let response = kafka.control().ask(11, &produce(&[topic], records.clone()));
            (response.responses[0].partition_responses[0].error_code == 0).then_some(())
        });
    };
    write("mask-clean", batch(&[CLEAN, CLEAN]));
    let records = |mut connection: crate::raw::Connection| {
        let response = connection.ask(12, &fetch(&["mask-clean"]));
        let partition = &response.responses[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        partition.records.clone().unwrap()
    };
    let original = records(kafka.control());
    assert!(!original.is_empty());
    assert_eq!(records(gateway.connect_as("carol", &[])), original);

    // And one with findings does not, so that the comparison means something.
    write("mask-dirty", batch(&[ORIGINAL]));
    let response = gateway.connect_as("carol", &[]).ask(12, &fetch(&["mask-dirty"]));
    let masked = response.responses[0].partitions[0].records.clone().unwrap();
    assert!(String::from_utf8_lossy(&masked).contains(MASKED));
}

#[test]
fn all_but_the_value_survives_masking() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    Kafka::shared().create_topic("mask-rest", 1, 1);
    let (producer, _): (BaseProducer<_>, _) =
        create_librdkafka(&direct(), &[("compression.type", "lz4"), ("linger.ms", "100")]);
    let headers = || {
        let first = OwnedHeaders::new().insert(Header { key: "b", value: Some("1") });
        first.insert(Header { key: "a", value: None::<&str> }).insert(Header { key: "b", value: Some("2") })
    };
    // Of today, so that no broker takes them for older than it keeps.
    let started = jiff::Timestamp::now().as_millisecond();
    for (index, value) in [Some(ORIGINAL), None, Some(CLEAN), Some(ORIGINAL)].into_iter().enumerate() {
        let key = format!("key-{index}");
        let record: BaseRecord<'_, str, str> = BaseRecord::to("mask-rest").key(key.as_str()).headers(headers());
        let record = record.timestamp(started + index as i64);
        producer
            .send(match value {
                Some(value) => record.payload(value),
                None => record,
            })
            .unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();

    let read = |at: &Endpoint, group: &str| {
        let settings = [("group.id", group), ("auto.offset.reset", "earliest")];
        let (consumer, _): (BaseConsumer<_>, _) = create_librdkafka(at, &settings);
        consumer.subscribe(&["mask-rest"]).unwrap();
        until("four messages", Duration::from_secs(60), {
            let mut seen = Vec::new();
            move || {
                while let Some(message) = consumer.poll(Duration::from_millis(100)) {
                    let Ok(message) = message else { continue };
                    let headers: Vec<_> = message.headers().unwrap().iter().map(|h| format!("{h:?}")).collect();
                    let value = message.payload().map(|value| String::from_utf8_lossy(value).into_owned());
                    let key = message.key().map(<[u8]>::to_vec);
                    seen.push((message.offset(), message.timestamp(), key, headers, value));
                }
                (seen.len() == 4).then(|| std::mem::take(&mut seen))
            }
        })
    };
    let mut original = read(&direct(), "mask-rest-direct");
    let masked = read(&gateway.oauth("carol"), "mask-rest-carol");
    for message in &mut original {
        if message.4.as_deref() == Some(ORIGINAL) {
            message.4 = Some(MASKED.to_owned());
        }
    }
    assert_eq!(masked, original);
    let fetched = gateway.evidence_of("carol's fetch", |entry| {
        is_exchange(entry, "Fetch", "mask-rest") && entry["resources"][0]["records"] == 4
    });
    assert_eq!(fetched["resources"][0]["first_offset"], 0);
    assert_eq!(fetched["resources"][0]["last_offset"], 3);
}
