//! Avro schemas (Apache Avro 1.12, "Schema Declaration"), compiled to an arena of types.
//!
//! Only what walking and masking take is kept. The reading is lenient where the binary encoding does not
//! depend on it (defaults, docs, orders, names' characters), so that no schema that a producer's library
//! takes is refused here; names that lead nowhere, and what has no encoding, are errors.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Types of one schema.
const TYPES_MAX: usize = 16_384;
/// Types within each other, as the text of a schema nests them.
const DEPTH_MAX: usize = 64;
/// The property of a field that names its tags.
const TAGS: &str = "confluent:tags";

/// A type, by its place in the arena.
pub(in crate::mask) type TypeId = u32;

/// A schema.
#[derive(Debug)]
pub(in crate::mask) struct Avro {
    types: Vec<Type>,
    pub(in crate::mask) root: TypeId,
}

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::mask) enum Type {
    Null,
    Boolean,
    Int(Logical),
    Long(Logical),
    Float,
    Double,
    Bytes { decimal: bool },
    String,
    Fixed { size: usize, decimal: bool },
    Enum { symbols: Vec<Box<str>>, default: usize },
    Array(TypeId),
    Map(TypeId),
    Union { branches: Vec<TypeId>, null: Option<usize> },
    Record(Vec<Field>),
}

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mask) enum Logical {
    /// A number.
    None,
    /// A moment or a day, in units of which so many are a day.
    Time(i64),
    /// A time of day.
    Other,
}

/// A field of a record.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::mask) struct Field {
    pub(in crate::mask) name: Box<str>,
    pub(in crate::mask) of: TypeId,
    pub(in crate::mask) tags: Box<[Box<str>]>,
}

impl Avro {
    /// Reads a schema that may refer to names that `references` define.
    pub(in crate::mask) fn parse<'t>(text: &str, references: impl Iterator<Item = &'t str>) -> Result<Self, String> {
        let mut reading = Reading { types: Vec::new(), names: HashMap::new() };
        for text in references {
            reading.text(text)?;
        }
        let root = reading.text(text)?;
        Ok(Self { types: reading.types, root })
    }

    pub(in crate::mask) fn get(&self, id: TypeId) -> Option<&Type> {
        self.types.get(id as usize)
    }
}

struct Reading {
    types: Vec<Type>,
    /// Named types, by their full names.
    names: HashMap<String, TypeId>,
}

impl Reading {
    fn text(&mut self, text: &str) -> Result<TypeId, String> {
        // A bare name of a primitive type is served without quotation marks by some.
        let value = serde_json::from_str(text).or_else(|error| match primitive(text.trim(), &Map::new()) {
            Some(_) => Ok(Value::String(text.trim().to_owned())),
            None => Err(format!("the schema is no JSON: {error}")),
        })?;
        self.of(&value, "", DEPTH_MAX)
    }

    fn add(&mut self, of: Type) -> Result<TypeId, String> {
        if self.types.len() >= TYPES_MAX {
            return Err(format!("the schema has more than {TYPES_MAX} types"));
        }
        self.types.push(of);
        Ok(self.types.len() as TypeId - 1)
    }

    fn of(&mut self, value: &Value, space: &str, depth: usize) -> Result<TypeId, String> {
        let depth = depth.checked_sub(1).ok_or("the schema nests too deep")?;
        match value {
            Value::String(name) => self.named(name, space, &Map::new()),
            Value::Array(branches) => {
                let branches =
                    branches.iter().map(|branch| self.of(branch, space, depth)).collect::<Result<Vec<_>, _>>()?;
                if branches.is_empty() {
                    return Err("a union has no branches".to_owned());
                }
                let null = branches.iter().position(|branch| self.types.get(*branch as usize) == Some(&Type::Null));
                self.add(Type::Union { branches, null })
            }
            Value::Object(object) => match object.get("type") {
                Some(Value::String(kind)) => self.object(kind, object, space, depth),
                Some(nested) => self.of(nested, space, depth),
                None => Err("a type has no `type`".to_owned()),
            },
            _ => Err("a type is neither a name nor an object nor a list".to_owned()),
        }
    }

    /// A primitive type, or one that is defined elsewhere.
    fn named(&mut self, name: &str, space: &str, object: &Map<String, Value>) -> Result<TypeId, String> {
        if let Some(of) = primitive(name, object) {
            return self.add(of);
        }
        let known = self.names.get(&full(name, space)).or_else(|| self.names.get(name));
        known.copied().ok_or_else(|| format!("the schema names the type `{name}`, which it does not define"))
    }

    fn object(&mut self, kind: &str, object: &Map<String, Value>, space: &str, depth: usize) -> Result<TypeId, String> {
        match kind {
            "record" | "error" => {
                let (id, space) = self.define(object, space, Type::Record(Vec::new()))?;
                let own = tags(object);
                let fields = object.get("fields").and_then(Value::as_array).ok_or("a record has no `fields`")?;
                let fields = fields
                    .iter()
                    .map(|field| {
                        let field = field.as_object().ok_or("a field is no object")?;
                        let name = field.get("name").and_then(Value::as_str).ok_or("a field has no name")?;
                        let of = self.of(field.get("type").ok_or("a field has no type")?, &space, depth)?;
                        let of_type = field.get("type").and_then(Value::as_object).map(tags).unwrap_or_default();
                        let tags = own.iter().cloned().chain(tags(field)).chain(of_type).collect();
                        Ok(Field { name: name.into(), of, tags })
                    })
                    .collect::<Result<Vec<_>, String>>()?;
                self.set(id, Type::Record(fields));
                Ok(id)
            }
            "enum" => {
                let symbols = object.get("symbols").and_then(Value::as_array).ok_or("an enum has no `symbols`")?;
                let symbols: Vec<Box<str>> = symbols.iter().filter_map(Value::as_str).map(Into::into).collect();
                let default = object.get("default").and_then(Value::as_str);
                let default = symbols.iter().position(|symbol| Some(&**symbol) == default).unwrap_or(0);
                Ok(self.define(object, space, Type::Enum { symbols, default })?.0)
            }
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64).ok_or("a fixed has no `size`")?;
                let size = usize::try_from(size).map_err(|_| "a fixed is too large")?;
                let decimal = logical(object) == "decimal";
                Ok(self.define(object, space, Type::Fixed { size, decimal })?.0)
            }
            "array" => {
                let items = self.of(object.get("items").ok_or("an array has no `items`")?, space, depth)?;
                self.add(Type::Array(items))
            }
            "map" => {
                let values = self.of(object.get("values").ok_or("a map has no `values`")?, space, depth)?;
                self.add(Type::Map(values))
            }
            name => self.named(name, space, object),
        }
    }

    /// Gives a type its name; it may be used within itself. Yields the namespace of what stands in it.
    fn define(&mut self, object: &Map<String, Value>, space: &str, of: Type) -> Result<(TypeId, String), String> {
        let name = object.get("name").and_then(Value::as_str).ok_or("a named type has no name")?;
        let given = object.get("namespace").and_then(Value::as_str);
        let name = full(name, given.unwrap_or(space));
        let space = name.rsplit_once('.').map_or_else(String::new, |(space, _)| space.to_owned());
        let id = self.add(of)?;
        self.names.insert(name, id);
        Ok((id, space))
    }

    fn set(&mut self, id: TypeId, of: Type) {
        if let Some(place) = self.types.get_mut(id as usize) {
            *place = of;
        }
    }
}

fn full(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

fn logical(object: &Map<String, Value>) -> &str {
    object.get("logicalType").and_then(Value::as_str).unwrap_or_default()
}

fn tags(object: &Map<String, Value>) -> Vec<Box<str>> {
    let tags = object.get(TAGS).and_then(Value::as_array);
    tags.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

fn primitive(name: &str, object: &Map<String, Value>) -> Option<Type> {
    const DAY_SECONDS: i64 = 86_400;
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" => Type::Int(match logical(object) {
            "date" => Logical::Time(1),
            "" => Logical::None,
            _ => Logical::Other,
        }),
        "long" => Type::Long(match logical(object) {
            "timestamp-millis" | "local-timestamp-millis" => Logical::Time(DAY_SECONDS * 1000),
            "timestamp-micros" | "local-timestamp-micros" => Logical::Time(DAY_SECONDS * 1_000_000),
            "timestamp-nanos" | "local-timestamp-nanos" => Logical::Time(DAY_SECONDS * 1_000_000_000),
            "" => Logical::None,
            _ => Logical::Other,
        }),
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes { decimal: logical(object) == "decimal" },
        "string" => Type::String,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Avro, String> {
        Avro::parse(text, std::iter::empty())
    }

    #[test]
    fn names_lead_to_what_they_define() {
        let avro = parse(
            r#"{"type":"record","name":"a.b.Node","fields":[
                {"name":"value","type":{"type":"int","logicalType":"date"},"confluent:tags":["PII","X"]},
                {"name":"next","type":["null","Node"]},
                {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"],"default":"B"}},
                {"name":"same","type":"a.b.Kind"}]}"#,
        )
        .unwrap();
        let Some(Type::Record(fields)) = avro.get(avro.root) else { panic!("a record") };
        assert_eq!(*fields[0].tags, ["PII".into(), "X".into()]);
        assert_eq!(avro.get(fields[0].of), Some(&Type::Int(Logical::Time(1))));
        let Some(Type::Union { branches, null: Some(0) }) = avro.get(fields[1].of) else { panic!("a union") };
        assert_eq!(branches[1], avro.root);
        assert_eq!(fields[2].of, fields[3].of);
        assert!(matches!(avro.get(fields[3].of), Some(Type::Enum { default: 1, .. })));
    }

    #[test]
    fn references_define_names() {
        let reference = r#"{"type":"record","name":"x.Address","fields":[{"name":"street","type":"string"}]}"#;
        let text = r#"{"type":"record","name":"P","fields":[{"name":"home","type":"x.Address"}]}"#;
        assert!(Avro::parse(text, [reference].into_iter()).is_ok());
        assert!(parse(text).unwrap_err().contains("x.Address"));
    }

    #[test]
    fn what_has_no_encoding_is_refused() {
        for text in [
            "",
            "{",
            "7",
            "[]",
            r#"{"type":"record","name":"R"}"#,
            r#"{"type":"array"}"#,
            r#"{"type":"fixed","name":"F"}"#,
            r#"{"type":"what"}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&format!("{}\"int\"{}", "[".repeat(100), "]".repeat(100))).is_err());
        assert!(parse("string").is_ok());
    }
}
