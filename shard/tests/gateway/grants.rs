//! Run-time grants of the control log, in front of a real broker: they open a topic on a live connection, their end
//! closes it, in the middle of a fetch session too, and the log outlives the process.

use std::io::Write as _;
use std::time::Duration;

use kafka_protocol::messages::{FetchRequest, FetchResponse};
use tidegate::control::authority::log::{ControlLog as _, FILE_NAME, FileLog};
use tidegate_core::words::{Operation, Timestamp};
use tidegate_policy::authority::{Actor, Change, ControlEvent, DecidedBy, Decision, GrantRequest, GrantSpan};
use tidegate_policy::file::{NameRule, OperationRule, ResourceRule};

use crate::gateway::{Gateway, Setup, TIMEOUT, is_exchange, tidegate};
use crate::idp::Idp;
use crate::kafka::Kafka;
use crate::process::until;
use crate::raw::{Connection, bearer};
use crate::records::{batch, fetch, produce};

const ALWAYS: &str = "grants-always";
const TIMED: &str = "grants-timed";

const POLICY: &str = "
version: 1
grants:
  - name: always
    purpose: Tests
    principals: [alice]
    resources: [{topic: grants-always}]
    operations: [read]
requests:
  - name: ask
    everyone: true
    resources: [{topic: {prefix: grants-}}]
    operations: [read]
    duration_max: 8h
    approvers: {groups: [owners]}
";

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

fn actor(name: &str) -> Actor {
    let issuer = Idp::shared().url().to_string();
    Actor { issuer: issuer.into(), name: name.into(), subject: name.into(), groups: Vec::new() }
}

/// Writes a grant of the timed topic into the log of a gateway that is not running.
fn write_grant(gateway: &Gateway, who: &str, from: Timestamp, to: Timestamp) {
    let mut log = FileLog::open(&gateway.evidence_folder().join("control")).unwrap();
    log.replay(&mut |_, _| Ok(())).unwrap();
    let id: tidegate_policy::authority::ApprovalId = format!("ap-{who}").as_str().into();
    let request = GrantRequest {
        id: id.clone(),
        grant: format!("gr-{who}").as_str().into(),
        extends: false,
        principal: actor(who),
        rule: "ask".into(),
        resources: vec![ResourceRule { topic: Some(NameRule::Literal(TIMED.into())), ..ResourceRule::default() }],
        operations: vec![OperationRule::One(Operation::Read)],
        span: GrantSpan::Between(from, to),
        purpose: "Closing the books".into(),
        reason: "Month's end".into(),
        expires: to,
    };
    let (decision, by) = (Decision::Approve, DecidedBy::Person);
    let decided = Change::Decided { approval: id, decision, reason: "fine".into(), by, quorum: 1 };
    for (actor, change) in [(actor(who), Change::GrantRequested(request)), (actor("olga"), decided)] {
        log.append(&ControlEvent::new(now(), actor, change)).unwrap();
    }
    log.sync().unwrap();
}

/// Error code and bytes of records of the timed topic; 0 and 0 where the answer leaves it out.
fn timed(answer: &FetchResponse) -> (i16, usize) {
    let partitions = answer.responses.iter().filter(|topic| topic.topic.as_str() == TIMED).flat_map(|t| &t.partitions);
    partitions.fold((0, 0), |(error, bytes), partition| {
        (error.max(partition.error_code), bytes + partition.records.as_ref().map_or(0, bytes::Bytes::len))
    })
}

fn produce_one(kafka: &mut Connection) {
    let answer = kafka.ask(11, &produce(&[TIMED], batch(&["x"])));
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

fn incremental(session: i32, epoch: i32) -> FetchRequest {
    fetch(&[]).with_session_id(session).with_session_epoch(epoch)
}

#[test]
fn a_run_time_grant_opens_a_topic_and_its_end_closes_it() {
    let kafka = Kafka::shared();
    for topic in [ALWAYS, TIMED] {
        kafka.create_topic(topic, 1, 1);
    }
    let mut direct = kafka.control();
    produce_one(&mut direct);

    let mut gateway = Setup { shards: 2, ..Setup::new(kafka, POLICY) }.start();
    gateway.process().kill();
    let (from, to) = (now().plus_millis(12_000), now().plus_millis(32_000));
    for who in ["alice", "bob"] {
        write_grant(&gateway, who, from, to);
    }
    // A crash in the middle of a write costs what nobody was told of, and no more.
    let log = gateway.evidence_folder().join("control").join(FILE_NAME);
    std::fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"{\"sequence\":5,\"ev").unwrap();
    gateway.crash_and_restart();

    let mut alice = gateway.connect_as("alice", &[]);
    let before = timed(&alice.ask(12, &fetch(&[ALWAYS, TIMED])));
    assert!(before == (29, 0) || now() >= from, "{before:?}");
    let opened = until("the grant begins", TIMEOUT, || {
        let answer = alice.ask(12, &fetch(&[ALWAYS, TIMED]).with_session_epoch(0));
        (timed(&answer).0 == 0).then_some(answer)
    });
    assert!(now() >= from, "it began too early");
    assert!(timed(&opened).1 > 0 && opened.session_id > 0, "{opened:?}");
    // Somebody whom nothing else lets in is told when his session ends, and is closed then.
    let mut bob = gateway.connect();
    let lifetime = bob.authenticate("OAUTHBEARER", &bearer(&Idp::shared().token("bob", &[]))).unwrap();
    assert!(lifetime <= 20_000, "{lifetime} ms");

    // Within the session the next record comes, and the one after the end does not.
    produce_one(&mut direct);
    let mut epoch = 0;
    let mut next = |alice: &mut Connection| {
        epoch += 1;
        timed(&alice.ask(12, &incremental(opened.session_id, epoch)))
    };
    let within = until("the second record", TIMEOUT, || Some(next(&mut alice)).filter(|(_, bytes)| *bytes > 0));
    assert_eq!(within.0, 0);
    assert!(now() < to, "too slow a machine for this test's times");
    assert!(bob.is_closed(), "the connection outlived the grant");
    assert!(now() >= to, "closed too early");
    produce_one(&mut direct);
    for _ in 0..5 {
        let after = next(&mut alice);
        assert_eq!(after.1, 0, "records came after the grant's end: {after:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(timed(&alice.ask(12, &fetch(&[TIMED]))), (29, 0));

    let used = gateway.evidence_of("a use of the grant", |entry| {
        is_exchange(entry, "Fetch", TIMED) && entry["resources"].to_string().contains("\"rule\":\"gr-alice\"")
    });
    let resources = used["resources"].as_array().unwrap();
    let resource = resources.iter().find(|resource| resource["name"] == TIMED).unwrap();
    assert_eq!((&resource["rule"], &resource["purpose"]), (&"gr-alice".into(), &"Closing the books".into()));

    // A log that somebody changed keeps the gateway from starting, and is named with the place.
    gateway.process().kill();
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 4);
    std::fs::write(&log, text.replacen("gr-bob", "gr-eve", 1)).unwrap();
    let config = gateway.folder().join("tidegate.yaml");
    let said = tidegate(&["serve", "--config", config.to_str().unwrap()]).failure();
    assert!(said.contains("control.log, line 3"), "{said}");
}
