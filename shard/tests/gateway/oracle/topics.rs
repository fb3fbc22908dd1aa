//! Topics: metadata, creation, deletion, partitions, configurations.

use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterConfigsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, MetadataRequest, incremental_alter_configs_request,
};
use kafka_protocol::protocol::StrBytes;

use super::{Case, Names, case, cluster, group, text, topic, topics_from};

/// Kafka's `ConfigResource.Type`.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = metadata();
    cases.extend(creation());
    cases.extend(deletion());
    cases.extend(configuration());
    cases
}

fn metadata() -> Vec<Case> {
    let all = |_: &Names| MetadataRequest::default().with_topics(None);
    let named = |n: &Names| {
        let of = |name| MetadataRequestTopic::default().with_name(Some(n.topic(name)));
        MetadataRequest::default()
            .with_topics(Some(["a", "b", "none"].map(of).to_vec()))
            .with_allow_auto_topic_creation(false)
    };
    let created = |n: &Names| {
        let of = |name| MetadataRequestTopic::default().with_name(Some(n.topic(name)));
        MetadataRequest::default().with_topics(Some(["new"].map(of).to_vec())).with_allow_auto_topic_creation(true)
    };
    let ids = |n: &Names| {
        let of = |name| MetadataRequestTopic::default().with_topic_id(n.id(name)).with_name(None);
        MetadataRequest::default().with_topics(Some(["a", "b"].map(of).to_vec()))
    };
    let partitions = |n: &Names| {
        let of = |name| TopicRequest::default().with_name(n.topic(name));
        DescribeTopicPartitionsRequest::default()
            .with_topics(["a", "b", "none"].map(of).to_vec())
            .with_response_partition_limit(100)
    };
    let mut cases = vec![
        case("all, nothing allowed", 12, &[], all),
        case("all, one allowed", 12, &[topic("a", "describe")], all),
        case("all, one allowed", 13, &[topic("b", "read")], all),
        case("all, by prefix", 9, &[topics_from("", "describe")], all),
        case("ids, one of two allowed", 12, &[topic("a", "describe")], ids),
        case("ids, nothing allowed", 12, &[], ids),
        case("new, nothing allowed", 12, &[], created),
        case("new, describe only", 12, &[topic("new", "describe")], created),
        case("new, create without describe", 12, &[topic("new", "create")], created),
        case("new, cluster's create without describe", 8, &[cluster("create")], created),
        case("new, all", 12, &[topic("new", "create"), topic("new", "describe")], created),
        case("new, all, by the cluster", 4, &[cluster("create"), topic("new", "describe")], created),
        case("authorised operations", 12, &[topic("a", "write"), topic("b", "alter_configs")], move |n| {
            named(n).with_include_topic_authorized_operations(true)
        }),
        case("authorised operations", 8, &[topic("a", "read"), cluster("describe")], move |n| {
            named(n).with_include_topic_authorized_operations(true).with_include_cluster_authorized_operations(true)
        }),
        case("one of two allowed", 0, &[topic("a", "describe"), topic("none", "describe")], partitions),
        case("nothing allowed", 0, &[], partitions),
        case("all of them, one allowed", 0, &[topic("b", "read")], move |n| partitions(n).with_topics(Vec::new())),
    ];
    for version in [4, 9, 12] {
        cases.push(case("named, nothing allowed", version, &[], named));
        cases.push(case("named, some allowed", version, &[topic("a", "describe"), topic("none", "describe")], named));
    }
    cases
}

fn creation() -> Vec<Case> {
    let created = |n: &Names| {
        let of =
            |name| CreatableTopic::default().with_name(n.topic(name)).with_num_partitions(1).with_replication_factor(1);
        CreateTopicsRequest::default().with_topics(["new", "newer", "a"].map(of).to_vec()).with_timeout_ms(10_000)
    };
    let grown = |n: &Names| {
        let of = |name| CreatePartitionsTopic::default().with_name(n.topic(name)).with_count(2).with_assignments(None);
        CreatePartitionsRequest::default().with_topics(["a", "b", "none"].map(of).to_vec()).with_timeout_ms(10_000)
    };
    vec![
        case("nothing allowed", 7, &[], created),
        case("one allowed", 7, &[topic("new", "create")], created),
        case(
            "one allowed, with its configuration",
            7,
            &[topic("new", "create"), topic("new", "describe_configs")],
            created,
        ),
        case("all allowed by the cluster", 7, &[cluster("create")], created),
        case("by prefix", 5, &[topics_from("new", "create")], created),
        case("only validated", 4, &[topic("new", "create")], move |n| created(n).with_validate_only(true)),
        case("nothing allowed", 3, &[], grown),
        case("one of two allowed", 3, &[topic("a", "alter")], grown),
        case("describing is not altering", 1, &[topic("a", "describe"), topic("none", "alter")], grown),
    ]
}

fn deletion() -> Vec<Case> {
    let named = |n: &Names| {
        let of = |name| DeleteTopicState::default().with_name(Some(n.topic(name)));
        DeleteTopicsRequest::default().with_topics(["a", "b", "none"].map(of).to_vec()).with_timeout_ms(10_000)
    };
    let ids = |n: &Names| {
        let of = |name| DeleteTopicState::default().with_name(None).with_topic_id(n.id(name));
        DeleteTopicsRequest::default().with_topics(["a", "b"].map(of).to_vec()).with_timeout_ms(10_000)
    };
    let old = |n: &Names| {
        let names = ["a", "b"].map(|name| n.topic(name)).to_vec();
        DeleteTopicsRequest::default().with_topic_names(names).with_timeout_ms(10_000)
    };
    vec![
        case("nothing allowed", 6, &[], named),
        case("one deleted, one only described", 6, &[topic("a", "delete"), topic("b", "describe")], named),
        case("one that does not exist, allowed", 6, &[topic("none", "delete")], named),
        case("ids, one of two allowed", 6, &[topic("a", "delete")], ids),
        case("ids, only described", 6, &[topic("a", "describe"), topic("b", "describe")], ids),
        case("one of two allowed", 3, &[topic("b", "delete")], old),
    ]
}

fn configuration() -> Vec<Case> {
    let described = |n: &Names| {
        let of = |kind, name: StrBytes| {
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(name)
                .with_configuration_keys(Some(vec![text("retention.ms")]))
        };
        let resources = vec![
            of(TOPIC, n.text("a")),
            of(TOPIC, n.text("b")),
            of(TOPIC, n.text("none")),
            of(BROKER, text("1")),
            of(GROUP, n.text("g")),
        ];
        DescribeConfigsRequest::default().with_resources(resources)
    };
    let altered = |n: &Names| {
        let of = |kind, name: StrBytes| {
            let config = AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("86400000")));
            AlterConfigsResource::default().with_resource_type(kind).with_resource_name(name).with_configs(vec![config])
        };
        AlterConfigsRequest::default()
            .with_resources(vec![of(TOPIC, n.text("a")), of(TOPIC, n.text("b"))])
            .with_validate_only(true)
    };
    let incremental = |n: &Names| {
        use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
        let of = |kind, name: StrBytes, key| {
            let config = AlterableConfig::default().with_name(text(key)).with_value(Some(text("45000")));
            AlterConfigsResource::default().with_resource_type(kind).with_resource_name(name).with_configs(vec![config])
        };
        let resources = vec![
            of(TOPIC, n.text("a"), "retention.ms"),
            of(TOPIC, n.text("b"), "retention.ms"),
            of(BROKER, text(""), "log.cleaner.backoff.ms"),
            of(GROUP, n.text("g"), "consumer.session.timeout.ms"),
        ];
        IncrementalAlterConfigsRequest::default().with_resources(resources).with_validate_only(true)
    };
    vec![
        case("nothing allowed", 4, &[], described),
        case(
            "one of two topics allowed",
            4,
            &[topic("a", "describe_configs"), topic("none", "describe_configs")],
            described,
        ),
        case("the broker and the group", 1, &[cluster("describe_configs"), group("g", "describe_configs")], described),
        case("describing is not enough", 4, &[topic("a", "describe"), cluster("describe")], described),
        case("nothing allowed", 2, &[], altered),
        case("one of two allowed", 2, &[topic("a", "alter_configs")], altered),
        case("nothing allowed", 1, &[], incremental),
        case("one of two topics", 1, &[topic("a", "alter_configs")], incremental),
        case("the broker and the group", 0, &[cluster("alter_configs"), group("g", "alter_configs")], incremental),
    ]
}
