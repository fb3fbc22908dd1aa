//! Protobuf's descriptors (`google/protobuf/descriptor.proto`), compiled to an arena of messages.
//!
//! Of descriptors only what walking takes is declared; Confluent's tags are the option 1088 of fields and
//! messages (`confluent/meta.proto`).

use std::collections::HashMap;

use prost::Message as _;

mod source;

/// Messages of one schema, its references' included.
const MESSAGES_MAX: usize = 16_384;
/// Messages declared within each other.
const DEPTH_MAX: usize = 32;
/// `FieldDescriptorProto.Label`.
const REQUIRED: i32 = 2;
const REPEATED: i32 = 3;

/// A message, by its place in the arena.
pub(in crate::mask) type MessageId = u32;

/// A schema.
#[derive(Debug, Default)]
pub(in crate::mask) struct Protobuf {
    messages: Vec<Message>,
    enums: Vec<Vec<(Box<str>, i32)>>,
    /// Those that the schema's own file declares, in its order.
    roots: Vec<MessageId>,
}

/// A message.
#[derive(Debug, Default)]
pub(in crate::mask) struct Message {
    /// By number.
    numbers: HashMap<u32, usize>,
    pub(in crate::mask) fields: Vec<Field>,
    /// Those that it declares, in its order.
    nested: Vec<MessageId>,
    pub(in crate::mask) is_entry: bool,
    pub(in crate::mask) tags: Box<[Box<str>]>,
}

/// A field of a message.
#[derive(Debug)]
pub(in crate::mask) struct Field {
    pub(in crate::mask) name: Box<str>,
    pub(in crate::mask) json_name: Box<str>,
    pub(in crate::mask) number: u32,
    pub(in crate::mask) kind: Kind,
    pub(in crate::mask) repeated: bool,
    pub(in crate::mask) required: bool,
    pub(in crate::mask) tags: Box<[Box<str>]>,
}

/// What stands in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mask) enum Kind {
    Number(Number),
    Bool,
    /// By its place in the arena.
    Enum(u32),
    Float,
    Double,
    String,
    Bytes,
    Message(MessageId),
    Group(MessageId),
}

/// A whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mask) struct Number {
    pub(in crate::mask) wire: Wire,
    pub(in crate::mask) signed: bool,
    pub(in crate::mask) wide: bool,
}

/// How a whole number is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mask) enum Wire {
    Varint,
    ZigZag,
    Fixed,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FilesProto {
    #[prost(message, repeated, tag = "1")]
    files: Vec<FileProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FileProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "4")]
    messages: Vec<MessageProto>,
    #[prost(message, repeated, tag = "5")]
    enums: Vec<EnumProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MessageProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    fields: Vec<FieldProto>,
    #[prost(message, repeated, tag = "3")]
    nested: Vec<MessageProto>,
    #[prost(message, repeated, tag = "4")]
    enums: Vec<EnumProto>,
    #[prost(message, optional, tag = "7")]
    options: Option<OptionsProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FieldProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    number: i32,
    #[prost(int32, tag = "4")]
    label: i32,
    #[prost(int32, tag = "5")]
    kind: i32,
    #[prost(string, tag = "6")]
    type_name: String,
    #[prost(message, optional, tag = "8")]
    options: Option<FieldOptionsProto>,
    #[prost(string, tag = "10")]
    json_name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OptionsProto {
    #[prost(bool, tag = "7")]
    map_entry: bool,
    #[prost(message, optional, tag = "1088")]
    meta: Option<MetaProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FieldOptionsProto {
    #[prost(message, optional, tag = "1088")]
    meta: Option<MetaProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetaProto {
    #[prost(string, repeated, tag = "3")]
    tags: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EnumProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    values: Vec<EnumValueProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EnumValueProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    number: i32,
}

impl Protobuf {
    /// Reads the text of a schema, or its descriptor in base64, that may import `references` by their
    /// names.
    pub(in crate::mask) fn parse<'t>(
        text: &'t str,
        references: impl Iterator<Item = (&'t str, &'t str)>,
    ) -> Result<Self, String> {
        let set = source::descriptors(text, references)?;
        let set = FilesProto::decode(set.as_slice()).map_err(|error| format!("its descriptor: {error}"))?;
        let mut reading = Reading::default();
        let mut roots = Vec::new();
        for file in &set.files {
            let declared = reading.declare_file(file)?;
            if file.name == source::ROOT {
                roots = declared;
            }
        }
        for file in &set.files {
            for message in &file.messages {
                reading.define(message, &prefix(&file.package))?;
            }
        }
        Ok(Self { messages: reading.messages, enums: reading.enums, roots })
    }

    pub(in crate::mask) fn get(&self, id: MessageId) -> Option<&Message> {
        self.messages.get(id as usize)
    }

    /// The symbols of an enum and their numbers.
    pub(in crate::mask) fn symbols(&self, id: u32) -> &[(Box<str>, i32)] {
        self.enums.get(id as usize).map_or(&[], Vec::as_slice)
    }

    /// The message that a payload's indexes name: one of the file's, one declared in that, and so on.
    pub(in crate::mask) fn at(&self, indexes: &[usize]) -> Option<MessageId> {
        let (first, rest) = indexes.split_first()?;
        let root = self.roots.get(*first).copied()?;
        rest.iter().try_fold(root, |message, index| self.get(message)?.nested.get(*index).copied())
    }
}

impl Message {
    /// The index of the field with this number.
    pub(in crate::mask) fn index(&self, number: u32) -> Option<usize> {
        self.numbers.get(&number).copied()
    }
}

fn prefix(package: &str) -> String {
    if package.is_empty() { String::new() } else { format!(".{package}") }
}

#[derive(Default)]
struct Reading {
    messages: Vec<Message>,
    enums: Vec<Vec<(Box<str>, i32)>>,
    /// By full name, with a dot before.
    names: HashMap<String, Named>,
}

#[derive(Clone, Copy)]
enum Named {
    Message(MessageId),
    Enum(u32),
}

impl Reading {
    fn declare_file(&mut self, file: &FileProto) -> Result<Vec<MessageId>, String> {
        let scope = prefix(&file.package);
        self.declare_enums(&file.enums, &scope);
        file.messages.iter().map(|message| self.declare(message, &scope, DEPTH_MAX)).collect()
    }

    fn declare_enums(&mut self, enums: &[EnumProto], scope: &str) {
        for declared in enums {
            let values = declared.values.iter().map(|value| (value.name.as_str().into(), value.number));
            self.enums.push(values.collect());
            self.names.insert(format!("{scope}.{}", declared.name), Named::Enum(self.enums.len() as u32 - 1));
        }
    }

    fn declare(&mut self, message: &MessageProto, scope: &str, depth: usize) -> Result<MessageId, String> {
        let depth = depth.checked_sub(1).ok_or("its messages are declared too deep in each other")?;
        if self.messages.len() >= MESSAGES_MAX {
            return Err(format!("it has more than {MESSAGES_MAX} messages"));
        }
        let id = self.messages.len() as MessageId;
        self.messages.push(Message::default());
        let name = format!("{scope}.{}", message.name);
        self.names.insert(name.clone(), Named::Message(id));
        self.declare_enums(&message.enums, &name);
        let nested =
            message.nested.iter().map(|nested| self.declare(nested, &name, depth)).collect::<Result<_, _>>()?;
        let options = message.options.clone().unwrap_or_default();
        if let Some(declared) = self.messages.get_mut(id as usize) {
            declared.nested = nested;
            declared.is_entry = options.map_entry;
            declared.tags = tags(options.meta);
        }
        Ok(id)
    }

    fn define(&mut self, message: &MessageProto, scope: &str) -> Result<(), String> {
        let name = format!("{scope}.{}", message.name);
        let mut numbers = HashMap::new();
        let mut fields = Vec::new();
        for field in &message.fields {
            let number = u32::try_from(field.number).map_err(|_| "a field has no number")?;
            numbers.insert(number, fields.len());
            fields.push(Field {
                name: field.name.as_str().into(),
                json_name: field.json_name.as_str().into(),
                number,
                kind: self.kind(field, &name)?,
                repeated: field.label == REPEATED,
                required: field.label == REQUIRED,
                tags: tags(field.options.clone().unwrap_or_default().meta),
            });
        }
        if let Some(Named::Message(id)) = self.names.get(&name)
            && let Some(defined) = self.messages.get_mut(*id as usize)
        {
            (defined.numbers, defined.fields) = (numbers, fields);
        }
        message.nested.iter().try_for_each(|nested| self.define(nested, &name))
    }

    /// `FieldDescriptorProto.Type`.
    fn kind(&self, field: &FieldProto, scope: &str) -> Result<Kind, String> {
        let number = |wire, signed, wide| Kind::Number(Number { wire, signed, wide });
        Ok(match field.kind {
            1 => Kind::Double,
            2 => Kind::Float,
            3 => number(Wire::Varint, true, true),
            4 => number(Wire::Varint, false, true),
            5 => number(Wire::Varint, true, false),
            6 => number(Wire::Fixed, false, true),
            7 => number(Wire::Fixed, false, false),
            8 => Kind::Bool,
            9 => Kind::String,
            12 => Kind::Bytes,
            13 => number(Wire::Varint, false, false),
            15 => number(Wire::Fixed, true, false),
            16 => number(Wire::Fixed, true, true),
            17 => number(Wire::ZigZag, true, false),
            18 => number(Wire::ZigZag, true, true),
            0 | 10 | 11 | 14 => match self.resolve(&field.type_name, scope) {
                Some(Named::Message(id)) if field.kind == 10 => Kind::Group(id),
                Some(Named::Message(id)) => Kind::Message(id),
                Some(Named::Enum(id)) => Kind::Enum(id),
                None => return Err(format!("it names `{}`, which nobody declares", field.type_name)),
            },
            other => return Err(format!("a field has the unknown type {other}")),
        })
    }

    /// A full name begins with a dot; another is looked for from the inside out.
    fn resolve(&self, name: &str, scope: &str) -> Option<Named> {
        if name.starts_with('.') {
            return self.names.get(name).copied();
        }
        let mut scope = scope;
        loop {
            if let Some(named) = self.names.get(&format!("{scope}.{name}")) {
                return Some(*named);
            }
            (scope, _) = scope.rsplit_once('.')?;
        }
    }
}

fn tags(meta: Option<MetaProto>) -> Box<[Box<str>]> {
    meta.unwrap_or_default().tags.iter().map(|tag| tag.as_str().into()).collect()
}
