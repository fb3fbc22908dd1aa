//! Records with schemas: written by stock serializers, masked on their way, and read by stock
//! deserializers, with a schema registry between them (`clients/schema_registry.py`).

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::{Endpoint, with_serializers};
use crate::dependencies;
use crate::gateway::{Gateway, Setup, TIMEOUT, is_exchange};
use crate::kafka::{Kafka, Listener};
use crate::process::{Process, guarded};
use crate::records::{batch, fetch, produce};
use crate::web::Web;

const SCRIPT: &str = include_str!("clients/schema_registry.py");

const POLICY: &str = r#"
version: 1
grants:
  - name: reading
    purpose: Support
    principals: [carol]
    resources: [{topic: {prefix: formats-}}, {group: {prefix: formats-}}]
    operations: [read, write]
masks:
  - name: recognised
    topics: [{prefix: formats-}]
    everyone: true
    schema_registry: true
    classes: [email, payment_card]
    operator: redact
  - name: by-tag
    topics: [formats-avro]
    everyone: true
    schema_registry: true
    fields: [{tag: PII}, {path: "$.orders[*].phone", class: phone}]
    operator: nullify
  - name: of-protobuf
    topics: [{prefix: formats-protobuf}]
    everyone: true
    schema_registry: true
    fields: [{tag: PII}, {path: "$.phones[0]"}]
    operator: nullify
  - name: by-path
    topics: [formats-json]
    everyone: true
    schema_registry: true
    fields: [{path: $.name, class: person_name}]
    operator: {keep_last: 2}
"#;

/// The registry of one test.
struct Registry {
    _process: Process,
    port: u16,
    folder: TempDir,
}

impl Registry {
    fn start() -> Self {
        Self::with(json!({}))
    }

    /// One that has `more` from the start.
    fn with(mut more: Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let given = folder.path().join("config");
        more["username"] = "gw".into();
        more["password"] = "gw-secret".into();
        std::fs::write(&given, format!("{more}\n")).unwrap();
        let mut command = guarded(dependencies::python());
        command.args(["-c", SCRIPT]).stdin(std::fs::File::open(given).unwrap());
        let process = Process::start("schema registry", command, folder.path().join("log"));
        let port = process.ready("listening", TIMEOUT, || {
            process.output().lines().find_map(|line| line.strip_prefix("port ")?.parse().ok())
        });
        Self { _process: process, port, folder }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A gateway that asks it.
    fn gateway(&self) -> Gateway {
        let secret = self.folder.path().join("secret");
        std::fs::write(&secret, "gw-secret\n").unwrap();
        let more = format!(
            "schema_registry: {{url: \"{}\", username: gw, password_file: {}}}\n",
            self.url(),
            secret.display()
        );
        Setup { more, ..Setup::new(Kafka::shared(), POLICY) }.start()
    }

    fn task(&self, format: &str, schema: &str, topic: &str, rest: Value) -> Value {
        let mut task = json!({
            "registry": self.url(), "login": "gw:gw-secret", "format": format, "schema": schema, "topic": topic,
        });
        task.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        task
    }

    /// Writes `came` past the gateway and reads it through the gateway.
    fn read_through(
        &self,
        gateway: &Gateway,
        (format, schema, topic): (&str, &str, &str),
        came: &[Value],
    ) -> Vec<Value> {
        Kafka::shared().create_topic(topic, 1, 1);
        let direct = Endpoint::plain(&Kafka::shared().bootstrap(Listener::SaslSsl), "admin", "admin-secret");
        with_serializers(&direct, self.task(format, schema, topic, json!({"do": "produce", "values": came})));
        let group = format!("{topic}-group");
        let task = self.task(format, schema, topic, json!({"do": "consume", "group": group, "count": came.len()}));
        let lines = with_serializers(&gateway.oauth("carol"), task);
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

const AVRO: &str = r#"{"type": "record", "name": "Customer", "namespace": "shop", "fields": [
    {"name": "id", "type": "long"},
    {"name": "name", "type": ["null", "string"], "confluent:tags": ["PII"]},
    {"name": "born", "type": {"type": "int", "logicalType": "date"}, "confluent:tags": ["PII"]},
    {"name": "note", "type": "string"},
    {"name": "level", "type": {"type": "enum", "name": "Level", "symbols": ["LOW", "HIGH"]}},
    {"name": "orders", "type": {"type": "array", "items": {"type": "record", "name": "Order", "fields": [
        {"name": "phone", "type": "string"}, {"name": "total", "type": "double"}]}}},
    {"name": "labels", "type": {"type": "map", "values": "string"}}
]}"#;

#[test]
fn what_a_stock_serializer_wrote_a_stock_deserializer_reads_masked() {
    let registry = Registry::start();
    let gateway = registry.gateway();
    let customer = |name: Value, born: i64, note: &str, id: i64, phone: &str, label: &str| {
        json!({"id": id, "name": name, "born": born, "note": note, "level": "HIGH",
               "orders": [{"phone": phone, "total": 1.25}, {"phone": phone, "total": 0.5}], "labels": {"by": label}})
    };
    let came = [
        customer("Jane Doe".into(), 3789, "write to jane@example.com", 4_111_111_111_111_111, "123", "x@example.com"),
        customer(Value::Null, 1, "nothing", 7, "", "none"),
    ];
    let seen = registry.read_through(&gateway, ("avro", AVRO, "formats-avro"), &came);
    let mut expected = [
        customer(Value::Null, 0, "write to [email]", 0, "", "[email]"),
        customer(Value::Null, 0, "nothing", 7, "", "none"),
    ];
    // A date is one for Python.
    expected.iter_mut().for_each(|customer| customer["born"] = "1970-01-01".into());
    assert_eq!(seen, expected);

    let entry = gateway.evidence_of("the fetch", |entry| {
        is_exchange(entry, "Fetch", "formats-avro")
            && entry["findings"].as_array().is_some_and(|found| !found.is_empty())
    });
    let mut found: Vec<String> = entry["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| {
            format!("{} {} {} {}", f["rule"].as_str().unwrap(), f["class"].as_str().unwrap(), f["field"], f["count"])
        })
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "by-tag field \"tag PII\" 3",
            "by-tag phone \"$.orders[*].phone\" 2",
            "recognised email null 2",
            "recognised payment_card null 1",
        ]
    );
}

#[test]
fn json_with_a_schema_is_masked_behind_its_framing() {
    let registry = Registry::start();
    let gateway = registry.gateway();
    let schema = r#"{"$schema": "http://json-schema.org/draft-07/schema#", "title": "C", "type": "object",
        "properties": {"name": {"type": "string"}, "to": {"type": "string"}, "n": {"type": "number"}}}"#;
    let came = [json!({"name": "Jane Doe", "to": "jane@example.com", "n": 1})];
    let seen = registry.read_through(&gateway, ("json", schema, "formats-json"), &came);
    assert_eq!(seen, [json!({"name": "**** *oe", "to": "[email]", "n": 1})]);
}

#[test]
fn an_unknown_schema_is_refused_both_ways_and_asked_for_once() {
    let kafka = Kafka::shared();
    kafka.create_topic("formats-unknown", 1, 1);
    let registry = Registry::start();
    let value = "\0\0\0\u{3}\u{7}jane@example.com";
    kafka.control().ask(11, &produce(&["formats-unknown"], batch(&[value])));
    let gateway = registry.gateway();
    let mut connection = gateway.connect_as("carol", &[]);
    // At first it is on its way; then it is known that there is none.
    let error = crate::process::until("the refusal", TIMEOUT, || {
        let response = connection.ask(12, &fetch(&["formats-unknown"]));
        let partition = &response.responses[0].partitions[0];
        assert!(partition.records.as_ref().is_none_or(|records| records.is_empty()), "nothing is released");
        (partition.error_code != 0).then_some(partition.error_code)
    });
    assert_eq!(error, 2, "CORRUPT_MESSAGE");
    for _ in 0..3 {
        connection.ask(12, &fetch(&["formats-unknown"]));
    }
    let entry = gateway.evidence_of("the refusal", |entry| {
        is_exchange(entry, "Fetch", "formats-unknown")
            && entry["detail"].as_str().is_some_and(|d| d.contains("does not have it"))
    });
    assert!(entry["detail"].as_str().unwrap().contains("schema 775"), "{}", entry["detail"]);
    let asked = Web::from(1).get(&format!("{}/asked", registry.url()), "");
    assert_eq!(asked.json(), json!(["/schemas/ids/775"]));
}

/// `shop.proto`, as in the tests of `policy` (`mask/tests/protobuf.rs`).
const PROTOBUF: &str = "\
    CgpzaG9wLnByb3RvEgRzaG9wIhsKBU90aGVyEhIKBHRleHQYASABKAlSBHRleHQiugQKCEN1c3RvbWVyEg4KAmlkGAEgASgDUgJp\
    ZBItCg1lbWFpbF9hZGRyZXNzGAIgASgJQgiCRAUaA1BJSVIMZW1haWxBZGRyZXNzEhIKBG5vdGUYAyABKAlSBG5vdGUSKgoFbGV2\
    ZWwYBCABKA4yFC5zaG9wLkN1c3RvbWVyLkxldmVsUgVsZXZlbBIWCgZwaG9uZXMYBSADKAlSBnBob25lcxIhCgdhZGRyZXNzGAYg\
    ASgLMgdBZGRyZXNzUgdhZGRyZXNzEjIKBmxhYmVscxgHIAMoCzIaLnNob3AuQ3VzdG9tZXIuTGFiZWxzRW50cnlSBmxhYmVscxIY\
    CgdudW1iZXJzGAggAygRUgdudW1iZXJzEhQKBXNjb3JlGAkgASgBUgVzY29yZRIWCgZhY3RpdmUYCiABKAhSBmFjdGl2ZRISCgRj\
    b2RlGAsgASgHUgRjb2RlEhIKBGJsb2IYDCABKAxSBGJsb2ISIgoEbmV4dBgNIAEoCzIOLnNob3AuQ3VzdG9tZXJSBG5leHQSFAoF\
    cmF0aW8YDiABKAJSBXJhdGlvGjMKB0FkZHJlc3MSFgoGc3RyZWV0GAEgASgJUgZzdHJlZXQSEAoDemlwGAIgASgNUgN6aXAaOQoL\
    TGFiZWxzRW50cnkSEAoDa2V5GAEgASgJUgNrZXkSFAoFdmFsdWUYAiABKAlSBXZhbHVlOgI4ASImCgVMZXZlbBIHCgNMT1cQABII\
    CgRISUdIEAESCgoGU0VDUkVUEAJiBnByb3RvMw==";

/// The same as the registry serves it.
const PROTOBUF_TEXT: &str = r#"syntax = "proto3";
package shop;
import "confluent/meta.proto";
import "shop/level.proto";
message Other { string text = 1; }
message Customer {
  message Address { string street = 1; uint32 zip = 2; }
  int64 id = 1;
  string email_address = 2 [(confluent.field_meta) = {tags: "PII"}];
  string note = 3;
  shop.levels.Level level = 4;
  repeated string phones = 5;
  Address address = 6;
  map<string, string> labels = 7;
  repeated sint32 numbers = 8;
  double score = 9;
  bool active = 10;
  fixed32 code = 11;
  bytes blob = 12;
  Customer next = 13;
  float ratio = 14;
}"#;
const LEVEL: &str = r#"syntax = "proto3"; package shop.levels; enum Level { LOW = 0; HIGH = 1; SECRET = 2; }"#;

#[test]
fn protobuf_of_a_stock_serializer_is_masked_by_path_tag_and_class() {
    let references = [json!({"name": "shop/level.proto", "subject": "shop level", "version": 1})];
    let registry = Registry::with(json!({
        "subjects": {"shop level": {"schema": LEVEL, "schemaType": "PROTOBUF"}},
        "texts": {"formats-protobuf-value": {"schema": PROTOBUF_TEXT, "references": references}},
    }));
    let gateway = registry.gateway();
    let customer = |email: &str, phones: [&str; 2], card: &str, note: &str, label: &str| {
        json!({"id": card, "email_address": email, "note": note, "level": "HIGH", "phones": phones,
               "address": {"street": "Main Street 1", "zip": 10115}, "labels": {"by": label}, "numbers": [-3, 7]})
    };
    let came = [customer("Jane", ["1", "2"], "4111111111111111", "write to jane@example.com", "x@example.com")];
    let seen = registry.read_through(&gateway, ("protobuf", PROTOBUF, "formats-protobuf"), &came);
    let mut expected = customer("", ["", "2"], "", "write to [email]", "[email]");
    // What has its default is not there.
    let fields = expected.as_object_mut().unwrap();
    fields.remove("email_address");
    fields.remove("id");
    assert_eq!(seen, [expected]);
    let asked = Web::from(1).get(&format!("{}/asked", registry.url()), "");
    assert_eq!(asked.json(), json!(["/schemas/ids/2", "/subjects/shop%20level/versions/1"]));
}

#[test]
fn protobuf_as_a_descriptor_is_masked_just_so() {
    let registry = Registry::start();
    let gateway = registry.gateway();
    let came = [json!({"email_address": "Jane", "note": "to jane@example.com", "level": "SECRET"})];
    let seen = registry.read_through(&gateway, ("protobuf", PROTOBUF, "formats-protobuf-2"), &came);
    assert_eq!(seen, [json!({"note": "to [email]", "level": "SECRET"})]);
}
