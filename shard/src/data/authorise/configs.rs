//! Configurations and client quotas.
//!
//! A topic's or a group's configuration needs the right on it; all others (brokers, their loggers,
//! client metrics) need it on the cluster, and so do quotas.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_client_quotas_response as quotas;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_response as incremental;
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, AlterConfigsRequest, AlterConfigsResponse,
    DescribeClientQuotasRequest, DescribeClientQuotasResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListConfigResourcesRequest,
    ListConfigResourcesResponse,
};
use kafka_protocol::protocol::StrBytes;
use tidegate_core::words::{Operation, Resource};

use super::call::{Call, Left, Outcome};
use super::outcome::message;
use super::refuse::{merge, take_refused};

const CLUSTER_DENIED: ResponseError = ResponseError::ClusterAuthorizationFailed;

/// Kafka's `ConfigResource.Type`.
mod resource_type {
    pub(super) const TOPIC: i8 = 2;
    pub(super) const BROKER: i8 = 4;
    pub(super) const BROKER_LOGGER: i8 = 8;
    pub(super) const CLIENT_METRICS: i8 = 16;
    pub(super) const GROUP: i8 = 32;
    pub(super) const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
}

/// Why `operation` on a configuration is refused. A type that Kafka does not know is.
fn refusal(call: &mut Call<'_, '_>, operation: Operation, kind: i8, name: &str) -> Option<ResponseError> {
    use resource_type::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
    match kind {
        TOPIC => call.refusal(operation, Resource::topic(name), ResponseError::TopicAuthorizationFailed),
        GROUP => call.refusal(operation, Resource::Group(name), ResponseError::GroupAuthorizationFailed),
        BROKER | BROKER_LOGGER | CLIENT_METRICS => call.refusal(operation, Resource::Cluster, CLUSTER_DENIED),
        _ => Some(ResponseError::InvalidRequest),
    }
}

/// DescribeConfigs (key 32). One resource of an unknown type makes a broker refuse them all.
pub(super) fn describe(mut call: Call<'_, '_>) -> Outcome {
    let mut request: DescribeConfigsRequest = call.decode()?;
    let any_unknown = request.resources.iter().any(|resource| !resource_type::ALL.contains(&resource.resource_type));
    let asked: Vec<_> = request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
    let refused: Vec<_> = take_refused(&mut request.resources, |resource| {
        if any_unknown {
            return Some(ResponseError::InvalidRequest);
        }
        refusal(&mut call, Operation::DescribeConfigs, resource.resource_type, &resource.resource_name)
    })
    .into_iter()
    .map(|(resource, error)| {
        DescribeConfigsResult::default()
            .with_error_code(error.code())
            .with_error_message(message(error))
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    })
    .collect();
    let left = Left::of(!refused.is_empty(), !request.resources.is_empty());
    call.settle(left, &request, move |response: &mut DescribeConfigsResponse, _, _| {
        Ok(merge(&mut response.results, refused, &asked, |r| (r.resource_type, r.resource_name.clone())))
    })
}

/// AlterConfigs and IncrementalAlterConfigs differ in what is asked per setting, not in who may ask.
macro_rules! alter {
    ($(#[$doc:meta])* $name:ident, $request:ty, $response:ty, $result:ty) => {
        $(#[$doc])*
        pub(super) fn $name(mut call: Call<'_, '_>) -> Outcome {
            let mut request: $request = call.decode()?;
            let asked: Vec<_> = request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
            let refused: Vec<_> = take_refused(&mut request.resources, |resource| {
                refusal(&mut call, Operation::AlterConfigs, resource.resource_type, &resource.resource_name)
            })
            .into_iter()
            .map(|(resource, error)| {
                <$result>::default()
                    .with_error_code(error.code())
                    .with_error_message(alter_message(error, resource.resource_type))
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name)
            })
            .collect();
            let left = Left::of(!refused.is_empty(), !request.resources.is_empty());
            call.settle(left, &request, move |response: &mut $response, _, _| {
                Ok(merge(&mut response.responses, refused, &asked, |r| (r.resource_type, r.resource_name.clone())))
            })
        }
    };
}

alter! {
    /// AlterConfigs (key 33).
    alter, AlterConfigsRequest, AlterConfigsResponse, AlterConfigsResourceResponse
}

alter! {
    /// IncrementalAlterConfigs (key 44).
    alter_incrementally,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
    incremental::AlterConfigsResourceResponse
}

fn alter_message(error: ResponseError, kind: i8) -> Option<StrBytes> {
    match error {
        ResponseError::InvalidRequest => Some(StrBytes::from_string(format!("Unknown resource type {kind}"))),
        _ => message(error),
    }
}

/// ListConfigResources (key 74), up to v0 the list of client metrics: DESCRIBE_CONFIGS on the cluster.
pub(super) fn list(mut call: Call<'_, '_>) -> Outcome {
    let _: ListConfigResourcesRequest = call.decode()?;
    let refusal = call.refusal(Operation::DescribeConfigs, Resource::Cluster, CLUSTER_DENIED);
    call.decide(refusal, |error| ListConfigResourcesResponse::default().with_error_code(error.code()))
}

/// DescribeClientQuotas (key 48): DESCRIBE_CONFIGS on the cluster.
pub(super) fn describe_quotas(mut call: Call<'_, '_>) -> Outcome {
    let _: DescribeClientQuotasRequest = call.decode()?;
    let refusal = call.refusal(Operation::DescribeConfigs, Resource::Cluster, CLUSTER_DENIED);
    call.decide(refusal, |error| {
        let response = DescribeClientQuotasResponse::default().with_error_code(error.code());
        response.with_error_message(message(error)).with_entries(None)
    })
}

/// AlterClientQuotas (key 49): ALTER_CONFIGS on the cluster.
pub(super) fn alter_quotas(mut call: Call<'_, '_>) -> Outcome {
    let request: AlterClientQuotasRequest = call.decode()?;
    let refusal = call.refusal(Operation::AlterConfigs, Resource::Cluster, CLUSTER_DENIED);
    call.decide(refusal, |error| {
        let entity = |e: kafka_protocol::messages::alter_client_quotas_request::EntityData| {
            quotas::EntityData::default().with_entity_type(e.entity_type).with_entity_name(e.entity_name)
        };
        let entries = request.entries.into_iter().map(|entry| {
            quotas::EntryData::default()
                .with_error_code(error.code())
                .with_error_message(message(error))
                .with_entity(entry.entity.into_iter().map(entity).collect())
        });
        AlterClientQuotasResponse::default().with_entries(entries.collect())
    })
}
