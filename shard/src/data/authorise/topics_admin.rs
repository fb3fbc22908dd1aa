//! Topics made, unmade and grown: CreateTopics, DeleteTopics, CreatePartitions, DeleteRecords.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tidegate_core::words::{Operation, Resource};
use uuid::Uuid;

use super::super::stage::Verdict;
use super::call::{Call, Left, Outcome};
use super::outcome::message;
use super::refuse::{merge, take_refused};

const DENIED: ResponseError = ResponseError::TopicAuthorizationFailed;

/// CreateTopics (key 19): CREATE on the cluster or on each topic. What a created topic is
/// configured with is told to who has DESCRIBE_CONFIGS on it.
pub(super) fn create(mut call: Call<'_, '_>) -> Outcome {
    let mut request: CreateTopicsRequest = call.decode()?;
    let asked: Vec<TopicName> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let all = call.may_quietly(Operation::Create, Resource::Cluster);
    let refused: Vec<_> = take_refused(&mut request.topics, |topic| {
        if all { None } else { call.refusal(Operation::Create, Resource::topic(&topic.name), DENIED) }
    })
    .into_iter()
    .map(|(topic, error)| {
        CreatableTopicResult::default()
            .with_name(topic.name)
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_static_str("Authorization failed.")))
    })
    .collect();
    let left = Left::of(!refused.is_empty(), !request.topics.is_empty());
    let tells_configs = call.version() >= 5;
    call.settle(left, &request, move |response: &mut CreateTopicsResponse, scope, _| {
        let mut changed = false;
        for topic in response.topics.iter_mut().filter(|topic| tells_configs && topic.error_code == 0) {
            if topic.error_code == 0 && !topic.topic_id.is_nil() {
                scope.topics.learn(topic.topic_id, &topic.name);
            }
            if !scope.may(Operation::DescribeConfigs, Resource::topic(&topic.name)) {
                topic.topic_config_error_code = DENIED.code();
                (topic.num_partitions, topic.replication_factor) = (-1, -1);
                topic.configs = Some(Vec::new());
                changed = true;
            }
        }
        Ok(merge(&mut response.topics, refused, &asked, |topic| topic.name.clone()) || changed)
    })
}

/// DeleteTopics (key 20): DELETE on the cluster or on each topic, by name or, from v6 on, by id. The name of a topic
/// asked for by id is told only to who may describe it.
///
/// A topic that may be described but not deleted is refused whether it exists or not; a broker
/// says that it does not exist, where it does not.
pub(super) fn delete(mut call: Call<'_, '_>) -> Outcome {
    let mut request: DeleteTopicsRequest = call.decode()?;
    let unresolved: Vec<Uuid> = request
        .topics
        .iter()
        .filter(|topic| topic.name.is_none())
        .map(|topic| topic.topic_id)
        .filter(|id| !id.is_nil() && call.scope.topics.name(id).is_none())
        .collect();
    if !unresolved.is_empty() && call.scope.may_resolve {
        return Ok(Verdict::Resolve(unresolved));
    }
    let by_name: Vec<Key> = request.topic_names.iter().map(|name| (Some(name.clone()), Uuid::nil())).collect();
    let asked: Vec<Key> = by_name.into_iter().chain(request.topics.iter().map(key)).collect();
    let all = call.may_quietly(Operation::Delete, Resource::Cluster);
    let mut refused: Vec<_> = take_refused(&mut request.topic_names, |name| {
        if all { None } else { call.refusal(Operation::Delete, Resource::topic(name), DENIED) }
    })
    .into_iter()
    .map(|(name, error)| result(Some(name), Uuid::nil(), error))
    .collect();
    request.topics.retain(|topic| match refuse_state(&mut call, topic, all) {
        None => true,
        Some(refusal) => {
            refused.push(refusal);
            false
        }
    });
    let left = Left::of(!refused.is_empty(), !request.topic_names.is_empty() || !request.topics.is_empty());
    call.settle(left, &request, move |response: &mut DeleteTopicsResponse, scope, _| {
        response.responses.iter().for_each(|deleted| scope.topics.forget(&deleted.topic_id));
        Ok(merge(&mut response.responses, refused, &asked, answered_key(&asked)))
    })
}

/// What names a topic to delete: its name, or its id.
type Key = (Option<TopicName>, Uuid);

fn key(topic: &DeleteTopicState) -> Key {
    (topic.name.clone(), topic.topic_id)
}

/// The key by which a result was asked for: a broker tells name and id, whichever was given.
fn answered_key(asked: &[Key]) -> impl Fn(&DeletableTopicResult) -> Key + '_ {
    |result| {
        let by_id = (None, result.topic_id);
        if !result.topic_id.is_nil() && asked.contains(&by_id) { by_id } else { (result.name.clone(), Uuid::nil()) }
    }
}

fn result(name: Option<TopicName>, id: Uuid, error: ResponseError) -> DeletableTopicResult {
    DeletableTopicResult::default()
        .with_name(name)
        .with_topic_id(id)
        .with_error_code(error.code())
        .with_error_message(message(error))
}

/// Why a topic is not deleted; `all` where every topic may be.
fn refuse_state(call: &mut Call<'_, '_>, topic: &DeleteTopicState, all: bool) -> Option<DeletableTopicResult> {
    let id = topic.topic_id;
    match (&topic.name, id.is_nil()) {
        (Some(_), true) | (None, false) if all => None,
        (Some(name), true) => {
            let error = call.refusal(Operation::Delete, Resource::topic(name), DENIED)?;
            Some(result(Some(name.clone()), id, error))
        }
        (None, false) => {
            let Some(name) = call.scope.topics.name(&id) else {
                return Some(result(None, id, ResponseError::UnknownTopicId));
            };
            let error = call.refusal(Operation::Delete, Resource::topic(&name), DENIED)?;
            let shown = call.scope.may(Operation::Describe, Resource::topic(&name));
            Some(result(shown.then(|| TopicName(StrBytes::from_string(name.to_string()))), id, error))
        }
        (name, _) => {
            let reason = if name.is_some() {
                "You may not specify both topic name and topic id."
            } else {
                "Neither topic name nor id were specified."
            };
            let reason = Some(StrBytes::from_static_str(reason));
            Some(result(name.clone(), id, ResponseError::InvalidRequest).with_error_message(reason))
        }
    }
}

/// CreatePartitions (key 37): ALTER on each topic.
pub(super) fn create_partitions(mut call: Call<'_, '_>) -> Outcome {
    let mut request: CreatePartitionsRequest = call.decode()?;
    let asked: Vec<TopicName> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let refused: Vec<_> =
        take_refused(&mut request.topics, |topic| call.refusal(Operation::Alter, Resource::topic(&topic.name), DENIED))
            .into_iter()
            .map(|(topic, error)| {
                CreatePartitionsTopicResult::default().with_name(topic.name).with_error_code(error.code())
            })
            .collect();
    let left = Left::of(!refused.is_empty(), !request.topics.is_empty());
    call.settle(left, &request, move |response: &mut CreatePartitionsResponse, _, _| {
        Ok(merge(&mut response.results, refused, &asked, |result| result.name.clone()))
    })
}

/// DeleteRecords (key 21): DELETE on each topic.
pub(super) fn delete_records(mut call: Call<'_, '_>) -> Outcome {
    let mut request: DeleteRecordsRequest = call.decode()?;
    let refusals = call.take_denied(Operation::Delete, &mut request.topics);
    call.settle(refusals.left(), &request, move |response: &mut DeleteRecordsResponse, _, _| {
        Ok(refusals.merge_into(&mut response.topics))
    })
}
