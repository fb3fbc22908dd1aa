//! What a request would change, in the words of hold rules, and its canonical form.
//!
//! Canonical means: the same for every retry of the same wish, whoever's library encodes it. The
//! message is decoded, what has no effect is levelled (timeouts, the order of lists that are sets,
//! the older of two ways to say the same), and it is encoded again in one fixed version. All else
//! stays, fields that this release does not know included, so a request with another effect is
//! another request. Correlation id, client id and API version are the header's and never get here.
//!
//! A SCRAM credential's salt is drawn anew by the client for every try, and its hash with it, so that
//! nobody who lacks the password could tell two tries for the same one. Both are left out: what is
//! approved is that this user's credential is set, by this mechanism and as many iterations. Which
//! password it is the approver never learns, in the first try or another; that is the asker's choice.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterConfigsRequest, AlterUserScramCredentialsRequest, ApiKey, CreateAclsRequest,
    CreateDelegationTokenRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, ExpireDelegationTokenRequest, IncrementalAlterConfigsRequest,
    RenewDelegationTokenRequest, TopicName, delete_topics_request::DeleteTopicState,
};
use kafka_protocol::protocol::Encodable;
use tidegate_core::decode::{self, Body, decode_request};

use super::super::topics::TopicIds;
use super::{Kind, SUMMARY_BYTES_MAX};

/// Largest request body that is decoded here, in bytes: what authorisation accepts.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Kafka's `ConfigResource.Type.TOPIC`.
pub(super) const TOPIC: i8 = 2;
/// Kafka's `AlterConfigOp.OpType.SET`.
const SET: i8 = 0;

/// What one request would change.
#[derive(Debug)]
pub(super) struct Subject {
    /// Each thing that a rule may name.
    pub(super) items: Vec<Item>,
    /// The request's canonical bytes.
    pub(super) canonical: Bytes,
    /// For people: what would happen.
    pub(super) summary: String,
    /// How long the client is known to wait for the answer, in milliseconds, where it says.
    pub(super) patience_millis: Option<u64>,
}

/// One thing that would be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// What is done, as hold rules name it.
    pub(super) kind: Kind,
    /// The topic that it is done to; `None` where it is not about one topic.
    pub(super) topic: Option<String>,
    /// The setting that is changed; `None` where it is about none, or about all of them.
    pub(super) config: Option<Setting>,
}

/// A change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its name.
    pub(super) name: String,
    /// What it is set to; `None` where it is reset, appended to or subtracted from.
    pub(super) value: Option<String>,
}

/// What a request would change; `None` where hold rules know nothing of its API, or where it only
/// asks whether it could be done.
///
/// # Errors
/// The decoder's words where the body cannot be read.
pub(super) fn subject(api: ApiKey, version: i16, body: &Bytes, topics: &TopicIds) -> Result<Option<Subject>, String> {
    Ok(match api {
        ApiKey::CreateTopics => create_topics(read(body, version)?),
        ApiKey::DeleteTopics => Some(delete_topics(read(body, version)?, topics)),
        ApiKey::CreatePartitions => create_partitions(read(body, version)?),
        ApiKey::DeleteRecords => Some(delete_records(read(body, version)?)),
        ApiKey::AlterConfigs => alter_configs(read(body, version)?),
        ApiKey::IncrementalAlterConfigs => alter_incrementally(read(body, version)?),
        ApiKey::CreateAcls => Some(create_acls(read(body, version)?)),
        ApiKey::DeleteAcls => Some(delete_acls(read(body, version)?)),
        ApiKey::AlterClientQuotas => alter_quotas(read(body, version)?),
        ApiKey::AlterUserScramCredentials => Some(alter_scram(read(body, version)?)),
        ApiKey::CreateDelegationToken => Some(create_token(&read(body, version)?)),
        ApiKey::RenewDelegationToken => Some(token::<RenewDelegationTokenRequest>(&read(body, version)?, 2, "renew")),
        ApiKey::ExpireDelegationToken => {
            Some(token::<ExpireDelegationTokenRequest>(&read(body, version)?, 2, "expire"))
        }
        _ => None,
    })
}

/// Whether hold rules know an API that [`subject`] reads.
pub(super) fn is_known(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::CreateTopics
            | ApiKey::DeleteTopics
            | ApiKey::CreatePartitions
            | ApiKey::DeleteRecords
            | ApiKey::AlterConfigs
            | ApiKey::IncrementalAlterConfigs
            | ApiKey::CreateAcls
            | ApiKey::DeleteAcls
            | ApiKey::AlterClientQuotas
            | ApiKey::AlterUserScramCredentials
            | ApiKey::CreateDelegationToken
            | ApiKey::RenewDelegationToken
            | ApiKey::ExpireDelegationToken
    )
}

pub(super) fn read<T: Body>(body: &Bytes, version: i16) -> Result<T, String> {
    decode_request(body, version, BODY_BYTES_MAX).map_err(|error| error.to_string())
}

/// Encodes what was levelled. The version is fixed, so that clients of all versions say the same.
fn canonical<T: Encodable>(message: &T, version: i16) -> Bytes {
    // Every field that the version lacks was levelled. Should one be left, the bytes are none, and a
    // request that cannot be told from others must not pass by their approval: it is told by chance.
    decode::encode(message, version).unwrap_or_else(|_| Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes()))
}

/// How long a client that gives its request so long waits for the answer, in milliseconds: a little less, for what the
/// way takes. Clients that give none, or 0, wait by a time of their own.
pub(super) fn patience(timeout_millis: i32) -> Option<u64> {
    let timeout = u64::try_from(timeout_millis).ok().filter(|timeout| *timeout > 0)?;
    Some(timeout.saturating_sub((timeout / 10).max(100)))
}

/// Sorts a list that is a set.
fn sort<T: Encodable>(items: &mut [T], version: i16) {
    items.sort_by_cached_key(|item| {
        let mut bytes = BytesMut::new();
        // What cannot be written keeps its place among its like; it fails again as a whole.
        let _ = item.encode(&mut bytes, version);
        bytes
    });
}

/// Text for people that grows up to a bound.
struct Summary {
    text: String,
    count: usize,
}

impl Summary {
    fn new(what: &str) -> Self {
        Self { text: what.to_owned(), count: 0 }
    }

    fn add(&mut self, part: &str) {
        let separator = if self.count == 0 { " " } else { ", " };
        if self.text.len() + separator.len() + part.len() <= SUMMARY_BYTES_MAX {
            self.text.push_str(separator);
            self.text.extend(part.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
        } else if !self.text.ends_with('…') {
            self.text.push_str(", …");
        }
        self.count += 1;
    }
}

fn of_topic(kind: Kind, topic: &str) -> Item {
    Item { kind, topic: Some(topic.to_owned()), config: None }
}

fn of_cluster(kind: Kind) -> Item {
    Item { kind, topic: None, config: None }
}

fn create_topics(mut request: CreateTopicsRequest) -> Option<Subject> {
    const VERSION: i16 = 7;
    if request.validate_only {
        return None;
    }
    let patience_millis = patience(std::mem::take(&mut request.timeout_ms));
    let (mut items, mut summary) = (Vec::new(), Summary::new("create topics"));
    for topic in &mut request.topics {
        sort(&mut topic.assignments, VERSION);
        sort(&mut topic.configs, VERSION);
        items.push(of_topic(Kind::CreateTopics, &topic.name));
        let count =
            if topic.assignments.is_empty() { i64::from(topic.num_partitions) } else { topic.assignments.len() as i64 };
        summary.add(&format!("{} ({count} partitions)", topic.name.as_str()));
    }
    sort(&mut request.topics, VERSION);
    Some(Subject { items, canonical: canonical(&request, VERSION), summary: summary.text, patience_millis })
}

fn delete_topics(mut request: DeleteTopicsRequest, topics: &TopicIds) -> Subject {
    const VERSION: i16 = 6;
    let patience_millis = patience(std::mem::take(&mut request.timeout_ms));
    for name in std::mem::take(&mut request.topic_names) {
        request.topics.push(DeleteTopicState::default().with_name(Some(name)));
    }
    let (mut items, mut summary) = (Vec::new(), Summary::new("delete topics"));
    for topic in &request.topics {
        let known = topics.name(&topic.topic_id);
        let name = topic.name.as_ref().map(|name: &TopicName| name.as_str()).or(known.as_deref());
        // One by an unknown id does not exist, and the broker says so; a rule of all topics sees it.
        items.push(Item { kind: Kind::DeleteTopics, topic: name.map(str::to_owned), config: None });
        summary.add(name.unwrap_or("(unknown id)"));
    }
    sort(&mut request.topics, VERSION);
    Subject { items, canonical: canonical(&request, VERSION), summary: summary.text, patience_millis }
}

fn create_partitions(mut request: CreatePartitionsRequest) -> Option<Subject> {
    const VERSION: i16 = 3;
    if request.validate_only {
        return None;
    }
    let patience_millis = patience(std::mem::take(&mut request.timeout_ms));
    let (mut items, mut summary) = (Vec::new(), Summary::new("add partitions"));
    for topic in &request.topics {
        items.push(of_topic(Kind::CreatePartitions, &topic.name));
        summary.add(&format!("{} to {}", topic.name.as_str(), topic.count));
    }
    sort(&mut request.topics, VERSION);
    Some(Subject { items, canonical: canonical(&request, VERSION), summary: summary.text, patience_millis })
}

fn delete_records(mut request: DeleteRecordsRequest) -> Subject {
    const VERSION: i16 = 2;
    let patience_millis = patience(std::mem::take(&mut request.timeout_ms));
    let (mut items, mut summary) = (Vec::new(), Summary::new("delete records"));
    for topic in &mut request.topics {
        sort(&mut topic.partitions, VERSION);
        items.push(of_topic(Kind::DeleteRecords, &topic.name));
        for partition in &topic.partitions {
            let (name, index) = (topic.name.as_str(), partition.partition_index);
            match partition.offset {
                -1 => summary.add(&format!("{name}-{index} all")),
                offset => summary.add(&format!("{name}-{index} before offset {offset}")),
            }
        }
    }
    sort(&mut request.topics, VERSION);
    Subject { items, canonical: canonical(&request, VERSION), summary: summary.text, patience_millis }
}

/// Brokers and groups are named by their type's number: rules are about topics.
fn name_resource(kind: i8, name: &str) -> String {
    match kind {
        TOPIC => format!("topic {name}"),
        4 => format!("broker {}", if name.is_empty() { "defaults" } else { name }),
        8 => format!("loggers of broker {name}"),
        16 => format!("client metrics {name}"),
        32 => format!("group {name}"),
        other => format!("resource of type {other} {name}"),
    }
}

/// A setting for people. Settings of brokers may hold secrets: their values are not shown.
fn show_setting(kind: i8, name: &str, operation: &str, value: Option<&str>) -> String {
    match value {
        Some(value) if kind == TOPIC => format!("{operation} {name}={value}"),
        _ => format!("{operation} {name}"),
    }
}

/// AlterConfigs replaces all settings of a resource: what it does not name is reset. So it is about
/// all of them, whatever a rule's list says, and no exemption for single settings fits it.
fn alter_configs(mut request: AlterConfigsRequest) -> Option<Subject> {
    const VERSION: i16 = 2;
    if std::mem::take(&mut request.validate_only) {
        return None;
    }
    let (mut items, mut summary) = (Vec::new(), Summary::new("replace the configuration of"));
    for resource in &mut request.resources {
        sort(&mut resource.configs, VERSION);
        let kind = resource.resource_type;
        let topic = (kind == TOPIC).then(|| resource.resource_name.to_string());
        items.push(Item { kind: Kind::AlterConfigs, topic, config: None });
        let shown: Vec<String> =
            resource.configs.iter().map(|c| show_setting(kind, &c.name, "set", c.value.as_deref())).collect();
        summary.add(&format!("{}: {}", name_resource(kind, &resource.resource_name), shown.join(", ")));
    }
    sort(&mut request.resources, VERSION);
    Some(Subject { items, canonical: canonical(&request, VERSION), summary: summary.text, patience_millis: None })
}

fn alter_incrementally(mut request: IncrementalAlterConfigsRequest) -> Option<Subject> {
    const VERSION: i16 = 1;
    if std::mem::take(&mut request.validate_only) {
        return None;
    }
    let (mut items, mut summary) = (Vec::new(), Summary::new("change the configuration of"));
    for resource in &mut request.resources {
        sort(&mut resource.configs, VERSION);
        let kind = resource.resource_type;
        let mut shown = Vec::new();
        for config in &resource.configs {
            let value = config.value.as_ref().filter(|_| config.config_operation == SET).map(|v| v.to_string());
            items.push(Item {
                kind: Kind::AlterConfigs,
                topic: (kind == TOPIC).then(|| resource.resource_name.to_string()),
                config: Some(Setting { name: config.name.to_string(), value }),
            });
            let operation = match config.config_operation {
                SET => "set",
                1 => "reset",
                2 => "append to",
                3 => "subtract from",
                _ => "change",
            };
            shown.push(show_setting(kind, &config.name, operation, config.value.as_deref()));
        }
        summary.add(&format!("{}: {}", name_resource(kind, &resource.resource_name), shown.join(", ")));
    }
    sort(&mut request.resources, VERSION);
    Some(Subject { items, canonical: canonical(&request, VERSION), summary: summary.text, patience_millis: None })
}

fn create_acls(mut request: CreateAclsRequest) -> Subject {
    const VERSION: i16 = 3;
    let mut summary = Summary::new("create ACLs");
    for acl in &request.creations {
        summary.add(&format!(
            "{} {} operation {} on {}",
            if acl.permission_type == 2 { "deny" } else { "allow" },
            acl.principal.as_str(),
            acl.operation,
            acl.resource_name.as_str()
        ));
    }
    sort(&mut request.creations, VERSION);
    let items = vec![of_cluster(Kind::AlterAcls)];
    Subject { items, canonical: canonical(&request, VERSION), summary: summary.text, patience_millis: None }
}

fn delete_acls(mut request: DeleteAclsRequest) -> Subject {
    const VERSION: i16 = 3;
    let mut summary = Summary::new("delete ACLs");
    for filter in &request.filters {
        let any = |text: &Option<kafka_protocol::protocol::StrBytes>| text.as_deref().unwrap_or("any").to_owned();
        summary.add(&format!("of {} on {}", any(&filter.principal_filter), any(&filter.resource_name_filter)));
    }
    sort(&mut request.filters, VERSION);
    let items = vec![of_cluster(Kind::AlterAcls)];
    Subject { items, canonical: canonical(&request, VERSION), summary: summary.text, patience_millis: None }
}

fn alter_quotas(mut request: AlterClientQuotasRequest) -> Option<Subject> {
    const VERSION: i16 = 1;
    if std::mem::take(&mut request.validate_only) {
        return None;
    }
    let mut summary = Summary::new("change quotas of");
    for entry in &mut request.entries {
        sort(&mut entry.entity, VERSION);
        sort(&mut entry.ops, VERSION);
        let entity: Vec<String> = entry
            .entity
            .iter()
            .map(|e| format!("{} {}", e.entity_type.as_str(), e.entity_name.as_deref().unwrap_or("default")))
            .collect();
        let change = |op: &kafka_protocol::messages::alter_client_quotas_request::OpData| match op.remove {
            true => format!("remove {}", op.key.as_str()),
            false => format!("{}={}", op.key.as_str(), op.value),
        };
        let changes: Vec<String> = entry.ops.iter().map(change).collect();
        summary.add(&format!("{}: {}", entity.join(" and "), changes.join(", ")));
    }
    sort(&mut request.entries, VERSION);
    let items = vec![of_cluster(Kind::AlterQuotas)];
    Some(Subject { items, canonical: canonical(&request, VERSION), summary: summary.text, patience_millis: None })
}

/// Credentials are ways around ACLs: rules about ACLs hold them too.
fn alter_scram(mut request: AlterUserScramCredentialsRequest) -> Subject {
    const VERSION: i16 = 0;
    let mut summary = Summary::new("change SCRAM credentials:");
    request.deletions.iter().for_each(|deletion| summary.add(&format!("delete that of {}", deletion.name.as_str())));
    for upsertion in &mut request.upsertions {
        let (name, iterations) = (upsertion.name.as_str(), upsertion.iterations);
        summary.add(&format!("set that of {name} ({}, {iterations} iterations)", scram(upsertion.mechanism)));
        upsertion.salt = Bytes::new();
        upsertion.salted_password = Bytes::new();
    }
    sort(&mut request.deletions, VERSION);
    sort(&mut request.upsertions, VERSION);
    let items = vec![of_cluster(Kind::AlterAcls)];
    Subject { items, canonical: canonical(&request, VERSION), summary: summary.text, patience_millis: None }
}

/// Kafka's `ScramMechanism`.
fn scram(mechanism: i8) -> String {
    match mechanism {
        1 => "SCRAM-SHA-256".to_owned(),
        2 => "SCRAM-SHA-512".to_owned(),
        other => format!("mechanism {other}"),
    }
}

fn create_token(request: &CreateDelegationTokenRequest) -> Subject {
    let owner = request.owner_principal_name.as_deref().filter(|name| !name.is_empty());
    let mut summary = Summary::new("create a delegation token");
    summary.add(&format!("of {}", owner.unwrap_or("the gateway's own user")));
    let mut levelled = request.clone();
    sort(&mut levelled.renewers, 3);
    let items = vec![of_cluster(Kind::AlterAcls)];
    Subject { items, canonical: canonical(&levelled, 3), summary: summary.text, patience_millis: None }
}

/// Renewing and expiring a delegation token. Its HMAC is a credential and is not shown.
fn token<T: Encodable>(request: &T, version: i16, what: &str) -> Subject {
    let items = vec![of_cluster(Kind::AlterAcls)];
    Subject {
        items,
        canonical: canonical(request, version),
        summary: format!("{what} a delegation token"),
        patience_millis: None,
    }
}
