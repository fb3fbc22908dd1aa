//! The checks of the sections about authority: who may ask, what waits, who decides and who is told.

use super::Checks;
use crate::document::text::Duration;
use crate::document::{join_index, join_key, shortened};
use crate::file::{
    Approvers, BreakGlassRule, Except, HeldKind, HoldRule, Identity, NotifyRule, OperationRule, RequestRule,
    ResourceRule, RolesRule,
};
use crate::grant::Kind;

/// The longest time that any of these sections may give, in days: what is to last longer is a grant of the file.
const DAYS_MAX: u64 = 366;

impl Checks<'_> {
    pub(super) fn authority(&mut self) {
        let policy = &self.file.value;
        self.unique_names("requests", policy.requests.iter().map(|rule| rule.name.as_str()));
        self.unique_names("holds", policy.holds.iter().map(|rule| rule.name.as_str()));
        self.unique_names("break_glass", policy.break_glass.iter().map(|rule| rule.name.as_str()));
        for (index, rule) in policy.requests.iter().enumerate() {
            self.request(&join_index("requests", index), rule);
        }
        for (index, rule) in policy.holds.iter().enumerate() {
            self.hold(&join_index("holds", index), rule);
        }
        for (index, rule) in policy.break_glass.iter().enumerate() {
            self.break_glass(&join_index("break_glass", index), rule);
        }
        self.roles(&policy.roles);
        for (index, rule) in policy.notify.iter().enumerate() {
            self.notify(&join_index("notify", index), rule);
        }
    }

    fn request(&mut self, path: &str, rule: &RequestRule) {
        self.somebody(path, &rule.principals, &rule.groups, rule.everyone);
        self.what(path, &rule.resources, &rule.operations);
        self.time(path, "duration_max", rule.duration_max);
        self.time(path, "pending", rule.pending);
        self.approvers(path, &rule.approvers);
    }

    fn hold(&mut self, path: &str, rule: &HoldRule) {
        self.somebody(path, &rule.principals, &rule.groups, rule.everyone);
        if let Some(except) = &rule.except {
            self.some(&join_key(path, "except"), except);
        }
        self.no_repetition(&join_key(path, "operations"), &rule.operations);
        for (index, topic) in rule.topics.iter().flatten().enumerate() {
            self.name(&join_index(&join_key(path, "topics"), index), Kind::Topic, topic);
        }
        self.no_repetition(&join_key(path, "topics"), rule.topics.as_deref().unwrap_or_default());
        self.no_repetition(&join_key(path, "configs"), rule.configs.as_deref().unwrap_or_default());
        self.no_repetition(&join_key(path, "unless"), &rule.unless);
        let configs_matter = rule.operations.contains(&HeldKind::AlterConfigs);
        for (key, given) in [("configs", rule.configs.is_some()), ("unless", !rule.unless.is_empty())] {
            if given && !configs_matter {
                self.note(&join_key(path, key), "needs `alter_configs` among the operations");
            }
        }
        for (index, unless) in rule.unless.iter().enumerate() {
            if rule.configs.as_ref().is_some_and(|configs| !configs.contains(&unless.config)) {
                let path = join_key(&join_index(&join_key(path, "unless"), index), "config");
                self.note(&path, format!("`{}` is not among the rule's `configs`", shortened(&unless.config)));
            }
        }
        self.time(path, "hold", rule.hold);
        self.time(path, "pending", rule.pending);
        self.time(path, "valid", rule.valid);
        if rule.hold > rule.pending {
            self.note(&join_key(path, "hold"), "the client would wait longer than the question stays open");
        }
        self.approvers(path, &rule.approvers);
        if let Some(automatic) = &rule.automatic {
            let path = join_key(path, "automatic");
            self.url(&path, &automatic.url);
            self.time(&path, "timeout", automatic.timeout);
            if automatic.timeout > rule.pending {
                self.note(&join_key(&path, "timeout"), "its answer would come after the question has lapsed");
            }
        }
    }

    fn break_glass(&mut self, path: &str, rule: &BreakGlassRule) {
        self.somebody(path, &rule.principals, &rule.groups, false);
        self.not_everyone(path, &rule.principals);
        self.what(path, &rule.resources, &rule.operations);
        self.time(path, "duration_max", rule.duration_max);
        self.time(path, "review_within", rule.review_within);
        if let Some(reviewers) = &rule.reviewers {
            self.some(&join_key(path, "reviewers"), reviewers);
        }
    }

    fn roles(&mut self, roles: &RolesRule) {
        let given = [
            ("admin", &roles.admin),
            ("approver", &roles.approver),
            ("auditor", &roles.auditor),
            ("operator", &roles.operator),
        ];
        for (role, who) in given {
            if let Some(who) = who {
                self.some(&join_key("roles", role), who);
            }
        }
    }

    fn notify(&mut self, path: &str, rule: &NotifyRule) {
        self.url(path, &rule.url);
        self.no_repetition(&join_key(path, "events"), &rule.events);
    }

    fn approvers(&mut self, path: &str, approvers: &Approvers) {
        let path = join_key(path, "approvers");
        self.somebody(&path, &approvers.principals, &approvers.groups, false);
        self.not_everyone(&path, &approvers.principals);
        let named = approvers.principals.len();
        if approvers.groups.is_empty() && named > 0 && (approvers.quorum as usize) > named {
            self.note(&join_key(&path, "quorum"), format!("{named} approvers are named; nothing could be approved"));
        }
    }

    fn some(&mut self, path: &str, who: &Except) {
        self.somebody(path, &who.principals, &who.groups, false);
        self.not_everyone(path, &who.principals);
    }

    fn not_everyone(&mut self, path: &str, principals: &[Identity]) {
        if let Some(index) = principals.iter().position(|who| matches!(who, Identity::Name(name) if name == "*")) {
            self.note(&join_index(&join_key(path, "principals"), index), "not everyone can be meant here; name each");
        }
    }

    fn what(&mut self, path: &str, resources: &[ResourceRule], operations: &[OperationRule]) {
        for (index, resource) in resources.iter().enumerate() {
            self.resource(&join_index(&join_key(path, "resources"), index), resource);
        }
        self.no_repetition(&join_key(path, "resources"), resources);
        self.no_repetition(&join_key(path, "operations"), operations);
        self.operations_fit(path, resources, operations);
    }

    fn time(&mut self, path: &str, key: &str, time: Duration) {
        let most = Duration(std::time::Duration::from_secs(DAYS_MAX * 86_400));
        if time.as_millis() == 0 {
            self.note(&join_key(path, key), "must be more than nothing");
        } else if time > most {
            self.note(&join_key(path, key), format!("must be {DAYS_MAX} days at most"));
        }
    }

    /// Secrets and what people do must not cross a network in clear, except within the machine.
    fn url(&mut self, path: &str, url: &str) {
        let path = join_key(path, "url");
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
        let is_local = local
            .iter()
            .any(|start| url.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])));
        let host = url.strip_prefix("https://").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            self.note(&path, "is no URL");
        } else if !is_local && host.is_none_or(str::is_empty) {
            self.note(&path, "must begin with https://, or with http:// and the machine itself");
        }
    }
}
