//! Connect: a connection to the broker that the client's port or host stands for.
//!
//! Names are resolved on the control thread; here only addresses are tried, in order. A broker that
//! is not known, or no longer there, is asked for, and waited for within the limit.

use std::rc::Rc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::runtime::{self, Stream};
use super::shard::Shard;
use super::tls::Transport;
use crate::config::Target;
use crate::shared::{Ask, Server};

/// How often a shard looks whether a broker's address is known by now.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A connection to a broker, not yet logged in.
pub struct Connected {
    /// The socket.
    pub stream: Stream,
    /// TLS, where the upstream has it.
    pub transport: Transport,
}

/// Connects to the broker that `target` names.
///
/// # Errors
/// A sentence for the log and the evidence.
pub async fn connect(shard: Rc<Shard>, target: Target) -> Result<Connected, String> {
    let until = shard.now().plus_millis(i64::from(shard.limits.upstream_connect_millis_max));
    let servers = loop {
        let servers = servers(&shard, target);
        if !servers.is_empty() {
            break servers;
        }
        shard.shared.ask(Ask::RefreshCluster);
        if shard.now() >= until || shard.shared.is_draining() {
            return Err(match target {
                Target::Broker(id) => format!("broker {id} is not known to the cluster"),
                Target::Bootstrap => "no bootstrap server's name resolves".to_owned(),
            });
        }
        runtime::sleep(LOOK_AGAIN).await;
    };
    let mut failures = Vec::new();
    for server in &servers {
        for address in &server.addresses {
            let left = until.millis_since(shard.now());
            let timeout = Duration::from_millis(u64::try_from(left).unwrap_or(0).max(1));
            match Stream::connect(*address, timeout).await {
                Ok(stream) => return Ok(Connected { stream, transport: transport(&shard, server)? }),
                Err(error) => failures.push(format!("{}:{} ({address}): {error}", server.host, server.port)),
            }
        }
    }
    shard.shared.ask(Ask::RefreshCluster);
    Err(format!("cannot connect to {}", failures.join(", ")))
}

/// The servers to try, in order: a broker, or all bootstrap servers from a turning start.
fn servers(shard: &Shard, target: Target) -> Vec<Server> {
    let cluster = shard.shared.cluster.load();
    let mut servers: Vec<Server> = match target {
        Target::Broker(id) => cluster.brokers.get(&id).cloned().into_iter().collect(),
        Target::Bootstrap => {
            let mut all = cluster.bootstrap.clone();
            if !all.is_empty() {
                let turn = usize::try_from(shard.metrics.connections_accepted.get()).unwrap_or(0) % all.len();
                all.rotate_left(turn);
            }
            all
        }
    };
    servers.retain(|server| !server.addresses.is_empty());
    servers
}

fn transport(shard: &Shard, server: &Server) -> Result<Transport, String> {
    let Some(config) = shard.shared.upstream_tls.load_full() else {
        return match shard.config.upstream.tls {
            Some(_) => Err("the upstream's TLS configuration is not loaded".to_owned()),
            None => Ok(Transport::Plain),
        };
    };
    let name = shard.config.upstream.tls.as_ref().and_then(|tls| tls.server_name.clone());
    let name = name.unwrap_or_else(|| server.host.to_string());
    let name = ServerName::try_from(name).map_err(|_| format!("{} is not a name that TLS can check", server.host))?;
    Transport::connect(config, name).map_err(|error| error.to_string())
}
