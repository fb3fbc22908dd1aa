//! The cluster itself: coordinators, brokers, the quorum, features, leaders, replicas, log directories.
//!
//! But for FindCoordinator and DescribeCluster, which every client needs, all of it needs rights on
//! the cluster.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_partition_reassignments_response as reassigned;
use kafka_protocol::messages::alter_replica_log_dirs_response as moved;
use kafka_protocol::messages::elect_leaders_response as elected;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_partition_reassignments_response as ongoing;
use kafka_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeClusterRequest, DescribeClusterResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeQuorumRequest, DescribeQuorumResponse,
    ElectLeadersRequest, ElectLeadersResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, RemoveRaftVoterRequest,
    RemoveRaftVoterResponse, UnregisterBrokerRequest, UnregisterBrokerResponse, UpdateFeaturesRequest,
    UpdateFeaturesResponse,
};
use kafka_protocol::protocol::StrBytes;
use tidegate_core::words::{Operation, Resource};

use super::super::addresses;
use super::call::{Call, Left, Outcome};
use super::operations;
use super::outcome::message;
use super::refuse::{merge, take_refused};

const CLUSTER_DENIED: ResponseError = ResponseError::ClusterAuthorizationFailed;

fn on_cluster(call: &mut Call<'_, '_>, operation: Operation) -> Option<ResponseError> {
    call.refusal(operation, Resource::Cluster, CLUSTER_DENIED)
}

/// Kafka's `CoordinatorType`, with the first version that knows it.
mod coordinator_type {
    pub(super) const GROUP: i8 = 0;
    pub(super) const TRANSACTION: i8 = 1;
    pub(super) const SHARE: i8 = 2;
    pub(super) const SHARE_SINCE: i16 = 6;
}

fn refuse_coordinator(call: &mut Call<'_, '_>, kind: i8, key: &str) -> Option<ResponseError> {
    use coordinator_type::{GROUP, SHARE, SHARE_SINCE, TRANSACTION};
    let (resource, error) = match kind {
        GROUP => (Resource::Group(key), ResponseError::GroupAuthorizationFailed),
        TRANSACTION => (Resource::TransactionalId(key), ResponseError::TransactionalIdAuthorizationFailed),
        // Only brokers look for the coordinator of a share partition.
        SHARE if call.version() >= SHARE_SINCE => return on_cluster(call, Operation::ClusterAction),
        _ => return Some(ResponseError::InvalidRequest),
    };
    call.refusal(Operation::Describe, resource, error)
}

/// FindCoordinator (key 10): DESCRIBE on the group or transactional id. One key up to v3, many
/// from v4 on.
pub(super) fn find_coordinator(mut call: Call<'_, '_>) -> Outcome {
    let mut request: FindCoordinatorRequest = call.decode()?;
    let kind = request.key_type;
    if call.version() < 4 {
        if let Some(error) = refuse_coordinator(&mut call, kind, &request.key) {
            return call.answer(
                &FindCoordinatorResponse::default()
                    .with_error_code(error.code())
                    .with_error_message(message(error))
                    .with_node_id((-1).into())
                    .with_port(-1),
            );
        }
        return call.pass_then(|response: &mut FindCoordinatorResponse, scope, _| {
            addresses::rewrite_coordinators(scope.addresses, response)?;
            Ok(true)
        });
    }
    let asked = request.coordinator_keys.clone();
    let refused: Vec<_> = take_refused(&mut request.coordinator_keys, |key| refuse_coordinator(&mut call, kind, key))
        .into_iter()
        .map(|(key, error)| {
            Coordinator::default()
                .with_key(key)
                .with_node_id((-1).into())
                .with_port(-1)
                .with_error_code(error.code())
                .with_error_message(message(error))
        })
        .collect();
    let left = Left::of(!refused.is_empty(), !request.coordinator_keys.is_empty());
    call.settle(left, &request, move |response: &mut FindCoordinatorResponse, scope, _| {
        addresses::rewrite_coordinators(scope.addresses, response)?;
        merge(&mut response.coordinators, refused, &asked, |coordinator| coordinator.key.clone());
        Ok(true)
    })
}

/// DescribeCluster (key 60). Brokers are told to everyone; controllers are not reached through the
/// gateway, which answers as a broker does that was taken for one.
pub(super) fn describe(call: Call<'_, '_>) -> Outcome {
    const BROKERS: i8 = 1;
    const CONTROLLERS: i8 = 2;
    let request: DescribeClusterRequest = call.decode()?;
    let refusal = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => Some((
            ResponseError::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                .to_owned(),
        )),
        other => Some((ResponseError::UnsupportedEndpointType, format!("Unsupported endpoint type {other}"))),
    };
    if let Some((error, reason)) = refusal {
        let response = DescribeClusterResponse::default().with_error_code(error.code());
        return call.answer(&response.with_error_message(Some(StrBytes::from_string(reason))));
    }
    call.pass_then(move |response: &mut DescribeClusterResponse, scope, _| {
        addresses::rewrite_cluster(scope.addresses, response)?;
        if request.include_cluster_authorized_operations {
            response.cluster_authorized_operations = operations::authorised_on_cluster(scope);
        }
        Ok(true)
    })
}

/// DescribeQuorum (key 55): DESCRIBE on the cluster.
pub(super) fn describe_quorum(mut call: Call<'_, '_>) -> Outcome {
    let _: DescribeQuorumRequest = call.decode()?;
    if let Some(error) = on_cluster(&mut call, Operation::Describe) {
        let response = DescribeQuorumResponse::default().with_error_code(error.code());
        let words = (call.version() >= 2).then(|| message(error)).flatten();
        return call.answer(&response.with_error_message(words));
    }
    call.pass_then(|response: &mut DescribeQuorumResponse, _, _| Ok(addresses::remove_quorum_listeners(response)))
}

/// UpdateFeatures (key 57): ALTER on the cluster.
pub(super) fn update_features(mut call: Call<'_, '_>) -> Outcome {
    let _: UpdateFeaturesRequest = call.decode()?;
    let refusal = on_cluster(&mut call, Operation::Alter);
    call.decide(refusal, |error| {
        UpdateFeaturesResponse::default().with_error_code(error.code()).with_error_message(message(error))
    })
}

/// UnregisterBroker (key 64): ALTER on the cluster.
pub(super) fn unregister_broker(mut call: Call<'_, '_>) -> Outcome {
    let _: UnregisterBrokerRequest = call.decode()?;
    let refusal = on_cluster(&mut call, Operation::Alter);
    call.decide(refusal, |error| UnregisterBrokerResponse::default().with_error_code(error.code()))
}

/// AddRaftVoter (key 80): ALTER on the cluster.
pub(super) fn add_raft_voter(mut call: Call<'_, '_>) -> Outcome {
    let _: AddRaftVoterRequest = call.decode()?;
    let refusal = on_cluster(&mut call, Operation::Alter);
    call.decide(refusal, |error| {
        AddRaftVoterResponse::default().with_error_code(error.code()).with_error_message(message(error))
    })
}

/// RemoveRaftVoter (key 81): ALTER on the cluster.
pub(super) fn remove_raft_voter(mut call: Call<'_, '_>) -> Outcome {
    let _: RemoveRaftVoterRequest = call.decode()?;
    let refusal = on_cluster(&mut call, Operation::Alter);
    call.decide(refusal, |error| {
        RemoveRaftVoterResponse::default().with_error_code(error.code()).with_error_message(message(error))
    })
}

/// ElectLeaders (key 43): ALTER on the cluster.
pub(super) fn elect_leaders(mut call: Call<'_, '_>) -> Outcome {
    let request: ElectLeadersRequest = call.decode()?;
    let top_level = call.version() >= 1;
    let refusal = on_cluster(&mut call, Operation::Alter);
    call.decide(refusal, |error| {
        let partition = |id| {
            let result = elected::PartitionResult::default().with_partition_id(id).with_error_code(error.code());
            result.with_error_message(message(error))
        };
        let results = request.topic_partitions.unwrap_or_default().into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(partition).collect();
            elected::ReplicaElectionResult::default().with_topic(topic.topic).with_partition_result(partitions)
        });
        ElectLeadersResponse::default()
            .with_error_code(if top_level { error.code() } else { 0 })
            .with_replica_election_results(results.collect())
    })
}

/// AlterPartitionReassignments (key 45): ALTER on the cluster.
pub(super) fn alter_reassignments(mut call: Call<'_, '_>) -> Outcome {
    let request: AlterPartitionReassignmentsRequest = call.decode()?;
    let refusal = on_cluster(&mut call, Operation::Alter);
    call.decide(refusal, |error| {
        let partition = |index| {
            let response = reassigned::ReassignablePartitionResponse::default().with_partition_index(index);
            response.with_error_code(error.code()).with_error_message(message(error))
        };
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| partition(p.partition_index)).collect();
            reassigned::ReassignableTopicResponse::default().with_name(topic.name).with_partitions(partitions)
        });
        AlterPartitionReassignmentsResponse::default()
            .with_error_code(error.code())
            .with_error_message(message(error))
            .with_responses(topics.collect())
    })
}

/// ListPartitionReassignments (key 46): DESCRIBE on the cluster.
pub(super) fn list_reassignments(mut call: Call<'_, '_>) -> Outcome {
    let request: ListPartitionReassignmentsRequest = call.decode()?;
    let refusal = on_cluster(&mut call, Operation::Describe);
    call.decide(refusal, |error| {
        let partition = |index| ongoing::OngoingPartitionReassignment::default().with_partition_index(index);
        let topics = request.topics.unwrap_or_default().into_iter().map(|topic| {
            let partitions = topic.partition_indexes.into_iter().map(partition).collect();
            ongoing::OngoingTopicReassignment::default().with_name(topic.name).with_partitions(partitions)
        });
        ListPartitionReassignmentsResponse::default()
            .with_error_code(error.code())
            .with_error_message(message(error))
            .with_topics(topics.collect())
    })
}

/// AlterReplicaLogDirs (key 34): ALTER on the cluster.
pub(super) fn alter_log_dirs(mut call: Call<'_, '_>) -> Outcome {
    let request: AlterReplicaLogDirsRequest = call.decode()?;
    let refusal = on_cluster(&mut call, Operation::Alter);
    call.decide(refusal, |error| {
        let partition = |index| {
            let result = moved::AlterReplicaLogDirPartitionResult::default().with_partition_index(index);
            result.with_error_code(error.code())
        };
        let results = request.dirs.into_iter().flat_map(|dir| dir.topics).map(|topic| {
            let partitions = topic.partitions.into_iter().map(partition).collect();
            moved::AlterReplicaLogDirTopicResult::default().with_topic_name(topic.name).with_partitions(partitions)
        });
        AlterReplicaLogDirsResponse::default().with_results(results.collect())
    })
}

/// DescribeLogDirs (key 35): DESCRIBE on the cluster. Up to v2 a refusal is an empty answer.
pub(super) fn describe_log_dirs(mut call: Call<'_, '_>) -> Outcome {
    let _: DescribeLogDirsRequest = call.decode()?;
    let says_error = call.version() >= 3;
    let refusal = on_cluster(&mut call, Operation::Describe);
    call.decide(refusal, |error| {
        DescribeLogDirsResponse::default().with_error_code(if says_error { error.code() } else { 0 })
    })
}
