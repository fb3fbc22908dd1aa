//! The bit fields of authorised operations (KIP-430) in Metadata, DescribeGroups, DescribeCluster
//! and the like: what *policy* lets the principal do, not what the upstream lets the gateway do.

use tidegate_core::words::{Operation, Resource};
use tidegate_policy::view::Decision;

use super::super::stage::Scope;

/// What a response says where the request did not ask.
pub(super) const NOT_ASKED: i32 = i32::MIN;

/// The operations that policy allows on a resource, among those that Kafka knows for its type
/// (`AclEntry.supportedOperations`), as a bit field of Kafka's operation codes.
pub(super) fn authorised(scope: &Scope<'_>, resource: Resource<'_>) -> i32 {
    use Operation as O;
    let supported: &[O] = match resource {
        Resource::Topic { .. } => {
            &[O::Read, O::Write, O::Create, O::Delete, O::Alter, O::Describe, O::DescribeConfigs, O::AlterConfigs]
        }
        Resource::Group(_) => &[O::Read, O::Delete, O::Describe, O::DescribeConfigs, O::AlterConfigs],
        Resource::TransactionalId(_) => &[O::Write, O::Describe, O::TwoPhaseCommit],
        Resource::Cluster => &[
            O::Create,
            O::Alter,
            O::Describe,
            O::ClusterAction,
            O::DescribeConfigs,
            O::AlterConfigs,
            O::IdempotentWrite,
        ],
        Resource::DelegationToken(_) => &[O::Describe],
        Resource::User(_) => &[O::CreateTokens, O::DescribeTokens],
    };
    supported.iter().filter(|o| scope.may(**o, resource)).fold(0, |field, operation| field | 1 << code(*operation))
}

/// Whether policy allows `operation` on every topic there is or will be. It is asked about a topic
/// that cannot exist (a name of one control character), so that only a grant of them all covers it.
pub(super) fn on_every_topic(scope: &Scope<'_>, operation: Operation) -> Decision {
    scope.view.authorise(operation, Resource::topic("\u{1}"), scope.now)
}

/// What the cluster's bit field says: nothing is allowed to who may not describe it.
pub(super) fn authorised_on_cluster(scope: &Scope<'_>) -> i32 {
    if scope.may(Operation::Describe, Resource::Cluster) { authorised(scope, Resource::Cluster) } else { 0 }
}

/// Kafka's code of an operation (`AclOperation`).
const fn code(operation: Operation) -> u32 {
    match operation {
        Operation::Read => 3,
        Operation::Write => 4,
        Operation::Create => 5,
        Operation::Delete => 6,
        Operation::Alter => 7,
        Operation::Describe => 8,
        Operation::ClusterAction => 9,
        Operation::DescribeConfigs => 10,
        Operation::AlterConfigs => 11,
        Operation::IdempotentWrite => 12,
        Operation::CreateTokens => 13,
        Operation::DescribeTokens => 14,
        Operation::TwoPhaseCommit => 15,
    }
}
