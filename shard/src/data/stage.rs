//! What the stages of the hot path pass to each other.
//!
//! A stage is a pure function: a request or response body in, a [`Verdict`] or a new body out, and
//! what it learned for the evidence in a [`Draft`]. It does no I/O; the session asks the upstream
//! where a verdict wants it.

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use smol_str::SmolStr;
use tidegate_core::event::{FindingCount, SubjectTags, Touched};
use tidegate_core::header::{self, RequestHeader};
use tidegate_core::limits::Limits;
use tidegate_core::words::{Operation, Resource, Timestamp};
pub use tidegate_policy::file::OnUnparseable;
use tidegate_policy::mask::schema::Schemas;
use tidegate_policy::subject::SubjectKey;
use tidegate_policy::view::{Decision, View};
use uuid::Uuid;

use super::addresses::Addresses;
use super::topics::TopicIds;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The header's fields and where the body begins.
    pub header: RequestHeader,
    /// The whole frame, length prefix included.
    pub frame: Bytes,
}

impl Request {
    /// The API asked for.
    #[must_use]
    pub fn api(&self) -> ApiKey {
        self.header.api
    }

    /// The API version.
    #[must_use]
    pub fn version(&self) -> i16 {
        self.header.version
    }

    /// The body, sharing the frame's memory.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.frame.slice(self.header.body_start..)
    }

    /// The client's `client.id`.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.header.client_id(&self.frame)
    }
}

/// The response frame with which the gateway answers `request` itself.
#[must_use]
pub fn answer_frame(request: &Request, body: &[u8]) -> Bytes {
    header::response_frame(request.header.correlation_id, request.api(), request.version(), body)
}

/// All that a stage may consult. Borrowed from the session and its shard for one call.
pub struct Scope<'a> {
    /// The principal's rights, current as of this request.
    pub view: &'a View,
    /// Now.
    pub now: Timestamp,
    /// The bounds.
    pub limits: &'a Limits,
    /// The cluster's topic ids and names, as far as this shard knows them.
    pub topics: &'a mut TopicIds,
    /// How brokers' addresses look to clients; learns the real ones.
    pub addresses: &'a mut Addresses,
    /// What happens to records that cannot be parsed.
    pub on_unparseable: OnUnparseable,
    /// The key of subjects' tags, where the evidence has them.
    pub subjects: Option<&'a SubjectKey>,
    /// The schemas of records in a registry's framing.
    pub schemas: &'a dyn Schemas,
    /// Whether a stage may still ask for topic ids with [`Verdict::Resolve`]: true the first time a
    /// request is shown, false the second, when what is still unknown does not exist.
    pub may_resolve: bool,
    /// How much of records may still be scanned in this turn, in bytes. A stage takes off it what it
    /// scans, and where it is used up says that it goes on in the next turn: [`Verdict::Again`],
    /// [`Progress::Again`].
    pub work: usize,
}

/// What becomes of a request.
pub enum Verdict {
    /// The very bytes that came go to the upstream; its response passes as it comes.
    Forward,
    /// The very bytes go; the response is shown to `respond`.
    ForwardThen(Box<dyn Respond>),
    /// Another body goes to the upstream, in `version` (the client's own, unless the stage
    /// translates); the response, in that version, is shown to `respond`.
    Rewrite {
        /// The version that the upstream is asked in.
        version: i16,
        /// The body that it gets.
        body: Bytes,
        /// What sees the response. It must yield a body in the client's version.
        respond: Box<dyn Respond>,
    },
    /// The gateway answers with this body, in order; the upstream is not asked.
    Answer(Bytes),
    /// These topic ids must be resolved first; then the stage is asked again with the same
    /// request, and must then answer without those that still are unknown.
    Resolve(Vec<Uuid>),
    /// Nothing is sent and nothing will be answered: an acks=0 Produce that goes through.
    ForwardWithoutResponse {
        /// The body for the upstream, `None` for the very bytes.
        body: Option<Bytes>,
    },
    /// The turn's work is used up: the request goes on in the next turn. Nothing was noted yet.
    Again(Box<dyn Decide>),
    /// The connection is closed, as a broker closes it, with the reason for log and evidence.
    Close(String),
}

/// A request whose decision takes more than one turn.
pub trait Decide {
    /// Goes on. The rights may be others than in the turn before; what counts are those of the turn
    /// that yields another verdict than [`Verdict::Again`].
    ///
    /// # Errors
    /// [`StageError`] as the stage itself.
    fn decide(self: Box<Self>, scope: &mut Scope<'_>, draft: &mut Draft) -> Result<Verdict, StageError>;
}

/// Sees the upstream's response body to one request.
pub trait Respond {
    /// What the client gets. Called again with the same body for as long as it says
    /// [`Progress::Again`]; the rights may be others each time, and those of the last call count.
    ///
    /// # Errors
    /// [`StageError`] where the upstream's response cannot be understood or enforced: the client's
    /// connection is closed rather than anything unchecked passed on.
    fn respond(self: Box<Self>, body: Bytes, scope: &mut Scope<'_>, draft: &mut Draft) -> Result<Progress, StageError>;
}

/// How far a response has come.
pub enum Progress {
    /// The body for the client in the client's version, or `None` to let the very bytes pass (only
    /// where the upstream was asked in the client's version).
    Done(Option<Bytes>),
    /// The turn's work is used up: it goes on in the next turn. Nothing was noted yet.
    Again(Box<dyn Respond>),
}

/// A message that cannot be handled. The connection is closed and the evidence says why.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The client sent what cannot be decoded.
    #[error("the client's {api:?} v{version} request cannot be decoded: {reason}")]
    Request {
        /// The API.
        api: ApiKey,
        /// Its version.
        version: i16,
        /// The decoder's words.
        reason: String,
    },
    /// The upstream sent what cannot be decoded or must not be passed on.
    #[error("the upstream's {api:?} v{version} response cannot be passed on: {reason}")]
    Response {
        /// The API.
        api: ApiKey,
        /// Its version.
        version: i16,
        /// What is wrong.
        reason: String,
    },
}

/// What an exchange will say in the evidence, filled by the stages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draft {
    /// What was touched, with each decision.
    pub resources: Vec<Touched>,
    /// What was found.
    pub findings: Vec<FindingCount>,
    /// Whose data was found.
    pub subjects: Vec<SubjectTags>,
    /// Tags that were left out of `subjects` at the limit.
    pub subjects_cut: u64,
    /// Upstream error codes other than 0.
    pub upstream_errors: Vec<i32>,
    /// A sentence, where something needs saying.
    pub detail: String,
    /// The approval that it waited for or passed by; empty where none.
    pub approval: String,
    /// The message could not be understood, and nothing of it was passed on.
    pub malformed: bool,
    /// Some records could not be parsed and were refused: their resources say so.
    pub unparseable: bool,
    /// For the metrics: records that masking looked at, partitions whose records it changed, and
    /// partitions whose records could not be parsed, whatever became of them.
    pub inspected: Inspected,
}

/// What masking did in one exchange, for the metrics.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Inspected {
    /// Records looked at.
    pub records: u64,
    /// Partitions changed.
    pub changed: u64,
    /// Partitions that could not be parsed.
    pub unparseable: u64,
    /// Batches of which it was known from before what they become.
    pub recalled: u64,
}

impl Scope<'_> {
    /// Asks policy and writes the answer into the draft.
    pub fn authorise(&self, operation: Operation, resource: Resource<'_>, draft: &mut Draft) -> bool {
        let decision = self.view.authorise(operation, resource, self.now);
        draft.decided(operation, resource, &decision)
    }

    /// Asks policy without leaving an entry: for filtering lists, where what is left out is not an attempt.
    #[must_use]
    pub fn may(&self, operation: Operation, resource: Resource<'_>) -> bool {
        self.view.authorise(operation, resource, self.now).allowed
    }
}

impl Draft {
    /// Notes one decision and returns whether it allows.
    pub fn decided(&mut self, operation: Operation, resource: Resource<'_>, decision: &Decision) -> bool {
        let partition = match resource {
            Resource::Topic { partition, .. } => partition,
            _ => None,
        };
        if self.resources.capacity() == 0 {
            // Most exchanges touch one resource; a list's own first growth is to four.
            self.resources.reserve_exact(1);
        }
        self.resources.push(Touched {
            kind: resource.kind(),
            name: SmolStr::new(resource.name()),
            partition,
            operation: operation.name(),
            allowed: decision.allowed,
            rule: SmolStr::from(decision.rule.clone()),
            purpose: SmolStr::from(decision.purpose.clone()),
            ..Touched::default()
        });
        decision.allowed
    }
}
