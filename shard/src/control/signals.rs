//! Signals: SIGTERM and SIGINT drain, a second one stops at once, SIGHUP reloads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::reload::ReloadRequest;
use crate::shared::Shared;

/// The signals that the gateway handles, from the moment this exists.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes over the signals. Needs a tokio runtime to be entered.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub(super) fn register() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Acts on signals. Draining takes `drain_timeout` at most; then, or on a second signal, every
    /// connection is closed.
    pub(super) async fn run(
        mut self,
        shared: Arc<Shared>,
        reloads: mpsc::Sender<ReloadRequest>,
        drain_timeout: Duration,
    ) {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.hang_up.recv() => {
                    tracing::info!("SIGHUP: reloading");
                    let (reply, _) = oneshot::channel();
                    let _ = reloads.send(reply).await;
                    continue;
                }
            };
            tracing::info!("{name}: draining for at most {drain_timeout:?}; the same signal again stops at once");
            shared.draining.store(true, Ordering::Release);
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(drain_timeout) => tracing::warn!("the drain timeout is over; closing what is still open"),
            _ = self.terminate.recv() => tracing::warn!("SIGTERM again: closing what is still open"),
            _ = self.interrupt.recv() => tracing::warn!("SIGINT again: closing what is still open"),
        }
        shared.aborting.store(true, Ordering::Release);
    }
}
