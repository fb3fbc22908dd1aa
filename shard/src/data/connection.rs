//! One client connection and its upstream connection, pumped by one task: bytes are moved between
//! sockets and the session's buffers, and the session decides.
//!
//! One task for four directions needs no lock and no channel. Back-pressure is TCP's own: what
//! cannot be queued is not read. A poll is bounded in rounds and in the bytes it scans, so that a busy
//! connection lets others run.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_lite::future::poll_fn;
use tidegate_core::event::Outcome;
use tidegate_core::words::Timestamp;

use super::connect::{self, Connected};
use super::proxy_header::{self, ProxyHeader};
use super::release::Outbox;
use super::runtime::Stream;
use super::session::{HeldFor, Phase, Session};
use super::shard::{Registered, Shard};
use super::tls::Transport;
use crate::config::{ProxyProtocol, Target};
use crate::shared::{Refusal, Step};

/// Rounds of one poll before other connections get their turn.
const ROUNDS: usize = 4;
/// How long what is queued may take to leave once a connection is closing, in milliseconds.
const CLOSING_MILLIS: i64 = 5_000;

/// A socket and what lies between it and frames.
struct Side {
    stream: Stream,
    transport: Transport,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Connected, String>>>>;

struct Connection {
    shard: Rc<Shard>,
    session: Session,
    client: Side,
    upstream: Option<Side>,
    connecting: Option<Connecting>,
    registered: Registered,
    /// The PROXY header is still to come.
    awaits_proxy_header: bool,
    /// The TLS handshake is done (or there is none), and the session has begun.
    begun: bool,
    /// The client will send nothing more.
    client_ended: bool,
    /// The client takes nothing more either.
    client_gone: bool,
    /// When the connection is dropped even if bytes are queued.
    closing_until: Timestamp,
}

/// Serves one accepted connection to its end.
pub async fn serve(
    shard: Rc<Shard>,
    listener: usize,
    target: Target,
    stream: Stream,
    peer: SocketAddr,
    registered: Registered,
) {
    let now = shard.now();
    let tls = shard.shared.listener_tls.get(listener).and_then(arc_swap::ArcSwapAny::load_full);
    let config = &shard.config.listeners[listener];
    let transport = match tls {
        Some(tls) => match Transport::accept(tls) {
            Ok(transport) => transport,
            Err(error) => return tracing::error!(%error, "a TLS session could not be begun"),
        },
        None if config.tls.is_some() => return tracing::error!("the listener's certificate is not loaded"),
        None => Transport::Plain,
    };
    let awaits_proxy_header = config.proxy_protocol != ProxyProtocol::None;
    let session = Session::new(&shard, listener, target, peer, now);
    let mut connection = Connection {
        shard,
        session,
        client: Side { stream, transport },
        upstream: None,
        connecting: None,
        registered,
        awaits_proxy_header,
        begun: false,
        client_ended: false,
        client_gone: false,
        closing_until: Timestamp::MAX,
    };
    poll_fn(|cx| connection.poll(cx)).await;
    connection.end().await;
}

impl Connection {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let shard = self.shard.clone();
        let _turn = shard.evidence.begin_turn();
        self.session.begin_turn();
        for _ in 0..ROUNDS {
            let now = self.shard.now();
            self.check_deadlines(now);
            let mut progress = self.read_client(cx, now);
            progress |= self.begin(now);
            progress |= self.session.take_requests(&self.shard, now);
            progress |= self.connect_upstream(cx, now);
            progress |= self.read_upstream(cx, now);
            progress |= self.session.take_responses(&self.shard, now);
            progress |= self.write_upstream(cx, now);
            self.commit();
            progress |= self.write_client(cx, now);
            if self.is_over(now) {
                return Poll::Ready(());
            }
            if self.session.is_spent() {
                break;
            }
            if !progress {
                self.wait(cx, now);
                return Poll::Pending;
            }
        }
        self.wait(cx, self.shard.now());
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Leaves word of what wakes this task besides its sockets.
    fn wait(&self, cx: &Context<'_>, now: Timestamp) {
        let handle = &self.registered.handle;
        self.shard.set_deadline(handle, self.deadline(now));
        let mut waker = handle.waker.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        let committed = self.shard.evidence.committed();
        let released_later = self.session.to_client.blocked_on().is_some_and(|sequence| sequence > committed);
        if released_later || self.shard.evidence.is_full() {
            self.shard.evidence.wake_on_commit(cx);
        }
    }

    fn deadline(&self, now: Timestamp) -> Timestamp {
        if self.session.phase == Phase::Closing {
            return self.closing_until;
        }
        let deadline = self.session.deadline(&self.shard, now);
        // While something is held or the upstream is being found, every tick is looked at.
        let waits = self.session.held.is_some() || self.session.waits_for_recorder(&self.shard);
        if waits { now } else { deadline }
    }

    fn check_deadlines(&mut self, now: Timestamp) {
        if self.session.phase == Phase::Closing {
            if self.closing_until == Timestamp::MAX {
                self.closing_until = now.plus_millis(CLOSING_MILLIS);
            }
            return;
        }
        self.session.check_deadlines(&self.shard, now);
        if self.shard.shared.is_draining() && self.session.is_quiet() {
            self.session.close();
        }
    }

    fn read_client(&mut self, cx: &mut Context<'_>, now: Timestamp) -> bool {
        if self.client_ended || !self.session.wants_client_bytes(&self.shard) || self.refuses_new_requests() {
            return false;
        }
        let shard = self.shard.clone();
        let mut scratch = shard.scratch.borrow_mut();
        let read = match self.client.stream.poll_read(cx, &mut scratch) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                self.client_ended = true;
                return true;
            }
            Poll::Ready(Ok(read)) => read,
        };
        shard.metrics.moved(Step::ClientIn, read as u64);
        self.session.last_active = now;
        self.take_client_bytes(&scratch[..read], now);
        true
    }

    /// While draining, what is under way is finished but nothing new is read.
    fn refuses_new_requests(&self) -> bool {
        self.shard.shared.is_draining() && self.session.phase == Phase::Open && self.session.from_client.is_empty()
    }

    fn take_client_bytes(&mut self, bytes: &[u8], now: Timestamp) {
        if !self.awaits_proxy_header {
            return self.decrypt_client_bytes(bytes, now);
        }
        self.session.from_client.extend(bytes);
        match proxy_header::parse(self.session.from_client.as_slice()) {
            Ok(None) => {}
            Ok(Some(ProxyHeader { length, source })) => {
                self.awaits_proxy_header = false;
                if let Some(source) = source {
                    self.session.client_address = source.to_string();
                }
                let rest = self.session.from_client.take_all();
                self.decrypt_client_bytes(&rest[length..], now);
            }
            Err(error) => self.session.refuse(&self.shard, Refusal::ProxyHeader, error.to_string(), now),
        }
    }

    fn decrypt_client_bytes(&mut self, bytes: &[u8], now: Timestamp) {
        if let Err(error) = self.client.transport.receive(bytes, &mut self.session.from_client) {
            self.session.refuse(&self.shard, Refusal::Tls, error.to_string(), now);
        }
    }

    /// Begins the session once the handshake is done: only then are server name and certificate known.
    fn begin(&mut self, now: Timestamp) -> bool {
        if self.begun || self.awaits_proxy_header || !self.client.transport.is_ready() {
            return false;
        }
        self.begun = true;
        let transport = &self.client.transport;
        self.session.begin(&self.shard, transport.server_name(), transport.client_certificate(), now);
        true
    }

    fn connect_upstream(&mut self, cx: &mut Context<'_>, now: Timestamp) -> bool {
        if self.session.phase != Phase::Connecting || self.upstream.is_some() {
            return false;
        }
        let connecting =
            self.connecting.get_or_insert_with(|| Box::pin(connect::connect(self.shard.clone(), self.session.target)));
        let connected = match connecting.as_mut().poll(cx) {
            Poll::Pending => return false,
            Poll::Ready(connected) => connected,
        };
        self.connecting = None;
        match connected {
            Ok(Connected { stream, transport }) => {
                self.upstream = Some(Side { stream, transport });
                self.shard.metrics.upstream_connections_open.add(1);
                self.session.begin_login(&self.shard, now);
            }
            Err(reason) => self.session.upstream_gone(&self.shard, &reason, now),
        }
        true
    }

    fn read_upstream(&mut self, cx: &mut Context<'_>, now: Timestamp) -> bool {
        let Some(upstream) = &mut self.upstream else { return false };
        if self.session.phase == Phase::Closing || !self.session.wants_upstream_bytes(&self.shard) {
            return false;
        }
        let mut scratch = self.shard.scratch.borrow_mut();
        let read = match upstream.stream.poll_read(cx, &mut scratch) {
            Poll::Pending => return false,
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(error)) => {
                self.session.upstream_gone(&self.shard, &error.to_string(), now);
                return true;
            }
        };
        if read == 0 {
            self.session.upstream_gone(&self.shard, "the broker closed the connection", now);
            return true;
        }
        self.shard.metrics.moved(Step::UpstreamIn, read as u64);
        self.session.last_active = now;
        if let Err(error) = upstream.transport.receive(&scratch[..read], &mut self.session.from_upstream) {
            self.session.upstream_gone(&self.shard, &error.to_string(), now);
        }
        true
    }

    fn write_upstream(&mut self, cx: &mut Context<'_>, now: Timestamp) -> bool {
        let Some(upstream) = &mut self.upstream else { return false };
        match write(cx, upstream, &mut self.session.to_upstream, &self.shard.spare, u64::MAX) {
            Poll::Ready(Ok(wrote)) => {
                self.shard.metrics.moved(Step::UpstreamOut, wrote as u64);
                wrote > 0
            }
            Poll::Ready(Err(error)) => {
                self.session.upstream_gone(&self.shard, &error.to_string(), now);
                true
            }
            Poll::Pending => false,
        }
    }

    /// Commits the entries that the client's responses wait for.
    fn commit(&self) {
        let evidence = &self.shard.evidence;
        if self.session.to_client.blocked_on().is_some_and(|sequence| sequence > evidence.committed()) {
            evidence.commit_in_turn(self.shard.id, &self.shard.metrics);
        }
    }

    fn write_client(&mut self, cx: &mut Context<'_>, now: Timestamp) -> bool {
        if self.client_gone {
            return false;
        }
        let committed = self.shard.evidence.committed();
        match write(cx, &mut self.client, &mut self.session.to_client, &self.shard.spare, committed) {
            Poll::Ready(Ok(wrote)) => {
                self.shard.metrics.moved(Step::ClientOut, wrote as u64);
                if wrote > 0 {
                    self.session.last_active = now;
                }
                wrote > 0
            }
            Poll::Ready(Err(_)) => {
                self.client_gone = true;
                self.client_ended = true;
                true
            }
            Poll::Pending => false,
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        if self.client_gone || self.shard.shared.is_aborting() || now >= self.closing_until {
            return true;
        }
        if self.client_ended {
            // A producer that wants no acknowledgement may have sent and left: what it sent is
            // taken and passed on first.
            // What waits for an approver does so for a client that is there: its retry asks anew.
            let waits = self.session.held.as_ref().is_some_and(|held| held.reason == HeldFor::Approval);
            let taken = waits || self.session.phase != Phase::Open || self.session.has_no_whole_request();
            return taken && (self.upstream.is_none() || self.session.to_upstream.is_empty());
        }
        self.session.phase == Phase::Closing
            && self.session.to_client.is_empty()
            && !self.client.transport.wants_write()
    }

    async fn end(mut self) {
        let now = self.shard.now();
        self.session.record_unanswered(&self.shard, Outcome::Allowed, "the client left before the response", now);
        self.session.ended(&self.shard, now);
        if self.upstream.is_some() {
            self.shard.metrics.upstream_connections_open.add(-1);
        }
        for side in [Some(&mut self.client), self.upstream.as_mut()].into_iter().flatten() {
            goodbye(side).await;
        }
    }
}

fn write(
    cx: &mut Context<'_>,
    side: &mut Side,
    outbox: &mut Outbox,
    spare: &RefCell<Vec<u8>>,
    committed: u64,
) -> Poll<io::Result<usize>> {
    outbox.poll_write(cx, &mut side.stream, &mut side.transport, spare, committed)
}

/// Tells the peer that this was the end. One try: a peer that reads nothing is not waited for.
async fn goodbye(side: &mut Side) {
    side.transport.close();
    let mut wire = Vec::new();
    if !side.transport.is_plain() {
        side.transport.send(&[], &mut wire);
    }
    if !wire.is_empty() {
        poll_fn(|cx| {
            // Whether the socket took it or not, there is nothing more to do.
            let _ = side.stream.poll_write(cx, &wire);
            Poll::Ready(())
        })
        .await;
    }
    side.stream.finish().await;
}

#[cfg(test)]
mod tests;
