//! An upstream cluster in memory: brokers that acknowledge what is produced and serve what is
//! fetched from batches that were made beforehand.
//!
//! It stands in for Kafka where the gateway is what is measured, so it must never be what limits:
//! nothing is stored but a few numbers per writer (or, in keep mode, a bounded number of bytes), and
//! a fetch is a copy of prepared bytes with its own offsets and times. It speaks enough Kafka for
//! stock clients. It accepts every login.
//!
//! Reading order: this file (threads and sockets), [`cluster`] (topics, logs, ledger), `connection`
//! (one socket), `records` (Produce and Fetch), `answer` (everything else).

mod answer;
pub mod cluster;
mod connection;
mod records;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use socket2::Socket;
use tidegate::data::runtime::{self, Listener, ListenerStop, ShardThread};

use crate::payload::Pool;
use cluster::{Addresses, Cluster, Serves};
pub(crate) use records::prepared;

/// How a blackhole is set up.
#[derive(Clone)]
pub struct Options {
    /// Brokers, with node ids from 0.
    pub brokers: u16,
    /// Threads.
    pub threads: u16,
    /// The CPUs that they are pinned to, in turn; empty leaves them to the kernel.
    pub cpus: Vec<usize>,
    /// The first plain port, the others follow; 0 takes free ones.
    pub first_port: u16,
    /// TLS on a second port of each broker.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Topics and their partitions, there from the start.
    pub topics: Vec<(String, u32)>,
    /// What fetches are answered from.
    pub serves: Serves,
    /// Whether unknown topics that are asked for come into being.
    pub creates_topics: bool,
}

impl Options {
    /// One broker on one thread with these topics.
    #[must_use]
    pub fn new(topics: Vec<(String, u32)>) -> Self {
        Self {
            brokers: 1,
            threads: 1,
            cpus: Vec::new(),
            first_port: 0,
            tls: None,
            topics,
            serves: Serves::Prepared,
            creates_topics: false,
        }
    }
}

/// A running cluster. Dropping it closes its ports and connections.
pub struct Blackhole {
    cluster: Arc<Cluster>,
    control: Arc<Control>,
    threads: Vec<ShardThread>,
}

/// What the owner tells the threads.
struct Control {
    stopping: AtomicBool,
    /// One for each broker: counts how often it was bounced.
    bounces: Vec<AtomicU64>,
}

/// How often a thread looks at what its owner told it.
const TICK: Duration = Duration::from_millis(20);

impl Blackhole {
    /// Binds all ports and starts the threads.
    ///
    /// # Errors
    /// Where a port is taken or a thread cannot be had.
    pub fn start(options: &Options, pool: Arc<Pool>) -> anyhow::Result<Self> {
        anyhow::ensure!((1..=100).contains(&options.brokers), "1 to 100 brokers are possible");
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for broker in 0..options.brokers {
            let port = if options.first_port == 0 { 0 } else { options.first_port + broker };
            let plain = bind(port)?;
            let tls = options.tls.as_ref().map(|_| bind(0)).transpose()?;
            addresses.push(Addresses { plain: address(&plain)?, tls: tls.as_ref().map(address).transpose()? });
            sockets.push((plain, tls));
        }
        let cluster = Arc::new(Cluster::new(addresses, options, pool));
        let bounces = (0..options.brokers).map(|_| AtomicU64::new(0)).collect();
        let control = Arc::new(Control { stopping: AtomicBool::new(false), bounces });
        let mut threads = Vec::new();
        let mut sockets = Some(sockets);
        for thread in 0..usize::from(options.threads.max(1)) {
            // The first thread has the sockets that found the ports, the others share those ports.
            let own = match sockets.take() {
                Some(sockets) => sockets,
                None => cluster
                    .addresses()
                    .iter()
                    .map(|at| anyhow::Ok((runtime::bind(at.plain)?, at.tls.map(runtime::bind).transpose()?)))
                    .collect::<anyhow::Result<Vec<_>>>()?,
            };
            let cpu = (!options.cpus.is_empty()).then(|| options.cpus[thread % options.cpus.len()]);
            let (cluster, control, tls) = (cluster.clone(), control.clone(), options.tls.clone());
            let name = format!("blackhole-{thread}");
            let spawned =
                runtime::spawn_executor(&name, cpu, Duration::ZERO, move || serve(cluster, control, tls, own));
            threads.push(spawned.context("a thread of the blackhole")?);
        }
        Ok(Self { cluster, control, threads })
    }

    /// Topics, logs and ledger.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The plain addresses of all brokers, by node id.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.cluster.addresses().iter().map(|at| at.plain).collect()
    }

    /// The TLS addresses of all brokers, by node id; empty without TLS.
    #[must_use]
    pub fn tls_addresses(&self) -> Vec<SocketAddr> {
        self.cluster.addresses().iter().filter_map(|at| at.tls).collect()
    }

    /// Cuts all connections of a broker, as its restart would.
    pub fn bounce(&self, broker: usize) {
        if let Some(count) = self.control.bounces.get(broker) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Blackhole {
    fn drop(&mut self) {
        self.control.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that failed has nothing left to close.
            let _ = thread.join();
        }
    }
}

fn bind(port: u16) -> anyhow::Result<Socket> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // A port that somebody else shares would get half of our connections.
    drop(std::net::TcpListener::bind(at).with_context(|| format!("{at} is taken"))?);
    runtime::bind(at).with_context(|| format!("{at} cannot be listened on"))
}

fn address(socket: &Socket) -> anyhow::Result<SocketAddr> {
    socket.local_addr()?.as_socket().context("no IP socket")
}

/// The connections of one thread.
#[derive(Default)]
struct Registry {
    next: u64,
    /// By number: the broker and the task.
    open: HashMap<u64, (usize, runtime::Task<()>)>,
    finished: Vec<u64>,
}

async fn serve(
    cluster: Arc<Cluster>,
    control: Arc<Control>,
    tls: Option<Arc<rustls::ServerConfig>>,
    sockets: Vec<(Socket, Option<Socket>)>,
) -> anyhow::Result<()> {
    let registry = Rc::new(RefCell::new(Registry::default()));
    let scratch = Rc::new(RefCell::new(crate::link::scratch()));
    let mut stops: Vec<ListenerStop> = Vec::new();
    let mut accepting = Vec::new();
    for (broker, (plain, secure)) in sockets.into_iter().enumerate() {
        let both = [Some((plain, None)), secure.map(|socket| (socket, tls.clone()))];
        for (socket, tls) in both.into_iter().flatten() {
            let (listener, stop) = Listener::new(socket)?;
            stops.push(stop);
            let door = connection::Door { cluster: cluster.clone(), broker, tls };
            let accept = accept(listener, door, control.clone(), registry.clone(), scratch.clone());
            accepting.push(runtime::spawn(accept));
        }
    }
    let mut bounced: Vec<u64> = vec![0; control.bounces.len()];
    while !control.stopping.load(Ordering::Relaxed) {
        runtime::sleep(TICK).await;
        let mut gone = Vec::new();
        {
            let mut registry = registry.borrow_mut();
            for number in std::mem::take(&mut registry.finished) {
                gone.extend(registry.open.remove(&number));
            }
            for (broker, seen) in bounced.iter_mut().enumerate() {
                let count = control.bounces[broker].load(Ordering::Relaxed);
                if *seen != count {
                    *seen = count;
                    gone.extend(registry.open.extract_if(|_, (of, _)| *of == broker).map(|(_, task)| task));
                }
            }
        }
        for (_, task) in gone {
            task.cancel().await;
        }
    }
    for stop in &stops {
        stop.stop();
    }
    for task in accepting {
        task.await;
    }
    let open: Vec<_> = registry.borrow_mut().open.drain().collect();
    for (_, (_, task)) in open {
        task.cancel().await;
    }
    Ok(())
}

async fn accept(
    listener: Listener,
    door: connection::Door,
    control: Arc<Control>,
    registry: Rc<RefCell<Registry>>,
    scratch: Rc<RefCell<Vec<u8>>>,
) {
    let broker = door.broker;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let number = {
                    let mut registry = registry.borrow_mut();
                    registry.next += 1;
                    registry.next
                };
                let (door, registry_of_task, scratch) = (door.clone(), registry.clone(), scratch.clone());
                let task = runtime::spawn(async move {
                    connection::serve(door, stream, scratch).await;
                    registry_of_task.borrow_mut().finished.push(number);
                });
                registry.borrow_mut().open.insert(number, (broker, task));
            }
            Err(_) if control.stopping.load(Ordering::Relaxed) => return,
            // Too many descriptors, or a connection reset before it was accepted: both pass.
            Err(_) => runtime::sleep(TICK).await,
        }
    }
}
