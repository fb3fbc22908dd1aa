//! confluent-kafka from PyPI, through a small script.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Endpoint, Login, StockClient};
use crate::dependencies;
use crate::process::{guarded, run};

const TIMEOUT: Duration = Duration::from_secs(90);
const SCRIPT: &str = include_str!("confluent.py");
const SERIALIZERS: &str = include_str!("serializers.py");

/// confluent-kafka, with librdkafka's own OIDC login.
pub(crate) struct Confluent;

/// Produces or consumes with the client's own serializers, as `task` says.
pub(crate) fn with_serializers(at: &Endpoint, task: Value) -> Vec<String> {
    script(SERIALIZERS, at, task)
}

fn confluent(at: &Endpoint, task: Value) -> Vec<String> {
    script(SCRIPT, at, task)
}

fn script(script: &str, at: &Endpoint, task: Value) -> Vec<String> {
    let mut settings: serde_json::Map<String, Value> =
        at.librdkafka().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    if let Login::ClientCredentials { id, secret, token_endpoint } = &at.login {
        for (key, value) in [
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.client.id", id),
            ("sasl.oauthbearer.client.secret", secret),
            ("sasl.oauthbearer.token.endpoint.url", token_endpoint),
        ] {
            settings.insert(key.to_owned(), value.into());
        }
    }
    let mut command = guarded(dependencies::python());
    command.args(["-c", script]);
    let done = run(command, &json!({ "settings": settings, "task": task }).to_string(), TIMEOUT);
    done.success().lines().map(str::to_owned).collect()
}

impl StockClient for Confluent {
    fn name(&self) -> &'static str {
        "confluent-kafka"
    }

    fn produce(&self, at: &Endpoint, topic: &str, values: &[&str]) {
        confluent(at, json!({ "do": "produce", "topic": topic, "values": values }));
    }

    fn consume(&self, at: &Endpoint, topic: &str, group: &str, count: usize) -> Vec<String> {
        confluent(at, json!({ "do": "consume", "topic": topic, "group": group, "count": count }))
    }

    fn administer(&self, at: &Endpoint, topic: &str) -> Vec<String> {
        confluent(at, json!({ "do": "administer", "topic": topic }))
    }
}
