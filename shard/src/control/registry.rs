//! Fetches schemas from a Confluent-compatible registry (its REST API, `GET /schemas/ids/{id}`,
//! `/schemas/guids/{guid}` and `/subjects/{subject}/versions/{version}` for what a schema refers to),
//! compiles them and puts them on the shelf that shards look at.
//!
//! One at a time and each once: made-up ids cost the registry one request a minute each, and no more
//! than a queue full at once. An answer is bounded in size and time, and so are references.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Deserialize;
use tidegate_policy::mask::schema::{Schema, SchemaId};
use tokio::sync::mpsc;
use url::Url;
use zeroize::Zeroizing;

use super::tls;
use crate::config::{RegistryLogin, SchemaRegistry};
use crate::shared::Shared;

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long one request may take, from connecting to the last byte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Schemas that wait for being fetched. Beyond it they are dropped: whoever needs one comes again.
const WAITING_MAX: usize = 64;
/// Schemas that one refers to, theirs included.
const REFERENCES_MAX: usize = 200;
/// How long the registry's word that there is no such schema is believed.
const MISSING_FOR: Duration = Duration::from_secs(60);
/// How long nobody asks again where it did not answer.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// The registry's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    schema: String,
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
}

/// What a schema refers to.
#[derive(Debug, Clone, Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

/// Why a schema cannot be had.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// How long that is believed.
    holds: Duration,
}

/// Keeps the registry's schemas.
pub(super) struct RegistryKeeper {
    fetcher: Fetcher,
    shared: Arc<Shared>,
    wanted: mpsc::Receiver<SchemaId>,
}

/// Fetches schemas one by one.
struct Fetcher {
    registry: SchemaRegistry,
    client: reqwest::Client,
}

/// The client that asks the registry.
///
/// # Errors
/// A sentence about the authorities' file, or reqwest's.
pub(super) fn client(registry: &SchemaRegistry) -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(REQUEST_TIMEOUT)
        .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
    // One that is reached by plain HTTP needs no authorities, and a machine may have none.
    let plain = registry.url.scheme() == "http";
    let tls = if plain { tls::no_authorities()? } else { tls::client(registry.ca_file.as_deref(), None)? };
    Ok(builder.tls_backend_preconfigured(tls).build()?)
}

/// A schema of the registry's, for a command that asks once.
///
/// # Errors
/// Why it cannot be had.
pub(crate) fn fetch_schema(registry: &SchemaRegistry, id: SchemaId) -> anyhow::Result<Arc<Schema>> {
    let fetcher = Fetcher { registry: registry.clone(), client: client(registry)? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let heard = runtime.block_on(fetcher.schema(id));
    heard.map(Arc::new).map_err(|failure| anyhow::anyhow!(failure.reason))
}

impl RegistryKeeper {
    /// A keeper that has fetched nothing, and where to send it the ids of schemas that are wanted.
    pub(super) fn new(
        registry: SchemaRegistry,
        client: reqwest::Client,
        shared: Arc<Shared>,
    ) -> (Self, mpsc::Sender<SchemaId>) {
        let (sender, wanted) = mpsc::channel(WAITING_MAX);
        (Self { fetcher: Fetcher { registry, client }, shared, wanted }, sender)
    }

    /// Fetches what is wanted until nobody is left who could want anything.
    pub(super) async fn run(mut self) {
        while let Some(id) = self.wanted.recv().await {
            // Several shards, or one several times, may have asked for it.
            if self.shared.schemas.is_settled(id) {
                continue;
            }
            let heard = match self.fetcher.schema(id).await {
                Ok(schema) => Ok(Arc::new(schema)),
                Err(Failure { reason, holds }) => {
                    tracing::warn!(schema = %id, %reason, "a schema cannot be had from the registry");
                    Err((Arc::from(reason), Instant::now() + holds))
                }
            };
            self.shared.schemas.put(id, heard);
        }
    }
}

impl Fetcher {
    async fn schema(&self, id: SchemaId) -> Result<Schema, Failure> {
        let number;
        let guid;
        let path: &[&str] = match id {
            SchemaId::Number(id) => {
                number = id.to_string();
                &["schemas", "ids", &number]
            }
            SchemaId::Guid(_) => {
                guid = id.to_string();
                &["schemas", "guids", &guid]
            }
        };
        let answer = self.get(path).await?;
        let mut known = Vec::new();
        // A schema is compiled after all that it refers to.
        let mut open: Vec<(Option<String>, Answer, std::vec::IntoIter<Reference>)> = Vec::new();
        let mut seen = HashSet::new();
        let references = answer.references.clone().unwrap_or_default().into_iter();
        open.push((None, answer, references));
        while let Some((_, _, references)) = open.last_mut() {
            if let Some(reference) = references.next() {
                if !seen.insert((reference.subject.clone(), reference.version, reference.name.clone())) {
                    continue;
                }
                if seen.len() > REFERENCES_MAX {
                    let reason = format!("it refers to more than {REFERENCES_MAX} schemas");
                    return Err(Failure { reason, holds: MISSING_FOR });
                }
                let version = reference.version.to_string();
                let answer = self.get(&["subjects", &reference.subject, "versions", &version]).await?;
                let references = answer.references.clone().unwrap_or_default().into_iter();
                open.push((Some(reference.name), answer, references));
                continue;
            }
            let Some((name, answer, _)) = open.pop() else { break };
            match name {
                Some(name) => known.push((name, answer.schema)),
                None => {
                    // That may take its time, and other tasks share this thread.
                    let compile = move || Schema::compile(answer.schema_type.as_deref(), &answer.schema, &known);
                    let compiled = tokio::task::spawn_blocking(compile).await;
                    let compiled = compiled.unwrap_or_else(|_| Err("it cannot be compiled".to_owned()));
                    return compiled.map_err(|reason| Failure { reason, holds: MISSING_FOR });
                }
            }
        }
        Err(Failure { reason: "it is not there".to_owned(), holds: MISSING_FOR })
    }

    /// A bounded GET below the registry's address.
    async fn get(&self, path: &[&str]) -> Result<Answer, Failure> {
        let failed = |reason: String| Failure { reason, holds: FAILED_FOR };
        let url = below(&self.registry.url, path).ok_or_else(|| failed("the registry's address has no path".into()))?;
        let mut request = self.client.get(url).header("accept", "application/vnd.schemaregistry.v1+json");
        let secret = |file: &std::path::Path| read_secret(file).map_err(|error| failed(format!("{error:#}")));
        request = match &self.registry.login {
            RegistryLogin::None => request,
            RegistryLogin::Basic { username, password_file } => {
                request.basic_auth(username, Some(secret(password_file)?.as_str()))
            }
            RegistryLogin::Bearer { token_file } => request.bearer_auth(secret(token_file)?.as_str()),
        };
        let unreachable =
            |error: reqwest::Error| failed(format!("the registry does not answer: {}", error.without_url()));
        let mut response = request.send().await.map_err(unreachable)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Err(Failure { reason: "the registry does not have it".to_owned(), holds: MISSING_FOR }),
            status => return Err(failed(format!("the registry answered {status}"))),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(failed(format!("the registry answered with more than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|_| failed("the registry's answer is no schema".to_owned()))
    }
}

/// The address with these segments added to its path.
fn below(url: &Url, path: &[&str]) -> Option<Url> {
    let mut url = url.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(path);
    Some(url)
}

/// The secret in a file, read at each use: it may have been replaced.
fn read_secret(file: &std::path::Path) -> anyhow::Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = Zeroizing::new(text);
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_path_and_names_are_escaped() {
        let url = |text: &str, path: &[&str]| below(&Url::parse(text).unwrap(), path).unwrap().to_string();
        assert_eq!(url("http://r:8081", &["schemas", "ids", "7"]), "http://r:8081/schemas/ids/7");
        assert_eq!(
            url("https://r/api/", &["subjects", "a/b c", "versions", "1"]),
            "https://r/api/subjects/a%2Fb%20c/versions/1"
        );
    }
}
