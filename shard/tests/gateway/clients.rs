//! Unmodified clients, each driven the way its users drive it, behind one small interface: produce,
//! consume in a group, administer.

use std::path::PathBuf;

use crate::idp::{Idp, SECRET};
use crate::tls::Authority;

mod java;
mod kafkajs;
mod kcat;
mod librdkafka;
mod python;

pub(crate) use java::{Java, java_follow, java_tool};
pub(crate) use kafkajs::KafkaJs;
pub(crate) use kcat::{Kcat, kcat_follow};
pub(crate) use librdkafka::{LibRdKafka, create as create_librdkafka};
pub(crate) use python::{Confluent, with_serializers};

/// Where a client connects and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) bootstrap: String,
    /// The authority to trust; none where the connection is plain text.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) login: Login,
}

/// How a client logs in.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    /// SASL/PLAIN; towards the gateway the password is a token.
    Plain { user: String, password: String },
    /// SASL/OAUTHBEARER: the client itself gets tokens with its id and secret.
    ClientCredentials { id: String, secret: String, token_endpoint: String },
}

impl Endpoint {
    /// TLS with the tests' authority, logged in as a client of the shared issuer.
    pub(crate) fn oauth(bootstrap: &str, id: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            ca: Some(Authority::shared().file()),
            login: Login::ClientCredentials {
                id: id.to_owned(),
                secret: SECRET.to_owned(),
                token_endpoint: Idp::shared().token_endpoint(),
            },
        }
    }

    /// TLS with the tests' authority, logged in with a password.
    pub(crate) fn plain(bootstrap: &str, user: &str, password: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            ca: Some(Authority::shared().file()),
            login: Login::Plain { user: user.to_owned(), password: password.to_owned() },
        }
    }

    /// Kafka's name for the way of connecting.
    fn security_protocol(&self) -> &'static str {
        if self.ca.is_some() { "SASL_SSL" } else { "SASL_PLAINTEXT" }
    }

    /// The settings of librdkafka and of what is built on it.
    fn librdkafka(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("bootstrap.servers", self.bootstrap.clone()),
            ("security.protocol", self.security_protocol().to_owned()),
        ];
        if let Some(ca) = &self.ca {
            settings.push(("ssl.ca.location", ca.display().to_string()));
        }
        match &self.login {
            Login::Plain { user, password } => settings.extend([
                ("sasl.mechanisms", "PLAIN".to_owned()),
                ("sasl.username", user.clone()),
                ("sasl.password", password.clone()),
            ]),
            Login::ClientCredentials { .. } => settings.push(("sasl.mechanisms", "OAUTHBEARER".to_owned())),
        }
        settings
    }
}

/// What every client can do.
pub(crate) trait StockClient {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Produces these values.
    fn produce(&self, at: &Endpoint, topic: &str, values: &[&str]);

    /// Consumes `count` values from the beginning as a member of `group`, and commits.
    fn consume(&self, at: &Endpoint, topic: &str, group: &str, count: usize) -> Vec<String>;

    /// Does what the client offers of administration: creates `topic` where it can, and lists topics.
    fn administer(&self, at: &Endpoint, topic: &str) -> Vec<String>;
}
