//! Mask rules compiled: what they are about, in which records, and under which operator.
//!
//! Called once the checks have seen nothing wrong; where something is missing all the same, the
//! stricter is taken.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Mask, pattern, who};
use crate::document::{Parsed, Problem, join_index, join_key};
use crate::file::{ClassName, ColumnRule, CsvRule, FieldRule, MaskRule, Mode, OperatorRule, PolicyFile};
use crate::grant::Who;
use crate::mask::key::MaskKey;
use crate::mask::{CsvForm, Field, FieldClass, MaskEntry, Operator, Path, Selector, Split, Target};
use crate::scan::Extras;
use crate::scan::custom::CustomClass;
use crate::scan::region::Regions;
use crate::view::MaskInView;

/// The custom classes that compile, by name.
pub(super) type Classes = HashMap<String, Arc<CustomClass>>;

/// Compiles the policy's own classes.
pub(super) fn classes(file: &Parsed<PolicyFile>, problems: &mut Vec<Problem>) -> Classes {
    let mut classes = HashMap::new();
    for (index, rule) in file.value.classes.iter().enumerate() {
        match CustomClass::new(&rule.name, &rule.regex, rule.check, &rule.keywords) {
            Ok(class) => drop(classes.insert(rule.name.clone(), Arc::new(class))),
            Err(message) => {
                problems.push(file.problem(join_key(&join_index("classes", index), "regex"), message));
            }
        }
    }
    classes
}

/// Compiles a rule.
pub(super) fn mask(rule: &MaskRule, keys: &HashMap<String, MaskKey>, classes: &Classes) -> Mask {
    let operator = operator(&rule.operator, keys);
    let name: Arc<str> = rule.name.as_str().into();
    let csv = rule.csv.as_ref().map(|csv| Arc::new(form(csv)));
    let targets = rule.classes.iter().filter_map(|class| target(class, classes));
    let fields = rule.fields.iter().filter_map(field).map(|field| Target::Field(Arc::new(field)));
    let extras = Extras { regions: regions(&rule.phone_regions), base64_depth: rule.base64_depth };
    let splits = splits(rule).map(|split| Target::Split(Arc::new(split)));
    let entries = targets.chain(fields).chain(splits).map(|target| MaskEntry {
        operator: match &target {
            Target::Split(_) => Split::operator(&operator),
            _ => operator.clone(),
        },
        target,
        extras: extras.clone(),
        rule: name.clone(),
        keys: rule.keys,
        observes: rule.mode == Mode::Observe,
        csv: csv.clone(),
        framed: rule.schema_registry,
    });
    Mask {
        who: who(&rule.principals, &rule.groups, rule.everyone),
        except: rule.except.as_ref().map_or_else(Who::default, |except| who(&except.principals, &except.groups, false)),
        rule: MaskInView {
            topics: rule.topics.iter().map(pattern).collect(),
            directions: rule.directions.as_slice().into(),
            entries: entries.collect(),
            exempt: false,
        },
    }
}

fn operator(rule: &OperatorRule, keys: &HashMap<String, MaskKey>) -> Operator {
    // The checks have seen that every key that a rule names is there; without it nothing would be
    // left readable either.
    let keyed = |name: &String, operator: fn(MaskKey) -> Operator| {
        keys.get(name).map_or(Operator::Redact, |key| operator(key.clone()))
    };
    match rule {
        OperatorRule::Redact => Operator::Redact,
        OperatorRule::KeepLast(count) => Operator::KeepLast(*count),
        OperatorRule::Replace(text) => Operator::Replace(text.as_str().into()),
        OperatorRule::Nullify => Operator::Nullify,
        OperatorRule::Truncate(count) => Operator::Truncate(*count),
        OperatorRule::Generalise => Operator::Generalise,
        OperatorRule::Pseudonym(key) => keyed(key, Operator::Pseudonym),
        OperatorRule::Encrypt(key) => keyed(key, Operator::Encrypt),
        OperatorRule::DropRecord => Operator::DropRecord,
    }
}

fn target(class: &ClassName, classes: &Classes) -> Option<Target> {
    match class {
        ClassName::Known(class) => Some(Target::Class(*class)),
        ClassName::Custom(name) => classes.get(name).cloned().map(Target::Custom),
    }
}

/// The field that a rule names; `None` where it names none, which the checks refuse.
fn field(rule: &FieldRule) -> Option<Field> {
    let (selector, text) = match rule {
        FieldRule { path: Some(path), .. } => (Selector::Path(Path::parse(path).ok()?), path.clone()),
        FieldRule { name: Some(name), .. } => (Selector::Name(name.as_str().into()), name.clone()),
        FieldRule { tag: Some(tag), .. } => (Selector::Tag(tag.as_str().into()), format!("tag {tag}")),
        FieldRule { names_of: Some(class), .. } => (Selector::NamesOf(*class), format!("names of {}", class.name())),
        FieldRule { column: Some(ColumnRule::Number(number)), .. } => {
            (Selector::Column(*number), format!("column {number}"))
        }
        FieldRule { column: Some(ColumnRule::Name(name)), .. } => {
            (Selector::Name(name.as_str().into()), format!("column {name}"))
        }
        _ => return None,
    };
    let class = rule.class.as_ref().map(|class| match class {
        ClassName::Known(class) => FieldClass::Known(*class),
        ClassName::Custom(name) => FieldClass::Custom(name.as_str().into()),
    });
    let subject = rule.subject.as_deref().map(Arc::from);
    Some(Field { selector, class, subject, text: text.into() })
}

/// The regions that a rule names; the checks have refused those that are not known.
fn regions(names: &[String]) -> Option<Arc<Regions>> {
    let known = names.iter().map(String::as_str).filter(|name| crate::scan::region::is_region(name));
    let regions = Regions::new(known).ok()?;
    (!regions.names().is_empty()).then(|| Arc::new(regions))
}

/// What a rule says of data that is split across fields: each list of paths for each built-in class.
fn splits(rule: &MaskRule) -> impl Iterator<Item = Split> {
    rule.split.iter().flat_map(move |paths| {
        let classes = rule.classes.iter().filter_map(|class| match class {
            ClassName::Known(class) if !class.is_by_field() => Some(*class),
            _ => None,
        });
        classes.filter_map(move |class| {
            let parsed: Option<Vec<Path>> = paths.iter().map(|path| Path::parse(path).ok()).collect();
            Some(Split { paths: parsed?.into(), class, text: paths.join(" + ").into() })
        })
    })
}

fn form(rule: &CsvRule) -> CsvForm {
    CsvForm {
        separator: rule.separator.bytes().next().unwrap_or(b','),
        header: rule.header,
        columns: rule.columns.iter().map(|name| name.as_str().into()).collect(),
    }
}
