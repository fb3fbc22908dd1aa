//! The admin API and its command line, against the built gateway: who may ask, decide and revoke, and
//! what a stock connection then can do.

use std::path::PathBuf;

use serde_json::Value;

use crate::gateway::{Gateway, Setup, TIMEOUT, tidegate};
use crate::idp::Idp;
use crate::kafka::Kafka;
use crate::process::{Finished, until};
use crate::records::{batch, fetch, produce};

const TOPIC: &str = "admin-orders";

const POLICY: &str = "
version: 1
grants:
  - name: always
    purpose: Tests
    everyone: true
    resources: [{topic: admin-always}]
    operations: [read]
requests:
  - name: analysts-may-ask
    groups: [analysts]
    resources: [{topic: {prefix: admin-}}]
    operations: [read]
    duration_max: 8h
    approvers: {groups: [owners]}
break_glass:
  - {name: oncall, groups: [oncall], resources: [{topic: {prefix: admin-}}], operations: [read], duration_max: 1h, review_within: 24h}
roles:
  operator: {groups: [operators]}
  auditor: {groups: [auditors]}
";

/// Somebody at a terminal: runs `tidegate` with his own token.
pub(crate) struct Person<'a> {
    gateway: &'a Gateway,
    token_file: PathBuf,
}

impl<'a> Person<'a> {
    pub(crate) fn new(gateway: &'a Gateway, name: &str, groups: &[&str]) -> Self {
        let token_file = gateway.folder().join(format!("{name}.token"));
        std::fs::write(&token_file, Idp::shared().token(name, groups)).unwrap();
        Self { gateway, token_file }
    }

    /// Whoever owns the machine.
    pub(crate) fn operator(gateway: &'a Gateway) -> Self {
        Self { gateway, token_file: gateway.evidence_folder().join("control/operator.token") }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        let server = self.gateway.control_url();
        let token_file = self.token_file.to_str().unwrap();
        let common = ["--server", &server, "--token-file", token_file, "--output", "json"];
        let (command, rest) = arguments.split_at(1);
        tidegate(&[command, &common[..], rest].concat())
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(arguments).success()).unwrap()
    }
}

const ASK: &[&str] = &[
    "grant",
    "request",
    "--topic",
    TOPIC,
    "--operation",
    "read",
    "--for",
    "1h",
    "--purpose",
    "Planning",
    "--reason",
    "Month's end",
];

#[test]
fn a_grant_is_asked_for_approved_by_somebody_else_used_and_revoked() {
    let kafka = Kafka::shared();
    kafka.create_topic(TOPIC, 1, 1);
    kafka.create_topic("admin-always", 1, 1);
    kafka.control().ask(11, &produce(&[TOPIC], batch(&["x"])));
    let gateway = Setup { shards: 2, ..Setup::new(kafka, POLICY) }.start();
    let alice = Person::new(&gateway, "alice", &["analysts", "owners"]);
    let olga = Person::new(&gateway, "olga", &["owners"]);
    let mallory = Person::new(&gateway, "mallory", &[]);

    let mut client = gateway.connect_as("alice", &["analysts", "owners"]);
    let error = |client: &mut crate::raw::Connection| {
        let answer: kafka_protocol::messages::FetchResponse = client.ask(12, &fetch(&[TOPIC]));
        answer.responses[0].partitions[0].error_code
    };
    assert_eq!(error(&mut client), 29, "nobody has asked yet");

    let asked = alice.json(ASK);
    let approval = asked["id"].as_str().unwrap().to_owned();
    assert_eq!(asked["status"], "pending");
    assert!(mallory.run(ASK).failure().contains("Not allowed"), "no rule lets mallory ask");

    // Nobody decides on his own, though his group may approve.
    let own = alice.run(&["approval", "approve", &approval, "--reason", "me"]).failure();
    assert!(own.contains("Nobody approves his own"), "{own}");
    assert!(mallory.run(&["approval", "approve", &approval, "--reason", "x"]).failure().contains("Not allowed"));
    assert!(mallory.run(&["approval", "show", &approval]).failure().contains("Not found"));
    olga.json(&["approval", "approve", &approval, "--reason", "fine"]);
    let late = olga.run(&["grant", "deny", &approval, "--reason", "changed my mind"]).failure();
    assert!(late.contains("Not in that state"), "{late}");
    assert_eq!(error(&mut client), 0, "it holds at once, on the open connection");

    let grants = alice.json(&["grant", "list"]);
    let grant = grants["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!((&grants["items"][0]["status"], &grants["items"][0]["purpose"]), (&"active".into(), &"Planning".into()));
    assert!(mallory.run(&["grant", "revoke", &grant, "--reason", "x"]).failure().contains("Not allowed"));
    alice.json(&["grant", "revoke", &grant, "--reason", "done"]);
    assert_eq!(error(&mut client), 29, "its end bites on the next request");

    // Operators see sessions and end them; the machine's own operator does so without any provider.
    let operator = Person::operator(&gateway);
    let sessions = operator.json(&["session", "list", "--principal", "alice"]);
    let session = sessions["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(mallory.json(&["session", "list"])["items"], Value::Array(Vec::new()), "others' sessions are not his");
    assert!(operator.run(&["approval", "approve", &approval, "--reason", "x"]).failure().contains("Not"));
    operator.json(&["revoke", "session", &session, "--reason", "laptop lost"]);
    assert!(client.is_closed(), "a revoked session is closed");
    operator.json(&["revoke", "principal", "alice", "--reason", "laptop lost"]);
    assert!(alice.run(&["grant", "list"]).failure().contains("revoked"), "a revoked principal is nobody here either");

    // An emergency is opened by who may, and reviewed by somebody else.
    let carol = Person::new(&gateway, "carol", &["oncall", "auditors"]);
    let dan = Person::new(&gateway, "dan", &["auditors"]);
    let opened = carol.json(&["break-glass", "open", "--reason", "orders are stuck"]);
    let id = opened["id"].as_str().unwrap().to_owned();
    assert_eq!(opened["status"], "review_due");
    let mut in_emergency = gateway.connect_as("carol", &["oncall", "auditors"]);
    assert_eq!(error(&mut in_emergency), 0);
    assert!(carol.run(&["break-glass", "review", &id, "--reason", "all fine"]).failure().contains("his own"));
    dan.json(&["break-glass", "review", &id, "--reason", "it was needed"]);

    let story = until("the story in the evidence", TIMEOUT, || {
        let entries: Vec<Value> =
            gateway.evidence().into_iter().filter(|entry| entry["approval"] == approval).collect();
        (entries.len() >= 3).then_some(entries)
    });
    let said: Vec<&str> = story.iter().filter_map(|entry| entry["detail"].as_str()).collect();
    assert!(said.iter().any(|detail| detail.contains("approved")), "{said:?}");
    gateway.evidence_of("the refused call", |entry| {
        entry["principal"] == "mallory" && entry["kind"] == "admin_call" && entry["outcome"] == "denied"
    });
}

const BY_REQUEST: &str = "
version: 1
requests:
  - name: analysts-may-ask
    groups: [analysts]
    resources: [{topic: {prefix: admin-}}]
    operations: [read]
    duration_max: 8h
    approvers: {groups: [owners]}
";

#[test]
fn a_grant_that_is_extended_goes_on_where_it_would_have_ended() {
    let topic = "admin-extended";
    Kafka::shared().create_topic(topic, 1, 1);
    let gateway = Setup::new(Kafka::shared(), BY_REQUEST).start();
    let (alice, bob) = (Person::new(&gateway, "alice", &["analysts"]), Person::new(&gateway, "bob", &["analysts"]));
    let olga = Person::new(&gateway, "olga", &["owners"]);
    let granted = |who: &Person<'_>| {
        let how = ["grant", "request", "--topic", topic, "--operation", "read", "--for", "10s"];
        let asked = who.json(&[&how[..], &["--purpose", "Planning", "--reason", "x"]].concat());
        olga.json(&["grant", "approve", asked["id"].as_str().unwrap(), "--reason", "fine"]);
        asked["grant"]["id"].as_str().unwrap().to_owned()
    };
    let (of_alice, of_bob) = (granted(&alice), granted(&bob));
    let token = Idp::shared().token("alice", &["analysts"]);
    let mut reads = gateway.connect_as("alice", &["analysts"]);
    let mut ends = gateway.connect_as("bob", &["analysts"]);
    let error = |client: &mut crate::raw::Connection| {
        let answer: kafka_protocol::messages::FetchResponse = client.ask(12, &fetch(&[topic]));
        answer.responses[0].partitions[0].error_code
    };
    assert_eq!((error(&mut reads), error(&mut ends)), (0, 0));

    assert!(bob.run(&["grant", "extend", &of_alice, "--for", "1h", "--reason", "x"]).failure().contains("Not"));
    let asked = alice.json(&["grant", "extend", &of_alice, "--for", "1h", "--reason", "More to read"]);
    assert_eq!(asked["grant"]["extends"], true);
    let ended = |grant: &str| alice.json(&["grant", "show", grant])["not_after"].as_str().unwrap().to_owned();
    let before = ended(&of_alice);
    let own = alice.run(&["grant", "approve", asked["id"].as_str().unwrap(), "--reason", "me"]).failure();
    assert!(own.contains("Nobody approves his own") || own.contains("Not allowed"), "{own}");
    olga.json(&["grant", "approve", asked["id"].as_str().unwrap(), "--reason", "fine"]);
    let after = ended(&of_alice);
    assert!(after > before, "{before} {after}");
    // A stock client learns of it as it authenticates anew, as it does before what it was told is over.
    let lifetime = reads.authenticate("OAUTHBEARER", &crate::raw::bearer(&token)).unwrap();
    assert!(lifetime > 60_000, "{lifetime} ms");

    assert!(ends.is_closed(), "nothing else let bob in");
    assert!(jiff::Timestamp::now().to_string() > before, "the time of before is over");
    assert_eq!(error(&mut reads), 0);
    assert_eq!(alice.json(&["grant", "show", &of_alice])["status"], "active");
    assert_eq!(bob.json(&["grant", "show", &of_bob])["status"], "ended");
}
