//! Every request but Produce and Fetch: enough of each for stock clients and for the gateway.

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_core::decode::{Body, decode_request, encode};
use tidegate_core::header::{RequestHeader, response_frame};
use uuid::Uuid;

use super::cluster::{PREPARED_RECORDS, Serves, Topic, lock};
use super::connection::Door;

/// What is offered, and so what the rest of this file answers.
const OFFERED: [(ApiKey, i16, i16); 21] = [
    // From 0, or librdkafka takes the broker for one that cannot produce (KAFKA-18659).
    (ApiKey::Produce, 0, 13),
    (ApiKey::Fetch, 4, 17),
    (ApiKey::ListOffsets, 1, 9),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::SaslHandshake, 0, 1),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::SaslAuthenticate, 0, 2),
    (ApiKey::DescribeCluster, 0, 2),
    (ApiKey::ListGroups, 0, 5),
];

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const POLICY_VIOLATION: i16 = 44;
const UNKNOWN_TOPIC_ID: i16 = 100;

/// Longest request read here, in bytes.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// A whole answer; `None` where the request cannot be read or is not offered.
pub(super) fn answer(door: &Door, header: &RequestHeader, body: &Bytes) -> Option<Bytes> {
    let version = header.version;
    if header.api == ApiKey::ApiVersions && version > 4 {
        return respond(header, 0, &ApiVersionsResponse::default().with_error_code(UNSUPPORTED_VERSION));
    }
    let request = Request { door, header, body };
    match header.api {
        ApiKey::ApiVersions => respond(header, version, &api_versions()),
        ApiKey::Metadata => request.with(metadata),
        ApiKey::ListOffsets => request.with(list_offsets),
        ApiKey::FindCoordinator => request.with(find_coordinator),
        ApiKey::JoinGroup => request.with(join_group),
        ApiKey::SyncGroup => request.with(sync_group),
        ApiKey::Heartbeat => respond(header, version, &HeartbeatResponse::default()),
        ApiKey::LeaveGroup => request.with(leave_group),
        ApiKey::ListGroups => respond(header, version, &ListGroupsResponse::default()),
        ApiKey::OffsetCommit => request.with(offset_commit),
        ApiKey::OffsetFetch => request.with(offset_fetch),
        ApiKey::OffsetForLeaderEpoch => respond(header, version, &OffsetForLeaderEpochResponse::default()),
        ApiKey::InitProducerId => respond(header, version, &init_producer_id(door)),
        ApiKey::SaslHandshake => respond(header, version, &sasl_handshake()),
        ApiKey::SaslAuthenticate => respond(header, version, &SaslAuthenticateResponse::default()),
        ApiKey::CreateTopics => request.with(create_topics),
        ApiKey::DeleteTopics => request.with(delete_topics),
        ApiKey::DescribeConfigs => request.with(describe_configs),
        ApiKey::DescribeCluster => respond(header, version, &describe_cluster(door)),
        _ => None,
    }
}

fn respond(header: &RequestHeader, version: i16, response: &impl Encodable) -> Option<Bytes> {
    let body = encode(response, version).ok()?;
    Some(response_frame(header.correlation_id, header.api, version, &body))
}

struct Request<'a> {
    door: &'a Door,
    header: &'a RequestHeader,
    body: &'a Bytes,
}

impl Request<'_> {
    fn with<T: Body, R: Encodable>(&self, answer: impl FnOnce(&Door, &T, i16) -> R) -> Option<Bytes> {
        let version = self.header.version;
        let request: T = decode_request(self.body, version, REQUEST_BYTES_MAX).ok()?;
        respond(self.header, version, &answer(self.door, &request, version))
    }
}

fn api_versions() -> ApiVersionsResponse {
    let one = |(api, min, max): (ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(api as i16).with_min_version(min).with_max_version(max)
    };
    ApiVersionsResponse::default().with_api_keys(OFFERED.into_iter().map(one).collect())
}

/// Node id, host and port of each broker, as they are reached through the same kind of door.
fn brokers(door: &Door) -> impl Iterator<Item = (BrokerId, StrBytes, i32)> {
    let secure = door.tls.is_some();
    door.cluster.addresses().iter().enumerate().map(move |(id, at)| {
        let address = if secure { at.tls.unwrap_or(at.plain) } else { at.plain };
        let host = StrBytes::from_string(address.ip().to_string());
        (BrokerId(i32::try_from(id).unwrap_or(0)), host, i32::from(address.port()))
    })
}

fn metadata(door: &Door, request: &MetadataRequest, version: i16) -> MetadataResponse {
    let all = || door.cluster.topics().iter().map(|topic| described(topic)).collect();
    let topics = match &request.topics {
        None => all(),
        // Before version 1 an empty list asks for all.
        Some(named) if named.is_empty() && version == 0 => all(),
        Some(named) => named
            .iter()
            .map(|wanted| {
                let may_create = request.allow_auto_topic_creation || version < 4;
                let found = match &wanted.name {
                    Some(name) => door.cluster.topic(&name.0, may_create),
                    None => door.cluster.topic_by_id(wanted.topic_id.as_bytes()),
                };
                let code = if wanted.name.is_some() { UNKNOWN_TOPIC_OR_PARTITION } else { UNKNOWN_TOPIC_ID };
                found.map_or_else(
                    || {
                        MetadataResponseTopic::default()
                            .with_error_code(code)
                            .with_name(wanted.name.clone())
                            .with_topic_id(wanted.topic_id)
                    },
                    |topic| described(&topic),
                )
            })
            .collect(),
    };
    let broker = |(id, host, port)| MetadataResponseBroker::default().with_node_id(id).with_host(host).with_port(port);
    MetadataResponse::default()
        .with_brokers(brokers(door).map(broker).collect())
        .with_cluster_id(Some(StrBytes::from_static_str("tidegate-blackhole")))
        .with_controller_id(BrokerId(0))
        .with_topics(topics)
}

fn described(topic: &Topic) -> MetadataResponseTopic {
    let partition = |(index, partition): (usize, &super::cluster::Partition)| {
        let leader = BrokerId(i32::from(partition.leader));
        MetadataResponsePartition::default()
            .with_partition_index(i32::try_from(index).unwrap_or(i32::MAX))
            .with_leader_id(leader)
            .with_leader_epoch(0)
            .with_replica_nodes(vec![leader])
            .with_isr_nodes(vec![leader])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(topic.name.clone()))))
        .with_topic_id(Uuid::from_bytes(topic.id))
        .with_partitions(topic.partitions.iter().enumerate().map(partition).collect())
}

fn list_offsets(door: &Door, request: &ListOffsetsRequest, _: i16) -> ListOffsetsResponse {
    const EARLIEST: i64 = -2;
    let topics = request.topics.iter().map(|asked| {
        let topic = door.cluster.topic(&asked.name.0, false);
        let partitions = asked.partitions.iter().map(|asked| {
            let one = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            let Some(partition) = topic.as_ref().and_then(|topic| topic.partition(asked.partition_index)) else {
                return one.with_error_code(UNKNOWN_TOPIC_OR_PARTITION);
            };
            let (start, end) = match door.cluster.serves {
                Serves::Prepared => (0, PREPARED_RECORDS),
                Serves::Kept { .. } => {
                    let log = partition.log();
                    (log.start, log.next)
                }
            };
            one.with_offset(if asked.timestamp == EARLIEST { start } else { end }).with_leader_epoch(0)
        });
        ListOffsetsTopicResponse::default().with_name(asked.name.clone()).with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn find_coordinator(door: &Door, request: &FindCoordinatorRequest, version: i16) -> FindCoordinatorResponse {
    let all: Vec<_> = brokers(door).collect();
    let of = |key: &StrBytes| {
        let turn = key.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        // There is at least one broker.
        all[turn % all.len()].clone()
    };
    if version >= 4 {
        let coordinators = request.coordinator_keys.iter().map(|key| {
            let (id, host, port) = of(key);
            Coordinator::default().with_key(key.clone()).with_node_id(id).with_host(host).with_port(port)
        });
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    let (id, host, port) = of(&request.key);
    FindCoordinatorResponse::default().with_node_id(id).with_host(host).with_port(port)
}

/// Every member is the leader of a generation of its own: groups of one member work as they should,
/// larger ones read everything several times.
fn join_group(door: &Door, request: &JoinGroupRequest, _: i16) -> JoinGroupResponse {
    let mut groups = lock(&door.cluster.groups);
    let group = groups.entry(request.group_id.0.to_string()).or_default();
    group.generation += 1;
    let member = if request.member_id.is_empty() {
        StrBytes::from_string(format!("member-{}", group.generation))
    } else {
        request.member_id.clone()
    };
    let protocol = request.protocols.first();
    let metadata = protocol.map(|protocol| protocol.metadata.clone()).unwrap_or_default();
    JoinGroupResponse::default()
        .with_generation_id(group.generation)
        .with_protocol_type(Some(request.protocol_type.clone()))
        .with_protocol_name(Some(protocol.map(|protocol| protocol.name.clone()).unwrap_or_default()))
        .with_leader(member.clone())
        .with_member_id(member.clone())
        .with_members(vec![JoinGroupResponseMember::default().with_member_id(member).with_metadata(metadata)])
}

fn sync_group(door: &Door, request: &SyncGroupRequest, _: i16) -> SyncGroupResponse {
    let mut groups = lock(&door.cluster.groups);
    let group = groups.entry(request.group_id.0.to_string()).or_default();
    for given in &request.assignments {
        group.assignments.insert(given.member_id.to_string(), given.assignment.clone());
    }
    let assignment = group.assignments.remove(request.member_id.as_str()).unwrap_or_default();
    SyncGroupResponse::default()
        .with_protocol_type(request.protocol_type.clone())
        .with_protocol_name(request.protocol_name.clone())
        .with_assignment(assignment)
}

fn leave_group(_: &Door, request: &LeaveGroupRequest, _: i16) -> LeaveGroupResponse {
    let member = |member: &leave_group_request::MemberIdentity| {
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
    };
    LeaveGroupResponse::default().with_members(request.members.iter().map(member).collect())
}

fn offset_commit(door: &Door, request: &OffsetCommitRequest, _: i16) -> OffsetCommitResponse {
    let mut groups = lock(&door.cluster.groups);
    let group = groups.entry(request.group_id.0.to_string()).or_default();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            group.offsets.insert((topic.name.0.to_string(), partition.partition_index), partition.committed_offset);
            OffsetCommitResponsePartition::default().with_partition_index(partition.partition_index)
        });
        OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn offset_fetch(door: &Door, request: &OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    let groups = lock(&door.cluster.groups);
    let committed = |group: &GroupId, topic: &TopicName, partition: i32| {
        let found = groups.get(group.0.as_str()).and_then(|group| group.offsets.get(&(topic.0.to_string(), partition)));
        found.copied().unwrap_or(-1)
    };
    if version >= 8 {
        let groups = request.groups.iter().map(|group| {
            let topics = group.topics.iter().flatten().map(|topic| {
                let partitions = topic.partition_indexes.iter().map(|index| {
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(*index)
                        .with_committed_offset(committed(&group.group_id, &topic.name, *index))
                });
                OffsetFetchResponseTopics::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
            });
            OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_topics(topics.collect())
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let topics = request.topics.iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            OffsetFetchResponsePartition::default().with_partition_index(*index).with_committed_offset(committed(
                &request.group_id,
                &topic.name,
                *index,
            ))
        });
        OffsetFetchResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

fn init_producer_id(door: &Door) -> InitProducerIdResponse {
    let id = door.cluster.producer_ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0)
}

fn sasl_handshake() -> SaslHandshakeResponse {
    SaslHandshakeResponse::default().with_mechanisms(["PLAIN", "OAUTHBEARER"].map(StrBytes::from_static_str).to_vec())
}

fn create_topics(door: &Door, request: &CreateTopicsRequest, _: i16) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|wanted| {
        let result = CreatableTopicResult::default().with_name(wanted.name.clone());
        if door.cluster.topic(&wanted.name.0, false).is_some() {
            return result.with_error_code(TOPIC_ALREADY_EXISTS);
        }
        let partitions = u32::try_from(wanted.num_partitions).unwrap_or(1).clamp(1, 1000);
        if request.validate_only {
            return result.with_num_partitions(wanted.num_partitions);
        }
        match door.cluster.create(&wanted.name.0, partitions) {
            Some(topic) => result
                .with_topic_id(Uuid::from_bytes(topic.id))
                .with_num_partitions(i32::try_from(partitions).unwrap_or(1))
                .with_replication_factor(1),
            None => result.with_error_code(POLICY_VIOLATION),
        }
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

fn delete_topics(door: &Door, request: &DeleteTopicsRequest, _: i16) -> DeleteTopicsResponse {
    let named = request.topics.iter().filter_map(|topic| topic.name.clone());
    let responses = named.chain(request.topic_names.iter().cloned()).map(|name| {
        let code = if door.cluster.delete(&name.0) { 0 } else { UNKNOWN_TOPIC_OR_PARTITION };
        DeletableTopicResult::default().with_name(Some(name)).with_error_code(code)
    });
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

fn describe_configs(_: &Door, request: &DescribeConfigsRequest, _: i16) -> DescribeConfigsResponse {
    let result = |resource: &describe_configs_request::DescribeConfigsResource| {
        DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
    };
    DescribeConfigsResponse::default().with_results(request.resources.iter().map(result).collect())
}

fn describe_cluster(door: &Door) -> DescribeClusterResponse {
    let broker = |(id, host, port)| DescribeClusterBroker::default().with_broker_id(id).with_host(host).with_port(port);
    DescribeClusterResponse::default()
        .with_endpoint_type(1)
        .with_cluster_id(StrBytes::from_static_str("tidegate-blackhole"))
        .with_controller_id(BrokerId(0))
        .with_brokers(brokers(door).map(broker).collect())
}
