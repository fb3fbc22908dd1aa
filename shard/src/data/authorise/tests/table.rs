//! A row for every API: a request about one thing of each kind, the rights that it needs, and the
//! error that the client gets where the first of them is missing.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use tidegate_core::api::{Handling, enforced, handling};
use tidegate_core::decode::decode_request;
use tidegate_core::words::Operation;

use super::super::outcome::Answer;
use super::gate::{Gate, body, id, name, text};

const TOPIC_DENIED: i16 = 29;
const GROUP_DENIED: i16 = 30;
const CLUSTER_DENIED: i16 = 31;
const TRANSACTION_DENIED: i16 = 53;
const TOKEN_DENIED: i16 = 65;

/// One API's needs.
pub(super) struct Row {
    pub(super) api: ApiKey,
    pub(super) versions: RangeInclusive<i16>,
    pub(super) request: Box<dyn Fn(i16) -> Bytes>,
    errors: fn(&Bytes, i16) -> Vec<i16>,
    /// A grant, and the error where it is missing, in the order in which they are asked for.
    needs: Vec<(&'static str, i16)>,
}

fn errors<R: Answer>(response: &Bytes, version: i16) -> Vec<i16> {
    let mut seen = BTreeSet::new();
    decode_request::<R>(response, version, usize::MAX).unwrap().errors(&mut |code| {
        seen.insert(code);
    });
    seen.into_iter().filter(|code| *code != 0).collect()
}

fn topic() -> TopicName {
    TopicName(text("t"))
}

fn group() -> GroupId {
    GroupId(text("g"))
}

fn transaction() -> TransactionalId {
    TransactionalId(text("x"))
}

macro_rules! row {
    ($rows:ident, $api:ident, $versions:expr, $request:ident => $response:ident { $($edit:tt)* }, [$($need:expr),* $(,)?]) => {{
        let build = |version: i16| {
            let request = $request::default() $($edit)*;
            body(&request, version)
        };
        $rows.push(Row {
            api: ApiKey::$api,
            versions: $versions,
            request: Box::new(build),
            errors: errors::<$response>,
            needs: vec![$($need),*],
        });
    }};
}

/// All rows.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    client_rows(&mut rows);
    group_rows(&mut rows);
    admin_rows(&mut rows);
    cluster_rows(&mut rows);
    rows
}

fn client_rows(rows: &mut Vec<Row>) {
    use kafka_protocol::messages::describe_topic_partitions_request as described;
    use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};

    row!(rows, FindCoordinator, 0..=3, FindCoordinatorRequest => FindCoordinatorResponse {
        .with_key(text("g"))
    }, [("group: g | describe", GROUP_DENIED)]);
    row!(rows, FindCoordinator, 4..=6, FindCoordinatorRequest => FindCoordinatorResponse {
        .with_key_type(1).with_coordinator_keys(vec![text("x")])
    }, [("transactional_id: x | describe", TRANSACTION_DENIED)]);
    row!(rows, FindCoordinator, 6..=6, FindCoordinatorRequest => FindCoordinatorResponse {
        .with_key_type(2).with_coordinator_keys(vec![text("g:id:0")])
    }, [("cluster: true | cluster_action", CLUSTER_DENIED)]);
    row!(rows, ListOffsets, 1..=10, ListOffsetsRequest => ListOffsetsResponse {
        .with_topics(vec![
            ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![ListOffsetsPartition::default()]),
        ])
    }, [("topic: t | describe", TOPIC_DENIED)]);
    row!(rows, OffsetForLeaderEpoch, 2..=4, OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse {
        .with_topics(vec![OffsetForLeaderTopic::default().with_topic(topic()).with_partitions(vec![
            OffsetForLeaderPartition::default(),
        ])])
    }, [("topic: t | describe", TOPIC_DENIED)]);
    row!(rows, DescribeTopicPartitions, 0..=0, DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse {
        .with_topics(vec![described::TopicRequest::default().with_name(topic())])
    }, [("topic: t | describe", TOPIC_DENIED)]);

    row!(rows, InitProducerId, 0..=5, InitProducerIdRequest => InitProducerIdResponse {
        .with_transactional_id(Some(transaction()))
    }, [("transactional_id: x | write", TRANSACTION_DENIED)]);
    row!(rows, InitProducerId, 0..=5, InitProducerIdRequest => InitProducerIdResponse {
        .with_transactional_id(None)
    }, [("cluster: true | idempotent_write", CLUSTER_DENIED)]);
    row!(rows, InitProducerId, 0..=5, InitProducerIdRequest => InitProducerIdResponse {
        .with_transactional_id(None)
    }, [("topic: any | write", CLUSTER_DENIED)]);
    row!(rows, AddPartitionsToTxn, 0..=3, AddPartitionsToTxnRequest => AddPartitionsToTxnResponse {
        .with_v3_and_below_transactional_id(transaction())
        .with_v3_and_below_topics(vec![
            add_partitions_to_txn_request::AddPartitionsToTxnTopic::default().with_name(topic()).with_partitions(vec![0]),
        ])
    }, [("transactional_id: x | write", TRANSACTION_DENIED), ("topic: t | write", TOPIC_DENIED)]);
    row!(rows, AddPartitionsToTxn, 4..=5, AddPartitionsToTxnRequest => AddPartitionsToTxnResponse {}, [
        ("cluster: true | cluster_action", CLUSTER_DENIED),
    ]);
    row!(rows, AddOffsetsToTxn, 0..=4, AddOffsetsToTxnRequest => AddOffsetsToTxnResponse {
        .with_transactional_id(transaction()).with_group_id(group())
    }, [("transactional_id: x | write", TRANSACTION_DENIED), ("group: g | read", GROUP_DENIED)]);
    row!(rows, EndTxn, 0..=5, EndTxnRequest => EndTxnResponse {
        .with_transactional_id(transaction())
    }, [("transactional_id: x | write", TRANSACTION_DENIED)]);
    row!(rows, TxnOffsetCommit, 0..=5, TxnOffsetCommitRequest => TxnOffsetCommitResponse {
        .with_transactional_id(transaction())
        .with_group_id(group())
        .with_topics(vec![txn_offset_commit_request::TxnOffsetCommitRequestTopic::default()
            .with_name(topic())
            .with_partitions(vec![txn_offset_commit_request::TxnOffsetCommitRequestPartition::default()])])
    }, [
        ("transactional_id: x | write", TRANSACTION_DENIED),
        ("group: g | read", GROUP_DENIED),
        ("topic: t | read", TOPIC_DENIED),
    ]);
    row!(rows, DescribeProducers, 0..=0, DescribeProducersRequest => DescribeProducersResponse {
        .with_topics(vec![
            describe_producers_request::TopicRequest::default().with_name(topic()).with_partition_indexes(vec![0]),
        ])
    }, [("topic: t | read", TOPIC_DENIED)]);
    row!(rows, DescribeTransactions, 0..=0, DescribeTransactionsRequest => DescribeTransactionsResponse {
        .with_transactional_ids(vec![transaction()])
    }, [("transactional_id: x | describe", TRANSACTION_DENIED)]);
}

fn group_rows(rows: &mut Vec<Row>) {
    let member = ("group: g | read", GROUP_DENIED);
    row!(rows, JoinGroup, 0..=9, JoinGroupRequest => JoinGroupResponse { .with_group_id(group()) }, [member]);
    row!(rows, SyncGroup, 0..=5, SyncGroupRequest => SyncGroupResponse { .with_group_id(group()) }, [member]);
    row!(rows, Heartbeat, 0..=4, HeartbeatRequest => HeartbeatResponse { .with_group_id(group()) }, [member]);
    row!(rows, LeaveGroup, 0..=5, LeaveGroupRequest => LeaveGroupResponse { .with_group_id(group()) }, [member]);
    row!(rows, ConsumerGroupHeartbeat, 0..=1, ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse {
        .with_group_id(group()).with_subscribed_topic_names(Some(vec![topic()]))
    }, [member, ("topic: t | describe", TOPIC_DENIED)]);
    row!(rows, ConsumerGroupHeartbeat, 1..=1, ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse {
        .with_group_id(group()).with_subscribed_topic_names(None).with_subscribed_topic_regex(Some(text("t.*")))
    }, [member, ("topic: '*' | describe", TOPIC_DENIED)]);
    row!(rows, ShareGroupHeartbeat, 1..=1, ShareGroupHeartbeatRequest => ShareGroupHeartbeatResponse {
        .with_group_id(group()).with_subscribed_topic_names(Some(vec![topic()]))
    }, [member, ("topic: t | describe", TOPIC_DENIED)]);

    let described = ("group: g | describe", GROUP_DENIED);
    row!(rows, DescribeGroups, 0..=6, DescribeGroupsRequest => DescribeGroupsResponse {
        .with_groups(vec![group()])
    }, [described]);
    row!(rows, ConsumerGroupDescribe, 0..=1, ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse {
        .with_group_ids(vec![group()])
    }, [described]);
    row!(rows, ShareGroupDescribe, 1..=1, ShareGroupDescribeRequest => ShareGroupDescribeResponse {
        .with_group_ids(vec![group()])
    }, [described]);
    row!(rows, DeleteGroups, 0..=2, DeleteGroupsRequest => DeleteGroupsResponse {
        .with_groups_names(vec![group()])
    }, [("group: g | delete", GROUP_DENIED)]);

    row!(rows, OffsetCommit, 2..=9, OffsetCommitRequest => OffsetCommitResponse {
        .with_group_id(group())
        .with_topics(vec![offset_commit_request::OffsetCommitRequestTopic::default()
            .with_name(topic())
            .with_partitions(vec![offset_commit_request::OffsetCommitRequestPartition::default()])])
    }, [member, ("topic: t | read", TOPIC_DENIED)]);
    row!(rows, OffsetFetch, 1..=7, OffsetFetchRequest => OffsetFetchResponse {
        .with_group_id(group())
        .with_topics(Some(vec![
            offset_fetch_request::OffsetFetchRequestTopic::default().with_name(topic()).with_partition_indexes(vec![0]),
        ]))
    }, [described, ("topic: t | describe", TOPIC_DENIED)]);
    row!(rows, OffsetFetch, 8..=9, OffsetFetchRequest => OffsetFetchResponse {
        .with_groups(vec![offset_fetch_request::OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(
            Some(vec![
                offset_fetch_request::OffsetFetchRequestTopics::default()
                    .with_name(topic())
                    .with_partition_indexes(vec![0]),
            ]),
        )])
    }, [described, ("topic: t | describe", TOPIC_DENIED)]);
    row!(rows, OffsetDelete, 0..=0, OffsetDeleteRequest => OffsetDeleteResponse {
        .with_group_id(group())
        .with_topics(vec![offset_delete_request::OffsetDeleteRequestTopic::default().with_name(topic()).with_partitions(
            vec![offset_delete_request::OffsetDeleteRequestPartition::default()],
        )])
    }, [("group: g | delete", GROUP_DENIED), ("topic: t | read", TOPIC_DENIED)]);

    row!(rows, ShareAcknowledge, 1..=1, ShareAcknowledgeRequest => ShareAcknowledgeResponse {
        .with_group_id(Some(group()))
        .with_topics(vec![share_acknowledge_request::AcknowledgeTopic::default().with_topic_id(id(1)).with_partitions(
            vec![share_acknowledge_request::AcknowledgePartition::default()],
        )])
    }, [member, ("topic: t | read", TOPIC_DENIED)]);
    row!(rows, DescribeShareGroupOffsets, 0..=0, DescribeShareGroupOffsetsRequest => DescribeShareGroupOffsetsResponse {
        .with_groups(vec![describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestGroup::default()
            .with_group_id(group())
            .with_topics(Some(vec![
                describe_share_group_offsets_request::DescribeShareGroupOffsetsRequestTopic::default()
                    .with_topic_name(topic())
                    .with_partitions(vec![0]),
            ]))])
    }, [described, ("topic: t | describe", TOPIC_DENIED)]);
    row!(rows, AlterShareGroupOffsets, 0..=0, AlterShareGroupOffsetsRequest => AlterShareGroupOffsetsResponse {
        .with_group_id(group())
        .with_topics(vec![alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic::default()
            .with_topic_name(topic())
            .with_partitions(vec![
                alter_share_group_offsets_request::AlterShareGroupOffsetsRequestPartition::default(),
            ])])
    }, [member, ("topic: t | read", TOPIC_DENIED)]);
    row!(rows, DeleteShareGroupOffsets, 0..=0, DeleteShareGroupOffsetsRequest => DeleteShareGroupOffsetsResponse {
        .with_group_id(group())
        .with_topics(vec![
            delete_share_group_offsets_request::DeleteShareGroupOffsetsRequestTopic::default().with_topic_name(topic()),
        ])
    }, [("group: g | delete", GROUP_DENIED), ("topic: t | read", TOPIC_DENIED)]);
}

fn admin_rows(rows: &mut Vec<Row>) {
    for need in ["topic: t | create", "cluster: true | create"] {
        row!(rows, CreateTopics, 2..=7, CreateTopicsRequest => CreateTopicsResponse {
            .with_topics(vec![create_topics_request::CreatableTopic::default().with_name(topic())])
        }, [(need, TOPIC_DENIED)]);
    }
    row!(rows, DeleteTopics, 1..=5, DeleteTopicsRequest => DeleteTopicsResponse {
        .with_topic_names(vec![topic()])
    }, [("topic: t | delete", TOPIC_DENIED)]);
    for (name, id) in [(Some(topic()), uuid::Uuid::nil()), (None, id(1))] {
        let state = delete_topics_request::DeleteTopicState::default().with_name(name).with_topic_id(id);
        rows.push(Row {
            api: ApiKey::DeleteTopics,
            versions: 6..=6,
            request: Box::new(move |v| body(&DeleteTopicsRequest::default().with_topics(vec![state.clone()]), v)),
            errors: errors::<DeleteTopicsResponse>,
            needs: vec![("topic: t | delete", TOPIC_DENIED)],
        });
    }
    row!(rows, CreatePartitions, 0..=3, CreatePartitionsRequest => CreatePartitionsResponse {
        .with_topics(vec![create_partitions_request::CreatePartitionsTopic::default().with_name(topic())])
    }, [("topic: t | alter", TOPIC_DENIED)]);
    row!(rows, DeleteRecords, 0..=2, DeleteRecordsRequest => DeleteRecordsResponse {
        .with_topics(vec![delete_records_request::DeleteRecordsTopic::default().with_name(topic()).with_partitions(
            vec![delete_records_request::DeleteRecordsPartition::default()],
        )])
    }, [("topic: t | delete", TOPIC_DENIED)]);

    let configs = [
        (2, "t", "topic: t | describe_configs", "topic: t | alter_configs", TOPIC_DENIED),
        (32, "g", "group: g | describe_configs", "group: g | alter_configs", GROUP_DENIED),
        (4, "1", "cluster: true | describe_configs", "cluster: true | alter_configs", CLUSTER_DENIED),
        (8, "1", "cluster: true | describe_configs", "cluster: true | alter_configs", CLUSTER_DENIED),
        (16, "m", "cluster: true | describe_configs", "cluster: true | alter_configs", CLUSTER_DENIED),
    ];
    for (kind, name, describe, alter, denied) in configs {
        let resource = describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_static_str(name));
        rows.push(Row {
            api: ApiKey::DescribeConfigs,
            versions: 1..=4,
            request: Box::new(move |v| {
                body(&DescribeConfigsRequest::default().with_resources(vec![resource.clone()]), v)
            }),
            errors: errors::<DescribeConfigsResponse>,
            needs: vec![(describe, denied)],
        });
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_static_str(name));
        rows.push(Row {
            api: ApiKey::AlterConfigs,
            versions: 0..=2,
            request: Box::new(move |v| body(&AlterConfigsRequest::default().with_resources(vec![resource.clone()]), v)),
            errors: errors::<AlterConfigsResponse>,
            needs: vec![(alter, denied)],
        });
        let resource = incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_static_str(name));
        rows.push(Row {
            api: ApiKey::IncrementalAlterConfigs,
            versions: 0..=1,
            request: Box::new(move |v| {
                body(&IncrementalAlterConfigsRequest::default().with_resources(vec![resource.clone()]), v)
            }),
            errors: errors::<IncrementalAlterConfigsResponse>,
            needs: vec![(alter, denied)],
        });
    }
    row!(rows, ListConfigResources, 0..=1, ListConfigResourcesRequest => ListConfigResourcesResponse {}, [
        ("cluster: true | describe_configs", CLUSTER_DENIED),
    ]);
    row!(rows, DescribeClientQuotas, 0..=1, DescribeClientQuotasRequest => DescribeClientQuotasResponse {}, [
        ("cluster: true | describe_configs", CLUSTER_DENIED),
    ]);
    row!(rows, AlterClientQuotas, 0..=1, AlterClientQuotasRequest => AlterClientQuotasResponse {
        .with_entries(vec![alter_client_quotas_request::EntryData::default()])
    }, [("cluster: true | alter_configs", CLUSTER_DENIED)]);
}

fn cluster_rows(rows: &mut Vec<Row>) {
    let described = ("cluster: true | describe", CLUSTER_DENIED);
    let altered = ("cluster: true | alter", CLUSTER_DENIED);
    row!(rows, DescribeQuorum, 0..=2, DescribeQuorumRequest => DescribeQuorumResponse {}, [described]);
    row!(rows, UpdateFeatures, 0..=2, UpdateFeaturesRequest => UpdateFeaturesResponse {}, [altered]);
    row!(rows, UnregisterBroker, 0..=0, UnregisterBrokerRequest => UnregisterBrokerResponse {}, [altered]);
    row!(rows, AddRaftVoter, 0..=0, AddRaftVoterRequest => AddRaftVoterResponse {}, [altered]);
    row!(rows, RemoveRaftVoter, 0..=0, RemoveRaftVoterRequest => RemoveRaftVoterResponse {}, [altered]);
    row!(rows, ElectLeaders, 0..=2, ElectLeadersRequest => ElectLeadersResponse {
        .with_topic_partitions(Some(vec![
            elect_leaders_request::TopicPartitions::default().with_topic(topic()).with_partitions(vec![0]),
        ]))
    }, [altered]);
    row!(rows, AlterPartitionReassignments, 0..=1, AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse {
        .with_topics(vec![alter_partition_reassignments_request::ReassignableTopic::default()
            .with_name(topic())
            .with_partitions(vec![alter_partition_reassignments_request::ReassignablePartition::default()])])
    }, [altered]);
    row!(rows, ListPartitionReassignments, 0..=0, ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse {},
        [described]);
    row!(rows, AlterReplicaLogDirs, 1..=2, AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse {
        .with_dirs(vec![alter_replica_log_dirs_request::AlterReplicaLogDir::default().with_topics(vec![
            alter_replica_log_dirs_request::AlterReplicaLogDirTopic::default().with_name(topic()).with_partitions(vec![0]),
        ])])
    }, [altered]);
    row!(rows, DescribeLogDirs, 3..=4, DescribeLogDirsRequest => DescribeLogDirsResponse {}, [described]);

    row!(rows, DescribeAcls, 1..=3, DescribeAclsRequest => DescribeAclsResponse { .with_pattern_type_filter(3) }, [described]);
    row!(rows, CreateAcls, 1..=3, CreateAclsRequest => CreateAclsResponse {
        .with_creations(vec![create_acls_request::AclCreation::default()])
    }, [altered]);
    row!(rows, DeleteAcls, 1..=3, DeleteAclsRequest => DeleteAclsResponse {
        .with_filters(vec![delete_acls_request::DeleteAclsFilter::default()])
    }, [altered]);
    row!(rows, DescribeUserScramCredentials, 0..=0,
        DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse {}, [described]);
    row!(rows, AlterUserScramCredentials, 0..=0, AlterUserScramCredentialsRequest => AlterUserScramCredentialsResponse {
        .with_deletions(vec![alter_user_scram_credentials_request::ScramCredentialDeletion::default()])
    }, [altered]);
    let tokens = ("cluster: true | alter", TOKEN_DENIED);
    row!(rows, CreateDelegationToken, 1..=3, CreateDelegationTokenRequest => CreateDelegationTokenResponse {}, [tokens]);
    row!(rows, CreateDelegationToken, 3..=3, CreateDelegationTokenRequest => CreateDelegationTokenResponse {
        .with_owner_principal_name(Some(text("bob")))
    }, [tokens, ("user: 'User:bob' | create_tokens", TOKEN_DENIED)]);
    row!(rows, RenewDelegationToken, 1..=2, RenewDelegationTokenRequest => RenewDelegationTokenResponse {}, [tokens]);
    row!(rows, ExpireDelegationToken, 1..=2, ExpireDelegationTokenRequest => ExpireDelegationTokenResponse {}, [tokens]);
}

fn gate(grants: &[&str]) -> Gate {
    let mut gate = Gate::new(grants);
    gate.topics.learn(id(1), "t");
    gate
}

#[test]
fn every_right_is_needed_and_all_of_them_suffice() {
    for row in rows() {
        let all: Vec<&str> = row.needs.iter().map(|(grant, _)| *grant).collect();
        for version in row.versions.clone() {
            let case = format!("{:?} v{version} {all:?}", row.api);
            let request = (row.request)(version);

            let decided = gate(&all).ask_bytes(row.api, version, request.clone()).unwrap();
            assert_eq!(name(&decided.verdict), "ForwardThen", "{case}: {:?}", decided.decisions());
            assert!(!decided.draft.resources.is_empty(), "{case}: no decision in the evidence");
            assert!(decided.draft.resources.iter().all(|r| r.allowed && r.purpose == "tests"), "{case}");

            for (missing, denied) in &row.needs {
                let rest: Vec<&str> = all.iter().copied().filter(|grant| grant != missing).collect();
                let decided = gate(&rest).ask_bytes(row.api, version, request.clone()).unwrap();
                assert!(decided.draft.resources.iter().any(|r| !r.allowed), "{case} without {missing}");
                let answer = match decided.verdict {
                    super::super::Verdict::Answer(answer) => answer,
                    other => panic!("{case} without {missing}: {}", name(&other)),
                };
                assert_eq!((row.errors)(&answer, version), [*denied], "{case} without {missing}");
            }
        }
    }
}

/// The rights that policy knows on a kind of resource.
fn operations_on(kind: &str) -> &'static [Operation] {
    use Operation as O;
    match kind {
        "topic" => {
            &[O::Read, O::Write, O::Create, O::Delete, O::Alter, O::Describe, O::DescribeConfigs, O::AlterConfigs]
        }
        "group" => &[O::Read, O::Delete, O::Describe, O::DescribeConfigs, O::AlterConfigs],
        "transactional_id" => &[O::Write, O::Describe],
        "cluster" => &[
            O::Create,
            O::Alter,
            O::Describe,
            O::ClusterAction,
            O::DescribeConfigs,
            O::AlterConfigs,
            O::IdempotentWrite,
        ],
        "user" => &[O::CreateTokens, O::DescribeTokens],
        other => panic!("{other}"),
    }
}

#[test]
fn no_other_right_on_the_same_resource_will_do() {
    for row in rows() {
        let version = *row.versions.end();
        for (need, denied) in &row.needs {
            let (resource, operation) = need.split_once(" | ").unwrap();
            let (kind, _) = resource.split_once(':').unwrap();
            let needed = *Operation::ALL.iter().find(|o| o.name() == operation).unwrap();
            let others: Vec<&str> =
                operations_on(kind).iter().filter(|other| !other.implies(needed)).map(|other| other.name()).collect();
            if others.is_empty() {
                continue;
            }
            let others = format!("{resource} | {}", others.join(", "));
            let rest = row.needs.iter().map(|(grant, _)| *grant).filter(|grant| grant != need);
            let grants: Vec<&str> = rest.chain([others.as_str()]).collect();
            let decided = gate(&grants).ask_bytes(row.api, version, (row.request)(version)).unwrap();
            let case = format!("{:?} v{version} needs {need}, has {others}", row.api);
            match decided.verdict {
                super::super::Verdict::Answer(answer) => {
                    assert_eq!((row.errors)(&answer, version), [*denied], "{case}")
                }
                other => panic!("{case}: {}", name(&other)),
            }
        }
    }
}

#[test]
fn every_api_and_version_has_a_row_or_a_test_of_its_response() {
    // These are never refused as a whole: what they tell is filtered.
    let filtered = [
        ApiKey::Metadata,
        ApiKey::ListGroups,
        ApiKey::ListTransactions,
        ApiKey::DescribeCluster,
        ApiKey::DescribeDelegationToken,
    ];
    let rows = rows();
    for api in ApiKey::iter().filter(|api| handling(*api) == Some(Handling::Inspected) && !filtered.contains(api)) {
        let range = enforced(api).unwrap();
        for version in range.min..=range.max {
            let has = rows.iter().any(|row| row.api == api && row.versions.contains(&version));
            // There is no place for an error up to v2.
            let answered_empty = api == ApiKey::DescribeLogDirs && version < 3;
            assert!(
                has || answered_empty,
                "{api:?} v{version} has no row. Where kafka-protocol cannot decode the request in that version, \
                 `tidegate_core::api::enforced` must not offer it: a client that speaks it loses its connection."
            );
        }
    }
}
