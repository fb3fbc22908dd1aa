//! Shapes against the codec: a message with every field set is walked to its very end, in every version.

use kafka_protocol::messages::fetch_request::ReplicaState;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, EpochEndOffset, LeaderIdAndEpoch, SnapshotId};
use kafka_protocol::messages::produce_response::BatchIndexAndErrorMessage;
use kafka_protocol::messages::share_fetch_request::AcknowledgementBatch;
use kafka_protocol::messages::share_fetch_response::AcquiredRecords;
use kafka_protocol::messages::*;

use super::super::shape::{self, Shape};
use super::*;

/// More tagged fields, of tags that nobody knows.
fn more() -> std::collections::BTreeMap<i32, Bytes> {
    [(40, Bytes::from_static(b"four")), (300, Bytes::new())].into()
}

#[track_caller]
fn check<T: Encodable>(what: &str, version: i16, message: &T, shape: &Shape) {
    let body = encoded(message, version);
    assert_eq!(shape::check(&body, version, shape), Ok(0), "{what} v{version}");
    for cut in 0..body.len() {
        assert!(shape::check(&body[..cut], version, shape).is_err(), "{what} v{version} cut at {cut}");
    }
}

#[test]
fn produce_requests() {
    for version in 3..=13 {
        let tags = if version >= 9 { more() } else { Default::default() };
        let mut message =
            ProduceRequest::default().with_acks(1).with_transactional_id(Some(TransactionalId("tx".into())));
        let mut topic = produce_request::TopicProduceData::default().with_unknown_tagged_fields(tags.clone());
        if version >= 13 {
            topic.topic_id = id(7)
        } else {
            topic.name = TopicName("orders".into())
        }
        for records in [None, Some(Bytes::new()), Some(batch(&[PLAIN; 9]))] {
            topic.partition_data.push(
                produce_request::PartitionProduceData::default()
                    .with_records(records)
                    .with_unknown_tagged_fields(tags.clone()),
            );
        }
        message.topic_data = vec![topic.clone(), topic];
        check("Produce request", version, &message.with_unknown_tagged_fields(tags), &shape::PRODUCE_REQUEST);
    }
}

#[test]
fn produce_responses() {
    for version in 3..=13 {
        let tags = if version >= 9 { more() } else { Default::default() };
        let mut partition =
            produce_response::PartitionProduceResponse::default().with_unknown_tagged_fields(tags.clone());
        if version >= 8 {
            partition.record_errors =
                vec![BatchIndexAndErrorMessage::default().with_batch_index_error_message(Some("no".into()))];
            partition.error_message = Some("not so".into());
        }
        if version >= 10 {
            partition.current_leader = produce_response::LeaderIdAndEpoch::default().with_leader_id(BrokerId(3));
        }
        let mut topic = produce_response::TopicProduceResponse::default()
            .with_partition_responses(vec![partition.clone(), partition]);
        if version >= 13 {
            topic.topic_id = id(7)
        } else {
            topic.name = TopicName("orders".into())
        }
        let mut message =
            ProduceResponse::default().with_responses(vec![topic.clone(), topic]).with_unknown_tagged_fields(tags);
        if version >= 10 {
            let endpoint =
                produce_response::NodeEndpoint::default().with_host("host".into()).with_rack(Some("r".into()));
            message.node_endpoints = vec![endpoint.clone(), endpoint];
        }
        check("Produce response", version, &message, &shape::PRODUCE_RESPONSE);
    }
}

#[test]
fn fetch_requests() {
    for version in 4..=18 {
        let tags = if version >= 12 { more() } else { Default::default() };
        let mut partition = fetch_request::FetchPartition::default().with_unknown_tagged_fields(tags.clone());
        if version >= 17 {
            partition.replica_directory_id = id(8);
        }
        if version >= 18 {
            partition.high_watermark = 5;
        }
        let mut topic = fetch_request::FetchTopic::default().with_partitions(vec![partition.clone(), partition]);
        let mut forgotten = fetch_request::ForgottenTopic::default().with_partitions(vec![1, 2, 3]);
        if version >= 13 {
            (topic.topic_id, forgotten.topic_id) = (id(7), id(8));
        } else {
            (topic.topic, forgotten.topic) = (TopicName("orders".into()), TopicName("shop.a".into()));
        }
        let mut message =
            FetchRequest::default().with_topics(vec![topic.clone(), topic]).with_unknown_tagged_fields(tags);
        if version >= 7 {
            message.forgotten_topics_data = vec![forgotten.clone(), forgotten];
        }
        if version >= 11 {
            message.rack_id = "rack".into();
        }
        if version >= 12 {
            message.cluster_id = Some("cluster".into());
        }
        if version >= 15 {
            message.replica_state =
                ReplicaState::default().with_replica_id(BrokerId(3)).with_unknown_tagged_fields(more());
        }
        check("Fetch request", version, &message, &shape::FETCH_REQUEST);
    }
}

#[test]
fn fetch_responses() {
    for version in 4..=18 {
        let tags = if version >= 12 { more() } else { Default::default() };
        let mut partition = fetch_response::PartitionData::default()
            .with_records(Some(batch(&[PLAIN; 9])))
            .with_aborted_transactions(Some(vec![
                AbortedTransaction::default().with_unknown_tagged_fields(tags.clone());
                2
            ]))
            .with_unknown_tagged_fields(tags.clone());
        if version >= 11 {
            partition.preferred_read_replica = BrokerId(2);
        }
        if version >= 12 {
            partition.diverging_epoch = EpochEndOffset::default().with_epoch(3).with_unknown_tagged_fields(more());
            partition.current_leader = LeaderIdAndEpoch::default().with_leader_epoch(3);
            partition.snapshot_id = SnapshotId::default().with_epoch(3);
        }
        let empty = fetch_response::PartitionData::default().with_records(None).with_aborted_transactions(None);
        let mut topic = fetch_response::FetchableTopicResponse::default().with_partitions(vec![partition, empty]);
        if version >= 13 {
            topic.topic_id = id(7)
        } else {
            topic.topic = TopicName("orders".into())
        }
        let mut message =
            FetchResponse::default().with_responses(vec![topic.clone(), topic]).with_unknown_tagged_fields(tags);
        if version >= 16 {
            let endpoint = fetch_response::NodeEndpoint::default().with_host("host".into()).with_rack(Some("r".into()));
            message.node_endpoints = vec![endpoint.clone(), endpoint];
        }
        check("Fetch response", version, &message, &shape::FETCH_RESPONSE);
    }
}

#[test]
fn share_fetch_messages() {
    let acknowledgements =
        AcknowledgementBatch::default().with_acknowledge_types(vec![1, 2]).with_unknown_tagged_fields(more());
    let partition =
        share_fetch_request::FetchPartition::default().with_acknowledgement_batches(vec![acknowledgements; 2]);
    let topic = share_fetch_request::FetchTopic::default().with_topic_id(id(1)).with_partitions(vec![partition; 2]);
    let forgotten = share_fetch_request::ForgottenTopic::default().with_partitions(vec![1, 2]);
    let message = ShareFetchRequest::default()
        .with_group_id(Some(GroupId("group".into())))
        .with_topics(vec![topic; 2])
        .with_forgotten_topics_data(vec![forgotten; 2])
        .with_unknown_tagged_fields(more());
    check("ShareFetch request", 1, &message, &shape::SHARE_FETCH_REQUEST);

    let partition = share_fetch_response::PartitionData::default()
        .with_error_message(Some("no".into()))
        .with_acknowledge_error_message(Some("no".into()))
        .with_records(Some(batch(&[PLAIN])))
        .with_acquired_records(vec![AcquiredRecords::default(); 2])
        .with_unknown_tagged_fields(more());
    let topic = share_fetch_response::ShareFetchableTopicResponse::default().with_partitions(vec![partition; 2]);
    let endpoint = share_fetch_response::NodeEndpoint::default().with_host("host".into()).with_rack(Some("r".into()));
    let message = ShareFetchResponse::default()
        .with_error_message(Some("no".into()))
        .with_responses(vec![topic; 2])
        .with_node_endpoints(vec![endpoint; 2])
        .with_unknown_tagged_fields(more());
    check("ShareFetch response", 1, &message, &shape::SHARE_FETCH_RESPONSE);
}
