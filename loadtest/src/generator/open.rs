//! Connecting, TLS, login, and single requests: everything that happens before load or beside it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Encodable;
use tidegate::data::runtime::Stream;
use tidegate::data::tls::Transport;
use tidegate::data::versions::UpstreamVersions;
use tidegate::upstream::{Action, Secret, UpstreamCredentials, UpstreamLogin};
use tidegate_core::decode::{Body, decode_response, encode};
use tidegate_core::header::{request_frame, response_body_start};

use super::Thread;
use crate::link::Link;
use crate::profile::Sasl;
use crate::wire::CLIENT_ID;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that is logged in.
pub(crate) struct Opened {
    pub(crate) link: Link,
    pub(crate) versions: Arc<UpstreamVersions>,
    pub(crate) correlation: i32,
    _counted: Counted,
}

/// Counts an open connection for as long as it lives.
struct Counted(Arc<super::Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.live.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connects to `address` and logs in as the profile says, with the token that is `number`'s turn.
pub(crate) async fn open(thread: &Thread, address: SocketAddr, number: u32) -> anyhow::Result<Opened> {
    let shared = &thread.shared;
    let stream =
        Stream::connect(address, CONNECT_TIMEOUT).await.with_context(|| format!("cannot connect to {address}"))?;
    shared.live.connections.fetch_add(1, Ordering::Relaxed);
    let counted = Counted(shared.clone());
    let transport = match (&shared.target.tls, shared.profile.tls) {
        (Some(tls), true) => Transport::connect(tls.config.clone(), tls.server.clone())?,
        (None, true) => bail!("the profile wants TLS, but it is not known whom to trust"),
        _ => Transport::Plain,
    };
    let mut link = Link::new(stream, transport);
    let mut login = UpstreamLogin::new(&credentials(thread, number)?, CLIENT_ID);
    loop {
        match login.next() {
            Action::Send(frame) => link.outgoing().extend_from_slice(&frame),
            Action::Receive => {
                let frame = link.exchange(&thread.scratch).await.with_context(|| format!("logging in at {address}"))?;
                login.on_frame(frame);
            }
            Action::Done(done) => {
                let correlation = done.next_correlation_id;
                return Ok(Opened { link, versions: done.versions, correlation, _counted: counted });
            }
            Action::Failed(error) => bail!("{address}: {error}"),
        }
    }
}

fn credentials(thread: &Thread, number: u32) -> anyhow::Result<UpstreamCredentials> {
    let tokens = &thread.shared.target.tokens;
    let token = || {
        let turn = number as usize % tokens.len().max(1);
        tokens
            .get(turn)
            .map(|token| Secret::new(token.clone()))
            .context("the profile wants a login, but there is no token")
    };
    Ok(match thread.shared.profile.sasl {
        Sasl::None => UpstreamCredentials::None,
        Sasl::Plain => UpstreamCredentials::Plain { username: "token".to_owned(), password: token()? },
        Sasl::OAuthBearer => UpstreamCredentials::OAuthBearer { token: token()? },
    })
}

impl Opened {
    /// The highest version of `api` that both sides speak, up to `max`.
    pub(crate) fn version(&self, api: ApiKey, max: i16) -> anyhow::Result<i16> {
        self.versions.negotiate(api, max).with_context(|| format!("{api:?} is not offered"))
    }

    /// A correlation id that is free.
    pub(crate) fn next_correlation(&mut self) -> i32 {
        let id = self.correlation;
        self.correlation = id.wrapping_add(1);
        id
    }

    /// Sends one request and waits for its answer; nothing else may be under way.
    pub(crate) async fn call<R: Body>(
        &mut self,
        scratch: &RefCell<Vec<u8>>,
        api: ApiKey,
        max: i16,
        request: impl FnOnce(i16) -> anyhow::Result<bytes::Bytes>,
    ) -> anyhow::Result<R> {
        let version = self.version(api, max)?;
        let correlation = self.next_correlation();
        let frame = request_frame(correlation, api, version, CLIENT_ID, &request(version)?);
        self.link.outgoing().extend_from_slice(&frame);
        let frame = self.link.exchange(scratch).await.with_context(|| format!("waiting for the answer to {api:?}"))?;
        let start = response_body_start(&frame, api, version).context("the answer ends within its header")?;
        decode_response(&frame.slice(start..), version).with_context(|| format!("the answer to {api:?}"))
    }
}

/// A request's body.
pub(crate) fn body(request: &impl Encodable, version: i16) -> anyhow::Result<bytes::Bytes> {
    encode(request, version).map_err(|error| anyhow::anyhow!("{error}"))
}
