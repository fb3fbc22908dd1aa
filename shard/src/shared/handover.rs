//! Handover: a connection goes from the shard whose socket accepted it to the shard that serves least.
//!
//! Per connection, never per request: a shard's load is an atomic count that changes as connections
//! come and end, and its inbox a bounded queue behind a mutex that is held for moments.
//!
//! Invariant: a [`Place`] counts at its shard for as long as it lives, so a connection is counted from
//! the decision where it goes until it ends, and never twice.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::CachePadded;
use crate::config::Target;

/// Connections that wait for being taken over by one shard, as many as a listener's backlog holds.
/// At the bound the shard that accepted serves them itself. Not configurable: a shard that is so far
/// behind has other troubles.
const INBOX_MAX: usize = 1024;

/// A connection on its way to another shard.
#[derive(Debug)]
pub struct Handed {
    /// The connected socket.
    pub descriptor: OwnedFd,
    /// The listener's index in the configuration.
    pub listener: usize,
    /// The broker that its port stands for.
    pub target: Target,
    /// The peer.
    pub peer: SocketAddr,
    /// Where it counts.
    pub place: Place,
}

/// A connection's place at a shard.
#[derive(Debug)]
pub struct Place {
    handover: Arc<Handover>,
    shard: usize,
}

/// The shards' loads and inboxes.
#[derive(Debug)]
pub struct Handover {
    shards: Vec<CachePadded<Desk>>,
}

#[derive(Debug, Default)]
struct Desk {
    /// Connections placed at this shard.
    load: AtomicUsize,
    inbox: Mutex<Inbox>,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<Handed>,
    /// The shard's task that takes over.
    waker: Option<Waker>,
    closed: bool,
}

impl Place {
    /// The shard.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(desk) = self.handover.shards.get(self.shard) {
            desk.load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Handover {
    /// Between so many shards, none of which has a connection.
    #[must_use]
    pub fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self { shards: (0..shards).map(|_| CachePadded::default()).collect() })
    }

    /// A place for a connection that shard `own` accepted: at the shard with the fewest, its own where
    /// no other has fewer.
    #[must_use]
    pub fn place(self: &Arc<Self>, own: usize) -> Place {
        let load = |shard: usize| self.shards.get(shard).map_or(usize::MAX, |desk| desk.load.load(Ordering::Relaxed));
        let shard =
            (0..self.shards.len()).fold(own, |least, shard| if load(shard) < load(least) { shard } else { least });
        self.at(shard)
    }

    fn at(self: &Arc<Self>, shard: usize) -> Place {
        if let Some(desk) = self.shards.get(shard) {
            desk.load.fetch_add(1, Ordering::Relaxed);
        }
        Place { handover: self.clone(), shard }
    }

    /// Gives a connection to the shard of its place.
    ///
    /// # Errors
    /// The connection, where that shard takes no more.
    pub fn hand(&self, handed: Handed) -> Result<(), Handed> {
        let Some(mut inbox) = self.inbox(handed.place.shard) else { return Err(handed) };
        if inbox.closed || inbox.waiting.len() >= INBOX_MAX {
            return Err(handed);
        }
        inbox.waiting.push_back(handed);
        let waker = inbox.waker.take();
        drop(inbox);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// The next connection for `shard`; one task a shard may wait here.
    pub fn poll_take(&self, shard: usize, cx: &mut Context<'_>) -> Poll<Handed> {
        let Some(mut inbox) = self.inbox(shard) else { return Poll::Pending };
        match inbox.waiting.pop_front() {
            Some(handed) => Poll::Ready(handed),
            None => {
                inbox.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Shard `shard` takes nothing over any more; what waits is closed, as connections in a listener's
    /// backlog are.
    pub fn close(&self, shard: usize) {
        let Some(mut inbox) = self.inbox(shard) else { return };
        inbox.closed = true;
        let left = (std::mem::take(&mut inbox.waiting), inbox.waker.take());
        drop(inbox);
        drop(left);
    }

    fn inbox(&self, shard: usize) -> Option<MutexGuard<'_, Inbox>> {
        let desk = self.shards.get(shard)?;
        // A thread that panicked here left a queue of whole connections.
        Some(desk.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    fn loads(handover: &Handover) -> Vec<usize> {
        handover.shards.iter().map(|desk| desk.load.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn however_the_kernel_spreads_them_each_shard_serves_as_many() {
        for connections in [8, 64, 1000] {
            let handover = Handover::new(4);
            // All of them arrive at one shard's socket.
            let places: Vec<Place> = (0..connections).map(|_| handover.place(2)).collect();
            assert_eq!(loads(&handover), [connections / 4; 4]);
            drop(places);
            assert_eq!(loads(&handover), [0; 4]);
        }
    }

    #[test]
    fn a_shard_keeps_what_no_other_serves_better() {
        let handover = Handover::new(2);
        let first = handover.place(1);
        assert_eq!(first.shard(), 1);
        let second = handover.place(1);
        assert_eq!(second.shard(), 0);
        drop(first);
        assert_eq!(handover.place(0).shard(), 1);
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn handed(handover: &Arc<Handover>, shard: usize) -> (Handed, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let place = handover.at(shard);
        (Handed { descriptor: ours.into(), listener: 0, target: Target::Bootstrap, peer, place }, theirs)
    }

    #[test]
    fn handing_wakes_the_taker_and_is_bounded() {
        let handover = Handover::new(2);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        assert!(handover.poll_take(1, &mut cx).is_pending());
        let (one, _peer) = handed(&handover, 1);
        handover.hand(one).unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(handover.poll_take(1, &mut cx).is_ready());
        assert!(handover.poll_take(1, &mut cx).is_pending());

        let (refused, mut peer) = handed(&handover, 1);
        handover.close(1);
        drop(handover.hand(refused).unwrap_err());
        assert_eq!(loads(&handover), [0, 0]);
        let end = std::io::Read::read(&mut peer, &mut [0]).unwrap();
        assert_eq!(end, 0, "a connection that nobody serves is closed");
    }
}
