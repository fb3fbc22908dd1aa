//! From the file's sections about authority to compiled rules.

use std::sync::Arc;

use super::{operations, pattern, scope, who};
use crate::authority::rules::{Approvers, Automatic, BreakGlassRule, HoldRule, RequestRule, Roles, Rules, kinds};
use crate::document::text::Duration;
use crate::file::{self, Except, PolicyFile};
use crate::grant::{Operations, Who};
use crate::recording::{RecordingRule, auditor_key};

/// The rules of a file that passed the checks.
pub(super) fn compile(policy: &PolicyFile) -> Rules {
    Rules {
        requests: policy.requests.iter().map(request).collect(),
        holds: policy.holds.iter().map(|rule| Arc::new(hold(rule))).collect(),
        break_glass: policy.break_glass.iter().map(break_glass).collect(),
        roles: Roles::new(&policy.roles, some),
        notify: policy.notify.clone(),
        recordings: policy.recordings.iter().map(|rule| Arc::new(recording(rule))).collect(),
    }
}

fn request(rule: &file::RequestRule) -> RequestRule {
    RequestRule {
        name: rule.name.as_str().into(),
        who: who(&rule.principals, &rule.groups, rule.everyone),
        scopes: rule.resources.iter().filter_map(scope).collect(),
        operations: Operations::implied_by(operations(&rule.operations)),
        duration_millis_max: rule.duration_max.as_millis(),
        approvers: approvers(&rule.approvers),
        pending_millis: rule.pending.as_millis(),
    }
}

fn approvers(rule: &file::Approvers) -> Approvers {
    Approvers { who: who(&rule.principals, &rule.groups, false), quorum: rule.quorum.max(1) }
}

fn hold(rule: &file::HoldRule) -> HoldRule {
    HoldRule {
        name: rule.name.as_str().into(),
        hold_millis: rule.hold.as_millis(),
        pending_millis: rule.pending.as_millis(),
        valid_millis: rule.valid.as_millis(),
        automatic: rule.automatic.as_ref().map(|automatic| Automatic {
            url: automatic.url.as_str().into(),
            timeout_millis: Duration::as_millis(automatic.timeout),
            secret_file: automatic.secret_file.as_str().into(),
        }),
        who: who(&rule.principals, &rule.groups, rule.everyone),
        except: rule.except.as_ref().map_or_else(Who::default, some),
        kinds: kinds(&rule.operations),
        topics: rule.topics.as_ref().map(|topics| topics.iter().map(pattern).collect()),
        configs: rule.configs.as_ref().map(|configs| configs.iter().map(|name| name.as_str().into()).collect()),
        unless: rule.unless.clone(),
        approvers: approvers(&rule.approvers),
    }
}

fn break_glass(rule: &file::BreakGlassRule) -> BreakGlassRule {
    BreakGlassRule {
        name: rule.name.as_str().into(),
        who: who(&rule.principals, &rule.groups, false),
        reviewers: rule.reviewers.as_ref().map_or_else(Who::default, some),
        resources: rule.resources.clone(),
        operations: rule.operations.clone(),
        duration_millis_max: rule.duration_max.as_millis(),
        review_millis: rule.review_within.as_millis(),
    }
}

fn recording(rule: &file::RecordingRule) -> RecordingRule {
    let key = |auditor: &file::AuditorRule| Some((auditor.name.clone(), auditor_key(&auditor.key)?));
    RecordingRule {
        name: rule.name.as_str().into(),
        mode: rule.mode,
        session_bytes_max: rule.session_bytes_max.0,
        keep_millis: rule.keep.as_millis(),
        when_full: rule.when_full,
        auditors: rule.auditors.iter().filter_map(key).collect(),
        who: who(&rule.principals, &rule.groups, rule.everyone),
        except: rule.except.as_ref().map_or_else(Who::default, some),
        topics: rule.topics.as_ref().map(|topics| topics.iter().map(pattern).collect()),
    }
}

fn some(given: &Except) -> Who {
    who(&given.principals, &given.groups, false)
}
