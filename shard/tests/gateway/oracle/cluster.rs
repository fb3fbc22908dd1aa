//! The cluster as a whole: ACLs, quotas, credentials, reassignments, log folders, elections, quorum.

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialDeletion;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AddRaftVoterRequest, AlterClientQuotasRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest,
    AlterUserScramCredentialsRequest, CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest,
    DescribeClientQuotasRequest, DescribeClusterRequest, DescribeLogDirsRequest, DescribeQuorumRequest,
    DescribeUserScramCredentialsRequest, ElectLeadersRequest, ListConfigResourcesRequest,
    ListPartitionReassignmentsRequest, RemoveRaftVoterRequest, TopicName, UnregisterBrokerRequest,
    UpdateFeaturesRequest,
};

use super::{Case, Names, broker, case, cluster, text, topic};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = security();
    cases.extend(partitions());
    cases.extend(whole());
    cases
}

fn security() -> Vec<Case> {
    let acls = |n: &Names| {
        DescribeAclsRequest::default()
            .with_resource_type_filter(2)
            .with_resource_name_filter(Some(n.text("no-such-topic")))
            .with_pattern_type_filter(3)
            .with_operation(1)
            .with_permission_type(1)
    };
    let created = |n: &Names| {
        let acl = AclCreation::default()
            .with_resource_type(2)
            .with_resource_name(n.text("made"))
            .with_resource_pattern_type(3)
            .with_principal(text("User:nobody"))
            .with_host(text("*"))
            .with_operation(3)
            .with_permission_type(3);
        CreateAclsRequest::default().with_creations(vec![acl])
    };
    let deleted = |n: &Names| {
        let filter = DeleteAclsFilter::default()
            .with_resource_type_filter(2)
            .with_resource_name_filter(Some(n.text("no-such-topic")))
            .with_pattern_type_filter(3)
            .with_operation(1)
            .with_permission_type(1);
        DeleteAclsRequest::default().with_filters(vec![filter])
    };
    let quotas = |_: &Names| DescribeClientQuotasRequest::default().with_strict(true);
    let set_quotas = |n: &Names| {
        let entity = EntityData::default().with_entity_type(text("user")).with_entity_name(Some(n.text("user")));
        let op = OpData::default().with_key(text("producer_byte_rate")).with_value(1e6);
        let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![op]);
        AlterClientQuotasRequest::default().with_entries(vec![entry]).with_validate_only(true)
    };
    let credentials = |n: &Names| {
        let user = UserName::default().with_name(n.text("nobody"));
        DescribeUserScramCredentialsRequest::default().with_users(Some(vec![user]))
    };
    let set_credentials = |n: &Names| {
        let deletion = ScramCredentialDeletion::default().with_name(n.text("nobody")).with_mechanism(1);
        AlterUserScramCredentialsRequest::default().with_deletions(vec![deletion])
    };
    vec![
        case("denied", 3, &[], acls),
        case("allowed", 3, &[cluster("describe")], acls),
        case("denied", 3, &[cluster("describe")], created),
        case("allowed", 2, &[cluster("alter")], created),
        case("denied", 3, &[cluster("describe")], deleted),
        case("allowed", 2, &[cluster("alter")], deleted),
        case("denied", 1, &[cluster("describe")], quotas),
        case("allowed", 1, &[cluster("describe_configs")], quotas),
        case("denied", 1, &[cluster("alter")], set_quotas),
        case("allowed", 0, &[cluster("alter_configs")], set_quotas),
        case("denied", 0, &[], credentials),
        case("allowed", 0, &[cluster("describe")], credentials),
        case("denied", 0, &[cluster("describe")], set_credentials),
        case("allowed", 0, &[cluster("alter")], set_credentials),
    ]
}

fn partitions() -> Vec<Case> {
    let reassigned = |n: &Names| {
        let partition = ReassignablePartition::default().with_partition_index(0).with_replicas(Some(vec![broker(1)]));
        let topic = ReassignableTopic::default().with_name(n.topic("a")).with_partitions(vec![partition]);
        AlterPartitionReassignmentsRequest::default().with_timeout_ms(10_000).with_topics(vec![topic])
    };
    let reassignments = |n: &Names| {
        let topic = ListPartitionReassignmentsTopics::default().with_name(n.topic("a")).with_partition_indexes(vec![0]);
        ListPartitionReassignmentsRequest::default().with_timeout_ms(10_000).with_topics(Some(vec![topic]))
    };
    let folders = |n: &Names| {
        let topic = DescribableLogDirTopic::default().with_topic(n.topic("a")).with_partitions(vec![0]);
        DescribeLogDirsRequest::default().with_topics(Some(vec![topic]))
    };
    let moved = |n: &Names| {
        let topic = AlterReplicaLogDirTopic::default().with_name(n.topic("a")).with_partitions(vec![0]);
        let folder = AlterReplicaLogDir::default().with_path(text("/nowhere")).with_topics(vec![topic]);
        AlterReplicaLogDirsRequest::default().with_dirs(vec![folder])
    };
    let elected = |n: &Names| {
        let topic = TopicPartitions::default().with_topic(n.topic("a")).with_partitions(vec![0]);
        ElectLeadersRequest::default().with_topic_partitions(Some(vec![topic])).with_timeout_ms(10_000)
    };
    vec![
        case("denied", 1, &[topic("a", "alter")], reassigned),
        case("allowed", 0, &[cluster("alter")], reassigned),
        case("denied", 0, &[topic("a", "describe")], reassignments),
        case("allowed", 0, &[cluster("describe")], reassignments),
        case("denied", 4, &[topic("a", "describe")], folders),
        case("denied", 1, &[], folders),
        case("allowed", 4, &[cluster("describe")], folders),
        case("denied", 2, &[topic("a", "alter")], moved),
        case("allowed", 1, &[cluster("alter")], moved),
        case("denied", 2, &[topic("a", "alter")], elected),
        case("allowed", 2, &[cluster("alter")], elected),
        case("denied", 0, &[cluster("describe")], elected),
    ]
}

fn whole() -> Vec<Case> {
    let described = |_: &Names| DescribeClusterRequest::default().with_endpoint_type(1);
    let quorum = |_: &Names| {
        let partition = PartitionData::default().with_partition_index(0);
        let topic = TopicData::default()
            .with_topic_name(TopicName(text("__cluster_metadata")))
            .with_partitions(vec![partition]);
        DescribeQuorumRequest::default().with_topics(vec![topic])
    };
    let features = |_: &Names| {
        let update = FeatureUpdateKey::default()
            .with_feature(text("no.such.feature"))
            .with_max_version_level(1)
            .with_upgrade_type(1);
        UpdateFeaturesRequest::default()
            .with_timeout_ms(10_000)
            .with_feature_updates(vec![update])
            .with_validate_only(true)
    };
    let unregistered = |_: &Names| UnregisterBrokerRequest::default().with_broker_id(broker(77));
    let resources = |_: &Names| ListConfigResourcesRequest::default().with_resource_types(vec![16]);
    let voter = |_: &Names| AddRaftVoterRequest::default().with_voter_id(77).with_timeout_ms(1000);
    let no_voter = |_: &Names| RemoveRaftVoterRequest::default().with_voter_id(77);
    vec![
        case("no right is needed", 1, &[], described),
        case("authorised operations, none", 1, &[], move |n| {
            described(n).with_include_cluster_authorized_operations(true)
        }),
        case("authorised operations", 0, &[cluster("describe"), cluster("alter")], move |n| {
            described(n).with_include_cluster_authorized_operations(true)
        }),
        case("denied", 2, &[], quorum),
        case("denied", 2, &[cluster("describe")], features),
        case("allowed", 1, &[cluster("alter")], features),
        case("denied", 0, &[cluster("describe")], unregistered),
        case("allowed", 0, &[cluster("alter")], unregistered),
        case("denied", 1, &[], resources),
        case("denied", 0, &[], |_| ListConfigResourcesRequest::default()),
        case("allowed", 1, &[cluster("describe_configs")], resources),
        case("denied", 0, &[cluster("describe")], voter),
        case("denied", 0, &[cluster("describe")], no_voter),
    ]
}
