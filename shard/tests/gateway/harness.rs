//! The surroundings by themselves, without the gateway: when these fail, no other test says
//! anything about the gateway.

use std::time::Duration;

use kafka_protocol::messages::MetadataRequest;

use crate::clients::{Confluent, Endpoint, Java, KafkaJs, Kcat, LibRdKafka, StockClient};
use crate::idp::Idp;
use crate::kafka::{Kafka, Listener};
use crate::raw::{Connection, bearer};
use crate::tls::Authority;

#[test]
fn the_broker_takes_every_kind_of_login() {
    let kafka = Kafka::shared();
    kafka.create_topic("harness", 2, 1);
    let sasl = ("localhost", kafka.port(1, Listener::SaslPlaintext));
    let tls = ("localhost", kafka.port(1, Listener::SaslSsl));
    let config = Authority::shared().client_config(None);
    let token = Idp::shared().token("alice", &["analysts"]);

    let mut admin = Connection::plain(sasl).login_plain("admin", "admin-secret");
    let metadata = admin.ask(12, &MetadataRequest::default().with_topics(None));
    assert!(metadata.topics.iter().any(|t| t.name.as_ref().is_some_and(|n| n.as_str() == "harness")));

    let mut alice = Connection::tls(tls, config.clone(), "localhost");
    let lifetime = alice.authenticate("OAUTHBEARER", &bearer(&token)).unwrap();
    assert!((1..=600_000).contains(&lifetime), "a session lives no longer than its token: {lifetime}");
    let metadata = alice.ask(12, &MetadataRequest::default().with_topics(None));
    assert!(metadata.topics.is_empty(), "alice has no ACL and sees nothing");

    let refused = Connection::tls(tls, config, "localhost").authenticate("PLAIN", "\0admin\0wrong");
    assert!(refused.unwrap_err().contains("error 58"));
}

#[test]
fn every_client_works_without_the_gateway() {
    let kafka = Kafka::shared();
    let tls = kafka.bootstrap(Listener::SaslSsl);
    let plain = Endpoint::plain(&tls, "admin", "admin-secret");
    let oauth = Endpoint::oauth(&tls, "admin");
    let clients: [(&dyn StockClient, &Endpoint); 6] = [
        (&Java, &oauth),
        (&LibRdKafka, &oauth),
        (&LibRdKafka, &plain),
        (&Confluent, &oauth),
        (&KafkaJs, &oauth),
        (&Kcat, &plain),
    ];
    for (index, (client, at)) in clients.into_iter().enumerate() {
        let topic = format!("direct-{index}");
        kafka.create_topic(&topic, 1, 1);
        let started = std::time::Instant::now();
        client.produce(at, &topic, &["one", "two"]);
        assert_eq!(client.consume(at, &topic, &format!("group-{index}"), 2), ["one", "two"], "{}", client.name());
        let topics = client.administer(at, &format!("created-{index}"));
        assert!(topics.contains(&topic), "{}: {topics:?}", client.name());
        eprintln!("{}: {:?}", client.name(), started.elapsed());
    }
}

#[test]
fn three_brokers_survive_the_loss_of_one() {
    let mut kafka = Kafka::start(3);
    kafka.create_topic("replicated", 3, 3);
    kafka.kill_broker(1);
    crate::process::until("the others lead", Duration::from_secs(30), || {
        let metadata = kafka.metadata(&["replicated"]);
        let leaders: Vec<i32> = metadata.topics[0].partitions.iter().map(|p| p.leader_id.0).collect();
        leaders.iter().all(|leader| [2, 3].contains(leader)).then_some(())
    });
    kafka.start_broker(1);
    kafka.wait_for_brokers(3);
}
