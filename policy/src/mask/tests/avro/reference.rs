//! A slow encoder and decoder of Avro for the tests: by the schema's JSON, value by value, and without a
//! line in common with the walker. (What stock clients make of masked records is tested with a broker.)

use std::collections::HashMap;

use serde_json::Value as Json;

/// A datum. Maps are compared without order.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::mask::tests) enum Value {
    Null,
    Boolean(bool),
    Int(i32),
    Long(i64),
    Date(i32),
    TimestampMillis(i64),
    Float(f32),
    Double(f64),
    Bytes(Vec<u8>),
    Decimal(Vec<u8>),
    Fixed(usize, Vec<u8>),
    String(String),
    Enum(u32, String),
    Array(Vec<Value>),
    Map(HashMap<String, Value>),
    Union(u32, Box<Value>),
    Record(Vec<(String, Value)>),
}

/// A schema and the names that it defines.
pub(in crate::mask::tests) struct Reference {
    root: Json,
    names: HashMap<String, Json>,
}

impl Reference {
    pub(in crate::mask::tests) fn new(text: &str) -> Self {
        fn gather(schema: &Json, names: &mut HashMap<String, Json>) {
            match schema {
                Json::Object(object) => {
                    if let (Some(name), Some(_)) = (object.get("name"), object.get("type").filter(|of| of.is_string()))
                    {
                        names.entry(name.as_str().unwrap().to_owned()).or_insert_with(|| schema.clone());
                    }
                    object.values().for_each(|value| gather(value, names));
                }
                Json::Array(list) => list.iter().for_each(|value| gather(value, names)),
                _ => {}
            }
        }
        let root: Json = serde_json::from_str(text).unwrap();
        let mut names = HashMap::new();
        gather(&root, &mut names);
        // A field of a primitive type has a name and a type too, and is no named type.
        names.retain(|_, schema| matches!(schema["type"].as_str(), Some("record" | "enum" | "fixed")));
        Self { root, names }
    }

    pub(in crate::mask::tests) fn encode(&self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&self.root, value, &mut out);
        out
    }

    pub(in crate::mask::tests) fn decode(&self, mut bytes: &[u8]) -> Value {
        let value = self.read(&self.root, &mut bytes);
        assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
        value
    }

    fn write(&self, schema: &Json, value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Null => {}
            Value::Boolean(value) => out.push(u8::from(*value)),
            Value::Int(value) | Value::Date(value) => long(i64::from(*value), out),
            Value::Long(value) | Value::TimestampMillis(value) => long(*value, out),
            Value::Float(value) => out.extend(value.to_le_bytes()),
            Value::Double(value) => out.extend(value.to_le_bytes()),
            Value::Bytes(value) | Value::Decimal(value) => sized(value, out),
            Value::Fixed(_, value) => out.extend(value),
            Value::String(value) => sized(value.as_bytes(), out),
            Value::Enum(index, _) => long(i64::from(*index), out),
            Value::Union(index, value) => {
                long(i64::from(*index), out);
                self.write(&self.resolved(schema)[*index as usize], value, out);
            }
            Value::Array(items) => {
                let schema = &self.resolved(schema)["items"];
                if !items.is_empty() {
                    long(items.len() as i64, out);
                }
                items.iter().for_each(|item| self.write(schema, item, out));
                out.push(0);
            }
            Value::Map(entries) => {
                let schema = &self.resolved(schema)["values"];
                if !entries.is_empty() {
                    long(entries.len() as i64, out);
                }
                for (key, value) in entries {
                    sized(key.as_bytes(), out);
                    self.write(schema, value, out);
                }
                out.push(0);
            }
            Value::Record(fields) => {
                let members = self.resolved(schema)["fields"].as_array().unwrap();
                assert_eq!(members.len(), fields.len());
                for (member, (name, value)) in members.iter().zip(fields) {
                    assert_eq!(member["name"], **name);
                    self.write(&member["type"], value, out);
                }
            }
        }
    }

    /// What a name or a nested type stands for.
    fn resolved<'a>(&'a self, schema: &'a Json) -> &'a Json {
        match schema {
            Json::String(name) => self.names.get(name).unwrap_or(schema),
            Json::Object(object) if !object["type"].is_string() => self.resolved(&object["type"]),
            _ => schema,
        }
    }

    fn read(&self, schema: &Json, bytes: &mut &[u8]) -> Value {
        let schema = self.resolved(schema);
        if let Json::Array(branches) = schema {
            let index = read_long(bytes);
            return Value::Union(index as u32, Box::new(self.read(&branches[index as usize], bytes)));
        }
        let kind = schema.as_str().or_else(|| schema["type"].as_str()).unwrap();
        let logical = if schema.is_object() { schema["logicalType"].as_str().unwrap_or_default() } else { "" };
        match (kind, logical) {
            ("null", _) => Value::Null,
            ("boolean", _) => Value::Boolean(take(bytes, 1)[0] == 1),
            ("int", "date") => Value::Date(read_long(bytes) as i32),
            ("int", _) => Value::Int(i32::try_from(read_long(bytes)).unwrap()),
            ("long", "timestamp-millis") => Value::TimestampMillis(read_long(bytes)),
            ("long", _) => Value::Long(read_long(bytes)),
            ("float", _) => Value::Float(f32::from_le_bytes(take(bytes, 4).try_into().unwrap())),
            ("double", _) => Value::Double(f64::from_le_bytes(take(bytes, 8).try_into().unwrap())),
            ("bytes", "decimal") => Value::Decimal(read_sized(bytes)),
            ("bytes", _) => Value::Bytes(read_sized(bytes)),
            ("string", _) => Value::String(String::from_utf8(read_sized(bytes)).unwrap()),
            ("fixed", _) => {
                let size = schema["size"].as_u64().unwrap() as usize;
                Value::Fixed(size, take(bytes, size).to_vec())
            }
            ("enum", _) => {
                let index = read_long(bytes);
                Value::Enum(index as u32, schema["symbols"][index as usize].as_str().unwrap().to_owned())
            }
            ("array", _) => {
                let mut items = Vec::new();
                blocks(bytes, |bytes| items.push(self.read(&schema["items"], bytes)));
                Value::Array(items)
            }
            ("map", _) => {
                let mut entries = HashMap::new();
                blocks(bytes, |bytes| {
                    let key = String::from_utf8(read_sized(bytes)).unwrap();
                    entries.insert(key, self.read(&schema["values"], bytes));
                });
                Value::Map(entries)
            }
            ("record", _) => {
                let fields = schema["fields"].as_array().unwrap().iter();
                Value::Record(
                    fields
                        .map(|field| (field["name"].as_str().unwrap().to_owned(), self.read(&field["type"], bytes)))
                        .collect(),
                )
            }
            other => panic!("{other:?}"),
        }
    }
}

fn blocks<'b>(bytes: &mut &'b [u8], mut item: impl FnMut(&mut &'b [u8])) {
    loop {
        match read_long(bytes) {
            0 => return,
            count if count < 0 => {
                let length = read_long(bytes) as usize;
                let before = bytes.len();
                (0..-count).for_each(|_| item(bytes));
                assert_eq!(before - bytes.len(), length, "a block has its length");
            }
            count => (0..count).for_each(|_| item(bytes)),
        }
    }
}

fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = i128::from(value);
    rest = if rest < 0 { -2 * rest - 1 } else { 2 * rest };
    loop {
        let low = (rest % 128) as u8;
        rest /= 128;
        out.push(if rest > 0 { low + 128 } else { low });
        if rest == 0 {
            return;
        }
    }
}

fn read_long(bytes: &mut &[u8]) -> i64 {
    let (mut value, mut factor) = (0i128, 1i128);
    loop {
        let byte = i128::from(take(bytes, 1)[0]);
        value += byte % 128 * factor;
        factor *= 128;
        if byte < 128 {
            let number = if value % 2 == 0 { value / 2 } else { -(value + 1) / 2 };
            return i64::try_from(number).unwrap();
        }
    }
}

fn sized(bytes: &[u8], out: &mut Vec<u8>) {
    long(bytes.len() as i64, out);
    out.extend(bytes);
}

fn read_sized(bytes: &mut &[u8]) -> Vec<u8> {
    let length = read_long(bytes) as usize;
    take(bytes, length).to_vec()
}

fn take<'b>(bytes: &mut &'b [u8], length: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}
