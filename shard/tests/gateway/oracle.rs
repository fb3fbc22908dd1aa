//! The oracle for authorisation: what the real broker answers under ACLs, the gateway must answer
//! under the equivalent policy, error codes and partial results included.
//!
//! Each case is one request of one principal of its own. It is sent to the broker with the case's
//! rights as ACLs, and through the gateway with the same rights as grants; the two answers are
//! compared field by field. Names differ between the two sides in one letter, so that what a
//! request changes on one side is not found changed on the other.
//!
//! Reading order: this file (the table's form and the comparison), `answer` (what is compared), then the
//! tables by subject.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::time::Duration;

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{
    BrokerId, CreateAclsRequest, CreateTopicsRequest, FindCoordinatorRequest, GroupId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Request, StrBytes};
use uuid::Uuid;

use crate::gateway::Setup;
use crate::kafka::{Kafka, Listener, ROW_USERS};
use crate::process::until;
use crate::raw::{Connection, api};

mod answer;
mod cluster;
mod groups;
mod records;
mod topics;
mod transactions;

use answer::{Answer, differences};

/// One request under some rights.
pub(crate) struct Case {
    what: String,
    rights: Vec<Right>,
    ask: Ask,
}

/// Sends a case's request; the answer's debug text, or why there is none.
type Ask = Box<dyn Fn(&mut Connection, &Names) -> Result<String, String>>;

/// One right: an ACL and a grant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Right {
    kind: Kind,
    name: &'static str,
    operation: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Topic,
    TopicPrefix,
    Group,
    TransactionalId,
    Cluster,
}

/// `operation` on the topic `name`.
pub(crate) const fn topic(name: &'static str, operation: &'static str) -> Right {
    Right { kind: Kind::Topic, name, operation }
}

/// `operation` on the topics that begin with `name`.
pub(crate) const fn topics_from(name: &'static str, operation: &'static str) -> Right {
    Right { kind: Kind::TopicPrefix, name, operation }
}

/// `operation` on the group `name`.
pub(crate) const fn group(name: &'static str, operation: &'static str) -> Right {
    Right { kind: Kind::Group, name, operation }
}

/// `operation` on the transactional id `name`.
pub(crate) const fn transaction(name: &'static str, operation: &'static str) -> Right {
    Right { kind: Kind::TransactionalId, name, operation }
}

/// `operation` on the cluster.
pub(crate) const fn cluster(operation: &'static str) -> Right {
    Right { kind: Kind::Cluster, name: "", operation }
}

/// A case: this request in this version, under these rights.
pub(crate) fn case<R>(what: &str, version: i16, rights: &[Right], request: impl Fn(&Names) -> R + 'static) -> Case
where
    R: Request + 'static,
    R::Response: Debug,
{
    Case {
        what: format!("{:?} v{version}: {what}", api::<R>()),
        rights: rights.to_vec(),
        ask: Box::new(move |connection, names| {
            let answer = connection.try_ask(version, &request(names));
            answer.map(|answer| format!("{answer:?}")).map_err(|error| error.to_string())
        }),
    }
}

/// The names that a case uses on one side.
pub(crate) struct Names {
    prefix: String,
    ids: BTreeMap<String, Uuid>,
}

impl Names {
    /// The topic `name`. `a` and `b` exist and have one partition; others do not.
    pub(crate) fn topic(&self, name: &str) -> TopicName {
        TopicName(self.text(name))
    }

    /// The id of the topic `a` or `b`.
    pub(crate) fn id(&self, name: &str) -> Uuid {
        self.ids[name]
    }

    /// A group.
    pub(crate) fn group(&self, name: &str) -> GroupId {
        GroupId(self.text(name))
    }

    /// A transactional id.
    pub(crate) fn transaction(&self, name: &str) -> TransactionalId {
        TransactionalId(self.text(name))
    }

    /// A name as text.
    pub(crate) fn text(&self, name: &str) -> StrBytes {
        StrBytes::from_string(format!("{}{name}", self.prefix))
    }
}

/// Text as `kafka-protocol` has it.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

const SIDES: [char; 2] = ['d', 'g'];

fn prefix(row: usize, side: char) -> String {
    format!("o{row:03}{side}-")
}

#[test]
fn the_gateway_answers_what_the_broker_would() {
    let mut cases = records::cases();
    cases.extend(topics::cases());
    cases.extend(groups::cases());
    cases.extend(transactions::cases());
    cases.extend(cluster::cases());
    assert!(cases.len() <= ROW_USERS, "{} cases need as many users of the broker", cases.len());

    let kafka = Kafka::shared();
    wait_for_coordinators(kafka);
    let names = create_topics(kafka, cases.len());
    create_acls(kafka, &cases);
    let gateway = Setup::new(kafka, &policy(&cases)).start();

    let mut wrong = String::new();
    for (row, case) in cases.iter().enumerate() {
        let user = format!("row{row}");
        let address = ("localhost", kafka.port(1, Listener::SaslPlaintext));
        let mut direct = Connection::plain(address).login_plain(&user, &format!("{user}-secret"));
        let mut through = gateway.connect_as(&user, &[]);
        let [of_broker, of_gateway] = [(&mut direct, &names[row][0]), (&mut through, &names[row][1])]
            .map(|(connection, names)| (case.ask)(connection, names).map(|answer| normal(&answer, names)));
        let differences = match (&of_broker, &of_gateway) {
            (Ok(broker), Ok(gateway)) => differences(broker, gateway),
            (Err(_), Err(_)) => Vec::new(),
            (broker, gateway) => vec![format!("broker {broker:?}, gateway {gateway:?}")],
        };
        if !differences.is_empty() {
            writeln!(wrong, "{row} {}:\n    {}", case.what, differences.join("\n    ")).unwrap();
        }
    }
    assert!(wrong.is_empty(), "answers differ (broker against gateway):\n{wrong}");
}

/// The answer without what must differ: names and ids of the side.
fn normal(answer: &str, names: &Names) -> Answer {
    let mut text = answer.replace(&names.prefix, "");
    for (name, id) in &names.ids {
        text = text.replace(&id.to_string(), &format!("id-of-{name}"));
    }
    Answer::read(&text)
}

/// The broker creates its internal topics when somebody first asks for a coordinator.
fn wait_for_coordinators(kafka: &Kafka) {
    let mut control = kafka.control();
    for (kind, key) in [(0, "oracle".to_owned()), (1, "oracle".to_owned()), (2, format!("oracle:{}:0", share_topic()))]
    {
        let request = FindCoordinatorRequest::default()
            .with_key_type(kind)
            .with_coordinator_keys(vec![StrBytes::from_string(key)]);
        until("coordinators are there", Duration::from_secs(60), || {
            let found = control.ask(6, &request);
            (found.coordinators[0].error_code == 0).then_some(())
        });
    }
    // A share coordinator's key names a topic by id, in Kafka's own base64.
    fn share_topic() -> &'static str {
        "AAAAAAAAAAAAAAAAAAAAAQ"
    }
}

/// The topics of every case, and their ids.
fn create_topics(kafka: &Kafka, rows: usize) -> Vec<[Names; 2]> {
    let mut control = kafka.control();
    (0..rows)
        .map(|row| {
            SIDES.map(|side| {
                let prefix = prefix(row, side);
                let topics = ["a", "b"].map(|name| {
                    let name = StrBytes::from_string(format!("{prefix}{name}"));
                    CreatableTopic::default()
                        .with_name(TopicName(name))
                        .with_num_partitions(1)
                        .with_replication_factor(1)
                });
                let request = CreateTopicsRequest::default().with_topics(topics.to_vec()).with_timeout_ms(30_000);
                let created = control.ask(7, &request);
                let ids = created.topics.iter().map(|topic| {
                    assert_eq!(topic.error_code, 0, "{topic:?}");
                    (topic.name.as_str().trim_start_matches(&prefix).to_owned(), topic.topic_id)
                });
                let ids = ids.collect();
                Names { prefix, ids }
            })
        })
        .collect()
}

/// Kafka's numbers for a right.
fn acl(right: &Right, row: usize) -> AclCreation {
    let (kind, pattern) = match right.kind {
        Kind::Topic => (2, 3),
        Kind::TopicPrefix => (2, 4),
        Kind::Group => (3, 3),
        Kind::Cluster => (4, 3),
        Kind::TransactionalId => (5, 3),
    };
    let name = match right.kind {
        Kind::Cluster => "kafka-cluster".to_owned(),
        _ => format!("{}{}", prefix(row, 'd'), right.name),
    };
    let operations = [
        "read",
        "write",
        "create",
        "delete",
        "alter",
        "describe",
        "cluster_action",
        "describe_configs",
        "alter_configs",
        "idempotent_write",
    ];
    let operation = operations.iter().position(|o| *o == right.operation).unwrap() as i8 + 3;
    AclCreation::default()
        .with_resource_type(kind)
        .with_resource_name(StrBytes::from_string(name))
        .with_resource_pattern_type(pattern)
        .with_principal(StrBytes::from_string(format!("User:row{row}")))
        .with_host(text("*"))
        .with_operation(operation)
        .with_permission_type(3)
}

/// What every case's principal may do, so that it has a grant at all.
const FILLER: Right = topic("filler", "describe");

fn create_acls(kafka: &Kafka, cases: &[Case]) {
    let creations = cases
        .iter()
        .enumerate()
        .flat_map(|(row, case)| case.rights.iter().chain([&FILLER]).map(move |right| acl(right, row)))
        .collect();
    let created = kafka.control().ask(3, &CreateAclsRequest::default().with_creations(creations));
    assert!(created.results.iter().all(|result| result.error_code == 0), "{created:?}");
}

fn policy(cases: &[Case]) -> String {
    let mut policy = "version: 1\ngrants:\n".to_owned();
    for (row, case) in cases.iter().enumerate() {
        for (index, right) in case.rights.iter().chain([&FILLER]).enumerate() {
            let name = format!("{}{}", prefix(row, 'g'), right.name);
            let resource = match right.kind {
                Kind::Topic => format!("topic: {name}"),
                Kind::TopicPrefix => format!("topic: {{prefix: {name}}}"),
                Kind::Group => format!("group: {name}"),
                Kind::TransactionalId => format!("transactional_id: {name}"),
                Kind::Cluster => "cluster: true".to_owned(),
            };
            writeln!(
                policy,
                "  - {{name: row{row}-{index}, purpose: oracle, principals: [row{row}], resources: [{{{resource}}}], \
                 operations: [{}]}}",
                right.operation
            )
            .unwrap();
        }
    }
    policy
}

/// A broker's id.
pub(crate) const fn broker(id: i32) -> BrokerId {
    BrokerId(id)
}
