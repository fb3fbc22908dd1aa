//! Schemas of records in the framing of a Confluent-compatible schema registry, compiled for walking.
//!
//! A registry's schema never changes under its id, so what is compiled here is kept for as long as there
//! is room. Fetching is the caller's: [`Schemas`] answers at once, with what is known by now.
//!
//! Framings (Confluent's wire format): 0, then the schema's id in four bytes, big-endian, before the
//! payload; or 1 and the schema's GUID in sixteen bytes as the record header `__value_schema_id`
//! (`__key_schema_id` for keys), with nothing before the payload.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) mod avro;
pub(super) mod json;
pub(super) mod protobuf;

use avro::Avro;
use json::Tagged;
use protobuf::Protobuf;

use super::framed;
pub use super::framed::ValueAt;

/// The record header that gives the schema of the value.
pub(super) const VALUE_HEADER: &[u8] = b"__value_schema_id";
/// The record header that gives the schema of the key.
pub(super) const KEY_HEADER: &[u8] = b"__key_schema_id";

/// How a record names its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SchemaId {
    /// The registry's number.
    Number(u32),
    /// The schema's GUID.
    Guid(u128),
}

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Guid(guid) => {
                let hex = format!("{guid:032x}");
                let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
                write!(f, "{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
            }
        }
    }
}

/// What is known of a schema by now.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// All.
    Known(Arc<Schema>),
    /// Nothing yet: the registry is being asked.
    Pending,
    /// It cannot be had, and why.
    Unusable(Arc<str>),
}

/// Where schemas come from. Must answer at once.
pub trait Schemas: fmt::Debug {
    /// What is known of a schema.
    fn find(&self, id: SchemaId) -> Lookup;
}

/// No registry is there.
#[derive(Debug, Clone, Copy)]
pub struct NoSchemas;

impl Schemas for NoSchemas {
    fn find(&self, _id: SchemaId) -> Lookup {
        Lookup::Unusable("no schema registry is configured".into())
    }
}

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    /// Tells schemas of this process apart.
    pub(super) uid: u64,
    pub(super) form: Form,
}

/// What a schema describes.
#[derive(Debug)]
pub(super) enum Form {
    Avro(Avro),
    Protobuf(Protobuf),
    /// Text, of which only the tags count.
    Json(Tagged),
}

impl Schema {
    /// Compiles a schema of the registry's type `kind` (`AVRO`, `PROTOBUF`, `JSON`; none is Avro); of
    /// Protobuf a text may also be a descriptor in base64. `references` are the names and texts of the
    /// schemas that it refers to, each after those that it refers to itself.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn compile(kind: Option<&str>, text: &str, references: &[(String, String)]) -> Result<Self, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let form = match kind {
            None | Some("AVRO") => Form::Avro(Avro::parse(text, references.iter().map(|(_, text)| text.as_str()))?),
            Some("PROTOBUF") => Form::Protobuf(Protobuf::parse(
                text,
                references.iter().map(|(name, text)| (name.as_str(), text.as_str())),
            )?),
            Some("JSON") => Form::Json(Tagged::parse(text, references)),
            Some(other) => return Err(format!("its type {other} is not known")),
        };
        Ok(Self { uid: NEXT.fetch_add(1, Ordering::Relaxed), form })
    }

    /// All values of a message, which stands behind its framing at `from`, for people; `None` where the
    /// schema says that it is text.
    ///
    /// # Errors
    /// Where it is not encoded by the schema.
    pub fn values(&self, message: &[u8], from: usize) -> Result<Option<Vec<ValueAt>>, String> {
        framed::values(self, message, from).map_err(|error| error.to_string())
    }

    /// The length of the message that `bytes` begin with, in bytes: messages of Avro need nothing
    /// between them.
    ///
    /// # Errors
    /// Where they begin with none.
    pub fn length(&self, bytes: &[u8]) -> Result<usize, String> {
        framed::length(self, bytes).map_err(|error| error.to_string())
    }
}

/// The schema that a payload's first bytes name, and where what it describes begins.
#[must_use]
pub fn framing(bytes: &[u8]) -> Option<(SchemaId, usize)> {
    match bytes {
        [0, a, b, c, d, ..] => Some((SchemaId::Number(u32::from_be_bytes([*a, *b, *c, *d])), 5)),
        _ => None,
    }
}

/// The schema that a record header names.
pub(super) fn from_header(value: &[u8]) -> Option<SchemaId> {
    match value {
        [1, guid @ ..] => guid.try_into().ok().map(|guid| SchemaId::Guid(u128::from_be_bytes(guid))),
        [0, number @ ..] => number.try_into().ok().map(|number| SchemaId::Number(u32::from_be_bytes(number))),
        _ => None,
    }
}
