//! The opaque relay on the gateway's runtime: one task a connection, four polls, no look at the bytes.
//!
//! Reads go into one buffer per shard, as the gateway's do; what the other side does not take at once
//! is kept with the connection, and nothing more is read until it is gone, so memory is bounded by one
//! read a direction.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::future::poll_fn;
use tidegate::data::runtime::{self, Listener, ShardThread, Stream, spawn};

use super::{READ_BYTES, Route};

/// Rounds of one poll before other connections get their turn: the gateway's number.
const ROUNDS: usize = 4;
/// How long connecting to the upstream may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long accepting pauses where no descriptor is left.
const PAUSE: Duration = Duration::from_millis(50);

type Scratch = Rc<RefCell<Vec<u8>>>;

/// Starts one shard.
pub(super) fn start(shard: usize, core: usize, routes: Vec<Route>) -> io::Result<ShardThread> {
    runtime::spawn_shard(&format!("relay-{shard}"), core, move || async move {
        let scratch: Scratch = Rc::new(RefCell::new(vec![0; READ_BYTES]));
        let mut accepting = Vec::new();
        for route in routes {
            // The listener is never stopped: the relay ends with its process.
            let (listener, _) = Listener::new(route.socket)?;
            accepting.push(spawn(accept(listener, route.upstream, scratch.clone())));
        }
        for task in accepting {
            task.await;
        }
        Ok(())
    })
}

async fn accept(listener: Listener, upstream: SocketAddr, scratch: Scratch) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                spawn(relay(client, upstream, scratch.clone())).detach();
            }
            Err(_) => runtime::sleep(PAUSE).await,
        }
    }
}

async fn relay(client: Stream, upstream: SocketAddr, scratch: Scratch) {
    // A client whose upstream is not there sees its connection closed, as behind any relay.
    let Ok(upstream) = Stream::connect(upstream, CONNECT).await else { return };
    let mut pair = Pair { client, upstream, up: Direction::default(), down: Direction::default() };
    poll_fn(|cx| pair.poll(cx, &scratch)).await;
    pair.client.finish().await;
    pair.upstream.finish().await;
}

struct Pair {
    client: Stream,
    upstream: Stream,
    up: Direction,
    down: Direction,
}

/// Bytes on their way one way.
#[derive(Default)]
struct Direction {
    /// Read, and not yet taken by the other side.
    pending: Vec<u8>,
    written: usize,
    ended: bool,
}

impl Pair {
    /// Ready once either side ended and what it sent was passed on, or either side failed.
    fn poll(&mut self, cx: &mut Context<'_>, scratch: &Scratch) -> Poll<()> {
        let mut scratch = scratch.borrow_mut();
        for _ in 0..ROUNDS {
            let up = self.up.pump(cx, &mut self.client, &mut self.upstream, &mut scratch);
            let down = self.down.pump(cx, &mut self.upstream, &mut self.client, &mut scratch);
            let (Ok(up), Ok(down)) = (up, down) else { return Poll::Ready(()) };
            if self.up.is_over() || self.down.is_over() {
                return Poll::Ready(());
            }
            if !up && !down {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Direction {
    /// Whether anything moved.
    fn pump(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        scratch: &mut [u8],
    ) -> io::Result<bool> {
        if self.written < self.pending.len() {
            return match to.poll_write(cx, &self.pending[self.written..]) {
                Poll::Pending => Ok(false),
                Poll::Ready(wrote) => {
                    self.written += wrote?;
                    Ok(true)
                }
            };
        }
        if self.ended {
            return Ok(false);
        }
        let read = match from.poll_read(cx, scratch) {
            Poll::Pending => return Ok(false),
            Poll::Ready(read) => read?,
        };
        if read == 0 {
            self.ended = true;
            return Ok(true);
        }
        let wrote = match to.poll_write(cx, &scratch[..read]) {
            Poll::Pending => 0,
            Poll::Ready(wrote) => wrote?,
        };
        self.pending.clear();
        self.pending.extend_from_slice(&scratch[wrote..read]);
        self.written = 0;
        Ok(true)
    }

    fn is_over(&self) -> bool {
        self.ended && self.written == self.pending.len()
    }
}
