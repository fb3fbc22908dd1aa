//! A seeded simulation of session and pipeline, with faults: a scripted client and a miniature
//! broker on either side of a real [`Session`], without sockets and with a clock of its own.
//!
//! Each run is decided by its seed alone: what is asked, where bytes are cut, when evidence is
//! committed, when the policy changes, when a side fails or sends garbage. The oracle is plain:
//!
//! - responses come in the order of the requests, each once, with the client's correlation id;
//! - no record of a topic that is not granted comes out, and none of it goes in;
//! - no personal data comes out where a rule masks it, or goes in where a rule masks it on its way in;
//! - nothing is released before its evidence is committed, and every answered request has an entry;
//! - queues stay within their bounds.
//!
//! `TIDEGATE_SIMULATION_SEEDS=from..to` runs other seeds; a failure names its seed.

pub(super) mod broker;
pub(super) mod client;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tidegate_core::words::Timestamp;
use tidegate_policy::snapshot::Snapshot;

use self::broker::Broker;
use self::client::Client;
use super::evidence;
use super::runtime;
use super::session::{HeldFor, Phase, Session};
use super::shard::Shard;
use crate::config::{Config, Target};
use crate::control;
use crate::shared::Cluster;

/// Steps of one run.
const STEPS: usize = 400;
/// Seeds of an ordinary test run.
const SEEDS: std::ops::Range<u64> = 0..150;

/// Both policies mask e-mail on `orders` and `logs` for readers, and cards on `logs` on their way
/// in; only the first grants `orders`. Nobody is granted `secret`.
pub(super) fn policy(with_orders: bool, version: u64) -> Arc<Snapshot> {
    let orders = if with_orders { "{topic: orders}, " } else { "" };
    let text = format!(
        "version: 1\n\
         grants:\n  - {{name: all, purpose: test, principals: [ANONYMOUS], operations: [read, write], resources: [{orders}{{topic: logs}}, {{group: g}}]}}\n\
         masks:\n  - {{name: mail, topics: [orders, logs], everyone: true, classes: [email], operator: redact}}\n  \
         - {{name: card, topics: [logs], everyone: true, directions: [produce], classes: [payment_card], operator: redact}}\n"
    );
    Arc::new(Snapshot::read(&text, "policy.yaml", version).unwrap_or_else(|problems| panic!("{problems:?}")))
}

pub(super) fn config(folder: &std::path::Path) -> Config {
    std::fs::create_dir_all(folder.join("evidence")).unwrap();
    std::fs::write(folder.join("policy.yaml"), "version: 1\n").unwrap();
    let text = "origin: simulation\nshards: 1\n\
        listeners: [{name: l, protocol: kafka, bind: 127.0.0.1, bootstrap_port: 9092, advertised_host: gw, \
        broker_ports: {first_port: 9100, node_ids: 0-2}}]\n\
        upstream: {bootstrap_servers: ['broker:9092']}\npolicy_file: policy.yaml\nevidence: {directory: evidence, segment_bytes: 67108864}\n\
        limits: {queued_bytes_max: 20000, in_flight_requests_max: 8}\n";
    Config::parse(text, &folder.join("tidegate.yaml"), 1).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The only source of chance: SplitMix64 (Steele, Lea, Flood 2014).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or(0)
    }

    /// True once in `n` times.
    pub(super) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[test]
fn every_seed_keeps_order_secrets_and_evidence() {
    let seeds = match std::env::var("TIDEGATE_SIMULATION_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("TIDEGATE_SIMULATION_SEEDS is FROM..TO");
            from.parse().expect("a number")..to.parse().expect("a number")
        }
        Err(_) => SEEDS,
    };
    let folder = tempfile::tempdir().unwrap();
    let config = Arc::new(config(folder.path()));
    let totals = runtime::spawn_shard("simulation", 0, move || async move {
        let shard = shard(config);
        let committing = runtime::spawn(evidence::commit(shard.evidence.clone(), 0, shard.metrics.clone()));
        let mut totals = Totals::default();
        for seed in seeds {
            run(&shard, seed, &mut totals).await;
        }
        shard.evidence.stop();
        committing.await;
        totals.check();
        let metrics = &shard.metrics;
        let counted =
            [&metrics.records_scanned, &metrics.records_rewritten, &metrics.denied, &metrics.evidence_entries];
        assert!(counted.iter().all(|counter| counter.get() > 0), "the metrics missed what happened");
        assert_eq!(metrics.requests_in_flight.get(), 0, "requests are still counted as in flight");
        Ok(())
    });
    totals.unwrap().join().unwrap().unwrap();
}

pub(super) fn shard(config: Arc<Config>) -> Rc<Shard> {
    let prepared = control::prepare(&config).unwrap_or_else(|error| panic!("{error}"));
    let shared = prepared.shared.clone();
    shared.publish_cluster(Cluster { versions: Arc::new(Broker::versions()), ..Cluster::default() });
    let log = super::shard::open_log(&config, 0).unwrap();
    Rc::new(super::shard::new_shard(0, config, shared, log))
}

/// What all runs together must have met, or the simulation tests nothing.
#[derive(Debug, Default)]
pub(super) struct Totals {
    answered: usize,
    denied: usize,
    records_read: usize,
    masked: usize,
    garbage: usize,
    upstream_failures: usize,
    revoked: usize,
    /// Times that a request or a response was left in the middle for another turn.
    left_midway: usize,
}

impl Totals {
    fn check(&self) {
        let met = [
            self.answered,
            self.denied,
            self.records_read,
            self.masked,
            self.garbage,
            self.upstream_failures,
            self.revoked,
            self.left_midway,
        ];
        assert!(met.iter().all(|count| *count > 10), "the seeds do not meet everything: {self:?}");
    }
}

async fn run(shard: &Rc<Shard>, seed: u64, totals: &mut Totals) {
    let mut chance = Chance(seed);
    let mut now = Timestamp::from_secs(1_800_000_000);
    let mut version = shard.policy_version() + 1;
    shard.shared.publish_policy(policy(true, version));

    let peer = SocketAddr::from(([127, 0, 0, 1], 4242));
    let mut session = Session::new(shard, 0, Target::Broker(1), peer, now);
    session.begin(shard, None, None, now);
    session.begin_login(shard, now);
    let mut client = Client::new(seed);
    let mut broker = Broker::default();

    for _ in 0..STEPS {
        now = now.plus_millis(1 + chance.below(20) as i64);
        // Some turns are long enough for everything, some for a record.
        session.begin_turn();
        if chance.once_in(2) {
            session.work = 1 + chance.below(300);
        }
        match chance.below(12) {
            0..3 => client.ask(&mut chance, &mut session),
            3..6 => broker.answer(&mut chance, &mut session),
            6..8 => {
                session.take_requests(shard, now);
            }
            8..10 => {
                session.take_responses(shard, now);
            }
            // The committer runs when the executor lets it: sometimes late.
            10 => runtime::yield_now().await,
            _ => client.read(shard, &mut session, totals, seed),
        }
        let is_deciding = session.held.as_ref().is_some_and(|held| held.reason == HeldFor::Turn);
        totals.left_midway += usize::from(session.is_releasing() || is_deciding);
        broker.take(&mut session, seed);
        check_bounds(shard, &session, seed);
        if chance.once_in(40) {
            version += 1;
            let granted = chance.once_in(2);
            client.policy_changed(granted);
            shard.shared.publish_policy(policy(granted, version));
            totals.revoked += usize::from(!granted);
        }
        if chance.once_in(300) {
            client.garbage(&mut chance, &mut session);
            totals.garbage += 1;
        }
        if chance.once_in(300) {
            session.upstream_gone(shard, "the simulation cut it", now);
            totals.upstream_failures += 1;
        }
        session.check_deadlines(shard, now);
        if session.phase == Phase::Closing {
            break;
        }
    }
    runtime::yield_now().await;
    runtime::yield_now().await;
    client.read(shard, &mut session, totals, seed);
    session.ended(shard, now);
}

fn check_bounds(shard: &Shard, session: &Session, seed: u64) {
    let limits = &shard.limits;
    // One frame may go over the bound: it is queued whole, and then nothing more is read.
    let bytes_max = limits.queued_bytes_max as usize + broker::FRAME_BYTES_MAX;
    assert!(session.pending.len() <= limits.in_flight_requests_max as usize + 1, "seed {seed}: pending");
    assert!(session.to_client.bytes() <= bytes_max, "seed {seed}: {} to the client", session.to_client.bytes());
    assert!(session.to_upstream.bytes() <= bytes_max, "seed {seed}: {} to the upstream", session.to_upstream.bytes());
}
