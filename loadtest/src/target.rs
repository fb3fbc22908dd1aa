//! Which system gets the load: an address to begin at, how to log in, and whose resources count.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use crate::blackhole::cluster::Serves;

/// A system under load: the blackhole itself, the gateway, another proxy, a real Kafka.
#[derive(Clone, Default)]
pub struct Target {
    /// Its name in results, for instance `gateway`.
    pub name: String,
    /// Where clients begin (`bootstrap.servers`); brokers are found by Metadata.
    pub bootstrap: Vec<SocketAddr>,
    /// Where node ids 0, 1, … are reached, whatever Metadata says: for relays, which cannot rewrite
    /// addresses. Empty where Metadata is to be believed.
    pub brokers: Vec<SocketAddr>,
    /// Whether consumers get labelled personal data masked, so that the oracle expects it.
    pub masked: bool,
    /// What a blackhole behind it serves; `None` where the upstream is something else.
    pub serves: Option<Serves>,
    /// Where a grant is withdrawn in the middle of the run: what is served after it is noted.
    pub moment: Option<Arc<crate::revocation::Moment>>,
    /// Processes whose CPU and memory count, by name: `[("gateway", pid)]`.
    pub processes: Vec<(String, u32)>,
    /// Where the profile says TLS: whom to trust, and the name in the certificate.
    pub tls: Option<Tls>,
    /// Where the profile says SASL: tokens, taken in turn by connections. The user name is
    /// `token` with PLAIN.
    pub tokens: Arc<[String]>,
}

/// How to be a TLS client.
#[derive(Clone)]
pub struct Tls {
    /// rustls' configuration; session resumption is off so that every connection costs the same.
    pub config: Arc<rustls::ClientConfig>,
    /// The server's name.
    pub server: ServerName<'static>,
}

impl Target {
    /// A system at one address, without TLS or login.
    #[must_use]
    pub fn plain(name: &str, bootstrap: SocketAddr) -> Self {
        Self { name: name.to_owned(), bootstrap: vec![bootstrap], ..Self::default() }
    }

    /// A system that passes bytes on without rewriting addresses: node id `n` is reached at `brokers[n]`.
    #[must_use]
    pub fn relay(name: &str, brokers: Vec<SocketAddr>) -> Self {
        Self { name: name.to_owned(), bootstrap: brokers.clone(), brokers, ..Self::default() }
    }

    /// With a process that counts.
    #[must_use]
    pub fn process(mut self, name: &str, pid: u32) -> Self {
        self.processes.push((name.to_owned(), pid));
        self
    }
}

impl std::fmt::Debug for Target {
    /// Tokens are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("bootstrap", &self.bootstrap)
            .field("brokers", &self.brokers)
            .field("masked", &self.masked)
            .field("processes", &self.processes)
            .field("tls", &self.tls.is_some())
            .field("tokens", &self.tokens.len())
            .finish()
    }
}
