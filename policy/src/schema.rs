//! JSON Schemas of Tidegate's files: generated from the types, tightened where schemars leaves
//! room, and compiled to a validator that never fetches anything.

use jsonschema::Validator;
use schemars::JsonSchema;
use serde_json::{Map, Value};

use crate::document::text::FORMATS;

/// The JSON Schema (draft 2020-12) of `T`.
#[must_use]
pub fn of<T: JsonSchema>() -> Value {
    let mut schema = schemars::schema_for!(T).to_value();
    tighten(&mut schema);
    schema
}

/// Compiles `schema`, the formats of [`FORMATS`] included.
///
/// # Errors
/// The compiler's words where `schema` is not a JSON Schema, which for a generated one is our bug.
pub(crate) fn validator(schema: &Value) -> Result<Validator, String> {
    let mut options = jsonschema::options().offline().should_validate_formats(true);
    for format in FORMATS {
        let check = format.check;
        options = options.with_format(format.name, move |text: &str| check(text).is_ok());
    }
    options.build(schema).map_err(|error| error.to_string())
}

/// Says in numbers what the formats of integers say only in words, so that an integer that does
/// not fit is found by the schema, with its path.
fn tighten(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            bound_integer(keywords);
            keywords.values_mut().for_each(tighten);
        }
        Value::Array(items) => items.iter_mut().for_each(tighten),
        _ => {}
    }
}

fn bound_integer(keywords: &mut Map<String, Value>) {
    let (least, most): (i64, u64) = match keywords.get("format").and_then(Value::as_str) {
        Some("uint8") => (0, u8::MAX.into()),
        Some("uint16") => (0, u16::MAX.into()),
        Some("uint32") => (0, u32::MAX.into()),
        Some("uint64" | "uint") => (0, u64::MAX),
        Some("int8") => (i8::MIN.into(), i8::MAX as u64),
        Some("int16") => (i16::MIN.into(), i16::MAX as u64),
        Some("int32") => (i32::MIN.into(), i32::MAX as u64),
        _ => return,
    };
    keywords.entry("minimum").or_insert_with(|| least.into());
    keywords.entry("maximum").or_insert_with(|| most.into());
}
