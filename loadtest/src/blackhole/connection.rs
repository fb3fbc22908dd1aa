//! One connection of a broker: frames in, answers out, in order.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tidegate::data::runtime::{self, Stream};
use tidegate::data::tls::Transport;
use tidegate_core::header::RequestHeader;

use super::answer;
use super::cluster::Cluster;
use super::records::{self, Fetching};
use crate::link::Link;

/// Answers that wait to be sent, at which no more requests are taken.
const OUT_BYTES_MAX: usize = 4 << 20;
/// Frames taken before others get their turn.
const FRAMES_A_TURN: usize = 64;

/// Where a connection came in.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) cluster: Arc<Cluster>,
    /// The node id.
    pub(super) broker: usize,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
}

/// A Fetch that found nothing, and when it is answered all the same.
struct Parked {
    fetching: Fetching,
    until: Pin<Box<dyn Future<Output = ()>>>,
}

struct Connection {
    door: Door,
    link: Link,
    parked: Option<Parked>,
    ended: bool,
}

/// Serves a connection to its end.
pub(super) async fn serve(door: Door, stream: Stream, scratch: Rc<RefCell<Vec<u8>>>) {
    let transport = match &door.tls {
        Some(tls) => match Transport::accept(tls.clone()) {
            Ok(transport) => transport,
            Err(_) => return,
        },
        None => Transport::Plain,
    };
    let mut connection = Connection { door, link: Link::new(stream, transport), parked: None, ended: false };
    // How a client leaves is its own affair.
    let _ = poll_fn(|cx| connection.poll(cx, &mut scratch.borrow_mut())).await;
    connection.link.close().await;
}

impl Connection {
    fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<()>> {
        for _ in 0..FRAMES_A_TURN {
            self.unpark(cx);
            let took = self.take_frames(cx)?;
            let flushed = self.link.poll_flush(cx)?;
            if took {
                continue;
            }
            let may_read = self.parked.is_none() && self.link.waiting() < OUT_BYTES_MAX && !self.ended;
            if may_read {
                match self.link.poll_read(cx, scratch)? {
                    Poll::Ready(0) => self.ended = true,
                    Poll::Ready(_) => continue,
                    Poll::Pending => return Poll::Pending,
                }
            }
            if self.ended && flushed.is_ready() {
                return Poll::Ready(Ok(()));
            }
            return Poll::Pending;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Answers the parked Fetch where there is data by now, or its time is over.
    fn unpark(&mut self, cx: &mut Context<'_>) {
        let Some(parked) = &mut self.parked else { return };
        let waits = (!parked.until.as_mut().poll(cx).is_ready()).then(|| cx.waker());
        if parked.fetching.answer(&self.door.cluster, waits, self.link.outgoing()) {
            self.parked = None;
        }
    }

    /// Takes requests until there is none, or one waits. Whether it took any.
    fn take_frames(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut took = false;
        while self.parked.is_none() && self.link.waiting() < OUT_BYTES_MAX {
            let Some(frame) = self.link.next_frame()? else { return Ok(took) };
            took = true;
            self.take(&frame, cx).ok_or(io::ErrorKind::InvalidData)?;
        }
        Ok(took)
    }

    fn take(&mut self, frame: &Bytes, cx: &mut Context<'_>) -> Option<()> {
        let header = RequestHeader::parse(frame).ok()?;
        let body = frame.slice(header.body_start..);
        let (version, correlation) = (header.version, header.correlation_id);
        let cluster = &self.door.cluster;
        match header.api {
            ApiKey::Produce => records::produce(cluster, body, version, correlation, self.link.outgoing()),
            ApiKey::Fetch => {
                let fetching = Fetching::read(body, version, correlation)?;
                if !fetching.answer(cluster, Some(cx.waker()), self.link.outgoing()) {
                    let until = Box::pin(runtime::sleep(Duration::from_millis(fetching.wait_millis())));
                    self.parked = Some(Parked { fetching, until });
                }
                Some(())
            }
            _ => {
                let answer = answer::answer(&self.door, &header, &body)?;
                self.link.outgoing().extend_from_slice(&answer);
                Some(())
            }
        }
    }
}
