//! Accept: one task per listening socket, never cancelled, that makes a task of each connection.
//!
//! The kernel spreads connections over the shards' sockets by a hash of their addresses, which is
//! uneven where they are few: of 8 connections one of two shards serves 5 or more in three of four
//! runs, and 7 or 8 in one of fourteen. So the shard that accepts hands a connection to the one that
//! serves least, where that is another. It costs a wake-up per connection and nothing per request.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::FutureExt;
use futures_lite::future::poll_fn;

use super::connection;
use super::runtime::{self, Listener, Stream};
use super::shard::Shard;
use crate::config::Target;
use crate::shared::{Handed, Place, Refusal};

/// How long accepting pauses where the process has no descriptor left: without it the loop would spin.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the listener is stopped.
pub async fn accept(shard: Rc<Shard>, listener: usize, target: Target, socket: Listener) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => place(&shard, listener, target, stream, peer),
            Err(_) if shard.shared.is_draining() => return,
            Err(error) => {
                // A connection that was reset before it was accepted is the peer's affair; a lack
                // of descriptors passes. Neither ends the listener.
                tracing::warn!(shard = shard.id, %error, "a connection could not be accepted");
                runtime::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves the connection here, or hands it to the shard that serves least.
fn place(shard: &Rc<Shard>, listener: usize, target: Target, stream: Stream, peer: SocketAddr) {
    shard.metrics.connections_accepted.increment();
    let own = usize::from(shard.id);
    let place = shard.shared.handover.place(own);
    if place.shard() == own || shard.shared.is_draining() {
        return admit(shard, listener, target, stream, peer, place);
    }
    let Ok(descriptor) = stream.hand_over() else {
        shard.metrics.refused(Refusal::TooMany);
        return;
    };
    let handed = Handed { descriptor, listener, target, peer, place };
    if let Err(Handed { descriptor, listener, target, peer, place }) = shard.shared.handover.hand(handed) {
        admit(shard, listener, target, Stream::take_over(descriptor), peer, place);
    }
}

/// Serves what other shards accepted, until it is cancelled.
pub async fn take_over(shard: Rc<Shard>) {
    let own = usize::from(shard.id);
    loop {
        let handed = poll_fn(|cx| shard.shared.handover.poll_take(own, cx)).await;
        let Handed { descriptor, listener, target, peer, place } = handed;
        admit(&shard, listener, target, Stream::take_over(descriptor), peer, place);
    }
}

fn admit(shard: &Rc<Shard>, listener: usize, target: Target, stream: Stream, peer: SocketAddr, place: Place) {
    let Some(registered) = shard.register() else {
        shard.metrics.refused(Refusal::TooMany);
        return;
    };
    let shard = shard.clone();
    let serving = async move {
        // Counted at its shard until it ends.
        let _place = place;
        let id = shard.id;
        let metrics = shard.metrics.clone();
        let served = AssertUnwindSafe(connection::serve(shard, listener, target, stream, peer, registered));
        // A fault in one connection must not take the shard's others with it.
        if served.catch_unwind().await.is_err() {
            metrics.refused(Refusal::Internal);
            tracing::error!(shard = id, client = %peer, "a fault of the gateway ended this connection; please report it");
        }
    };
    // Detached, but not lost: the shard waits for its registry to be empty before it ends.
    runtime::spawn(serving).detach();
}
