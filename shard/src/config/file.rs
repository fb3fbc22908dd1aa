//! The configuration file as it is written: strict keys, defaults, a JSON Schema.
//!
//! Nothing else reads these types but `check`, which makes the checked [`Config`](super::Config)
//! of them. Paths are relative to the configuration file's folder.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate_core::limits::Limits;

pub use super::tokens::{LoginFile as TokensLogin, TokensFile as Tokens};
use super::values::{HostPort, NodeIds, Shards, Span, Written};
use super::{
    ClientAuth, IssuerConfig, Log, Mechanism, OnFailure, PrincipalFrom, ProxyProtocol, Release, SamlConfig,
    UpstreamSasl,
};

/// The whole file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tidegate configuration")]
pub struct File {
    /// This gateway's name in its evidence, unique among your gateways, for instance `gw-1.example.com`.
    pub origin: String,
    /// How many shards run: `auto` is one per core that this process may use.
    #[serde(default)]
    pub shards: Written<Shards>,
    /// How long a shard without work looks for some before it sleeps, in microseconds.
    #[serde(default)]
    #[schemars(range(max = 1000))]
    pub spin_micros: u32,
    /// Where clients connect.
    #[schemars(length(min = 1))]
    pub listeners: Vec<Listener>,
    /// The Kafka cluster behind the gateway.
    pub upstream: Upstream,
    /// Whose tokens are believed.
    #[serde(default)]
    pub identity: Identity,
    /// The gateway as an issuer of short-lived tokens of its own: logins, service accounts, tokens for the upstream.
    pub tokens: Option<Tokens>,
    /// The schema registry whose framing records have, for mask rules with `schema_registry: true`.
    pub schema_registry: Option<SchemaRegistry>,
    /// The policy file: who may do what, and what is masked. Reloaded when it changes.
    pub policy_file: PathBuf,
    /// The evidence.
    pub evidence: Evidence,
    /// The control log: run-time grants, decisions, revocations.
    #[serde(default)]
    pub authority: Authority,
    /// Health, metrics, reload.
    #[serde(default)]
    pub control: Control,
    /// How long in-flight requests may take to finish after SIGTERM.
    #[serde(default = "drain_timeout")]
    pub drain_timeout: Written<Span>,
    /// Every bound of the gateway.
    #[serde(default)]
    pub limits: Limits,
    /// The gateway's own log.
    #[serde(default)]
    pub log: Log,
}

const fn drain_timeout() -> Written<Span> {
    Written::unwritten(Span::secs(30))
}

/// One place where clients connect. Exactly one of `broker_ports` and `sni` says how brokers are told apart.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Its name in logs, metrics and evidence.
    pub name: String,
    /// The protocol spoken.
    pub protocol: Protocol,
    /// The local address to listen on.
    pub bind: Written<IpAddr>,
    /// The port that clients put into `bootstrap.servers`.
    pub bootstrap_port: u16,
    /// The host that clients reach this listener under. Needed with `broker_ports`.
    pub advertised_host: Option<String>,
    /// A port per broker (the default way).
    pub broker_ports: Option<BrokerPorts>,
    /// A host name per broker on one port; needs `tls`.
    pub sni: Option<Sni>,
    /// TLS towards clients; without it the listener is plain text.
    pub tls: Option<Tls>,
    /// SASL towards clients; without it callers are known by their certificate, or anonymous.
    pub sasl: Option<Sasl>,
    /// Whether a load balancer puts a PROXY header before each connection.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// The Kafka protocol.
    Kafka,
}

/// A port per broker: node id `first + n` has the port `first_port + n`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrokerPorts {
    /// The port of the lowest node id.
    pub first_port: u16,
    /// The node ids that get a port, for instance `0-9`.
    pub node_ids: Written<NodeIds>,
    /// The first port as clients see it, where a load balancer maps ports; by default `first_port`.
    pub advertised_first_port: Option<u16>,
}

/// A host name per broker, told apart by the TLS handshake's server name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sni {
    /// For instance `broker-$(node_id).kafka.example.com`.
    pub host_pattern: String,
    /// The host that clients bootstrap with.
    pub bootstrap_host: String,
    /// The port as clients see it, where a load balancer maps ports; by default `bootstrap_port`.
    pub advertised_port: Option<u16>,
}

/// TLS towards clients.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain, PEM, the leaf first. Reloaded when it changes.
    pub certificate_file: PathBuf,
    /// The private key, PEM. Reloaded when it changes.
    pub key_file: PathBuf,
    /// The authorities whose client certificates are accepted, PEM.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients show a certificate.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Which part of a client certificate names the principal, where there is no SASL.
    #[serde(default)]
    pub principal_from: PrincipalFrom,
}

/// SASL towards clients.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    /// The mechanisms offered. PLAIN takes a token as its password.
    #[schemars(length(min = 1))]
    pub mechanisms: Vec<Mechanism>,
    /// The longest that a session lasts before it must authenticate again (KIP-368), even where its token lasts longer.
    pub session_max: Option<Written<Span>>,
}

/// Of a file, how a cluster is reached; the rest is not looked at.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct Cluster {
    /// The cluster.
    pub upstream: Upstream,
}

/// The Kafka cluster behind the gateway.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `host:port` of some brokers.
    #[schemars(length(min = 1))]
    pub bootstrap_servers: Vec<Written<HostPort>>,
    /// TLS towards the brokers; without it the connection is plain text.
    pub tls: Option<UpstreamTls>,
    /// How the gateway logs in to the brokers.
    #[serde(default)]
    pub sasl: UpstreamSasl,
    /// How often the brokers' addresses are asked for.
    #[serde(default = "metadata_interval")]
    pub metadata_interval: Written<Span>,
}

const fn metadata_interval() -> Written<Span> {
    Written::unwritten(Span::secs(30))
}

/// TLS towards the brokers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTls {
    /// The authorities that the brokers' certificates are checked against, PEM; by default the system's.
    pub ca_file: Option<PathBuf>,
    /// The name expected in the brokers' certificates, where it isn't the host that is connected to.
    pub server_name: Option<String>,
    /// The gateway's own certificate chain, PEM, where brokers ask for one.
    pub certificate_file: Option<PathBuf>,
    /// The private key to it, PEM.
    pub key_file: Option<PathBuf>,
}

/// A schema registry that speaks Confluent's API.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SchemaRegistry {
    /// Where it answers, for instance `https://registry.example.com`.
    pub url: String,
    /// The user name, where it asks for one.
    pub username: Option<String>,
    /// The file with the password to it.
    pub password_file: Option<PathBuf>,
    /// The file with a bearer token, instead of name and password.
    pub token_file: Option<PathBuf>,
    /// The authorities that its certificate is checked against, PEM; by default the system's.
    pub ca_file: Option<PathBuf>,
}

/// Whose tokens are believed.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// The OIDC providers.
    #[serde(default)]
    pub issuers: Vec<IssuerConfig>,
    /// SAML 2.0 providers that people log in at through `tokens`.
    #[serde(default)]
    pub saml: Vec<SamlConfig>,
    /// Authorities for the HTTPS certificates of providers that don't name their own, PEM; by default the system's.
    pub ca_file: Option<PathBuf>,
    /// How often signing keys are fetched anew.
    pub refresh_interval: Option<Written<Span>>,
}

/// The evidence.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The folder of the segment files; made if it doesn't exist.
    pub directory: PathBuf,
    /// When a response may leave.
    #[serde(default)]
    pub release: Release,
    /// The size of a segment file, in bytes; preallocated, one at a time per shard.
    #[serde(default = "segment_bytes")]
    pub segment_bytes: u64,
    /// The key that signs checkpoints of the evidence (a line `PRIVATE+KEY+name+id+base64`); by default one is
    /// made in the evidence's folder, where whoever may change the evidence can read it.
    pub signing_key_file: Option<PathBuf>,
    /// How often new entries are signed.
    pub checkpoint_interval: Option<Written<Span>>,
    /// How long after its first entry a segment is sealed, however little is in it. By default only size seals it.
    pub segment_age_max: Option<Written<Span>>,
    /// What happens while evidence cannot be written: the disk is full, or fails.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What is kept, and for how long; by default everything, for ever.
    #[serde(default)]
    pub retention: Retention,
    /// Whether entries say whose data was found, by keyed tags that only who has the key can ask for.
    #[serde(default = "yes")]
    pub tag_subjects: bool,
    /// The file of the tags' secrets, one an epoch; made where there is none. By default `index.keys` in the
    /// evidence's folder, where whoever copies the evidence copies it too.
    pub index_key_file: Option<PathBuf>,
    /// Where checkpoints are published, so that nobody who can write here can take evidence away unseen.
    #[serde(default)]
    pub anchors: Anchors,
}

/// Where checkpoints are published.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Anchors {
    /// A topic of the upstream, which must exist; best one that the gateway may write to and not delete.
    pub kafka_topic: Option<String>,
    /// A folder of an object store: `file:///mnt/anchors`, and in builds with the feature `cloud` also
    /// `s3://bucket/folder`, `gs://…`, `az://…`; best with object lock. Credentials come from the environment.
    pub object_store: Option<String>,
    /// How often; by default every minute.
    pub interval: Option<Written<Span>>,
}

/// How long evidence is kept. What a legal hold covers (`tidegate audit hold`) is kept anyhow.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Segments whose entries are all older than that are removed.
    pub age_max: Option<Written<Span>>,
    /// Bytes of segments that each shard keeps; over it the oldest are removed.
    pub bytes_max: Option<u64>,
    /// How often it is looked for what is due; by default every minute.
    pub interval: Option<Written<Span>>,
}

const fn yes() -> bool {
    true
}

const fn segment_bytes() -> u64 {
    64 * 1024 * 1024
}

/// The control log: run-time grants, decisions, revocations.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Authority {
    /// The folder of `control.log`; made if it doesn't exist. By default `control` in the evidence's folder. Who may
    /// write to it may grant himself anything.
    pub directory: Option<PathBuf>,
}

/// Health, metrics, and the admin API: grants, approvals, revocations.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    /// The address to listen on. Anything but the loopback needs `tls`: tokens come through here.
    pub bind: Written<SocketAddr>,
    /// TLS on this address; without it, it is plain HTTP.
    pub tls: Option<ControlTls>,
    /// Programs that may decide approvals by signed callbacks, each as one approver.
    pub callbacks: Vec<Callback>,
}

impl Default for Control {
    fn default() -> Self {
        let bind = Written::unwritten(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9644));
        Self { bind, tls: None, callbacks: Vec::new() }
    }
}

/// TLS on the control address.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlTls {
    /// The certificate chain, PEM, the leaf first. Reloaded when it changes.
    pub certificate_file: PathBuf,
    /// The private key, PEM. Reloaded when it changes.
    pub key_file: PathBuf,
}

/// A program that decides approvals with requests signed by a shared secret, at `POST /v1/callbacks/NAME`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Callback {
    /// Its name in the URL and in evidence: letters, digits, `-` and `_`.
    pub name: String,
    /// The file that holds the secret, 32 bytes or more; a newline at the end is left out. Read with every
    /// callback, so that it can be rotated.
    pub secret_file: PathBuf,
    /// Whom its decisions count as.
    pub approver: CallbackApprover,
}

/// The identity that a callback's decisions count as.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackApprover {
    /// The principal's name.
    pub name: String,
    /// The principal's issuer; by default `callback`.
    pub issuer: Option<String>,
    /// The principal's subject at the issuer; by default its name.
    pub subject: Option<String>,
    /// The principal's groups.
    #[serde(default)]
    pub groups: Vec<String>,
}
