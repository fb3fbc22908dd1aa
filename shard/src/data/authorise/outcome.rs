//! Where each response carries its error codes, and what a broker says about each in words.
//!
//! The evidence names the errors that the upstream answered with; one line here per response.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_core::decode::Body;

use super::super::stage::Draft;

/// Distinct upstream error codes noted for one exchange.
const UPSTREAM_ERRORS_MAX: usize = 16;

/// A response that this stage reads, filters and writes.
pub(super) trait Answer: Body + Encodable + Default {
    /// Shows every error code in the response, 0 where there is none.
    fn errors(&self, see: &mut dyn FnMut(i16));
}

/// Notes the response's distinct errors.
pub(super) fn note_upstream_errors<R: Answer>(response: &R, draft: &mut Draft) {
    response.errors(&mut |code| {
        let code = i32::from(code);
        if code != 0 && draft.upstream_errors.len() < UPSTREAM_ERRORS_MAX && !draft.upstream_errors.contains(&code) {
            draft.upstream_errors.push(code);
        }
    });
}

/// A broker's words for an error, as its `Errors` table has them.
pub(super) fn message(error: ResponseError) -> Option<StrBytes> {
    Some(StrBytes::from_static_str(match error {
        ResponseError::TopicAuthorizationFailed => "Topic authorization failed.",
        ResponseError::GroupAuthorizationFailed => "Group authorization failed.",
        ResponseError::ClusterAuthorizationFailed => "Cluster authorization failed.",
        ResponseError::TransactionalIdAuthorizationFailed => "Transactional Id authorization failed.",
        ResponseError::DelegationTokenAuthorizationFailed => "Delegation Token authorization failed.",
        ResponseError::UnknownTopicId => "This server does not host this topic ID.",
        ResponseError::InvalidRequest => {
            "This most likely occurs because of a request being malformed by the client library or the message was sent \
             to an incompatible broker. See the broker logs for more details."
        }
        _ => return None,
    }))
}

macro_rules! see {
    ($see:ident, $item:expr, $field:ident) => { $see($item.$field) };
    ($see:ident, $item:expr, $list:ident . $($rest:ident).+) => {
        for item in &$item.$list {
            see!($see, item, $($rest).+);
        }
    };
}

macro_rules! errors {
    ($($response:ident: $($($field:ident).+),*;)*) => {$(
        impl Answer for $response {
            fn errors(&self, see: &mut dyn FnMut(i16)) {
                $(see!(see, self, $($field).+);)*
            }
        }
    )*};
}

errors! {
    MetadataResponse: error_code, topics.error_code, topics.partitions.error_code;
    DescribeTopicPartitionsResponse: topics.error_code, topics.partitions.error_code;
    FindCoordinatorResponse: error_code, coordinators.error_code;
    DescribeClusterResponse: error_code;
    DescribeQuorumResponse: error_code, topics.partitions.error_code;
    UpdateFeaturesResponse: error_code, results.error_code;
    UnregisterBrokerResponse: error_code;
    AddRaftVoterResponse: error_code;
    RemoveRaftVoterResponse: error_code;

    ListOffsetsResponse: topics.partitions.error_code;
    OffsetForLeaderEpochResponse: topics.partitions.error_code;
    OffsetCommitResponse: topics.partitions.error_code;
    OffsetFetchResponse: error_code, topics.partitions.error_code, groups.error_code, groups.topics.partitions.error_code;
    OffsetDeleteResponse: error_code, topics.partitions.error_code;

    JoinGroupResponse: error_code;
    SyncGroupResponse: error_code;
    HeartbeatResponse: error_code;
    LeaveGroupResponse: error_code, members.error_code;
    DescribeGroupsResponse: groups.error_code;
    ListGroupsResponse: error_code;
    DeleteGroupsResponse: results.error_code;
    ConsumerGroupHeartbeatResponse: error_code;
    ConsumerGroupDescribeResponse: groups.error_code;

    InitProducerIdResponse: error_code;
    AddPartitionsToTxnResponse:
        error_code,
        results_by_topic_v3_and_below.results_by_partition.partition_error_code,
        results_by_transaction.topic_results.results_by_partition.partition_error_code;
    AddOffsetsToTxnResponse: error_code;
    EndTxnResponse: error_code;
    TxnOffsetCommitResponse: topics.partitions.error_code;
    DescribeProducersResponse: topics.partitions.error_code;
    DescribeTransactionsResponse: transaction_states.error_code;
    ListTransactionsResponse: error_code;

    CreateTopicsResponse: topics.error_code;
    DeleteTopicsResponse: responses.error_code;
    CreatePartitionsResponse: results.error_code;
    DeleteRecordsResponse: topics.partitions.error_code;
    ElectLeadersResponse: error_code, replica_election_results.partition_result.error_code;
    AlterPartitionReassignmentsResponse: error_code, responses.partitions.error_code;
    ListPartitionReassignmentsResponse: error_code;
    AlterReplicaLogDirsResponse: results.partitions.error_code;
    DescribeLogDirsResponse: error_code, results.error_code;

    DescribeConfigsResponse: results.error_code;
    AlterConfigsResponse: responses.error_code;
    IncrementalAlterConfigsResponse: responses.error_code;
    ListConfigResourcesResponse: error_code;
    DescribeClientQuotasResponse: error_code;
    AlterClientQuotasResponse: entries.error_code;

    DescribeAclsResponse: error_code;
    CreateAclsResponse: results.error_code;
    DeleteAclsResponse: filter_results.error_code, filter_results.matching_acls.error_code;
    DescribeUserScramCredentialsResponse: error_code, results.error_code;
    AlterUserScramCredentialsResponse: results.error_code;
    CreateDelegationTokenResponse: error_code;
    RenewDelegationTokenResponse: error_code;
    ExpireDelegationTokenResponse: error_code;
    DescribeDelegationTokenResponse: error_code;

    ShareGroupHeartbeatResponse: error_code;
    ShareGroupDescribeResponse: groups.error_code;
    ShareAcknowledgeResponse: error_code, responses.partitions.error_code;
    DescribeShareGroupOffsetsResponse: groups.error_code, groups.topics.partitions.error_code;
    AlterShareGroupOffsetsResponse: error_code, responses.partitions.error_code;
    DeleteShareGroupOffsetsResponse: error_code, responses.error_code;
}
