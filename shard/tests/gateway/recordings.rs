//! Sessions recorded in each mode by stock clients and raw ones, shown, replayed, replayed against the broker, cut,
//! altered, and cut short by a crash.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_audit::recording::list;
use tidegate_audit::recording::read::{Reader, Step};
use tidegate_audit::recording::seal::SecretKey;

use crate::clients::{Java, StockClient};
use crate::gateway::{Gateway, Setup, TIMEOUT, tidegate};
use crate::idp::Idp;
use crate::kafka::{Kafka, Listener};
use crate::process::{Finished, until};
use crate::records::{batch, fetch, produce};

const CLEAR: &str = "jane.doe@example.com";

fn policy(auditor: &str) -> String {
    format!(
        "
version: 1
grants:
  - name: reading
    purpose: Support
    principals: [carol, dora, harry, olga, paul]
    resources: [{{topic: {{prefix: rec-}}}}, {{group: {{prefix: rec-}}}}]
    operations: [read]
  - name: writing
    purpose: Intake
    principals: [walter, clara, stan]
    resources: [{{topic: {{prefix: rec-}}}}]
    operations: [write, read]
masks:
  - name: mails
    topics: [{{prefix: rec-}}]
    everyone: true
    except: {{principals: [dora]}}
    classes: [email]
    operator: redact
roles:
  auditor: {{groups: [auditors]}}
recordings:
  - {{name: heads, principals: [harry], mode: headers}}
  - {{name: sealed, principals: [olga], mode: originals, auditors: [{{name: dpo, key: \"{auditor}\"}}]}}
  - {{name: short, principals: [clara], session_bytes_max: 64KiB}}
  - {{name: strict, principals: [stan], session_bytes_max: 64KiB, when_full: close}}
  - {{name: most, principals: [carol, dora, walter], keep: 1h}}
"
    )
}

/// A gateway, the token file of an auditor, and the auditor's secret key.
struct Recorded {
    gateway: Gateway,
    token: PathBuf,
    key: PathBuf,
}

impl Recorded {
    fn start(topic: &str) -> Self {
        let kafka = Kafka::shared();
        kafka.create_topic(topic, 1, 1);
        let secret = SecretKey::generate().unwrap();
        let gateway = Setup::new(kafka, &policy(&secret.public().to_string())).start();
        let (token, key) = (gateway.folder().join("auditor.token"), gateway.folder().join("auditor.key"));
        std::fs::write(&token, Idp::shared().token("anna", &["auditors"])).unwrap();
        std::fs::write(&key, secret.to_text().as_bytes()).unwrap();
        Self { gateway, token, key }
    }

    /// The session of a principal whose recording has ended, once the evidence has it.
    fn ended(&self, principal: &str) -> String {
        let entry = self.gateway.evidence_of("the end of a recording", |entry| {
            entry["principal"] == principal && ["ended", "cut"].iter().any(|act| entry["recording"]["act"] == *act)
        });
        entry["session"].as_str().unwrap().to_owned()
    }

    fn session(&self, words: &[&str]) -> Finished {
        let url = self.gateway.control_url();
        let folder = self.gateway.evidence_folder();
        let (command, rest) = words.split_at(2);
        let common = ["--server", &url, "--token-file", self.token.to_str().unwrap()];
        tidegate(&[&["session"], command, &[folder.to_str().unwrap()], rest, &common].concat())
    }

    /// The replay of a session as objects.
    fn replay(&self, session: &str, more: &[&str]) -> Vec<Value> {
        let words = [&["replay", session, "--output", "json"], more].concat();
        self.session(&words).success().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn verify(&self) -> Value {
        let folder = self.gateway.evidence_folder();
        let verified = tidegate(&["audit", "verify", folder.to_str().unwrap(), "--output", "json"]);
        serde_json::from_str(&verified.stdout).unwrap()
    }
}

fn of_api<'a>(moments: &'a [Value], api: &str) -> &'a Value {
    moments.iter().find(|moment| moment["api"] == api).unwrap_or_else(|| panic!("no {api} in {moments:?}"))
}

/// All bytes of all recordings, and what is kept of exchanges in those that are not sealed.
fn all_bytes(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for found in list(folder).unwrap() {
        bytes.extend(std::fs::read(&found.path).unwrap());
        let mut reader = Reader::open(&found.path).unwrap();
        while !reader.is_sealed()
            && let Step::Exchanges(exchanges) = reader.step().unwrap()
        {
            exchanges.iter().for_each(|exchange| bytes.extend(format!("{exchange:?}").into_bytes()));
        }
    }
    bytes
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn sessions_are_recorded_by_rule_and_replayed_as_they_were() {
    let topic = "rec-modes";
    let recorded = Recorded::start(topic);
    let gateway = &recorded.gateway;
    let record = format!("{{\"id\":7,\"email\":\"{CLEAR}\"}}");
    let mut walter = gateway.connect_as("walter", &[]);
    walter.ask(11, &produce(&[topic], batch(&[&record, "two"])));
    walter.ask(11, &produce(&["theirs"], batch(&[&record])));
    drop(walter);
    for reader in ["carol", "dora", "harry", "olga", "paul"] {
        let mut reader = gateway.connect_as(reader, &[]);
        reader.ask(12, &fetch(&[topic]));
    }
    let session = |principal| recorded.ended(principal);
    let records = |moment: &Value| moment["partitions"][0]["records"].clone();

    // After the mask: what carol saw.
    let carol = recorded.replay(&session("carol"), &["--why", "ticket 5"]);
    let read = of_api(&carol, "Fetch");
    assert_eq!(records(read)[0]["value"], r#"{"id":7,"email":"[email]"}"#, "{read}");
    assert_eq!((&read["outcome"], &read["resources"][0]["rule"]), (&"allowed".into(), &"reading".into()));
    assert_eq!(read["findings"][0]["operator"], "redact");
    let entry = read["entry"].as_str().unwrap();
    let sequence: u64 = entry.split_once('/').unwrap().1.parse().unwrap();
    let entry = gateway.evidence_of("its entry", |entry| entry["sequence"] == sequence);
    assert_eq!(
        (&entry["kind"], &entry["api"], &entry["principal"]),
        (&"exchange".into(), &"Fetch".into(), &"carol".into())
    );

    // What passed unmasked is not kept but in originals: dora's reading, walter's writing.
    let dora = recorded.replay(&session("dora"), &[]);
    let left_out = "left out: personal data passed, or may have, unmasked";
    assert_eq!(of_api(&dora, "Fetch")["response_left_out"], left_out);
    let walter = recorded.replay(&session("walter"), &[]);
    let writes: Vec<&Value> = walter.iter().filter(|moment| moment["api"] == "Produce").collect();
    assert_eq!(writes.iter().map(|w| &w["outcome"]).collect::<Vec<_>>(), ["allowed", "denied"]);
    assert!(writes.iter().all(|write| write["request_left_out"] == left_out), "{writes:?}");
    let harry = recorded.replay(&session("harry"), &[]);
    assert_eq!(of_api(&harry, "Fetch")["response_left_out"], "only headers are recorded");
    assert_eq!(of_api(&harry, "Fetch")["resources"][0]["last_offset"], 1);

    // Originals are for their auditor alone.
    let olga = session("olga");
    let refused = recorded.session(&["replay", &olga, "--output", "json"]).failure();
    assert!(refused.contains("sealed for dpo"), "{refused}");
    let opened = recorded.replay(&olga, &["--key", recorded.key.to_str().unwrap()]);
    assert_eq!(records(of_api(&opened, "Fetch"))[0]["value"], record.as_str());

    // No rule, no recording.
    assert!(!gateway.evidence().iter().any(|e| e["principal"] == "paul" && e["kind"] == "recording"));

    // Nothing that proves who one is and no personal data is in any file; nor does a sealed one show anything.
    let bytes = all_bytes(&gateway.evidence_folder());
    assert!(contains(&bytes, "[email]"), "what is kept is looked at");
    assert!(!contains(&bytes, CLEAR) && !contains(&bytes, "Bearer") && !contains(&bytes, "eyJ"));

    // For people: a timeline; found by search; shown in short.
    let text = recorded.session(&["replay", &session("carol")]).success();
    for part in
        ["Fetch v12", "allowed by reading", "rec-modes-0 #0 {\"id\":7,\"email\":\"[email]\"}", "as the evidence says"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(recorded.replay(&session("carol"), &["--search", "[EMAIL]"]).len(), 1);
    assert_eq!(recorded.replay(&session("carol"), &["--search", "nothing says this"]).len(), 0);
    let shown = recorded.session(&["show", &olga]).success();
    assert!(shown.contains("sealed    for dpo") && shown.contains("originals"), "{shown}");

    // Whoever watches is in the evidence, or does not see anything.
    let watched = gateway.evidence_of("watching", |entry| entry["recording"]["act"] == "watched");
    assert_eq!((&watched["principal"], &watched["kind"]), (&"anna".into(), &"recording".into()));
    std::fs::write(&recorded.token, Idp::shared().token("eve", &[])).unwrap();
    let refused = recorded.session(&["replay", &session("carol")]);
    assert!(refused.stdout.is_empty() && refused.failure().contains("auditor"));
    let folder = gateway.evidence_folder();
    let offline = ["session", "replay", &session("carol"), folder.to_str().unwrap(), "--offline"];
    assert!(tidegate(&offline).success().contains("Fetch"));
    let log = std::fs::read_to_string(folder.join("watched-offline.jsonl")).unwrap();
    assert!(log.contains(&session("carol")) && log.contains("no part of the gateway's evidence"), "{log}");

    let listed = tidegate(&["session", "list", "--dir", folder.to_str().unwrap(), "--output", "json"]).success();
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let carols = listed.iter().find(|one| one["principal"] == "carol").unwrap();
    assert_eq!((&carols["state"], &carols["mode"]), (&"ended".into(), &"masked".into()));
    assert!(carols["watched"].as_array().unwrap().iter().any(|w| w["who"].as_str().unwrap().contains("ticket 5")));
    let verified = recorded.verify();
    assert_ne!(verified["verdict"], "tampered", "{verified}");
    assert!(verified["recordings"]["chunks"].as_u64().unwrap() >= 10, "{verified}");

    // One flipped byte, and both verify and replay say so.
    let victim =
        list(&folder).unwrap().into_iter().find(|f| f.id.as_ref().unwrap().session == session("carol")).unwrap();
    let mut bytes = std::fs::read(&victim.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&victim.path, bytes).unwrap();
    let verified = recorded.verify();
    assert_eq!(
        (&verified["verdict"], verified["findings"].as_array().unwrap().len()),
        (&"tampered".into(), 1),
        "{verified}"
    );
    let said = tidegate(&offline).failure();
    assert!(said.contains("NOT the one"), "{said}");
}

#[test]
fn a_stock_clients_session_replays_against_a_broker_and_differences_are_shown() {
    let topic = "rec-against";
    let recorded = Recorded::start(topic);
    let gateway = &recorded.gateway;
    let kafka = Kafka::shared();
    let mut direct = kafka.control();
    direct.ask(11, &produce(&[topic], batch(&["one", "two"])));
    assert_eq!(Java.consume(&gateway.oauth("carol"), topic, "rec-java", 2), ["one", "two"]);
    // The consumer's connections, of which one fetched.
    let fetched = gateway.evidence_of("a fetch", |entry| {
        entry["api"] == "Fetch" && entry["principal"] == "carol" && entry["resources"][0]["records"] == 2
    });
    let session = fetched["session"].as_str().unwrap().to_owned();
    gateway.evidence_of("its recording's end", |entry| {
        entry["session"] == session.as_str() && entry["recording"]["act"] == "ended"
    });
    let host = format!("localhost:{}", kafka.port(1, Listener::Plaintext));
    let against = ["replay", &session, "--against", &host, "--read-only", "--output", "json"];
    let lines = |finished: &Finished| -> Vec<Value> {
        finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let same = recorded.session(&against);
    let results = lines(&same);
    let fetch =
        results.iter().find(|line| line["api"] == "Fetch").unwrap_or_else(|| panic!("{results:?}{}", same.stderr));
    assert_eq!(fetch["result"], "same", "{results:?}");
    assert_eq!(results.last().unwrap()["differ"], 0, "{results:?}");
    let same = same.success();
    assert!(!same.is_empty());

    // Another record, and the difference has its place.
    direct.ask(11, &produce(&[topic], batch(&["three"])));
    let changed = recorded.session(&against);
    let results = lines(&changed);
    let fetch = results.iter().find(|line| line["api"] == "Fetch" && line["result"] == "differs");
    let fetch = fetch.unwrap_or_else(|| panic!("{results:?}"));
    let words = fetch["differences"].to_string();
    assert!(
        words.contains("1 records are new, from offset 2") && words.contains("high_watermark: was 2, is 3"),
        "{words}"
    );
    assert_eq!(changed.status.code(), Some(1));
    let text = recorded.session(&["replay", &session, "--against", &host, "--read-only"]).failure();
    assert!(text.contains("differs") && text.contains("answers are the same"), "{text}");
}

#[test]
fn a_recording_is_cut_at_its_bound_or_ends_the_session() {
    let topic = "rec-bound";
    let recorded = Recorded::start(topic);
    let gateway = &recorded.gateway;
    let large = "x".repeat(30_000);
    // A reader's mask rule covers the topic, so writes count as headers; reads count in full.
    let mut clara = gateway.connect_as("clara", &[]);
    clara.ask(11, &produce(&[topic], batch(&[&large])));
    for _ in 0..4 {
        let answer = clara.ask(12, &fetch(&[topic]));
        assert_eq!(answer.responses[0].partitions[0].error_code, 0, "the session goes on");
    }
    let cut =
        gateway.evidence_of("the cut", |entry| entry["recording"]["act"] == "cut" && entry["principal"] == "clara");
    assert!(cut["detail"].as_str().unwrap().contains("the bound of 65536 bytes"), "{cut}");
    let replayed = recorded.replay(&recorded.ended("clara"), &[]);
    assert_eq!(replayed.iter().filter(|moment| moment["api"] == "Fetch").count(), 2, "{replayed:?}");

    let mut stan = gateway.connect_as("stan", &[]);
    let answered = (0..4).take_while(|_| stan.try_ask(12, &fetch(&[topic])).is_ok()).count();
    assert_eq!(answered, 2, "what cannot be recorded is not released");
    let refused = gateway
        .evidence_of("the refusal", |entry| entry["kind"] == "connection_refused" && entry["principal"] == "stan");
    assert!(refused["detail"].as_str().unwrap().contains("must be recorded and cannot be"), "{refused}");
    assert_ne!(recorded.verify()["verdict"], "tampered");
}

#[test]
fn a_killed_gateway_leaves_recordings_readable_and_goes_on() {
    let topic = "rec-crash";
    let mut recorded = Recorded::start(topic);
    let gateway = &recorded.gateway;
    gateway.connect_as("walter", &[]).ask(11, &produce(&[topic], batch(&["one"])));
    let mut carol = gateway.connect_as("carol", &[]);
    carol.ask(12, &fetch(&[topic]));
    // Once a chunk is written, nothing takes it back.
    let chunk =
        gateway.evidence_of("a chunk", |entry| entry["recording"]["act"] == "chunk" && entry["principal"] == "carol");
    let session = chunk["session"].as_str().unwrap().to_owned();
    gateway.process().kill();
    let folder = recorded.gateway.evidence_folder();
    let offline = ["session", "replay", &session, folder.to_str().unwrap(), "--offline", "--output", "json"];
    let lines = tidegate(&offline).success();
    assert!(
        lines.lines().any(|line| line.contains("\"api\":\"Fetch\"") && line.contains("\"value\":\"one\"")),
        "{lines}"
    );
    assert_ne!(recorded.verify()["verdict"], "tampered");
    recorded.gateway.restart_after(|_| {});
    let cut = recorded
        .gateway
        .evidence_of("the end", |entry| entry["recording"]["act"] == "cut" && entry["session"] == session.as_str());
    assert!(cut["detail"].as_str().unwrap().contains("did not end in good order"), "{cut}");
    until("everything is covered", TIMEOUT, || {
        let verified = recorded.verify();
        assert_ne!(verified["verdict"], "tampered", "{verified}");
        (verified["recordings"]["uncovered"] == 0).then_some(())
    });
}
