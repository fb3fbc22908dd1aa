//! The layouts of all messages that the gateway serves, in the notation of [`super::layout`]: name,
//! versions, first flexible version, fields. They follow `kafka-protocol`'s decoders, which follow
//! Kafka's message schemas; the tests compare each line with the decoder, version by version, so a
//! new release of either shows here.

use std::sync::LazyLock;

use kafka_protocol::messages::*;

use super::{Body, Layout, VisitMessage};

/// No version is flexible.
const NEVER: i16 = i16::MAX;

/// Implements [`Body`] for each message, and lists the messages.
macro_rules! layouts {
    ($($message:ident $min:literal..=$max:literal $flexible:tt: $line:literal;)*) => {
        $(
            impl Body for $message {
                fn layout() -> &'static Layout {
                    static LAYOUT: LazyLock<Layout> = LazyLock::new(|| Layout::read($min, $max, $flexible, $line));
                    &LAYOUT
                }
            }
        )*

        /// Visits every message of the table.
        pub fn each_message(visitor: &mut impl VisitMessage) {
            $(visitor.visit::<$message>(stringify!($message));)*
        }
    };
}

layouts! {
    AddOffsetsToTxnRequest 0..=4 3: "s 8 2 s";
    AddOffsetsToTxnResponse 0..=4 3: "4 2";
    AddPartitionsToTxnRequest 0..=5 3: "[s@4.. 8@4.. 2@4.. 1@4.. [s *4]@4..]@4.. s@..3 8@..3 2@..3 [s *4]@..3";
    AddPartitionsToTxnResponse 0..=5 3: "4 2@4.. [s@4.. [s [4 2]]@4..]@4.. [s [4 2]]@..3";
    AddRaftVoterRequest 0..=0 0: "s 4 4 16 [s s 2]";
    AddRaftVoterResponse 0..=0 0: "4 2 s";
    AlterClientQuotasRequest 0..=1 1: "[[s s] [s 8 1]] 1";
    AlterClientQuotasResponse 0..=1 1: "4 [2 s [s s]]";
    AlterConfigsRequest 0..=2 2: "[1 s [s s]] 1";
    AlterConfigsResponse 0..=2 2: "4 [2 s 1 s]";
    AlterPartitionReassignmentsRequest 0..=1 0: "4 1@1.. [s [4 *4]]";
    AlterPartitionReassignmentsResponse 0..=1 0: "4 1@1.. 2 s [s [4 2 s]]";
    AlterReplicaLogDirsRequest 1..=2 2: "[s [s *4]]";
    AlterReplicaLogDirsResponse 1..=2 2: "4 [s [4 2]]";
    AlterShareGroupOffsetsRequest 0..=0 0: "s [s [4 8]]";
    AlterShareGroupOffsetsResponse 0..=0 0: "4 2 s [s 16 [4 2 s]]";
    AlterUserScramCredentialsRequest 0..=0 0: "[s 1] [s 1 4 b b]";
    AlterUserScramCredentialsResponse 0..=0 0: "4 [s 2 s]";
    ApiVersionsRequest 0..=4 3: "s@3.. s@3..";
    ApiVersionsResponse 0..=4 3: "2 [2 2 2] 4@1.. #0:[s@3.. 2@3.. 2@3..] #1:8 #2:[s@3.. 2@3.. 2@3..] #3:1";
    ConsumerGroupDescribeRequest 0..=1 0: "*s 1";
    ConsumerGroupDescribeResponse 0..=1 0: "4 [2 s s s 4 4 s [s s s 4 s s *s s {[16 s *4]} {[16 s *4]} 1@1..] 4]";
    ConsumerGroupHeartbeatRequest 0..=1 0: "s s 4 s s 4 *s s@1.. s [16 *4]";
    ConsumerGroupHeartbeatResponse 0..=1 0: "4 2 s s 4 4 ?{[16 *4]}";
    CreateAclsRequest 1..=3 2: "[1 s 1 s s 1 1]";
    CreateAclsResponse 1..=3 2: "4 [2 s]";
    CreateDelegationTokenRequest 1..=3 2: "s@3.. s@3.. [s s] 8";
    CreateDelegationTokenResponse 1..=3 2: "2 s s s@3.. s@3.. 8 8 8 s b 4";
    CreatePartitionsRequest 0..=3 2: "[s 4 [*4]] 4 1";
    CreatePartitionsResponse 0..=3 2: "4 [s 2 s]";
    CreateTopicsRequest 2..=7 5: "[s 4 2 [4 *4] [s s]] 4 1";
    CreateTopicsResponse 2..=7 5: "4 [s 16@7.. 2 s 4@5.. 2@5.. [s@5.. s@5.. 1@5.. 1@5.. 1@5..]@5.. #0:2]";
    DeleteAclsRequest 1..=3 2: "[1 s 1 s s 1 1]";
    DeleteAclsResponse 1..=3 2: "4 [2 s [2 s 1 s 1 s s 1 1]]";
    DeleteGroupsRequest 0..=2 2: "*s";
    DeleteGroupsResponse 0..=2 2: "4 [s 2]";
    DeleteRecordsRequest 0..=2 2: "[s [4 8]] 4";
    DeleteRecordsResponse 0..=2 2: "4 [s [4 8 2]]";
    DeleteShareGroupOffsetsRequest 0..=0 0: "s [s]";
    DeleteShareGroupOffsetsResponse 0..=0 0: "4 2 s [s 16 2 s]";
    DeleteTopicsRequest 1..=6 4: "[s@6.. 16@6..]@6.. *s@..5 4";
    DeleteTopicsResponse 1..=6 4: "4 [s 16@6.. 2 s@5..]";
    DescribeAclsRequest 1..=3 2: "1 s 1 s s 1 1";
    DescribeAclsResponse 1..=3 2: "4 2 s [1 s 1 [s s 1 1]]";
    DescribeClientQuotasRequest 0..=1 1: "[s 1 s] 1";
    DescribeClientQuotasResponse 0..=1 1: "4 2 s [[s s] [s 8]]";
    DescribeClusterRequest 0..=2 0: "1 1@1.. 1@2..";
    DescribeClusterResponse 0..=2 0: "4 2 s 1@1.. s 4 [4 s 4 s 1@2..] 4";
    DescribeConfigsRequest 1..=4 4: "[1 s *s] 1 1@3..";
    DescribeConfigsResponse 1..=4 4: "4 [2 s 1 s [s s 1 1 1 [s s 1] 1@3.. s@3..]]";
    DescribeDelegationTokenRequest 1..=3 2: "[s s]";
    DescribeDelegationTokenResponse 1..=3 2: "2 [s s s@3.. s@3.. 8 8 8 s b [s s]] 4";
    DescribeGroupsRequest 0..=6 5: "*s 1@3..";
    DescribeGroupsResponse 0..=6 5: "4@1.. [2 s@6.. s s s s [s s@4.. s s b b] 4@3..]";
    DescribeLogDirsRequest 1..=4 2: "[s *4]";
    DescribeLogDirsResponse 1..=4 2: "4 2@3.. [2 s [s [4 8 8 1]] 8@4.. 8@4..]";
    DescribeProducersRequest 0..=0 0: "[s *4]";
    DescribeProducersResponse 0..=0 0: "4 [s [4 2 s [8 4 4 8 4 8]]]";
    DescribeQuorumRequest 0..=2 0: "[s [4]]";
    DescribeQuorumResponse 0..=2 0:
        "2 s@2.. [s [4 2 s@2.. 4 4 8 [4 16@2.. 8 8@1.. 8@1..] [4 16@2.. 8 8@1.. 8@1..]]] [4@2.. [s@2.. s@2.. \
         2@2..]@2..]@2..";
    DescribeShareGroupOffsetsRequest 0..=0 0: "[s [s *4]]";
    DescribeShareGroupOffsetsResponse 0..=0 0: "4 [s [s 16 [4 8 4 2 s]] 2 s]";
    DescribeTopicPartitionsRequest 0..=0 0: "[s] 4 ?{s 4}";
    DescribeTopicPartitionsResponse 0..=0 0: "4 [2 s 16 1 [2 4 4 4 *4 *4 *4 *4 *4] 4] ?{s 4}";
    DescribeTransactionsRequest 0..=0 0: "*s";
    DescribeTransactionsResponse 0..=0 0: "4 [2 s s 4 8 8 2 [s *4]]";
    DescribeUserScramCredentialsRequest 0..=0 0: "[s]";
    DescribeUserScramCredentialsResponse 0..=0 0: "4 2 s [s 2 s [1 4]]";
    ElectLeadersRequest 0..=2 2: "1@1.. [s *4] 4";
    ElectLeadersResponse 0..=2 2: "4 2@1.. [s [4 2 s]]";
    EndTxnRequest 0..=5 3: "s 8 2 1";
    EndTxnResponse 0..=5 3: "4 2 8@5.. 2@5..";
    ExpireDelegationTokenRequest 1..=2 2: "b 8";
    ExpireDelegationTokenResponse 1..=2 2: "2 8 4";
    FetchRequest 4..=18 12:
        "4@..14 4 4 4 1 4@7.. 4@7.. [s@..12 16@13.. [4 4@9.. 8 4@12.. 8@5.. 4 #0:16@17.. #1:8@18..]] [s@7..12 \
         16@13.. *4@7..]@7.. s@11.. #0:s #1:{4@15.. 8@15..}@15..";
    FetchResponse 4..=18 12:
        "4 2@7.. 4@7.. [s@..12 16@13.. [4 2 8 8 8@5.. [8 8] 4@11.. b #0:{4@12.. 8@12..} #1:{4@12.. 4@12..} #2:{8 \
         4}]] #0:[4@16.. s@16.. 4@16.. s@16..]@16..";
    FindCoordinatorRequest 0..=6 3: "s@..3 1@1.. *s@4..";
    FindCoordinatorResponse 0..=6 3: "4@1.. 2@..3 s@1..3 4@..3 s@..3 4@..3 [s@4.. 4@4.. s@4.. 4@4.. 2@4.. s@4..]@4..";
    GetTelemetrySubscriptionsRequest 0..=0 0: "16";
    GetTelemetrySubscriptionsResponse 0..=0 0: "4 2 16 4 *1 4 4 1 *s";
    HeartbeatRequest 0..=4 4: "s 4 s s@3..";
    HeartbeatResponse 0..=4 4: "4@1.. 2";
    IncrementalAlterConfigsRequest 0..=1 1: "[1 s [s 1 s]] 1";
    IncrementalAlterConfigsResponse 0..=1 1: "4 [2 s 1 s]";
    InitProducerIdRequest 0..=5 2: "s 4 8@3.. 2@3..";
    InitProducerIdResponse 0..=6 2: "4 2 8 2 8@6.. 2@6..";
    JoinGroupRequest 0..=9 6: "s 4 4@1.. s s@5.. s [s b] s@8..";
    JoinGroupResponse 0..=9 6: "4@2.. 2 4 s@7.. s s 1@9.. s [s s@5.. b]";
    LeaveGroupRequest 0..=5 4: "s s@..2 [s@3.. s@3.. s@5..]@3..";
    LeaveGroupResponse 0..=5 4: "4@1.. 2 [s@3.. s@3.. 2@3..]@3..";
    ListConfigResourcesRequest 0..=1 0: "*1@1..";
    ListConfigResourcesResponse 0..=1 0: "4 2 [s 1@1..]";
    ListGroupsRequest 0..=5 3: "*s@4.. *s@5..";
    ListGroupsResponse 0..=5 3: "4@1.. 2 [s s s@4.. s@5..]";
    ListOffsetsRequest 1..=10 6: "4 1@2.. [s [4 4@4.. 8]] 4@10..";
    ListOffsetsResponse 1..=10 6: "4@2.. [s [4 2 8 8 4@4..]]";
    ListPartitionReassignmentsRequest 0..=0 0: "4 [s *4]";
    ListPartitionReassignmentsResponse 0..=0 0: "4 2 s [s [4 *4 *4 *4]]";
    ListTransactionsRequest 0..=2 0: "*s *8 8@1.. s@2..";
    ListTransactionsResponse 0..=2 0: "4 2 *s [s 8 s]";
    MetadataRequest 0..=13 9: "[16@10.. s] 1@4.. 1@8..10 1@8..";
    MetadataResponse 0..=13 9:
        "4@3.. [4 s 4 s@1..] s@2.. 4@1.. [2 s 16@10.. 1@1.. [2 4 4 4@7.. *4 *4 *4@5..] 4@8..] 4@8..10 2@13..";
    OffsetCommitRequest 2..=9 8: "s 4 s s@7.. 8@..4 [s [4 8 4@6.. s]]";
    OffsetCommitResponse 2..=10 8: "4@3.. [s@..9 16@10.. [4 2]]";
    OffsetDeleteRequest 0..=0 NEVER: "s [s [4]]";
    OffsetDeleteResponse 0..=0 NEVER: "2 4 [s [4 2]]";
    OffsetFetchRequest 1..=9 6: "s@..7 [s@..7 *4@..7]@..7 [s@8.. s@9.. 4@9.. [s@8.. *4@8..]@8..]@8.. 1@7..";
    OffsetFetchResponse 1..=10 6:
        "4@3.. [s@..7 [4@..7 8@..7 4@5..7 s@..7 2@..7]@..7]@..7 2@2..7 [s@8.. [s@8..9 16@10.. [4@8.. 8@8.. 4@8.. \
         s@8.. 2@8..]@8..]@8.. 2@8..]@8..";
    OffsetForLeaderEpochRequest 2..=4 4: "4@3.. [s [4 4 4]]";
    OffsetForLeaderEpochResponse 2..=4 4: "4 [s [2 4 4 8]]";
    ProduceRequest 3..=13 9: "s 2 4 [s@..12 16@13.. [4 b]]";
    ProduceResponse 3..=13 9:
        "[s@..12 16@13.. [4 2 8 8 8@5.. [4@8.. s@8..]@8.. s@8.. #0:{4@10.. 4@10..}@10..]] 4 #0:[4@10.. s@10.. \
         4@10.. s@10..]@10..";
    PushTelemetryRequest 0..=0 0: "16 4 1 1 b";
    PushTelemetryResponse 0..=0 0: "4 2";
    RemoveRaftVoterRequest 0..=0 0: "s 4 16";
    RemoveRaftVoterResponse 0..=0 0: "4 2 s";
    RenewDelegationTokenRequest 1..=2 2: "b 8";
    RenewDelegationTokenResponse 1..=2 2: "2 8 4";
    SaslAuthenticateRequest 0..=2 2: "b";
    SaslAuthenticateResponse 0..=2 2: "2 s b 8@1..";
    SaslHandshakeRequest 0..=1 NEVER: "s";
    SaslHandshakeResponse 0..=1 NEVER: "2 *s";
    ShareAcknowledgeRequest 1..=1 1: "s s 4 [16 [4 [8 8 *1]]]";
    ShareAcknowledgeResponse 1..=1 1: "4 2 s [16 [4 2 s {4 4}]] [4 s 4 s]";
    ShareFetchRequest 1..=1 1: "s s 4 4 4 4 4 4 [16 [4 [8 8 *1]]] [16 *4]";
    ShareFetchResponse 1..=1 1: "4 2 s 4 [16 [4 2 s 2 s {4 4} b [8 8 2]]] [4 s 4 s]";
    ShareGroupDescribeRequest 1..=1 1: "*s 1";
    ShareGroupDescribeResponse 1..=1 1: "4 [2 s s s 4 4 s [s s 4 s s *s {[16 s *4]}] 4]";
    ShareGroupHeartbeatRequest 1..=1 1: "s s 4 s *s";
    ShareGroupHeartbeatResponse 1..=1 1: "4 2 s s 4 4 ?{[16 *4]}";
    SyncGroupRequest 0..=5 4: "s 4 s s@3.. s@5.. s@5.. [s b]";
    SyncGroupResponse 0..=5 4: "4@1.. 2 s@5.. s@5.. b";
    TxnOffsetCommitRequest 0..=5 3: "s s 8 2 4@3.. s@3.. s@3.. [s [4 8 4@2.. s]]";
    TxnOffsetCommitResponse 0..=5 3: "4 [s [4 2]]";
    UnregisterBrokerRequest 0..=0 0: "4";
    UnregisterBrokerResponse 0..=0 0: "4 2 s";
    UpdateFeaturesRequest 0..=2 0: "4 [s 2 1@..0 1@1..] 1@1..";
    UpdateFeaturesResponse 0..=2 0: "4 2 s [s 2 s]@..1";
}
