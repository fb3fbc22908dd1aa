//! One conversation with a broker: connect, TLS, log in, ask for the brokers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::Encodable;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tidegate_core::decode::{self, Body};
use tidegate_core::frame::{FrameBuffer, FrameError};
use tidegate_core::header::{request_frame, response_body_start, response_correlation_id};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{Config, HostPort, Upstream};
use crate::control::{now, secrets, tls};
use crate::data::versions::UpstreamVersions;
use crate::shared::{Server, Shared};
use crate::upstream::{Action, LoggedIn, LoginError, UpstreamCredentials, UpstreamLogin};

/// How the gateway names itself to brokers.
const CLIENT_ID: &str = "tidegate-control";
/// The highest Metadata version that is asked in.
const METADATA_VERSION_MAX: i16 = 12;
/// The largest response that is read, in bytes: some thousand brokers.
const RESPONSE_BYTES_MAX: u32 = 4 * 1024 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// What the upstream says of itself.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    /// Every broker's node id and advertised address.
    pub brokers: Vec<(i32, HostPort)>,
    /// The cluster's id.
    pub cluster_id: Option<Arc<str>>,
    /// What the broker that was asked offers.
    pub versions: Arc<UpstreamVersions>,
}

/// Why a broker could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The connection could not be made or broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The host is no name that a certificate could be for.
    #[error("{0} is not a name that TLS can check; set `upstream.tls.server_name`")]
    ServerName(String),
    /// TLS is configured but could not be loaded.
    #[error("the upstream's TLS files are not loaded")]
    NoTls,
    /// The gateway could not log in.
    #[error("{0}")]
    Login(#[from] LoginError),
    /// What came is no frame.
    #[error("what answers does not speak Kafka: {0}")]
    Frame(#[from] FrameError),
    /// The broker's answer cannot be used.
    #[error("the broker's answer cannot be used: {0}")]
    Metadata(String),
}

/// Asks the broker at `address`, which `server` resolved to.
///
/// # Errors
/// [`AskError`], in words for the log.
pub(super) async fn metadata(
    config: &Config,
    shared: &Shared,
    server: &Server,
    address: SocketAddr,
) -> Result<Metadata, AskError> {
    let mut conversation = Conversation::open(&Access::of(config, shared)?, server, address).await?;
    // No topics: from version 1 on that is the empty list, and null would be all of them.
    let request = MetadataRequest::default().with_topics(Some(Vec::new())).with_allow_auto_topic_creation(false);
    let response: MetadataResponse = conversation.exchange(ApiKey::Metadata, METADATA_VERSION_MAX, &request).await?;
    Ok(Metadata {
        brokers: brokers(&response)?,
        cluster_id: response.cluster_id.as_ref().map(|id| Arc::from(id.as_str())),
        versions: conversation.versions,
    })
}

/// How brokers are reached and logged in to.
pub(crate) struct Access {
    /// TLS, and the name that certificates must have where it is not the host's.
    tls: Option<(Arc<ClientConfig>, Option<String>)>,
    login: Arc<UpstreamCredentials>,
}

impl Access {
    /// As the gateway itself has it at its upstream now.
    ///
    /// # Errors
    /// [`AskError::NoTls`].
    pub(in crate::control) fn of(config: &Config, shared: &Shared) -> Result<Self, AskError> {
        let tls = match &config.upstream.tls {
            None => None,
            Some(tls) => Some((shared.upstream_tls.load_full().ok_or(AskError::NoTls)?, tls.server_name.clone())),
        };
        Ok(Self { tls, login: shared.upstream_login.load_full() })
    }

    /// As a configuration says, with its files read.
    ///
    /// # Errors
    /// A file cannot be used, in a sentence that shows nothing of a secret.
    pub(crate) fn new(upstream: &Upstream) -> anyhow::Result<Self> {
        let tls = upstream.tls.as_ref().map(|tls| anyhow::Ok((Arc::new(tls::upstream(tls)?), tls.server_name.clone())));
        Ok(Self { tls: tls.transpose()?, login: Arc::new(secrets::upstream_login(&upstream.sasl)?) })
    }
}

/// What carries a conversation: TCP, with TLS or without.
trait Carrier: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Carrier for S {}

/// A connection that is logged in, and what was read from it.
pub(super) struct Conversation {
    stream: Box<dyn Carrier>,
    frames: FrameBuffer,
    scratch: Vec<u8>,
    /// What the broker offers.
    versions: Arc<UpstreamVersions>,
    next_id: i32,
}

impl Conversation {
    /// Connects to the broker at `address`, which `server` resolved to, and logs in.
    ///
    /// # Errors
    /// [`AskError`], in words for the log.
    pub(super) async fn open(access: &Access, server: &Server, address: SocketAddr) -> Result<Self, AskError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let credentials = access.login.for_gateway(now()).map_err(LoginError::from)?;
        let mut login = UpstreamLogin::new(&credentials, CLIENT_ID);
        let stream: Box<dyn Carrier> = match &access.tls {
            None => Box::new(stream),
            Some((client, name)) => {
                let host = name.clone().unwrap_or_else(|| server.host.to_string());
                let name = ServerName::try_from(host.clone()).map_err(|_| AskError::ServerName(host))?;
                Box::new(TlsConnector::from(Arc::clone(client)).connect(name, stream).await?)
            }
        };
        let mut conversation = Self {
            stream,
            frames: FrameBuffer::new(),
            scratch: vec![0; READ_BYTES],
            versions: Arc::default(),
            next_id: 0,
        };
        let LoggedIn { versions, next_correlation_id, .. } = conversation.log_in(&mut login).await?;
        (conversation.versions, conversation.next_id) = (versions, next_correlation_id);
        Ok(conversation)
    }

    /// Asks one question, in the highest version up to `version_max` that both sides speak.
    ///
    /// # Errors
    /// [`AskError`].
    pub(super) async fn exchange<R: Body>(
        &mut self,
        api: ApiKey,
        version_max: i16,
        request: &impl Encodable,
    ) -> Result<R, AskError> {
        let version = self
            .versions
            .negotiate(api, version_max)
            .filter(|version| *version >= 1)
            .ok_or_else(|| AskError::Metadata(format!("it offers no version of {api:?} that tidegate speaks")))?;
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let body = decode::encode(request, version).map_err(|error| AskError::Metadata(error.to_string()))?;
        self.stream.write_all(&request_frame(id, api, version, CLIENT_ID, &body)).await?;

        let frame = self.receive().await?;
        if response_correlation_id(&frame) != Some(id) {
            return Err(AskError::Metadata("it answers another request".to_owned()));
        }
        let start = response_body_start(&frame, api, version).filter(|start| *start <= frame.len());
        let body = frame.slice(start.ok_or_else(|| AskError::Metadata("it ends within its header".to_owned()))?..);
        decode::decode_response(&body, version).map_err(|error| AskError::Metadata(error.to_string()))
    }

    async fn log_in(&mut self, login: &mut UpstreamLogin) -> Result<LoggedIn, AskError> {
        loop {
            match login.next() {
                Action::Send(frame) => self.stream.write_all(&frame).await?,
                Action::Receive => {
                    let frame = self.receive().await?;
                    login.on_frame(frame);
                }
                Action::Done(logged_in) => return Ok(logged_in),
                Action::Failed(error) => return Err(error.into()),
            }
        }
    }

    async fn receive(&mut self) -> Result<Bytes, AskError> {
        loop {
            if let Some(frame) = self.frames.next_frame(RESPONSE_BYTES_MAX)? {
                return Ok(frame);
            }
            let read = self.stream.read(&mut self.scratch).await?;
            if read == 0 {
                let reason =
                    "the broker closed the connection (does the listener speak TLS, or want another SASL mechanism?)";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason).into());
            }
            self.frames.extend(self.scratch.get(..read).unwrap_or_default());
        }
    }
}

/// All brokers that an answer names.
pub(super) fn brokers(response: &MetadataResponse) -> Result<Vec<(i32, HostPort)>, AskError> {
    if response.brokers.is_empty() {
        return Err(AskError::Metadata("it names no broker".to_owned()));
    }
    let brokers = response.brokers.iter().map(|broker| {
        let port = u16::try_from(broker.port)
            .map_err(|_| AskError::Metadata(format!("broker {} has the port {}", broker.node_id.0, broker.port)))?;
        Ok((broker.node_id.0, HostPort { host: broker.host.to_string(), port }))
    });
    brokers.collect()
}
