//! Transactions and idempotence.

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest,
    InitProducerIdRequest, ListTransactionsRequest, ProducerId, TxnOffsetCommitRequest,
};

use super::{Case, Names, case, cluster, group, text, topic, transaction};

/// A producer id that nobody has.
const NOBODY: ProducerId = ProducerId(4_000_000);

pub(super) fn cases() -> Vec<Case> {
    let idempotent = |_: &Names| {
        InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    let begun = move |n: &Names| idempotent(n).with_transactional_id(Some(n.transaction("t")));
    let added = |n: &Names| {
        let of = |name| AddPartitionsToTxnTopic::default().with_name(n.topic(name)).with_partitions(vec![0]);
        AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(n.transaction("t"))
            .with_v3_and_below_producer_id(NOBODY)
            .with_v3_and_below_topics(["a", "b"].map(of).to_vec())
    };
    let offsets = |n: &Names| {
        AddOffsetsToTxnRequest::default()
            .with_transactional_id(n.transaction("t"))
            .with_producer_id(NOBODY)
            .with_group_id(n.group("g"))
    };
    let committed = |n: &Names| {
        let partition = TxnOffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(0);
        let of = |name| {
            TxnOffsetCommitRequestTopic::default().with_name(n.topic(name)).with_partitions(vec![partition.clone()])
        };
        TxnOffsetCommitRequest::default()
            .with_transactional_id(n.transaction("t"))
            .with_group_id(n.group("g"))
            .with_producer_id(NOBODY)
            .with_generation_id(-1)
            .with_topics(["a", "b"].map(of).to_vec())
    };
    let ended = |n: &Names| EndTxnRequest::default().with_transactional_id(n.transaction("t")).with_producer_id(NOBODY);
    let described = |n: &Names| {
        DescribeTransactionsRequest::default()
            .with_transactional_ids(["t", "u"].map(|name| n.transaction(name)).to_vec())
    };
    let listed = |_: &Names| ListTransactionsRequest::default().with_duration_filter(-1);
    let t = transaction("t", "write");
    vec![
        case("idempotence, nothing allowed", 5, &[], idempotent),
        case("idempotence by the cluster", 5, &[cluster("idempotent_write")], idempotent),
        case("idempotence by writing anything", 4, &[topic("a", "write")], idempotent),
        case("idempotence, reading is not enough", 0, &[topic("a", "read")], idempotent),
        case("a transaction, denied", 5, &[topic("a", "write")], begun),
        case("a transaction, described is not enough", 2, &[transaction("t", "describe")], begun),
        case("a transaction, allowed", 5, &[t], begun),
        case("the transaction denied", 3, &[topic("a", "write"), topic("b", "write")], added),
        case("one of two topics denied", 3, &[t, topic("a", "write")], added),
        case("allowed, of nobody", 0, &[t, topic("a", "write"), topic("b", "write")], added),
        case("the transaction denied", 4, &[group("g", "read")], offsets),
        case("the group denied", 3, &[t], offsets),
        case("allowed, of nobody", 4, &[t, group("g", "read")], offsets),
        case("the transaction denied", 3, &[group("g", "read"), topic("a", "read")], committed),
        case("the group denied", 3, &[t, topic("a", "read")], committed),
        case("one of two topics denied", 5, &[t, group("g", "read"), topic("a", "read")], committed),
        case("no topic allowed", 0, &[t, group("g", "read")], committed),
        case("denied", 5, &[], ended),
        case("allowed, of nobody", 3, &[t], ended),
        case("one of two allowed", 0, &[transaction("t", "describe")], described),
        case("nothing allowed", 0, &[], described),
        case("nothing allowed", 1, &[], listed),
        case("one allowed that is not there", 0, &[transaction("u", "describe")], listed),
        case(
            "a member that is nobody",
            5,
            &[t, group("g", "read"), topic("a", "read"), topic("b", "read")],
            move |n| committed(n).with_generation_id(3).with_member_id(text("nobody")),
        ),
    ]
}
