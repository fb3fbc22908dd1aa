//! A Kafka connection that sends exactly what a test says: well-formed requests of any version, or
//! bytes that are none.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// How long an answer may take on a busy machine.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// One connection; requests are numbered from 1.
pub(crate) struct Connection {
    stream: Stream,
    correlation: i32,
    client_id: String,
}

impl Connection {
    /// Connects without TLS.
    pub(crate) fn plain(address: impl ToSocketAddrs + std::fmt::Debug) -> Self {
        let shown = format!("{address:?}");
        Self::try_plain(address).unwrap_or_else(|| panic!("cannot connect to {shown}"))
    }

    /// Connects without TLS, if something listens there.
    pub(crate) fn try_plain(address: impl ToSocketAddrs) -> Option<Self> {
        let address: SocketAddr = address.to_socket_addrs().ok()?.find(SocketAddr::is_ipv4)?;
        let stream = TcpStream::connect_timeout(&address, READ_TIMEOUT).ok()?;
        stream.set_read_timeout(Some(READ_TIMEOUT)).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self { stream: Stream::Plain(stream), correlation: 0, client_id: "tidegate-tests".to_owned() })
    }

    /// Connects and speaks TLS with this server name.
    pub(crate) fn tls(address: impl ToSocketAddrs + std::fmt::Debug, config: Arc<ClientConfig>, name: &str) -> Self {
        let mut connection = Self::plain(address);
        let Stream::Plain(tcp) = connection.stream else { unreachable!("just connected") };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        connection.stream = Stream::Tls(Box::new(StreamOwned::new(ClientConnection::new(config, name).unwrap(), tcp)));
        connection
    }

    /// With another `client.id`.
    pub(crate) fn client_id(mut self, id: &str) -> Self {
        self.client_id = id.to_owned();
        self
    }

    /// Logs in with SASL/PLAIN.
    #[track_caller]
    pub(crate) fn login_plain(mut self, user: &str, password: &str) -> Self {
        let answer = self.authenticate("PLAIN", &format!("\0{user}\0{password}"));
        answer.unwrap_or_else(|error| panic!("{user} cannot log in: {error}"));
        self
    }

    /// Logs in with SASL/OAUTHBEARER.
    #[track_caller]
    pub(crate) fn login_token(mut self, token: &str) -> Self {
        self.authenticate("OAUTHBEARER", &bearer(token)).unwrap_or_else(|error| panic!("cannot log in: {error}"));
        self
    }

    /// A whole SASL exchange of one step: the session's lifetime in milliseconds, or why not.
    pub(crate) fn authenticate(&mut self, mechanism: &str, initial: &str) -> Result<i64, String> {
        let handshake = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_string(mechanism.to_owned()));
        let answer = self.try_ask(1, &handshake).map_err(|error| format!("handshake: {error}"))?;
        if answer.error_code != 0 {
            return Err(format!("handshake: error {}", answer.error_code));
        }
        self.sasl_bytes(initial)
    }

    /// One SaslAuthenticate without a handshake before it.
    pub(crate) fn sasl_bytes(&mut self, bytes: &str) -> Result<i64, String> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::copy_from_slice(bytes.as_bytes()));
        let answer = self.try_ask(2, &request).map_err(|error| format!("authenticate: {error}"))?;
        if answer.error_code != 0 {
            let message = answer.error_message.map(|m| m.to_string()).unwrap_or_default();
            return Err(format!("authenticate: error {}: {message}", answer.error_code));
        }
        // RFC 7628: an error comes as a JSON document and the client has to answer once more.
        if !answer.auth_bytes.is_empty() {
            return Err(format!("authenticate: {}", String::from_utf8_lossy(&answer.auth_bytes)));
        }
        Ok(answer.session_lifetime_ms)
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.try_ask(version, request).unwrap_or_else(|error| panic!("{:?} v{version}: {error}", api::<R>()))
    }

    /// Sends a request and reads its answer, if one comes.
    pub(crate) fn try_ask<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let correlation = self.send(version, request)?;
        let (answered, body) = self.receive(api::<R>(), version)?;
        assert_eq!(answered, correlation, "answers come in the order of their requests");
        decode::<R>(version, body)
    }

    /// Sends a request; its correlation id.
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<i32> {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).map_err(io::Error::other)?;
        self.send_body(api::<R>() as i16, version, &body)
    }

    /// Sends a request with this body; its correlation id. Unknown APIs get the newest header.
    pub(crate) fn send_body(&mut self, key: i16, version: i16, body: &[u8]) -> io::Result<i32> {
        self.correlation += 1;
        let frame = frame(key, version, self.correlation, &self.client_id, body);
        self.write(&frame)?;
        Ok(self.correlation)
    }

    /// Sends bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// The next answer: its correlation id and its body.
    pub(crate) fn receive(&mut self, api: ApiKey, version: i16) -> io::Result<(i32, Bytes)> {
        let mut frame = self.receive_frame()?;
        let header_version = if api == ApiKey::ApiVersions { 0 } else { api.response_header_version(version) };
        let header = ResponseHeader::decode(&mut frame, header_version).map_err(io::Error::other)?;
        Ok((header.correlation_id, frame))
    }

    /// The next frame without its length.
    pub(crate) fn receive_frame(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
        let mut frame = vec![0; length];
        self.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// Whether the peer closes the connection, after whatever it still says.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = [0; 4096];
        loop {
            let read = match &mut self.stream {
                Stream::Plain(tcp) => tcp.read(&mut rest),
                Stream::Tls(tls) => tls.read(&mut rest),
            };
            match read {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            }
        }
    }

    /// Says that nothing more will come, and keeps reading.
    pub(crate) fn finish_writing(&self) {
        let _ = self.tcp().shutdown(Shutdown::Write);
    }

    /// How long a read may wait.
    pub(crate) fn set_read_timeout(&self, timeout: Duration) {
        self.tcp().set_read_timeout(Some(timeout)).unwrap();
    }

    /// The address that the peer sees.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.tcp().local_addr().unwrap()
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.read_exact(bytes),
            Stream::Tls(tls) => tls.read_exact(bytes),
        }
    }
}

/// The initial response of OAUTHBEARER (RFC 7628).
pub(crate) fn bearer(token: &str) -> String {
    format!("n,,\x01auth=Bearer {token}\x01\x01")
}

/// The API of a request type.
pub(crate) fn api<R: Request>() -> ApiKey {
    ApiKey::try_from(R::KEY).expect("a known API")
}

/// A response body decoded to its end.
pub(crate) fn decode<R: Request>(version: i16, mut body: Bytes) -> io::Result<R::Response> {
    let response = R::Response::decode(&mut body, version).map_err(io::Error::other)?;
    if body.has_remaining() {
        return Err(io::Error::other(format!("{} bytes after the response", body.remaining())));
    }
    Ok(response)
}

/// A whole request frame, its length included.
pub(crate) fn frame(key: i16, version: i16, correlation: i32, client_id: &str, body: &[u8]) -> BytesMut {
    let header_version = ApiKey::try_from(key).map_or(2, |api| api.request_header_version(version));
    let header = RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_string(client_id.to_owned())));
    let mut rest = BytesMut::new();
    header.encode(&mut rest, header_version).expect("a header can be encoded");
    rest.extend_from_slice(body);
    let mut frame = BytesMut::with_capacity(rest.len() + 4);
    frame.extend_from_slice(&(rest.len() as i32).to_be_bytes());
    frame.extend_from_slice(&rest);
    frame
}
