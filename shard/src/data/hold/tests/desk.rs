//! The control thread's part, played in the test: the real state machine, fed by what shards ask.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tidegate_core::event::Event;
use tidegate_core::header;
use tidegate_core::words::Timestamp;
use tidegate_policy::authority::{
    Actor, ApprovalId, Authority, Change, Command, ControlEvent, Filter, Refusal, Status,
};
use tidegate_policy::snapshot::Snapshot;
use tokio::sync::mpsc;

use crate::config::Target;
use crate::control;
use crate::data::session::{Phase, Session};
use crate::data::shard::{self, Shard};
use crate::data::simulation::broker::Broker;
use crate::data::simulation::config;
use crate::data::{evidence, runtime};
use crate::shared::{Ask, Cluster};

pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(super) const POLICY: &str = "
version: 1
grants:
  - name: all
    purpose: tests
    principals: [ANONYMOUS]
    operations: [read, write, delete, alter_configs]
    resources: [{topic: '*'}, {group: '*'}]
holds:
  - name: deletion
    everyone: true
    operations: [delete_topics]
    topics: [orders, logs]
    approvers: {principals: [bob]}
    hold: 1s
  - name: retention
    everyone: true
    operations: [alter_configs]
    configs: [retention.ms, cleanup.policy]
    unless: [{config: retention.ms, change: grows}]
    approvers: {principals: [bob]}
    hold: 1s
  - name: first
    everyone: true
    operations: [first_consume, first_produce]
    topics: [new]
    approvers: {principals: [bob]}
    hold: 1s
roles:
  operator: {principals: [bob]}
";

/// The control thread's part.
pub(super) struct Desk {
    pub(super) authority: Authority,
    asks: mpsc::Receiver<Ask>,
    file: Arc<Snapshot>,
    version: u64,
    used: usize,
}

pub(super) fn bob() -> Actor {
    Actor { issuer: "idp".into(), name: "bob".into(), subject: "bob".into(), groups: Vec::new() }
}

impl Desk {
    pub(super) fn command(
        &mut self,
        shard: &Shard,
        actor: Actor,
        command: Command,
        now: Timestamp,
    ) -> Result<Change, Refusal> {
        let change = self.authority.decide(command, &actor, &self.file, now)?;
        self.used += usize::from(matches!(change, Change::Used { .. }));
        let event = ControlEvent::new(now, actor, change.clone());
        self.authority.apply(self.authority.sequence() + 1, &event).unwrap();
        self.publish(shard, now);
        Ok(change)
    }

    pub(super) fn publish(&mut self, shard: &Shard, now: Timestamp) {
        self.version += 1;
        let policy = self.file.with_standing(self.version, self.authority.standing(now));
        shard.shared.publish_policy(Arc::new(policy));
        shard.shared.publish_approvals(Arc::new(self.authority.approvals(now)));
    }

    pub(super) fn reload(&mut self, shard: &Shard, policy: &str, now: Timestamp) {
        self.file = read(policy);
        self.publish(shard, now);
    }

    /// Does what shards asked for.
    pub(super) fn serve(&mut self, shard: &Shard, now: Timestamp) {
        while let Ok(ask) = self.asks.try_recv() {
            // What is refused was asked before, or is decided by now.
            let _ = match ask {
                Ask::Hold(held) => self.command(shard, held.principal.clone(), Command::Hold(*held), now),
                Ask::Use { approval, session } => {
                    let session = session.to_string();
                    self.command(shard, Actor::gateway(), Command::Use { approval, session }, now)
                }
                _ => continue,
            };
        }
    }

    pub(super) fn pending(&self) -> Vec<ApprovalId> {
        let filter = Filter { status: Some(Status::Pending), ..Filter::default() };
        self.authority
            .list(&filter, None, 100, self.authority.time())
            .iter()
            .map(|approval| approval.id.clone())
            .collect()
    }

    pub(super) fn approve_all(&mut self, shard: &Shard, now: Timestamp) {
        for approval in self.pending() {
            let reason = "fine".to_owned();
            self.command(shard, bob(), Command::Approve { approval, reason }, now).unwrap();
        }
    }

    /// How many approvals the log says are used up.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

fn read(policy: &str) -> Arc<Snapshot> {
    Arc::new(Snapshot::read(policy, "policy.yaml", 1).unwrap_or_else(|problems| panic!("{problems:?}")))
}

/// Runs `test` with a shard under `policy` and the desk behind it, and returns the evidence it left.
pub(super) fn with_desk<F: Future<Output = ()>>(
    policy: &str,
    test: impl FnOnce(Rc<Shard>, Desk) -> F + Send + 'static,
) -> Vec<Event> {
    let folder = tempfile::tempdir().unwrap();
    let config = Arc::new(config(folder.path()));
    let directory = config.evidence.directory.clone();
    let file = read(policy);
    runtime::spawn_shard("hold-test", 0, move || async move {
        let prepared = control::prepare(&config).unwrap_or_else(|error| panic!("{error}"));
        let (shared, asks) = prepared.into_parts();
        shared.publish_cluster(Cluster { versions: Arc::new(Broker::versions()), ..Cluster::default() });
        let log = shard::open_log(&config, 0).unwrap();
        let shard = Rc::new(shard::new_shard(0, config, shared, log));
        let version = shard.policy_version() + 1;
        let mut desk = Desk { authority: Authority::default(), asks, file, version, used: 0 };
        desk.publish(&shard, NOW);
        let committing = runtime::spawn(evidence::commit(shard.evidence.clone(), 0, shard.metrics.clone()));
        test(shard.clone(), desk).await;
        shard.evidence.stop();
        committing.await;
        Ok(())
    })
    .unwrap()
    .join()
    .unwrap()
    .unwrap();
    let mut events = Vec::new();
    let start = tidegate_audit::tail::StartAt::First;
    let mut tail = tidegate_audit::tail::Tail::open(&directory, None, start, Box::new(|_| true)).unwrap();
    while let Some(item) = tail.next().unwrap() {
        if let tidegate_audit::tail::Item::Entry(entry) = item {
            events.push(entry.event);
        }
    }
    events
}

/// A session that is authenticated (as anonymous) and logged in to the upstream.
pub(super) fn open(shard: &Rc<Shard>) -> Session {
    let mut session = Session::new(shard, 0, Target::Broker(1), SocketAddr::from(([127, 0, 0, 1], 4242)), NOW);
    session.begin(shard, None, None, NOW);
    session.begin_login(shard, NOW);
    let mut broker = Broker::default();
    broker.take(&mut session, 0);
    session.from_upstream.extend(&broker.answer_all());
    session.take_responses(shard, NOW);
    assert_eq!(session.phase, Phase::Open);
    session
}

pub(super) fn ask(
    session: &mut Session,
    shard: &Shard,
    id: i32,
    api: ApiKey,
    version: i16,
    request: &impl Encodable,
    now: Timestamp,
) {
    session.begin_turn();
    session.from_client.extend(&header::request_frame(id, api, version, "tester", &encoded(request, version)));
    session.take_requests(shard, now);
}

/// Lets the session look at what it waits for, the desk do what it then asks, and so on to the end.
pub(super) fn look(session: &mut Session, shard: &Shard, desk: &mut Desk, now: Timestamp) {
    for _ in 0..4 {
        desk.serve(shard, now);
        session.begin_turn();
        session.take_requests(shard, now);
        session.take_responses(shard, now);
    }
}

/// The next frame for the upstream.
pub(super) fn upstream(session: &mut Session) -> Option<Bytes> {
    session.to_upstream.pop(u64::MAX).map(|(frame, _)| frame)
}

/// The next answer to the client.
pub(super) fn answer<R: Decodable>(session: &mut Session, api: ApiKey, version: i16) -> R {
    session.release_answers();
    let (frame, _) = session.to_client.pop(u64::MAX).expect("an answer");
    let start = header::response_body_start(&frame, api, version).unwrap();
    R::decode(&mut frame.slice(start..), version).unwrap()
}

pub(super) fn response(id: i32, api: ApiKey, version: i16, body: &impl Encodable) -> Bytes {
    header::response_frame(id, api, version, &encoded(body, version))
}

pub(super) fn encoded(message: &impl Encodable, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).unwrap();
    body.freeze()
}

pub(super) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}
