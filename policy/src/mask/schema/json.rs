//! The tags of a JSON Schema (drafts 4 to 2020-12), as paths: `confluent:tags` of a property says the same
//! as a rule that names its path.
//!
//! A schema that is part of itself makes paths without an end: what it tags counts at any depth by its
//! name. Where it cannot be told what is tagged, a rule by tag cannot be followed, and the reason is kept.

use serde_json::{Map, Value};

use super::super::path::{Path, STEPS_MAX, Step};

/// Schemas within each other, by references or their text.
const DEPTH_MAX: usize = 256;
/// Parts of schemas that are looked at.
const VISITS_MAX: usize = 65_536;
/// Paths that a schema may tag.
const PATHS_MAX: usize = 4_096;
/// The property that names tags.
const TAGS: &str = "confluent:tags";

/// What a schema tags.
#[derive(Debug, Default)]
pub(in crate::mask) struct Tagged {
    /// Tags and what they stand at.
    pub(in crate::mask) paths: Vec<(Box<str>, Path)>,
    /// Why there may be more.
    pub(in crate::mask) incomplete: Option<String>,
}

impl Tagged {
    /// Reads a schema that may refer to `references` by their names.
    pub(in crate::mask) fn parse(text: &str, references: &[(String, String)]) -> Self {
        let documents: Result<Vec<(&str, Value)>, serde_json::Error> = [("", text)]
            .into_iter()
            .chain(references.iter().map(|(name, text)| (name.as_str(), text.as_str())))
            .map(|(name, text)| Ok((name, serde_json::from_str(text)?)))
            .collect();
        let documents = match documents {
            Ok(documents) => documents,
            Err(error) => return Self { incomplete: Some(format!("it is no JSON: {error}")), ..Self::default() },
        };
        let tagged = Self::default();
        let mut reading =
            Reading { documents: &documents, tagged, visits: 0, depth: 0, within: Vec::new(), is_cyclic: false };
        if let Some((_, root)) = documents.first() {
            reading.within.push(root);
            reading.schema(0, root, &mut Vec::new());
        }
        reading.tagged
    }
}

struct Reading<'d> {
    documents: &'d [(&'d str, Value)],
    tagged: Tagged,
    visits: usize,
    /// Schemas within each other.
    depth: usize,
    /// References that are being followed.
    within: Vec<&'d Value>,
    /// A schema is part of itself.
    is_cyclic: bool,
}

impl<'d> Reading<'d> {
    fn give_up(&mut self, reason: String) {
        self.tagged.incomplete.get_or_insert(reason);
    }

    /// Reads a schema in the document of this number, to which `steps` lead.
    fn schema(&mut self, document: usize, schema: &'d Value, steps: &mut Vec<Step>) {
        // `true` and `false` are schemas, too.
        let Value::Object(object) = schema else { return };
        self.visits += 1;
        if self.visits > VISITS_MAX || steps.len() > STEPS_MAX || self.depth >= DEPTH_MAX {
            return self.give_up("it is too large or too deep for its tags to be told".to_owned());
        }
        self.depth += 1;
        self.tags(object, steps);
        for (keyword, value) in object {
            match (keyword.as_str(), value) {
                ("properties", Value::Object(members)) => {
                    for (name, member) in members {
                        self.below(document, member, Step::Member(name.as_str().into()), steps);
                    }
                }
                ("patternProperties", Value::Object(members)) => {
                    members.values().for_each(|member| self.below(document, member, Step::All, steps));
                }
                ("items" | "prefixItems", Value::Array(items)) => {
                    for (index, item) in (0..).zip(items) {
                        self.below(document, item, Step::Element(index), steps);
                    }
                }
                (
                    "items"
                    | "additionalItems"
                    | "unevaluatedItems"
                    | "contains"
                    | "additionalProperties"
                    | "unevaluatedProperties",
                    item,
                ) => self.below(document, item, Step::All, steps),
                ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                    parts.iter().for_each(|part| self.schema(document, part, steps));
                }
                ("if" | "then" | "else" | "not", part) => self.schema(document, part, steps),
                ("dependentSchemas" | "dependencies", Value::Object(parts)) => {
                    parts.values().for_each(|part| self.schema(document, part, steps));
                }
                ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                    self.reference(document, reference, steps);
                }
                _ => {}
            }
        }
        self.depth -= 1;
    }

    fn below(&mut self, document: usize, schema: &'d Value, step: Step, steps: &mut Vec<Step>) {
        steps.push(step);
        self.schema(document, schema, steps);
        steps.pop();
    }

    fn reference(&mut self, document: usize, reference: &str, steps: &mut Vec<Step>) {
        let Some((document, target)) = self.find(document, reference) else {
            return self.give_up(format!("it refers to `{reference}`, which is not there"));
        };
        if self.within.iter().any(|known| std::ptr::eq(*known, target)) {
            return self.everywhere();
        }
        self.within.push(target);
        self.schema(document, target, steps);
        self.within.pop();
    }

    /// What `reference` leads to, and the document that is in.
    fn find(&self, document: usize, reference: &str) -> Option<(usize, &'d Value)> {
        let (name, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let documents = self.documents;
        let is_it = |(known, value): &(&str, Value)| {
            let id = value.get("$id").or_else(|| value.get("id")).and_then(Value::as_str);
            *known == name || id.is_some_and(|id| id.trim_end_matches('#') == name)
        };
        let document = if name.is_empty() { document } else { documents.iter().position(is_it)? };
        let (_, root) = documents.get(document)?;
        let found = if pointer.is_empty() || pointer.starts_with('/') {
            let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8().ok()?;
            root.pointer(&pointer)?
        } else {
            anchored(root, pointer, STEPS_MAX)?
        };
        Some((document, found))
    }

    /// What is tagged anywhere: by its name, wherever it is.
    fn everywhere(&mut self) {
        if !std::mem::replace(&mut self.is_cyclic, true) {
            self.documents.iter().for_each(|(_, document)| self.by_name(document, None));
        }
    }

    fn by_name(&mut self, schema: &'d Value, name: Option<&'d str>) {
        match schema {
            Value::Object(object) => {
                for tag in tags(object) {
                    match name {
                        Some(name) => self.push(tag, vec![Step::Deep(name.into())]),
                        None => self.give_up("it is part of itself, and tags what has no name".to_owned()),
                    }
                }
                for (keyword, value) in object {
                    match (keyword.as_str(), value) {
                        ("properties", Value::Object(members)) => {
                            members.iter().for_each(|(name, member)| self.by_name(member, Some(name)));
                        }
                        // What is defined there is named where it is referred to.
                        ("$defs" | "definitions", value) => self.by_name(value, None),
                        (_, value) => self.by_name(value, name),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.by_name(item, name)),
            _ => {}
        }
    }

    fn tags(&mut self, object: &Map<String, Value>, steps: &[Step]) {
        for tag in tags(object) {
            // The whole document is all that is in it.
            let steps = if steps.is_empty() { vec![Step::All] } else { steps.to_vec() };
            self.push(tag, steps);
        }
    }

    fn push(&mut self, tag: &str, steps: Vec<Step>) {
        let path = Path::of(steps);
        if self.tagged.paths.iter().any(|known| *known.0 == *tag && known.1 == path) {
            return;
        }
        if self.tagged.paths.len() >= PATHS_MAX {
            return self.give_up(format!("it tags more than {PATHS_MAX} fields"));
        }
        self.tagged.paths.push((tag.into(), path));
    }
}

fn tags(object: &Map<String, Value>) -> impl Iterator<Item = &str> {
    object.get(TAGS).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The part of a schema with this `$anchor`.
fn anchored<'d>(schema: &'d Value, anchor: &str, depth: usize) -> Option<&'d Value> {
    let depth = depth.checked_sub(1)?;
    match schema {
        Value::Object(object) => {
            let is_it = |name: &str| object.get(name).and_then(Value::as_str) == Some(anchor);
            if is_it("$anchor") || is_it("$dynamicAnchor") {
                return Some(schema);
            }
            object.values().find_map(|value| anchored(value, anchor, depth))
        }
        Value::Array(items) => items.iter().find_map(|value| anchored(value, anchor, depth)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, references: &[(&str, &str)], expected: &[&str]) {
        let references: Vec<_> =
            references.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let tagged = Tagged::parse(text, &references);
        assert_eq!(tagged.incomplete, None);
        let paths: Vec<String> = tagged.paths.iter().map(|(tag, path)| format!("{tag} {path}")).collect();
        assert_eq!(paths, expected);
    }

    #[test]
    fn tags_stand_at_paths() {
        check(
            r##"{"properties": {
                "a": {"type": "string", "confluent:tags": ["PII", "X"]},
                "b": {"type": "array", "items": {"properties": {"c": {"confluent:tags": ["PII"]}}}},
                "d": {"additionalProperties": {"confluent:tags": ["PII"]}},
                "e": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/E"}]},
                "f": {"prefixItems": [true, {"confluent:tags": ["PII"]}]},
                "g": {"$ref": "other.json#/definitions/G"}, "h": {"$ref": "#anchor"}},
              "$defs": {"E": {"properties": {"f g": {"confluent:tags": ["X"]}}}, "H": {"$anchor": "anchor",
                "confluent:tags": ["X"]}}}"##,
            &[("other.json", r#"{"definitions": {"G": {"confluent:tags": ["PII"]}}}"#)],
            &[
                "PII $['a']",
                "X $['a']",
                "PII $['b'][*]['c']",
                "PII $['d'][*]",
                "X $['e']['f g']",
                "PII $['f'][1]",
                "PII $['g']",
                "X $['h']",
            ],
        );
        check(r#"{"confluent:tags": ["PII"]}"#, &[], &["PII $[*]"]);
        check("true", &[], &[]);
    }

    #[test]
    fn what_is_part_of_itself_counts_by_name() {
        let text = r##"{"properties": {"name": {"confluent:tags": ["PII"]}, "next": {"$ref": "#"}}}"##;
        check(text, &[], &["PII $['name']", "PII $..['name']"]);
    }

    #[test]
    fn it_is_said_what_cannot_be_told() {
        let incomplete = |text: &str| Tagged::parse(text, &[]).incomplete.unwrap();
        assert!(incomplete("{").contains("no JSON"));
        assert!(incomplete(r#"{"items": {"$ref": "gone.json"}}"#).contains("gone.json"));
        let cycle =
            r##"{"$ref": "#/$defs/A", "$defs": {"A": {"confluent:tags": ["X"], "items": {"$ref": "#/$defs/A"}}}}"##;
        assert!(incomplete(cycle).contains("part of itself"));
        let chain: String = (0..1000).map(|n| format!(r##""{n}": {{"$ref": "#/$defs/{}"}},"##, n + 1)).collect();
        let chain = format!(r##"{{"$ref": "#/$defs/0", "$defs": {{{chain} "1000": true}}}}"##);
        assert!(incomplete(&chain).contains("too deep"));
    }
}
