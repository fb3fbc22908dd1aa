//! The gateway's configuration: YAML text becomes one typed, checked [`Config`] before anything binds.
//!
//! Reading order: `file` is what people write, `values` the scalars in it, `check` makes a
//! [`Config`] of it and reports every error at once, each with the key's path and line.
//! Invariants of a [`Config`]: ports don't overlap, every path is absolute or relative to the
//! process and named files could be opened, one way of telling brokers apart per listener, SNI only
//! with TLS.

mod check;
pub mod file;
pub mod tokens;
pub mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_core::limits::Limits;
use tidegate_core::words::Principal;

use tidegate_policy::document::{self, Problem};
pub use tidegate_policy::identity::IssuerConfig;
pub use tidegate_policy::identity::saml::SamlConfig;

pub use self::tokens::{Mint, Tokens};
pub use self::values::HostPort;
use crate::data::addresses::Scheme;

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// The gateway's name in its evidence.
    pub origin: Arc<str>,
    /// How many shards run, at least 1.
    pub shards: usize,
    /// How long a shard without work looks for some before it sleeps.
    pub spin: Duration,
    /// Where clients connect, at least one.
    pub listeners: Vec<Listener>,
    /// The Kafka cluster behind the gateway.
    pub upstream: Upstream,
    /// Whose tokens are believed.
    pub identity: Identity,
    /// The gateway as an issuer of its own tokens.
    pub tokens: Option<Tokens>,
    /// The schema registry.
    pub schema_registry: Option<SchemaRegistry>,
    /// The policy file.
    pub policy_file: PathBuf,
    /// The evidence.
    pub evidence: Evidence,
    /// The control log.
    pub authority: AuthorityConfig,
    /// Health, metrics, reload.
    pub control: Control,
    /// How long in-flight requests may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Every bound of the gateway.
    pub limits: Arc<Limits>,
    /// The gateway's own log.
    pub log: Log,
    /// What is allowed but probably not meant, one sentence each.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong, in the file's order; or the one sentence why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        let text = read(path)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::parse(&text, path, cores)
    }

    /// Checks `text`, which stands in the file at `path`, for a machine of `cores` cores.
    ///
    /// # Errors
    /// Everything that is wrong, in the file's order.
    pub fn parse(text: &str, path: &Path, cores: usize) -> Result<Self, Vec<Problem>> {
        document::load::<file::File, Self>(text, &path.display().to_string(), |parsed| {
            check::check(&parsed.value, path, cores)
                .map_err(|complaints| complaints.into_iter().map(|(path, what)| parsed.problem(path, what)).collect())
        })
    }

    /// Reads and checks the section `upstream` of a file, and passes over whatever else is in it: how another program
    /// than the gateway reaches a cluster.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_upstream(path: &Path) -> Result<Upstream, Vec<Problem>> {
        let text = read(path)?;
        document::load::<file::Cluster, Upstream>(&text, &path.display().to_string(), |parsed| {
            check::upstream(&parsed.value.upstream, path)
                .map_err(|complaints| complaints.into_iter().map(|(path, what)| parsed.problem(path, what)).collect())
        })
    }

    /// The JSON Schema that configuration files are held against.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        document::schema::<file::File>()
    }
}

fn read(path: &Path) -> Result<String, Vec<Problem>> {
    std::fs::read_to_string(path).map_err(|error| {
        vec![Problem {
            file: Arc::from(path.display().to_string().as_str()),
            path: String::new(),
            line: 1,
            column: 1,
            message: format!("cannot be read: {error}"),
        }]
    })
}

/// A place where clients connect.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name in logs, metrics and evidence.
    pub name: Arc<str>,
    /// The port that clients bootstrap with.
    pub bootstrap: SocketAddr,
    /// How brokers' addresses look to clients.
    pub scheme: Arc<Scheme>,
    /// Every socket to listen on, the bootstrap socket first, with where its connections go. With
    /// SNI there is one, and the server name says more: see [`Listener::target_of_server_name`].
    pub sockets: Vec<(SocketAddr, Target)>,
    /// The host that clients bootstrap with, where brokers are told apart by SNI.
    pub sni_bootstrap_host: Option<Arc<str>>,
    /// TLS towards clients.
    pub tls: Option<ListenerTls>,
    /// SASL towards clients.
    pub sasl: Option<ListenerSasl>,
    /// Whether a PROXY header comes first.
    pub proxy_protocol: ProxyProtocol,
}

/// Which broker a client's connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Any: a bootstrap connection.
    Bootstrap,
    /// The broker with this node id.
    Broker(i32),
}

impl Listener {
    /// Which broker a TLS server name (SNI) is for; `None` where it is none of this listener's.
    /// Without SNI routing every name is fine and the socket decides: `Some(Bootstrap)`.
    #[must_use]
    pub fn target_of_server_name(&self, name: Option<&str>) -> Option<Target> {
        let (Scheme::SniHostPerBroker { host_pattern, .. }, Some(bootstrap)) =
            (&*self.scheme, &self.sni_bootstrap_host)
        else {
            return Some(Target::Bootstrap);
        };
        let name = name?.to_ascii_lowercase();
        if name == **bootstrap {
            return Some(Target::Bootstrap);
        }
        let (before, after) = host_pattern.split_once(check::NODE_ID)?;
        let digits = name.strip_prefix(before)?.strip_suffix(after)?;
        if digits.is_empty()
            || !digits.bytes().all(|b| b.is_ascii_digit())
            || (digits.len() > 1 && digits.starts_with('0'))
        {
            return None;
        }
        digits.parse().ok().map(Target::Broker)
    }
}

/// TLS towards clients.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    /// The certificate chain, PEM.
    pub certificate_file: PathBuf,
    /// The private key, PEM.
    pub key_file: PathBuf,
    /// The authorities of client certificates, PEM; present unless `client_auth` is `none`.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// Which part of it names the principal.
    pub principal_from: PrincipalFrom,
}

/// SASL towards clients.
#[derive(Debug, Clone)]
pub struct ListenerSasl {
    /// The mechanisms offered, at least one, each once.
    pub mechanisms: Vec<Mechanism>,
    /// The longest that a session lasts, whatever its token says.
    pub session_max: Option<Duration>,
}

/// The Kafka cluster behind the gateway.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// `host:port` of some brokers, at least one.
    pub bootstrap_servers: Vec<HostPort>,
    /// TLS towards the brokers.
    pub tls: Option<file::UpstreamTls>,
    /// How the gateway logs in.
    pub sasl: UpstreamSasl,
    /// How often brokers' addresses are asked for.
    pub metadata_interval: Duration,
}

/// A schema registry.
#[derive(Debug, Clone)]
pub struct SchemaRegistry {
    /// Where it answers.
    pub url: url::Url,
    /// How the gateway logs in to it.
    pub login: RegistryLogin,
    /// The authorities that its certificate is checked against; `None` for the system's.
    pub ca_file: Option<PathBuf>,
}

/// How the gateway logs in to a schema registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryLogin {
    /// It does not.
    None,
    /// By name and password.
    Basic {
        /// The name.
        username: String,
        /// The file with the password.
        password_file: PathBuf,
    },
    /// By a token.
    Bearer {
        /// The file with the token.
        token_file: PathBuf,
    },
}

/// Whose tokens are believed.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The OIDC providers.
    pub issuers: Vec<IssuerConfig>,
    /// The SAML providers.
    pub saml: Vec<SamlConfig>,
    /// Authorities for the HTTPS certificates of providers that don't name their own; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// How often signing keys are fetched anew.
    pub refresh_interval: Duration,
}

/// The evidence.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The folder of the segment files.
    pub directory: PathBuf,
    /// When a response may leave.
    pub release: Release,
    /// The size of a segment file, in bytes, a multiple of 4096.
    pub segment_bytes: u64,
    /// The key that signs checkpoints; without it one is made in `directory`.
    pub signing_key_file: Option<PathBuf>,
    /// How often new entries are signed.
    pub checkpoint_interval: Duration,
    /// How long after its first entry a segment is sealed.
    pub segment_age_max: Option<Duration>,
    /// What happens while evidence cannot be written.
    pub on_failure: OnFailure,
    /// What is kept, and for how long.
    pub retention: tidegate_audit::retention::Policy,
    /// How often it is looked for what is due to be removed.
    pub retention_interval: Duration,
    /// Whether entries say, by keyed tags, whose data was found.
    pub tag_subjects: bool,
    /// The file of the tags' secrets; without it one is made in `directory`.
    pub index_key_file: Option<PathBuf>,
    /// Where checkpoints are published; `None` where nowhere.
    pub anchors: Option<Anchors>,
}

impl Evidence {
    /// Where the secrets of subjects' tags lie.
    #[must_use]
    pub fn index_key_path(&self) -> PathBuf {
        let beside = || self.directory.join(tidegate_audit::subject::keys::INDEX_KEYS_FILE);
        self.index_key_file.clone().unwrap_or_else(beside)
    }
}

/// Where checkpoints are published, and how often.
#[derive(Debug, Clone)]
pub struct Anchors {
    /// A topic of the upstream.
    pub kafka_topic: Option<String>,
    /// A folder of an object store.
    pub object_store: Option<url::Url>,
    /// How often.
    pub interval: Duration,
}

/// The control log.
#[derive(Debug, Clone)]
pub struct AuthorityConfig {
    /// The folder of the control log's file.
    pub directory: PathBuf,
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// They aren't asked to.
    #[default]
    None,
    /// They may; one that is shown must be valid.
    Optional,
    /// They must.
    Required,
}

/// Which part of a client certificate names the principal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalFrom {
    /// The subject's common name.
    #[default]
    CommonName,
    /// The whole subject, RFC 4514.
    DistinguishedName,
    /// The first DNS name.
    SanDns,
    /// The first e-mail address.
    SanEmail,
    /// The first URI (SPIFFE).
    SanUri,
}

/// A SASL mechanism offered to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// RFC 7628, with a token of one of the issuers.
    #[serde(rename = "OAUTHBEARER")]
    OAuthBearer,
    /// RFC 4616, with the token as password.
    #[serde(rename = "PLAIN")]
    Plain,
}

impl Mechanism {
    /// The mechanism's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OAuthBearer => "OAUTHBEARER",
            Self::Plain => "PLAIN",
        }
    }
}

/// Whether a PROXY protocol header comes before each connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// No; one that comes is taken for garbage.
    #[default]
    None,
    /// Yes, version 1 or 2; a connection without one is closed.
    V1OrV2,
}

/// How the gateway logs in to the brokers. Secrets are files, so that they can be rotated and never stand here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "mechanism", deny_unknown_fields)]
pub enum UpstreamSasl {
    /// It doesn't.
    #[default]
    #[serde(rename = "none")]
    None,
    /// RFC 4616.
    #[serde(rename = "PLAIN")]
    Plain {
        /// The gateway's user.
        username: String,
        /// The file that holds its password; a newline at the end is left out.
        password_file: PathBuf,
    },
    /// RFC 7677.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256 {
        /// The gateway's user.
        username: String,
        /// The file that holds its password.
        password_file: PathBuf,
    },
    /// RFC 7677 with SHA-512, as Kafka has it.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512 {
        /// The gateway's user.
        username: String,
        /// The file that holds its password.
        password_file: PathBuf,
    },
    /// RFC 7628, with either of the two.
    #[serde(rename = "OAUTHBEARER")]
    OAuthBearer {
        /// The file that holds a token that something else keeps fresh.
        #[serde(default)]
        token_file: Option<PathBuf>,
        /// The gateway makes a token for each session, in the principal's name; needs `tokens`.
        #[serde(default)]
        mint: Option<Mint>,
    },
}

impl UpstreamSasl {
    /// The file that holds the secret.
    #[must_use]
    pub fn secret_file(&self) -> Option<&Path> {
        match self {
            Self::None => None,
            Self::Plain { password_file, .. }
            | Self::ScramSha256 { password_file, .. }
            | Self::ScramSha512 { password_file, .. } => Some(password_file),
            Self::OAuthBearer { token_file, .. } => token_file.as_deref(),
        }
    }
}

/// What happens while evidence cannot be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Nothing is released and nothing more is taken until it can be.
    #[default]
    Refuse,
    /// Responses leave without evidence; how many is counted, and written down once that is possible again.
    Shed,
}

/// When a response that carries data may leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// Once its evidence is written: survives a crash of the process.
    #[default]
    Written,
    /// Once its evidence is on the disk: survives power loss.
    Durable,
    /// At once: evidence of the last moments may be lost.
    Async,
}

/// Health, metrics, the admin API.
#[derive(Debug, Clone)]
pub struct Control {
    /// The address to listen on.
    pub bind: SocketAddr,
    /// TLS on it; always there where `bind` is not a loopback address.
    pub tls: Option<ListenerTls>,
    /// Programs that decide approvals by signed callbacks.
    pub callbacks: Vec<Callback>,
}

/// A program that decides approvals by signed callbacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// Its name in the URL.
    pub name: Arc<str>,
    /// The file that holds the shared secret.
    pub secret_file: PathBuf,
    /// Whom its decisions count as.
    pub approver: Principal,
}

/// The gateway's own log, on stderr.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// One line of text or one JSON object an event.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`, or filters like `info,tidegate::control=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How log events are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// A line of text.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

#[cfg(test)]
mod tests;
