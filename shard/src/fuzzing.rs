//! The bodies of the fuzz targets: one function each, from any bytes to a check of what must hold
//! for all of them. `shard/fuzz` feeds them with what libFuzzer finds (`make fuzz`), the tests here
//! with a seeded stream, so that they run with every `cargo test`.
//!
//! A target panics where an invariant breaks. What it may not do for any bytes: panic otherwise,
//! allocate without bound, or run long.

mod batches;
mod evidence;
#[cfg(test)]
mod tests;

pub use batches::{batch_rewriter, batch_walker};
pub use evidence::evidence_segment;

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tidegate_core::decode::{Body, VisitMessage, decode_request, decode_response, each_message};
use tidegate_core::frame::{FrameBuffer, FrameError, LENGTH_BYTES};
use tidegate_core::header::{self, RequestHeader, request_frame};
use tidegate_core::words::{Principal, Timestamp};
use tidegate_policy::identity::{TokenError, Verified};
use tidegate_policy::snapshot::Snapshot;

use crate::config::Mechanism;
use crate::data::proxy_header;
use crate::data::sasl::{Action, SaslServer};
use crate::data::stage::Request;

/// A target: its name, as `make fuzz` takes it, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 9] = [
    ("frame", frame),
    ("header", header),
    ("sasl", sasl),
    ("decode", decode),
    ("proxy_header", proxy_header),
    ("batch_walker", batch_walker),
    ("batch_rewriter", batch_rewriter),
    ("policy_file", policy_file),
    ("evidence_segment", evidence_segment),
];

const FRAME_BYTES_MAX: u32 = 1024;

/// Frames are the same however the bytes arrive; what is not a frame, or is left, stays last.
pub fn frame(data: &[u8]) {
    let (first, data) = data.split_first().unwrap_or((&0, data));
    let whole = frames(std::iter::once(data));
    let parts = frames(data.chunks(usize::from(*first) + 1));
    assert_eq!(whole, parts);
    let bytes: usize = whole.0.iter().map(Bytes::len).sum();
    assert!(bytes <= data.len());
    assert_eq!(whole.0.concat(), &data[..bytes]);
}

fn frames<'a>(parts: impl Iterator<Item = &'a [u8]>) -> (Vec<Bytes>, Option<FrameError>) {
    let mut buffer = FrameBuffer::new();
    let mut frames = Vec::new();
    for part in parts {
        buffer.extend(part);
        loop {
            match buffer.next_frame(FRAME_BYTES_MAX) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Request and response headers: what is read lies within the frame, and survives a new body.
pub fn header(data: &[u8]) {
    for api in [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::Fetch] {
        for version in [0, 4, 12] {
            let start = header::response_body_start(data, api, version);
            assert!(start.is_none_or(|start| start <= data.len()));
        }
    }
    let _ = header::response_correlation_id(data);
    let Ok(read) = RequestHeader::parse(data) else { return };
    assert!(read.body_start <= data.len());
    let frame = Bytes::copy_from_slice(data);
    let changed = header::with_body(&frame, read.body_start, b"another body");
    assert_eq!(RequestHeader::parse(&changed).as_ref(), Ok(&read));
    assert_eq!(read.client_id(&changed), read.client_id(data));
    assert_eq!(&changed[read.body_start..], b"another body");
    assert_eq!(changed.first_chunk(), Some(&((changed.len() - LENGTH_BYTES) as u32).to_be_bytes()));
}

/// The first two bytes choose a message, the third its version; the rest is its body.
pub fn decode(data: &[u8]) {
    let [low, high, version, body @ ..] = data else { return };
    let chosen = usize::from(u16::from_le_bytes([*low, *high]));
    let body = Bytes::copy_from_slice(body);
    each_message(&mut DecodeOne { chosen: chosen % MESSAGES, at: 0, version: i16::from(*version), body });
}

/// How many messages the table has; a test counts.
const MESSAGES: usize = 138;

struct DecodeOne {
    chosen: usize,
    at: usize,
    version: i16,
    body: Bytes,
}

impl VisitMessage for DecodeOne {
    fn visit<T: Body>(&mut self, _: &'static str) {
        if self.at == self.chosen {
            let versions = T::layout().versions();
            let version = versions.start() + self.version % (versions.end() - versions.start() + 1);
            let _ = decode_request::<T>(&self.body, version, usize::MAX);
            let _ = decode_response::<T>(&self.body, version);
        }
        self.at += 1;
    }
}

/// A header is read once it is whole, and cut short it is never taken for another or for none.
pub fn proxy_header(data: &[u8]) {
    let Ok(Some(read)) = proxy_header::parse(data) else { return };
    assert!(read.length <= data.len());
    assert_eq!(proxy_header::parse(&data[..read.length]), Ok(Some(read)));
    for cut in 0..read.length {
        assert_eq!(proxy_header::parse(&data[..cut]), Ok(None), "cut at {cut} of {}", read.length);
    }
}

/// A policy file is a snapshot, or a list of problems that can be shown.
pub fn policy_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Snapshot::read(&text, "fuzz.yaml", 1) {
        Ok(snapshot) => {
            let _ = snapshot.view(&alice());
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a problem");
            for problem in problems {
                assert!(!problem.to_string().is_empty());
            }
        }
    }
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn alice() -> Principal {
    let name: Arc<str> = Arc::from("alice");
    Principal { issuer: Arc::from("https://id.example"), subject: name.clone(), name, groups: Vec::new() }
}

fn verify(token: &str) -> Result<Verified, TokenError> {
    match token {
        "good" => Ok(Verified {
            principal: alice(),
            issuer: alice().issuer,
            expires: NOW.plus_millis(1000),
            token_id: None,
            session: None,
        }),
        "newkey" => Err(TokenError::UnknownKey { issuer: Arc::from("https://id.example"), kid: "k2".to_owned() }),
        _ => Err(TokenError::Expired { at: NOW }),
    }
}

/// A conversation: what comes out is in order, nobody is let through without a good token, and
/// nothing follows the end. Each request is an API, a version, a length, and a body.
pub fn sasl(mut data: &[u8]) {
    const APIS: [ApiKey; 4] = [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate, ApiKey::Metadata];
    let mut server = SaslServer::new(&[Mechanism::OAuthBearer, Mechanism::Plain], None);
    let mut told = false;
    let mut now = NOW;
    while let [api, version, length, rest @ ..] = data {
        let (body, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        let api_key = APIS[usize::from(*api) % APIS.len()];
        let frame = request_frame(1, api_key, i16::from(*version % 8), "client", body);
        let header = RequestHeader::parse(&frame).expect("it was just written");
        now = now.plus_millis(i64::from(*api / 64) * 400);
        let action = match (api / 16) % 4 {
            0 => server.retry(now, &mut verify),
            1 => server.give_up(),
            _ => server.on_request(&Request { header, frame }, now, &mut verify),
        };
        match action {
            Action::Authenticated { authentication, .. } => {
                assert_eq!(authentication.principal, alice());
                told = true;
            }
            Action::Proceed => {
                assert!(told && server.is_authenticated(), "let through unauthenticated");
                assert!(server.expires().is_some_and(|expires| now < expires), "let through after the end");
            }
            Action::Close(_) | Action::AnswerThenClose(..) => return,
            Action::Versions | Action::Answer(_) | Action::AwaitKeys { .. } => {}
        }
        assert!(told || !server.is_authenticated());
    }
}
