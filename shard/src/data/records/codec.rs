//! Bodies in and out: `kafka-protocol`'s codecs behind the check of [`super::shape`], with errors
//! that say whose fault it is.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::super::addresses::Addresses;
use super::super::stage::{Request, StageError};
use super::shape::{self, Shape};

/// The client's fault.
pub(super) fn bad_request(api: ApiKey, version: i16, reason: impl ToString) -> StageError {
    StageError::Request { api, version, reason: reason.to_string() }
}

/// The upstream's fault, or ours.
pub(super) fn bad_response(api: ApiKey, version: i16, reason: impl ToString) -> StageError {
    StageError::Response { api, version, reason: reason.to_string() }
}

/// The decoded body of a request; byte fields share the frame's memory.
pub(super) fn decode_request<T: Decodable>(request: &Request, shape: &Shape) -> Result<T, StageError> {
    let mut body = request.body();
    let (api, version) = (request.api(), request.version());
    shape::check(&body, version, shape).map_err(|e| bad_request(api, version, e))?;
    T::decode(&mut body, version).map_err(|e| bad_request(api, version, e))
}

/// The decoded body of a response; byte fields share its memory.
pub(super) fn decode_response<T: Decodable>(
    body: &Bytes,
    api: ApiKey,
    version: i16,
    shape: &Shape,
) -> Result<T, StageError> {
    shape::check(body, version, shape).map_err(|e| bad_response(api, version, e))?;
    T::decode(&mut body.clone(), version).map_err(|e| bad_response(api, version, e))
}

/// A request body for the upstream. Its size is computed first, so that records are copied once.
pub(super) fn encode_request<T: Encodable>(message: &T, api: ApiKey, version: i16) -> Result<Bytes, StageError> {
    encode(message, version).map_err(|e| bad_request(api, version, e))
}

/// A response body for the client. Its size is computed first, so that records are copied once.
pub(super) fn encode_response<T: Encodable>(message: &T, api: ApiKey, version: i16) -> Result<Bytes, StageError> {
    encode(message, version).map_err(|e| bad_response(api, version, e))
}

fn encode<T: Encodable>(message: &T, version: i16) -> anyhow::Result<Bytes> {
    let mut body = BytesMut::with_capacity(message.compute_size(version)?);
    message.encode(&mut body, version)?;
    Ok(body.freeze())
}

/// Rewrites one endpoint of KIP-951 to what clients may see. `false` where the broker has no
/// address for clients: the endpoint is then left out, and the client asks Metadata as before
/// KIP-951.
pub(super) fn show_endpoint(addresses: &mut Addresses, node_id: i32, host: &mut StrBytes, port: &mut i32) -> bool {
    let Ok((shown_host, shown_port)) = addresses.show(node_id, host, *port) else {
        return false;
    };
    *host = StrBytes::from_string(shown_host);
    *port = shown_port;
    true
}
