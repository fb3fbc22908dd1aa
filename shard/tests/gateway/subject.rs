//! Whose data was where and who saw it: asked of the evidence of a gateway in front of a real broker.

use serde_json::Value;

use crate::gateway::{Gateway, Setup, TIMEOUT, tidegate};
use crate::kafka::Kafka;
use crate::process::until;
use crate::records::{batch, fetch, produce};

const TOPIC: &str = "subject-orders";

const POLICY: &str = "
version: 1
grants:
  - name: intake
    purpose: Taking orders
    principals: [walter]
    resources: [{topic: {prefix: subject-}}]
    operations: [write]
  - name: support
    purpose: Answering customers
    groups: [support]
    resources: [{topic: {prefix: subject-}}]
    operations: [read]
masks:
  - name: customers
    topics: [{prefix: subject-}]
    everyone: true
    directions: [fetch, produce]
    mode: observe
    classes: [email]
    fields: [{path: $..customer, subject: customer_id}]
    operator: redact
  - name: mails
    topics: [{prefix: subject-}]
    everyone: true
    except: {principals: [dora]}
    classes: [email]
    operator: redact
processing:
  controller: {name: Shop Ltd}
  activities:
    - {name: Support, topics: [{prefix: subject-}], purposes: [Answering customers], classes: [email], recipients: [{name: Support, groups: [support]}]}
";

fn ask(gateway: &Gateway, value: &str, more: &[&str]) -> Value {
    let folder = gateway.evidence_folder();
    let url = gateway.control_url();
    let words = [&["audit", "subject", value, folder.to_str().unwrap(), "--gateway", &url], more].concat();
    let finished = tidegate(&words);
    serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{}{}", finished.stdout, finished.stderr))
}

/// Action, principal, offsets, class and form of each access.
fn accesses(account: &Value) -> Vec<(String, String, String, String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let accesses = account["accesses"].as_array().unwrap().iter();
    accesses
        .map(|a| (text(&a["action"]), text(&a["principal"]), text(&a["offsets"]), text(&a["class"]), text(&a["form"])))
        .collect()
}

fn rows(rows: &[(&str, &str, &str, &str, &str)]) -> Vec<(String, String, String, String, String)> {
    let own = |text: &str| text.to_owned();
    rows.iter().map(|(a, b, c, d, e)| (own(a), own(b), own(c), own(d), own(e))).collect()
}

/// Walter writes, carol reads masked, dora in clear; all of it is committed.
fn life(gateway: &Gateway, values: &[&str]) {
    let mut walter = gateway.connect_as("walter", &[]);
    let answer = walter.ask(11, &produce(&[TOPIC], batch(values)));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    for reader in ["carol", "dora"] {
        let mut connection = gateway.connect_as(reader, &["support"]);
        let answer = connection.ask(12, &fetch(&[TOPIC]));
        assert_eq!(answer.responses[0].partitions[0].error_code, 0);
    }
}

#[test]
fn a_person_is_found_with_everybody_who_saw_the_data_and_nobody_else() {
    let kafka = Kafka::shared();
    kafka.create_topic(TOPIC, 1, 1);
    let mut gateway = Setup::new(kafka, POLICY).start();
    life(
        &gateway,
        &[
            r#"{"customer":"C-1","email":"Ann@example.com"}"#,
            r#"{"customer":"C-2","email":"bob@example.com"}"#,
            r#"{"note":"nothing"}"#,
            r#"{"customer":"C-2","cc":"ann\u0040example.com"}"#,
        ],
    );
    let ann = ask(&gateway, "ann@example.com", &["--output", "json", "--why", "ticket 1"]);
    let (clear, masked) = ("in clear", "masked (redact)");
    assert_eq!(
        accesses(&ann),
        rows(&[
            ("write", "walter", "[[0,0],[3,3]]", "email", clear),
            ("read", "carol", "[[0,0],[3,3]]", "email", masked),
            ("read", "dora", "[[0,0],[3,3]]", "email", clear),
        ])
    );
    assert_eq!(ann["accesses"][1]["purpose"], "Answering customers");
    assert_eq!(ann["accesses"][1]["grant"], "support");
    assert_eq!(ann["messages"][0]["offsets"], serde_json::json!([[0, 0], [3, 3]]));
    assert_eq!(ann["not_searched"], serde_json::json!([]));
    let bob = ask(&gateway, "BOB@example.com", &["--output", "json"]);
    assert_eq!(accesses(&bob).iter().map(|access| access.2.as_str()).collect::<Vec<_>>(), ["[[1,1]]"; 3]);
    let customer = ask(&gateway, "C-2", &["--class", "customer_id", "--output", "json"]);
    assert_eq!(
        accesses(&customer),
        rows(&[
            ("write", "walter", "[[1,1],[3,3]]", "customer_id", clear),
            ("read", "carol", "[[1,1],[3,3]]", "customer_id", clear),
            ("read", "dora", "[[1,1],[3,3]]", "customer_id", clear),
        ])
    );
    assert_eq!(accesses(&ask(&gateway, "eve@example.com", &["--output", "json"])), []);

    // Who asks about people is in the evidence himself, and whom he asked about is not.
    let asked = gateway.evidence_of("the question", |entry| {
        entry["detail"].as_str().is_some_and(|detail| detail.contains("asked: subject") && detail.contains("ticket 1"))
    });
    assert_eq!((&asked["kind"], &asked["principal"]), (&"admin_call".into(), &"local-operator".into()));
    let everything = gateway.evidence().iter().map(Value::to_string).collect::<String>();
    assert!(!everything.contains("ann@example") && !everything.contains("C-2"));

    // What is declared beside what was seen.
    let (policy, folder) = (gateway.folder().join("policy.yaml"), gateway.evidence_folder());
    let report = ["report", "article-30", folder.to_str().unwrap(), "--policy", policy.to_str().unwrap()];
    let record: Value =
        serde_json::from_str(&tidegate(&[&report[..], &["--format", "json"]].concat()).success()).unwrap();
    let drift: Vec<&str> = record["drift"].as_array().unwrap().iter().map(|d| d["what"].as_str().unwrap()).collect();
    assert_eq!(drift, ["customer_id in subject-orders"]);

    // A new epoch of the secrets; the old one is destroyed: what it tagged is lost, and the evidence is as it was.
    let dir = folder.to_str().unwrap();
    let url = gateway.control_url();
    tidegate(&["audit", "epoch", dir, "--begin", "--gateway", &url]).success();
    let refused = tidegate(&["audit", "shred", dir, "--epoch", "2", "--offline"]).failure();
    assert!(refused.contains("the newest"), "{refused}");
    gateway.process().signal("TERM");
    assert!(gateway.process().wait(TIMEOUT).success());
    gateway.restart_after(|_| {});
    life(&gateway, &[r#"{"email":"ann@example.com"}"#]);
    let both = ask(&gateway, "ann@example.com", &["--output", "json"]);
    assert_eq!(both["accesses"].as_array().unwrap().len(), 6);
    // The segment of the first epoch is sealed now: an index is made, and the evidence commits to it.
    let checked = until("the index", TIMEOUT, || {
        let said = tidegate(&["audit", "index", dir, "--check"]).success();
        said.contains("1 indexes are those of the evidence, 0 are not").then_some(said)
    });
    assert!(checked.contains("1 were there"), "{checked}");
    assert_eq!(ask(&gateway, "ann@example.com", &["--output", "json", "--no-index"]), both);
    tidegate(&["audit", "shred", dir, "--epoch", "1", "--gateway", &gateway.control_url()]).success();
    let rest = ask(&gateway, "ann@example.com", &["--output", "json", "--offline"]);
    assert_eq!(rest["accesses"].as_array().unwrap().len(), 3);
    assert!(rest["not_searched"][0].as_str().unwrap().contains("epoch 1 is destroyed"));
    let verified: Value =
        serde_json::from_str(&tidegate(&["audit", "verify", dir, "--output", "json"]).stdout).unwrap();
    assert_ne!(verified["verdict"], "tampered", "{verified}");
    gateway.evidence_of("the shredding", |entry| {
        entry["detail"].as_str().is_some_and(|detail| detail.contains("epoch 1, destroyed"))
    });
}
