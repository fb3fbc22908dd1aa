//! To an HTTP endpoint: a POST a batch.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::Tried;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(30);

/// An endpoint and how it is spoken to.
pub(super) struct Http {
    client: reqwest::Client,
    url: reqwest::Url,
    token: Option<String>,
}

impl Http {
    /// # Errors
    /// The address or the token's file cannot be used.
    pub(super) fn open(to: &str, token_file: Option<&Path>) -> anyhow::Result<Self> {
        let url: reqwest::Url = to.parse().with_context(|| format!("--to {to}"))?;
        let token = token_file
            .map(|file| std::fs::read_to_string(file).with_context(|| format!("--token-file {}", file.display())))
            .transpose()?;
        let local = url.host_str().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host));
        // Entries say who read what; they and the token are nobody's on the way.
        anyhow::ensure!(url.scheme() == "https" || local, "--to {url}: plain HTTP goes to this machine only");
        let client = reqwest::Client::builder().timeout(REQUEST).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { client, url, token: token.map(|token| token.trim().to_owned()) })
    }

    /// Sends a body once.
    pub(super) async fn post(&self, kind: &'static str, body: bytes::Bytes) -> Tried {
        let mut request = self.client.post(self.url.clone()).header("content-type", kind).body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Tried::Done,
            Ok(answer) => {
                let status = answer.status();
                let error = anyhow::anyhow!("it answers {status}");
                // What is wrong with the request stays wrong.
                let stays = status.is_client_error() && status.as_u16() != 429 && status.as_u16() != 408;
                if stays { Tried::Refused(error) } else { Tried::Failed(error) }
            }
            Err(error) => Tried::Failed(error.without_url().into()),
        }
    }
}
