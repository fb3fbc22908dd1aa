//! The canonical form: equal for equal wishes, different for different ones, in every API.

use bytes::Bytes;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterUserScramCredentialsRequest, ApiKey, CreateTopicsRequest,
    IncrementalAlterConfigsRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::super::subject::{Subject, subject};
use super::delete;
use super::desk::{encoded, name};
use crate::data::topics::TopicIds;

pub(super) fn alter(topic: &str, settings: &[(&'static str, &'static str)]) -> IncrementalAlterConfigsRequest {
    let setting = |(name, value): &(&'static str, &'static str)| {
        let config = AlterableConfig::default().with_name(StrBytes::from_static_str(name));
        config.with_value(Some(StrBytes::from_static_str(value)))
    };
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configs(settings.iter().map(setting).collect());
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

fn create(topics: &[(&str, i32)], timeout: i32) -> CreateTopicsRequest {
    let config = |name, value| {
        let config = CreatableTopicConfig::default().with_name(StrBytes::from_static_str(name));
        config.with_value(Some(StrBytes::from_static_str(value)))
    };
    let topic = |(topic, partitions): &(&str, i32)| {
        let mut configs = vec![config("a", "1"), config("b", "2")];
        if timeout > 1000 {
            configs.reverse();
        }
        CreatableTopic::default().with_name(name(topic)).with_num_partitions(*partitions).with_configs(configs)
    };
    CreateTopicsRequest::default().with_topics(topics.iter().map(topic).collect()).with_timeout_ms(timeout)
}

fn quotas(users: &[&str], rate: f64) -> AlterClientQuotasRequest {
    let entry = |user: &&str| {
        let entity = EntityData::default().with_entity_type(StrBytes::from_static_str("user"));
        let entity = entity.with_entity_name(Some(StrBytes::from_string((*user).to_owned())));
        let op = OpData::default().with_key(StrBytes::from_static_str("producer_byte_rate")).with_value(rate);
        EntryData::default().with_entity(vec![entity]).with_ops(vec![op])
    };
    AlterClientQuotasRequest::default().with_entries(users.iter().map(entry).collect())
}

fn of(api: ApiKey, version: i16, body: Bytes) -> Subject {
    subject(api, version, &body, &TopicIds::new(10)).unwrap().unwrap()
}

#[test]
fn equal_wishes_are_equal_and_others_are_not() {
    let creates = |topics: &[(&str, i32)], timeout, version| {
        of(ApiKey::CreateTopics, version, encoded(&create(topics, timeout), version)).canonical
    };
    let first = creates(&[("a", 1), ("b", 2)], 1000, 7);
    assert_eq!(first, creates(&[("b", 2), ("a", 1)], 9000, 5), "order, timeout, version");
    assert_ne!(first, creates(&[("a", 1), ("b", 3)], 1000, 7), "partitions");
    assert_ne!(first, creates(&[("a", 1)], 1000, 7), "fewer topics");

    let deletes = |topics: &[&str]| of(ApiKey::DeleteTopics, 6, encoded(&delete(topics), 6)).canonical;
    assert_eq!(deletes(&["a", "b"]), deletes(&["b", "a"]));
    assert_ne!(deletes(&["a", "b"]), deletes(&["a", "c"]));

    let alters = |topic: &str, settings: &[(&'static str, &'static str)], version| {
        of(ApiKey::IncrementalAlterConfigs, version, encoded(&alter(topic, settings), version)).canonical
    };
    let first = alters("a", &[("x", "1"), ("y", "2")], 1);
    assert_eq!(first, alters("a", &[("y", "2"), ("x", "1")], 0));
    assert_ne!(first, alters("a", &[("x", "1"), ("y", "3")], 1));
    assert_ne!(first, alters("b", &[("x", "1"), ("y", "2")], 1));

    let quota = |users: &[&str], rate| of(ApiKey::AlterClientQuotas, 1, encoded(&quotas(users, rate), 1)).canonical;
    assert_eq!(quota(&["u", "v"], 5.0), quota(&["v", "u"], 5.0));
    assert_ne!(quota(&["u", "v"], 5.0), quota(&["u", "v"], 6.0));

    // A client draws another salt for each try. What it hashes with it nobody should learn from what is kept.
    let scram = |user: &'static str, iterations, salt: &'static [u8]| {
        let upsertion = ScramCredentialUpsertion::default()
            .with_name(StrBytes::from_static_str(user))
            .with_mechanism(2)
            .with_iterations(iterations)
            .with_salt(Bytes::from_static(salt))
            .with_salted_password(Bytes::from_static(salt));
        let request = AlterUserScramCredentialsRequest::default().with_upsertions(vec![upsertion]);
        of(ApiKey::AlterUserScramCredentials, 0, encoded(&request, 0))
    };
    let first = scram("u", 4096, b"first salt");
    assert_eq!(first.canonical, scram("u", 4096, b"another salt").canonical);
    assert!(!first.canonical.windows(10).any(|window| window == b"first salt"));
    assert_eq!(first.summary, "change SCRAM credentials: set that of u (SCRAM-SHA-512, 4096 iterations)");
    assert_ne!(first.canonical, scram("v", 4096, b"first salt").canonical, "user");
    assert_ne!(first.canonical, scram("u", 8192, b"first salt").canonical, "iterations");
}

#[test]
fn people_read_what_would_happen() {
    let summary = of(ApiKey::CreateTopics, 7, encoded(&create(&[("a", 3)], 1), 7)).summary;
    assert_eq!(summary, "create topics a (3 partitions)");
    let body = encoded(&alter("orders", &[("retention.ms", "5")]), 1);
    let altered = of(ApiKey::IncrementalAlterConfigs, 1, body);
    assert_eq!(altered.summary, "change the configuration of topic orders: set retention.ms=5");
    assert_eq!(altered.items[0].config.as_ref().unwrap().value.as_deref(), Some("5"));
    let many: Vec<String> = (0..500).map(|n| format!("topic-number-{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let summary = of(ApiKey::DeleteTopics, 6, encoded(&delete(&many), 6)).summary;
    assert!(summary.len() <= super::super::SUMMARY_BYTES_MAX + 8 && summary.ends_with('…'), "{summary}");
}
