//! ACLs, SCRAM credentials and delegation tokens: what could lead a client out of the gateway's
//! authority. None of it is offered without a grant on the cluster.
//!
//! Stricter than a broker in one thing: any user may have a delegation token of its own from a
//! broker, but behind the gateway the user that the broker sees is the gateway's. So tokens are
//! made, renewed and expired only with ALTER on the cluster.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, CreateAclsRequest, CreateAclsResponse,
    CreateDelegationTokenRequest, CreateDelegationTokenResponse, DeleteAclsRequest, DeleteAclsResponse,
    DescribeAclsRequest, DescribeAclsResponse, DescribeDelegationTokenRequest, DescribeDelegationTokenResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse, ExpireDelegationTokenRequest,
    ExpireDelegationTokenResponse, RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};
use kafka_protocol::protocol::StrBytes;
use tidegate_core::words::{Operation, Resource};

use super::call::{Call, Outcome};
use super::outcome::message;

const CLUSTER_DENIED: ResponseError = ResponseError::ClusterAuthorizationFailed;
const TOKEN_DENIED: ResponseError = ResponseError::DelegationTokenAuthorizationFailed;

/// DescribeAcls (key 29): DESCRIBE on the cluster.
pub(super) fn describe_acls(mut call: Call<'_, '_>) -> Outcome {
    let _: DescribeAclsRequest = call.decode()?;
    let refusal = call.refusal(Operation::Describe, Resource::Cluster, CLUSTER_DENIED);
    call.decide(refusal, |error| {
        DescribeAclsResponse::default().with_error_code(error.code()).with_error_message(message(error))
    })
}

/// CreateAcls (key 30): ALTER on the cluster.
pub(super) fn create_acls(mut call: Call<'_, '_>) -> Outcome {
    let request: CreateAclsRequest = call.decode()?;
    let refusal = call.refusal(Operation::Alter, Resource::Cluster, CLUSTER_DENIED);
    call.decide(refusal, |error| {
        let result = AclCreationResult::default().with_error_code(error.code()).with_error_message(message(error));
        CreateAclsResponse::default().with_results(vec![result; request.creations.len()])
    })
}

/// DeleteAcls (key 31): ALTER on the cluster.
pub(super) fn delete_acls(mut call: Call<'_, '_>) -> Outcome {
    let request: DeleteAclsRequest = call.decode()?;
    let refusal = call.refusal(Operation::Alter, Resource::Cluster, CLUSTER_DENIED);
    call.decide(refusal, |error| {
        let result = DeleteAclsFilterResult::default().with_error_code(error.code()).with_error_message(message(error));
        DeleteAclsResponse::default().with_filter_results(vec![result; request.filters.len()])
    })
}

/// DescribeUserScramCredentials (key 50): DESCRIBE on the cluster.
pub(super) fn describe_scram(mut call: Call<'_, '_>) -> Outcome {
    let request: DescribeUserScramCredentialsRequest = call.decode()?;
    let refusal = call.refusal(Operation::Describe, Resource::Cluster, CLUSTER_DENIED);
    call.decide(refusal, |error| {
        // A broker answers once for each user asked for, and leaves the names out.
        let result = DescribeUserScramCredentialsResult::default()
            .with_error_code(error.code())
            .with_error_message(message(error));
        DescribeUserScramCredentialsResponse::default()
            .with_error_code(error.code())
            .with_error_message(message(error))
            .with_results(vec![result; request.users.map_or(0, |users| users.len())])
    })
}

/// AlterUserScramCredentials (key 51): ALTER on the cluster.
pub(super) fn alter_scram(mut call: Call<'_, '_>) -> Outcome {
    let request: AlterUserScramCredentialsRequest = call.decode()?;
    let refusal = call.refusal(Operation::Alter, Resource::Cluster, CLUSTER_DENIED);
    call.decide(refusal, |error| {
        let deleted = request.deletions.into_iter().map(|deletion| deletion.name);
        let upserted = request.upsertions.into_iter().map(|upsertion| upsertion.name);
        let mut users: Vec<StrBytes> = deleted.chain(upserted).collect();
        users.sort();
        users.dedup();
        let result = |user| {
            let result = AlterUserScramCredentialsResult::default().with_user(user).with_error_code(error.code());
            result.with_error_message(message(error))
        };
        AlterUserScramCredentialsResponse::default().with_results(users.into_iter().map(result).collect())
    })
}

/// CreateDelegationToken (key 38): ALTER on the cluster, and CREATE_TOKENS on the owner that it names.
pub(super) fn create_token(mut call: Call<'_, '_>) -> Outcome {
    let request: CreateDelegationTokenRequest = call.decode()?;
    let mut refusal = call.refusal(Operation::Alter, Resource::Cluster, TOKEN_DENIED);
    let owner = request.owner_principal_name.filter(|name| !name.is_empty());
    if let Some(owner) = owner.filter(|_| refusal.is_none()) {
        let owner = user(request.owner_principal_type.as_deref().unwrap_or_default(), &owner);
        refusal = call.refusal(Operation::CreateTokens, Resource::User(&owner), TOKEN_DENIED);
    }
    call.decide(refusal, |error| {
        CreateDelegationTokenResponse::default()
            .with_error_code(error.code())
            .with_issue_timestamp_ms(-1)
            .with_expiry_timestamp_ms(-1)
            .with_max_timestamp_ms(-1)
    })
}

/// A principal as Kafka writes it: `User:name`.
fn user(kind: &str, name: &str) -> String {
    format!("{}:{name}", if kind.is_empty() { "User" } else { kind })
}

/// RenewDelegationToken (key 39): ALTER on the cluster.
pub(super) fn renew_token(mut call: Call<'_, '_>) -> Outcome {
    let _: RenewDelegationTokenRequest = call.decode()?;
    let refusal = call.refusal(Operation::Alter, Resource::Cluster, TOKEN_DENIED);
    call.decide(refusal, |error| {
        RenewDelegationTokenResponse::default().with_error_code(error.code()).with_expiry_timestamp_ms(-1)
    })
}

/// ExpireDelegationToken (key 40): ALTER on the cluster.
pub(super) fn expire_token(mut call: Call<'_, '_>) -> Outcome {
    let _: ExpireDelegationTokenRequest = call.decode()?;
    let refusal = call.refusal(Operation::Alter, Resource::Cluster, TOKEN_DENIED);
    call.decide(refusal, |error| {
        ExpireDelegationTokenResponse::default().with_error_code(error.code()).with_expiry_timestamp_ms(-1)
    })
}

/// DescribeDelegationToken (key 41): those on which, or on whose owner, the principal has a right.
pub(super) fn describe_tokens(call: Call<'_, '_>) -> Outcome {
    let _: DescribeDelegationTokenRequest = call.decode()?;
    call.pass_then(|response: &mut DescribeDelegationTokenResponse, scope, draft| {
        let all = response.tokens.len();
        response.tokens.retain(|token| {
            let owner = user(&token.principal_type, &token.principal_name);
            let (token, owner) = (Resource::DelegationToken(&token.token_id), Resource::User(&owner));
            // A token's HMAC is a credential: whoever is shown one is in the evidence.
            if scope.may(Operation::Describe, token) {
                scope.authorise(Operation::Describe, token, draft)
            } else {
                scope.may(Operation::DescribeTokens, owner) && scope.authorise(Operation::DescribeTokens, owner, draft)
            }
        });
        Ok(response.tokens.len() != all)
    })
}
