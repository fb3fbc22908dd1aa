//! The answer to a held request that may not pass: POLICY_VIOLATION for each thing that it asked,
//! in the layout of its API, with words that say which approval it waits for and how to ask.
//!
//! It is written as the upstream would have answered what authorisation left of the request, and
//! the authorising stage's own responder then adds what it had refused, in the request's order.
//!
//! DeleteRecords and the delegation-token APIs have no room for words in their responses.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_client_quotas_response as quotas;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::incremental_alter_configs_response as incremental;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_core::decode;

use super::subject::read;

/// The error code of every answer here.
pub(super) const CODE: i16 = ResponseError::PolicyViolation.code();

/// What the upstream would answer to a request of which it allows nothing, with `message`.
///
/// # Errors
/// The codec's words; for an API that is never held too.
pub(super) fn refusal(api: ApiKey, version: i16, body: &Bytes, message: &str) -> Result<Bytes, String> {
    let words = Some(StrBytes::from_string(message.to_owned()));
    match api {
        ApiKey::CreateTopics => {
            let request: CreateTopicsRequest = read(body, version)?;
            let result = |topic: create_topics_request::CreatableTopic| {
                let result = CreatableTopicResult::default().with_name(topic.name).with_error_code(CODE);
                result.with_error_message(words.clone())
            };
            let topics = request.topics.into_iter().map(result).collect();
            write(&CreateTopicsResponse::default().with_topics(topics), version)
        }
        ApiKey::DeleteTopics => {
            let request: DeleteTopicsRequest = read(body, version)?;
            let result = |name, id| {
                let result = DeletableTopicResult::default().with_name(name).with_topic_id(id).with_error_code(CODE);
                if version >= 5 { result.with_error_message(words.clone()) } else { result }
            };
            let by_name = request.topic_names.into_iter().map(|name| result(Some(name), uuid::Uuid::nil()));
            let by_state = request.topics.into_iter().map(|topic| result(topic.name, topic.topic_id));
            write(&DeleteTopicsResponse::default().with_responses(by_name.chain(by_state).collect()), version)
        }
        ApiKey::CreatePartitions => {
            let request: CreatePartitionsRequest = read(body, version)?;
            let result = |topic: create_partitions_request::CreatePartitionsTopic| {
                let result = CreatePartitionsTopicResult::default().with_name(topic.name).with_error_code(CODE);
                result.with_error_message(words.clone())
            };
            let results = request.topics.into_iter().map(result).collect();
            write(&CreatePartitionsResponse::default().with_results(results), version)
        }
        ApiKey::DeleteRecords => {
            let request: DeleteRecordsRequest = read(body, version)?;
            let partition = |p: delete_records_request::DeleteRecordsPartition| {
                let result = DeleteRecordsPartitionResult::default().with_partition_index(p.partition_index);
                result.with_low_watermark(-1).with_error_code(CODE)
            };
            let result = |topic: delete_records_request::DeleteRecordsTopic| {
                let partitions = topic.partitions.into_iter().map(partition).collect();
                DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
            };
            let topics = request.topics.into_iter().map(result).collect();
            write(&DeleteRecordsResponse::default().with_topics(topics), version)
        }
        ApiKey::AlterConfigs => {
            let request: AlterConfigsRequest = read(body, version)?;
            let result = |r: alter_configs_request::AlterConfigsResource| {
                let result = AlterConfigsResourceResponse::default().with_resource_type(r.resource_type);
                result.with_resource_name(r.resource_name).with_error_code(CODE).with_error_message(words.clone())
            };
            let responses = request.resources.into_iter().map(result).collect();
            write(&AlterConfigsResponse::default().with_responses(responses), version)
        }
        ApiKey::IncrementalAlterConfigs => {
            let request: IncrementalAlterConfigsRequest = read(body, version)?;
            let result = |r: incremental_alter_configs_request::AlterConfigsResource| {
                let result = incremental::AlterConfigsResourceResponse::default().with_resource_type(r.resource_type);
                result.with_resource_name(r.resource_name).with_error_code(CODE).with_error_message(words.clone())
            };
            let responses = request.resources.into_iter().map(result).collect();
            write(&IncrementalAlterConfigsResponse::default().with_responses(responses), version)
        }
        _ => credentials(api, version, body, words),
    }
}

fn credentials(api: ApiKey, version: i16, body: &Bytes, words: Option<StrBytes>) -> Result<Bytes, String> {
    match api {
        ApiKey::CreateAcls => {
            let request: CreateAclsRequest = read(body, version)?;
            let result = AclCreationResult::default().with_error_code(CODE).with_error_message(words);
            let results = vec![result; request.creations.len()];
            write(&CreateAclsResponse::default().with_results(results), version)
        }
        ApiKey::DeleteAcls => {
            let request: DeleteAclsRequest = read(body, version)?;
            let result = DeleteAclsFilterResult::default().with_error_code(CODE).with_error_message(words);
            let results = vec![result; request.filters.len()];
            write(&DeleteAclsResponse::default().with_filter_results(results), version)
        }
        ApiKey::AlterClientQuotas => {
            let request: AlterClientQuotasRequest = read(body, version)?;
            let entity = |e: alter_client_quotas_request::EntityData| {
                quotas::EntityData::default().with_entity_type(e.entity_type).with_entity_name(e.entity_name)
            };
            let entry = |entry: alter_client_quotas_request::EntryData| {
                let result = quotas::EntryData::default().with_error_code(CODE).with_error_message(words.clone());
                result.with_entity(entry.entity.into_iter().map(entity).collect())
            };
            let entries = request.entries.into_iter().map(entry).collect();
            write(&AlterClientQuotasResponse::default().with_entries(entries), version)
        }
        ApiKey::AlterUserScramCredentials => {
            let request: AlterUserScramCredentialsRequest = read(body, version)?;
            let deleted = request.deletions.into_iter().map(|deletion| deletion.name);
            let upserted = request.upsertions.into_iter().map(|upsertion| upsertion.name);
            let mut users: Vec<StrBytes> = deleted.chain(upserted).collect();
            users.sort();
            users.dedup();
            let result = |user| {
                let result = AlterUserScramCredentialsResult::default().with_user(user).with_error_code(CODE);
                result.with_error_message(words.clone())
            };
            let results = users.into_iter().map(result).collect();
            write(&AlterUserScramCredentialsResponse::default().with_results(results), version)
        }
        ApiKey::CreateDelegationToken => {
            let response = CreateDelegationTokenResponse::default().with_error_code(CODE);
            write(&response.with_issue_timestamp_ms(-1).with_expiry_timestamp_ms(-1).with_max_timestamp_ms(-1), version)
        }
        ApiKey::RenewDelegationToken => {
            let response = RenewDelegationTokenResponse::default().with_error_code(CODE);
            write(&response.with_expiry_timestamp_ms(-1), version)
        }
        ApiKey::ExpireDelegationToken => {
            let response = ExpireDelegationTokenResponse::default().with_error_code(CODE);
            write(&response.with_expiry_timestamp_ms(-1), version)
        }
        other => Err(format!("{other:?} is not held")),
    }
}

fn write<T: Encodable>(response: &T, version: i16) -> Result<Bytes, String> {
    decode::encode(response, version).map_err(|error| error.to_string())
}
