//! `tidegate grant|approval|revoke|break-glass`, and the open sessions: the admin API from the command line.

use std::io::Write as _;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;
use tidegate_policy::file::{AllOperations, NameRule, OperationRule, PrefixRule, ResourceRule};

use super::Failure;
use super::api::{Output, Server, table};
use crate::control::admin::model::{ApprovalView, Done, GrantView, Page, SessionView, described, resource_text};
use crate::control::admin::requests::{
    AskGrant, Extend, ListApprovals, ListPage, OpenBreakGlass, Reason, RevokePrincipal, RevokeToken,
};

/// A command and the gateway that it is for.
#[derive(Debug, Args)]
pub(super) struct At<C: Subcommand> {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    command: C,
}

#[derive(Debug, Subcommand)]
pub(super) enum Grant {
    /// Ask for a grant, for yourself
    #[command(after_help = "Example:\n  tidegate grant request --topic orders --group analysts-1 --operation read \
        --for 8h \\\n    --purpose 'Weekly planning' --reason 'Ticket 4711'")]
    Request(RequestArgs),
    /// List run-time grants: yours, or all with a role
    List(ListPageArgs),
    /// Show a run-time grant
    Show {
        /// gr-…
        grant: String,
    },
    /// Approve a request for a grant
    Approve(DecideArgs),
    /// Deny a request for a grant
    Deny(DecideArgs),
    /// End a grant now
    Revoke {
        /// gr-…
        grant: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Ask for a grant of yours to last longer
    Extend {
        /// gr-…
        grant: String,
        /// How long from the approval on, for instance 8h
        #[arg(long = "for", value_name = "DURATION")]
        duration: Option<String>,
        /// Until when, RFC 3339, instead of --for
        #[arg(long, value_name = "TIME", conflicts_with = "duration")]
        until: Option<String>,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct RequestArgs {
    /// A topic; more than once for several
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// Every topic that begins so
    #[arg(long, value_name = "PREFIX")]
    topic_prefix: Vec<String>,
    /// A consumer group
    #[arg(long, value_name = "ID")]
    group: Vec<String>,
    /// Every consumer group that begins so
    #[arg(long, value_name = "PREFIX")]
    group_prefix: Vec<String>,
    /// A transactional id
    #[arg(long, value_name = "ID")]
    transactional_id: Vec<String>,
    /// The cluster as a whole
    #[arg(long)]
    cluster: bool,
    /// read, write, describe, …, or all; more than once for several
    #[arg(long, value_name = "NAME", required = true)]
    operation: Vec<String>,
    /// How long from the approval on, for instance 8h
    #[arg(long = "for", value_name = "DURATION", required_unless_present = "until")]
    duration: Option<String>,
    /// From when on, RFC 3339, with --until
    #[arg(long, value_name = "TIME", requires = "until")]
    from: Option<String>,
    /// Until when, RFC 3339, instead of --for
    #[arg(long, value_name = "TIME", conflicts_with = "duration")]
    until: Option<String>,
    /// What for; it stands in the evidence of every use
    #[arg(long)]
    purpose: String,
    /// Why now, for the approver
    #[arg(long)]
    reason: String,
    /// The rule of the policy's `requests` to ask under
    #[arg(long)]
    rule: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct DecideArgs {
    /// ap-…
    approval: String,
    /// Why
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct ListPageArgs {
    /// Only those of this principal
    #[arg(long)]
    principal: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Where the list before ended
    #[arg(long)]
    after: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListApprovalsArgs {
    /// pending, approved, used, denied, expired, review_due, review_overdue or reviewed
    #[arg(long)]
    status: Option<String>,
    /// grant, operation or break_glass
    #[arg(long)]
    about: Option<String>,
    #[command(flatten)]
    page: ListPageArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Approval {
    /// List what you asked and what you may decide, or all with a role
    List(ListApprovalsArgs),
    /// Show a question and its story so far
    Show {
        /// ap-…
        approval: String,
    },
    /// Decide for it
    Approve(DecideArgs),
    /// Decide against it
    Deny(DecideArgs),
}

#[derive(Debug, Subcommand)]
pub(super) enum Revoke {
    /// End a session now
    Session {
        /// The session's id, as in evidence and `tidegate session list`
        session: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Let a token count no longer
    Token {
        /// The token's id (jti)
        token: String,
        /// When it ends by itself, RFC 3339
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// End a run-time grant now
    Grant {
        /// gr-…
        grant: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Shut a principal out, or let it in again
    Principal {
        /// The principal's name
        name: String,
        /// At this issuer only
        #[arg(long)]
        issuer: Option<String>,
        /// Until when, RFC 3339
        #[arg(long, value_name = "TIME", conflicts_with = "restore")]
        until: Option<String>,
        /// Let it in again
        #[arg(long)]
        restore: bool,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum BreakGlass {
    /// Open something for yourself in an emergency; everybody is told, and another reviews it
    Open {
        /// The rule of the policy's `break_glass`
        #[arg(long)]
        rule: Option<String>,
        /// How long, for instance 30m
        #[arg(long = "for", value_name = "DURATION")]
        duration: Option<String>,
        /// What happened
        #[arg(long)]
        reason: String,
    },
    /// List what was opened
    List(ListPageArgs),
    /// Say what your review found
    Review {
        /// ap-…
        approval: String,
        /// What it found
        #[arg(long)]
        reason: String,
    },
}

/// The query of a call that has none.
const NONE: Value = Value::Null;

impl At<Grant> {
    pub(super) fn run(self) -> Result<(), Failure> {
        let server = &self.server;
        match self.command {
            Grant::Request(args) => server.approval(&["v1", "grants"], &args.ask()?),
            Grant::List(page) => {
                let (list, json): (Page<GrantView>, _) =
                    server.call(&Method::GET, &["v1", "grants"], &page.query(), None::<&Value>)?;
                server.show(&json, |out| grants(out, &list))
            }
            Grant::Show { grant } => {
                let (grant, json): (GrantView, _) =
                    server.call(&Method::GET, &["v1", "grants", &grant], &NONE, None::<&Value>)?;
                server.show(&json, |out| one_grant(out, &grant))
            }
            Grant::Approve(decide) => server.decide(&decide, "approve"),
            Grant::Deny(decide) => server.decide(&decide, "deny"),
            Grant::Revoke { grant, reason } => server.done(&["v1", "grants", &grant, "revoke"], &Reason { reason }),
            Grant::Extend { grant, duration, until, reason } => {
                server.approval(&["v1", "grants", &grant, "extend"], &Extend { duration, not_after: until, reason })
            }
        }
    }
}

impl At<Approval> {
    pub(super) fn run(self) -> Result<(), Failure> {
        let server = &self.server;
        match self.command {
            Approval::List(args) => server.approvals(&["v1", "approvals"], &args.query()?),
            Approval::Show { approval } => {
                let (approval, json): (ApprovalView, _) =
                    server.call(&Method::GET, &["v1", "approvals", &approval], &NONE, None::<&Value>)?;
                server.show(&json, |out| one_approval(out, &approval))
            }
            Approval::Approve(decide) => server.decide(&decide, "approve"),
            Approval::Deny(decide) => server.decide(&decide, "deny"),
        }
    }
}

impl At<Revoke> {
    pub(super) fn run(self) -> Result<(), Failure> {
        let server = &self.server;
        match self.command {
            Revoke::Session { session, reason } => {
                server.done(&["v1", "sessions", &session, "revoke"], &Reason { reason })
            }
            Revoke::Token { token, until, reason } => {
                server.done(&["v1", "tokens", "revoke"], &RevokeToken { token_id: token, until, reason })
            }
            Revoke::Grant { grant, reason } => server.done(&["v1", "grants", &grant, "revoke"], &Reason { reason }),
            Revoke::Principal { name, issuer, until, restore, reason } => {
                let what = if restore { "restore" } else { "revoke" };
                server.done(&["v1", "principals", what], &RevokePrincipal { name, issuer, until, reason })
            }
        }
    }
}

/// Lists the open sessions.
pub(super) fn sessions(server: &Server, page: &ListPageArgs) -> Result<(), Failure> {
    let (list, json): (Page<SessionView>, _) =
        server.call(&Method::GET, &["v1", "sessions"], &page.query(), None::<&Value>)?;
    server.show(&json, |out| {
        let row = |session: &SessionView| {
            let broker = session.broker.map_or_else(|| "any".to_owned(), |broker| broker.to_string());
            vec![
                session.id.clone(),
                session.principal.name.clone(),
                session.client_address.clone(),
                session.listener.clone(),
                broker,
                session.recorded.clone().unwrap_or_else(|| "no".to_owned()),
                session.since.clone(),
            ]
        };
        let rows: Vec<_> = list.items.iter().map(row).collect();
        table(out, &["SESSION", "PRINCIPAL", "CLIENT", "LISTENER", "BROKER", "RECORDED", "SINCE"], &rows)?;
        more(out, list.next.as_deref())
    })
}

impl At<BreakGlass> {
    pub(super) fn run(self) -> Result<(), Failure> {
        let server = &self.server;
        match self.command {
            BreakGlass::Open { rule, duration, reason } => {
                server.approval(&["v1", "break-glass"], &OpenBreakGlass { rule, duration, reason })
            }
            BreakGlass::List(page) => {
                let ListPage { principal, limit, after } = page.query();
                let query = ListApprovals { principal, limit, after, ..ListApprovals::default() };
                server.approvals(&["v1", "break-glass"], &query)
            }
            BreakGlass::Review { approval, reason } => {
                server.approval(&["v1", "break-glass", &approval, "review"], &Reason { reason })
            }
        }
    }
}

impl Server {
    fn approval(&self, path: &[&str], body: &impl serde::Serialize) -> Result<(), Failure> {
        let (approval, json): (ApprovalView, _) = self.call(&Method::POST, path, &NONE, Some(body))?;
        self.show(&json, |out| one_approval(out, &approval))
    }

    fn decide(&self, decide: &DecideArgs, which: &str) -> Result<(), Failure> {
        self.approval(&["v1", "approvals", &decide.approval, which], &Reason { reason: decide.reason.clone() })
    }

    fn approvals(&self, path: &[&str], query: &ListApprovals) -> Result<(), Failure> {
        let (list, json): (Page<ApprovalView>, _) = self.call(&Method::GET, path, query, None::<&Value>)?;
        self.show(&json, |out| {
            let row = |approval: &ApprovalView| {
                vec![approval.id.clone(), word(&approval.status), approval.asked_at.clone(), approval.summary.clone()]
            };
            let rows: Vec<_> = list.items.iter().map(row).collect();
            table(out, &["APPROVAL", "STATUS", "ASKED", "WHAT"], &rows)?;
            more(out, list.next.as_deref())
        })
    }

    fn done(&self, path: &[&str], body: &impl serde::Serialize) -> Result<(), Failure> {
        let (done, json): (Done, _) = self.call(&Method::POST, path, &NONE, Some(body))?;
        self.show(&json, |out| {
            writeln!(out, "{} (control log entry {})", done.event.replace('_', " "), done.sequence)?;
            done.remark.iter().try_for_each(|remark| writeln!(out, "{remark}"))
        })
    }

    fn show(
        &self,
        json: &Value,
        text: impl FnOnce(&mut std::io::StdoutLock<'_>) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let written = match self.output {
            Output::Json => writeln!(out, "{json:#}"),
            Output::Text => text(&mut out),
        };
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Fault(error.to_string())),
            _ => Ok(()),
        }
    }
}

impl RequestArgs {
    fn ask(self) -> Result<AskGrant, Failure> {
        let prefixed = |prefix: String| NameRule::Prefixed(PrefixRule { prefix });
        let topic = |name| ResourceRule { topic: Some(name), ..ResourceRule::default() };
        let group = |name| ResourceRule { group: Some(name), ..ResourceRule::default() };
        let mut resources: Vec<ResourceRule> = Vec::new();
        resources.extend(self.topic.into_iter().map(NameRule::Literal).map(topic));
        resources.extend(self.topic_prefix.into_iter().map(prefixed).map(topic));
        resources.extend(self.group.into_iter().map(NameRule::Literal).map(group));
        resources.extend(self.group_prefix.into_iter().map(prefixed).map(group));
        let transactional =
            |id| ResourceRule { transactional_id: Some(NameRule::Literal(id)), ..ResourceRule::default() };
        resources.extend(self.transactional_id.into_iter().map(transactional));
        if self.cluster {
            resources.push(ResourceRule { cluster: Some(true), ..ResourceRule::default() });
        }
        let operation = |name: &String| match name.as_str() {
            "all" => Ok(OperationRule::All(AllOperations::All)),
            name => parsed("--operation", name).map(OperationRule::One),
        };
        Ok(AskGrant {
            rule: self.rule,
            resources,
            operations: self.operation.iter().map(operation).collect::<Result<_, _>>()?,
            duration: self.duration,
            not_before: self.from,
            not_after: self.until,
            purpose: self.purpose,
            reason: self.reason,
        })
    }
}

impl ListPageArgs {
    fn query(&self) -> ListPage {
        ListPage { principal: self.principal.clone(), limit: Some(self.limit), after: self.after.clone() }
    }

    /// The principal that is meant.
    pub(super) fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }
}

impl ListApprovalsArgs {
    fn query(self) -> Result<ListApprovals, Failure> {
        let ListPage { principal, limit, after } = self.page.query();
        Ok(ListApprovals {
            status: self.status.as_deref().map(|status| parsed("--status", status)).transpose()?,
            about: self.about.as_deref().map(|about| parsed("--about", about)).transpose()?,
            principal,
            rule: None,
            limit,
            after,
        })
    }
}

/// A word of an enumeration, as JSON has it.
fn parsed<T: serde::de::DeserializeOwned>(argument: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_value(Value::String(text.to_owned()))
        .map_err(|error| Failure::Usage(vec![format!("{argument} {text}: {error}")]))
}

/// An enumeration's word, as JSON has it.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) type Written = std::io::Result<()>;
pub(super) type Out<'a> = std::io::StdoutLock<'a>;

fn more(out: &mut Out<'_>, next: Option<&str>) -> Written {
    match next {
        Some(next) => writeln!(out, "there is more: --after {next}"),
        None => Ok(()),
    }
}

fn grants(out: &mut Out<'_>, list: &Page<GrantView>) -> Written {
    let row = |grant: &GrantView| {
        let what = described(&grant.operations, &grant.resources);
        vec![grant.id.clone(), word(&grant.status), grant.principal.name.clone(), grant.not_after.clone(), what]
    };
    let rows: Vec<_> = list.items.iter().map(row).collect();
    table(out, &["GRANT", "STATUS", "PRINCIPAL", "UNTIL", "WHAT"], &rows)?;
    more(out, list.next.as_deref())
}

/// Fields one below the other; those without a value are left out.
fn fields(out: &mut Out<'_>, fields: &[(&str, String)]) -> Written {
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        writeln!(out, "{name:12}{value}")?;
    }
    Ok(())
}

fn one_grant(out: &mut Out<'_>, grant: &GrantView) -> Written {
    let resources: Vec<String> = grant.resources.iter().map(resource_text).collect();
    let revoked = grant.revoked.as_ref();
    let revoked = revoked.map(|revoked| format!("{} by {}: {}", revoked.at, revoked.by.name, revoked.reason));
    fields(
        out,
        &[
            ("grant", grant.id.clone()),
            ("status", word(&grant.status)),
            ("principal", format!("{} ({})", grant.principal.name, grant.principal.issuer)),
            ("operations", described(&grant.operations, &[]).trim_end_matches(" on ").to_owned()),
            ("resources", resources.join(", ")),
            ("from", grant.not_before.clone()),
            ("until", grant.not_after.clone()),
            ("purpose", grant.purpose.clone()),
            ("rule", grant.rule.clone()),
            ("approval", grant.approval.clone()),
            ("revoked", revoked.unwrap_or_default()),
        ],
    )
}

fn one_approval(out: &mut Out<'_>, approval: &ApprovalView) -> Written {
    let grant = approval.grant.as_ref();
    fields(
        out,
        &[
            ("approval", approval.id.clone()),
            ("status", word(&approval.status)),
            ("what", approval.summary.clone()),
            ("purpose", grant.map(|grant| grant.purpose.clone()).unwrap_or_default()),
            ("reason", approval.reason.clone()),
            ("asked", format!("{} by {} ({})", approval.asked_at, approval.asked_by.name, approval.asked_by.issuer)),
            ("until", approval.until.clone().unwrap_or_default()),
            ("rule", approval.rule.clone()),
            ("grant", grant.map(|grant| grant.id.clone()).unwrap_or_default()),
        ],
    )?;
    for decision in &approval.decisions {
        let by = decision
            .automatic
            .as_ref()
            .map_or_else(|| decision.by.name.clone(), |rule| format!("the automated approver of {rule}"));
        fields(out, &[(&word(&decision.decision), format!("{} by {by}: {}", decision.at, decision.reason))])?;
    }
    let used = approval.used_at.as_ref().zip(approval.used_in.as_ref());
    fields(out, &[("used", used.map(|(at, session)| format!("{at} in session {session}")).unwrap_or_default())])
}
