//! Tells others what happened to approvals, and asks automated approvers: webhooks that go out.
//!
//! Follows the authority's events, and the clock: what was opened in an emergency and not reviewed in time is said again,
//! in the evidence as well, at every start until somebody reviews it. Invariants: at most [`DELIVERIES_MAX`] deliveries are under way, a
//! further one is dropped and leaves evidence; each is tried [`TRIES`] times and then given up; no
//! redirect is followed; plain HTTP goes to the loopback only. An automated approver that does not
//! answer in time, or whose answer is not signed for this very question, has decided nothing: a person
//! must. What it decides is the authority's `DecideAutomatically`, under the policy that holds then.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use tidegate_core::event::{Event, Kind, Outcome};
use tidegate_core::words::Timestamp;
use tidegate_policy::authority::{Actor, ApprovalId, Automatic, Change, Command, Decision, Filter, Status};
use tidegate_policy::file::{NotifyEvent, NotifyKind, NotifyRule};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::admin::model::{ApprovalView, Person, rfc3339};
use super::authority::{Handle, Logged};
use super::signature::{NONCE, Purpose, SIGNATURE, Secret, TIMESTAMP, WINDOW_SECS};
use super::{now, tls};
use crate::config::Config;
use crate::shared::Shared;

/// Deliveries under way.
const DELIVERIES_MAX: usize = 64;
/// How often one is tried, with pauses of 1, 2, 4 and 8 seconds between.
const TRIES: u32 = 5;
/// How long one try may take.
const TRY: Duration = Duration::from_secs(10);
/// Reviews that are looked at in one turn.
const REVIEWS_MAX: usize = 1000;
/// The least and the longest time between two looks at them.
const REVIEW_PAUSE: Duration = Duration::from_millis(50);
const REVIEW_LOOK: Duration = Duration::from_secs(60);
/// The largest answer of an automated approver that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What a generic notification says.
#[derive(Debug, Serialize)]
struct Notification<'a> {
    /// The gateway's name.
    gateway: &'a str,
    /// What happened, as the control log names it.
    event: &'static str,
    /// Its place in the control log.
    sequence: u64,
    time: String,
    actor: Person,
    summary: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<&'a ApprovalView>,
}

/// What an automated approver answers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    decision: Verdict,
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Approve,
    Deny,
    /// A person must decide.
    Abstain,
}

/// What there is to tell.
struct News {
    /// What happened, as the control log names it; `review_overdue` where nothing did.
    event: &'static str,
    sequence: u64,
    time: Timestamp,
    actor: Actor,
    summary: String,
    approval: Option<ApprovalView>,
}

/// Sends what the policy wants sent.
#[derive(Clone)]
pub(super) struct Notifier {
    shared: Arc<Shared>,
    config: Arc<Config>,
    authority: Handle,
    places: Arc<Semaphore>,
    plain: Option<reqwest::Client>,
    tls: Option<reqwest::Client>,
}

impl Notifier {
    /// One that has sent nothing.
    pub(super) fn new(shared: Arc<Shared>, config: Arc<Config>, authority: Handle) -> Self {
        let client = |tls: rustls::ClientConfig| {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .timeout(TRY)
                .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
                .tls_backend_preconfigured(tls)
                .build()
                .ok()
        };
        let plain = tls::no_authorities().ok().and_then(client);
        let tls = tls::client(config.identity.ca_file.as_deref(), None).ok().and_then(client);
        Self { shared, config, authority, places: Arc::new(Semaphore::new(DELIVERIES_MAX)), plain, tls }
    }

    /// Follows the authority's events, from this call on, until it ends.
    pub(super) fn start(self) {
        let events = self.authority.events();
        tokio::spawn(self.run(events));
    }

    async fn run(self, mut events: Receiver<Logged>) {
        let (mut overdue, mut look) = (HashSet::new(), tokio::time::Instant::now());
        loop {
            tokio::select! {
                received = events.recv() => match received {
                    Ok(logged) => {
                        self.tell(&logged);
                        if matches!(logged.event.change, Change::BreakGlassOpened(_)) {
                            look = look.min(tokio::time::Instant::now() + self.until_review());
                        }
                    }
                    Err(RecvError::Lagged(missed)) => {
                        self.failed(None, &format!("{missed} notifications were not sent"));
                    }
                    Err(RecvError::Closed) => return,
                },
                () = tokio::time::sleep_until(look) => {
                    self.tell_overdue(&mut overdue);
                    look = tokio::time::Instant::now() + self.until_review();
                }
            }
        }
    }

    /// How long until a review may be overdue.
    fn until_review(&self) -> Duration {
        let (state, now) = (self.authority.read(), now());
        let due = state.list(&Filter { status: Some(Status::ReviewDue), ..Filter::default() }, None, REVIEWS_MAX, now);
        let next = due.iter().filter_map(|approval| approval.deadline()).min();
        let millis = next.map_or(i64::MAX, |next| next.millis_since(now).saturating_add(1));
        Duration::from_millis(u64::try_from(millis).unwrap_or(0)).clamp(REVIEW_PAUSE, REVIEW_LOOK)
    }

    /// Says of each review that is overdue that it is, once a process.
    fn tell_overdue(&self, told: &mut HashSet<ApprovalId>) {
        let (state, now) = (self.authority.read(), now());
        let filter = Filter { status: Some(Status::ReviewOverdue), ..Filter::default() };
        let overdue = state.list(&filter, None, REVIEWS_MAX, now);
        told.retain(|id| overdue.iter().any(|approval| approval.id == *id));
        let policy = self.shared.policy.load();
        for approval in overdue {
            if !told.insert(approval.id.clone()) {
                continue;
            }
            let view = ApprovalView::of(approval, now);
            let due = approval.deadline().map(rfc3339).unwrap_or_default();
            let summary = format!(
                "BREAK-GLASS {}: {}. Its review was due {due}: tidegate break-glass review {}",
                approval.id, view.summary, approval.id
            );
            tracing::warn!(approval = %approval.id, "{summary}");
            self.shared.notices.put(Event {
                time_micros: now.0,
                kind: Kind::Control as i32,
                outcome: Outcome::Denied as i32,
                policy_version: policy.version(),
                approval: approval.id.to_string(),
                principal: approval.asked_by().name.to_string(),
                issuer: approval.asked_by().issuer.to_string(),
                subject: approval.asked_by().subject.to_string(),
                detail: format!("nobody has reviewed it; the review was due {due}"),
                broker: -1,
                ..Event::default()
            });
            let news = Arc::new(News {
                event: "review_overdue",
                sequence: approval.sequence,
                time: now,
                actor: Actor::gateway(),
                summary,
                approval: Some(view),
            });
            self.send(NotifyEvent::BreakGlass, Some(&approval.id), &news);
        }
    }

    fn tell(&self, logged: &Logged) {
        let policy = self.shared.policy.load();
        let change = &logged.event.change;
        if let Change::OperationHeld(held) = change
            && let Some(automatic) = policy.hold_rule(&held.rule).and_then(|rule| rule.automatic.clone())
        {
            let (notifier, id) = (self.clone(), held.id.clone());
            self.spawn(Some(&held.id), async move { notifier.ask(&id, &automatic).await });
        }
        let Some(what) = kind(change) else { return };
        let approval = change.approval().and_then(|id| self.view(id));
        let news = Arc::new(News {
            event: change.kind(),
            sequence: logged.sequence,
            time: logged.event.time,
            actor: logged.event.actor.clone(),
            summary: summary(change, &logged.event.actor, approval.as_ref()),
            approval,
        });
        self.send(what, change.approval(), &news);
    }

    fn send(&self, what: NotifyEvent, approval: Option<&ApprovalId>, news: &Arc<News>) {
        let policy = self.shared.policy.load();
        for rule in policy.notify().iter().filter(|rule| rule.events.contains(&what)) {
            let (notifier, rule, news) = (self.clone(), rule.clone(), news.clone());
            self.spawn(approval, async move { notifier.deliver(&rule, &news).await });
        }
    }

    fn spawn(&self, approval: Option<&ApprovalId>, work: impl Future<Output = Result<(), String>> + Send + 'static) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return self.failed(approval, "too many notifications are under way; one was not sent");
        };
        let (notifier, approval) = (self.clone(), approval.cloned());
        tokio::spawn(async move {
            if let Err(reason) = work.await {
                notifier.failed(approval.as_ref(), &reason);
            }
            drop(place);
        });
    }

    /// Has log and evidence say that somebody was not told or asked.
    fn failed(&self, approval: Option<&ApprovalId>, reason: &str) {
        tracing::warn!(approval = approval.map(ToString::to_string), "{reason}");
        self.shared.notices.put(Event {
            time_micros: now().0,
            kind: Kind::Control as i32,
            outcome: Outcome::UpstreamFailed as i32,
            policy_version: self.shared.policy.load().version(),
            approval: approval.map(ToString::to_string).unwrap_or_default(),
            detail: reason.to_owned(),
            broker: -1,
            ..Event::default()
        });
    }

    fn secret(&self, file: &str) -> Result<Secret, String> {
        let folder = self.config.policy_file.parent().unwrap_or(Path::new(""));
        Secret::read(&folder.join(file))
    }

    /// The client for a URL: HTTPS, or HTTP to the loopback.
    fn client(&self, url: &str) -> Result<(&reqwest::Client, Url), String> {
        let url: Url = url.parse().map_err(|error| format!("a webhook's URL is wrong: {error}"))?;
        let local = url.host_str().is_some_and(|host| {
            host == "localhost"
                || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        });
        let client = match url.scheme() {
            "https" => self.tls.as_ref(),
            "http" if local => self.plain.as_ref(),
            _ => return Err(format!("a webhook at {} must be reached by https://", place(&url))),
        };
        client.map(|client| (client, url)).ok_or_else(|| "no certificate authorities for webhooks".to_owned())
    }

    async fn deliver(&self, rule: &NotifyRule, news: &News) -> Result<(), String> {
        let (client, url) = self.client(&rule.url)?;
        let secret = rule.secret_file.as_deref().map(|file| self.secret(file)).transpose()?;
        let body = self.body(rule.kind, news);
        let mut pause = Duration::from_secs(1);
        let mut reason = String::new();
        for turn in 0..TRIES {
            if turn > 0 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            let mut request = client.post(url.clone()).header("content-type", "application/json");
            if let Some(secret) = &secret {
                let (seconds, nonce) = (now().as_secs(), nonce());
                let signature = secret.sign(Purpose::Notification, seconds, &nonce, &body);
                request = request.header(TIMESTAMP, seconds).header(NONCE, nonce).header(SIGNATURE, signature);
            }
            match request.body(body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => {
                    reason = format!("status {}", answer.status().as_u16());
                    let lasting = answer.status().is_client_error() && answer.status().as_u16() != 429;
                    if lasting || answer.status().is_redirection() {
                        break;
                    }
                }
                Err(error) => reason = error.without_url().to_string(),
            }
        }
        Err(format!("{} was not told of {}: {reason}", place(&url), news.event))
    }

    fn view(&self, id: &ApprovalId) -> Option<ApprovalView> {
        self.authority.read().approval(id).map(|approval| ApprovalView::of(approval, now()))
    }

    fn body(&self, kind: NotifyKind, news: &News) -> Vec<u8> {
        let body = match kind {
            NotifyKind::Generic => serde_json::to_vec(&Notification {
                gateway: &self.config.origin,
                event: news.event,
                sequence: news.sequence,
                time: rfc3339(news.time),
                actor: Person::from(&news.actor),
                summary: &news.summary,
                approval: news.approval.as_ref(),
            }),
            NotifyKind::Slack => serde_json::to_vec(&serde_json::json!({ "text": escaped(&news.summary) })),
        };
        body.unwrap_or_default()
    }

    /// Asks an automated approver; an error where it decided nothing.
    async fn ask(&self, id: &ApprovalId, automatic: &Automatic) -> Result<(), String> {
        let timeout = Duration::from_millis(automatic.timeout_millis);
        let asked = tokio::time::timeout(timeout, self.question(id, automatic)).await;
        let asked = asked.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}")));
        let answer =
            asked.map_err(|error| format!("the automated approver decided nothing, a person must: {error}"))?;
        let decision = match answer.decision {
            Verdict::Abstain => return Ok(()),
            Verdict::Approve => Decision::Approve,
            Verdict::Deny => Decision::Deny,
        };
        let reason: String = answer.reason.chars().filter(|c| !c.is_control()).take(1000).collect();
        let reason = if reason.trim().is_empty() { "no reason given".to_owned() } else { reason };
        let command = Command::DecideAutomatically { approval: id.clone(), decision, reason };
        // A person may have been faster; the log has the refusal.
        let _ = self.authority.submit(Actor::gateway(), command).await;
        Ok(())
    }

    async fn question(&self, id: &ApprovalId, automatic: &Automatic) -> Result<Answer, String> {
        let (client, url) = self.client(&automatic.url)?;
        let secret = self.secret(&automatic.secret_file)?;
        let approval = self.view(id).ok_or("the question is gone")?;
        let body = serde_json::json!({ "gateway": &*self.config.origin, "approval": approval }).to_string();
        let (seconds, nonce) = (now().as_secs(), nonce());
        let signature = secret.sign(Purpose::Question, seconds, &nonce, body.as_bytes());
        let request = client.post(url.clone()).header("content-type", "application/json");
        let request = request.header(TIMESTAMP, seconds).header(NONCE, &nonce).header(SIGNATURE, signature);
        let failed = |error: reqwest::Error| format!("{}: {}", place(&url), error.without_url());
        let mut answer = request.body(body).send().await.map_err(failed)?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(format!("{} answered with status {}", place(&url), answer.status().as_u16()));
        }
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (at, signature) = (header(TIMESTAMP), header(SIGNATURE));
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(format!("{} answered with too much", place(&url)));
            }
            bytes.extend_from_slice(&chunk);
        }
        let at: i64 = at.and_then(|at| at.parse().ok()).ok_or("its answer has no time")?;
        let signature = signature.ok_or("its answer is not signed")?;
        let timely = now().as_secs().abs_diff(at) <= WINDOW_SECS.unsigned_abs();
        if !timely || !secret.verifies(Purpose::Answer(&nonce), at, &nonce, &bytes, &signature) {
            return Err("its answer's signature is wrong".to_owned());
        }
        serde_json::from_slice(&bytes).map_err(|error| format!("its answer is not as documented: {error}"))
    }
}

/// Scheme, host and port: paths of webhooks are secrets of their own.
fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn nonce() -> String {
    let mut random = [0; 16];
    // Without randomness nothing of the gateway works; the time still tells messages apart.
    let _ = rand::fill(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn kind(change: &Change) -> Option<NotifyEvent> {
    Some(match change {
        Change::GrantRequested(_) | Change::OperationHeld(_) => NotifyEvent::Requested,
        Change::Decided { .. } => NotifyEvent::Decided,
        Change::GrantRevoked { .. }
        | Change::SessionRevoked { .. }
        | Change::TokenRevoked { .. }
        | Change::PrincipalRevoked { .. }
        | Change::PrincipalRestored { .. } => NotifyEvent::Revoked,
        Change::BreakGlassOpened(_) | Change::BreakGlassReviewed { .. } => NotifyEvent::BreakGlass,
        _ => return None,
    })
}

/// One sentence for people, and what they can do.
fn summary(change: &Change, actor: &Actor, approval: Option<&ApprovalView>) -> String {
    let what = approval.map(|approval| format!("{}: {}", approval.id, approval.summary)).unwrap_or_default();
    let name = &actor.name;
    match change {
        Change::GrantRequested(request) => {
            let id = &request.id;
            format!("{what} ({}). Decide with: tidegate approval approve {id} --reason … (or deny)", request.reason)
        }
        Change::OperationHeld(held) => {
            format!("{what}. Decide with: tidegate approval approve {} --reason … (or deny)", held.id)
        }
        Change::Decided { decision, reason, .. } => {
            let word = if *decision == Decision::Approve { "approved" } else { "denied" };
            format!("{name} {word} {what} ({reason})")
        }
        Change::BreakGlassOpened(opened) => {
            format!("BREAK-GLASS {what} ({}). To be reviewed by {}", opened.reason, rfc3339(opened.review_by))
        }
        Change::BreakGlassReviewed { reason, .. } => format!("{name} reviewed {what} ({reason})"),
        Change::GrantRevoked { grant, reason } => format!("{name} revoked grant {grant} ({reason})"),
        Change::SessionRevoked { session, reason } => format!("{name} revoked session {session} ({reason})"),
        Change::TokenRevoked { reason, .. } => format!("{name} revoked a token ({reason})"),
        Change::PrincipalRevoked { name: who, reason, .. } => format!("{name} revoked principal {who} ({reason})"),
        Change::PrincipalRestored { name: who, reason, .. } => format!("{name} restored principal {who} ({reason})"),
        other => format!("{name}: {}", other.kind()),
    }
}

/// Text as Slack wants it escaped, so that nobody's reason becomes a link or a mention.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
