//! Accept: one task per listening socket, never cancelled, that makes a task of each connection.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::FutureExt;

use super::connection;
use super::runtime::{self, Listener, Stream};
use super::shard::Shard;
use crate::config::Target;
use crate::shared::Refusal;

/// How long accepting pauses where the process has no descriptor left: without it the loop would spin.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the listener is stopped.
pub async fn accept(shard: Rc<Shard>, listener: usize, target: Target, socket: Listener) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => admit(&shard, listener, target, stream, peer),
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

fn admit(shard: &Rc<Shard>, listener: usize, target: Target, stream: Stream, peer: SocketAddr) {
    shard.metrics.connections_accepted.increment();
    let Some(registered) = shard.register() else {
        shard.metrics.refused(Refusal::TooMany);
        return;
    };
    let shard = shard.clone();
    let serving = async move {
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
