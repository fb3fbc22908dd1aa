//! Offsets: ListOffsets, OffsetForLeaderEpoch, and the commits of groups.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseTopic;
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
use tidegate_core::words::{Operation, Resource};

use super::call::{Call, Outcome};
use super::group_offsets::{GroupRefusals, keep_described};
use super::refuse::Refusals;

const GROUP_DENIED: ResponseError = ResponseError::GroupAuthorizationFailed;

/// ListOffsets (key 2): DESCRIBE on each topic.
pub(super) fn list(mut call: Call<'_, '_>) -> Outcome {
    let mut request: ListOffsetsRequest = call.decode()?;
    let refusals = call.take_denied(Operation::Describe, &mut request.topics);
    call.settle(refusals.left(), &request, move |response: &mut ListOffsetsResponse, _, _| {
        Ok(refusals.merge_into(&mut response.topics))
    })
}

/// OffsetForLeaderEpoch (key 23): CLUSTER_ACTION, as followers have it, or DESCRIBE on each topic.
pub(super) fn for_leader_epoch(mut call: Call<'_, '_>) -> Outcome {
    let mut request: OffsetForLeaderEpochRequest = call.decode()?;
    if call.may_quietly(Operation::ClusterAction, Resource::Cluster) {
        return call.pass::<OffsetForLeaderEpochResponse>();
    }
    let refusals = call.take_denied(Operation::Describe, &mut request.topics);
    call.settle(refusals.left(), &request, move |response: &mut OffsetForLeaderEpochResponse, _, _| {
        Ok(refusals.merge_into(&mut response.topics))
    })
}

/// OffsetCommit (key 8): READ on the group and on each topic.
pub(super) fn commit(mut call: Call<'_, '_>) -> Outcome {
    let mut request: OffsetCommitRequest = call.decode()?;
    let refusals = match call.refusal(Operation::Read, Resource::Group(&request.group_id), GROUP_DENIED) {
        Some(error) => Refusals::take_all(&mut request.topics, error),
        None => call.take_denied(Operation::Read, &mut request.topics),
    };
    call.settle(refusals.left(), &request, move |response: &mut OffsetCommitResponse, _, _| {
        Ok(refusals.merge_into(&mut response.topics))
    })
}

/// OffsetDelete (key 47): DELETE on the group, READ on each topic.
pub(super) fn delete(mut call: Call<'_, '_>) -> Outcome {
    let mut request: OffsetDeleteRequest = call.decode()?;
    if let Some(error) = call.refusal(Operation::Delete, Resource::Group(&request.group_id), GROUP_DENIED) {
        return call.answer(&OffsetDeleteResponse::default().with_error_code(error.code()));
    }
    let refusals = call.take_denied(Operation::Read, &mut request.topics);
    call.settle(refusals.left(), &request, move |response: &mut OffsetDeleteResponse, _, _| {
        if response.error_code != 0 {
            return Ok(false);
        }
        Ok(refusals.merge_into(&mut response.topics))
    })
}

/// OffsetFetch (key 9): DESCRIBE on each group and topic; no topics means all, and is filtered.
pub(super) fn fetch(call: Call<'_, '_>) -> Outcome {
    if call.version() < 8 { fetch_one_group(call) } else { fetch_groups(call) }
}

/// The layout of one group, up to v7.
fn fetch_one_group(mut call: Call<'_, '_>) -> Outcome {
    let mut request: OffsetFetchRequest = call.decode()?;
    let denied = call.refusal(Operation::Describe, Resource::Group(&request.group_id), GROUP_DENIED);
    if let Some(error) = denied.filter(|_| call.version() >= 2) {
        return call.answer(&OffsetFetchResponse::default().with_error_code(error.code()));
    }
    let Some(topics) = request.topics.as_mut() else {
        return match denied {
            // There is no asking for all topics in v1.
            Some(error) => call.answer(&OffsetFetchResponse::default().with_error_code(error.code())),
            None => call.pass_then(|response: &mut OffsetFetchResponse, scope, _| {
                Ok(keep_described(&mut response.topics, scope))
            }),
        };
    };
    let refusals = match denied {
        Some(error) => Refusals::take_all(topics, error),
        None => call.take_denied(Operation::Describe, topics),
    };
    call.settle(refusals.left(), &request, move |response: &mut OffsetFetchResponse, _, _| {
        if response.error_code != 0 {
            return Ok(false);
        }
        Ok(refusals.merge_into::<OffsetFetchResponseTopic>(&mut response.topics))
    })
}

/// The layout of several groups, from v8 on.
fn fetch_groups(mut call: Call<'_, '_>) -> Outcome {
    let mut request: OffsetFetchRequest = call.decode()?;
    let refusals = GroupRefusals::take(&mut call, &mut request.groups);
    call.settle(refusals.left(), &request, move |response: &mut OffsetFetchResponse, scope, _| {
        Ok(refusals.merge_into(&mut response.groups, scope))
    })
}
