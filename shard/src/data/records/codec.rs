//! Bodies in and out through [`tidegate_core::decode`], with errors that say whose fault it is.

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_core::decode::{self, Body};

use super::super::addresses::Addresses;
use super::super::stage::{Request, StageError};

/// The client's fault.
pub(super) fn bad_request(api: ApiKey, version: i16, reason: impl ToString) -> StageError {
    StageError::Request { api, version, reason: reason.to_string() }
}

/// The upstream's fault, or ours.
pub(super) fn bad_response(api: ApiKey, version: i16, reason: impl ToString) -> StageError {
    StageError::Response { api, version, reason: reason.to_string() }
}

/// The decoded body of a request; byte fields share the frame's memory. Its length is bounded by
/// the frame's.
pub(super) fn decode_request<T: Body>(request: &Request) -> Result<T, StageError> {
    let body = request.body();
    let (api, version) = (request.api(), request.version());
    decode::decode_request(&body, version, body.len()).map_err(|e| bad_request(api, version, e))
}

/// The decoded body of a response; byte fields share its memory.
pub(super) fn decode_response<T: Body>(body: &Bytes, api: ApiKey, version: i16) -> Result<T, StageError> {
    decode::decode_response(body, version).map_err(|e| bad_response(api, version, e))
}

/// A request body for the upstream. Its size is computed first, so that records are copied once.
pub(super) fn encode_request<T: Encodable>(message: &T, api: ApiKey, version: i16) -> Result<Bytes, StageError> {
    decode::encode(message, version).map_err(|e| bad_request(api, version, e))
}

/// A response body for the client. Its size is computed first, so that records are copied once.
pub(super) fn encode_response<T: Encodable>(message: &T, api: ApiKey, version: i16) -> Result<Bytes, StageError> {
    decode::encode(message, version).map_err(|e| bad_response(api, version, e))
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
