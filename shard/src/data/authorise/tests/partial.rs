//! Requests of which a part is refused: what still goes to the upstream, and what comes of its
//! answer.

use kafka_protocol::messages::*;

use super::super::super::stage::Verdict;
use super::gate::{Gate, id, text};

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

#[test]
fn partitions_are_refused_one_by_one_and_merged_in_order() {
    use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};

    let asked = |name: &str, partitions: &[i32]| {
        let partitions = partitions.iter().map(|i| ListOffsetsPartition::default().with_partition_index(*i)).collect();
        ListOffsetsTopic::default().with_name(topic(name)).with_partitions(partitions)
    };
    let answered = |name: &str, partitions: &[i32]| {
        let result = |i: &i32| ListOffsetsPartitionResponse::default().with_partition_index(*i).with_offset(100);
        ListOffsetsTopicResponse::default()
            .with_name(topic(name))
            .with_partitions(partitions.iter().map(result).collect())
    };
    let mut gate = Gate::new(&["topic: whole | describe", "topic: some, partitions: [0, 2] | read"]);
    let topics = vec![asked("secret", &[0]), asked("some", &[0, 1, 2]), asked("whole", &[7])];
    let decided = gate.ask(ApiKey::ListOffsets, 7, &ListOffsetsRequest::default().with_topics(topics));
    let decisions = decided.decisions();
    assert_eq!(
        decisions,
        [
            "topic secret describe -",
            "topic some/0 describe +",
            "topic some/1 describe -",
            "topic some/2 describe +",
            "topic whole describe +",
        ]
    );
    let (sent, waiting) = decided.rewritten::<ListOffsetsRequest>();
    assert_eq!(sent.topics, [asked("some", &[0, 2]), asked("whole", &[7])]);

    let upstream = ListOffsetsResponse::default().with_topics(vec![answered("whole", &[7]), answered("some", &[2, 0])]);
    let (got, draft): (ListOffsetsResponse, _) = gate.respond(waiting, &upstream);
    let told: Vec<_> = got
        .topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), p.partition_index, p.error_code, p.offset)))
        .collect();
    let told: Vec<_> =
        told.iter().map(|(name, index, error, offset)| (name.as_str(), *index, *error, *offset)).collect();
    assert_eq!(
        told,
        [("secret", 0, 29, -1), ("some", 0, 0, 100), ("some", 1, 29, -1), ("some", 2, 0, 100), ("whole", 7, 0, 100)]
    );
    assert!(draft.upstream_errors.is_empty(), "the gateway's refusals are not the upstream's");
}

#[test]
fn items_are_refused_one_by_one_and_merged_in_order() {
    let mut gate = Gate::new(&["group: b | delete", "group: c | delete"]);
    let names = ["a", "b", "x", "c"].map(group).to_vec();
    let decided = gate.ask(ApiKey::DeleteGroups, 2, &DeleteGroupsRequest::default().with_groups_names(names));
    let (sent, waiting) = decided.rewritten::<DeleteGroupsRequest>();
    assert_eq!(sent.groups_names, ["b", "c"].map(group));

    let deleted = |name, code| {
        delete_groups_response::DeletableGroupResult::default().with_group_id(group(name)).with_error_code(code)
    };
    let upstream = DeleteGroupsResponse::default().with_results(vec![deleted("c", 68), deleted("b", 0)]);
    let (got, draft): (DeleteGroupsResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!(got.results, [deleted("a", 30), deleted("b", 0), deleted("x", 30), deleted("c", 68)]);
    assert_eq!(draft.upstream_errors, [68]);
}

#[test]
fn one_denied_partition_fails_a_whole_transaction_without_asking() {
    use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;

    let added = |names: &[&str]| {
        let topic = |name: &&str| AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(vec![0, 1]);
        AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text("x")))
            .with_v3_and_below_topics(names.iter().map(topic).collect())
    };
    let grants = ["transactional_id: x | write", "topic: '*' | write"];
    for (denied, grants, names) in [
        ("secret", ["transactional_id: x | write", "topic: open | write"], ["open", "secret"]),
        // Brokers alone write to internal topics within a transaction, whatever is granted.
        ("__consumer_offsets", grants, ["open", "__consumer_offsets"]),
    ] {
        let decided = Gate::new(&grants).ask(ApiKey::AddPartitionsToTxn, 3, &added(&names));
        let answer: AddPartitionsToTxnResponse = decided.answer();
        for topic in answer.results_by_topic_v3_and_below {
            let expected = if **topic.name == *denied { 29 } else { 55 };
            let told: Vec<_> =
                topic.results_by_partition.iter().map(|p| (p.partition_index, p.partition_error_code)).collect();
            assert_eq!(told, [(0, expected), (1, expected)], "{}", &*topic.name);
        }
    }
    Gate::new(&grants).ask(ApiKey::AddPartitionsToTxn, 3, &added(&["open"])).forwarded();
}

#[test]
fn groups_and_their_topics_are_refused_apart() {
    use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
    use kafka_protocol::messages::offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
    };

    let asked = |name: &str, topics: Option<&[&str]>| {
        let ask =
            |name: &&str| OffsetFetchRequestTopics::default().with_name(topic(name)).with_partition_indexes(vec![0]);
        let topics = topics.map(|topics| topics.iter().map(ask).collect());
        OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(topics)
    };
    let answered = |name: &str, topics: &[(&str, i64, i16)]| {
        let tell = |(name, offset, code): &(&str, i64, i16)| {
            let partition =
                OffsetFetchResponsePartitions::default().with_committed_offset(*offset).with_error_code(*code);
            let partition = partition.with_metadata(Some(text("")));
            OffsetFetchResponseTopics::default().with_name(topic(name)).with_partitions(vec![partition])
        };
        OffsetFetchResponseGroup::default().with_group_id(group(name)).with_topics(topics.iter().map(tell).collect())
    };
    let mut gate = Gate::new(&["group: {prefix: mine} | read", "topic: open | read"]);
    let groups = vec![
        asked("other", None),
        asked("mine-1", Some(&["secret", "open"])),
        asked("mine-2", Some(&["secret"])),
        asked("mine-3", None),
    ];
    let decided = gate.ask(ApiKey::OffsetFetch, 9, &OffsetFetchRequest::default().with_groups(groups));
    let (sent, waiting) = decided.rewritten::<OffsetFetchRequest>();
    assert_eq!(sent.groups, [asked("mine-1", Some(&["open"])), asked("mine-3", None)]);

    let upstream = OffsetFetchResponse::default().with_groups(vec![
        answered("mine-1", &[("open", 5, 0)]),
        answered("mine-3", &[("open", 6, 0), ("secret", 7, 0)]),
    ]);
    let (got, _): (OffsetFetchResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!(
        got.groups,
        [
            answered("other", &[]).with_error_code(30),
            answered("mine-1", &[("secret", -1, 29), ("open", 5, 0)]),
            answered("mine-2", &[("secret", -1, 29)]),
            answered("mine-3", &[("open", 6, 0)]),
        ]
    );
}

#[test]
fn a_denied_group_is_not_asked_about_even_with_no_topics() {
    let request = OffsetCommitRequest::default().with_group_id(group("g"));
    let answer: OffsetCommitResponse = Gate::new(&[]).ask(ApiKey::OffsetCommit, 9, &request).answer();
    assert_eq!(answer, OffsetCommitResponse::default());
}

#[test]
fn an_error_of_the_whole_leaves_no_room_for_refusals() {
    use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};

    let deleted = |name| {
        let partitions = vec![OffsetDeleteRequestPartition::default()];
        OffsetDeleteRequestTopic::default().with_name(topic(name)).with_partitions(partitions)
    };
    let mut gate = Gate::new(&["group: g | delete", "topic: open | read"]);
    let topics = vec![deleted("open"), deleted("secret")];
    let request = OffsetDeleteRequest::default().with_group_id(group("g")).with_topics(topics);
    let (_, waiting) = gate.ask(ApiKey::OffsetDelete, 0, &request).rewritten::<OffsetDeleteRequest>();
    let upstream = OffsetDeleteResponse::default().with_error_code(69);
    let (got, draft): (OffsetDeleteResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!(got, upstream);
    assert_eq!(draft.upstream_errors, [69]);
}

#[test]
fn coordinators_of_unknown_things_are_not_asked_for() {
    let grants = ["cluster: true | cluster_action", "group: '*' | describe", "transactional_id: '*' | describe"];
    // Share groups have coordinators from v6 on.
    for (version, kind) in [(1, 2), (5, 2), (6, 3), (6, -1)] {
        let request = FindCoordinatorRequest::default().with_key_type(kind);
        let request =
            if version < 4 { request.with_key(text("k")) } else { request.with_coordinator_keys(vec![text("k")]) };
        let answer: FindCoordinatorResponse =
            Gate::new(&grants).ask(ApiKey::FindCoordinator, version, &request).answer();
        let code = answer.coordinators.first().map_or(answer.error_code, |coordinator| coordinator.error_code);
        assert_eq!(code, 42, "v{version} type {kind}");
    }
}

#[test]
fn each_user_is_told_once_that_credentials_may_not_be_altered() {
    use kafka_protocol::messages::alter_user_scram_credentials_request::{
        ScramCredentialDeletion, ScramCredentialUpsertion,
    };

    let request = AlterUserScramCredentialsRequest::default()
        .with_deletions(["bob", "carol"].map(|name| ScramCredentialDeletion::default().with_name(text(name))).to_vec())
        .with_upsertions(vec![ScramCredentialUpsertion::default().with_name(text("bob"))]);
    let answer: AlterUserScramCredentialsResponse =
        Gate::new(&[]).ask(ApiKey::AlterUserScramCredentials, 0, &request).answer();
    let told: Vec<_> = answer.results.iter().map(|result| (&*result.user, result.error_code)).collect();
    assert_eq!(told, [("bob", 31), ("carol", 31)]);
}

#[test]
fn who_may_not_join_is_told_of_no_protocol() {
    for (version, protocol) in [(6, Some("")), (7, None)] {
        let request = JoinGroupRequest::default().with_group_id(group("g"));
        let answer: JoinGroupResponse = Gate::new(&[]).ask(ApiKey::JoinGroup, version, &request).answer();
        assert_eq!((answer.error_code, answer.generation_id), (30, -1), "v{version}");
        assert_eq!(answer.protocol_name.as_deref(), protocol, "v{version}");
    }
}

#[test]
fn topics_are_deleted_by_id_once_their_names_are_known() {
    use kafka_protocol::messages::delete_topics_request::DeleteTopicState;

    let by_id = |number| DeleteTopicState::default().with_name(None).with_topic_id(id(number));
    let by_name = |name| DeleteTopicState::default().with_name(Some(topic(name)));
    let both = DeleteTopicState::default().with_name(Some(topic("odd"))).with_topic_id(id(9));
    let topics = vec![by_id(1), by_id(2), by_id(3), by_name("seen"), by_name("mine"), by_id(4), both];
    let request = DeleteTopicsRequest::default().with_topics(topics);

    let mut gate = Gate::new(&["topic: mine | delete", "topic: seen | describe"]);
    gate.topics.learn(id(1), "mine");
    gate.topics.learn(id(2), "secret");
    let decided = gate.ask(ApiKey::DeleteTopics, 6, &request);
    assert!(decided.draft.resources.is_empty());
    match decided.verdict {
        Verdict::Resolve(ids) => assert_eq!(ids, [id(3), id(4)]),
        _ => panic!("ids are to be resolved"),
    }
    gate.topics.learn(id(4), "seen");
    gate.may_resolve = false;
    let (sent, waiting) = gate.ask(ApiKey::DeleteTopics, 6, &request).rewritten::<DeleteTopicsRequest>();
    assert_eq!(sent.topics, [by_id(1), by_name("mine")]);

    let deleted = |name: Option<&str>, number, code| {
        delete_topics_response::DeletableTopicResult::default()
            .with_name(name.map(topic))
            .with_topic_id(if number == 0 { uuid::Uuid::nil() } else { id(number) })
            .with_error_code(code)
            .with_error_message(None)
    };
    let upstream =
        DeleteTopicsResponse::default().with_responses(vec![deleted(Some("mine"), 0, 3), deleted(Some("mine"), 1, 0)]);
    let (mut got, _): (DeleteTopicsResponse, _) = gate.respond(waiting, &upstream);
    got.responses.iter_mut().for_each(|r| r.error_message = None);
    assert_eq!(
        got.responses,
        [
            deleted(Some("mine"), 1, 0),
            // The name of what may not be described is not told, that of what may is.
            deleted(None, 2, 29),
            deleted(None, 3, 100),
            deleted(Some("seen"), 0, 29),
            deleted(Some("mine"), 0, 3),
            deleted(Some("seen"), 4, 29),
            deleted(Some("odd"), 9, 42),
        ]
    );
    assert!(gate.topics.name(&id(1)).is_none(), "a deleted topic's id is forgotten");
}

#[test]
fn unknown_ids_are_acknowledged_to_nobody() {
    use kafka_protocol::messages::share_acknowledge_request::{AcknowledgePartition, AcknowledgeTopic};

    let acknowledged = |number| {
        let partitions = vec![AcknowledgePartition::default()];
        AcknowledgeTopic::default().with_topic_id(id(number)).with_partitions(partitions)
    };
    let mut gate = Gate::new(&["group: g | read", "topic: t | read"]);
    gate.topics.learn(id(1), "t");
    gate.topics.learn(id(2), "secret");
    gate.may_resolve = false;
    let request = ShareAcknowledgeRequest::default().with_group_id(Some(group("g"))).with_topics(vec![
        acknowledged(3),
        acknowledged(2),
        acknowledged(1),
    ]);
    let (sent, waiting) = gate.ask(ApiKey::ShareAcknowledge, 1, &request).rewritten::<ShareAcknowledgeRequest>();
    assert_eq!(sent.topics, [acknowledged(1)]);

    let partition = share_acknowledge_response::PartitionData::default();
    let result = share_acknowledge_response::ShareAcknowledgeTopicResponse::default()
        .with_topic_id(id(1))
        .with_partitions(vec![partition]);
    let endpoint = share_acknowledge_response::NodeEndpoint::default()
        .with_node_id(BrokerId(4))
        .with_host(text("real"))
        .with_port(9092);
    let upstream = ShareAcknowledgeResponse::default().with_responses(vec![result]).with_node_endpoints(vec![endpoint]);
    let (got, _): (ShareAcknowledgeResponse, _) = gate.respond(waiting, &upstream);
    let (_, again) = gate.ask(ApiKey::ShareAcknowledge, 1, &request).rewritten::<ShareAcknowledgeRequest>();
    let failed = ShareAcknowledgeResponse::default().with_error_code(122);
    let (of_failed, _): (ShareAcknowledgeResponse, _) = gate.respond(again, &failed);
    assert_eq!(of_failed, failed, "an error of the whole stands alone");
    let told: Vec<_> = got.responses.iter().map(|t| (t.topic_id, t.partitions[0].error_code)).collect();
    assert_eq!(told, [(id(3), 100), (id(2), 29), (id(1), 0)]);
    assert_eq!((&*got.node_endpoints[0].host, got.node_endpoints[0].port), ("gw", 9104));
}

#[test]
fn resources_of_different_types_are_refused_apart() {
    use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
    use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;

    let asked = |kind, name| DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(name));
    let told = |kind, name, code| {
        let result = DescribeConfigsResult::default().with_resource_type(kind).with_resource_name(text(name));
        result.with_error_code(code).with_error_message(None)
    };
    let mut gate = Gate::new(&["topic: a | describe_configs"]);
    let resources = vec![asked(4, "1"), asked(2, "a"), asked(32, "a"), asked(2, "b")];
    let request = DescribeConfigsRequest::default().with_resources(resources);
    let (sent, waiting) = gate.ask(ApiKey::DescribeConfigs, 4, &request).rewritten::<DescribeConfigsRequest>();
    assert_eq!(sent.resources, [asked(2, "a")]);
    let upstream = DescribeConfigsResponse::default().with_results(vec![told(2, "a", 0)]);
    let (mut got, _): (DescribeConfigsResponse, _) = gate.respond(waiting, &upstream);
    got.results.iter_mut().for_each(|r| r.error_message = None);
    let expected = [told(4, "1", 31), told(2, "a", 0), told(32, "a", 30), told(2, "b", 29)];
    assert_eq!(got.results, expected);

    let request = DescribeConfigsRequest::default().with_resources(vec![asked(2, "a"), asked(7, "a")]);
    let answer: DescribeConfigsResponse = gate.ask(ApiKey::DescribeConfigs, 4, &request).answer();
    let codes: Vec<_> = answer.results.iter().map(|r| (r.resource_type, r.error_code)).collect();
    assert_eq!(codes, [(2, 42), (7, 42)], "an unknown type refuses them all");
}
