//! Holds a tree against a JSON Schema and says in people's words what does not fit.
//!
//! Unknown keys are reported and then taken out of the tree, so that what remains can still be
//! read as the type and checked further: people get all their mistakes in one run.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use super::problem::{Problem, join_index, join_key, nearest, shortened};
use super::text::FORMATS;
use super::tree::Tree;

/// Keys or values that a message lists at most.
const LISTED_MAX: usize = 16;

/// Every way in which `tree` does not fit `schema`. Unknown keys are gone from `tree` afterwards.
pub(super) fn check(tree: &mut Tree, schema: &Value) -> Vec<Problem> {
    let validator = match crate::schema::validator(schema) {
        Ok(validator) => validator,
        Err(reason) => return vec![tree.problem("", format!("Tidegate's own schema is broken, a bug: {reason}"))],
    };
    let mut findings = Findings { schema, tree, problems: Vec::new(), unknown: Vec::new(), misspelt: Vec::new() };
    for error in validator.iter_errors(&tree.value) {
        findings.add(&error);
    }
    let Findings { mut problems, unknown, misspelt, .. } = findings;
    problems
        .retain(|problem| !misspelt.iter().any(|(path, key)| problem.path == *path && problem.message == missing(key)));
    for (parent, key) in unknown {
        if let Some(Value::Object(entries)) = tree.value.pointer_mut(&parent) {
            entries.remove(&key);
        }
    }
    problems
}

struct Findings<'a> {
    schema: &'a Value,
    tree: &'a Tree,
    problems: Vec<Problem>,
    /// JSON pointer of the map, and the key in it.
    unknown: Vec<(String, String)>,
    /// Path of the map, and the key that one of its unknown keys was meant to be: that this one is
    /// missing need not be said as well.
    misspelt: Vec<(String, String)>,
}

impl Findings<'_> {
    fn add(&mut self, error: &ValidationError<'_>) {
        let path = path_of(error.instance_path());
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                for key in unexpected {
                    let message = self.unknown_key(&path, error, key);
                    self.problems.push(self.tree.problem(&join_key(&path, key), message));
                    self.unknown.push((error.instance_path().as_str().to_owned(), key.clone()));
                }
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => self.add_best_branch(error, &path, context),
            _ => self.problems.push(self.tree.problem(&path, message(error))),
        }
    }

    /// Of several forms that a value may have, the one it most likely was meant to have speaks.
    fn add_best_branch(&mut self, error: &ValidationError<'_>, path: &str, context: &[Vec<ValidationError<'static>>]) {
        let here = error.instance_path();
        let options = options_at(here, context);
        let is_text = error.instance().is_string();
        if is_text && !options.is_empty() {
            self.problems.push(self.tree.problem(path, unknown_value(error.instance(), &options)));
            return;
        }
        let candidates = context.iter().filter(|branch| !branch.iter().any(|e| is_other_form(e, here)));
        if let Some((path, message)) = wrong_tag(here, candidates.clone()) {
            self.problems.push(self.tree.problem(&path, message));
            return;
        }
        let best = candidates.min_by_key(|branch| {
            let other_tag = tag_errors(branch, here).next().is_some();
            (other_tag, missing_at(branch, here).is_some(), branch.len())
        });
        match best {
            Some(branch) => branch.iter().for_each(|error| self.add(error)),
            None => {
                let mut forms: Vec<&str> = context.iter().flatten().flat_map(|e| forms_at(e, here)).collect();
                forms.dedup();
                forms.retain(|form| *form != "null");
                let message = wrong_form(&forms, error.instance());
                self.problems.push(self.tree.problem(path, message));
            }
        }
    }

    fn unknown_key(&mut self, path: &str, error: &ValidationError<'_>, key: &str) -> String {
        let keyword = error.schema_path().as_str();
        let owner = keyword.rsplit_once('/').map_or("", |(owner, _)| owner);
        let known: Vec<&str> = self
            .schema
            .pointer(owner)
            .and_then(|owner| owner.get("properties"))
            .and_then(Value::as_object)
            .map(|properties| properties.keys().map(String::as_str).collect())
            .unwrap_or_default();
        match nearest(key, known.iter().copied()) {
            Some(meant) => {
                self.misspelt.push((path.to_owned(), meant.to_owned()));
                format!("unknown key; did you mean `{meant}`?")
            }
            None if known.is_empty() => "unknown key".to_owned(),
            None => format!("unknown key; known here: {}", listed(&known)),
        }
    }
}

/// Whether the error says that the value is of another form altogether (a text where this branch
/// wants a map).
fn is_other_form(error: &ValidationError<'_>, here: &Location) -> bool {
    match error.kind() {
        Kind::Type { .. } | Kind::Constant { .. } | Kind::Enum { .. } => error.instance_path() == here,
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } if error.instance_path() == here => {
            context.iter().all(|branch| branch.iter().any(|e| is_other_form(e, here)))
        }
        _ => false,
    }
}

/// What is wrong with the tag that tells the forms of a map apart, if that is what is wrong: a key
/// that none of the forms has (`{keep_last: 4}`), or a value under a key that all have (`type: plain`).
fn wrong_tag<'e, 'v: 'e>(
    here: &Location,
    forms: impl Iterator<Item = &'e Vec<ValidationError<'v>>> + Clone,
) -> Option<(String, String)> {
    let count = forms.clone().count();
    let mut keys: Vec<&str> = forms.clone().filter_map(|form| missing_at(form, here)).collect();
    if count > 1 && keys.len() == count {
        keys.dedup();
        let message = match keys.as_slice() {
            [key] => missing(key),
            keys => format!("expected one of the keys {}", listed(keys)),
        };
        return Some((path_of(here), message));
    }
    let wrong: Vec<&ValidationError<'v>> = forms.filter_map(|form| tag_errors(form, here).next()).collect();
    let (first, rest) = wrong.split_first()?;
    if wrong.len() < count || rest.iter().any(|error| error.instance_path() != first.instance_path()) {
        return None;
    }
    let options: Vec<String> = wrong.iter().flat_map(|error| options_of(error)).collect();
    Some((path_of(first.instance_path()), unknown_value(first.instance(), &options)))
}

/// The errors of a branch that say that a value directly under `here` is not the fixed one.
fn tag_errors<'e, 'v>(
    branch: &'e [ValidationError<'v>],
    here: &Location,
) -> impl Iterator<Item = &'e ValidationError<'v>> {
    let depth = here.segments().count() + 1;
    branch.iter().filter(move |error| {
        matches!(error.kind(), Kind::Constant { .. }) && error.instance_path().segments().count() == depth
    })
}

/// A key that the branch requires and the map at `here` lacks.
fn missing_at<'e>(branch: &'e [ValidationError<'_>], here: &Location) -> Option<&'e str> {
    branch.iter().filter(|error| error.instance_path() == here).find_map(|error| match error.kind() {
        Kind::Required { property } => property.as_str(),
        _ => None,
    })
}

fn missing(key: &str) -> String {
    format!("the key `{key}` is missing")
}

/// The texts that would be accepted at `here`, through all branches.
fn options_at(here: &Location, context: &[Vec<ValidationError<'static>>]) -> Vec<String> {
    context.iter().flatten().filter(|error| error.instance_path() == here).flat_map(options_of).collect()
}

fn options_of(error: &ValidationError<'_>) -> Vec<String> {
    match error.kind() {
        Kind::Constant { expected_value } => expected_value.as_str().map(str::to_owned).into_iter().collect(),
        Kind::Enum { options } => texts(options),
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => options_at(error.instance_path(), context),
        _ => Vec::new(),
    }
}

fn texts(values: &Value) -> Vec<String> {
    values.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The types that the error would accept at `here`.
fn forms_at(error: &ValidationError<'_>, here: &Location) -> Vec<&'static str> {
    if error.instance_path() != here {
        return Vec::new();
    }
    match error.kind() {
        Kind::Type { kind } => forms(kind),
        Kind::Constant { expected_value } => vec![form_of(expected_value)],
        Kind::Enum { .. } => vec!["a text"],
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            context.iter().flatten().flat_map(|e| forms_at(e, here)).collect()
        }
        _ => Vec::new(),
    }
}

fn forms(kind: &TypeKind) -> Vec<&'static str> {
    let name = |json: JsonType| match json {
        JsonType::Null => "null",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::String => "a text",
        JsonType::Array => "a list",
        JsonType::Object => "a map",
    };
    match kind {
        TypeKind::Single(json) => vec![name(*json)],
        TypeKind::Multiple(set) => set.iter().map(name).filter(|form| *form != "null").collect(),
    }
}

fn form_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn wrong_form(expected: &[&str], found: &Value) -> String {
    let expected = if expected.is_empty() { "something else".to_owned() } else { expected.join(" or ") };
    match found {
        Value::Null => format!("a value is missing; expected {expected}"),
        Value::Bool(_) | Value::Number(_) if expected.contains("a text") => {
            format!("expected {expected}, not {}; put `{found}` in quotes", form_of(found))
        }
        Value::String(text) => format!("expected {expected}, not the text `{}`", shortened(text)),
        _ => format!("expected {expected}, not {}", form_of(found)),
    }
}

fn unknown_value(found: &Value, options: &[String]) -> String {
    let Some(found) = found.as_str() else {
        return format!("expected one of {}", listed(options));
    };
    let hint = match nearest(found, options.iter().map(String::as_str)) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => String::new(),
    };
    format!("`{}` is not one of {}{hint}", shortened(found), listed(options))
}

fn listed<S: AsRef<str>>(words: &[S]) -> String {
    let mut all: Vec<String> = words.iter().take(LISTED_MAX).map(|word| format!("`{}`", word.as_ref())).collect();
    if words.len() > LISTED_MAX {
        all.push("…".to_owned());
    }
    all.join(", ")
}

fn message(error: &ValidationError<'_>) -> String {
    let found = error.instance();
    match error.kind() {
        Kind::Required { property } => missing(property.as_str().unwrap_or_default()),
        Kind::Type { kind } => wrong_form(&forms(kind), found),
        Kind::Enum { options } => unknown_value(found, &texts(options)),
        Kind::Constant { expected_value } => match expected_value.as_str() {
            Some(option) => unknown_value(found, &[option.to_owned()]),
            None => format!("must be {expected_value}"),
        },
        Kind::Format { format } => {
            let text = found.as_str().unwrap_or_default();
            let known = FORMATS.iter().find(|known| known.name == format);
            known.and_then(|known| (known.check)(text).err()).unwrap_or_else(|| format!("not a valid {format}"))
        }
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MinLength { limit: 1 } | Kind::MinItems { limit: 1 } => "must not be empty".to_owned(),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::MinProperties { limit } => format!("must have at least {limit} keys"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} keys"),
        Kind::UniqueItems => "has the same item twice".to_owned(),
        Kind::OneOfMultipleValid { .. } => "more than one form fits; give only one".to_owned(),
        _ => shortened(&error.to_string()),
    }
}

/// The path as people write it.
fn path_of(location: &Location) -> String {
    location.segments().fold(String::new(), |path, segment| match segment {
        LocationSegment::Property(key) => join_key(&path, &key),
        LocationSegment::Index(index) => join_index(&path, index),
    })
}
