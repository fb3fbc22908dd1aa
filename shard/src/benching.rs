//! The door of the `pipeline` bench: one session driven in memory, from a client's bytes to the
//! released response, with real authorisation, scanning and evidence, and without sockets.
//!
//! What the sockets do in the running gateway is done here by the caller's slices: bytes in by
//! [`Pipeline::exchange`], and what would be written is handed to a sink in the very pieces that the
//! socket would get.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context as _;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use tidegate_core::api;
use tidegate_core::header::{self, RequestHeader};
use tidegate_core::words::Timestamp;
use tidegate_policy::snapshot::Snapshot;
use uuid::Uuid;

use crate::config::{Config, Target};
use crate::control;
use crate::data::session::{Phase, Session};
use crate::data::shard::{self, Shard};
use crate::data::versions::UpstreamVersions;
use crate::shared::Cluster;

/// The configuration's text: a plain listener without SASL, and evidence that counts once written. The same
/// batches come again and again, and are to be scanned each time.
const CONFIG: &str = "origin: bench\nshards: 1\n\
    listeners: [{name: l, protocol: kafka, bind: 127.0.0.1, bootstrap_port: 9092, advertised_host: gw, \
    broker_ports: {first_port: 9100, node_ids: 0-2}}]\n\
    upstream: {bootstrap_servers: ['broker:9092']}\npolicy_file: policy.yaml\nevidence: {directory: evidence}\n\
    limits: {verdict_cache_bytes_per_shard_max: 0}\n";

/// A session whose both sides are the caller.
pub struct Pipeline {
    shard: Rc<Shard>,
    session: Session,
    now: Timestamp,
}

impl Pipeline {
    /// An open session of an anonymous client under `policy`, with its evidence below `folder`.
    ///
    /// # Errors
    /// Where the policy is wrong or the folder cannot be written.
    pub fn open(folder: &Path, policy: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder.join("evidence"))?;
        std::fs::write(folder.join("policy.yaml"), policy)?;
        let config = Config::parse(CONFIG, &folder.join("tidegate.yaml"), 1)
            .map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let snapshot = Snapshot::read(policy, "policy.yaml", 2).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        let prepared = control::prepare(&config)?;
        let shared = prepared.shared.clone();
        shared.publish_policy(Arc::new(snapshot));
        let ranges: BTreeMap<i16, (i16, i16)> = (0..200)
            .filter_map(|key| Some((key, api::enforced(ApiKey::try_from(key).ok()?)?)))
            .map(|(key, range)| (key, (range.min, range.max)))
            .collect();
        shared.publish_cluster(Cluster {
            versions: Arc::new(UpstreamVersions::from_ranges(ranges.clone())),
            ..Cluster::default()
        });
        let config = Arc::new(config);
        let log = shard::open_log(&config, 0)?;
        let shard = Rc::new(shard::new_shard(0, config, shared, log));
        let now = shard.now();
        let peer = SocketAddr::from(([127, 0, 0, 1], 4242));
        let mut session = Session::new(&shard, 0, Target::Broker(1), peer, now);
        session.begin(&shard, None, None, now);
        session.begin_login(&shard, now);
        let mut pipeline = Self { shard, session, now };
        pipeline.log_in(&ranges)?;
        Ok(pipeline)
    }

    /// Answers the gateway's own question for versions.
    fn log_in(&mut self, ranges: &BTreeMap<i16, (i16, i16)>) -> anyhow::Result<()> {
        let (frame, _) = self.session.to_upstream.pop(u64::MAX).context("the login asks for versions")?;
        let asked = RequestHeader::parse(&frame)?;
        let keys = ranges
            .iter()
            .map(|(key, (min, max))| {
                ApiVersion::default().with_api_key(*key).with_min_version(*min).with_max_version(*max)
            })
            .collect();
        let body = tidegate_core::decode::encode(&ApiVersionsResponse::default().with_api_keys(keys), asked.version)?;
        let answer = header::response_frame(asked.correlation_id, ApiKey::ApiVersions, asked.version, &body);
        self.session.from_upstream.extend(&answer);
        self.session.take_responses(&self.shard, self.now);
        anyhow::ensure!(self.session.phase == Phase::Open, "the session did not open");
        Ok(())
    }

    /// Makes a topic's id known, as a Metadata response would.
    pub fn learn_topic(&self, id: Uuid, name: &str) {
        self.shard.topics.borrow_mut().learn(id, name);
    }

    /// What a burst of requests and the upstream's responses to them come to: both go through the
    /// session, the evidence is committed with one system call, and what leaves is shown to `sink`:
    /// bytes to the upstream (`true`) and to the client (`false`). Returns the bytes for the client.
    pub fn exchange(&mut self, requests: &[u8], responses: &[u8], mut sink: impl FnMut(bool, &[u8])) -> usize {
        self.now = self.shard.now();
        self.session.last_active = self.now;
        self.session.from_client.extend(requests);
        self.turns(|session, shard, now| session.take_requests(shard, now));
        while let Some((frame, _)) = self.session.to_upstream.pop(u64::MAX) {
            sink(true, &frame);
        }
        self.session.from_upstream.extend(responses);
        self.turns(|session, shard, now| session.take_responses(shard, now));
        let committed = self.shard.evidence.commit_now();
        let mut released = 0;
        while let Some((frame, _)) = self.session.to_client.pop(committed) {
            released += frame.len();
            sink(false, &frame);
        }
        released
    }

    fn turns(&mut self, mut take: impl FnMut(&mut Session, &Shard, Timestamp) -> bool) {
        loop {
            self.session.begin_turn();
            if !take(&mut self.session, &self.shard, self.now) {
                return;
            }
        }
    }

    /// Whether the session goes on: false once it refused something.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.session.phase == Phase::Open
    }

    /// Denials and records looked at so far, from the shard's counters.
    #[must_use]
    pub fn counted(&self) -> (u64, u64) {
        (self.shard.metrics.denied.get(), self.shard.metrics.records_scanned.get())
    }
}
