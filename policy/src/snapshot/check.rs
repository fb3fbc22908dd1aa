//! What a schema cannot say: the checks of a policy file's meaning. All problems are collected.

mod authority;

use std::collections::HashMap;

use crate::document::text::PartitionRange;
use crate::document::{Parsed, Problem, join_index, join_key, shortened};
use crate::file::{
    Except, GrantRule, Identity, MaskRule, NameRule, OperationRule, PartitionsRule, PolicyFile, ResourceRule,
};
use crate::grant::Kind;

mod masks;
mod recordings;

/// Longest topic name that a broker takes (`org.apache.kafka.common.internals.Topic`).
const TOPIC_NAME_CHARS_MAX: usize = 249;

/// Everything that is wrong with the file.
pub(super) fn problems(file: &Parsed<PolicyFile>) -> Vec<Problem> {
    let mut checks = Checks { file, problems: Vec::new() };
    let policy = &file.value;
    checks.unique_names("grants", policy.grants.iter().map(|grant| grant.name.as_str()));
    checks.unique_names("keys", policy.keys.iter().map(|key| key.name.as_str()));
    checks.unique_names("masks", policy.masks.iter().map(|mask| mask.name.as_str()));
    checks.unique_names("classes", policy.classes.iter().map(|class| class.name.as_str()));
    checks.classes(&policy.classes);
    for (index, grant) in policy.grants.iter().enumerate() {
        checks.grant(&join_index("grants", index), grant);
    }
    for (index, mask) in policy.masks.iter().enumerate() {
        checks.mask(&join_index("masks", index), mask);
    }
    checks.authority();
    checks.recordings();
    checks.problems
}

/// The kinds of resource that a rule names, each with its name; the cluster has none. A rule that
/// passed the checks names one.
pub(super) fn kinds(rule: &ResourceRule) -> Vec<(Kind, Option<&NameRule>)> {
    let named = [
        (Kind::Topic, &rule.topic),
        (Kind::Group, &rule.group),
        (Kind::TransactionalId, &rule.transactional_id),
        (Kind::DelegationToken, &rule.delegation_token),
        (Kind::User, &rule.user),
    ];
    let named = named.into_iter().filter_map(|(kind, name)| Some((kind, Some(name.as_ref()?))));
    named.chain(rule.cluster.map(|_| (Kind::Cluster, None))).collect()
}

/// A rule of partitions as a range.
pub(super) fn range(rule: &PartitionsRule) -> PartitionRange {
    match rule {
        PartitionsRule::One(partition) => PartitionRange { first: *partition, last: *partition },
        PartitionsRule::Range(range) => *range,
    }
}

struct Checks<'a> {
    file: &'a Parsed<PolicyFile>,
    problems: Vec<Problem>,
}

impl Checks<'_> {
    fn note(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(self.file.problem(path, message));
    }

    fn unique_names<'n>(&mut self, list: &str, names: impl Iterator<Item = &'n str>) {
        let mut first: HashMap<&str, usize> = HashMap::new();
        for (index, name) in names.enumerate() {
            let path = join_key(&join_index(list, index), "name");
            self.text(&path, name);
            match first.get(name) {
                Some(other) => self.note(&path, format!("`{}` is also the name of {list}[{other}]", shortened(name))),
                None => {
                    first.insert(name, index);
                }
            }
        }
    }

    /// Text for people and evidence: something to read, on one line.
    fn text(&mut self, path: &str, text: &str) {
        if text.trim().is_empty() {
            self.note(path, "must not be blank");
        } else if text.chars().any(char::is_control) {
            self.note(path, "must be one line without control characters");
        }
    }

    fn grant(&mut self, path: &str, grant: &GrantRule) {
        self.text(&join_key(path, "purpose"), &grant.purpose);
        self.somebody(path, &grant.principals, &grant.groups, grant.everyone);
        for (index, resource) in grant.resources.iter().enumerate() {
            self.resource(&join_index(&join_key(path, "resources"), index), resource);
        }
        self.no_repetition(&join_key(path, "resources"), &grant.resources);
        self.no_repetition(&join_key(path, "operations"), &grant.operations);
        self.operations_fit(path, &grant.resources, &grant.operations);
        if let (Some(from), Some(to)) = (grant.not_before, grant.not_after)
            && to <= from
        {
            self.note(&join_key(path, "not_after"), format!("the grant ends before it begins at {from}"));
        }
        for (index, window) in grant.windows.iter().enumerate() {
            let path = join_index(&join_key(path, "windows"), index);
            if window.from == window.to {
                let message = "is the same as `from`; for a whole day write 00:00 to 24:00";
                self.note(&join_key(&path, "to"), message);
            } else if window.from.minutes == 24 * 60 {
                self.note(&join_key(&path, "from"), "no day begins at 24:00; write 00:00");
            }
        }
        self.no_repetition(&join_key(path, "windows"), &grant.windows);
    }

    fn somebody(&mut self, path: &str, principals: &[Identity], groups: &[Identity], everyone: bool) {
        if principals.is_empty() && groups.is_empty() && !everyone {
            self.note(path, "is for nobody; give `principals`, `groups` or `everyone: true`");
        }
        self.identities(path, principals, groups);
    }

    fn identities(&mut self, path: &str, principals: &[Identity], groups: &[Identity]) {
        for (key, identities) in [("principals", principals), ("groups", groups)] {
            let path = join_key(path, key);
            for (index, identity) in identities.iter().enumerate() {
                let (name, qualified) = match identity {
                    Identity::Name(name) => (name, false),
                    Identity::Qualified(identity) => (&identity.name, true),
                };
                if name.contains('*') && (qualified || key == "groups" || name != "*") {
                    let message = "`*` is no pattern here; name each, or write `everyone: true`";
                    self.note(&join_index(&path, index), message);
                }
            }
            self.no_repetition(&path, identities);
        }
    }

    fn resource(&mut self, path: &str, rule: &ResourceRule) {
        let kinds = kinds(rule);
        match kinds.as_slice() {
            [(kind, name)] => {
                if let Some(name) = name {
                    self.name(&join_key(path, key_of(*kind)), *kind, name);
                }
            }
            [] => self.note(
                path,
                "names no resource; give `topic`, `group`, `transactional_id`, `cluster`, `delegation_token` or `user`",
            ),
            several => {
                let keys: Vec<String> = several.iter().map(|(kind, _)| format!("`{}`", key_of(*kind))).collect();
                self.note(path, format!("names {} at once; give each an item of its own", keys.join(" and ")));
            }
        }
        if rule.cluster == Some(false) {
            self.note(&join_key(path, "cluster"), "only `true` makes sense");
        }
        if let Some(partitions) = &rule.partitions {
            let path = join_key(path, "partitions");
            if rule.topic.is_none() {
                self.note(&path, "only a topic has partitions");
            }
            self.no_overlap(&path, partitions);
        }
    }

    fn no_overlap(&mut self, path: &str, partitions: &[PartitionsRule]) {
        let mut ranges: Vec<(PartitionRange, usize)> = partitions.iter().map(range).zip(0..).collect();
        ranges.sort_by_key(|(range, _)| range.first);
        for pair in ranges.windows(2) {
            if let [(before, _), (range, index)] = pair
                && range.first <= before.last
            {
                self.note(&join_index(path, *index), format!("overlaps with `{before}`"));
            }
        }
    }

    fn name(&mut self, path: &str, kind: Kind, rule: &NameRule) {
        let (path, text, literal) = match rule {
            NameRule::Literal(name) if name == "*" => return,
            NameRule::Literal(name) => (path.to_owned(), name, true),
            NameRule::Prefixed(rule) => (join_key(path, "prefix"), &rule.prefix, false),
        };
        if text.contains('*') {
            let prefix = text.split('*').next().unwrap_or_default();
            let message = if prefix.is_empty() {
                "`*` stands for every name only by itself".to_owned()
            } else {
                format!("`*` is no pattern; for every name that begins so write `{{prefix: {}}}`", shortened(prefix))
            };
            return self.note(&path, message);
        }
        match kind {
            Kind::Topic => {
                let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                let whole = literal && matches!(text.as_str(), "." | "..");
                if whole || text.chars().count() > TOPIC_NAME_CHARS_MAX || !text.chars().all(legal) {
                    let message =
                        "no topic can have this name: letters, digits, `.`, `_` and `-` are allowed, 249 at most";
                    self.note(&path, message);
                }
            }
            Kind::User if !text.starts_with("User:") => {
                self.note(&path, format!("write `User:{}`", shortened(text)));
            }
            _ => {}
        }
    }

    /// An operation that fits none of the resources, or a resource that none of the operations
    /// fits, is a mistake: it would silently grant nothing.
    fn operations_fit(&mut self, path: &str, resources: &[ResourceRule], operations: &[OperationRule]) {
        let fits = |operation: &OperationRule, resource: &ResourceRule| match operation {
            OperationRule::All(_) => true,
            OperationRule::One(operation) => kinds(resource).iter().any(|(kind, _)| {
                kind.knows(*operation) && (resource.partitions.is_none() || Kind::knows_for_partitions(*operation))
            }),
        };
        let named: Vec<&ResourceRule> = resources.iter().filter(|resource| kinds(resource).len() == 1).collect();
        if named.is_empty() {
            return;
        }
        for (index, operation) in operations.iter().enumerate() {
            if let OperationRule::One(one) = operation
                && !named.iter().any(|resource| fits(operation, resource))
            {
                let message = format!("`{}` applies to none of the grant's resources", one.name());
                self.note(&join_index(&join_key(path, "operations"), index), message);
            }
        }
        for (index, resource) in resources.iter().enumerate() {
            if kinds(resource).len() == 1 && !operations.iter().any(|operation| fits(operation, resource)) {
                let message = "none of the grant's operations applies to it";
                self.note(&join_index(&join_key(path, "resources"), index), message);
            }
        }
    }

    fn mask(&mut self, path: &str, mask: &MaskRule) {
        self.somebody(path, &mask.principals, &mask.groups, mask.everyone);
        for (index, topic) in mask.topics.iter().enumerate() {
            self.name(&join_index(&join_key(path, "topics"), index), Kind::Topic, topic);
        }
        self.no_repetition(&join_key(path, "topics"), &mask.topics);
        self.no_repetition(&join_key(path, "directions"), &mask.directions);
        self.masked(path, mask);
        if let Some(Except { principals, groups }) = &mask.except {
            let path = join_key(path, "except");
            if principals.is_empty() && groups.is_empty() {
                self.note(&path, "exempts nobody; give `principals` or `groups`");
            }
            self.identities(&path, principals, groups);
            if let Some(index) = principals.iter().position(|p| matches!(p, Identity::Name(name) if name == "*")) {
                let path = join_index(&join_key(&path, "principals"), index);
                self.note(&path, "an exemption for everyone leaves no rule");
            }
        }
    }

    fn no_repetition<T: PartialEq>(&mut self, path: &str, items: &[T]) {
        for (index, item) in items.iter().enumerate() {
            if let Some(first) = items.iter().take(index).position(|other| other == item) {
                self.note(&join_index(path, index), format!("repeats item {first} of this list"));
            }
        }
    }
}

fn key_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Topic => "topic",
        Kind::Group => "group",
        Kind::TransactionalId => "transactional_id",
        Kind::Cluster => "cluster",
        Kind::DelegationToken => "delegation_token",
        Kind::User => "user",
    }
}
