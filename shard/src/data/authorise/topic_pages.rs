//! DescribeTopicPartitions (KIP-966): topics and their partitions, a page at a time.
//!
//! Topics need DESCRIBE; a page of all topics is filtered. The page after it begins at a cursor,
//! which is a topic's name and must not tell one that the principal may not know.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{Cursor, DescribeTopicPartitionsResponseTopic};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tidegate_core::words::{Operation, Resource};

use super::super::stage::Scope;
use super::call::{Call, Left, Outcome};
use super::operations;
use super::refuse::{merge, take_refused};

const DENIED: ResponseError = ResponseError::TopicAuthorizationFailed;

/// DescribeTopicPartitions (key 75). No topics means all.
pub(super) fn describe(mut call: Call<'_, '_>) -> Outcome {
    let mut request: DescribeTopicPartitionsRequest = call.decode()?;
    let begin = request.cursor.as_ref().map_or(StrBytes::new(), |cursor| cursor.topic_name.0.clone());
    if request.topics.is_empty() {
        return page_of_all(&call, request, begin);
    }
    let asked: Vec<TopicName> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let known_cursor = request.cursor.is_none() || asked.iter().any(|name| name.0 == begin);
    if known_cursor {
        // What stands before the cursor was on an earlier page, refusals included.
        request.topics.retain(|topic| topic.name.0 >= begin);
    }
    let refused: Vec<_> = take_refused(&mut request.topics, |topic| {
        call.refusal(Operation::Describe, Resource::topic(&topic.name), DENIED)
    })
    .into_iter()
    .map(|(topic, error)| {
        DescribeTopicPartitionsResponseTopic::default().with_name(Some(topic.name)).with_error_code(error.code())
    })
    .collect();
    if known_cursor && request.topics.iter().all(|topic| topic.name.0 != begin) {
        // A broker refuses a cursor whose topic is not in the list.
        request.cursor = None;
    }
    let left = Left::of(!refused.is_empty(), !request.topics.is_empty());
    call.settle(left, &request, move |response: &mut DescribeTopicPartitionsResponse, scope, _| {
        keep_described(response, scope);
        merge(&mut response.topics, refused, &asked, |topic| topic.name.clone().unwrap_or_default());
        Ok(true)
    })
}

/// A page of all topics. Who may not describe every topic gets of a page of the upstream's greatest
/// size what it may see, up to the size that it asked for.
fn page_of_all(call: &Call<'_, '_>, mut request: DescribeTopicPartitionsRequest, begin: StrBytes) -> Outcome {
    if operations::on_every_topic(call.scope, Operation::Describe).allowed {
        return call.pass_then(|response: &mut DescribeTopicPartitionsResponse, scope, _| {
            keep_described(response, scope);
            Ok(true)
        });
    }
    let partitions_max = usize::try_from(request.response_partition_limit).unwrap_or(0).max(1);
    request.response_partition_limit = i32::MAX;
    call.ask(&request, move |response: &mut DescribeTopicPartitionsResponse, scope, _| {
        keep_described(response, scope);
        if let Some(cursor) = response.next_cursor.as_mut()
            && !scope.may(Operation::Describe, Resource::topic(&cursor.topic_name))
        {
            let shown = response.topics.iter().filter_map(|topic| topic.name.as_deref());
            blur(cursor, shown.fold(&*begin, |latest, name| latest.max(name)));
        }
        cut(response, partitions_max);
        Ok(true)
    })
}

/// Takes out topics that may not be described; of the others, notes the ids and tells the operations.
fn keep_described(response: &mut DescribeTopicPartitionsResponse, scope: &mut Scope<'_>) {
    response.topics.retain_mut(|topic| {
        let Some(name) = topic.name.clone() else { return topic.error_code != 0 };
        if topic.error_code == 0 {
            scope.topics.learn(topic.topic_id, &name);
        }
        topic.topic_authorized_operations = operations::authorised(scope, Resource::topic(&name));
        scope.may(Operation::Describe, Resource::topic(&name))
    });
}

/// Shortens the name of a cursor's topic, which the principal may not know, to what still stands
/// behind `latest`, the last name that it does know. The next page then begins at or before the
/// real cursor and behind the page before it, so nothing is left out and no page comes twice.
fn blur(cursor: &mut Cursor, latest: &str) {
    let name = cursor.topic_name.0.clone();
    let mut ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
    let Some(end) = ends.find(|end| name[..*end] > *latest) else { return };
    if end < name.len() {
        cursor.topic_name = TopicName(StrBytes::from_string(name[..end].to_owned()));
        cursor.partition_index = 0;
    }
}

/// Cuts a page to `partitions_max` partitions; the next one begins where it was cut.
fn cut(response: &mut DescribeTopicPartitionsResponse, partitions_max: usize) {
    let mut room = partitions_max;
    let over = response.topics.iter().position(|topic| {
        let fits = room > 0 && topic.partitions.len() <= room;
        room = if fits { room - topic.partitions.len() } else { room };
        !fits
    });
    let Some(topic) = over.and_then(|at| response.topics.get_mut(at)) else { return };
    let next = topic.partitions.get(room).map_or(0, |partition| partition.partition_index);
    response.next_cursor =
        topic.name.clone().map(|name| Cursor::default().with_topic_name(name).with_partition_index(next));
    topic.partitions.truncate(room);
    let kept = over.unwrap_or(0) + usize::from(room > 0);
    response.topics.truncate(kept);
}
