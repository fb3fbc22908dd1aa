//! What is filtered out of responses, and what is rewritten in them.

use bytes::Bytes;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::*;
use uuid::Uuid;

use super::gate::{Gate, body, decisions, id, text};

const UNKNOWN_TOPIC: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const DENIED: i16 = 29;
const UNKNOWN_ID: i16 = 100;

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Topics asked for by name.
fn ask(version: i16, names: &[&str]) -> MetadataRequest {
    let asked = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic(name)));
    let request = MetadataRequest::default().with_topics(Some(names.iter().map(asked).collect()));
    request.with_allow_auto_topic_creation(version < 4)
}

/// An upstream's response: topics by name, id and error.
fn tell(version: i16, topics: &[(&str, u128, i16)]) -> MetadataResponse {
    let told = |(name, number, error): &(&str, u128, i16)| {
        let partitions = if *error == 0 { vec![MetadataResponsePartition::default()] } else { Vec::new() };
        MetadataResponseTopic::default()
            .with_name((!name.is_empty()).then(|| topic(name)))
            .with_topic_id(if version >= 10 && *number > 0 { id(*number) } else { Uuid::nil() })
            .with_error_code(*error)
            .with_partitions(partitions)
            // What the upstream lets the gateway do: everything.
            .with_topic_authorized_operations(if version >= 8 { 0x7ff8 } else { i32::MIN })
    };
    let broker = MetadataResponseBroker::default().with_node_id(BrokerId(3)).with_host(text("real")).with_port(9092);
    let response = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_topics(topics.iter().map(told).collect())
        .with_cluster_id((version >= 2).then(|| text("c")));
    if version >= 1 { response.with_controller_id(BrokerId(3)) } else { response }
}

/// Topics of a response: name, whether it has an id, error, partitions.
fn told(response: &MetadataResponse) -> Vec<(String, bool, i16, usize)> {
    let tell = |t: &MetadataResponseTopic| {
        let name = t.name.as_ref().map_or(String::new(), |name| name.to_string());
        (name, !t.topic_id.is_nil(), t.error_code, t.partitions.len())
    };
    response.topics.iter().map(tell).collect()
}

fn row(name: &str, has_id: bool, error: i16, partitions: usize) -> (String, bool, i16, usize) {
    (name.to_owned(), has_id, error, partitions)
}

#[test]
fn a_listing_is_filtered_and_shows_the_gateways_addresses() {
    for version in 0..=13 {
        let mut gate = Gate::new(&["topic: a | read"]);
        let topics = if version == 0 { Some(Vec::new()) } else { None };
        let request = ask(version, &[]).with_topics(topics);
        let waiting = gate.ask(ApiKey::Metadata, version, &request).forwarded();
        let upstream = tell(version, &[("secret", 1, 0), ("a", 2, 0)]);
        let (got, _): (MetadataResponse, _) = gate.respond(waiting, &upstream);
        assert_eq!(told(&got), [row("a", version >= 10, 0, 1)], "v{version}");
        assert_eq!((&*got.brokers[0].host, got.brokers[0].port), ("gw", 9103), "v{version}");
        assert_eq!(gate.addresses.real(3), Some(("real", 9092)));
        assert_eq!(gate.topics.name(&id(1)).as_deref(), (version >= 10).then_some("secret"), "v{version}");
    }
}

#[test]
fn named_topics_are_refused_by_name_and_never_asked_for() {
    for version in 0..=13 {
        let mut gate = Gate::new(&["topic: a | read"]);
        let decided = gate.ask(ApiKey::Metadata, version, &ask(version, &["secret", "a"]));
        assert_eq!(decided.decisions(), ["topic secret describe -", "topic a describe +"], "v{version}");
        let (sent, waiting) = decided.rewritten::<MetadataRequest>();
        let names: Vec<_> = sent.topics.iter().flatten().filter_map(|t| t.name.clone()).collect();
        assert_eq!(names, [topic("a")], "v{version}");
        assert!(!sent.allow_auto_topic_creation, "v{version}");
        let (got, _): (MetadataResponse, _) = gate.respond(waiting, &tell(version.max(4), &[("a", 2, 0)]));
        assert_eq!(told(&got), [row("secret", false, DENIED, 0), row("a", version >= 10, 0, 1)], "v{version}");
        assert_eq!(got.brokers.len(), 1, "v{version}");
    }
}

#[test]
fn where_all_is_refused_the_brokers_are_still_told() {
    for version in 0..=13 {
        let mut gate = Gate::new(&[]);
        let decided = gate.ask(ApiKey::Metadata, version, &ask(version, &["secret"]));
        let (sent, waiting) = decided.rewritten::<MetadataRequest>();
        assert_eq!(sent.topics, Some(Vec::new()), "v{version}");
        let (got, _): (MetadataResponse, _) = gate.respond(waiting, &tell(version.max(4), &[]));
        assert_eq!(told(&got), [row("secret", false, DENIED, 0)], "v{version}");
        assert_eq!(got.brokers.len(), 1, "v{version}");
    }
}

#[test]
fn an_unknown_topic_is_created_only_with_the_right_to() {
    let creates = |version| ask(version, &["new"]).with_allow_auto_topic_creation(true);
    for version in 0..=13 {
        // Without: asked without auto-creation, and refused where the topic is unknown.
        for (error, expected) in [(UNKNOWN_TOPIC, DENIED), (0, 0)] {
            let mut gate = Gate::new(&["topic: new | write"]);
            let decided = gate.ask(ApiKey::Metadata, version, &creates(version));
            let (sent, waiting) = decided.rewritten::<MetadataRequest>();
            assert!(!sent.allow_auto_topic_creation, "v{version}");
            let (got, draft): (MetadataResponse, _) =
                gate.respond(waiting, &tell(version.max(4), &[("new", 0, error)]));
            assert_eq!(got.topics[0].error_code, expected, "v{version}");
            let attempted = decisions(&draft).contains(&"topic new create -".to_owned());
            assert_eq!(attempted, expected == DENIED, "v{version}: an attempt is in the evidence, a known topic none");
        }
        // With, on the topic or the cluster: the very bytes go.
        for (grant, decision) in [
            ("topic: new | write, create", "topic new create +"),
            ("cluster: true | create", "cluster kafka-cluster create +"),
        ] {
            let mut gate = Gate::new(&["topic: new | write", grant]);
            let waiting = gate.ask(ApiKey::Metadata, version, &creates(version)).forwarded();
            let upstream = tell(version, &[("new", 0, LEADER_NOT_AVAILABLE)]);
            let (got, draft): (MetadataResponse, _) = gate.respond(waiting, &upstream);
            assert_eq!(got.topics[0].error_code, LEADER_NOT_AVAILABLE, "v{version}");
            assert!(decisions(&draft).contains(&decision.to_owned()), "v{version}: {:?}", decisions(&draft));
        }
    }
}

#[test]
fn topics_asked_for_by_id_are_refused_in_the_response() {
    for version in [12, 13] {
        let by_id = |number| MetadataRequestTopic::default().with_name(None).with_topic_id(id(number));
        let request = ask(version, &[]).with_topics(Some(vec![by_id(1), by_id(2), by_id(3)]));
        let mut gate = Gate::new(&["topic: a | describe"]);
        gate.topics.learn(id(3), "gone");
        let waiting = gate.ask(ApiKey::Metadata, version, &request).forwarded();
        let upstream = tell(version, &[("a", 2, 0), ("secret", 1, 0), ("", 3, UNKNOWN_ID)]);
        let (got, draft): (MetadataResponse, _) = gate.respond(waiting, &upstream);
        let expected = [("", DENIED, 0), ("a", 0, 1), ("", UNKNOWN_ID, 0)];
        // Nothing was taken out, so the upstream's order stands.
        let mut got: Vec<_> = told(&got);
        got.sort();
        let mut expected = expected.map(|(name, error, partitions)| row(name, true, error, partitions));
        expected.sort();
        assert_eq!(got, expected, "v{version}");
        assert_eq!(decisions(&draft), ["topic a describe +", "topic secret describe -"]);
        assert!(gate.topics.name(&id(3)).is_none());
    }
}

#[test]
fn operations_are_policys_not_the_upstreams() {
    let bits = |codes: &[u32]| codes.iter().fold(0i32, |field, code| field | 1 << code);
    let mut gate = Gate::new(&["topic: a | write", "cluster: true | create, describe"]);
    let request = ask(8, &["a"]).with_include_topic_authorized_operations(true);
    let request = request.with_include_cluster_authorized_operations(true);
    let waiting = gate.ask(ApiKey::Metadata, 8, &request).forwarded();
    let (got, _): (MetadataResponse, _) = gate.respond(waiting, &tell(8, &[("a", 0, 0)]));
    // Write brings describe.
    assert_eq!(got.topics[0].topic_authorized_operations, bits(&[4, 8]));
    assert_eq!(got.cluster_authorized_operations, bits(&[5, 8]) | bits(&[12]), "who writes may write idempotently");

    let mut gate = Gate::new(&["group: g | read, delete", "cluster: true | create"]);
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text("g"))]);
    let request = request.with_include_authorized_operations(true);
    let waiting = gate.ask(ApiKey::DescribeGroups, 5, &request).forwarded();
    let group = describe_groups_response::DescribedGroup::default().with_group_id(GroupId(text("g")));
    let upstream = DescribeGroupsResponse::default().with_groups(vec![group.with_authorized_operations(0x7ff8)]);
    let (got, _): (DescribeGroupsResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!(got.groups[0].authorized_operations, bits(&[3, 6, 8]));

    let request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
    let waiting = gate.ask(ApiKey::DescribeCluster, 1, &request).forwarded();
    let broker = describe_cluster_response::DescribeClusterBroker::default().with_host(text("real")).with_port(1);
    let upstream =
        DescribeClusterResponse::default().with_cluster_authorized_operations(0x7ff8).with_brokers(vec![broker]);
    let (got, _): (DescribeClusterResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!(got.cluster_authorized_operations, 0, "who may not describe the cluster may do nothing to it");
    assert_eq!((&*got.brokers[0].host, got.brokers[0].port), ("gw", 9100));
}

#[test]
fn controllers_are_not_shown() {
    for (endpoint, code) in [(2, 114), (3, 115)] {
        let request = DescribeClusterRequest::default().with_endpoint_type(endpoint);
        let answer: DescribeClusterResponse = Gate::new(&[]).ask(ApiKey::DescribeCluster, 1, &request).answer();
        assert_eq!((answer.error_code, answer.brokers.len()), (code, 0));
    }
    let mut gate = Gate::new(&["cluster: true | describe"]);
    let waiting = gate.ask(ApiKey::DescribeQuorum, 2, &DescribeQuorumRequest::default()).forwarded();
    let listener = describe_quorum_response::Listener::default().with_host(text("controller"));
    let node = describe_quorum_response::Node::default().with_listeners(vec![listener]);
    let upstream = DescribeQuorumResponse::default().with_nodes(vec![node]);
    let (got, _): (DescribeQuorumResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!((got.nodes.len(), got.nodes[0].listeners.len()), (1, 0));
}

#[test]
fn coordinators_are_shown_at_the_gateways_addresses() {
    use kafka_protocol::messages::find_coordinator_response::Coordinator;

    let mut gate = Gate::new(&["group: a | describe", "group: b | describe"]);
    let keys = ["a", "secret", "b"].map(text).to_vec();
    let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
    let (sent, waiting) = gate.ask(ApiKey::FindCoordinator, 4, &request).rewritten::<FindCoordinatorRequest>();
    assert_eq!(sent.coordinator_keys, ["a", "b"].map(text));
    let found = |key, node, host, port, code| {
        let found = Coordinator::default().with_key(text(key)).with_node_id(BrokerId(node)).with_host(text(host));
        found.with_port(port).with_error_code(code).with_error_message(None)
    };
    let upstream = FindCoordinatorResponse::default()
        .with_coordinators(vec![found("b", -1, "", -1, 15), found("a", 5, "real", 9092, 0)]);
    let (mut got, draft): (FindCoordinatorResponse, _) = gate.respond(waiting, &upstream);
    got.coordinators.iter_mut().for_each(|c| c.error_message = None);
    let expected = [found("a", 5, "gw", 9105, 0), found("secret", -1, "", -1, 30), found("b", -1, "", -1, 15)];
    assert_eq!(got.coordinators, expected);
    assert_eq!(draft.upstream_errors, [15]);

    let request = FindCoordinatorRequest::default().with_key(text("a"));
    let waiting = gate.ask(ApiKey::FindCoordinator, 3, &request).forwarded();
    let upstream = FindCoordinatorResponse::default().with_node_id(BrokerId(5)).with_host(text("real")).with_port(9092);
    let (got, _): (FindCoordinatorResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!((&*got.host, got.port), ("gw", 9105));
}

#[test]
fn a_broker_without_an_address_is_not_passed_on() {
    let mut gate = Gate::new(&[]);
    let waiting = gate.ask(ApiKey::Metadata, 5, &ask(5, &[]).with_topics(None)).forwarded();
    let mut upstream = tell(5, &[]);
    upstream.brokers[0].node_id = BrokerId(10);
    let error = gate.respond_bytes(waiting, body(&upstream, 5)).unwrap_err();
    assert!(error.to_string().contains("outside the node ids 0..=9"), "{error}");
}

#[test]
fn lists_of_groups_transactions_and_tokens_are_filtered() {
    let group = |name| list_groups_response::ListedGroup::default().with_group_id(GroupId(text(name)));
    for (grant, expected) in [("group: a | describe", vec!["a"]), ("cluster: true | describe", vec!["a", "b"])] {
        let mut gate = Gate::new(&[grant]);
        let waiting = gate.ask(ApiKey::ListGroups, 4, &ListGroupsRequest::default()).forwarded();
        let upstream = ListGroupsResponse::default().with_groups(vec![group("a"), group("b")]);
        let (got, _): (ListGroupsResponse, _) = gate.respond(waiting, &upstream);
        let names: Vec<_> = got.groups.iter().map(|g| g.group_id.to_string()).collect();
        assert_eq!(names, expected, "{grant}");
    }

    let state = |name| {
        list_transactions_response::TransactionState::default().with_transactional_id(TransactionalId(text(name)))
    };
    let mut gate = Gate::new(&["transactional_id: a | describe"]);
    let waiting = gate.ask(ApiKey::ListTransactions, 1, &ListTransactionsRequest::default()).forwarded();
    let upstream = ListTransactionsResponse::default().with_transaction_states(vec![state("a"), state("b")]);
    let (got, _): (ListTransactionsResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!(got.transaction_states, [state("a")]);

    let touched = |name| describe_transactions_response::TopicData::default().with_topic(topic(name));
    let described = |topics| {
        let state = describe_transactions_response::TransactionState::default();
        state.with_transactional_id(TransactionalId(text("a"))).with_topics(topics)
    };
    let mut gate = Gate::new(&["transactional_id: a | describe", "topic: open | describe"]);
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(text("a"))]);
    let waiting = gate.ask(ApiKey::DescribeTransactions, 0, &request).forwarded();
    let upstream = DescribeTransactionsResponse::default()
        .with_transaction_states(vec![described(vec![touched("secret"), touched("open")])]);
    let (got, _): (DescribeTransactionsResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!(got.transaction_states, [described(vec![touched("open")])]);

    let token = |owner| {
        let token = describe_delegation_token_response::DescribedDelegationToken::default();
        token
            .with_principal_type(text("User"))
            .with_principal_name(text(owner))
            .with_hmac(Bytes::from_static(b"secret"))
    };
    let mut gate = Gate::new(&["user: 'User:bob' | describe_tokens"]);
    let waiting = gate.ask(ApiKey::DescribeDelegationToken, 3, &DescribeDelegationTokenRequest::default()).forwarded();
    let upstream = DescribeDelegationTokenResponse::default().with_tokens(vec![token("carol"), token("bob")]);
    let (got, draft): (DescribeDelegationTokenResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!(got.tokens, [token("bob")]);
    assert_eq!(decisions(&draft), ["user User:bob describe_tokens +"]);
}

#[test]
fn all_topics_of_a_group_are_filtered() {
    use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseTopic;

    let fetched = |name| OffsetFetchResponseTopic::default().with_name(topic(name));
    let mut gate = Gate::new(&["group: g | describe", "topic: a | describe"]);
    let request = OffsetFetchRequest::default().with_group_id(GroupId(text("g"))).with_topics(None);
    let waiting = gate.ask(ApiKey::OffsetFetch, 5, &request).forwarded();
    let upstream = OffsetFetchResponse::default().with_topics(vec![fetched("secret"), fetched("a")]);
    let (got, _): (OffsetFetchResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!(got.topics, [fetched("a")]);
}

#[test]
fn a_group_that_holds_hidden_topics_is_not_described() {
    use kafka_protocol::messages::consumer_group_describe_response::{
        Assignment, DescribedGroup, Member, TopicPartitions,
    };

    let group = |name: &str, topics: &[&str]| {
        let held = topics.iter().map(|name| TopicPartitions::default().with_topic_name(topic(name))).collect();
        let member = Member::default().with_target_assignment(Assignment::default().with_topic_partitions(held));
        DescribedGroup::default().with_group_id(GroupId(text(name))).with_members(vec![member])
    };
    let mut gate = Gate::new(&["group: '*' | describe", "topic: a | describe"]);
    let ids = ["x", "y"].map(|name| GroupId(text(name))).to_vec();
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(ids);
    let waiting = gate.ask(ApiKey::ConsumerGroupDescribe, 1, &request).forwarded();
    let upstream =
        ConsumerGroupDescribeResponse::default().with_groups(vec![group("x", &["a", "secret"]), group("y", &["a"])]);
    let (got, draft): (ConsumerGroupDescribeResponse, _) = gate.respond(waiting, &upstream);
    assert_eq!((got.groups[0].error_code, got.groups[0].members.len()), (DENIED, 0));
    assert_eq!(got.groups[1], group("y", &["a"]));
    assert!(decisions(&draft).contains(&"topic secret describe -".to_owned()));
}

#[test]
fn configurations_of_created_topics_are_told_to_who_may_see_them() {
    use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};

    let created = |name: &str| {
        CreatableTopicResult::default()
            .with_name(topic(name))
            .with_num_partitions(3)
            .with_replication_factor(2)
            .with_configs(Some(vec![CreatableTopicConfigs::default()]))
    };
    let mut gate = Gate::new(&["topic: '*' | create", "topic: a | describe_configs"]);
    let topics = ["a", "b"].map(|name| create_topics_request::CreatableTopic::default().with_name(topic(name)));
    let request = CreateTopicsRequest::default().with_topics(topics.to_vec());
    let waiting = gate.ask(ApiKey::CreateTopics, 7, &request).forwarded();
    let failed = CreatableTopicResult::default().with_name(topic("c")).with_error_code(36);
    let upstream = CreateTopicsResponse::default().with_topics(vec![created("a"), created("b"), failed.clone()]);
    let (got, _): (CreateTopicsResponse, _) = gate.respond(waiting, &upstream);
    let hidden = CreatableTopicResult::default().with_name(topic("b")).with_topic_config_error_code(DENIED);
    assert_eq!(got.topics, [created("a"), hidden.with_configs(Some(Vec::new())).with_num_partitions(-1), failed]);
}

#[test]
fn pages_of_topics_do_not_tell_hidden_names() {
    use kafka_protocol::messages::describe_topic_partitions_request as asked;
    use kafka_protocol::messages::describe_topic_partitions_response as told;

    let topics = |topics: &[(&str, i32)]| -> Vec<_> {
        let partition = |i| told::DescribeTopicPartitionsResponsePartition::default().with_partition_index(i);
        let tell = |(name, partitions): &(&str, i32)| {
            let topic = told::DescribeTopicPartitionsResponseTopic::default().with_name(Some(topic(name)));
            topic.with_topic_authorized_operations(1 << 8).with_partitions((0..*partitions).map(partition).collect())
        };
        topics.iter().map(tell).collect()
    };
    let next = |name, partition| told::Cursor::default().with_topic_name(topic(name)).with_partition_index(partition);
    let from = |name, partition| asked::Cursor::default().with_topic_name(topic(name)).with_partition_index(partition);
    // The cursor asked with, the upstream's page and cursor, and those told.
    let hidden = [("a", 2), ("hidden", 9)];
    let cases = [
        (None, &hidden[..], Some(next("open", 1)), &[("a", 2)][..], Some(next("open", 1))),
        (None, &hidden, Some(next("payroll", 1)), &[("a", 2)], Some(next("p", 0))),
        (Some(from("p", 0)), &[("payroll", 1)], Some(next("payslips", 4)), &[], Some(next("pa", 0))),
        (Some(from("payroll", 0)), &[("payroll", 1)], Some(next("payroll", 2000)), &[], Some(next("payroll", 2000))),
        (None, &hidden, None, &[("a", 2)], None),
        // A page of the upstream's greatest size is cut to what the client asked for: 5 partitions.
        (None, &[("a", 3), ("hidden", 9), ("open", 4)], None, &[("a", 3), ("open", 2)], Some(next("open", 2))),
        (None, &[("a", 5), ("open", 1)], Some(next("payroll", 0)), &[("a", 5)], Some(next("open", 0))),
        (None, &[("a", 4), ("open", 1)], None, &[("a", 4), ("open", 1)], None),
    ];
    for (cursor, upstream, upstream_next, expected, expected_next) in cases {
        let mut gate = Gate::new(&["topic: a | describe", "topic: open | describe"]);
        let request = DescribeTopicPartitionsRequest::default().with_cursor(cursor).with_response_partition_limit(5);
        let decided = gate.ask(ApiKey::DescribeTopicPartitions, 0, &request);
        let (sent, waiting) = decided.rewritten::<DescribeTopicPartitionsRequest>();
        assert_eq!((sent.topics.len(), sent.response_partition_limit), (0, i32::MAX));
        let page =
            DescribeTopicPartitionsResponse::default().with_topics(topics(upstream)).with_next_cursor(upstream_next);
        let (got, _): (DescribeTopicPartitionsResponse, _) = gate.respond(waiting, &page);
        assert_eq!((got.topics, got.next_cursor), (topics(expected), expected_next));
    }
    let mut gate = Gate::new(&["topic: '*' | describe"]);
    gate.ask(ApiKey::DescribeTopicPartitions, 0, &DescribeTopicPartitionsRequest::default()).forwarded();
}

#[test]
fn a_page_that_begins_at_a_hidden_topic_begins_behind_it() {
    use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};

    let asked = |names: &[&str]| names.iter().map(|name| TopicRequest::default().with_name(topic(name))).collect();
    let cursor = Cursor::default().with_topic_name(topic("b")).with_partition_index(9);
    let request: Vec<_> = asked(&["a", "b", "c"]);
    let request = DescribeTopicPartitionsRequest::default().with_topics(request).with_cursor(Some(cursor));
    let mut gate = Gate::new(&["topic: a | describe", "topic: c | describe"]);
    let (sent, waiting) =
        gate.ask(ApiKey::DescribeTopicPartitions, 0, &request).rewritten::<DescribeTopicPartitionsRequest>();
    let rest: Vec<_> = asked(&["c"]);
    assert_eq!((sent.topics, sent.cursor), (rest, None));
    let upstream = DescribeTopicPartitionsResponse::default();
    let (got, _): (DescribeTopicPartitionsResponse, _) = gate.respond(waiting, &upstream);
    let told: Vec<_> = got.topics.iter().map(|t| (t.name.clone(), t.error_code)).collect();
    assert_eq!(told, [(Some(topic("b")), DENIED)]);
}

#[test]
fn a_response_that_nothing_had_to_change_passes_as_it_came() {
    let mut gate = Gate::new(&["group: g | read"]);
    let request = HeartbeatRequest::default().with_group_id(GroupId(text("g")));
    let waiting = gate.ask(ApiKey::Heartbeat, 4, &request).forwarded();
    let sent = body(&HeartbeatResponse::default().with_error_code(27), 4);
    assert_eq!(gate.respond_bytes(waiting, sent).unwrap(), None);
}
