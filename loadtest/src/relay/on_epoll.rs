//! The plain relay: one thread, one epoll, non-blocking reads and writes. What one would write without
//! io_uring, and as fast as such a thing gets without moving bytes inside the kernel (splice).
//!
//! mio's registrations are edge-triggered: a direction that stopped is tried again only once either
//! of its sockets said something, so each try goes on until a socket would block.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread::JoinHandle;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

use super::{READ_BYTES, Route};

/// Turns of one connection before others get theirs.
const ROUNDS: usize = 4;

/// Starts one thread.
pub(super) fn start(shard: usize, routes: Vec<Route>) -> io::Result<JoinHandle<anyhow::Result<()>>> {
    let mut relay = EpollRelay::new(routes)?;
    std::thread::Builder::new().name(format!("relay-{shard}")).spawn(move || Ok(relay.run()?))
}

struct EpollRelay {
    poll: Poll,
    listeners: Vec<(TcpListener, SocketAddr)>,
    /// A connection in slot `n` has the tokens `base + 2n` (client) and `base + 2n + 1` (upstream).
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    /// Slots that used their rounds up and go on without an event.
    unfinished: VecDeque<usize>,
    scratch: Vec<u8>,
}

struct Pair {
    client: TcpStream,
    upstream: TcpStream,
    up: Direction,
    down: Direction,
}

#[derive(Default)]
struct Direction {
    pending: Vec<u8>,
    written: usize,
    ended: bool,
}

enum Turn {
    /// Both directions wait for their sockets.
    Waits,
    /// There may be more.
    Unfinished,
    Over,
}

impl EpollRelay {
    fn new(routes: Vec<Route>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listeners = Vec::with_capacity(routes.len());
        for (index, route) in routes.into_iter().enumerate() {
            route.socket.set_nonblocking(true)?;
            let mut listener = TcpListener::from_std(route.socket.into());
            poll.registry().register(&mut listener, Token(index), Interest::READABLE)?;
            listeners.push((listener, route.upstream));
        }
        let scratch = vec![0; READ_BYTES];
        Ok(Self { poll, listeners, pairs: Vec::new(), free: Vec::new(), unfinished: VecDeque::new(), scratch })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = if self.unfinished.is_empty() { None } else { Some(std::time::Duration::ZERO) };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                match event.token().0.checked_sub(self.listeners.len()) {
                    None => self.accept(event.token().0),
                    Some(offset) => self.turn(offset / 2),
                }
            }
            for _ in 0..self.unfinished.len() {
                if let Some(slot) = self.unfinished.pop_front() {
                    self.turn(slot);
                }
            }
        }
    }

    /// Takes all that wait. A lack of descriptors leaves them in the backlog until the next one comes.
    fn accept(&mut self, index: usize) {
        while let Some((listener, upstream)) = self.listeners.get(index)
            && let Ok((client, _)) = listener.accept()
        {
            let upstream = *upstream;
            // Such a client sees its connection closed, as behind any relay.
            if let Ok(upstream) = TcpStream::connect(upstream) {
                let _ = self.add(client, upstream);
            }
        }
    }

    fn add(&mut self, mut client: TcpStream, mut upstream: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        upstream.set_nodelay(true)?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        let token = self.listeners.len() + 2 * slot;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut client, Token(token), both)?;
        self.poll.registry().register(&mut upstream, Token(token + 1), both)?;
        self.pairs[slot] = Some(Pair { client, upstream, up: Direction::default(), down: Direction::default() });
        Ok(())
    }

    fn turn(&mut self, slot: usize) {
        let Some(place) = self.pairs.get_mut(slot) else { return };
        // An event may come for a connection that ended earlier in the same batch.
        let Some(pair) = place else { return };
        match pair.turn(&mut self.scratch) {
            Turn::Waits => {}
            Turn::Unfinished => self.unfinished.push_back(slot),
            Turn::Over => {
                pair.close(self.poll.registry());
                *place = None;
                self.free.push(slot);
            }
        }
    }
}

impl Pair {
    fn turn(&mut self, scratch: &mut [u8]) -> Turn {
        for _ in 0..ROUNDS {
            let up = self.up.pump(&mut self.client, &mut self.upstream, scratch);
            let down = self.down.pump(&mut self.upstream, &mut self.client, scratch);
            let (Ok(up), Ok(down)) = (up, down) else { return Turn::Over };
            if self.up.is_over() || self.down.is_over() {
                return Turn::Over;
            }
            if !up && !down {
                return Turn::Waits;
            }
        }
        Turn::Unfinished
    }

    fn close(&mut self, registry: &Registry) {
        // Closing the descriptors takes them out of the epoll all the same.
        let _ = registry.deregister(&mut self.client);
        let _ = registry.deregister(&mut self.upstream);
        let _ = self.client.shutdown(Shutdown::Write);
        let _ = self.upstream.shutdown(Shutdown::Write);
    }
}

impl Direction {
    /// Whether anything moved.
    fn pump(&mut self, from: &mut TcpStream, to: &mut TcpStream, scratch: &mut [u8]) -> io::Result<bool> {
        if self.written < self.pending.len() {
            return match unless_blocked(to.write(&self.pending[self.written..]))? {
                None => Ok(false),
                Some(wrote) => {
                    self.written += wrote;
                    Ok(true)
                }
            };
        }
        if self.ended {
            return Ok(false);
        }
        let Some(read) = unless_blocked(from.read(scratch))? else { return Ok(false) };
        if read == 0 {
            self.ended = true;
            return Ok(true);
        }
        let wrote = unless_blocked(to.write(&scratch[..read]))?.unwrap_or(0);
        self.pending.clear();
        self.pending.extend_from_slice(&scratch[wrote..read]);
        self.written = 0;
        Ok(true)
    }

    fn is_over(&self) -> bool {
        self.ended && self.written == self.pending.len()
    }
}

/// `None` where the socket has nothing, takes nothing, or is not connected yet.
fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(moved) => Ok(Some(moved)),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::NotConnected => Ok(None),
            _ => Err(error),
        },
    }
}
