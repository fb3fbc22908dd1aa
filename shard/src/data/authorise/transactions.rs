//! Producers' ids and transactions: WRITE on the transactional id, and what the transaction is about.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest,
    ListTransactionsResponse, TransactionalId, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use tidegate_core::words::{Operation, Resource};

use super::call::{Call, Left, Outcome};
use super::refuse::{Refusals, merge, take_refused};

/// The first version in which AddPartitionsToTxn is spoken by brokers alone, in batches.
const BROKERS_ONLY: i16 = 4;

/// Topics that only brokers write to within a transaction (`Topic.isInternal`).
const INTERNAL_TOPICS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

fn writer(call: &mut Call<'_, '_>, id: &TransactionalId) -> Option<ResponseError> {
    let error = ResponseError::TransactionalIdAuthorizationFailed;
    call.refusal(Operation::Write, Resource::TransactionalId(id), error)
}

/// InitProducerId (key 22): WRITE on the transactional id; without one, IDEMPOTENT_WRITE on the
/// cluster or WRITE on any topic.
pub(super) fn init_producer_id(mut call: Call<'_, '_>) -> Outcome {
    let request: InitProducerIdRequest = call.decode()?;
    let refusal = match &request.transactional_id {
        Some(id) => writer(&mut call, id),
        None => (!may_write_idempotently(&mut call)).then_some(ResponseError::ClusterAuthorizationFailed),
    };
    call.decide(refusal, |error| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    })
}

fn may_write_idempotently(call: &mut Call<'_, '_>) -> bool {
    let any_topic = Resource::topic("*");
    let decision = call.scope.view.authorise_any(Operation::Write, any_topic, call.scope.now);
    if decision.allowed {
        return call.draft.decided(Operation::Write, any_topic, &decision);
    }
    call.may(Operation::IdempotentWrite, Resource::Cluster)
}

/// AddPartitionsToTxn (key 24): WRITE on the transactional id and on every topic. One partition
/// denied fails them all: the others are not attempted. From v4 on only brokers ask.
pub(super) fn add_partitions(mut call: Call<'_, '_>) -> Outcome {
    let mut request: AddPartitionsToTxnRequest = call.decode()?;
    if call.version() >= BROKERS_ONLY {
        let error = ResponseError::ClusterAuthorizationFailed;
        let refusal = call.refusal(Operation::ClusterAction, Resource::Cluster, error);
        return call.decide(refusal, |error| AddPartitionsToTxnResponse::default().with_error_code(error.code()));
    }
    let topics = &mut request.v3_and_below_topics;
    let refusals = match writer(&mut call, &request.v3_and_below_transactional_id) {
        Some(error) => Refusals::take_all(topics, error),
        None => {
            let denied = ResponseError::TopicAuthorizationFailed;
            let mut any_denied = false;
            let mut refusals = Refusals::take(topics, |name, partitions| {
                let errors = if INTERNAL_TOPICS.contains(&&***name) {
                    vec![Some(denied); partitions.len().max(1)]
                } else {
                    call.partitions(Operation::Write, name, partitions, denied)
                };
                any_denied |= errors.iter().any(Option::is_some);
                errors
            });
            if any_denied {
                refusals.refuse_the_rest(ResponseError::OperationNotAttempted);
            }
            refusals
        }
    };
    call.settle(refusals.left(), &request, move |response: &mut AddPartitionsToTxnResponse, _, _| {
        Ok(refusals.merge_into(&mut response.results_by_topic_v3_and_below))
    })
}

/// AddOffsetsToTxn (key 25): WRITE on the transactional id, READ on the group.
pub(super) fn add_offsets(mut call: Call<'_, '_>) -> Outcome {
    let request: AddOffsetsToTxnRequest = call.decode()?;
    let refusal = writer(&mut call, &request.transactional_id).or_else(|| reader(&mut call, &request.group_id));
    call.decide(refusal, |error| AddOffsetsToTxnResponse::default().with_error_code(error.code()))
}

fn reader(call: &mut Call<'_, '_>, group: &str) -> Option<ResponseError> {
    call.refusal(Operation::Read, Resource::Group(group), ResponseError::GroupAuthorizationFailed)
}

/// EndTxn (key 26).
pub(super) fn end(mut call: Call<'_, '_>) -> Outcome {
    let request: EndTxnRequest = call.decode()?;
    let refusal = writer(&mut call, &request.transactional_id);
    call.decide(refusal, |error| EndTxnResponse::default().with_error_code(error.code()))
}

/// TxnOffsetCommit (key 28): WRITE on the transactional id, READ on the group and each topic.
pub(super) fn commit_offsets(mut call: Call<'_, '_>) -> Outcome {
    let mut request: TxnOffsetCommitRequest = call.decode()?;
    let refusal = writer(&mut call, &request.transactional_id).or_else(|| reader(&mut call, &request.group_id));
    let refusals = match refusal {
        Some(error) => Refusals::take_all(&mut request.topics, error),
        None => call.take_denied(Operation::Read, &mut request.topics),
    };
    call.settle(refusals.left(), &request, move |response: &mut TxnOffsetCommitResponse, _, _| {
        Ok(refusals.merge_into(&mut response.topics))
    })
}

/// DescribeProducers (key 61): READ on each topic.
pub(super) fn describe_producers(mut call: Call<'_, '_>) -> Outcome {
    let mut request: DescribeProducersRequest = call.decode()?;
    let refusals = call.take_denied(Operation::Read, &mut request.topics);
    call.settle(refusals.left(), &request, move |response: &mut DescribeProducersResponse, _, _| {
        Ok(refusals.merge_into(&mut response.topics))
    })
}

/// DescribeTransactions (key 65): DESCRIBE on each transactional id; of its topics, those that may
/// be described.
pub(super) fn describe(mut call: Call<'_, '_>) -> Outcome {
    let mut request: DescribeTransactionsRequest = call.decode()?;
    let asked = request.transactional_ids.clone();
    let refused: Vec<_> = take_refused(&mut request.transactional_ids, |id| {
        let error = ResponseError::TransactionalIdAuthorizationFailed;
        call.refusal(Operation::Describe, Resource::TransactionalId(id), error)
    })
    .into_iter()
    .map(|(id, error)| TransactionState::default().with_transactional_id(id).with_error_code(error.code()))
    .collect();
    let left = Left::of(!refused.is_empty(), !request.transactional_ids.is_empty());
    call.settle(left, &request, move |response: &mut DescribeTransactionsResponse, scope, _| {
        let mut changed = false;
        for state in &mut response.transaction_states {
            let all = state.topics.len();
            state.topics.retain(|topic| scope.may(Operation::Describe, Resource::topic(&topic.topic)));
            changed |= state.topics.len() != all;
        }
        Ok(merge(&mut response.transaction_states, refused, &asked, |state| state.transactional_id.clone()) || changed)
    })
}

/// ListTransactions (key 66): those that may be described.
pub(super) fn list(call: Call<'_, '_>) -> Outcome {
    let _: ListTransactionsRequest = call.decode()?;
    call.pass_then(|response: &mut ListTransactionsResponse, scope, _| {
        let states = &mut response.transaction_states;
        let all = states.len();
        states.retain(|s| scope.may(Operation::Describe, Resource::TransactionalId(&s.transactional_id)));
        Ok(states.len() != all)
    })
}
