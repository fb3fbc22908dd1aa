//! Records and offsets: Produce, Fetch, ListOffsets, OffsetForLeaderEpoch, DeleteRecords,
//! DescribeProducers, share fetches.

use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DescribeProducersRequest, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest,
    ProduceRequest, ShareAcknowledgeRequest, ShareFetchRequest, share_acknowledge_request, share_fetch_request,
};

use super::{Case, Names, broker, case, group, text, topic, transaction};
use crate::records::{batch, fetch, produce};

pub(super) fn cases() -> Vec<Case> {
    let both = |n: &Names| [n.topic("a").to_string(), n.topic("b").to_string()];
    let produced = move |n: &Names| produce(&both(n).each_ref().map(String::as_str), batch(&["x"]));
    let fetched = move |n: &Names| fetch(&both(n).each_ref().map(String::as_str));
    let listed = |n: &Names| {
        let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(-1);
        let of = |name| ListOffsetsTopic::default().with_name(n.topic(name)).with_partitions(vec![partition.clone()]);
        ListOffsetsRequest::default().with_replica_id(broker(-1)).with_topics(["a", "b", "none"].map(of).to_vec())
    };
    let epochs = |n: &Names| {
        let partition = OffsetForLeaderPartition::default().with_partition(0).with_current_leader_epoch(-1);
        let of =
            |name| OffsetForLeaderTopic::default().with_topic(n.topic(name)).with_partitions(vec![partition.clone()]);
        OffsetForLeaderEpochRequest::default().with_replica_id(broker(-1)).with_topics(["a", "b"].map(of).to_vec())
    };
    let deleted = |n: &Names| {
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(0);
        let of = |name| DeleteRecordsTopic::default().with_name(n.topic(name)).with_partitions(vec![partition.clone()]);
        DeleteRecordsRequest::default().with_topics(["a", "b", "none"].map(of).to_vec()).with_timeout_ms(10_000)
    };
    let producers = |n: &Names| {
        let of = |name| TopicRequest::default().with_name(n.topic(name)).with_partition_indexes(vec![0]);
        DescribeProducersRequest::default().with_topics(["a", "b", "none"].map(of).to_vec())
    };
    let mut cases = vec![
        case("nothing allowed", 11, &[], produced),
        case("one of two allowed", 11, &[topic("a", "write")], produced),
        case("all allowed", 11, &[topic("a", "write"), topic("b", "write")], produced),
        case("reading is not writing", 9, &[topic("a", "read"), topic("b", "read")], produced),
        case("one of two allowed", 3, &[topic("b", "write")], produced),
        case("a topic that does not exist, allowed", 11, &[topic("none", "write")], none_produced),
        case("a topic that does not exist, denied", 11, &[], none_produced),
        case("a transaction, denied", 11, &[topic("a", "write"), topic("b", "write")], move |n| {
            produced(n).with_transactional_id(Some(n.transaction("t")))
        }),
        case("one of two ids allowed", 13, &[topic("a", "write")], move |n| by_id(produced(n), n)),
        case("ids that nobody knows", 13, &[topic("a", "write")], move |n| {
            let mut request = by_id(produced(n), n);
            request.topic_data[0].topic_id = uuid::Uuid::from_u128(7);
            request
        }),
        case("nothing allowed", 12, &[], fetched),
        case("one of two allowed", 12, &[topic("a", "read")], fetched),
        case("all allowed", 12, &[topic("a", "read"), topic("b", "read")], fetched),
        case("describing is not reading", 12, &[topic("a", "describe"), topic("b", "describe")], fetched),
        case("one of two allowed", 4, &[topic("b", "read")], fetched),
        case("one of two ids allowed", 17, &[topic("a", "read")], move |n| ids_fetched(fetched(n), n)),
        case("nothing allowed", 17, &[], move |n| ids_fetched(fetched(n), n)),
        case("ids that nobody knows", 17, &[topic("a", "read")], move |n| {
            let mut request = ids_fetched(fetched(n), n);
            request.topics[1].topic_id = uuid::Uuid::from_u128(7);
            request
        }),
        case("a new session, one of two allowed", 17, &[topic("a", "read")], move |n| {
            ids_fetched(fetched(n), n).with_session_epoch(0)
        }),
    ];
    for version in [1, 10] {
        cases.push(case("one of two allowed", version, &[topic("a", "describe")], listed));
        cases.push(case("nothing allowed", version, &[], listed));
    }
    cases.extend([
        case("one of two allowed", 4, &[topic("a", "describe")], epochs),
        case("nothing allowed", 2, &[], epochs),
        case("one of two allowed", 2, &[topic("a", "delete")], deleted),
        case("writing is not deleting", 0, &[topic("a", "write"), topic("b", "describe")], deleted),
        case("one of two allowed", 0, &[topic("a", "read")], producers),
        case("describing is not enough", 0, &[topic("a", "describe"), topic("none", "read")], producers),
        case("the group denied", 1, &[topic("a", "read")], share_fetched),
        case("one of two topics allowed", 1, &[group("s", "read"), topic("a", "read")], share_fetched),
        case("the group denied", 1, &[topic("a", "read")], acknowledged),
        case("no session", 1, &[group("s", "read"), topic("a", "read")], acknowledged),
        case("a transaction, allowed, of nobody", 11, &[topic("a", "write"), transaction("t", "write")], move |n| {
            produced(n).with_transactional_id(Some(n.transaction("t")))
        }),
    ]);
    cases
}

fn none_produced(n: &Names) -> ProduceRequest {
    produce(&[&n.topic("none").to_string()], batch(&["x"]))
}

fn by_id(mut request: ProduceRequest, n: &Names) -> ProduceRequest {
    for (topic, name) in request.topic_data.iter_mut().zip(["a", "b"]) {
        topic.name = Default::default();
        topic.topic_id = n.id(name);
    }
    request
}

fn ids_fetched(mut request: FetchRequest, n: &Names) -> FetchRequest {
    for (topic, name) in request.topics.iter_mut().zip(["a", "b"]) {
        topic.topic = Default::default();
        topic.topic_id = n.id(name);
    }
    request.replica_id = broker(-1);
    request
}

fn share_fetched(n: &Names) -> ShareFetchRequest {
    use share_fetch_request::{FetchPartition, FetchTopic};
    let of = |name| {
        let partition = FetchPartition::default().with_partition_index(0);
        FetchTopic::default().with_topic_id(n.id(name)).with_partitions(vec![partition])
    };
    ShareFetchRequest::default()
        .with_group_id(Some(n.group("s")))
        .with_member_id(Some(text("AAAAAAAAAAAAAAAAAAAAAQ")))
        .with_share_session_epoch(0)
        .with_max_wait_ms(0)
        .with_max_bytes(1024 * 1024)
        .with_max_records(10)
        .with_batch_size(10)
        .with_topics(["a", "b"].map(of).to_vec())
}

fn acknowledged(n: &Names) -> ShareAcknowledgeRequest {
    use share_acknowledge_request::{AcknowledgePartition, AcknowledgeTopic};
    let partition = AcknowledgePartition::default().with_partition_index(0);
    let topic = AcknowledgeTopic::default().with_topic_id(n.id("a")).with_partitions(vec![partition]);
    ShareAcknowledgeRequest::default()
        .with_group_id(Some(n.group("s")))
        .with_member_id(Some(text("AAAAAAAAAAAAAAAAAAAAAQ")))
        .with_share_session_epoch(1)
        .with_topics(vec![topic])
}
