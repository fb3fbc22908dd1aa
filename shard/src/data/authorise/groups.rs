//! Consumer groups, classic and new (KIP-848): membership, descriptions, lists, deletion.
//!
//! Members need READ on the group; who looks at one needs DESCRIBE; who deletes one, DELETE.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response as consumer;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest, SyncGroupResponse,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tidegate_core::words::{Operation, Resource};

use super::super::stage::{Draft, Scope};
use super::call::{Call, Left, Outcome};
use super::operations::{self, NOT_ASKED};
use super::refuse::{merge, take_refused};

const GROUP_DENIED: ResponseError = ResponseError::GroupAuthorizationFailed;
const TOPIC_DENIED: ResponseError = ResponseError::TopicAuthorizationFailed;

/// A broker's words where a described group is assigned topics that may not be described.
pub(super) const HIDDEN_TOPICS: &str =
    "The group has described topic(s) that the client is not authorized to describe.";

fn membership(call: &mut Call<'_, '_>, group: &GroupId) -> Option<ResponseError> {
    call.refusal(Operation::Read, Resource::Group(group), GROUP_DENIED)
}

/// JoinGroup (key 11).
pub(super) fn join(mut call: Call<'_, '_>) -> Outcome {
    let request: JoinGroupRequest = call.decode()?;
    let refusal = membership(&mut call, &request.group_id);
    // A protocol's name may be null from v7 on only.
    let protocol = (call.version() < 7).then(StrBytes::new);
    call.decide(refusal, |error| {
        JoinGroupResponse::default().with_error_code(error.code()).with_generation_id(-1).with_protocol_name(protocol)
    })
}

/// SyncGroup (key 14).
pub(super) fn sync(mut call: Call<'_, '_>) -> Outcome {
    let request: SyncGroupRequest = call.decode()?;
    let refusal = membership(&mut call, &request.group_id);
    call.decide(refusal, |error| SyncGroupResponse::default().with_error_code(error.code()))
}

/// Heartbeat (key 12).
pub(super) fn heartbeat(mut call: Call<'_, '_>) -> Outcome {
    let request: HeartbeatRequest = call.decode()?;
    let refusal = membership(&mut call, &request.group_id);
    call.decide(refusal, |error| HeartbeatResponse::default().with_error_code(error.code()))
}

/// LeaveGroup (key 13).
pub(super) fn leave(mut call: Call<'_, '_>) -> Outcome {
    let request: LeaveGroupRequest = call.decode()?;
    let refusal = membership(&mut call, &request.group_id);
    call.decide(refusal, |error| LeaveGroupResponse::default().with_error_code(error.code()))
}

/// Whether a member may subscribe to topics: all of those named need DESCRIBE, and one that is
/// denied refuses the request.
pub(super) fn subscription(call: &mut Call<'_, '_>, topics: Option<&[TopicName]>) -> Option<ResponseError> {
    let denied = topics.unwrap_or_default().iter().filter(|topic| {
        let resource = Resource::topic(topic);
        call.refusal(Operation::Describe, resource, TOPIC_DENIED).is_some()
    });
    (denied.count() > 0).then_some(TOPIC_DENIED)
}

/// ConsumerGroupHeartbeat (key 68).
///
/// From v1 on a member may subscribe by a regular expression, which the broker evaluates against
/// the rights of whoever asks it: here the gateway's own, which are wide. So it is allowed only to
/// who may describe every topic, by a grant that names them all, and refused like a topic else.
pub(super) fn consumer_heartbeat(mut call: Call<'_, '_>) -> Outcome {
    let request: ConsumerGroupHeartbeatRequest = call.decode()?;
    let mut refusal = membership(&mut call, &request.group_id);
    if refusal.is_none() {
        refusal = subscription(&mut call, request.subscribed_topic_names.as_deref());
    }
    if refusal.is_none() && request.subscribed_topic_regex.is_some_and(|regex| !regex.is_empty()) {
        let decision = operations::on_every_topic(call.scope, Operation::Describe);
        let allowed = call.draft.decided(Operation::Describe, Resource::topic("*"), &decision);
        refusal = (!allowed).then_some(TOPIC_DENIED);
    }
    call.decide(refusal, |error| ConsumerGroupHeartbeatResponse::default().with_error_code(error.code()))
}

/// DescribeGroups (key 15).
pub(super) fn describe(mut call: Call<'_, '_>) -> Outcome {
    let mut request: DescribeGroupsRequest = call.decode()?;
    let asked = request.groups.clone();
    let refused: Vec<_> = take_refused(&mut request.groups, |group| {
        call.refusal(Operation::Describe, Resource::Group(group), GROUP_DENIED)
    })
    .into_iter()
    .map(|(group, error)| DescribedGroup::default().with_group_id(group).with_error_code(error.code()))
    .collect();
    let operations = request.include_authorized_operations;
    let left = Left::of(!refused.is_empty(), !request.groups.is_empty());
    call.settle(left, &request, move |response: &mut DescribeGroupsResponse, scope, _| {
        for group in response.groups.iter_mut().filter(|_| operations) {
            group.authorized_operations = group_operations(scope, &group.group_id, group.error_code);
        }
        Ok(merge(&mut response.groups, refused, &asked, |group| group.group_id.clone()) || operations)
    })
}

/// What a described group's bit field of operations says, where the request asked for it.
pub(super) fn group_operations(scope: &Scope<'_>, group: &GroupId, error_code: i16) -> i32 {
    if error_code == 0 { operations::authorised(scope, Resource::Group(group)) } else { NOT_ASKED }
}

/// ConsumerGroupDescribe and ShareGroupDescribe. A group that holds a topic which may not be
/// described is refused with all that it holds. `|member|` yields the assignments of a member.
macro_rules! described {
    ($(#[$doc:meta])* $name:ident, $request:ty, $response:ty, $group:ty, |$member:ident| $assignments:expr) => {
        $(#[$doc])*
        pub(super) fn $name(mut call: Call<'_, '_>) -> Outcome {
            let mut request: $request = call.decode()?;
            let asked = request.group_ids.clone();
            let refused: Vec<_> = take_refused(&mut request.group_ids, |group| {
                call.refusal(Operation::Describe, Resource::Group(group), GROUP_DENIED)
            })
            .into_iter()
            .map(|(group, error)| <$group>::default().with_group_id(group).with_error_code(error.code()))
            .collect();
            let operations = request.include_authorized_operations;
            let left = Left::of(!refused.is_empty(), !request.group_ids.is_empty());
            call.settle(left, &request, move |response: &mut $response, scope, draft| {
                let mut changed = operations;
                for group in &mut response.groups {
                    let assignments = group.members.iter().flat_map(|$member| $assignments);
                    let topics = assignments.flat_map(|assignment| &assignment.topic_partitions);
                    if hides_topics(scope, draft, topics.map(|t| &**t.topic_name)) {
                        *group = <$group>::default()
                            .with_group_id(group.group_id.clone())
                            .with_error_code(TOPIC_DENIED.code())
                            .with_error_message(Some(HIDDEN_TOPICS.into()));
                        changed = true;
                    } else if operations {
                        group.authorized_operations = group_operations(scope, &group.group_id, group.error_code);
                    }
                }
                Ok(merge(&mut response.groups, refused, &asked, |group| group.group_id.clone()) || changed)
            })
        }
    };
}
pub(super) use described;

described! {
    /// ConsumerGroupDescribe (key 69): DESCRIBE on each group, and on the topics that its members hold
    /// or are to hold.
    consumer_describe, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, consumer::DescribedGroup,
    |member| [&member.assignment, &member.target_assignment]
}

/// Whether any of a described group's topics may not be described. The evidence names the first.
pub(super) fn hides_topics<'t>(
    scope: &Scope<'_>,
    draft: &mut Draft,
    mut topics: impl Iterator<Item = &'t str>,
) -> bool {
    let hidden = topics.find(|topic| !scope.may(Operation::Describe, Resource::topic(topic)));
    hidden.is_some_and(|topic| !scope.authorise(Operation::Describe, Resource::topic(topic), draft))
}

/// ListGroups (key 16): all to who may describe the cluster, else those that may be described.
pub(super) fn list(mut call: Call<'_, '_>) -> Outcome {
    let _: ListGroupsRequest = call.decode()?;
    if call.may_quietly(Operation::Describe, Resource::Cluster) {
        return call.pass::<ListGroupsResponse>();
    }
    call.pass_then(|response: &mut ListGroupsResponse, scope, _| {
        let all = response.groups.len();
        response.groups.retain(|group| scope.may(Operation::Describe, Resource::Group(&group.group_id)));
        Ok(response.groups.len() != all)
    })
}

/// DeleteGroups (key 42).
pub(super) fn delete(mut call: Call<'_, '_>) -> Outcome {
    let mut request: DeleteGroupsRequest = call.decode()?;
    let asked = request.groups_names.clone();
    let refused: Vec<_> = take_refused(&mut request.groups_names, |group| {
        call.refusal(Operation::Delete, Resource::Group(group), GROUP_DENIED)
    })
    .into_iter()
    .map(|(group, error)| DeletableGroupResult::default().with_group_id(group).with_error_code(error.code()))
    .collect();
    let left = Left::of(!refused.is_empty(), !request.groups_names.is_empty());
    call.settle(left, &request, move |response: &mut DeleteGroupsResponse, _, _| {
        Ok(merge(&mut response.results, refused, &asked, |result| result.group_id.clone()))
    })
}
