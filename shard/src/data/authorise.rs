//! Authorise: the third stage of a request. May the principal do what this request asks?
//!
//! Every API whose messages are [`tidegate_core::api::Handling::Inspected`] is decided here, each in
//! one place, with the operations that Apache Kafka 4 asks its authorizer for and the error codes
//! that it answers with (`KafkaApis` and `ControllerApis` with `StandardAuthorizer`). APIs that
//! carry records have a stage of their own.
//!
//! Reading order: [`call`] (one request, and the ways it may end), [`refuse`] and [`shapes`] (taking
//! refused items out, putting their refusals into the response), then the families: [`metadata`],
//! [`topic_pages`], [`groups`], [`offsets`] and [`group_offsets`], [`transactions`], [`share`],
//! [`topics_admin`], [`configs`], [`cluster`], [`credentials`]. [`operations`] counts what policy
//! allows into bit fields, [`outcome`] knows where responses carry errors.
//!
//! Invariants:
//! - The upstream never sees what was refused: it is taken out of the request first. Where nothing
//!   is left the gateway answers by itself. (Metadata is asked all the same, about no topics, since
//!   its response names the brokers; and topics named by id only are refused in its response.)
//! - What is refused in part is answered item by item, in the request's order.
//! - A response shows no broker's address but the gateway's, and no bit field of operations but
//!   policy's.
//! - What nothing had to change goes as the very bytes that came.

use kafka_protocol::messages::ApiKey;

use super::stage::{Draft, Request, Scope, StageError, Verdict};

mod call;
mod cluster;
mod configs;
mod credentials;
mod group_offsets;
mod groups;
mod metadata;
mod offsets;
mod operations;
mod outcome;
mod refuse;
mod shapes;
mod share;
#[cfg(test)]
mod tests;
mod topic_pages;
mod topics_admin;
mod transactions;

use call::{Call, Outcome};

/// Decides about one request and notes every decision in `draft`.
///
/// Where this returns [`Verdict::Resolve`] nothing was noted yet: call again with the same request
/// and `scope.may_resolve` false.
///
/// # Errors
/// [`StageError::Request`] where the body cannot be decoded, or the API is not one of this stage's:
/// the connection is to be closed.
pub fn authorise(request: &Request, scope: &mut Scope<'_>, draft: &mut Draft) -> Result<Verdict, StageError> {
    let call = Call::new(request, scope, draft);
    match family(request.api()) {
        Some(decide) => decide(call),
        None => Err(call.malformed("it is not authorised here".to_owned())),
    }
}

/// The function that decides about an API.
fn family(api: ApiKey) -> Option<for<'c, 's> fn(Call<'c, 's>) -> Outcome> {
    use ApiKey as A;
    Some(match api {
        A::Metadata => metadata::metadata,
        A::DescribeTopicPartitions => topic_pages::describe,

        A::JoinGroup => groups::join,
        A::SyncGroup => groups::sync,
        A::Heartbeat => groups::heartbeat,
        A::LeaveGroup => groups::leave,
        A::DescribeGroups => groups::describe,
        A::ListGroups => groups::list,
        A::DeleteGroups => groups::delete,
        A::ConsumerGroupHeartbeat => groups::consumer_heartbeat,
        A::ConsumerGroupDescribe => groups::consumer_describe,

        A::ListOffsets => offsets::list,
        A::OffsetForLeaderEpoch => offsets::for_leader_epoch,
        A::OffsetCommit => offsets::commit,
        A::OffsetFetch => offsets::fetch,
        A::OffsetDelete => offsets::delete,

        A::InitProducerId => transactions::init_producer_id,
        A::AddPartitionsToTxn => transactions::add_partitions,
        A::AddOffsetsToTxn => transactions::add_offsets,
        A::EndTxn => transactions::end,
        A::TxnOffsetCommit => transactions::commit_offsets,
        A::DescribeProducers => transactions::describe_producers,
        A::DescribeTransactions => transactions::describe,
        A::ListTransactions => transactions::list,

        A::ShareGroupHeartbeat => share::heartbeat,
        A::ShareGroupDescribe => share::describe,
        A::ShareAcknowledge => share::acknowledge,
        A::DescribeShareGroupOffsets => share::describe_offsets,
        A::AlterShareGroupOffsets => share::alter_offsets,
        A::DeleteShareGroupOffsets => share::delete_offsets,

        A::CreateTopics => topics_admin::create,
        A::DeleteTopics => topics_admin::delete,
        A::CreatePartitions => topics_admin::create_partitions,
        A::DeleteRecords => topics_admin::delete_records,

        A::DescribeConfigs => configs::describe,
        A::AlterConfigs => configs::alter,
        A::IncrementalAlterConfigs => configs::alter_incrementally,
        A::ListConfigResources => configs::list,
        A::DescribeClientQuotas => configs::describe_quotas,
        A::AlterClientQuotas => configs::alter_quotas,

        A::FindCoordinator => cluster::find_coordinator,
        A::DescribeCluster => cluster::describe,
        A::DescribeQuorum => cluster::describe_quorum,
        A::UpdateFeatures => cluster::update_features,
        A::UnregisterBroker => cluster::unregister_broker,
        A::AddRaftVoter => cluster::add_raft_voter,
        A::RemoveRaftVoter => cluster::remove_raft_voter,
        A::ElectLeaders => cluster::elect_leaders,
        A::AlterPartitionReassignments => cluster::alter_reassignments,
        A::ListPartitionReassignments => cluster::list_reassignments,
        A::AlterReplicaLogDirs => cluster::alter_log_dirs,
        A::DescribeLogDirs => cluster::describe_log_dirs,

        A::DescribeAcls => credentials::describe_acls,
        A::CreateAcls => credentials::create_acls,
        A::DeleteAcls => credentials::delete_acls,
        A::DescribeUserScramCredentials => credentials::describe_scram,
        A::AlterUserScramCredentials => credentials::alter_scram,
        A::CreateDelegationToken => credentials::create_token,
        A::RenewDelegationToken => credentials::renew_token,
        A::ExpireDelegationToken => credentials::expire_token,
        A::DescribeDelegationToken => credentials::describe_tokens,
        _ => return None,
    })
}
