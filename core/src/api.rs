//! The table of Kafka APIs that Tidegate enforces, and the versions of each.
//!
//! Unknown is denied: what is not in the table is not advertised and not relayed. The gateway
//! advertises the intersection of the upstream's range with this table's.

use std::sync::LazyLock;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::VersionRange;

/// How many keys have a name of their own; Kafka has under a hundred.
const NAMES_MAX: i16 = 128;

/// The API's name, as Kafka's protocol guide has it.
#[must_use]
pub fn name(api: ApiKey) -> &'static str {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        (0..NAMES_MAX)
            .map(|key| ApiKey::try_from(key).map_or_else(|()| String::new(), |api| format!("{api:?}")))
            .collect()
    });
    usize::try_from(api as i16).ok().and_then(|key| NAMES.get(key)).map_or("", String::as_str)
}

/// What the gateway does with an API's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handling {
    /// Answered by the gateway itself: versions and SASL.
    Local,
    /// Carries records: authorised, scanned, masked.
    Records,
    /// The request names resources: decoded and authorised; the response may be filtered.
    Inspected,
    /// Names nothing that policy protects beyond what authentication gives: relayed as it came.
    Opaque,
}

/// How `api` is handled, or `None` where it is never served to clients (broker-to-broker and
/// controller APIs, and what a client could use to leave the gateway's authority).
#[must_use]
pub const fn handling(api: ApiKey) -> Option<Handling> {
    use ApiKey as A;
    use Handling::{Inspected, Local, Opaque, Records};
    Some(match api {
        A::ApiVersions | A::SaslHandshake | A::SaslAuthenticate => Local,
        A::Produce | A::Fetch | A::ShareFetch => Records,
        A::GetTelemetrySubscriptions | A::PushTelemetry => Opaque,
        A::ListOffsets
        | A::Metadata
        | A::OffsetCommit
        | A::OffsetFetch
        | A::FindCoordinator
        | A::JoinGroup
        | A::Heartbeat
        | A::LeaveGroup
        | A::SyncGroup
        | A::DescribeGroups
        | A::ListGroups
        | A::CreateTopics
        | A::DeleteTopics
        | A::DeleteRecords
        | A::InitProducerId
        | A::OffsetForLeaderEpoch
        | A::AddPartitionsToTxn
        | A::AddOffsetsToTxn
        | A::EndTxn
        | A::TxnOffsetCommit
        | A::DescribeAcls
        | A::CreateAcls
        | A::DeleteAcls
        | A::DescribeConfigs
        | A::AlterConfigs
        | A::AlterReplicaLogDirs
        | A::DescribeLogDirs
        | A::CreatePartitions
        | A::CreateDelegationToken
        | A::RenewDelegationToken
        | A::ExpireDelegationToken
        | A::DescribeDelegationToken
        | A::DeleteGroups
        | A::ElectLeaders
        | A::IncrementalAlterConfigs
        | A::AlterPartitionReassignments
        | A::ListPartitionReassignments
        | A::OffsetDelete
        | A::DescribeClientQuotas
        | A::AlterClientQuotas
        | A::DescribeUserScramCredentials
        | A::AlterUserScramCredentials
        | A::DescribeQuorum
        | A::UpdateFeatures
        | A::DescribeCluster
        | A::DescribeProducers
        | A::UnregisterBroker
        | A::DescribeTransactions
        | A::ListTransactions
        | A::ConsumerGroupHeartbeat
        | A::ConsumerGroupDescribe
        | A::DescribeTopicPartitions
        | A::ListConfigResources
        | A::ShareGroupHeartbeat
        | A::ShareGroupDescribe
        | A::ShareAcknowledge
        | A::DescribeShareGroupOffsets
        | A::AlterShareGroupOffsets
        | A::DeleteShareGroupOffsets
        | A::AddRaftVoter
        | A::RemoveRaftVoter => Inspected,
        _ => return None,
    })
}

/// The versions of `api` that Tidegate enforces; `None` where it serves none.
#[must_use]
pub fn enforced(api: ApiKey) -> Option<VersionRange> {
    handling(api).map(|_| {
        let range = api.valid_versions();
        VersionRange { min: range.min, max: range.max.min(highest_readable(api)) }
    })
}

/// The highest version in which `kafka-protocol` 0.18 reads requests of `api`, where its table of
/// APIs names a higher one. What cannot be read cannot be enforced.
const fn highest_readable(api: ApiKey) -> i16 {
    match api {
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 9,
        ApiKey::InitProducerId => 5,
        _ => i16::MAX,
    }
}

/// Whether `version` of `api` is one that Tidegate enforces.
#[must_use]
pub fn is_enforced(api: ApiKey, version: i16) -> bool {
    enforced(api).is_some_and(|range| (range.min..=range.max).contains(&version))
}

/// Whether the request header of this version carries tagged fields (header v2).
#[must_use]
pub fn request_header_is_flexible(api: ApiKey, version: i16) -> bool {
    api.request_header_version(version) >= 2
}

/// Whether the response header of this version carries tagged fields (header v1). Never so for
/// ApiVersions: a client must be able to read it before it knows the broker's versions (KIP-511).
#[must_use]
pub fn response_header_is_flexible(api: ApiKey, version: i16) -> bool {
    !matches!(api, ApiKey::ApiVersions) && api.response_header_version(version) >= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_to_broker_apis_are_not_served() {
        for api in [
            ApiKey::Vote,
            ApiKey::BrokerRegistration,
            ApiKey::Envelope,
            ApiKey::WriteTxnMarkers,
            ApiKey::AlterPartition,
        ] {
            assert_eq!(enforced(api), None, "{api:?}");
            assert!(!is_enforced(api, 0));
        }
    }

    #[test]
    fn versions_whose_requests_cannot_be_read_are_not_enforced() {
        use kafka_protocol::messages::{InitProducerIdRequest, OffsetCommitRequest, OffsetFetchRequest};
        use kafka_protocol::protocol::Message;
        let readable = [
            (ApiKey::OffsetCommit, OffsetCommitRequest::VERSIONS),
            (ApiKey::OffsetFetch, OffsetFetchRequest::VERSIONS),
            (ApiKey::InitProducerId, InitProducerIdRequest::VERSIONS),
        ];
        for (api, versions) in readable {
            assert_eq!(enforced(api).unwrap().max, versions.max, "{api:?}");
        }
    }

    #[test]
    fn versions_outside_the_table_are_not_enforced() {
        assert!(is_enforced(ApiKey::Fetch, 18));
        assert!(!is_enforced(ApiKey::Fetch, 19));
        assert!(!is_enforced(ApiKey::Fetch, -1));
    }
}
