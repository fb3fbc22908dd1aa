//! Taking refused items out of a request, and putting their refusals into the response.
//!
//! Two shapes cover the protocol: lists of items (groups, resources, topics by name), and lists of
//! topics with partitions. In both, refusals stand in the response where the request named them.

use std::collections::HashMap;
use std::hash::Hash;

use kafka_protocol::error::ResponseError;
use tidegate_core::words::{Operation, Resource};
use tidegate_policy::view::Decision;

use super::call::{Call, Left};

/// Takes out of `items` what `refuse` gives an error for, in order.
pub(super) fn take_refused<T>(
    items: &mut Vec<T>,
    mut refuse: impl FnMut(&T) -> Option<ResponseError>,
) -> Vec<(T, ResponseError)> {
    let mut refused = Vec::new();
    let mut kept = Vec::with_capacity(items.len());
    for item in std::mem::take(items) {
        match refuse(&item) {
            Some(error) => refused.push((item, error)),
            None => kept.push(item),
        }
    }
    *items = kept;
    refused
}

/// Puts `refused` among `results`, in the order in which the request asked for the keys. What it
/// did not ask for goes last. Yields whether anything changed.
pub(super) fn merge<R, K: Eq + Hash>(
    results: &mut Vec<R>,
    refused: Vec<R>,
    asked: &[K],
    key: impl Fn(&R) -> K,
) -> bool {
    if refused.is_empty() {
        return false;
    }
    let mut place = HashMap::with_capacity(asked.len());
    for (index, key) in asked.iter().enumerate() {
        place.entry(key).or_insert(index);
    }
    results.extend(refused);
    results.sort_by_key(|result| place.get(&key(result)).copied().unwrap_or(usize::MAX));
    true
}

/// A topic with partitions, in a request or a response.
pub(super) trait Topic {
    /// A topic's name, or its id.
    type Key: Clone + Eq + Hash;
    /// A partition asked for, or its result.
    type Partition: Indexed;
    /// What names the topic.
    fn key(&self) -> Self::Key;
    /// Its partitions.
    fn partitions(&mut self) -> &mut Vec<Self::Partition>;
}

/// A topic in a response.
pub(super) trait AnsweredTopic: Topic {
    /// The result for partitions that were refused.
    fn refused(key: Self::Key, partitions: &[(i32, ResponseError)]) -> Self;
}

/// A thing with a partition's number.
pub(super) trait Indexed {
    /// The partition's number.
    fn index(&self) -> i32;
}

impl Indexed for i32 {
    fn index(&self) -> i32 {
        *self
    }
}

/// What was refused of a request's topics, and the order in which it asked.
pub(super) struct Refusals<K> {
    asked: Vec<(K, Vec<i32>)>,
    refused: Vec<(K, Vec<(i32, ResponseError)>)>,
    anything_left: bool,
    /// Whether the request was refused for a reason that lies not in its topics.
    as_a_whole: bool,
}

impl<K: Clone + Eq + Hash> Refusals<K> {
    /// Takes out of `topics` the partitions for which `decide` yields an error.
    pub(super) fn take<T: Topic<Key = K>>(
        topics: &mut Vec<T>,
        mut decide: impl FnMut(&K, &[i32]) -> Vec<Option<ResponseError>>,
    ) -> Self {
        let asked = Vec::with_capacity(topics.len());
        let mut this = Self { asked, refused: Vec::new(), anything_left: false, as_a_whole: false };
        topics.retain_mut(|topic| {
            let key = topic.key();
            let indexes: Vec<i32> = topic.partitions().iter().map(Indexed::index).collect();
            let errors = decide(&key, &indexes);
            let refused: Vec<_> = indexes.iter().zip(&errors).filter_map(|(i, e)| e.map(|e| (*i, e))).collect();
            // A topic without partitions is decided by the one answer for it as a whole.
            let whole = errors.len() > indexes.len() && errors.iter().any(Option::is_some);
            let keep = !whole && (refused.is_empty() || refused.len() < indexes.len());
            if whole || !refused.is_empty() {
                this.refused.push((key.clone(), refused));
                let mut errors = errors.iter();
                topic.partitions().retain(|_| errors.next().is_none_or(Option::is_none));
            }
            this.anything_left |= keep;
            this.asked.push((key, indexes));
            keep
        });
        this
    }

    /// Takes out all topics, with one error for every partition.
    pub(super) fn take_all<T: Topic<Key = K>>(topics: &mut Vec<T>, error: ResponseError) -> Self {
        let refuse = |_: &K, partitions: &[i32]| vec![Some(error); partitions.len().max(1)];
        Self { as_a_whole: true, ..Self::take(topics, refuse) }
    }

    /// Refuses with `error` what was not refused yet; nothing is left then.
    pub(super) fn refuse_the_rest(&mut self, error: ResponseError) {
        let before = std::mem::take(&mut self.refused);
        let earlier = |key: &K, index: i32| {
            let topics = before.iter().filter(|(refused, _)| refused == key);
            topics.flat_map(|(_, partitions)| partitions).find(|(i, _)| *i == index).map(|(_, error)| *error)
        };
        let refuse = |(key, indexes): &(K, Vec<i32>)| {
            (key.clone(), indexes.iter().map(|i| (*i, earlier(key, *i).unwrap_or(error))).collect())
        };
        self.refused = self.asked.iter().map(refuse).collect();
        self.as_a_whole = true;
        self.anything_left = false;
    }

    /// How much of the request is left.
    pub(super) fn left(&self) -> Left {
        Left::of(self.as_a_whole || !self.refused.is_empty(), self.anything_left)
    }

    /// Puts the refusals among the response's topics. Yields whether anything changed.
    pub(super) fn merge_into<T: AnsweredTopic<Key = K>>(self, results: &mut Vec<T>) -> bool {
        if self.refused.is_empty() {
            return false;
        }
        let mut apart = Vec::new();
        for (key, partitions) in self.refused {
            let mut refused = T::refused(key.clone(), &partitions);
            match results.iter_mut().find(|result| result.key() == key) {
                None => apart.push(refused),
                Some(result) => {
                    let asked = self.asked.iter().find(|(asked, _)| *asked == key).map_or(&[][..], |(_, all)| all);
                    merge(result.partitions(), std::mem::take(refused.partitions()), asked, Indexed::index);
                }
            }
        }
        let asked: Vec<K> = self.asked.into_iter().map(|(key, _)| key).collect();
        merge(results, apart, &asked, Topic::key);
        true
    }
}

impl Call<'_, '_> {
    /// Asks policy for each of a topic's partitions (for the topic, where it names none) and yields
    /// `error` for those that are denied. Where all are decided alike the evidence gets one entry
    /// for the topic.
    pub(super) fn partitions(
        &mut self,
        operation: Operation,
        topic: &str,
        partitions: &[i32],
        error: ResponseError,
    ) -> Vec<Option<ResponseError>> {
        let whole = Resource::topic(topic);
        if partitions.is_empty() {
            return vec![self.refusal(operation, whole, error)];
        }
        let ask = |index: &i32| {
            let resource = Resource::partition(topic, *index);
            (resource, self.scope.view.authorise(operation, resource, self.scope.now))
        };
        let decisions: Vec<(Resource<'_>, Decision)> = partitions.iter().map(ask).collect();
        match decisions.first() {
            Some((_, first)) if decisions.iter().all(|(_, decision)| decision == first) => {
                self.draft.decided(operation, whole, first);
            }
            _ => {
                for (resource, decision) in &decisions {
                    self.draft.decided(operation, *resource, decision);
                }
            }
        }
        decisions.iter().map(|(_, decision)| (!decision.allowed).then_some(error)).collect()
    }

    /// Takes out of `topics` the partitions on which policy denies `operation`; they get
    /// TOPIC_AUTHORIZATION_FAILED.
    pub(super) fn take_denied<T>(&mut self, operation: Operation, topics: &mut Vec<T>) -> Refusals<T::Key>
    where
        T: Topic,
        T::Key: std::ops::Deref<Target = kafka_protocol::protocol::StrBytes>,
    {
        Refusals::take(topics, |name, partitions| {
            self.partitions(operation, name, partitions, ResponseError::TopicAuthorizationFailed)
        })
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};

    use super::*;

    fn asked(name: &'static str, partitions: &[i32]) -> ListOffsetsTopic {
        let partitions = partitions.iter().map(|i| ListOffsetsPartition::default().with_partition_index(*i)).collect();
        ListOffsetsTopic::default().with_name(TopicName(name.into())).with_partitions(partitions)
    }

    fn answered(name: &'static str, partitions: &[i32]) -> ListOffsetsTopicResponse {
        let result = |i: &i32| ListOffsetsPartitionResponse::default().with_partition_index(*i);
        ListOffsetsTopicResponse::default()
            .with_name(TopicName(name.into()))
            .with_partitions(partitions.iter().map(result).collect())
    }

    #[test]
    fn refusals_stand_where_the_request_asked() {
        let mut topics = vec![asked("a", &[0]), asked("b", &[2, 1, 0]), asked("c", &[5])];
        let refusals = Refusals::take(&mut topics, |name, partitions| {
            let refuse = |i: &i32| (&***name == "a" || *i == 1).then_some(ResponseError::TopicAuthorizationFailed);
            partitions.iter().map(refuse).collect()
        });
        assert_eq!(refusals.left(), Left::Something);
        assert_eq!(topics, vec![asked("b", &[2, 0]), asked("c", &[5])]);

        // The upstream answers in an order of its own.
        let mut results = vec![answered("c", &[5]), answered("b", &[0, 2])];
        assert!(refusals.merge_into(&mut results));
        let shape: Vec<(String, Vec<(i32, i16)>)> = results
            .iter()
            .map(|t| (t.name.to_string(), t.partitions.iter().map(|p| (p.partition_index, p.error_code)).collect()))
            .collect();
        let expected = [("a", vec![(0, 29)]), ("b", vec![(2, 0), (1, 29), (0, 0)]), ("c", vec![(5, 0)])];
        assert_eq!(shape, expected.map(|(name, partitions)| (name.to_owned(), partitions)));
    }

    #[test]
    fn a_topic_without_partitions_is_decided_as_a_whole() {
        let mut topics = vec![asked("a", &[]), asked("b", &[])];
        let refusals = Refusals::take(&mut topics, |name, _| {
            vec![(&***name == "a").then_some(ResponseError::TopicAuthorizationFailed)]
        });
        assert_eq!((refusals.left(), topics.len()), (Left::Something, 1));
    }
}
