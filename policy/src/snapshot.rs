//! A policy file, checked and compiled: immutable, versioned, shared by all shards.
//!
//! The control thread compiles one per version of the file and publishes it with one atomic swap;
//! sessions take a [`View`] of it for their principal. A file with any problem yields no snapshot.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use tidegate_core::words::{Operation, Principal, Timestamp};

use crate::document::{self, Parsed, Problem};
use crate::file::{
    GrantRule, Identity, MaskRule, NameRule, OnUnparseable, OperationRule, OperatorRule, PartitionsRule, PolicyFile,
};
use crate::grant::{Denials, Grant, Named, Operations, Pattern, Scope, Who};
use crate::mask::Operator;
use crate::mask::key::{MaskKey, SECRET_BYTES_MIN};
use crate::view::{MaskInView, View};
use crate::window::Schedule;

mod check;

/// Gives the bytes of a key file, by its path as it stands in the policy, or says why it cannot.
pub type ReadKey<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// One version of the policy, compiled.
#[derive(Debug)]
pub struct Snapshot {
    version: u64,
    fingerprint: Arc<str>,
    on_unparseable: OnUnparseable,
    grants: Vec<Arc<Grant>>,
    masks: Vec<Mask>,
    key_files: Vec<String>,
}

/// A compiled mask rule.
#[derive(Debug)]
struct Mask {
    who: Who,
    except: Who,
    rule: MaskInView,
}

impl Snapshot {
    /// Reads, checks and compiles a policy file. `file_name` is only quoted in problems.
    ///
    /// # Errors
    /// Every problem of the file at once: syntax, structure and meaning, in the file's order.
    pub fn read(text: &str, file_name: &str, version: u64) -> Result<Self, Vec<Problem>> {
        Self::read_with_keys(text, file_name, version, &|_| Err("key files cannot be read here".to_owned()))
    }

    /// As [`Snapshot::read`], for policies that name keys. `read_key` gives the bytes of a key file,
    /// by its path as it stands in the policy, or says why it cannot.
    ///
    /// # Errors
    /// As [`Snapshot::read`], and every key that cannot be read or is too short.
    pub fn read_with_keys(
        text: &str,
        file_name: &str,
        version: u64,
        read_key: ReadKey<'_>,
    ) -> Result<Self, Vec<Problem>> {
        document::load::<PolicyFile, _>(text, file_name, |file| Self::compile(&file, version, read_key))
    }

    /// Checks and compiles a parsed policy file.
    ///
    /// # Errors
    /// Every problem of meaning: names given twice, ends before beginnings, rules for nobody, …
    pub fn compile(file: &Parsed<PolicyFile>, version: u64, read_key: ReadKey<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = check::problems(file);
        let keys = keys(file, read_key, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let policy = &file.value;
        Ok(Self {
            version,
            fingerprint: fingerprint(policy, &keys).into(),
            on_unparseable: policy.on_unparseable,
            grants: policy.grants.iter().map(|rule| Arc::new(grant(rule))).collect(),
            masks: policy.masks.iter().map(|rule| mask(rule, &keys)).collect(),
            key_files: policy.keys.iter().map(|key| key.file.clone()).collect(),
        })
    }

    /// The version, as the caller gave it; every evidence entry carries it.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// `sha256:` and the hash of what the policy says, its keys included, in hexadecimal. Comments and layout of the
    /// file do not change it.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The key files that the policy names, as it names them; when one changes, the policy is to be
    /// read anew.
    #[must_use]
    pub fn key_files(&self) -> &[String] {
        &self.key_files
    }

    /// What happens to records that mask rules apply to but that cannot be parsed.
    #[must_use]
    pub fn on_unparseable(&self) -> OnUnparseable {
        self.on_unparseable
    }

    /// How many grants and mask rules there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.grants.len(), self.masks.len())
    }

    /// What `principal` may do, and what is masked for it.
    #[must_use]
    pub fn view(&self, principal: &Principal) -> View {
        let grants = self.grants.iter().filter(|grant| grant.who.grants_to(principal)).cloned();
        let masks = self.masks.iter().filter(|mask| mask.who.masks_for(principal)).map(|mask| {
            let mut rule = mask.rule.clone();
            if mask.except.names(principal) {
                rule.operator = Operator::None;
            }
            rule
        });
        View::new(self.version, self.on_unparseable, grants, masks.collect())
    }
}

fn fingerprint(policy: &PolicyFile, keys: &HashMap<String, MaskKey>) -> String {
    // The types' own order of fields is the canonical one; writing them cannot fail.
    let mut canonical = serde_json::to_vec(policy).unwrap_or_default();
    // Another secret in the same file is another policy.
    for key in policy.keys.iter().filter_map(|rule| keys.get(&rule.name)) {
        canonical.extend_from_slice(&key.check());
    }
    let mut text = String::from("sha256:");
    for byte in digest(&SHA256, &canonical).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn grant(rule: &GrantRule) -> Grant {
    let not_before = rule.not_before.map_or(Timestamp(i64::MIN), |moment| moment.0);
    let not_after = rule.not_after.map_or(Timestamp::MAX, |moment| moment.0);
    Grant {
        name: rule.name.as_str().into(),
        purpose: rule.purpose.as_str().into(),
        who: who(&rule.principals, &rule.groups, rule.everyone),
        scopes: rule.resources.iter().filter_map(scope).collect(),
        operations: Operations::implied_by(operations(&rule.operations)),
        not_before,
        not_after,
        schedule: (!rule.windows.is_empty()).then(|| Schedule::new(&rule.windows)),
        denials: Denials::of(&rule.name, not_before, not_after),
    }
}

fn operations(rules: &[OperationRule]) -> Vec<Operation> {
    let all = |rule: &OperationRule| match rule {
        OperationRule::One(operation) => vec![*operation],
        OperationRule::All(_) => Operation::ALL.to_vec(),
    };
    rules.iter().flat_map(all).collect()
}

fn who(principals: &[Identity], groups: &[Identity], everyone: bool) -> Who {
    let wildcard = |identity: &Identity| matches!(identity, Identity::Name(name) if name == "*");
    Who {
        everyone: everyone || principals.iter().any(wildcard),
        principals: principals.iter().filter(|identity| !wildcard(identity)).map(named).collect(),
        groups: groups.iter().map(named).collect(),
    }
}

fn named(identity: &Identity) -> Named {
    match identity {
        Identity::Name(name) => Named { name: name.as_str().into(), issuer: None },
        Identity::Qualified(qualified) => {
            Named { name: qualified.name.as_str().into(), issuer: Some(qualified.issuer.as_str().into()) }
        }
    }
}

/// The resource's kind and name; `None` where the rule names none, which the checks refuse.
fn scope(rule: &crate::file::ResourceRule) -> Option<Scope> {
    let (kind, name) = check::kinds(rule).into_iter().next()?;
    let ranges = |partitions: &Vec<PartitionsRule>| partitions.iter().map(check::range).collect();
    Some(Scope { kind, pattern: name.map_or(Pattern::Any, pattern), partitions: rule.partitions.as_ref().map(ranges) })
}

fn pattern(rule: &NameRule) -> Pattern {
    match rule {
        NameRule::Literal(name) if name == "*" => Pattern::Any,
        NameRule::Literal(name) => Pattern::Literal(name.as_str().into()),
        NameRule::Prefixed(rule) => Pattern::Prefix(rule.prefix.as_str().into()),
    }
}

/// The keys that could be read, by name.
fn keys(file: &Parsed<PolicyFile>, read_key: ReadKey<'_>, problems: &mut Vec<Problem>) -> HashMap<String, MaskKey> {
    let mut keys = HashMap::new();
    for (index, rule) in file.value.keys.iter().enumerate() {
        let key = read_key(&rule.file).map_err(|error| format!("cannot be read: {error}")).and_then(|secret| {
            MaskKey::new(&rule.name, rule.epoch, &secret)
                .ok_or_else(|| format!("holds {} bytes; a secret has at least {SECRET_BYTES_MIN}", secret.len()))
        });
        match key {
            Ok(key) => drop(keys.insert(rule.name.clone(), key)),
            Err(message) => {
                let path = document::join_key(&document::join_index("keys", index), "file");
                problems.push(file.problem(path, message));
            }
        }
    }
    keys
}

fn mask(rule: &MaskRule, keys: &HashMap<String, MaskKey>) -> Mask {
    // The checks have seen that every key that a rule names is there; without it nothing would be
    // left readable either.
    let keyed = |name: &String, operator: fn(MaskKey) -> Operator| {
        keys.get(name).map_or(Operator::Redact, |key| operator(key.clone()))
    };
    let operator = match &rule.operator {
        OperatorRule::Redact => Operator::Redact,
        OperatorRule::KeepLast(count) => Operator::KeepLast(*count),
        OperatorRule::Replace(text) => Operator::Replace(text.as_str().into()),
        OperatorRule::Nullify => Operator::Nullify,
        OperatorRule::Truncate(count) => Operator::Truncate(*count),
        OperatorRule::Generalise => Operator::Generalise,
        OperatorRule::Pseudonym(key) => keyed(key, Operator::Pseudonym),
        OperatorRule::Encrypt(key) => keyed(key, Operator::Encrypt),
        OperatorRule::DropRecord => Operator::DropRecord,
    };
    Mask {
        who: who(&rule.principals, &rule.groups, rule.everyone),
        except: rule.except.as_ref().map_or_else(Who::default, |except| who(&except.principals, &except.groups, false)),
        rule: MaskInView {
            rule: rule.name.as_str().into(),
            topics: rule.topics.iter().map(pattern).collect(),
            directions: rule.directions.as_slice().into(),
            classes: rule.classes.as_slice().into(),
            operator,
            keys: rule.keys,
        },
    }
}

#[cfg(test)]
mod tests;
