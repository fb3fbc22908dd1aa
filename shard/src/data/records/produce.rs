//! Produce v3–13: what clients write.
//!
//! Per partition: is its topic known, may the client write, can the batch be walked, what is
//! masked. What is refused never reaches the upstream and is merged into its response.
//!
//! Refusals carry the errors of a broker (`KafkaApis.handleProduceRequest`,
//! `ProduceRequest.validateRecords`, `LogValidator`):
//! - transactional records without WRITE on the transactional id: all partitions
//!   TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
//! - an unknown topic id: UNKNOWN_TOPIC_ID; no WRITE: TOPIC_AUTHORIZATION_FAILED;
//! - message formats v0 and v1, and what does not add up: INVALID_RECORD, which producers do not
//!   retry; a wrong checksum: CORRUPT_MESSAGE, which they do, since it may be the network's;
//!   an unknown codec: UNSUPPORTED_COMPRESSION_TYPE.
//!
//! acks=0 has no response: anything refused closes the connection, as a broker does.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ApiKey, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use tidegate_core::batch::BatchError;
use tidegate_core::words::{Direction, Operation, Resource};
use tidegate_policy::mask::MaskPlan;
use uuid::Uuid;

use super::super::stage::{Decide, Draft, Progress, Request, Respond, Scope, StageError, Verdict};
use super::ahead::{Ahead, Part, Place};
use super::codec;
use super::inspect::{Inspection, Use};
use super::names::Names;
use super::notes::{self, Asked};
use super::sessions::unresolved;

const API: ApiKey = ApiKey::Produce;
/// From here on topics are named by id (KIP-516).
const TOPIC_IDS_FROM: i16 = 13;

/// A partition that the upstream does not see.
struct Refused {
    name: TopicName,
    id: Uuid,
    partition: i32,
    error: ResponseError,
    message: Option<StrBytes>,
}

/// Handles one Produce request.
pub(super) fn request(request: &Request, scope: &mut Scope<'_>, draft: &mut Draft) -> Result<Verdict, StageError> {
    let version = request.version();
    let message: ProduceRequest = codec::decode_request(request)?;
    if version >= TOPIC_IDS_FROM {
        let unknown = unresolved(message.topic_data.iter().map(|t| t.topic_id), scope);
        if !unknown.is_empty() {
            return Ok(Verdict::Resolve(unknown));
        }
    }

    Deciding { version, message, ahead: Ahead::new(Use::Produce) }.go_on(scope, draft)
}

/// A request that may take more than one turn.
struct Deciding {
    version: i16,
    message: ProduceRequest,
    ahead: Ahead,
}

impl Decide for Deciding {
    fn decide(self: Box<Self>, scope: &mut Scope<'_>, draft: &mut Draft) -> Result<Verdict, StageError> {
        self.go_on(scope, draft)
    }
}

impl Deciding {
    /// Most end with the turn that they begin in, so only those that do not are put in a box.
    fn go_on(mut self, scope: &mut Scope<'_>, draft: &mut Draft) -> Result<Verdict, StageError> {
        if self.ahead.wants_parts(scope) {
            let parts = parts(&self.message, self.version, scope);
            self.ahead.begin(parts, scope);
        }
        if !self.ahead.step(scope) {
            return Ok(Verdict::Again(Box::new(self)));
        }
        let Self { version, mut message, ahead } = self;
        let mut screened = Screened { ahead, refused: Vec::new(), names: Names::default(), masked: false };
        if may_use_transaction(&message, scope, draft) {
            for (at, topic) in message.topic_data.iter_mut().enumerate() {
                screened.topic((at, topic), version >= TOPIC_IDS_FROM, scope, draft);
            }
        } else {
            screened.refuse_all(&message, ResponseError::TransactionalIdAuthorizationFailed);
            message.topic_data.clear();
        }
        if !screened.refused.is_empty() {
            message.topic_data.retain(|topic| !topic.partition_data.is_empty());
        }
        verdict(message, version, screened, draft)
    }
}

/// The records that a mask rule applies to and that may be written as things stand.
fn parts(message: &ProduceRequest, version: i16, scope: &Scope<'_>) -> VecDeque<Part> {
    let mut parts = VecDeque::new();
    let may_use = |id: &TransactionalId| scope.may(Operation::Write, Resource::TransactionalId(id.as_str()));
    if carries_transaction(message) && !message.transactional_id.as_ref().is_some_and(may_use) {
        return parts;
    }
    for (at, topic) in message.topic_data.iter().enumerate() {
        let by_id = if version >= TOPIC_IDS_FROM { scope.topics.name(&topic.topic_id) } else { None };
        let name = if version >= TOPIC_IDS_FROM { by_id.as_deref() } else { Some(topic.name.as_str()) };
        let Some((name, plan)) = name.and_then(|name| Some((name, scope.view.mask(name, Direction::Produce)?))) else {
            continue;
        };
        for (index, data) in topic.partition_data.iter().enumerate() {
            let Some(records) = data.records.as_ref().filter(|r| !r.is_empty()) else { continue };
            if scope.may(Operation::Write, Resource::partition(name, data.index)) {
                parts.push_back(Part { place: (at, index), records: records.clone(), plan: plan.clone() });
            }
        }
    }
    parts
}

/// What screening did to the request.
struct Screened {
    ahead: Ahead,
    refused: Vec<Refused>,
    /// The names of topics that are named by id.
    names: Names,
    masked: bool,
}

impl Screened {
    /// Takes out of one topic what is refused, and masks what a rule masks.
    fn topic(
        &mut self,
        (at, topic): (usize, &mut TopicProduceData),
        by_id: bool,
        scope: &mut Scope<'_>,
        draft: &mut Draft,
    ) {
        let (topic_name, id) = (topic.name.clone(), topic.topic_id);
        let refused = |partition, error, message| Refused { name: topic_name.clone(), id, partition, error, message };
        let resolved = if by_id { scope.topics.name(&id) } else { None };
        let name: &str = if by_id { resolved.as_deref().unwrap_or_default() } else { topic_name.as_str() };
        if by_id && resolved.is_none() {
            for data in topic.partition_data.drain(..) {
                notes::unknown_id(draft, Operation::Write, id, data.index);
                self.refused.push(refused(data.index, ResponseError::UnknownTopicId, None));
            }
            return;
        }
        let plan = scope.view.mask(name, Direction::Produce);
        let mut places = (0..).map(|index| (at, index));
        topic.partition_data.retain_mut(|data| {
            let place = places.next().unwrap_or_default();
            match admit(&mut self.ahead, place, data, (name, plan.as_ref()), scope, draft) {
                Ok(masked) => {
                    self.masked |= masked;
                    true
                }
                Err((error, message)) => {
                    self.refused.push(refused(data.index, error, message.map(StrBytes::from_string)));
                    false
                }
            }
        });
        if let Some(name) = resolved {
            self.names.push(id, name);
        }
    }

    fn refuse_all(&mut self, message: &ProduceRequest, error: ResponseError) {
        for topic in &message.topic_data {
            self.refused.extend(topic.partition_data.iter().map(|data| Refused {
                name: topic.name.clone(),
                id: topic.topic_id,
                partition: data.index,
                error,
                message: None,
            }));
        }
    }
}

/// Whether the request may go on as far as transactions are concerned. As on a broker, a
/// transactional id is asked about only where records are transactional.
fn may_use_transaction(message: &ProduceRequest, scope: &Scope<'_>, draft: &mut Draft) -> bool {
    if !carries_transaction(message) {
        return true;
    }
    match &message.transactional_id {
        Some(id) => scope.authorise(Operation::Write, Resource::TransactionalId(id.as_str()), draft),
        None => {
            notes::say(draft, format_args!("transactional records without a transactional id"));
            false
        }
    }
}

/// Whether any records are part of a transaction.
fn carries_transaction(message: &ProduceRequest) -> bool {
    message
        .topic_data
        .iter()
        .flat_map(|topic| &topic.partition_data)
        .any(|data| is_transactional(data.records.as_ref()))
}

/// Whether the first batch is transactional (record batch v2: magic at 16, attributes at 21).
/// A broker accepts one batch a partition on Produce.
fn is_transactional(records: Option<&Bytes>) -> bool {
    const MAGIC_AT: usize = 16;
    const ATTRIBUTES_LOW_AT: usize = 22;
    const TRANSACTIONAL: u8 = 1 << 4;
    records.is_some_and(|r| {
        r.get(MAGIC_AT) == Some(&2) && r.get(ATTRIBUTES_LOW_AT).is_some_and(|byte| byte & TRANSACTIONAL != 0)
    })
}

/// Decides about one partition. `Ok(true)` where its records were masked.
fn admit(
    ahead: &mut Ahead,
    place: Place,
    data: &mut PartitionProduceData,
    (name, plan): (&str, Option<&Arc<MaskPlan>>),
    scope: &mut Scope<'_>,
    draft: &mut Draft,
) -> Result<bool, (ResponseError, Option<String>)> {
    let resource = Resource::partition(name, data.index);
    let decision = scope.view.authorise(Operation::Write, resource, scope.now);
    if !draft.decided(Operation::Write, resource, &decision) {
        return Err(match decision.is_held() {
            true => (ResponseError::PolicyViolation, Some(decision.rule.to_string())),
            false => (ResponseError::TopicAuthorizationFailed, None),
        });
    }
    // Null or empty records are the broker's to refuse: there is nothing in them to protect.
    let Some(records) = data.records.as_ref().filter(|r| !r.is_empty()) else { return Ok(false) };
    // The entry is fetched by its place because findings are noted in between.
    let entry = draft.resources.len().saturating_sub(1);
    let (summary, masked) = match ahead.inspect(place, records, (name, data.index), plan, scope, draft) {
        Inspection::Unchanged(summary) => (summary, None),
        Inspection::Changed(records, summary) => (summary, Some(records)),
        Inspection::Refused(error) => {
            notes::refused(draft, entry, &error);
            return Err((produce_error(&error), Some(error.to_string())));
        }
    };
    if let Some(entry) = draft.resources.get_mut(entry) {
        entry.records = summary.records;
        entry.bytes = summary.bytes;
    }
    let changed = masked.is_some();
    if changed {
        data.records = masked;
    }
    Ok(changed)
}

/// What a broker answers to a batch like this.
fn produce_error(error: &BatchError) -> ResponseError {
    match error {
        BatchError::Crc => ResponseError::CorruptMessage,
        // Retried by producers, and it says that nothing was written.
        BatchError::Waiting { .. } => ResponseError::RequestTimedOut,
        BatchError::Codec(_) => ResponseError::UnsupportedCompressionType,
        _ => ResponseError::InvalidRecord,
    }
}

fn verdict(message: ProduceRequest, version: i16, screened: Screened, draft: &Draft) -> Result<Verdict, StageError> {
    let Screened { refused, names, masked, .. } = screened;
    let rewritten = masked || !refused.is_empty();
    if message.acks == 0 {
        if let Some(first) = refused.first() {
            return Ok(Verdict::Close(format!(
                "Produce with acks=0 was refused for {} partitions, the first with {}",
                refused.len(),
                first.error
            )));
        }
        let body = rewritten.then(|| codec::encode_request(&message, API, version)).transpose()?;
        return Ok(Verdict::ForwardWithoutResponse { body });
    }
    if message.topic_data.is_empty() && !refused.is_empty() {
        let mut response = ProduceResponse::default();
        merge(&mut response, refused);
        return Ok(Verdict::Answer(codec::encode_response(&response, API, version)?));
    }
    let respond = Box::new(ProduceRespond { version, refused, names, asked: Asked::now(draft) });
    if !rewritten {
        return Ok(Verdict::ForwardThen(respond));
    }
    Ok(Verdict::Rewrite { version, body: codec::encode_request(&message, API, version)?, respond })
}

/// Adds the refused partitions to their topics in the response.
fn merge(response: &mut ProduceResponse, refused: Vec<Refused>) {
    for refused in refused {
        let mut partition = PartitionProduceResponse::default()
            .with_index(refused.partition)
            .with_error_code(refused.error.code())
            .with_base_offset(-1);
        partition.error_message = refused.message;
        let same = |topic: &&mut TopicProduceResponse| topic.name == refused.name && topic.topic_id == refused.id;
        // Refused partitions come topic by topic, so the one that was touched last is looked at first.
        match response.responses.iter_mut().rev().find(same) {
            Some(topic) => topic.partition_responses.push(partition),
            None => response.responses.push(
                TopicProduceResponse::default()
                    .with_name(refused.name)
                    .with_topic_id(refused.id)
                    .with_partition_responses(vec![partition]),
            ),
        }
    }
}

/// Sees the upstream's response.
struct ProduceRespond {
    version: i16,
    refused: Vec<Refused>,
    names: Names,
    asked: Asked,
}

impl Respond for ProduceRespond {
    fn respond(
        mut self: Box<Self>,
        body: Bytes,
        scope: &mut Scope<'_>,
        draft: &mut Draft,
    ) -> Result<Progress, StageError> {
        let mut response: ProduceResponse = codec::decode_response(&body, API, self.version)?;
        for topic in &response.responses {
            self.account(topic, scope, draft);
        }
        let changed = !self.refused.is_empty() || !response.node_endpoints.is_empty();
        response
            .node_endpoints
            .retain_mut(|e| codec::show_endpoint(scope.addresses, e.node_id.0, &mut e.host, &mut e.port));
        merge(&mut response, self.refused);
        Ok(Progress::Done(changed.then(|| codec::encode_response(&response, API, self.version)).transpose()?))
    }
}

impl ProduceRespond {
    /// Fills the offsets that the broker gave into the request's entries.
    fn account(&mut self, topic: &TopicProduceResponse, scope: &mut Scope<'_>, draft: &mut Draft) {
        let by_id = self.names.find(&topic.topic_id);
        let name: &str = by_id.as_deref().unwrap_or(topic.name.as_str());
        for partition in &topic.partition_responses {
            if partition.error_code != 0 {
                notes::upstream_error(draft, partition.error_code);
                if partition.error_code == ResponseError::UnknownTopicId.code() {
                    scope.topics.forget(&topic.topic_id);
                }
                continue;
            }
            let Some(at) = self.asked.partition(draft, name, partition.index) else { continue };
            let Some(entry) = draft.resources.get_mut(at) else { continue };
            if partition.base_offset >= 0 && entry.records > 0 {
                entry.first_offset = Some(partition.base_offset);
                let count = i64::try_from(entry.records).unwrap_or(i64::MAX);
                entry.last_offset = Some(partition.base_offset.saturating_add(count - 1));
                notes::subjects_written(draft, name, partition.index, partition.base_offset);
            }
        }
    }
}
