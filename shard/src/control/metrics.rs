//! `/metrics`: the shards' counters and the control thread's own, in Prometheus' text format.
//!
//! Shards' counters are plain memory that each shard writes; they are read here at each scrape and
//! cost the shards nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use kafka_protocol::messages::ApiKey;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tidegate_core::words::DataClass;

use crate::shared::{Histogram, LATENCY_BOUNDS_MICROS, Refusal, ShardMetrics, Shared, Step};

type Labels = Vec<(&'static str, String)>;

/// What the control thread counts itself.
#[derive(Debug, Default)]
pub(super) struct ControlMetrics {
    /// Reloads by what was reloaded (`policy`, `tls`, `upstream_secret`) and result (`ok`, `refused`).
    reloads: Family<Labels, Counter>,
    /// Fetches of signing keys by issuer and result (`ok`, `failed`).
    key_fetches: Family<Labels, Counter>,
    /// Keys known, by issuer.
    keys: Family<Labels, Gauge>,
    /// Questions for the upstream's metadata by result.
    metadata: Family<Labels, Counter>,
    /// The policy's version.
    policy_version: Gauge<i64, AtomicI64>,
    /// Events of the control log, by kind, and commands refused (`refused`).
    control_events: Family<Labels, Counter>,
    /// Whether the control log cannot be written any more.
    control_log_failed: Gauge<i64, AtomicI64>,
    /// Checkpoints anchored, by place and result.
    anchors: Family<Labels, Counter>,
    /// Questions of shards that had to be dropped are seen in the shards' own counters; these were heard.
    asks: Counter<u64, AtomicU64>,
}

impl ControlMetrics {
    /// Counts a reload.
    pub(super) fn reloaded(&self, what: &'static str, ok: bool) {
        let result = if ok { "ok" } else { "refused" };
        self.reloads.get_or_create(&vec![("what", what.to_owned()), ("result", result.to_owned())]).inc();
    }

    /// Counts a fetch of an issuer's keys; `keys` are those known now.
    pub(super) fn fetched_keys(&self, issuer: &str, ok: bool, keys: usize) {
        let result = if ok { "ok" } else { "failed" };
        self.key_fetches.get_or_create(&vec![("issuer", issuer.to_owned()), ("result", result.to_owned())]).inc();
        let keys = i64::try_from(keys).unwrap_or(i64::MAX);
        self.keys.get_or_create(&vec![("issuer", issuer.to_owned())]).set(keys);
    }

    /// Counts checkpoints that were anchored in a place, or could not be.
    pub(super) fn anchored(&self, place: &'static str, ok: bool, checkpoints: u64) {
        let result = if ok { "ok" } else { "failed" };
        let labels = vec![("place", place.to_owned()), ("result", result.to_owned())];
        self.anchors.get_or_create(&labels).inc_by(checkpoints);
    }

    /// Counts a question for the upstream's metadata.
    pub(super) fn asked_metadata(&self, ok: bool) {
        self.metadata.get_or_create(&vec![("result", if ok { "ok" } else { "failed" }.to_owned())]).inc();
    }

    /// Sets the policy's version.
    pub(super) fn policy_version(&self, version: u64) {
        self.policy_version.set(i64::try_from(version).unwrap_or(i64::MAX));
    }

    /// Counts an event of the control log by its kind, or a command that was refused.
    pub(super) fn control_event(&self, kind: &'static str) {
        self.control_events.get_or_create(&vec![("kind", kind.to_owned())]).inc();
    }

    /// The control log cannot be written any more.
    pub(super) fn control_log_failed(&self) {
        self.control_log_failed.set(1);
    }

    /// Counts a question of a shard.
    pub(super) fn asked(&self) {
        self.asks.inc();
    }
}

/// The registry that `/metrics` encodes.
#[must_use]
pub(super) fn registry(shared: &Arc<Shared>, control: &ControlMetrics) -> Registry {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register("reloads", "Reloads by what was reloaded and whether it was taken over", control.reloads.clone());
    registry.register("issuer_key_fetches", "Fetches of signing keys by issuer", control.key_fetches.clone());
    registry.register("issuer_keys", "Signing keys known, by issuer", control.keys.clone());
    registry.register("upstream_metadata_requests", "Questions for the brokers' addresses", control.metadata.clone());
    let help = "Checkpoints of the evidence published elsewhere, by place and result";
    registry.register("evidence_anchors", help, control.anchors.clone());
    registry.register("policy_version", "Version of the policy in force", control.policy_version.clone());
    let help = "Events of the control log by kind, and commands refused";
    registry.register("control_events", help, control.control_events.clone());
    let help = "1 where the control log cannot be written, so that nothing is granted or revoked any more";
    registry.register("control_log_failed", help, control.control_log_failed.clone());
    registry.register("control_asks", "Questions that shards asked of the control thread", control.asks.clone());
    registry.register_collector(Box::new(ShardCollector(shared.clone())));
    registry
}

/// Reads all shards' counters at each scrape.
struct ShardCollector(Arc<Shared>);

impl fmt::Debug for ShardCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShardCollector")
    }
}

/// One simple counter of a shard: name, help, value.
type Count = (&'static str, &'static str, fn(&ShardMetrics) -> u64);
/// One level of a shard.
type Level = (&'static str, &'static str, fn(&ShardMetrics) -> i64);

const COUNTS: &[Count] = &[
    ("connections_accepted", "Client connections accepted", |m| m.connections_accepted.get()),
    ("sessions", "Sessions begun", |m| m.sessions.get()),
    ("requests_denied", "Requests denied in whole or in part", |m| m.denied.get()),
    ("upstream_failures", "Failed attempts to connect or log in to a broker", |m| m.upstream_failures.get()),
    ("requests_held", "Requests that had to wait for an approver", |m| m.held.get()),
    ("held_requests_passed", "Requests that passed by an approval", |m| m.held_passed.get()),
    ("held_requests_refused", "Requests that were refused for want of an approval", |m| m.held_refused.get()),
    ("records_scanned", "Records that masking looked at", |m| m.records_scanned.get()),
    ("partitions_rewritten", "Times that a partition's records were rewritten to mask something", |m| {
        m.records_rewritten.get()
    }),
    ("unparseable", "Times that a partition's records could not be parsed", |m| m.unparseable.get()),
    ("batches_recalled", "Batches not scanned as it was known what they become", |m| m.batches_recalled.get()),
    ("evidence_entries", "Evidence entries written", |m| m.evidence_entries.get()),
    ("evidence_commits", "Group commits of evidence", |m| m.evidence_commits.get()),
    ("evidence_written_bytes", "Bytes of evidence written", |m| m.evidence_bytes.get()),
    ("evidence_errors", "Group commits that failed", |m| m.evidence_errors.get()),
    ("evidence_shed", "Entries given up because they could not be written", |m| m.evidence_shed.get()),
    ("recordings_cut", "Recordings of sessions that were cut", |m| m.recordings_cut.get()),
    ("recordings_bytes", "Bytes of recordings written", |m| m.recordings_bytes.get()),
    ("evidence_segments_removed", "Segments removed by retention", |m| m.evidence_removed.get()),
];

const LEVELS: &[Level] = &[
    ("connections_open", "Client connections open now", |m| m.connections_open.get()),
    ("upstream_connections_open", "Broker connections open now", |m| m.upstream_connections_open.get()),
    ("requests_in_flight", "Requests that wait for their response now", |m| m.requests_in_flight.get()),
    ("requests_waiting_for_approval", "Requests that wait for an approver now", |m| m.held_now.get()),
    ("evidence_pending_bytes", "Bytes of evidence that wait for being written", |m| m.evidence_pending_bytes.get()),
    ("evidence_failing", "1 while evidence cannot be written", |m| m.evidence_failing.get()),
    ("recordings_open", "Recordings of sessions under way now", |m| m.recordings_open.get()),
    ("evidence_segments_held", "Segments that are old enough but under a legal hold", |m| m.evidence_held.get()),
];

const STEPS: [(Step, &str, &str); 4] = [
    (Step::ClientIn, "client", "in"),
    (Step::ClientOut, "client", "out"),
    (Step::UpstreamIn, "upstream", "in"),
    (Step::UpstreamOut, "upstream", "out"),
];

impl Collector for ShardCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shards: Vec<(String, &ShardMetrics)> =
            self.0.shards.iter().enumerate().map(|(id, metrics)| (id.to_string(), &**metrics)).collect();
        for (name, help, value) in COUNTS {
            let rows = shards.iter().map(|(id, metrics)| (vec![("shard", id.clone())], value(metrics)));
            counters(&mut encoder, name, help, rows)?;
        }
        for (name, help, value) in LEVELS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (id, metrics) in &shards {
                family.encode_family(&[("shard", id.as_str())])?.encode_gauge(&value(metrics))?;
            }
        }
        let refused = shards.iter().flat_map(|(id, metrics)| {
            Refusal::ALL
                .map(|why| (vec![("shard", id.clone()), ("reason", why.name().to_owned())], metrics.refused_count(why)))
        });
        counters(
            &mut encoder,
            "connections_refused",
            "Connections refused or closed by the gateway, by reason",
            refused,
        )?;
        let found = shards.iter().flat_map(|(id, metrics)| {
            let classes = DataClass::ALL.into_iter().map(Some).chain([None]);
            classes.map(move |class| {
                let name = class.map_or("custom", DataClass::name).to_owned();
                (vec![("shard", id.clone()), ("class", name)], metrics.found_count(class))
            })
        });
        counters(&mut encoder, "findings", "Findings of personal data, by class", found)?;
        let moved = shards.iter().flat_map(|(id, metrics)| {
            STEPS.map(|(step, side, way)| {
                let labels = vec![("shard", id.clone()), ("side", side.to_owned()), ("direction", way.to_owned())];
                (labels, metrics.moved_bytes(step))
            })
        });
        counters(&mut encoder, "moved_bytes", "Bytes read from and written to sockets", moved)?;
        let requests = shards.iter().flat_map(|(id, metrics)| {
            metrics.requests().map(|(key, count)| (vec![("shard", id.clone()), ("api", api_name(key))], count))
        });
        counters(&mut encoder, "requests", "Requests by Kafka API", requests)?;
        durations(
            &mut encoder,
            "request_duration_seconds",
            "From a request's last byte to its response's release",
            &shards,
            |m| &m.latency,
        )?;
        durations(&mut encoder, "evidence_commit_duration_seconds", "How long a group commit takes", &shards, |m| {
            &m.commit_latency
        })
    }
}

fn api_name(key: i16) -> String {
    ApiKey::try_from(key).map_or_else(|()| format!("api_{key}"), |api| format!("{api:?}"))
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (Labels, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in rows {
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
    }
    Ok(())
}

fn durations(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    shards: &[(String, &ShardMetrics)],
    of: fn(&ShardMetrics) -> &Histogram,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (id, metrics) in shards {
        let histogram = of(metrics);
        let counts = histogram.counts();
        let bounds = LATENCY_BOUNDS_MICROS.iter().map(|micros| seconds(*micros)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let total = counts.iter().sum();
        family.encode_family(&[("shard", id.as_str())])?.encode_histogram::<NoLabelSet>(
            seconds(histogram.sum_micros()),
            total,
            &buckets,
            None,
        )?;
    }
    Ok(())
}

/// Microseconds as seconds; exact up to 2⁵³ µs, which is 285 years.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
