//! The actor on a real log: what is published when a command returns, what a restart and a reload keep, and what
//! happens when the log cannot be written.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_core::event::{Event, Kind, Outcome};
use tidegate_core::words::{Operation, Resource, SessionId};
use tidegate_policy::authority::{
    ApprovalState, Bounds, GrantSpan, HeldOperation, HeldResource, RefusalKind, RequestKey,
};
use tidegate_policy::file::{NameRule, OperationRule, ResourceRule};

use super::super::metrics::ControlMetrics;
use super::super::{Prepared, now, prepare, reload};
use super::log::{ControlLog, Each, LogError, Replayed};
use super::*;
use crate::config::Config;
use crate::shared::{Ask, Shared};

const POLICY: &str = "
version: 1
requests:
  - {name: ask, groups: [analysts], resources: [{topic: orders}], operations: [read], duration_max: 8h, approvers: {groups: [owners]}}
holds:
  - {name: hold, everyone: true, operations: [delete_topics], approvers: {groups: [owners]}}
roles: {operator: {principals: [ops]}}
";

fn config(folder: &Path) -> Arc<Config> {
    std::fs::write(folder.join("policy.yaml"), POLICY).unwrap();
    let text = "origin: test\nshards: 1\nlisteners:\n  - { name: clients, protocol: kafka, bind: 127.0.0.1, bootstrap_port: 9092, \
         advertised_host: localhost, broker_ports: { first_port: 9100, node_ids: 0-2 } }\n\
         upstream: { bootstrap_servers: ['127.0.0.1:1'] }\npolicy_file: policy.yaml\nevidence: { directory: evidence }\n";
    Arc::new(Config::parse(text, &folder.join("tidegate.yaml"), 1).unwrap())
}

fn start(config: &Config) -> (Handle, Arc<Shared>) {
    let Prepared { shared, authority, .. } = prepare(config).unwrap();
    (authority.start(shared.clone(), Arc::new(ControlMetrics::default())), shared)
}

/// Ends the actor, so that its log can be opened again.
async fn stop(handle: Handle, config: &Config) {
    drop(handle);
    wait_for(|| log::FileLog::open(&config.authority.directory).is_ok()).await;
}

async fn wait_for(mut condition: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(std::time::Instant::now() < until, "waited for too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn person(name: &str) -> Actor {
    let groups = match name {
        "ann" => vec![Arc::from("analysts")],
        "olga" | "oscar" => vec![Arc::from("owners")],
        _ => Vec::new(),
    };
    Actor { issuer: "idp".into(), name: name.into(), subject: name.into(), groups }
}

fn request(millis: u64) -> (ApprovalId, Command) {
    let id = draw_approval();
    let command = Command::RequestGrant {
        id: id.clone(),
        grant: draw_grant(),
        rule: None,
        resources: vec![ResourceRule { topic: Some(NameRule::Literal("orders".into())), ..ResourceRule::default() }],
        operations: vec![OperationRule::One(Operation::Read)],
        span: GrantSpan::Millis(millis),
        purpose: "Report".into(),
        reason: "Month's end".into(),
    };
    (id, command)
}

fn approve(approval: ApprovalId) -> Command {
    Command::Approve { approval, reason: "fine".into() }
}

async fn granted(handle: &Handle, millis: u64) -> (ApprovalId, Done) {
    let (id, command) = request(millis);
    handle.submit(person("ann"), command).await.unwrap();
    (id.clone(), handle.submit(person("olga"), approve(id)).await.unwrap())
}

fn may_read(shared: &Shared) -> bool {
    let policy = shared.policy.load();
    assert_eq!(policy.version(), shared.policy_version.load(Ordering::Acquire));
    policy.view(&person("ann").principal()).authorise(Operation::Read, Resource::topic("orders"), now()).allowed
}

fn control_entries(shared: &Shared) -> Vec<Event> {
    shared.notices.take().into_iter().filter(|event| event.kind == Kind::Control as i32).collect()
}

fn held(rule: &str, shared: &Shared) -> HeldOperation {
    let ann = person("ann");
    HeldOperation {
        id: draw_approval(),
        key: RequestKey::unkeyed(&ann.principal(), "DeleteTopics", rule.as_bytes()),
        api: "DeleteTopics".into(),
        summary: "Delete orders".into(),
        resources: vec![HeldResource { kind: "topic".into(), name: "orders".into() }],
        principal: ann,
        session: "s".into(),
        rule: rule.into(),
        policy_fingerprint: shared.policy.load().fingerprint().into(),
        expires: now(),
        valid_millis: 0,
    }
}

#[tokio::test]
async fn what_a_command_changes_is_published_and_in_the_evidence_when_it_returns() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (handle, shared) = start(&config);
    let mut events = handle.events();
    let before = shared.policy.load().version();
    assert!(!may_read(&shared));
    let (id, done) = granted(&handle, 3_600_000).await;
    assert!(may_read(&shared));
    assert_eq!((done.sequence, done.policy_version), (2, shared.policy.load().version()));
    assert!(done.policy_version > before);
    assert_eq!(handle.read().grants().len(), 1);
    assert_eq!((events.recv().await.unwrap().sequence, events.recv().await.unwrap().sequence), (1, 2));

    let refused = handle.submit(person("oscar"), approve(id.clone())).await.unwrap_err();
    assert!(matches!(refused, SubmitError::Refused(Refusal { kind: RefusalKind::NotPending, .. })), "{refused}");
    let entries = control_entries(&shared);
    let story: Vec<_> = entries
        .iter()
        .map(|entry| (&*entry.principal, entry.outcome == Outcome::Allowed as i32, entry.approval == *id.0))
        .collect();
    assert_eq!(story, [("ann", true, true), ("olga", true, true), ("oscar", false, true)]);
    assert_eq!(entries[0].resources[0].name, "orders");

    let session = SessionId("0198c2a4-5d2e-7c00-8000-0000000000ab".parse().unwrap());
    let revoke = Command::RevokeSession { session: session.to_string(), reason: "Lost laptop".into(), holder: None };
    handle.submit(person("ops"), revoke).await.unwrap();
    let policy = shared.policy.load();
    assert_eq!(policy.revoked(&person("ann").principal(), &session, None), Some("Lost laptop"));
}

#[tokio::test]
async fn a_restart_and_a_reload_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (handle, shared) = start(&config);
    granted(&handle, 3_600_000).await;
    let metrics = Arc::new(ControlMetrics::default());
    let mut reloader = reload::Reloader::new(config.clone(), shared.clone(), metrics);
    std::fs::write(folder.path().join("policy.yaml"), POLICY.replace("8h", "7h")).unwrap();
    assert!(reloader.reload_all().ok);
    assert!(may_read(&shared));
    let state = handle.read();
    stop(handle, &config).await;

    let prepared = prepare(&config).unwrap();
    assert!(may_read(&prepared.shared), "in force before anything is served");
    assert_eq!(prepared.authority.authority(), &*state);
    drop(prepared);

    let log = config.authority.directory.join(log::FILE_NAME);
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replacen("orders", "orderz", 1)).unwrap();
    let error = prepare(&config).err().unwrap().to_string();
    assert!(error.contains("control.log, line 1: its checksum is wrong"), "{error}");

    // What was done to it is in the evidence once the gateway starts again, and a torn write as well.
    std::fs::write(&log, format!("{text}{{\"sequence\":3,\"ev")).unwrap();
    for _ in 0..2 {
        let (handle, shared) = start(&config);
        let said: Vec<String> = control_entries(&shared).into_iter().map(|entry| entry.detail).collect();
        stop(handle, &config).await;
        if !said.is_empty() {
            assert!(said[0].contains("refused") && said[0].contains("line 1: its checksum is wrong"), "{said:?}");
            assert!(said[1].contains("torn by a crash: 17 bytes"), "{said:?}");
            continue;
        }
        assert_eq!(std::fs::read_to_string(&log).unwrap(), text, "once");
        return;
    }
    panic!("the same is in the evidence with every start");
}

#[tokio::test]
async fn what_ends_is_dropped_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (handle, shared) = start(&config);
    granted(&handle, 300).await;
    assert_eq!(shared.policy.load().standing().grants(), 1);
    let version = shared.policy.load().version();
    wait_for(|| shared.policy.load().standing().grants() == 0).await;
    assert!(shared.policy.load().version() > version && !may_read(&shared));
    drop(handle);
}

#[tokio::test]
async fn shards_ask_and_are_answered_through_what_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let Prepared { shared, authority, asks, .. } = prepare(&config).unwrap();
    let metrics = Arc::new(ControlMetrics::default());
    let handle = authority.start(shared.clone(), metrics.clone());
    let (topology, _topology_asks) = mpsc::channel(1);
    tokio::spawn(super::super::dispatch::dispatch(asks, Default::default(), topology, None, handle.clone(), metrics));

    let version = shared.policy.load().version();
    let question = held("hold", &shared);
    let state = || shared.approvals.load().get(&question.key, &question.policy_fingerprint).cloned();
    assert!(shared.ask(Ask::Hold(Box::new(question.clone()))));
    wait_for(|| state().is_some()).await;
    assert_eq!(state(), Some(ApprovalState::Pending { id: question.id.clone() }));
    handle.submit(person("olga"), approve(question.id.clone())).await.unwrap();
    assert_eq!(state(), Some(ApprovalState::Approved { id: question.id.clone() }));
    // Two sessions at once: it passes in one.
    for session in ["s1", "s2"] {
        assert!(shared.ask(Ask::Use { approval: question.id.clone(), session: session.into() }));
    }
    wait_for(|| matches!(state(), Some(ApprovalState::Used { .. }))).await;
    wait_for(|| control_entries(&shared).iter().any(|entry| entry.detail.starts_with("use of an approval refused")))
        .await;
    assert_eq!(state(), Some(ApprovalState::Used { id: question.id.clone(), session: "s1".into() }));
    assert_eq!(shared.policy.load().version(), version, "no session need compile its view anew for this");

    let wrong = held("no such rule", &shared);
    assert!(shared.ask(Ask::Hold(Box::new(wrong.clone()))));
    wait_for(|| shared.approvals.load().refused(&wrong.key).is_some()).await;
}

#[tokio::test]
async fn of_two_decisions_at_once_the_first_wins_and_many_at_once_all_count() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (handle, shared) = start(&config);
    let (id, command) = request(3_600_000);
    handle.submit(person("ann"), command).await.unwrap();
    let deny = Command::Deny { approval: id.clone(), reason: "no".into() };
    let (approved, denied) =
        tokio::join!(handle.submit(person("olga"), approve(id.clone())), handle.submit(person("oscar"), deny));
    assert!(approved.is_ok() && denied.is_err(), "the first in the log: {approved:?} {denied:?}");
    assert!(may_read(&shared));

    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..500 {
        let (handle, session) = (handle.clone(), format!("session-{n}"));
        let command = Command::RevokeSession { session, reason: "all".into(), holder: None };
        tasks.spawn(async move { handle.submit(person("ops"), command).await.unwrap().sequence });
    }
    let mut sequences: Vec<u64> = tasks.join_all().await;
    sequences.sort_unstable();
    assert_eq!(sequences, (3..503).collect::<Vec<u64>>());
    assert_eq!(control_entries(&shared).len(), 503, "two of the grant, 500, and the late denial");
    stop(handle, &config).await;
    assert_eq!(prepare(&config).unwrap().authority.authority().sequence(), 502);
}

/// A log whose disk is full from some event on.
struct Full {
    room: u64,
    sequence: u64,
}

impl ControlLog for Full {
    fn replay(&mut self, _: Each<'_>) -> Result<Replayed, LogError> {
        Ok(Replayed::default())
    }

    fn append(&mut self, _: &ControlEvent) -> std::io::Result<u64> {
        self.sequence += 1;
        Ok(self.sequence)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        if self.sequence > self.room { Err(std::io::Error::other("no space left")) } else { Ok(()) }
    }

    fn head(&self) -> String {
        String::new()
    }
}

#[tokio::test]
async fn what_cannot_be_logged_does_not_happen() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let Prepared { shared, .. } = prepare(&config).unwrap();
    let opened = actor::Opened::replay(Box::new(Full { room: 1, sequence: 0 }), Bounds::default()).unwrap();
    let handle = opened.start(shared.clone(), Arc::new(ControlMetrics::default()));
    let (id, command) = request(3_600_000);
    handle.submit(person("ann"), command).await.unwrap();
    let version = shared.policy.load().version();
    let error = handle.submit(person("olga"), approve(id.clone())).await.unwrap_err();
    assert!(matches!(&error, SubmitError::Log(reason) if reason == "no space left"), "{error}");
    assert!(!may_read(&shared));
    assert_eq!(shared.policy.load().version(), version);
    assert_eq!((handle.read().sequence(), handle.read().grants().len()), (1, 0), "lists show what is durable");
    let revoke = Command::RevokeSession { session: "s".into(), reason: "x".into(), holder: None };
    assert!(matches!(handle.submit(person("ops"), revoke).await, Err(SubmitError::Log(_))));
}
