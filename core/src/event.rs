//! What an evidence entry says: one entry per exchange, and one per thing that happened to the
//! gateway itself (start, stop, reload, refusal).
//!
//! Encoded as Protocol Buffers: field numbers never change meaning and unknown fields are skipped,
//! so evidence stays readable for years and to anybody with the schema. Personal data found in
//! payloads never enters: only its class and count, and keyed tags of values ([`SubjectTags`]).

use prost::Message;

mod exchange;
mod recording;
mod subjects;

pub use exchange::{ExchangeEntry, Touched};
pub use recording::{RecordingAct, RecordingNote};
pub use subjects::{Postings, SubjectTags, push_posting};

/// What can be appended to the evidence: an [`Event`], or what stands for one and encodes alike.
pub trait Entry {
    /// The event's time.
    fn time_micros(&self) -> i64;

    /// Appends the encoded event to `buffer`.
    fn encode(&self, buffer: &mut Vec<u8>);

    /// The event itself, where it must be looked at: over the size limit.
    fn to_event(&self) -> Event;
}

impl Entry for Event {
    fn time_micros(&self) -> i64 {
        self.time_micros
    }

    fn encode(&self, buffer: &mut Vec<u8>) {
        self.encode_raw(buffer);
    }

    fn to_event(&self) -> Event {
        self.clone()
    }
}

/// One entry of the evidence.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// When the exchange was complete: microseconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub time_micros: i64,
    /// What kind of entry this is.
    #[prost(enumeration = "Kind", tag = "2")]
    pub kind: i32,
    /// The session's id (UUIDv7 text); empty where there is none.
    #[prost(string, tag = "3")]
    pub session: String,
    /// The principal's name as policy uses it.
    #[prost(string, tag = "4")]
    pub principal: String,
    /// The principal's issuer.
    #[prost(string, tag = "5")]
    pub issuer: String,
    /// The principal's subject at the issuer.
    #[prost(string, tag = "6")]
    pub subject: String,
    /// The principal's groups.
    #[prost(string, repeated, tag = "7")]
    pub groups: Vec<String>,
    /// The client's address, `ip:port` (from the PROXY header where there is one).
    #[prost(string, tag = "8")]
    pub client_address: String,
    /// The `client.id` the client gave.
    #[prost(string, tag = "9")]
    pub client_id: String,
    /// The Kafka API's name, for instance `Fetch`; empty where none applies.
    #[prost(string, tag = "10")]
    pub api: String,
    /// The API's version.
    #[prost(int32, tag = "11")]
    pub api_version: i32,
    /// Allowed, denied, partly denied, or refused as malformed.
    #[prost(enumeration = "Outcome", tag = "12")]
    pub outcome: i32,
    /// What was touched and what was decided about each.
    #[prost(message, repeated, tag = "13")]
    pub resources: Vec<ResourceUse>,
    /// Set where `resources` was cut to the entry's size limit.
    #[prost(bool, tag = "14")]
    pub resources_cut: bool,
    /// The version of the policy snapshot that decided.
    #[prost(uint64, tag = "15")]
    pub policy_version: u64,
    /// What was found in payloads, per class, operator and direction.
    #[prost(message, repeated, tag = "16")]
    pub findings: Vec<FindingCount>,
    /// The upstream's outcome: Kafka error codes seen in the response, 0 where there was none.
    #[prost(int32, repeated, tag = "17")]
    pub upstream_errors: Vec<i32>,
    /// Microseconds from the request's last byte to the response's release.
    #[prost(uint64, tag = "18")]
    pub latency_micros: u64,
    /// A sentence for people: why it was refused, what was reloaded.
    #[prost(string, tag = "19")]
    pub detail: String,
    /// The request's bytes on the wire, frame header included.
    #[prost(uint64, tag = "20")]
    pub request_bytes: u64,
    /// The response's bytes on the wire, frame header included.
    #[prost(uint64, tag = "21")]
    pub response_bytes: u64,
    /// The upstream broker's node id; -1 for the bootstrap address.
    #[prost(sint32, tag = "22")]
    pub broker: i32,
    /// The approval that the entry is part of the story of; empty where there is none.
    #[prost(string, tag = "23")]
    pub approval: String,
    /// Whose data was found, as keyed tags; the key is that of the segment's epoch.
    #[prost(message, repeated, tag = "24")]
    pub subjects: Vec<SubjectTags>,
    /// Tags that are missing in `subjects` because a limit was reached.
    #[prost(uint64, tag = "25")]
    pub subjects_cut: u64,
    /// What happened to the session's recording.
    #[prost(message, optional, boxed, tag = "40")]
    pub recording: Option<Box<RecordingNote>>,
}

/// What kind of entry this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub enum Kind {
    /// Never written; what an unknown future kind decodes to.
    Unspecified = 0,
    /// A request and its response.
    Exchange = 1,
    /// A session began: somebody authenticated.
    SessionStart = 2,
    /// A session ended.
    SessionEnd = 3,
    /// Authentication failed.
    AuthenticationFailure = 4,
    /// A connection was refused or closed for what it sent.
    ConnectionRefused = 5,
    /// The gateway started.
    Start = 6,
    /// The gateway stopped; anything after it without a `Start` is a gap.
    Stop = 7,
    /// A policy was loaded.
    PolicyLoaded = 8,
    /// A policy was refused and the old one stays.
    PolicyRefused = 9,
    /// Evidence was lost or delayed: overload, a full disk, an I/O error.
    Gap = 10,
    /// A certificate, key or secret in use changed, or a new one was refused.
    Reconfigured = 11,
    /// An event of the control log: a request, a decision, a revocation, a key.
    Control = 12,
    /// The gateway made a token for somebody.
    TokenIssued = 20,
    /// The gateway refused to make, refresh or revoke a token.
    TokenRefused = 21,
    /// A token of the gateway, or all that a login may still get, was revoked.
    TokenRevoked = 22,
    /// Somebody agreed in a browser that a device elsewhere is logged in as him.
    DeviceAgreed = 23,
    /// A call of the admin API, refused ones included.
    AdminCall = 13,
    /// The key that signs the evidence was replaced: the announcement, a note signed with both keys.
    EvidenceKey = 30,
    /// The index of subjects of a sealed segment was made: what it commits to.
    SubjectIndex = 32,
    /// Segments were removed by retention, or a legal hold was set or lifted.
    Retention = 31,
    /// Something happened to the recording of a session: it began, grew, ended, was cut, removed or watched.
    Recording = 40,
}

/// The kind of an encoded event, without decoding the rest; `None` where it does not begin with time and kind, as
/// entries of this gateway do.
#[must_use]
pub fn peek_kind(encoded: &[u8]) -> Option<i32> {
    let rest = encoded.strip_prefix(&[1 << 3])?;
    let time = rest.iter().position(|byte| *byte < 0x80)?;
    let rest = rest.get(time + 1..)?.strip_prefix(&[2 << 3])?;
    // Kinds are below 128, so one byte each; what is longer is of another kind than any asked for.
    rest.first().map(|byte| if *byte < 0x80 { i32::from(*byte) } else { -1 })
}

/// How an exchange ended, seen by policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub enum Outcome {
    /// Not applicable.
    Unspecified = 0,
    /// Everything asked for was allowed.
    Allowed = 1,
    /// Everything asked for was denied.
    Denied = 2,
    /// Some of it was denied.
    PartlyDenied = 3,
    /// The bytes could not be understood or broke a limit.
    Malformed = 4,
    /// The upstream failed before it answered.
    UpstreamFailed = 5,
}

/// One resource of an exchange.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceUse {
    /// Kafka's resource type: `topic`, `group`, `transactional_id`, `cluster`…
    #[prost(string, tag = "1")]
    pub kind: String,
    /// The resource's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The partition, where one is meant.
    #[prost(int32, optional, tag = "3")]
    pub partition: Option<i32>,
    /// The operation asked for.
    #[prost(string, tag = "4")]
    pub operation: String,
    /// Whether it was allowed.
    #[prost(bool, tag = "5")]
    pub allowed: bool,
    /// The grant that allowed it, or why it was denied (`no grant`).
    #[prost(string, tag = "6")]
    pub rule: String,
    /// The purpose that the grant declares.
    #[prost(string, tag = "7")]
    pub purpose: String,
    /// First record offset, inclusive, where records were carried.
    #[prost(int64, optional, tag = "8")]
    pub first_offset: Option<i64>,
    /// Last record offset, inclusive.
    #[prost(int64, optional, tag = "9")]
    pub last_offset: Option<i64>,
    /// Records carried.
    #[prost(uint64, tag = "10")]
    pub records: u64,
    /// Bytes of record batches carried, as on the wire.
    #[prost(uint64, tag = "11")]
    pub bytes: u64,
}

/// Findings of one class under one rule in one exchange.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FindingCount {
    /// The data class, for instance `email`.
    #[prost(string, tag = "1")]
    pub class: String,
    /// What was done: `redact`, `keep_last`, `replace`, …; `none` where the principal is exempt,
    /// `observe` where the rule only reports.
    #[prost(string, tag = "2")]
    pub operator: String,
    /// How many.
    #[prost(uint64, tag = "3")]
    pub count: u64,
    /// The topic in which they were found.
    #[prost(string, tag = "4")]
    pub topic: String,
    /// The mask rule that decided.
    #[prost(string, tag = "5")]
    pub rule: String,
    /// The field as the rule names it, for instance `$.customer.name`; empty where the data was
    /// recognised by itself.
    #[prost(string, tag = "6")]
    pub field: String,
}
