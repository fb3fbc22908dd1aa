//! Masking by field as real consumers see it: paths, names, columns, classes of one's own, rules
//! that only observe, and records that cannot be parsed.

use crate::clients::{Endpoint, LibRdKafka, StockClient};
use crate::gateway::{Gateway, Setup, is_exchange};
use crate::kafka::{Kafka, Listener};
use crate::raw::Connection;
use crate::records::{batch, fetch};

const POLICY: &str = r#"
version: 1
classes:
  - {name: customer_no, regex: '\bKD-\d{6}\b'}
grants:
  - name: reading
    purpose: Support
    principals: [carol]
    resources: [{topic: {prefix: fields-}}, {group: {prefix: fields-}}]
    operations: [read]
masks:
  - {name: trial, topics: [fields-json], everyone: true, mode: observe, classes: [email], operator: drop_record}
  - {name: people, topics: [fields-json], everyone: true, classes: [person_name, customer_no], operator: redact}
  - name: paths
    topics: [fields-json, fields-bad]
    everyone: true
    fields: [{path: "$.items[*].phone"}, {path: $.secret, class: api_secret}]
    operator: nullify
  - name: table
    topics: [fields-csv]
    everyone: true
    csv: {separator: ";", columns: [id, name, city]}
    fields: [{column: name, class: person_name}, {column: 3}]
    operator: {keep_last: 2}
"#;

const JSON: &str = r#"{ "id": 1.50, "lastName": "Li", "items": [{"phone": 123, "n": 1e3}, {"phone": "x"}], "to": "a@b.cc", "ref": "KD-123456" }"#;
const MASKED: &str = r#"{ "id": 1.50, "lastName": "[person_name]", "items": [{"phone": null, "n": 1e3}, {"phone": null}], "to": "a@b.cc", "ref": "[customer_no]" }"#;

fn direct() -> Endpoint {
    Endpoint::plain(&Kafka::shared().bootstrap(Listener::SaslSsl), "admin", "admin-secret")
}

/// What the entries about fetches of `topic` say was found: rule, class, field, operator, count.
fn findings(gateway: &Gateway, topic: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for entry in gateway.evidence().iter().filter(|entry| entry["principal"] == "carol") {
        for finding in entry["findings"].as_array().into_iter().flatten().filter(|f| f["topic"] == topic) {
            let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
            found.push(format!(
                "{} {} {} {} {}",
                text("rule"),
                text("class"),
                text("field"),
                text("operator"),
                finding["count"].as_u64().unwrap()
            ));
        }
    }
    found.sort();
    found
}

#[test]
fn fields_are_masked_by_path_name_and_column() {
    let gateway = Setup::new(Kafka::shared(), POLICY).start();
    for (topic, came, seen) in
        [("fields-json", JSON, MASKED), ("fields-csv", "7;\"O;Brien\";Rome", "7;\"*;***en\";**me")]
    {
        Kafka::shared().create_topic(topic, 1, 1);
        LibRdKafka.produce(&direct(), topic, &[came]);
        assert_eq!(LibRdKafka.consume(&gateway.oauth("carol"), topic, &format!("{topic}-group"), 1), [seen]);
    }
    assert_eq!(
        findings(&gateway, "fields-json"),
        [
            "paths field $.items[*].phone nullify 2",
            "people customer_no  redact 1",
            "people person_name  redact 1",
            "trial email  observe 1",
        ]
    );
    assert_eq!(
        findings(&gateway, "fields-csv"),
        ["table field column 3 keep_last 1", "table person_name column name keep_last 1"]
    );
}

#[test]
fn a_record_that_cannot_be_parsed_is_not_released() {
    let kafka = Kafka::shared();
    kafka.create_topic("fields-bad", 1, 1);
    // Two batches: the one before is released, and what comes behind is not.
    LibRdKafka.produce(&direct(), "fields-bad", &[r#"{"secret":"s","a":1}"#]);
    kafka.control().ask(11, &crate::records::produce(&["fields-bad"], batch(&["no json at all"])));
    let records = |mut connection: Connection| {
        let response = connection.ask(12, &fetch(&["fields-bad"]));
        let partition = response.responses[0].partitions[0].clone();
        (partition.error_code, partition.records.unwrap_or_default())
    };
    let gateway = Setup::new(kafka, POLICY).start();
    let (error, released) = records(gateway.connect_as("carol", &[]));
    let released = String::from_utf8_lossy(&released);
    assert_eq!(error, 0);
    assert!(released.contains(r#"{"secret":null,"a":1}"#) && !released.contains("no json"), "{released}");
    let entry = gateway.evidence_of("the fetch", |entry| is_exchange(entry, "Fetch", "fields-bad"));
    let detail = entry["detail"].as_str().unwrap();
    assert!(detail.contains("the record at offset 1 cannot be parsed: not JSON"), "{detail}");

    let masking = POLICY.replace("version: 1", "version: 1\non_unparseable: mask_whole_value");
    let gateway = Setup::new(kafka, &masking).start();
    let (error, released) = records(gateway.connect_as("carol", &[]));
    assert_eq!(error, 0);
    assert!(String::from_utf8_lossy(&released).contains("[unparseable]"));
    let entry = gateway.evidence_of("the fetch", |entry| is_exchange(entry, "Fetch", "fields-bad"));
    assert!(entry["detail"].as_str().unwrap().contains("1 records could not be parsed and were masked whole"));
}
