//! Makes a checked [`Config`] of what the file says. Every problem is found, not only the first.

mod tokens;

use std::collections::{BTreeMap, HashSet};
use std::fs::File as OpenFile;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidegate_audit::entry::ENTRY_BYTES_MIN;
use tidegate_audit::format::FRAME_BYTES_MAX;
use tidegate_audit::retention::Policy as RetentionPolicy;
use tidegate_core::words::Principal;
use tidegate_policy::authority::Actor;

use super::values::{self, NodeIds, Shards, Span, Written};
use super::{
    Anchors, AuthorityConfig, Callback, ClientAuth, Config, Control, Evidence, Identity, Listener, ListenerSasl,
    ListenerTls, Mechanism, OnFailure, PrincipalFrom, RegistryLogin, Release, SamlConfig, SchemaRegistry, Target,
    Upstream, UpstreamSasl, file,
};
use crate::data::addresses::Scheme;

/// The place of the node id in a host pattern.
pub(super) const NODE_ID: &str = "$(node_id)";

/// Whether Kafka takes this as a topic's name.
fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The longest time that anything is kept or waited for.
const YEARS: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Segments are written in blocks of this many bytes.
const BLOCK_BYTES: u64 = 4096;
const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
const SEGMENT_BYTES_MAX: u64 = 1 << 40;
const NODE_IDS_MAX: u32 = 1000;
/// A shard that looks for work longer than this wastes its core.
const SPIN_MICROS_MAX: u32 = 1000;

/// A problem's key path and what is wrong there.
pub(super) type Complaint = (String, String);

/// Collects problems while a [`Config`] is put together.
struct Checker<'a> {
    folder: &'a Path,
    complaints: Vec<Complaint>,
    warnings: Vec<String>,
    /// Who has which port, to find overlaps.
    taken: BTreeMap<u16, Vec<(IpAddr, String)>>,
}

/// The configuration, or everything that is wrong with it.
pub(super) fn check(file: &file::File, source: &Path, cores: usize) -> Result<Config, Vec<Complaint>> {
    let folder = source.parent().unwrap_or_else(|| Path::new(""));
    let mut checker = Checker { folder, complaints: Vec::new(), warnings: Vec::new(), taken: BTreeMap::new() };
    let config = checker.config(file, source, cores);
    if checker.complaints.is_empty() { Ok(config) } else { Err(checker.complaints) }
}

/// How a cluster is reached, or everything that is wrong with it.
pub(super) fn upstream(upstream: &file::Upstream, source: &Path) -> Result<Upstream, Vec<Complaint>> {
    let folder = source.parent().unwrap_or_else(|| Path::new(""));
    let mut checker = Checker { folder, complaints: Vec::new(), warnings: Vec::new(), taken: BTreeMap::new() };
    let checked = checker.upstream(upstream);
    if matches!(checked.sasl, UpstreamSasl::OAuthBearer { token_file: None, .. }) {
        checker.complain("upstream.sasl.token_file", "is needed here: only a running gateway makes tokens");
    }
    if checker.complaints.is_empty() { Ok(checked) } else { Err(checker.complaints) }
}

impl Checker<'_> {
    fn config(&mut self, file: &file::File, source: &Path, cores: usize) -> Config {
        self.origin(&file.origin);
        let listeners = self.listeners(&file.listeners);
        let control = self.control(&file.control);
        self.limits(&file.limits);
        self.log(&file.log);
        let drain_timeout = self.span("drain_timeout", &file.drain_timeout, Duration::from_secs(3600));
        let identity = self.identity(file);
        let tokens = file.tokens.as_ref().and_then(|tokens| self.tokens(tokens, &identity.issuers));
        self.mint(&file.upstream.sasl, file.tokens.as_ref());
        let policy_file = self.readable("policy_file", &file.policy_file);
        Config {
            file: source.to_owned(),
            origin: Arc::from(file.origin.as_str()),
            shards: self.shards(&file.shards, cores),
            spin: self.spin(file.spin_micros),
            listeners,
            upstream: self.upstream(&file.upstream),
            identity,
            tokens,
            schema_registry: file.schema_registry.as_ref().and_then(|registry| self.schema_registry(registry)),
            policy_file,
            evidence: self.evidence(&file.evidence, file.limits.evidence_entry_bytes_max),
            authority: self.authority(file),
            control,
            drain_timeout,
            limits: Arc::new(file.limits.clone()),
            log: file.log.clone(),
            warnings: std::mem::take(&mut self.warnings),
        }
    }

    fn complain(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.complaints.push((path.into(), what.into()));
    }

    fn warn(&mut self, path: &str, what: impl AsRef<str>) {
        self.warnings.push(format!("{path}: {}", what.as_ref()));
    }

    fn origin(&mut self, origin: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
        if origin.is_empty() || origin.len() > 128 || !origin.chars().all(allowed) {
            self.complain(
                "origin",
                "must have 1 to 128 letters, digits or `.` `_` `-` `/` `:`: it names this gateway in its evidence",
            );
        }
    }

    fn control(&mut self, control: &file::Control) -> Control {
        let bind =
            self.read("control.bind", &control.bind).unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        if bind.port() != 0 {
            self.take_port("control.bind", bind);
        }
        if !bind.ip().is_loopback() && control.tls.is_none() {
            self.complain(
                "control.bind",
                format!("{bind} can be reached from other machines: set `control.tls`, or bind to 127.0.0.1"),
            );
        }
        let tls = control.tls.as_ref().map(|tls| ListenerTls {
            certificate_file: self.readable("control.tls.certificate_file", &tls.certificate_file),
            key_file: self.readable("control.tls.key_file", &tls.key_file),
            client_ca_file: None,
            client_auth: ClientAuth::None,
            principal_from: PrincipalFrom::CommonName,
        });
        Control { bind, tls, callbacks: self.callbacks(&control.callbacks) }
    }

    fn callbacks(&mut self, callbacks: &[file::Callback]) -> Vec<Callback> {
        let mut names = HashSet::new();
        let mut checked = Vec::new();
        for (index, callback) in callbacks.iter().enumerate() {
            let path = format!("control.callbacks[{index}]");
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let fits = (1..=64).contains(&callback.name.len()) && callback.name.chars().all(allowed);
            if !fits || !names.insert(callback.name.as_str()) {
                self.complain(
                    format!("{path}.name"),
                    "must have 1 to 64 letters, digits, `-` or `_`, and be no other callback's name",
                );
            }
            let approver = &callback.approver;
            if approver.name.is_empty() || approver.groups.iter().any(String::is_empty) {
                self.complain(format!("{path}.approver"), "needs a name, and no group may be empty");
            }
            if approver.issuer.as_deref().is_some_and(Actor::is_reserved_issuer) {
                self.complain(
                    format!("{path}.approver.issuer"),
                    "issuers that begin with `tidegate:` are the gateway's own",
                );
            }
            let name: Arc<str> = Arc::from(approver.name.as_str());
            checked.push(Callback {
                name: Arc::from(callback.name.as_str()),
                secret_file: self.readable(&format!("{path}.secret_file"), &callback.secret_file),
                approver: Principal {
                    issuer: Arc::from(approver.issuer.as_deref().unwrap_or("callback")),
                    subject: approver.subject.as_deref().map_or_else(|| name.clone(), Arc::from),
                    name,
                    groups: approver.groups.iter().map(|group| Arc::from(group.as_str())).collect(),
                },
            });
        }
        checked
    }

    fn shards(&mut self, shards: &Written<Shards>, cores: usize) -> usize {
        match self.read("shards", shards) {
            None | Some(Shards::Auto) => cores.max(1),
            Some(Shards::Count(count)) => {
                let count = usize::from(count);
                if count > cores {
                    self.warn("shards", format!("{count} shards share {cores} cores; they will wait for each other"));
                }
                count
            }
        }
    }

    fn spin(&mut self, micros: u32) -> Duration {
        if micros > SPIN_MICROS_MAX {
            self.complain("spin_micros", format!("must be at most {SPIN_MICROS_MAX}"));
        }
        Duration::from_micros(u64::from(micros))
    }

    fn listeners(&mut self, listeners: &[file::Listener]) -> Vec<Listener> {
        if listeners.is_empty() {
            self.complain("listeners", "must have at least one listener");
        }
        let mut names = HashSet::new();
        let mut checked = Vec::new();
        for (index, listener) in listeners.iter().enumerate() {
            let path = format!("listeners[{index}]");
            if listener.name.is_empty() || !names.insert(listener.name.as_str()) {
                self.complain(
                    format!("{path}.name"),
                    format!("`{}` is empty or another listener's name", listener.name),
                );
            }
            if let Some(listener) = self.listener(&path, listener) {
                checked.push(listener);
            }
        }
        checked
    }

    fn listener(&mut self, path: &str, listener: &file::Listener) -> Option<Listener> {
        let bind = self.read(&format!("{path}.bind"), &listener.bind)?;
        let bootstrap = SocketAddr::new(bind, listener.bootstrap_port);
        if listener.bootstrap_port == 0 {
            self.complain(format!("{path}.bootstrap_port"), "must not be 0: clients need to know it");
        } else {
            self.take_port(&format!("{path}.bootstrap_port"), bootstrap);
        }
        let tls = listener.tls.as_ref().map(|tls| self.listener_tls(&format!("{path}.tls"), tls));
        let sasl = listener.sasl.as_ref().map(|sasl| self.listener_sasl(&format!("{path}.sasl"), sasl, tls.is_some()));
        let certificate_required = tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Required);
        if sasl.is_none() && !certificate_required {
            self.warn(
                path,
                "has neither `sasl` nor required client certificates: callers without one are the principal ANONYMOUS",
            );
        }
        let (scheme, sockets) = match (&listener.broker_ports, &listener.sni) {
            (Some(ports), None) => self.port_per_broker(path, listener, ports, bootstrap)?,
            (None, Some(sni)) => self.sni_host_per_broker(path, sni, bootstrap, tls.is_some()),
            _ => {
                self.complain(
                    path,
                    "needs either `broker_ports` (a port per broker) or `sni` (a host name per broker), and not both",
                );
                return None;
            }
        };
        Some(Listener {
            name: Arc::from(listener.name.as_str()),
            bootstrap,
            scheme: Arc::new(scheme),
            sockets,
            sni_bootstrap_host: listener.sni.as_ref().map(|sni| Arc::from(sni.bootstrap_host.to_ascii_lowercase())),
            tls,
            sasl,
            proxy_protocol: listener.proxy_protocol,
        })
    }

    fn port_per_broker(
        &mut self,
        path: &str,
        listener: &file::Listener,
        ports: &file::BrokerPorts,
        bootstrap: SocketAddr,
    ) -> Option<(Scheme, Vec<(SocketAddr, Target)>)> {
        let host = listener.advertised_host.as_deref().unwrap_or_default();
        if !values::is_host_name(host) && host.parse::<IpAddr>().is_err() {
            self.complain(format!("{path}.advertised_host"), "must be the host that clients reach this listener under");
        }
        let node_ids: NodeIds = self.read(&format!("{path}.broker_ports.node_ids"), &ports.node_ids)?;
        let count = node_ids.count();
        if count > NODE_IDS_MAX {
            self.complain(
                format!("{path}.broker_ports.node_ids"),
                format!("{count} node ids are too many; at most {NODE_IDS_MAX} get a port"),
            );
            return None;
        }
        let advertised = ports.advertised_first_port.unwrap_or(ports.first_port);
        for (key, first) in [("first_port", ports.first_port), ("advertised_first_port", advertised)] {
            if first == 0 || u32::from(first) + count - 1 > u32::from(u16::MAX) {
                self.complain(
                    format!("{path}.broker_ports.{key}"),
                    format!("{count} ports from {first} on don't fit into 1-65535"),
                );
                return None;
            }
        }
        let mut sockets = vec![(bootstrap, Target::Bootstrap)];
        for (port, node_id) in (ports.first_port..=u16::MAX).zip(node_ids.0.clone()) {
            let address = SocketAddr::new(bootstrap.ip(), port);
            self.take_port(&format!("{path}.broker_ports"), address);
            sockets.push((address, Target::Broker(node_id)));
        }
        let scheme = Scheme::PortPerBroker { host: Arc::from(host), base_port: advertised, node_ids: node_ids.0 };
        Some((scheme, sockets))
    }

    fn sni_host_per_broker(
        &mut self,
        path: &str,
        sni: &file::Sni,
        bootstrap: SocketAddr,
        has_tls: bool,
    ) -> (Scheme, Vec<(SocketAddr, Target)>) {
        if !has_tls {
            self.complain(
                format!("{path}.sni"),
                "needs `tls`: brokers are told apart by the server name of the TLS handshake",
            );
        }
        let pattern = sni.host_pattern.to_ascii_lowercase();
        if pattern.matches(NODE_ID).count() != 1 || !values::is_host_name(&pattern.replace(NODE_ID, "0")) {
            self.complain(
                format!("{path}.sni.host_pattern"),
                format!("must be a host name with {NODE_ID} in it once, as in `broker-{NODE_ID}.kafka.example.com`"),
            );
        }
        if !values::is_host_name(&sni.bootstrap_host) {
            self.complain(format!("{path}.sni.bootstrap_host"), "must be a host name");
        }
        let port = sni.advertised_port.unwrap_or(bootstrap.port());
        let scheme = Scheme::SniHostPerBroker { host_pattern: Arc::from(pattern), port };
        (scheme, vec![(bootstrap, Target::Bootstrap)])
    }

    fn listener_tls(&mut self, path: &str, tls: &file::Tls) -> ListenerTls {
        let client_ca_file =
            tls.client_ca_file.as_ref().map(|file| self.readable(&format!("{path}.client_ca_file"), file));
        match (tls.client_auth, &client_ca_file) {
            (ClientAuth::None, Some(_)) => {
                self.complain(format!("{path}.client_ca_file"), "has no use while `client_auth` is `none`");
            }
            (ClientAuth::Optional | ClientAuth::Required, None) => {
                self.complain(format!("{path}.client_auth"), "needs `client_ca_file`: whose certificates are accepted");
            }
            _ => {}
        }
        ListenerTls {
            certificate_file: self.readable(&format!("{path}.certificate_file"), &tls.certificate_file),
            key_file: self.readable(&format!("{path}.key_file"), &tls.key_file),
            client_ca_file,
            client_auth: tls.client_auth,
            principal_from: tls.principal_from,
        }
    }

    fn listener_sasl(&mut self, path: &str, sasl: &file::Sasl, has_tls: bool) -> ListenerSasl {
        let unique: HashSet<Mechanism> = sasl.mechanisms.iter().copied().collect();
        if sasl.mechanisms.is_empty() || unique.len() < sasl.mechanisms.len() {
            self.complain(format!("{path}.mechanisms"), "must name OAUTHBEARER, PLAIN or both, each once");
        }
        if !has_tls {
            self.warn(path, "tokens cross the network in clear, because the listener has no `tls`");
        }
        let session_max = sasl
            .session_max
            .as_ref()
            .map(|span| self.span(&format!("{path}.session_max"), span, Duration::from_secs(30 * 86_400)));
        ListenerSasl { mechanisms: sasl.mechanisms.clone(), session_max }
    }

    fn upstream(&mut self, upstream: &file::Upstream) -> Upstream {
        if upstream.bootstrap_servers.is_empty() {
            self.complain("upstream.bootstrap_servers", "must have at least one `host:port`");
        }
        let mut bootstrap_servers = Vec::new();
        for (index, server) in upstream.bootstrap_servers.iter().enumerate() {
            bootstrap_servers.extend(self.read(&format!("upstream.bootstrap_servers[{index}]"), server));
        }
        let tls = upstream.tls.as_ref().map(|tls| file::UpstreamTls {
            ca_file: tls.ca_file.as_ref().map(|file| self.readable("upstream.tls.ca_file", file)),
            server_name: tls.server_name.clone(),
            certificate_file: tls
                .certificate_file
                .as_ref()
                .map(|file| self.readable("upstream.tls.certificate_file", file)),
            key_file: tls.key_file.as_ref().map(|file| self.readable("upstream.tls.key_file", file)),
        });
        if let Some(tls) = &upstream.tls {
            if tls.certificate_file.is_some() != tls.key_file.is_some() {
                self.complain("upstream.tls", "`certificate_file` and `key_file` only work together");
            }
            if tls.server_name.as_deref().is_some_and(|name| !values::is_host_name(name)) {
                self.complain("upstream.tls.server_name", "must be a host name");
            }
        }
        let mut sasl = upstream.sasl.clone();
        match &mut sasl {
            UpstreamSasl::None => {}
            UpstreamSasl::Plain { username, password_file: secret }
            | UpstreamSasl::ScramSha256 { username, password_file: secret }
            | UpstreamSasl::ScramSha512 { username, password_file: secret } => {
                if username.is_empty() {
                    self.complain("upstream.sasl.username", "must not be empty");
                }
                *secret = self.readable("upstream.sasl.password_file", secret);
            }
            UpstreamSasl::OAuthBearer { token_file, .. } => {
                if let Some(secret) = token_file {
                    *secret = self.readable("upstream.sasl.token_file", secret);
                }
            }
        }
        if tls.is_none() && matches!(sasl, UpstreamSasl::Plain { .. } | UpstreamSasl::OAuthBearer { .. }) {
            self.warn(
                "upstream.sasl",
                "the gateway's secret crosses the network in clear, because `upstream.tls` is missing",
            );
        }
        Upstream {
            bootstrap_servers,
            tls,
            sasl,
            metadata_interval: self.span(
                "upstream.metadata_interval",
                &upstream.metadata_interval,
                Duration::from_secs(3600),
            ),
        }
    }

    fn schema_registry(&mut self, registry: &file::SchemaRegistry) -> Option<SchemaRegistry> {
        let file::SchemaRegistry { url, username, password_file, token_file, ca_file } = registry;
        let password_file = password_file.as_ref().map(|file| self.readable("schema_registry.password_file", file));
        let token_file = token_file.as_ref().map(|file| self.readable("schema_registry.token_file", file));
        let ca_file = ca_file.as_ref().map(|file| self.readable("schema_registry.ca_file", file));
        let login = match (username.clone(), password_file, token_file) {
            (None, None, None) => RegistryLogin::None,
            (Some(username), Some(password_file), None) => RegistryLogin::Basic { username, password_file },
            (None, None, Some(token_file)) => RegistryLogin::Bearer { token_file },
            _ => {
                let what = "give `username` and `password_file`, or `token_file`, or none of them";
                self.complain("schema_registry", what);
                RegistryLogin::None
            }
        };
        let parsed = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(parsed) = parsed.filter(|url| url.username().is_empty() && url.password().is_none()) else {
            self.complain(
                "schema_registry.url",
                "must be an address like `https://registry.example.com`, without a login",
            );
            return None;
        };
        if parsed.scheme() == "http" && login != RegistryLogin::None {
            self.warn("schema_registry.url", "the gateway's secret crosses the network in clear; use https");
        }
        Some(SchemaRegistry { url: parsed, login, ca_file })
    }

    fn identity(&mut self, file: &file::File) -> Identity {
        let identity = &file.identity;
        if identity.issuers.is_empty()
            && file.tokens.is_none()
            && file.listeners.iter().any(|listener| listener.sasl.is_some())
        {
            self.complain(
                "identity.issuers",
                "must have at least one issuer: a listener has `sasl`, and nobody's tokens would be believed",
            );
        }
        let mut seen = HashSet::new();
        for (index, issuer) in identity.issuers.iter().enumerate() {
            if !seen.insert(&issuer.issuer) {
                self.complain(
                    format!("identity.issuers[{index}].issuer"),
                    format!("`{}` stands here twice", issuer.issuer),
                );
            }
        }
        let usual = Written::unwritten(Span::secs(300));
        let interval = identity.refresh_interval.as_ref().unwrap_or(&usual);
        let mut issuers = identity.issuers.clone();
        for (index, issuer) in issuers.iter_mut().enumerate() {
            issuer.ca_file =
                issuer.ca_file.take().map(|file| self.readable(&format!("identity.issuers[{index}].ca_file"), &file));
        }
        Identity {
            issuers,
            saml: self.saml(file, &seen),
            ca_file: identity.ca_file.as_ref().map(|file| self.readable("identity.ca_file", file)),
            refresh_interval: self.span("identity.refresh_interval", interval, Duration::from_secs(86_400)),
        }
    }

    fn saml(&mut self, file: &file::File, issuers: &HashSet<&String>) -> Vec<SamlConfig> {
        let mut checked = Vec::new();
        let mut seen = HashSet::new();
        for (index, provider) in file.identity.saml.iter().enumerate() {
            let at = format!("identity.saml[{index}]");
            for (key, problem) in provider.problems() {
                self.complain(format!("{at}.{key}"), problem);
            }
            if issuers.contains(&provider.entity_id) || !seen.insert(&provider.entity_id) {
                self.complain(format!("{at}.entity_id"), format!("`{}` stands here twice", provider.entity_id));
            }
            if file.tokens.is_none() {
                self.complain(at.clone(), "needs `tokens`: people log in there, and get a token of the gateway");
            }
            let mut provider = provider.clone();
            provider.metadata_file =
                provider.metadata_file.take().map(|file| self.readable(&format!("{at}.metadata_file"), &file));
            provider.ca_file = provider.ca_file.take().map(|file| self.readable(&format!("{at}.ca_file"), &file));
            checked.push(provider);
        }
        checked
    }

    fn authority(&self, file: &file::File) -> AuthorityConfig {
        let directory = file.authority.directory.clone().unwrap_or_else(|| file.evidence.directory.join("control"));
        AuthorityConfig { directory: self.folder.join(directory) }
    }

    fn evidence(&mut self, evidence: &file::Evidence, entry_bytes_max: u32) -> Evidence {
        let bytes = evidence.segment_bytes;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) || !bytes.is_multiple_of(BLOCK_BYTES) {
            self.complain(
                "evidence.segment_bytes",
                format!("must be a multiple of {BLOCK_BYTES} from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"),
            );
        }
        // A segment has a header page and ends with a seal, which two blocks hold.
        let least = u64::from(entry_bytes_max) + 2 * BLOCK_BYTES;
        if bytes >= SEGMENT_BYTES_MIN && bytes < least {
            self.complain(
                "evidence.segment_bytes",
                format!("must be at least {least}, to hold an entry of `limits.evidence_entry_bytes_max`"),
            );
        }
        if evidence.release == Release::Async {
            self.warn(
                "evidence.release",
                "`async` lets responses leave before their evidence is written; a crash loses it",
            );
        }
        if evidence.on_failure == OnFailure::Shed {
            self.warn("evidence.on_failure", "`shed` lets responses leave without evidence while it cannot be written");
        }
        let retention = self.retention(&evidence.retention, bytes);
        let every = Written::unwritten(Span::secs(60));
        let every = evidence.retention.interval.as_ref().unwrap_or(&every);
        let age = evidence.segment_age_max.as_ref();
        let usual = Written::unwritten(Span::secs(1));
        let interval = evidence.checkpoint_interval.as_ref().unwrap_or(&usual);
        let key = evidence.signing_key_file.as_ref();
        Evidence {
            directory: self.folder.join(&evidence.directory),
            release: evidence.release,
            segment_bytes: bytes,
            signing_key_file: key.map(|file| self.readable("evidence.signing_key_file", file)),
            checkpoint_interval: self.span("evidence.checkpoint_interval", interval, Duration::from_secs(3600)),
            tag_subjects: evidence.tag_subjects,
            index_key_file: evidence.index_key_file.as_ref().map(|file| self.folder.join(file)),
            segment_age_max: age.map(|age| self.span("evidence.segment_age_max", age, YEARS)),
            on_failure: evidence.on_failure,
            retention,
            anchors: self.anchors(&evidence.anchors),
            retention_interval: self.span("evidence.retention.interval", every, Duration::from_secs(86_400)),
        }
    }

    fn anchors(&mut self, anchors: &file::Anchors) -> Option<Anchors> {
        let every = Written::unwritten(Span::secs(60));
        let every = anchors.interval.as_ref().unwrap_or(&every);
        let interval = self.span("evidence.anchors.interval", every, Duration::from_secs(86_400));
        if anchors.kafka_topic.as_ref().is_some_and(|topic| !is_topic(topic)) {
            self.complain("evidence.anchors.kafka_topic", "is no name of a topic");
        }
        let path = "evidence.anchors.object_store";
        let object_store = anchors.object_store.as_ref().and_then(|text| match url::Url::parse(text) {
            Ok(url) => {
                if let Err(error) = crate::control::anchors::knows(&url) {
                    self.complain(path, error);
                }
                Some(url)
            }
            Err(error) => {
                self.complain(path, format!("is no URL: {error}"));
                None
            }
        });
        let kafka_topic = anchors.kafka_topic.clone();
        (kafka_topic.is_some() || object_store.is_some()).then_some(Anchors { kafka_topic, object_store, interval })
    }

    fn retention(&mut self, retention: &file::Retention, segment_bytes: u64) -> RetentionPolicy {
        if retention.bytes_max.is_some_and(|max| max < segment_bytes.saturating_mul(3)) {
            self.complain(
                "evidence.retention.bytes_max",
                "must be at least three times `evidence.segment_bytes`: the last two segments are always kept",
            );
        }
        let age = retention.age_max.as_ref();
        RetentionPolicy {
            age_max: age.map(|age| self.span("evidence.retention.age_max", age, YEARS)),
            bytes_max: retention.bytes_max,
        }
    }

    fn limits(&mut self, limits: &tidegate_core::limits::Limits) {
        // Serialised, so that a bound that is added later is checked without a line here.
        let Ok(serde_json::Value::Object(bounds)) = serde_json::to_value(limits) else { return };
        for (name, bound) in bounds {
            if bound.as_u64() == Some(0) && name != "verdict_cache_bytes_per_shard_max" {
                self.complain(format!("limits.{name}"), "must not be 0");
            }
        }
        if limits.frame_bytes_max > i32::MAX as u32 || limits.frame_bytes_max < 1024 {
            self.complain("limits.frame_bytes_max", format!("must be from 1024 to {}", i32::MAX));
        }
        let entry = limits.evidence_entry_bytes_max as usize;
        if entry > 0 && !(ENTRY_BYTES_MIN..=FRAME_BYTES_MAX).contains(&entry) {
            self.complain(
                "limits.evidence_entry_bytes_max",
                format!("must be from {ENTRY_BYTES_MIN} to {FRAME_BYTES_MAX}"),
            );
        }
        if limits.frame_unauthenticated_bytes_max > limits.frame_bytes_max {
            self.complain("limits.frame_unauthenticated_bytes_max", "must not be larger than `frame_bytes_max`");
        }
    }

    fn log(&mut self, log: &super::Log) {
        let is_level = |level: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&level);
        let known = log.level.split(',').all(|part| is_level(part.rsplit_once('=').map_or(part, |(_, level)| level)));
        if !known || log.level.parse::<tracing_subscriber::filter::Targets>().is_err() {
            self.complain(
                "log.level",
                format!("`{}` is no level and no filter like `info,tidegate::control=debug`", log.level),
            );
        }
    }

    /// What is written at `path`, where it is right.
    fn read<T: Clone>(&mut self, path: &str, written: &Written<T>) -> Option<T> {
        match written.read() {
            Ok(value) => Some(value.clone()),
            Err(what) => {
                self.complain(path, what);
                None
            }
        }
    }

    fn span(&mut self, path: &str, span: &Written<Span>, max: Duration) -> Duration {
        let Some(span) = self.read(path, span) else { return max };
        if span.0.is_zero() || span.0 > max {
            self.complain(path, format!("must be more than 0 and at most {}", Span(max)));
        }
        span.0
    }

    /// The file's path seen from this process, which must be able to open it.
    fn readable(&mut self, path: &str, file: &Path) -> PathBuf {
        let resolved = self.folder.join(file);
        let opened = OpenFile::open(&resolved).and_then(|open| open.metadata());
        match opened {
            Ok(metadata) if metadata.is_dir() => {
                self.complain(path, format!("cannot read {}: it is a folder", resolved.display()));
            }
            Ok(_) => {}
            Err(error) => {
                let hint = match error.kind() {
                    ErrorKind::PermissionDenied => "; let the user that runs tidegate read it",
                    ErrorKind::NotFound => "; relative paths start at the configuration file's folder",
                    _ => "",
                };
                self.complain(path, format!("cannot read {}: {error}{hint}", resolved.display()));
            }
        }
        resolved
    }

    fn take_port(&mut self, path: &str, address: SocketAddr) {
        let owners = self.taken.entry(address.port()).or_default();
        let overlap = |ip: IpAddr| ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
        let clash = owners.iter().find(|(ip, _)| overlap(*ip)).map(|(_, owner)| owner.clone());
        owners.push((address.ip(), path.to_owned()));
        if let Some(owner) = clash {
            self.complain(path, format!("port {} is taken by `{owner}` already", address.port()));
        }
    }
}
