//! Kafka's own command line tools, the classes behind `bin/kafka-*.sh`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::{Endpoint, Login, StockClient};
use crate::kafka::java;
use crate::process::{Finished, Process, run};

const TIMEOUT: Duration = Duration::from_secs(120);

/// The Java client, through its console tools.
pub(crate) struct Java;

impl Endpoint {
    /// A Java client's properties file.
    pub(crate) fn java_properties(&self) -> String {
        let mut text = format!("security.protocol={}\n", self.security_protocol());
        if let Some(ca) = &self.ca {
            writeln!(text, "ssl.truststore.type=PEM\nssl.truststore.location={}", ca.display()).unwrap();
        }
        match &self.login {
            Login::Plain { user, password } => write!(
                text,
                "sasl.mechanism=PLAIN\n\
                 sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
                 username=\"{user}\" password=\"{password}\";\n"
            ),
            Login::ClientCredentials { id, secret, token_endpoint } => write!(
                text,
                "sasl.mechanism=OAUTHBEARER\n\
                 sasl.login.callback.handler.class=\
                 org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n\
                 sasl.oauthbearer.token.endpoint.url={token_endpoint}\n\
                 sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                 clientId=\"{id}\" clientSecret=\"{secret}\";\n"
            ),
        }
        .unwrap();
        text
    }
}

/// Runs one of Kafka's tools at `at`. The properties file is given as the option `config`, which
/// every tool calls by another name.
#[track_caller]
pub(crate) fn java_tool(at: &Endpoint, class: &str, config: &str, arguments: &[&str], input: &str) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let properties = folder.path().join("client.properties");
    std::fs::write(&properties, at.java_properties()).unwrap();
    let mut command = java();
    command.arg("-Xmx256m").arg(class).args(["--bootstrap-server", &at.bootstrap]);
    command.arg(config).arg(&properties).args(arguments);
    run(command, input, TIMEOUT)
}

/// Kafka's console consumer of `topic` from now on, for as long as it lives; its output goes to a file in `folder`.
pub(crate) fn java_follow(at: &Endpoint, topic: &str, folder: &Path, name: &str) -> Process {
    let properties = folder.join(format!("{name}.properties"));
    std::fs::write(&properties, at.java_properties()).unwrap();
    let mut command = java();
    command.arg("-Xmx256m").arg("org.apache.kafka.tools.consumer.ConsoleConsumer");
    command.args(["--bootstrap-server", &at.bootstrap, "--topic", topic, "--group", name, "--command-config"]);
    command.arg(&properties);
    Process::start(name, command, folder.join(name))
}

impl StockClient for Java {
    fn name(&self) -> &'static str {
        "Java"
    }

    fn produce(&self, at: &Endpoint, topic: &str, values: &[&str]) {
        let class = "org.apache.kafka.tools.ConsoleProducer";
        let done = java_tool(at, class, "--command-config", &["--topic", topic, "--sync"], &values.join("\n"));
        // The tool reports what it could not send, and ends well all the same.
        assert!(!done.stderr.contains("rror"), "{}", done.stderr);
        done.success();
    }

    fn consume(&self, at: &Endpoint, topic: &str, group: &str, count: usize) -> Vec<String> {
        let count = count.to_string();
        let arguments =
            ["--topic", topic, "--group", group, "--from-beginning", "--max-messages", &count, "--timeout-ms", "60000"];
        let class = "org.apache.kafka.tools.consumer.ConsoleConsumer";
        let done = java_tool(at, class, "--command-config", &arguments, "");
        done.success().lines().map(str::to_owned).collect()
    }

    fn administer(&self, at: &Endpoint, topic: &str) -> Vec<String> {
        let topics = |arguments: &[&str]| {
            java_tool(at, "org.apache.kafka.tools.TopicCommand", "--command-config", arguments, "").success()
        };
        topics(&["--create", "--topic", topic, "--partitions", "2"]);
        let described = topics(&["--describe", "--topic", topic]);
        assert!(described.contains("PartitionCount: 2"), "{described}");
        topics(&["--list"]).lines().map(str::to_owned).collect()
    }
}
