//! Fetch sessions against a model: a broker that keeps real sessions, a client that does as clients
//! do, grants that come and go. Whatever the order, no record of a denied partition is released,
//! and the client hears of each denied partition of its session.

use std::collections::BTreeSet;

use kafka_protocol::messages::fetch_request::{FetchRequest, ForgottenTopic};
use kafka_protocol::messages::fetch_response::FetchResponse;
use proptest::prelude::*;

use super::fetch::{broker, fetch, outcomes, topic_id, topic_name};
use super::*;

const SESSION: i32 = 9;
const TOPICS: [&str; 3] = ["orders", "secret", "split"];
type Partition = (&'static str, i32);

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// The client fetches, having added and forgotten these.
    Fetch { add: Vec<Partition>, forget: Vec<Partition>, data: Vec<Partition> },
    /// The policy changes: these topics are granted.
    Grant(BTreeSet<&'static str>),
    /// The policy changes while the next response is on its way.
    GrantInFlight(BTreeSet<&'static str>),
}

fn policy(granted: &BTreeSet<&str>, version: u64) -> View {
    let mut text = String::from("version: 1\ngrants:\n");
    for topic in granted.iter().chain(&["shop.a"]) {
        text += &format!(
            "  - {{name: g-{topic}, purpose: test, principals: [alice], resources: [{{topic: {topic}}}], operations: [read]}}\n"
        );
    }
    view(&text, version)
}

fn partition() -> impl Strategy<Value = Partition> {
    (0..TOPICS.len(), 0..2).prop_map(|(topic, partition)| (TOPICS[topic], partition))
}

fn step() -> impl Strategy<Value = Step> {
    let some = || prop::collection::vec(partition(), 0..4);
    let grants = || prop::sample::subsequence(&TOPICS[..], 0..=TOPICS.len()).prop_map(BTreeSet::from_iter);
    prop_oneof![
        6 => (some(), some(), some()).prop_map(|(add, forget, data)| Step::Fetch { add, forget, data }),
        2 => grants().prop_map(Step::Grant),
        1 => grants().prop_map(Step::GrantInFlight),
    ]
}

/// The upstream's session, as a broker keeps it.
#[derive(Default)]
struct Broker {
    held: BTreeSet<Partition>,
}

impl Broker {
    fn name(id: Uuid, name: &str) -> &'static str {
        TOPICS.into_iter().chain(["shop.a"]).find(|n| *n == name || topic_id(n) == id).unwrap()
    }

    /// Takes the request in and answers: all of a full fetch, what has data of an incremental one.
    fn answer(&mut self, version: i16, request: &FetchRequest, data: &[Partition], records: &Bytes) -> FetchResponse {
        if request.session_epoch == 0 {
            self.held.clear();
        }
        for topic in &request.topics {
            let name = Self::name(topic.topic_id, &topic.topic);
            self.held.extend(topic.partitions.iter().map(|p| (name, p.partition)));
        }
        for topic in &request.forgotten_topics_data {
            let name = Self::name(topic.topic_id, &topic.topic);
            topic.partitions.iter().for_each(|p| assert!(self.held.remove(&(name, *p)) || request.session_epoch > 0));
        }
        let answered: Vec<Partition> =
            self.held.iter().filter(|held| request.session_epoch == 0 || data.contains(held)).copied().collect();
        let mut response = broker(&fetch(version, &answered), records).with_session_id(SESSION);
        for topic in &mut response.responses {
            let name = Self::name(topic.topic_id, &topic.topic);
            for partition in &mut topic.partitions {
                if !data.contains(&(name, partition.partition_index)) {
                    partition.records = Some(Bytes::new());
                }
            }
        }
        response
    }
}

fn run(version: i16, steps: Vec<Step>) {
    let records = batch(&[PLAIN]);
    let mut world = World::new();
    let mut granted: BTreeSet<&str> = BTreeSet::from(["orders"]);
    let mut policy_version = 1;
    world.view = policy(&granted, policy_version);
    let mut upstream = Broker::default();
    // `shop.a` is always granted: an all-denied full fetch would begin no session.
    let mut client: BTreeSet<Partition> = BTreeSet::from([("shop.a", 0)]);
    let mut epoch = 0;
    let mut in_flight = None;
    for step in steps {
        let (add, forget, data) = match step {
            Step::Grant(topics) => {
                policy_version += 1;
                granted = topics;
                world.view = policy(&granted, policy_version);
                continue;
            }
            Step::GrantInFlight(topics) => {
                in_flight = Some(topics);
                continue;
            }
            Step::Fetch { add, forget, data } => (add, forget, data),
        };
        // A client forgets only what it holds, and never what it asks for in the same breath.
        let forget: BTreeSet<Partition> =
            forget.into_iter().filter(|p| epoch > 0 && client.contains(p) && !add.contains(p)).collect();
        client.extend(&add);
        client.retain(|p| !forget.contains(p));
        let asked_for: Vec<Partition> =
            if epoch == 0 { client.iter().copied().collect() } else { BTreeSet::from_iter(add).into_iter().collect() };
        let mut request = fetch(version, &asked_for).with_session_epoch(epoch);
        if epoch > 0 {
            request.session_id = SESSION;
        }
        for (name, partition) in &forget {
            let topic = ForgottenTopic::default().with_partitions(vec![*partition]);
            request.forgotten_topics_data.push(if version >= 13 {
                topic.with_topic_id(topic_id(name))
            } else {
                topic.with_topic(topic_name(name))
            });
        }
        let (asked, mut draft) = world.ask(ApiKey::Fetch, version, &request);
        let (forwarded, _) = asked.forwarded::<FetchRequest>();
        let response = upstream.answer(version, &forwarded, &data, &records);
        let allowed = |granted: &BTreeSet<&str>, p: &Partition| p.0 == "shop.a" || granted.contains(p.0);
        let expected: BTreeSet<Partition> = client.iter().copied().filter(|p| allowed(&granted, p)).collect();
        assert_eq!(upstream.held, expected, "the upstream's session is the client's without what is denied");

        let denied_at_request: BTreeSet<Partition> = client.iter().copied().filter(|p| !allowed(&granted, p)).collect();
        if let Some(topics) = in_flight.take() {
            policy_version += 1;
            granted = topics;
            world.view = policy(&granted, policy_version);
        }
        let got = world.respond(asked, &response, &mut draft).unwrap_or(response);
        assert_eq!((got.error_code, got.session_id), (0, SESSION));
        let outcomes = outcomes(&got);
        for (name, partition, error, bytes) in &outcomes {
            let at = TOPICS.into_iter().chain(["shop.a"]).find(|n| n == name).unwrap();
            let partition = (at, *partition);
            assert!(client.contains(&partition), "{partition:?} is not of the client's session");
            if *bytes > 0 {
                assert!(allowed(&granted, &partition) && *error == 0, "{partition:?} was released");
            }
        }
        for (name, partition) in denied_at_request {
            assert!(outcomes.contains(&(name.to_owned(), partition, 29, 0)), "{name}-{partition} went unanswered");
        }
        for (name, partition) in data {
            if expected.contains(&(name, partition)) && allowed(&granted, &(name, partition)) {
                assert!(
                    outcomes.contains(&(name.to_owned(), partition, 0, records.len())),
                    "{name}-{partition} was lost"
                );
            }
        }
        epoch += 1;
    }
}

proptest! {
    #[test]
    fn sessions_agree_with_the_model(
        version in prop::sample::select(vec![7i16, 12, 13, 18]),
        steps in prop::collection::vec(step(), 1..25),
    ) {
        run(version, steps);
    }
}
