//! A policy file, checked and compiled: immutable, versioned, shared by all shards.
//!
//! The control thread compiles one per version of the file and publishes it with one atomic swap;
//! sessions take a [`View`] of it for their principal. A file with any problem yields no snapshot.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use tidegate_core::words::{Direction, Operation, Principal, SessionId, Timestamp};

use crate::authority::Standing;
use crate::authority::rules::{Role, Rules};
use crate::document::{self, Parsed, Problem};
use crate::file::{
    GrantRule, Identity, NameRule, NotifyRule, OnUnparseable, OperationRule, PartitionsRule, PolicyFile, ResourceRule,
};
use crate::grant::{Denials, Grant, Named, Operations, Pattern, Scope, Who};
use crate::mask::key::{MaskKey, SECRET_BYTES_MIN};
use crate::recording::{RecordingRule, WhenFull};
use crate::view::{MaskInView, View};
use crate::window::Schedule;

mod check;
mod masks;
mod rules;

/// Gives the bytes of a key file, by its path as it stands in the policy, or says why it cannot.
pub type ReadKey<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, String>;

/// One version of the policy, compiled, with what stands beside it at run time.
#[derive(Debug)]
pub struct Snapshot {
    version: u64,
    compiled: Arc<Compiled>,
    standing: Arc<Standing>,
}

/// What the policy file says.
#[derive(Debug)]
struct Compiled {
    fingerprint: Arc<str>,
    on_unparseable: OnUnparseable,
    grants: Vec<Arc<Grant>>,
    masks: Vec<Mask>,
    rules: Rules,
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
        let classes = masks::classes(file, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let policy = &file.value;
        let compiled = Compiled {
            fingerprint: fingerprint(policy, &keys).into(),
            on_unparseable: policy.on_unparseable,
            grants: policy.grants.iter().map(|rule| Arc::new(grant(rule))).collect(),
            masks: policy.masks.iter().map(|rule| masks::mask(rule, &keys, &classes)).collect(),
            rules: rules::compile(policy),
            key_files: policy.keys.iter().map(|key| key.file.clone()).collect(),
        };
        Ok(Self { version, compiled: Arc::new(compiled), standing: Arc::default() })
    }

    /// The same policy with what the control log adds to it now. What is compiled is shared.
    #[must_use]
    pub fn with_standing(&self, version: u64, standing: Arc<Standing>) -> Self {
        Self { version, compiled: self.compiled.clone(), standing }
    }

    /// What the control log adds to the policy.
    #[must_use]
    pub fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// Why `principal`, its session or its token counts no longer; `None` where they do. Hash lookups without
    /// allocation, for a session to make when the version has changed.
    #[must_use]
    pub fn revoked(&self, principal: &Principal, session: &SessionId, token_id: Option<&str>) -> Option<&str> {
        self.standing.revoked(principal, session, token_id)
    }

    /// Whether the policy gives `principal` a role at the admin API.
    #[must_use]
    pub fn has_role(&self, principal: &Principal, role: Role) -> bool {
        self.compiled.rules.roles.has(principal, role)
    }

    /// The roles of `principal` at the admin API.
    #[must_use]
    pub fn roles(&self, principal: &Principal) -> Vec<Role> {
        Role::ALL.into_iter().filter(|role| self.has_role(principal, *role)).collect()
    }

    /// The rule of `holds` with this name.
    #[must_use]
    pub fn hold_rule(&self, name: &str) -> Option<&Arc<crate::authority::HoldRule>> {
        self.compiled.rules.holds.iter().find(|rule| *rule.name == *name)
    }

    /// Who is told of requests and decisions.
    #[must_use]
    pub fn notify(&self) -> &[NotifyRule] {
        &self.compiled.rules.notify
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.compiled.rules
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
        &self.compiled.fingerprint
    }

    /// The key files that the policy names, as it names them; when one changes, the policy is to be
    /// read anew.
    #[must_use]
    pub fn key_files(&self) -> &[String] {
        &self.compiled.key_files
    }

    /// What happens to records that mask rules apply to but that cannot be parsed.
    #[must_use]
    pub fn on_unparseable(&self) -> OnUnparseable {
        self.compiled.on_unparseable
    }

    /// How many grants and mask rules there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.compiled.grants.len(), self.compiled.masks.len())
    }

    /// What `principal` may do by the file and by run-time grants, what is masked for it and what waits for an approver.
    #[must_use]
    pub fn view(&self, principal: &Principal) -> View {
        let compiled = &self.compiled;
        let grants = compiled.grants.iter().filter(|grant| grant.who.grants_to(principal)).cloned();
        let grants = grants.chain(self.standing.grants_of(principal));
        let masks = compiled.masks.iter().filter(|mask| mask.who.masks_for(principal)).map(|mask| {
            let mut rule = mask.rule.clone();
            rule.exempt = mask.except.names(principal);
            rule
        });
        let holds = compiled.rules.holds.iter().filter(|rule| rule.holds_for(principal)).cloned();
        let view = View::new(self.version, compiled.on_unparseable, grants, masks.collect());
        let view = view.with_holds(holds.collect());
        let recording = compiled.rules.recordings.iter().find(|rule| rule.records(principal)).cloned();
        // Break-glass is recorded whatever the rules say: one that records all of it, and ends what it cannot record, stands.
        let emergency = self.standing.grants_of(principal).any(|grant| grant.emergency);
        let suffices = |rule: &Arc<RecordingRule>| !rule.is_of_topics() && rule.when_full == WhenFull::Close;
        let recording = recording.filter(|rule| !emergency || suffices(rule));
        match recording.or_else(|| emergency.then(|| Arc::new(RecordingRule::of_emergency()))) {
            Some(recording) => view.with_recording(recording, self.masked_for_readers(principal)),
            None => view,
        }
    }
}

impl Snapshot {
    /// Topics whose records some rule masks for readers but not when `principal` writes them.
    fn masked_for_readers(&self, principal: &Principal) -> Vec<Pattern> {
        let open = |mask: &&Mask| {
            let directions = &mask.rule.directions;
            let on_its_way_in = directions.contains(&Direction::Produce) && mask.who.masks_for(principal);
            directions.contains(&Direction::Fetch) && !on_its_way_in
        };
        self.compiled.masks.iter().filter(open).flat_map(|mask| mask.rule.topics.iter().cloned()).collect()
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
        emergency: false,
        denials: Denials::of(&rule.name, not_before, not_after),
    }
}

pub(crate) fn operations(rules: &[OperationRule]) -> Vec<Operation> {
    let all = |rule: &OperationRule| match rule {
        OperationRule::One(operation) => vec![*operation],
        OperationRule::All(_) => Operation::ALL.to_vec(),
    };
    rules.iter().flat_map(all).collect()
}

/// Whether a request for a grant makes sense: the checks of a policy file's grants, with the first problem's words.
///
/// # Errors
/// A sentence.
pub(crate) fn check_request(
    purpose: &str,
    resources: &[ResourceRule],
    operations: &[OperationRule],
) -> Result<(), String> {
    let grant = GrantRule {
        name: "request".to_owned(),
        purpose: purpose.to_owned(),
        principals: Vec::new(),
        groups: Vec::new(),
        everyone: true,
        resources: resources.to_vec(),
        operations: operations.to_vec(),
        not_before: None,
        not_after: None,
        windows: Vec::new(),
    };
    // JSON is YAML, so what is held against the schema and the checks is what a file would be.
    let text = serde_json::json!({ "version": 1, "grants": [grant] }).to_string();
    Snapshot::read(&text, "request", 0).map(drop).map_err(|problems| {
        let first = problems.first();
        first.map_or_else(String::new, |problem| {
            let path = problem.path.trim_start_matches("grants[0]").trim_start_matches('.');
            format!("{path}: {}", problem.message)
        })
    })
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
pub(crate) fn scope(rule: &ResourceRule) -> Option<Scope> {
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

#[cfg(test)]
mod tests;
