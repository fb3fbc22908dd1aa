//! The whole story of somebody new, with what the README tells him and stock clients: he logs in with a browser, pastes a
//! client's configuration, asks for a grant, reads once another agreed, is kept from shrinking a topic's retention until
//! another agreed, is revoked while he reads, and all of it stands in the evidence. Once by OIDC and once by SAML.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::browser::{At, Front};
use crate::gateway::{Door, TIMEOUT, tidegate};
use crate::kafka::{Kafka, java};
use crate::process::{Finished, Process, guarded, run, until};
use crate::records::{batch, produce};
use crate::tls::Authority;

const POLICY: &str = "
version: 1
grants:
  - name: operations
    purpose: Operations
    groups: [analysts]
    resources: [{topic: {prefix: story-}}, {group: {prefix: story-}}]
    operations: [describe, describe_configs, alter_configs]
requests:
  - name: analysts-may-ask
    groups: [analysts]
    resources: [{topic: {prefix: story-}}, {group: {prefix: story-}}]
    operations: [read]
    duration_max: 8h
    approvers: {groups: [owners]}
holds:
  - name: retention-does-not-shrink
    everyone: true
    operations: [alter_configs]
    configs: [retention.ms]
    unless: [{config: retention.ms, change: grows}]
    approvers: {groups: [owners]}
    hold: 1s
roles:
  operator: {groups: [operators]}
";

/// How long Kafka's tools may take on a busy machine.
const TOOL: Duration = Duration::from_secs(120);
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

/// Somebody at a terminal who has logged in.
struct Person<'a> {
    front: &'a Front,
    token_file: PathBuf,
}

impl<'a> Person<'a> {
    fn log_in(front: &'a Front, name: &str, at: At) -> Self {
        front.log_in(name, at);
        Self { front, token_file: front.token_file(name) }
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let server = self.front.gateway.control_url();
        let common = ["--server", &server, "--token-file", self.token_file.to_str().unwrap(), "--output", "json"];
        let (command, rest) = arguments.split_at(1);
        tidegate(&[command, &common[..], rest].concat())
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(arguments).success()).unwrap()
    }

    /// What `tidegate client-config` prints for a client.
    fn client_config(&self, client: &str) -> String {
        let (bootstrap, ca) = (self.front.gateway.bootstrap(Door::Tls), Authority::shared().file());
        let token_file = self.token_file.to_str().unwrap();
        let ca = ca.to_str().unwrap();
        let how = ["--client", client, "--bootstrap", &bootstrap, "--ca", ca, "--token-file", token_file];
        tidegate(&[&["client-config"], &how[..]].concat()).success()
    }

    /// One of Kafka's tools, with the printed configuration as it is.
    fn java(&self, class: &str, arguments: &[&str]) -> std::process::Command {
        let text = self.client_config("java");
        let properties = self.token_file.with_extension("properties");
        std::fs::write(&properties, &text).unwrap();
        let option = text.lines().find_map(|line| line.strip_prefix("# Run Java with ")).unwrap();
        let mut command = java();
        command.args(["-Xmx256m", option, class, "--bootstrap-server", &self.front.gateway.bootstrap(Door::Tls)]);
        command.arg("--command-config").arg(properties).args(arguments);
        command
    }

    fn consume(&self, topic: &str, more: &[&str]) -> std::process::Command {
        let how = ["--topic", topic, "--group", "story-readers", "--from-beginning"];
        self.java(CONSUMER, &[&how[..], more].concat())
    }
}

fn write(topic: &str, values: &[&str]) {
    let answer = Kafka::shared().control().ask(11, &produce(&[topic], batch(values)));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

fn approval_in(text: &str) -> String {
    let at = text.find("approval ap-").unwrap_or_else(|| panic!("no approval is named: {text}")) + "approval ".len();
    text[at..].chars().take(19).collect()
}

fn tell(topic: &str, at: At) {
    let kafka = Kafka::shared();
    kafka.create_topic(topic, 1, 1);
    write(topic, &["one", "two"]);
    let front = Front::start(POLICY, &[("alice", &["analysts"]), ("olga", &["owners"]), ("dan", &["operators"])]);
    let alice = Person::log_in(&front, "alice", at);
    let olga = Person::log_in(&front, "olga", at);

    // Nobody has agreed yet.
    let refused = run(alice.consume(topic, &["--max-messages", "1", "--timeout-ms", "20000"]), "", TOOL);
    assert!(
        refused.stderr.contains("TopicAuthorization") || refused.stderr.contains("GroupAuthorization"),
        "{refused:?}"
    );
    assert!(!refused.stdout.contains("one"), "{refused:?}");
    let how = ["--topic", topic, "--group-prefix", "story-", "--operation", "read", "--for", "1h"];
    let why = ["--purpose", "Planning", "--reason", "Month's end"];
    let asked = alice.json(&[&["grant", "request"], &how[..], &why].concat());
    let grant_approval = asked["id"].as_str().unwrap().to_owned();
    let own = alice.run(&["grant", "approve", &grant_approval, "--reason", "me"]).failure();
    assert!(own.contains("Nobody approves his own") || own.contains("Not allowed"), "{own}");
    olga.json(&["grant", "approve", &grant_approval, "--reason", "agreed"]);

    // Java and kcat, with what was printed for them.
    let read = run(alice.consume(topic, &["--max-messages", "2", "--timeout-ms", "60000"]), "", TOOL).success();
    assert_eq!(read.lines().collect::<Vec<_>>(), ["one", "two"]);
    let pasted = alice.client_config("kcat");
    let shell = |text: &str| {
        let mut command = guarded("/bin/sh");
        command.args(["-c", text]);
        run(command, "", TOOL).success()
    };
    assert!(shell(&pasted).contains(topic), "kcat lists what alice may see");
    let consumed = shell(&pasted.trim_end().replace(" -L", &format!(" -q -C -t {topic} -o beginning -e")));
    assert_eq!(consumed.lines().collect::<Vec<_>>(), ["one", "two"]);

    // The retention stays until somebody else agrees.
    let shrink = || {
        let how =
            ["--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", "retention.ms=3600000"];
        run(alice.java("kafka.admin.ConfigCommand", &how), "", TOOL)
    };
    let told = shrink().failure();
    assert!(told.contains("PolicyViolation") && told.contains("retention-does-not-shrink"), "{told}");
    let held = approval_in(&told);
    olga.json(&["approval", "approve", &held, "--reason", "it is copied elsewhere"]);
    shrink().success();

    // Alice reads on, and is revoked meanwhile.
    let dan = Person::log_in(&front, "dan", at);
    let log = front.gateway.folder().join("reading.log");
    let reading = Process::start("consumer", alice.consume(topic, &[]), log);
    write(topic, &["three"]);
    reading.ready("reading", TOOL, || reading.output().contains("three").then_some(()));
    dan.json(&["revoke", "principal", "alice", "--reason", "left the company"]);
    write(topic, &["four"]);
    until("the consumer gives up", TOOL, || reading.ended());
    assert!(!reading.output().contains("four"), "{}", reading.output());
    assert!(alice.run(&["grant", "list"]).failure().contains("revoked"));

    // All of it stands in the evidence.
    let folder = front.gateway.evidence_folder();
    let folder = folder.to_str().unwrap();
    let tells = |arguments: &[&str], parts: &[&str]| {
        let story = tidegate(&[&["audit"], arguments, &[folder]].concat()).success();
        for part in parts {
            assert!(story.contains(part), "{arguments:?} says nothing of {part}:\n{story}");
        }
        story
    };
    tells(&["show", &grant_approval], &["alice", "olga", "Month's end", "agreed", topic]);
    tells(&["show", &held], &["alice", "olga", "retention", "it is copied elsewhere", "used"]);
    let queried = tells(&["query", "--principal", "alice", "--topic", topic, "-o", "json"], &["Planning"]);
    let entries: Vec<Value> = queried.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let records: u64 = entries
        .iter()
        .filter(|entry| entry["api"] == "Fetch")
        .flat_map(|entry| entry["resources"].as_array().unwrap())
        .filter(|resource| resource["allowed"] == true && resource["purpose"] == "Planning")
        .filter_map(|resource| resource["records"].as_u64())
        .sum();
    assert!(records >= 5, "two by Java, two by kcat, one more before the end: {records}\n{queried}");
    let end = front.gateway.evidence_of("the revocation", |entry| {
        entry["kind"] == "control" && entry["detail"].to_string().contains("left the company")
    });
    assert_eq!(end["principal"], "dan");
    let vouched = front
        .gateway
        .evidence_of("alice's token", |entry| entry["kind"] == "token_issued" && entry["principal"] == "alice");
    let issuer = vouched["issuer"].as_str().unwrap();
    assert_eq!(issuer == front.saml.entity_id(), at == At::Saml, "{issuer}");
    until("intact evidence", TIMEOUT, || tidegate(&["audit", "verify", folder]).status.success().then_some(()));
}

#[test]
fn somebody_new_gets_access_for_a_while_and_loses_it_by_oidc() {
    tell("story-oidc", At::Oidc);
}

#[test]
fn somebody_new_gets_access_for_a_while_and_loses_it_by_saml() {
    tell("story-saml", At::Saml);
}
