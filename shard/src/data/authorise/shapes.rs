//! The protocol's many lists of topics with partitions, in the two shapes of [`super::refuse`].

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::{
    add_partitions_to_txn_request as add_partitions, add_partitions_to_txn_response as added_partitions,
    alter_share_group_offsets_request as alter_share, alter_share_group_offsets_response as altered_share,
    delete_records_request as delete_records, delete_records_response as deleted_records,
    describe_producers_request as producers, describe_producers_response as described_producers,
    describe_share_group_offsets_request as share_offsets, describe_share_group_offsets_response as described_share,
    list_offsets_request as list_offsets, list_offsets_response as listed_offsets, offset_commit_request as commit,
    offset_commit_response as committed, offset_delete_request as delete, offset_delete_response as deleted,
    offset_fetch_request as fetch, offset_fetch_response as fetched, offset_for_leader_epoch_request as epochs,
    offset_for_leader_epoch_response as epoch_ends, share_acknowledge_request as acknowledge,
    share_acknowledge_response as acknowledged, txn_offset_commit_request as txn_commit,
    txn_offset_commit_response as txn_committed,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::outcome::message;
use super::refuse::{AnsweredTopic, Indexed, Topic};

/// `Topic { key: Key, partitions: Partition }`, with `.index` where a partition is not a bare number.
macro_rules! topics {
    ($($topic:ty { $key:ident: $key_type:ty, $partitions:ident: $partition:ty $(, .$index:ident)? })*) => {$(
        impl Topic for $topic {
            type Key = $key_type;
            type Partition = $partition;

            fn key(&self) -> $key_type {
                self.$key.clone()
            }

            fn partitions(&mut self) -> &mut Vec<$partition> {
                &mut self.$partitions
            }
        }

        $(impl Indexed for $partition {
            fn index(&self) -> i32 {
                self.$index
            }
        })?
    )*};
}

/// As `topics!`, with where a partition's error goes and what else a refused one says.
macro_rules! answered {
    ($($topic:ty { $key:ident: $key_type:ty, $partitions:ident: $partition:ty, .$index:ident, .$error:ident
        $(, $field:ident = $value:expr)* })*) => {$(
        topics! { $topic { $key: $key_type, $partitions: $partition, .$index } }

        impl AnsweredTopic for $topic {
            fn refused(key: $key_type, partitions: &[(i32, ResponseError)]) -> Self {
                let refuse = |(index, error): &(i32, ResponseError)| {
                    let mut partition = <$partition>::default();
                    partition.$index = *index;
                    partition.$error = error.code();
                    $(partition.$field = $value(*error);)*
                    partition
                };
                let mut topic = Self::default();
                topic.$key = key;
                topic.$partitions = partitions.iter().map(refuse).collect();
                topic
            }
        }
    )*};
}

topics! {
    list_offsets::ListOffsetsTopic { name: TopicName, partitions: list_offsets::ListOffsetsPartition, .partition_index }
    epochs::OffsetForLeaderTopic { topic: TopicName, partitions: epochs::OffsetForLeaderPartition, .partition }
    commit::OffsetCommitRequestTopic { name: TopicName, partitions: commit::OffsetCommitRequestPartition, .partition_index }
    fetch::OffsetFetchRequestTopic { name: TopicName, partition_indexes: i32 }
    fetch::OffsetFetchRequestTopics { name: TopicName, partition_indexes: i32 }
    delete::OffsetDeleteRequestTopic { name: TopicName, partitions: delete::OffsetDeleteRequestPartition, .partition_index }
    add_partitions::AddPartitionsToTxnTopic { name: TopicName, partitions: i32 }
    txn_commit::TxnOffsetCommitRequestTopic {
        name: TopicName, partitions: txn_commit::TxnOffsetCommitRequestPartition, .partition_index
    }
    delete_records::DeleteRecordsTopic { name: TopicName, partitions: delete_records::DeleteRecordsPartition, .partition_index }
    producers::TopicRequest { name: TopicName, partition_indexes: i32 }
    acknowledge::AcknowledgeTopic { topic_id: Uuid, partitions: acknowledge::AcknowledgePartition, .partition_index }
    share_offsets::DescribeShareGroupOffsetsRequestTopic { topic_name: TopicName, partitions: i32 }
    alter_share::AlterShareGroupOffsetsRequestTopic {
        topic_name: TopicName, partitions: alter_share::AlterShareGroupOffsetsRequestPartition, .partition_index
    }
}

answered! {
    listed_offsets::ListOffsetsTopicResponse {
        name: TopicName, partitions: listed_offsets::ListOffsetsPartitionResponse, .partition_index, .error_code
    }
    epoch_ends::OffsetForLeaderTopicResult {
        topic: TopicName, partitions: epoch_ends::EpochEndOffset, .partition, .error_code
    }
    committed::OffsetCommitResponseTopic {
        name: TopicName, partitions: committed::OffsetCommitResponsePartition, .partition_index, .error_code
    }
    fetched::OffsetFetchResponseTopic {
        name: TopicName, partitions: fetched::OffsetFetchResponsePartition, .partition_index, .error_code,
        committed_offset = |_| -1, metadata = |_| Some(StrBytes::new())
    }
    fetched::OffsetFetchResponseTopics {
        name: TopicName, partitions: fetched::OffsetFetchResponsePartitions, .partition_index, .error_code,
        committed_offset = |_| -1, metadata = |_| Some(StrBytes::new())
    }
    deleted::OffsetDeleteResponseTopic {
        name: TopicName, partitions: deleted::OffsetDeleteResponsePartition, .partition_index, .error_code
    }
    added_partitions::AddPartitionsToTxnTopicResult {
        name: TopicName, results_by_partition: added_partitions::AddPartitionsToTxnPartitionResult,
        .partition_index, .partition_error_code
    }
    txn_committed::TxnOffsetCommitResponseTopic {
        name: TopicName, partitions: txn_committed::TxnOffsetCommitResponsePartition, .partition_index, .error_code
    }
    deleted_records::DeleteRecordsTopicResult {
        name: TopicName, partitions: deleted_records::DeleteRecordsPartitionResult, .partition_index, .error_code,
        low_watermark = |_| -1
    }
    described_producers::TopicResponse {
        name: TopicName, partitions: described_producers::PartitionResponse, .partition_index, .error_code,
        error_message = message
    }
    acknowledged::ShareAcknowledgeTopicResponse {
        topic_id: Uuid, partitions: acknowledged::PartitionData, .partition_index, .error_code, error_message = message
    }
    described_share::DescribeShareGroupOffsetsResponseTopic {
        topic_name: TopicName, partitions: described_share::DescribeShareGroupOffsetsResponsePartition,
        .partition_index, .error_code, start_offset = |_| -1, error_message = message
    }
    altered_share::AlterShareGroupOffsetsResponseTopic {
        topic_name: TopicName, partitions: altered_share::AlterShareGroupOffsetsResponsePartition,
        .partition_index, .error_code, error_message = message
    }
}
