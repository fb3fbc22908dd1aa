//! Groups: classic, KIP-848's, share groups, their offsets and their coordinators.

use bytes::Bytes;
use kafka_protocol::messages::alter_share_group_offsets_request::{
    AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use kafka_protocol::messages::delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic;
use kafka_protocol::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsRequestTopic,
};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    AlterShareGroupOffsetsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DeleteGroupsRequest,
    DeleteShareGroupOffsetsRequest, DescribeGroupsRequest, DescribeShareGroupOffsetsRequest, FindCoordinatorRequest,
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, ShareGroupDescribeRequest, ShareGroupHeartbeatRequest, SyncGroupRequest,
};

use super::{Case, Names, case, group, text, topic, transaction};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = membership();
    cases.extend(offsets());
    cases.extend(administration());
    cases.extend(share_groups());
    cases
}

fn membership() -> Vec<Case> {
    let found = |n: &Names| FindCoordinatorRequest::default().with_key(n.text("g"));
    let many = |n: &Names| {
        FindCoordinatorRequest::default().with_coordinator_keys(["g", "h"].map(|name| n.text(name)).to_vec())
    };
    let joined = |n: &Names| {
        let protocol =
            JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(&[0; 10]));
        JoinGroupRequest::default()
            .with_group_id(n.group("g"))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    };
    let synced = |n: &Names| {
        SyncGroupRequest::default()
            .with_group_id(n.group("g"))
            .with_generation_id(1)
            .with_member_id(text("nobody"))
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
    };
    let beaten = |n: &Names| {
        HeartbeatRequest::default().with_group_id(n.group("g")).with_generation_id(1).with_member_id(text("nobody"))
    };
    let left = |n: &Names| {
        let member = MemberIdentity::default().with_member_id(text("nobody"));
        LeaveGroupRequest::default().with_group_id(n.group("g")).with_members(vec![member])
    };
    let new = |n: &Names| {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(n.group("n"))
            .with_member_id(text("AAAAAAAAAAAAAAAAAAAAAQ"))
            .with_member_epoch(0)
            .with_rebalance_timeout_ms(10_000)
            .with_topic_partitions(Some(Vec::new()))
            .with_subscribed_topic_names(Some(["a", "b"].map(|name| n.topic(name)).to_vec()))
    };
    vec![
        case("denied", 2, &[], found),
        case("allowed", 2, &[group("g", "describe")], found),
        case("one of two allowed", 6, &[group("g", "read")], many),
        case("one of two allowed", 4, &[group("h", "describe")], many),
        case("a transaction's, denied", 2, &[group("g", "describe")], move |n| found(n).with_key_type(1)),
        case("a transaction's, allowed", 4, &[transaction("g", "describe")], move |n| many(n).with_key_type(1)),
        case("denied", 9, &[], joined),
        case("describing is not reading", 9, &[group("g", "describe")], joined),
        case("allowed", 9, &[group("g", "read")], joined),
        case("allowed", 3, &[group("g", "read")], joined),
        case("denied", 5, &[], synced),
        case("allowed, of nobody", 5, &[group("g", "read")], synced),
        case("denied", 4, &[], beaten),
        case("allowed, of nobody", 4, &[group("g", "read")], beaten),
        case("denied", 5, &[], left),
        case("allowed, of nobody", 5, &[group("g", "read")], left),
        case("the group denied", 1, &[topic("a", "describe"), topic("b", "describe")], new),
        case("one of two topics denied", 1, &[group("n", "read"), topic("a", "describe")], new),
        case("allowed", 1, &[group("n", "read"), topic("a", "describe"), topic("b", "describe")], new),
    ]
}

fn offsets() -> Vec<Case> {
    let committed = |n: &Names| {
        let partition = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(0);
        let of = |name| {
            OffsetCommitRequestTopic::default().with_name(n.topic(name)).with_partitions(vec![partition.clone()])
        };
        OffsetCommitRequest::default()
            .with_group_id(n.group("g"))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(["a", "b", "none"].map(of).to_vec())
    };
    let fetched = |n: &Names| {
        let of = |name| OffsetFetchRequestTopics::default().with_name(n.topic(name)).with_partition_indexes(vec![0]);
        let of = |group| {
            OffsetFetchRequestGroup::default()
                .with_group_id(n.group(group))
                .with_topics(Some(["a", "b"].map(of).to_vec()))
        };
        OffsetFetchRequest::default().with_groups(["g", "h"].map(of).to_vec())
    };
    let all = |n: &Names| {
        let group = OffsetFetchRequestGroup::default().with_group_id(n.group("g")).with_topics(None);
        OffsetFetchRequest::default().with_groups(vec![group])
    };
    let old = |n: &Names| {
        let of = |name| OffsetFetchRequestTopic::default().with_name(n.topic(name)).with_partition_indexes(vec![0]);
        OffsetFetchRequest::default().with_group_id(n.group("g")).with_topics(Some(["a", "b"].map(of).to_vec()))
    };
    let deleted = |n: &Names| {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(0);
        let of = |name| {
            OffsetDeleteRequestTopic::default().with_name(n.topic(name)).with_partitions(vec![partition.clone()])
        };
        OffsetDeleteRequest::default().with_group_id(n.group("g")).with_topics(["a", "b"].map(of).to_vec())
    };
    vec![
        case("the group denied", 9, &[topic("a", "read"), topic("b", "read")], committed),
        case(
            "one of two topics denied",
            9,
            &[group("g", "read"), topic("a", "read"), topic("none", "read")],
            committed,
        ),
        case("no topic allowed", 8, &[group("g", "read")], committed),
        case("one of two topics denied", 2, &[group("g", "read"), topic("b", "read")], committed),
        case("one of two groups denied", 9, &[group("g", "describe"), topic("a", "describe")], fetched),
        case("no topic allowed", 8, &[group("g", "describe"), group("h", "read")], fetched),
        case("all topics, the group denied", 9, &[], all),
        case("all topics, none allowed", 9, &[group("g", "describe")], all),
        case("one of two topics denied", 7, &[group("g", "describe"), topic("b", "describe")], old),
        case("the group denied", 5, &[topic("a", "describe")], old),
        case("one of two topics denied", 1, &[group("g", "describe"), topic("a", "describe")], old),
        case("the group denied", 0, &[topic("a", "read")], deleted),
        case("a group that does not exist", 0, &[group("g", "delete"), topic("a", "read")], deleted),
    ]
}

fn administration() -> Vec<Case> {
    let described =
        |n: &Names| DescribeGroupsRequest::default().with_groups(["g", "h"].map(|name| n.group(name)).to_vec());
    let new = |n: &Names| {
        ConsumerGroupDescribeRequest::default().with_group_ids(["g", "h"].map(|name| n.group(name)).to_vec())
    };
    let listed = |_: &Names| ListGroupsRequest::default();
    let deleted =
        |n: &Names| DeleteGroupsRequest::default().with_groups_names(["g", "h"].map(|name| n.group(name)).to_vec());
    vec![
        case("one of two allowed", 6, &[group("g", "describe")], described),
        case("nothing allowed", 0, &[], described),
        case("authorised operations", 5, &[group("g", "read"), group("h", "delete")], move |n| {
            described(n).with_include_authorized_operations(true)
        }),
        case("one of two allowed", 1, &[group("g", "describe")], new),
        case("nothing allowed", 0, &[], new),
        case("nothing allowed", 5, &[], listed),
        case("nothing allowed", 3, &[topic("a", "describe")], listed),
        case("one of two allowed", 2, &[group("g", "delete")], deleted),
        case("reading is not deleting", 1, &[group("g", "read"), group("h", "describe")], deleted),
    ]
}

fn share_groups() -> Vec<Case> {
    let beaten = |n: &Names| {
        ShareGroupHeartbeatRequest::default()
            .with_group_id(n.group("s"))
            .with_member_id(text("AAAAAAAAAAAAAAAAAAAAAQ"))
            .with_member_epoch(0)
            .with_subscribed_topic_names(Some(["a", "b"].map(|name| n.topic(name)).to_vec()))
    };
    let described =
        |n: &Names| ShareGroupDescribeRequest::default().with_group_ids(["s", "h"].map(|name| n.group(name)).to_vec());
    let offsets = |n: &Names| {
        let of = |name| {
            DescribeShareGroupOffsetsRequestTopic::default().with_topic_name(n.topic(name)).with_partitions(vec![0])
        };
        let group = DescribeShareGroupOffsetsRequestGroup::default()
            .with_group_id(n.group("s"))
            .with_topics(Some(["a", "b"].map(of).to_vec()));
        DescribeShareGroupOffsetsRequest::default().with_groups(vec![group])
    };
    let altered = |n: &Names| {
        let partition = AlterShareGroupOffsetsRequestPartition::default().with_partition_index(0).with_start_offset(0);
        let of = |name| {
            AlterShareGroupOffsetsRequestTopic::default()
                .with_topic_name(n.topic(name))
                .with_partitions(vec![partition.clone()])
        };
        AlterShareGroupOffsetsRequest::default().with_group_id(n.group("s")).with_topics(["a", "b"].map(of).to_vec())
    };
    let deleted = |n: &Names| {
        let of = |name| DeleteShareGroupOffsetsRequestTopic::default().with_topic_name(n.topic(name));
        DeleteShareGroupOffsetsRequest::default().with_group_id(n.group("s")).with_topics(["a", "b"].map(of).to_vec())
    };
    vec![
        case("the group denied", 1, &[topic("a", "describe"), topic("b", "describe")], beaten),
        case("one of two topics denied", 1, &[group("s", "read"), topic("a", "describe")], beaten),
        case("allowed", 1, &[group("s", "read"), topic("a", "describe"), topic("b", "describe")], beaten),
        case("one of two allowed", 1, &[group("s", "describe")], described),
        case("the group denied", 0, &[topic("a", "describe")], offsets),
        case("one of two topics denied", 0, &[group("s", "describe"), topic("a", "describe")], offsets),
        case("the group denied", 0, &[topic("a", "read")], altered),
        case("one of two topics denied", 0, &[group("s", "read"), topic("a", "read")], altered),
        case("the group denied", 0, &[topic("a", "read")], deleted),
        case("one of two topics denied", 0, &[group("s", "delete"), topic("a", "read")], deleted),
    ]
}
