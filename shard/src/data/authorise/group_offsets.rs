//! The offsets of several groups at once, as OffsetFetch (from v8 on) and DescribeShareGroupOffsets
//! ask for them: DESCRIBE on each group, and on each topic. No topics means all, and is filtered.

use std::collections::HashMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_share_group_offsets_request as share_asked;
use kafka_protocol::messages::describe_share_group_offsets_response as share_answered;
use kafka_protocol::messages::{GroupId, TopicName, offset_fetch_request as asked, offset_fetch_response as answered};
use tidegate_core::words::{Operation, Resource};

use super::super::stage::Scope;
use super::call::{Call, Left};
use super::outcome::message;
use super::refuse::{AnsweredTopic, Refusals, Topic, merge, take_refused};

/// A group asked for.
pub(super) trait AskedGroup {
    /// A topic asked for.
    type Topic: Topic<Key = TopicName>;
    /// The group's id.
    fn id(&self) -> &GroupId;
    /// Its topics; `None` for all.
    fn topics(&mut self) -> Option<&mut Vec<Self::Topic>>;
}

/// A group's part of a response.
pub(super) trait AnsweredGroup {
    /// A topic's result.
    type Topic: AnsweredTopic<Key = TopicName>;
    /// The group's id.
    fn id(&self) -> &GroupId;
    /// The group's error, 0 where there is none.
    fn error(&self) -> i16;
    /// Its topics' results.
    fn topics(&mut self) -> &mut Vec<Self::Topic>;
    /// A group without topics, refused with `error` where there is one.
    fn empty(id: GroupId, error: Option<ResponseError>) -> Self;
}

/// What was refused of the groups asked for.
pub(super) struct GroupRefusals<R> {
    asked: Vec<GroupId>,
    refused: Vec<R>,
    /// Of groups that are left: what was refused of the topics they name.
    topics: HashMap<GroupId, Refusals<TopicName>>,
    left: Left,
}

impl<R: AnsweredGroup> GroupRefusals<R> {
    /// Takes out of `groups` those that policy denies, the topics that it denies, and the groups of
    /// which no topic is left.
    pub(super) fn take<G: AskedGroup>(call: &mut Call<'_, '_>, groups: &mut Vec<G>) -> Self {
        let asked = groups.iter().map(|group| group.id().clone()).collect();
        let mut refused: Vec<R> = take_refused(groups, |group| {
            let denied = ResponseError::GroupAuthorizationFailed;
            call.refusal(Operation::Describe, Resource::Group(group.id()), denied)
        })
        .into_iter()
        .map(|(group, error)| R::empty(group.id().clone(), Some(error)))
        .collect();
        let mut anything_refused = !refused.is_empty();
        let mut of_topics = HashMap::new();
        groups.retain_mut(|group| {
            let id = group.id().clone();
            let Some(topics) = group.topics() else { return true };
            let refusals = call.take_denied(Operation::Describe, topics);
            let left = refusals.left();
            anything_refused |= left != Left::Everything;
            if left == Left::Nothing {
                let mut group = R::empty(id, None);
                refusals.merge_into(group.topics());
                refused.push(group);
                return false;
            }
            of_topics.insert(id, refusals);
            true
        });
        let left = Left::of(anything_refused, !groups.is_empty());
        Self { asked, refused, topics: of_topics, left }
    }

    /// How much of the request is left.
    pub(super) fn left(&self) -> Left {
        self.left
    }

    /// Puts the refusals into the response, and filters the groups of which all topics were asked
    /// for. Yields whether anything changed.
    pub(super) fn merge_into(mut self, groups: &mut Vec<R>, scope: &Scope<'_>) -> bool {
        let mut changed = false;
        for group in groups.iter_mut().filter(|group| group.error() == 0) {
            let refusals = self.topics.remove(group.id());
            let topics = group.topics();
            changed |= match refusals {
                Some(refusals) => refusals.merge_into(topics),
                None => keep_described(topics, scope),
            };
        }
        merge(groups, self.refused, &self.asked, |group| group.id().clone()) || changed
    }
}

/// Takes out topics that may not be described. Yields whether there were any.
pub(super) fn keep_described<T: Topic<Key = TopicName>>(topics: &mut Vec<T>, scope: &Scope<'_>) -> bool {
    let all = topics.len();
    topics.retain(|topic| scope.may(Operation::Describe, Resource::topic(&topic.key())));
    topics.len() != all
}

macro_rules! groups {
    ($asked:ty, $asked_topic:ty => $answered:ty, $answered_topic:ty $(, $message:ident = $words:expr)?) => {
        impl AskedGroup for $asked {
            type Topic = $asked_topic;

            fn id(&self) -> &GroupId {
                &self.group_id
            }

            fn topics(&mut self) -> Option<&mut Vec<$asked_topic>> {
                self.topics.as_mut()
            }
        }

        impl AnsweredGroup for $answered {
            type Topic = $answered_topic;

            fn id(&self) -> &GroupId {
                &self.group_id
            }

            fn error(&self) -> i16 {
                self.error_code
            }

            fn topics(&mut self) -> &mut Vec<$answered_topic> {
                &mut self.topics
            }

            fn empty(id: GroupId, error: Option<ResponseError>) -> Self {
                let mut group = Self::default();
                group.group_id = id;
                if let Some(error) = error {
                    group.error_code = error.code();
                    $(group.$message = $words(error);)?
                }
                group
            }
        }
    };
}

groups! {
    asked::OffsetFetchRequestGroup, asked::OffsetFetchRequestTopics =>
    answered::OffsetFetchResponseGroup, answered::OffsetFetchResponseTopics
}

groups! {
    share_asked::DescribeShareGroupOffsetsRequestGroup, share_asked::DescribeShareGroupOffsetsRequestTopic =>
    share_answered::DescribeShareGroupOffsetsResponseGroup, share_answered::DescribeShareGroupOffsetsResponseTopic,
    error_message = message
}
