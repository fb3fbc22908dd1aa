//! Protobuf schemas as a registry serves them: the text of a `.proto` file, or its descriptor in base64.
//!
//! Texts are compiled by `protox`, which resolves every name and option. What they may import without a
//! reference is what Confluent's registry brings itself: Google's well-known files, `confluent/*` and the
//! types of `google/type` that are in use. No file of this machine is ever read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

/// What the schema itself is called: a name that no reference has.
pub(super) const ROOT: &str = "tidegate.schema";
/// Braces within each other in a text. Options nest without a bound in `protox`, which recurses.
const BRACES_MAX: usize = 64;

const BUILT_IN: [(&str, &str); 7] = [
    (
        "confluent/meta.proto",
        "syntax = \"proto3\"; package confluent; import \"google/protobuf/descriptor.proto\";
         message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
         extend google.protobuf.FileOptions { Meta file_meta = 1088; }
         extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
         extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
         extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
         extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }",
    ),
    (
        "confluent/type/decimal.proto",
        "syntax = \"proto3\"; package confluent.type;
         message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
    ),
    (
        "google/type/date.proto",
        "syntax = \"proto3\"; package google.type; message Date { int32 year = 1; int32 month = 2; int32 day = 3; }",
    ),
    (
        "google/type/timeofday.proto",
        "syntax = \"proto3\"; package google.type;
         message TimeOfDay { int32 hours = 1; int32 minutes = 2; int32 seconds = 3; int32 nanos = 4; }",
    ),
    (
        "google/type/money.proto",
        "syntax = \"proto3\"; package google.type;
         message Money { string currency_code = 1; int64 units = 2; int32 nanos = 3; }",
    ),
    (
        "google/type/latlng.proto",
        "syntax = \"proto3\"; package google.type; message LatLng { double latitude = 1; double longitude = 2; }",
    ),
    (
        "google/type/postal_address.proto",
        "syntax = \"proto3\"; package google.type;
         message PostalAddress {
           int32 revision = 1; string region_code = 2; string language_code = 3; string postal_code = 4;
           string sorting_code = 5; string administrative_area = 6; string locality = 7; string sublocality = 8;
           repeated string address_lines = 9; repeated string recipients = 10; string organization = 11;
         }",
    ),
];

/// The encoded `FileDescriptorSet` of a schema and all that it imports; its own file is called [`ROOT`].
///
/// # Errors
/// Why it cannot be compiled.
pub(super) fn descriptors<'t>(
    text: &'t str,
    references: impl Iterator<Item = (&'t str, &'t str)>,
) -> Result<Vec<u8>, String> {
    let mut resolver = ChainFileResolver::new();
    // What a schema refers to counts before what is built in.
    let given = references.map(|(name, text)| (name.to_owned(), text.to_owned()));
    resolver.add(Texts(given.chain([(ROOT.to_owned(), text.to_owned())]).collect()));
    resolver.add(GoogleFileResolver::new());
    resolver.add(Texts(BUILT_IN.map(|(name, text)| (name.to_owned(), text.to_owned())).into()));
    let mut compiler = Compiler::with_file_resolver(resolver);
    // With places in the source the set is encoded as it stands.
    compiler.include_imports(true).include_source_info(true);
    compiler.open_file(ROOT).map_err(|error| error.to_string())?;
    Ok(compiler.encode_file_descriptor_set())
}

/// Files by name.
struct Texts(Vec<(String, String)>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let (_, text) =
            self.0.iter().find(|(known, _)| known == name).ok_or_else(|| protox::Error::file_not_found(name))?;
        // No text of a schema is base64: it has spaces.
        if let Ok(mut descriptor) = STANDARD.decode(text.trim())
            && !descriptor.is_empty()
        {
            // Its name is what it is imported by: of a field that is there twice, the last counts.
            descriptor.push(10);
            prost::encoding::encode_varint(name.len() as u64, &mut descriptor);
            descriptor.extend_from_slice(name.as_bytes());
            return File::decode_file_descriptor_proto(descriptor.as_slice()).map_err(protox::Error::new);
        }
        if nests_deeper_than(text, BRACES_MAX) {
            return Err(protox::Error::new(format!("{name} nests deeper than {BRACES_MAX}")));
        }
        File::from_source(name, text)
    }
}

/// Whether more than `most` braces are open anywhere in a text, its strings and comments aside.
fn nests_deeper_than(text: &str, most: usize) -> bool {
    let bytes = text.as_bytes();
    let (mut at, mut open) = (0, 0usize);
    while let Some(byte) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        at += match (byte, rest.get(1)) {
            (b'{' | b'<', _) => {
                open += 1;
                if open > most {
                    return true;
                }
                1
            }
            (b'}' | b'>', _) => {
                open = open.saturating_sub(1);
                1
            }
            (b'/', Some(b'/')) | (b'#', _) => memchr::memchr(b'\n', rest).unwrap_or(rest.len()),
            (b'/', Some(b'*')) => memchr::memmem::find(rest, b"*/").map_or(rest.len(), |end| end + 2),
            (quote @ (b'"' | b'\''), _) => string_length(rest, *quote),
            _ => 1,
        };
    }
    false
}

/// The length of a string with its quotation marks.
fn string_length(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while let Some(next) = text.get(at..).and_then(|rest| memchr::memchr3(quote, b'\\', b'\n', rest)) {
        at += next + 1;
        match text.get(at - 1) {
            Some(b'\\') => at += 1,
            _ => return at,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_braces_that_count_are_counted() {
        assert!(!nests_deeper_than("message A { message B { map<string, string> c = 1; } }", 3));
        assert!(nests_deeper_than("message A { message B { map<string, string> c = 1; } }", 2));
        for hides in ["\"}\"", "'\\'}'", "// }\n", "/* } */", "# }\n"] {
            assert!(nests_deeper_than(&format!("{{ {hides} {{"), 1), "{hides}");
        }
        let deep = format!("syntax = \"proto3\"; message A {{ option (o) = {{{}}}; }}", "o {".repeat(100_000));
        assert!(descriptors(&deep, std::iter::empty()).unwrap_err().contains("nests deeper"));
    }

    #[test]
    fn what_cannot_be_compiled_is_refused() {
        for text in ["", "message", "syntax = \"proto3\"; import \"x.proto\";", "AAAA", "message A { B b = 1; }"] {
            let compiled = descriptors(text, std::iter::empty());
            // Nothing at all is an empty file for the compiler.
            assert!(compiled.is_err() || text.is_empty(), "{text:?}");
        }
        // A cycle.
        let imports = |name| format!("syntax = \"proto3\"; import \"{name}\";");
        let (a, b) = (imports("b"), imports("a"));
        assert!(descriptors(&imports("a"), [("a", &*a), ("b", &*b)].into_iter()).is_err());
    }
}
