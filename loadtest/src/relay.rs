//! Byte relays that look at nothing: the floor that the gateway's cost is held against.
//!
//! [`on_runtime`] runs on the gateway's own runtime, through the same door, with the same buffer
//! size, placement and pulse, so that the difference to the gateway is what the gateway does and not
//! what it runs on. [`on_epoll`] is the plain relay that one would write without io_uring. Both are
//! sharded as the gateway is: a thread per shard, each with its own listening socket (SO_REUSEPORT).

pub mod on_epoll;
pub mod on_runtime;

use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use socket2::Socket;
use tidegate::data::runtime;

/// What one read asks for, on both relays: what the gateway asks for.
pub const READ_BYTES: usize = runtime::READ_BYTES;

/// What the relay runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// The gateway's runtime: glommio on io_uring, through the gateway's own door
    Glommio,
    /// Plain epoll
    Epoll,
}

impl Kind {
    /// As on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Glommio => "glommio",
            Self::Epoll => "epoll",
        }
    }
}

/// What `tidegate-loadtest relay` takes.
#[derive(Debug, clap::Args)]
pub struct Relay {
    /// What the relay runs on
    #[arg(long, value_enum)]
    pub kind: Kind,
    /// Where it listens; port 0 takes a free one. Once for each --upstream, in the same order
    #[arg(long, value_name = "ADDRESS", required = true)]
    pub listen: Vec<SocketAddr>,
    /// Where it passes everything on to
    #[arg(long, value_name = "ADDRESS", required = true)]
    pub upstream: Vec<SocketAddr>,
    /// How many threads, each pinned to a core and with its own listening sockets
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub shards: u16,
}

/// One listening socket and where its connections go.
pub(crate) struct Route {
    socket: Socket,
    upstream: SocketAddr,
}

impl Relay {
    /// Relays until the process is ended. Prints `listening ADDRESS -> UPSTREAM` for each route once
    /// connections are taken.
    ///
    /// # Errors
    /// Where an address cannot be bound or a thread not be started.
    pub fn run(&self) -> anyhow::Result<()> {
        ensure!(self.listen.len() == self.upstream.len(), "as many --listen as --upstream are needed");
        // What several thousand connections need, twice. Where the hard limit is lower it stays so.
        let _ = rlimit::utils::increase_nofile_limit(u64::MAX);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut bound = Vec::new();
        let mut threads = Vec::new();
        for shard in 0..usize::from(self.shards) {
            let routes = self.bind(&mut bound)?;
            threads.push(match self.kind {
                Kind::Glommio => Running::Runtime(on_runtime::start(shard, shard % cores, routes)?),
                Kind::Epoll => Running::Epoll(on_epoll::start(shard, routes)?),
            });
        }
        let mut out = std::io::stdout().lock();
        for (address, upstream) in bound.iter().zip(&self.upstream) {
            writeln!(out, "listening {address} -> {upstream}")?;
        }
        out.flush()?;
        drop(out);
        threads.into_iter().try_for_each(Running::join)
    }

    /// One shard's sockets. The first shard decides on free ports, the others share them.
    fn bind(&self, bound: &mut Vec<SocketAddr>) -> anyhow::Result<Vec<Route>> {
        let mut routes = Vec::with_capacity(self.listen.len());
        for (index, (&listen, &upstream)) in self.listen.iter().zip(&self.upstream).enumerate() {
            let address = bound.get(index).copied().unwrap_or(listen);
            let socket = runtime::bind(address).with_context(|| format!("binding {address}"))?;
            if bound.len() <= index {
                bound.push(socket.local_addr()?.as_socket().context("not an IP address")?);
            }
            routes.push(Route { socket, upstream });
        }
        Ok(routes)
    }
}

enum Running {
    Runtime(runtime::ShardThread),
    Epoll(std::thread::JoinHandle<anyhow::Result<()>>),
}

impl Running {
    fn join(self) -> anyhow::Result<()> {
        match self {
            Self::Runtime(thread) => thread.join().map_err(|error| anyhow::anyhow!("{error}"))?,
            Self::Epoll(thread) => thread.join().map_err(|_| anyhow::anyhow!("a relay thread panicked"))?,
        }
    }
}
