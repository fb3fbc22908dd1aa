//! Share groups (KIP-932): membership, acknowledgement, descriptions and offsets.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_share_group_offsets_response::DeleteShareGroupOffsetsResponseTopic;
use kafka_protocol::messages::share_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, DeleteShareGroupOffsetsRequest,
    DeleteShareGroupOffsetsResponse, DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse,
    ShareAcknowledgeRequest, ShareAcknowledgeResponse, ShareGroupDescribeRequest, ShareGroupDescribeResponse,
    ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse, TopicName,
};
use tidegate_core::words::{Operation, Resource};
use uuid::Uuid;

use super::super::addresses;
use super::super::stage::Verdict;
use super::call::{Call, Left, Outcome};
use super::group_offsets::GroupRefusals;
use super::groups::{HIDDEN_TOPICS, described, group_operations, hides_topics, subscription};
use super::outcome::message;
use super::refuse::{Refusals, merge, take_refused};

const GROUP_DENIED: ResponseError = ResponseError::GroupAuthorizationFailed;
const TOPIC_DENIED: ResponseError = ResponseError::TopicAuthorizationFailed;

/// ShareGroupHeartbeat (key 76): READ on the group, DESCRIBE on the topics subscribed to.
pub(super) fn heartbeat(mut call: Call<'_, '_>) -> Outcome {
    let request: ShareGroupHeartbeatRequest = call.decode()?;
    let refusal = call
        .refusal(Operation::Read, Resource::Group(&request.group_id), GROUP_DENIED)
        .or_else(|| subscription(&mut call, request.subscribed_topic_names.as_deref()));
    call.decide(refusal, |error| ShareGroupHeartbeatResponse::default().with_error_code(error.code()))
}

described! {
    /// ShareGroupDescribe (key 77): DESCRIBE on each group, and on the topics that its members hold.
    describe, ShareGroupDescribeRequest, ShareGroupDescribeResponse, DescribedGroup,
    |member| [&member.assignment]
}

/// ShareAcknowledge (key 79): READ on the group and on each topic, which is named by id.
pub(super) fn acknowledge(mut call: Call<'_, '_>) -> Outcome {
    let mut request: ShareAcknowledgeRequest = call.decode()?;
    let ids = request.topics.iter().map(|topic| topic.topic_id);
    let unresolved: Vec<Uuid> = ids.filter(|id| call.scope.topics.name(id).is_none()).collect();
    if !unresolved.is_empty() && call.scope.may_resolve {
        return Ok(Verdict::Resolve(unresolved));
    }
    let Some(group) = request.group_id.clone() else {
        let response = ShareAcknowledgeResponse::default().with_error_code(ResponseError::InvalidRequest.code());
        return call.answer(&response.with_error_message(Some("Invalid group id in the request.".into())));
    };
    if let Some(error) = call.refusal(Operation::Read, Resource::Group(&group), GROUP_DENIED) {
        let response = ShareAcknowledgeResponse::default().with_error_code(error.code());
        return call.answer(&response.with_error_message(message(error)));
    }
    let refusals = Refusals::take(&mut request.topics, |id, partitions| match call.scope.topics.name(id) {
        Some(name) => call.partitions(Operation::Read, &name, partitions, TOPIC_DENIED),
        None => vec![Some(ResponseError::UnknownTopicId); partitions.len().max(1)],
    });
    call.settle(refusals.left(), &request, move |response: &mut ShareAcknowledgeResponse, scope, _| {
        let rewritten = addresses::rewrite_share_endpoints(scope.addresses, &mut response.node_endpoints)?;
        Ok((response.error_code == 0 && refusals.merge_into(&mut response.responses)) || rewritten)
    })
}

/// DescribeShareGroupOffsets (key 90): DESCRIBE on each group and topic; no topics means all, and
/// is filtered.
pub(super) fn describe_offsets(mut call: Call<'_, '_>) -> Outcome {
    let mut request: DescribeShareGroupOffsetsRequest = call.decode()?;
    let refusals = GroupRefusals::take(&mut call, &mut request.groups);
    call.settle(refusals.left(), &request, move |response: &mut DescribeShareGroupOffsetsResponse, scope, _| {
        Ok(refusals.merge_into(&mut response.groups, scope))
    })
}

/// AlterShareGroupOffsets (key 91): READ on the group and on each topic.
pub(super) fn alter_offsets(mut call: Call<'_, '_>) -> Outcome {
    let mut request: AlterShareGroupOffsetsRequest = call.decode()?;
    if let Some(error) = call.refusal(Operation::Read, Resource::Group(&request.group_id), GROUP_DENIED) {
        let response = AlterShareGroupOffsetsResponse::default().with_error_code(error.code());
        return call.answer(&response.with_error_message(message(error)));
    }
    let refusals = call.take_denied(Operation::Read, &mut request.topics);
    call.settle(refusals.left(), &request, move |response: &mut AlterShareGroupOffsetsResponse, scope, _| {
        let merged = response.error_code == 0 && refusals.merge_into(&mut response.responses);
        if merged {
            // A broker tells the id of a refused topic too, so it is told where this shard knows it.
            for topic in response.responses.iter_mut().filter(|topic| topic.topic_id.is_nil()) {
                topic.topic_id = scope.topics.id(&topic.topic_name).unwrap_or_default();
            }
        }
        Ok(merged)
    })
}

/// DeleteShareGroupOffsets (key 92): DELETE on the group, READ on each topic.
pub(super) fn delete_offsets(mut call: Call<'_, '_>) -> Outcome {
    let mut request: DeleteShareGroupOffsetsRequest = call.decode()?;
    if let Some(error) = call.refusal(Operation::Delete, Resource::Group(&request.group_id), GROUP_DENIED) {
        let response = DeleteShareGroupOffsetsResponse::default().with_error_code(error.code());
        return call.answer(&response.with_error_message(message(error)));
    }
    let asked: Vec<TopicName> = request.topics.iter().map(|topic| topic.topic_name.clone()).collect();
    let refused: Vec<_> = take_refused(&mut request.topics, |topic| {
        call.refusal(Operation::Read, Resource::topic(&topic.topic_name), TOPIC_DENIED)
    })
    .into_iter()
    .map(|(topic, error)| {
        DeleteShareGroupOffsetsResponseTopic::default()
            .with_topic_name(topic.topic_name)
            .with_error_code(error.code())
            .with_error_message(message(error))
    })
    .collect();
    let left = Left::of(!refused.is_empty(), !request.topics.is_empty());
    call.settle(left, &request, move |response: &mut DeleteShareGroupOffsetsResponse, _, _| {
        Ok(response.error_code == 0
            && merge(&mut response.responses, refused, &asked, |topic| topic.topic_name.clone()))
    })
}
