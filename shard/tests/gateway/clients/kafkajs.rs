//! kafkajs from npm, through a small script: the only client here with a protocol code of its own
//! besides Kafka's and librdkafka's.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Endpoint, Login, StockClient};
use crate::dependencies;
use crate::process::{guarded, run};

const TIMEOUT: Duration = Duration::from_secs(90);
const SCRIPT: &str = include_str!("kafkajs.js");

/// kafkajs.
pub(crate) struct KafkaJs;

fn kafkajs(at: &Endpoint, task: Value) -> Vec<String> {
    let login = match &at.login {
        Login::Plain { user, password } => json!({ "username": user, "password": password }),
        Login::ClientCredentials { id, secret, token_endpoint } => {
            json!({ "id": id, "secret": secret, "tokenEndpoint": token_endpoint })
        }
    };
    let brokers: Vec<&str> = at.bootstrap.split(',').collect();
    let mut command = guarded(dependencies::program("node"));
    command.env("NODE_PATH", dependencies::node_modules()).env("KAFKAJS_NO_PARTITIONER_WARNING", "1");
    command.args(["-e", SCRIPT]);
    let given = json!({ "brokers": brokers, "ca": at.ca, "login": login, "task": task });
    run(command, &given.to_string(), TIMEOUT).success().lines().map(str::to_owned).collect()
}

impl StockClient for KafkaJs {
    fn name(&self) -> &'static str {
        "kafkajs"
    }

    fn produce(&self, at: &Endpoint, topic: &str, values: &[&str]) {
        kafkajs(at, json!({ "do": "produce", "topic": topic, "values": values }));
    }

    fn consume(&self, at: &Endpoint, topic: &str, group: &str, count: usize) -> Vec<String> {
        kafkajs(at, json!({ "do": "consume", "topic": topic, "group": group, "count": count }))
    }

    fn administer(&self, at: &Endpoint, topic: &str) -> Vec<String> {
        kafkajs(at, json!({ "do": "administer", "topic": topic }))
    }
}
