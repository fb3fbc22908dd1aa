//! Every bound of the gateway in one place. A bound's unit is in its name; what the peer gets when
//! it is exceeded stands beside it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Memory that decoding one request body may take beyond the frame, in bytes: some 400,000 partitions. Over
/// it the connection is closed.
pub const REQUEST_DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Memory that decoding one response body may take beyond the frame, in bytes: the Metadata of millions of
/// partitions. Over it the client's connection is closed.
pub const RESPONSE_DECODED_BYTES_MAX: usize = 512 * 1024 * 1024;

/// How much of records one connection may have scanned before the shard's other connections get their
/// turn, in bytes: some 100 to 200 µs at 0.7 to 1.3 GB/s with a core's caches shared. Nobody gets an
/// error; what is larger is done in several turns. Not configurable: it follows from the scan's speed.
pub const SCAN_TURN_BYTES: usize = 128 * 1024;

/// The bounds, with defaults that suit a gateway in front of a default Kafka broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest frame from a client or a broker, in bytes. Over it the connection is closed, as a
    /// broker does (`socket.request.max.bytes`).
    pub frame_bytes_max: u32,
    /// Largest frame before a client has authenticated, in bytes. Over it the connection is closed.
    pub frame_unauthenticated_bytes_max: u32,
    /// Requests of one connection that wait for their response. At the bound the gateway stops reading.
    pub in_flight_requests_max: u32,
    /// Bytes queued towards one peer. At the bound the gateway stops reading from the other.
    pub queued_bytes_max: u32,
    /// Largest decompressed size of one record batch, in bytes. Over it the batch counts as unparseable.
    pub batch_decompressed_bytes_max: u32,
    /// Records in one batch. Over it the batch counts as unparseable.
    pub batch_records_max: u32,
    /// Headers in one record. Over it the batch counts as unparseable.
    pub record_headers_max: u32,
    /// Memory that one shard takes for remembering what batches became, in bytes; 0 for none. Over it
    /// what was asked for least is forgotten and scanned anew.
    pub verdict_cache_bytes_per_shard_max: u32,
    /// Schemas of the registry that are kept. Over it the oldest are forgotten and fetched anew.
    pub schemas_max: u32,
    /// Client connections of one shard. Over it new connections are closed at once.
    pub connections_per_shard_max: u32,
    /// Topic ids that one shard remembers. Over it the oldest are forgotten and resolved anew.
    pub topic_ids_max: u32,
    /// Partitions that one fetch session may hold. Over it the session falls back to full fetches.
    pub fetch_session_partitions_max: u32,
    /// Milliseconds a client may take from connecting to being authenticated. After it the connection is closed.
    pub authentication_millis_max: u32,
    /// Milliseconds without a byte either way after which a connection is closed (`connections.max.idle.ms`).
    pub idle_millis_max: u32,
    /// Milliseconds for connecting and logging in to the upstream. After it the client connection is closed.
    pub upstream_connect_millis_max: u32,
    /// Largest token accepted, in bytes. Over it authentication fails.
    pub token_bytes_max: u32,
    /// Largest evidence entry, in bytes. Over it the entry's resource list is cut and marked so.
    pub evidence_entry_bytes_max: u32,
    /// Tags of subjects in one evidence entry. Over it the rest is only counted, and the entry says how many.
    pub evidence_subjects_max: u32,
    /// Bytes of evidence that may wait for being written in one shard. At the bound the shard stops reading requests.
    pub evidence_pending_bytes_max: u32,
    /// Bytes of exchanges that one session may have recorded, before compression, whatever a policy says. At it the
    /// recording is cut or the session closed, as the rule says.
    pub recording_session_bytes_max: u32,
    /// Bytes of one shard's recordings on the disk. At it recordings are cut or sessions closed, as their rules say.
    pub recordings_bytes_per_shard_max: u64,
    /// Bytes of exchanges of one shard that wait for being recorded. At it recordings are cut, or their sessions
    /// wait, as their rules say.
    pub recording_pending_bytes_max: u32,
    /// Requests for grants and held operations that nobody has decided. Over it the next is refused.
    pub pending_approvals_max: u32,
    /// Of these, one principal's. Over it its next is refused.
    pub pending_approvals_per_principal_max: u32,
    /// Run-time grants in force or to come. Over it no more are asked for or approved.
    pub run_time_grants_max: u32,
    /// Revoked sessions, tokens and principals that are remembered, each. Over it a revocation is refused,
    /// loudly: the list is to be looked at.
    pub revocations_max: u32,
    /// Milliseconds that a client is kept waiting for an approver, whatever a policy says. Less than the 30 s after
    /// which clients give up by default (`request.timeout.ms`).
    pub hold_millis_max: u32,
    /// Requests of one shard that wait for an approver at once. Over it a held request is refused at once
    /// (POLICY_VIOLATION).
    pub held_requests_per_shard_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 100 * 1024 * 1024,
            frame_unauthenticated_bytes_max: 256 * 1024,
            in_flight_requests_max: 256,
            queued_bytes_max: 1024 * 1024,
            batch_decompressed_bytes_max: 128 * 1024 * 1024,
            batch_records_max: 1_000_000,
            record_headers_max: 1000,
            verdict_cache_bytes_per_shard_max: 64 * 1024 * 1024,
            schemas_max: 10_000,
            connections_per_shard_max: 20_000,
            topic_ids_max: 100_000,
            fetch_session_partitions_max: 10_000,
            authentication_millis_max: 10_000,
            idle_millis_max: 600_000,
            upstream_connect_millis_max: 10_000,
            token_bytes_max: 64 * 1024,
            evidence_entry_bytes_max: 1024 * 1024,
            evidence_subjects_max: 65_536,
            evidence_pending_bytes_max: 16 * 1024 * 1024,
            recording_session_bytes_max: 1024 * 1024 * 1024,
            recordings_bytes_per_shard_max: 10 * 1024 * 1024 * 1024,
            recording_pending_bytes_max: 64 * 1024 * 1024,
            pending_approvals_max: 10_000,
            pending_approvals_per_principal_max: 100,
            run_time_grants_max: 10_000,
            revocations_max: 100_000,
            hold_millis_max: 25_000,
            held_requests_per_shard_max: 1000,
        }
    }
}
