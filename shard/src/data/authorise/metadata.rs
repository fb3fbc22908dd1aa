//! Metadata: which topics there are, and where.
//!
//! Topics need DESCRIBE. A listing is filtered; a topic that was named is refused by name. Topic
//! ids are no secret to a broker, so a topic asked for by id is looked up upstream and refused in
//! the response. Whatever a response tells of ids and addresses is learned on the way.

use std::collections::HashSet;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use tidegate_core::words::{Operation, Resource};
use uuid::Uuid;

use super::super::addresses;
use super::super::stage::{Draft, Scope};
use super::call::{Call, Edited, Outcome};
use super::operations;
use super::refuse::{merge, take_refused};

/// The first version in which a client says whether topics may be created on the way.
const SAYS_AUTO_CREATION: i16 = 4;
/// The first version in which a topic's name may be left out of a response.
const NAME_MAY_BE_NULL: i16 = 12;

const DENIED: ResponseError = ResponseError::TopicAuthorizationFailed;

/// Metadata (key 3).
///
/// An unknown topic that the upstream would create needs CREATE on it or on the cluster. Where the
/// principal lacks that for any topic named, the upstream is asked without auto-creation, and the
/// unknown ones are refused as a broker does. Up to v3 there is no asking without: the upstream is
/// then asked in v4, whose response has the same parts.
pub(super) fn metadata(mut call: Call<'_, '_>) -> Outcome {
    let mut request: MetadataRequest = call.decode()?;
    let version = call.version();
    let mut reply = Reply {
        version,
        listing: true,
        topic_operations: request.include_topic_authorized_operations,
        cluster_operations: request.include_cluster_authorized_operations,
        ..Reply::default()
    };
    let Some(topics) = request.topics.as_mut().filter(|topics| version > 0 || !topics.is_empty()) else {
        return call.pass_then(move |response: &mut _, scope, draft| reply.fit(response, scope, draft));
    };
    reply.listing = false;
    reply.asked = topics.iter().map(key_asked).collect();
    reply.refused = take_refused(topics, |topic| {
        let name = topic.name.as_ref().filter(|_| topic.topic_id.is_nil())?;
        call.refusal(Operation::Describe, Resource::topic(name), DENIED)
    })
    .into_iter()
    .filter_map(|(topic, _)| topic.name.map(|name| refused_topic(Some(name), Uuid::nil())))
    .collect();
    reply.creates = version < SAYS_AUTO_CREATION || request.allow_auto_topic_creation;
    let mut may_create_all = true;
    if reply.creates && !call.scope.may(Operation::Create, Resource::Cluster) {
        let mut names = topics.iter().filter_map(|topic| topic.name.clone());
        may_create_all = names.all(|name| call.scope.may(Operation::Create, Resource::topic(&name)));
    }
    if reply.refused.is_empty() && may_create_all {
        return call.pass_then(move |response: &mut _, scope, draft| reply.fit(response, scope, draft));
    }
    // Also where nothing is left to ask about: the response must name the brokers.
    request.allow_auto_topic_creation &= may_create_all;
    call.ask_in(version.max(SAYS_AUTO_CREATION), &request, move |response: &mut _, scope, draft| {
        reply.fit(response, scope, draft)
    })
}

/// A topic is matched between request and response by its name, or by its id where it was asked
/// for by id.
type TopicKey = (Option<TopicName>, Uuid);

fn key_asked(topic: &MetadataRequestTopic) -> TopicKey {
    if topic.topic_id.is_nil() { (topic.name.clone(), Uuid::nil()) } else { (None, topic.topic_id) }
}

fn refused_topic(name: Option<TopicName>, id: Uuid) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(DENIED.code()).with_name(name).with_topic_id(id)
}

/// What is to be done to a Metadata response.
#[derive(Default)]
struct Reply {
    version: i16,
    listing: bool,
    creates: bool,
    topic_operations: bool,
    cluster_operations: bool,
    asked: Vec<TopicKey>,
    refused: Vec<MetadataResponseTopic>,
}

impl Reply {
    fn fit(self, response: &mut MetadataResponse, scope: &mut Scope<'_>, draft: &mut Draft) -> Edited {
        addresses::rewrite_metadata(scope.addresses, response)?;
        let by_id: HashSet<Uuid> = self.asked.iter().map(|(_, id)| *id).filter(|id| !id.is_nil()).collect();
        response.topics.retain_mut(|topic| self.fit_topic(topic, by_id.contains(&topic.topic_id), scope, draft));
        merge(&mut response.topics, self.refused, &self.asked, |topic| {
            if by_id.contains(&topic.topic_id) { (None, topic.topic_id) } else { (topic.name.clone(), Uuid::nil()) }
        });
        if self.cluster_operations {
            response.cluster_authorized_operations = operations::authorised_on_cluster(scope);
        }
        Ok(true)
    }

    /// Whether the topic stays in the response, which then fits the principal.
    fn fit_topic(
        &self,
        topic: &mut MetadataResponseTopic,
        by_id: bool,
        scope: &mut Scope<'_>,
        draft: &mut Draft,
    ) -> bool {
        let Some(name) = topic.name.clone() else {
            // An unknown id: there is nothing but the error.
            if topic.error_code == ResponseError::UnknownTopicId.code() {
                scope.topics.forget(&topic.topic_id);
            }
            topic.partitions.clear();
            return topic.error_code != 0;
        };
        if topic.error_code == 0 {
            scope.topics.learn(topic.topic_id, &name);
        }
        let resource = Resource::topic(&name);
        let allowed = if by_id {
            scope.authorise(Operation::Describe, resource, draft)
        } else {
            scope.may(Operation::Describe, resource)
        };
        if !allowed {
            let name = (!by_id || self.version < NAME_MAY_BE_NULL).then_some(name);
            *topic = refused_topic(name, if by_id { topic.topic_id } else { Uuid::nil() });
            return !self.listing;
        }
        if self.creates && is_new(topic) {
            // Only now is it known that a topic was to be created; up to here the right was looked
            // up without an entry in the evidence.
            let on_cluster = scope.may(Operation::Create, Resource::Cluster);
            let created = if on_cluster { Resource::Cluster } else { resource };
            if !scope.authorise(Operation::Create, created, draft) {
                *topic = refused_topic(Some(name), Uuid::nil());
                return true;
            }
        }
        if self.topic_operations {
            topic.topic_authorized_operations = operations::authorised(scope, resource);
        }
        true
    }
}

/// Whether the upstream did not know the topic, or has just created it.
fn is_new(topic: &MetadataResponseTopic) -> bool {
    [ResponseError::UnknownTopicOrPartition, ResponseError::LeaderNotAvailable]
        .iter()
        .any(|e| e.code() == topic.error_code)
        && topic.partitions.is_empty()
}
