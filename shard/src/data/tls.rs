//! TLS by rustls, without I/O: wire bytes in, frames' bytes out, and the other way round. A plain
//! connection passes through the same two calls.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use tidegate_core::frame::FrameBuffer;

/// What lies between a socket and its frames.
pub enum Transport {
    /// Nothing.
    Plain,
    /// A TLS session.
    Tls(Box<Connection>),
}

/// Bytes that are no TLS, or a handshake that failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused; its words name alert and cause.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A plain client on a TLS port.
    #[error("these bytes are not TLS, but this port speaks TLS (is `security.protocol` set to SSL or SASL_SSL?)")]
    NotTls,
}

impl Transport {
    /// The accepting side.
    ///
    /// # Errors
    /// Where rustls refuses the configuration.
    pub fn accept(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        let mut connection = ServerConnection::new(config)?;
        connection.set_buffer_limit(None);
        Ok(Self::Tls(Box::new(Connection::Server(connection))))
    }

    /// The connecting side.
    ///
    /// # Errors
    /// Where rustls refuses the configuration.
    pub fn connect(config: Arc<ClientConfig>, server: ServerName<'static>) -> Result<Self, TlsError> {
        let mut connection = ClientConnection::new(config, server)?;
        connection.set_buffer_limit(None);
        Ok(Self::Tls(Box::new(Connection::Client(connection))))
    }

    /// Takes bytes from the socket; what they decrypt to is appended to `frames`.
    ///
    /// # Errors
    /// [`TlsError`]; an alert for the peer may then wait in [`Transport::send`].
    pub fn receive(&mut self, mut wire: &[u8], frames: &mut FrameBuffer) -> Result<(), TlsError> {
        let Self::Tls(connection) = self else {
            frames.extend(wire);
            return Ok(());
        };
        while !wire.is_empty() {
            // Reading from a slice fails only where rustls' own buffer is full, which
            // `process_new_packets` empties each time round.
            if connection.read_tls(&mut wire).is_err() {
                return Err(TlsError::Tls(rustls::Error::General("a TLS record is too large".to_owned())));
            }
            let state = connection.process_new_packets().map_err(|error| match error {
                rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TlsError::NotTls,
                other => TlsError::Tls(other),
            })?;
            let mut waiting = state.plaintext_bytes_to_read();
            let buffer = frames.buffer_mut();
            let mut filled = buffer.len();
            buffer.resize(filled + waiting, 0);
            while waiting > 0 {
                match connection.reader().read(&mut buffer[filled..]) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => {
                        filled += read;
                        waiting -= read;
                    }
                }
            }
            buffer.truncate(filled);
        }
        Ok(())
    }

    /// Turns `plain` into bytes for the socket, appended to `wire`; an empty `plain` collects what
    /// the handshake has to say.
    pub fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        match self {
            Self::Plain => wire.extend_from_slice(plain),
            Self::Tls(connection) => {
                // Writing into rustls' unbounded buffer and from it into memory cannot fail.
                let _ = connection.writer().write_all(plain);
                while connection.wants_write() {
                    if connection.write_tls(wire).is_err() {
                        break;
                    }
                }
            }
        }
    }

    /// Says goodbye: the peer can tell an end from a cut.
    pub fn close(&mut self) {
        if let Self::Tls(connection) = self {
            connection.send_close_notify();
        }
    }

    /// Whether the peer may be sent data.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Tls(connection) => !connection.is_handshaking(),
        }
    }

    /// Whether the handshake has bytes to send.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        matches!(self, Self::Tls(connection) if connection.wants_write())
    }

    /// Whether these are plain bytes, which need no copy on their way to the socket.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// The host that the client asked for (SNI), once the handshake is done.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Self::Tls(connection) => match &**connection {
                Connection::Server(server) => server.server_name(),
                Connection::Client(_) => None,
            },
            Self::Plain => None,
        }
    }

    /// The certificate that the client showed and rustls verified.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&CertificateDer<'static>> {
        match self {
            Self::Tls(connection) => connection.peer_certificates().and_then(|chain| chain.first()),
            Self::Plain => None,
        }
    }
}
