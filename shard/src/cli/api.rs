//! How commands reach the gateway's admin API, and how its answers are shown.
//!
//! Invariant: a token crosses a network only inside TLS; plain HTTP is for the loopback.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use reqwest::{Method, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Failure, credentials};
use crate::control::admin::problem::Problem;
use crate::control::tls;

/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Which gateway, and who asks.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Server {
    /// The gateway's control address
    #[arg(long, value_name = "URL", env = "TIDEGATE_SERVER", default_value = "http://127.0.0.1:9644", global = true)]
    server: String,
    /// The file with the token to show [default: the one that `tidegate login` writes]
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Certificate authorities for the gateway's certificate, PEM [default: the system's]
    #[arg(long, value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,
    /// Tables for people, or the API's JSON
    #[arg(long, value_enum, default_value_t = Output::Text, global = true)]
    pub(super) output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Tables and sentences
    Text,
    /// The API's JSON
    Json,
}

impl Server {
    /// For commands that have other options of these names.
    pub(super) fn at(server: String, token_file: Option<PathBuf>, ca_file: Option<PathBuf>) -> Self {
        Self { server, token_file, ca_file, output: Output::Json }
    }

    /// The file that the token is in, where one was named.
    pub(super) fn token_file(&self) -> Option<&std::path::Path> {
        self.token_file.as_deref()
    }

    /// The answer to a call.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &[&str],
        query: &impl Serialize,
        body: Option<&impl Serialize>,
    ) -> Result<(T, Value), Failure> {
        let url = self.url(path, query).map_err(|sentence| Failure::Usage(vec![sentence]))?;
        let token = credentials::read_token(self.token_file.as_deref())
            .map_err(|error| Failure::Usage(vec![format!("{error:#}")]))?;
        let usage = |error: String| Failure::Usage(vec![error]);
        let tls = match url.scheme() {
            "http" => tls::no_authorities().map_err(|error| usage(error.to_string()))?,
            _ => tls::client(self.ca_file.as_deref(), None).map_err(|error| usage(error.to_string()))?,
        };
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls)
            .build()
            .map_err(|error| Failure::Fault(error.to_string()))?;
        let mut request = client.request(method.clone(), url).bearer_auth(token.as_str());
        if let Some(body) = body {
            request = request.json(body);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Fault(error.to_string()))?;
        let (status, bytes) = runtime.block_on(send(request)).map_err(|error| {
            Failure::Refused(vec![format!("the gateway at {} does not answer: {error}", self.server)])
        })?;
        if !(200..300).contains(&status) {
            let sentence = match serde_json::from_slice::<Problem>(&bytes) {
                Ok(problem) => format!("{}: {}", problem.title, problem.detail),
                Err(_) => format!("{} answered with status {status}; is it a gateway's control address?", self.server),
            };
            return Err(Failure::Refused(vec![sentence]));
        }
        let strange =
            |error: serde_json::Error| Failure::Refused(vec![format!("the answer is not as expected: {error}")]);
        let value: Value = serde_json::from_slice(&bytes).map_err(strange)?;
        Ok((serde_json::from_value(value.clone()).map_err(strange)?, value))
    }

    fn url(&self, path: &[&str], query: &impl Serialize) -> Result<Url, String> {
        let mut url: Url = self.server.parse().map_err(|error| format!("--server {}: {error}", self.server))?;
        let local = match url.host_str() {
            Some("localhost") => true,
            Some(host) => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
            None => false,
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && local) {
            return Err(format!(
                "--server {}: a token is sent by https://, or by http:// to the loopback",
                self.server
            ));
        }
        url.path_segments_mut().map_err(|()| "--server has no path".to_owned())?.pop_if_empty().extend(path);
        if let Ok(Value::Object(parameters)) = serde_json::to_value(query) {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in parameters {
                match value {
                    Value::Null => {}
                    Value::String(text) => drop(pairs.append_pair(&name, &text)),
                    other => drop(pairs.append_pair(&name, &other.to_string())),
                }
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        Ok(url)
    }
}

async fn send(request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), String> {
    let root = |error: reqwest::Error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        cause.to_string()
    };
    let mut response = request.send().await.map_err(root)?;
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(root)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("its answer has more than {ANSWER_BYTES_MAX} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((status, bytes))
}

/// Writes rows below their headings, each column as wide as its widest cell. What others wrote is shown without
/// its control characters, so that it cannot move the cursor.
pub(super) fn table(out: &mut impl Write, headings: &[&str], rows: &[Vec<String>]) -> std::io::Result<()> {
    let clean = |cell: &String| cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let mut lines: Vec<Vec<String>> = vec![headings.iter().map(ToString::to_string).collect()];
    lines.extend(rows.iter().map(|row| row.iter().map(clean).collect()));
    let width =
        |column: usize| lines.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_only_where_it_is_safe_and_ids_are_quoted() {
        let url = |server: &str| {
            let server = Server { server: server.to_owned(), token_file: None, ca_file: None, output: Output::Text };
            server.url(
                &["v1", "sessions", "a/../b?c"],
                &serde_json::json!({ "limit": 5, "after": null, "principal": "x&y" }),
            )
        };
        let expected = "/v1/sessions/a%2F..%2Fb%3Fc?limit=5&principal=x%26y";
        for good in ["http://127.0.0.1:9644", "http://localhost:1", "http://[::1]:9", "https://gw.example.com/"] {
            assert!(url(good).unwrap().as_str().ends_with(expected), "{good}: {}", url(good).unwrap());
        }
        for bad in ["http://gw.example.com", "ftp://127.0.0.1", "gw.example.com:9644", ""] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_table_is_aligned_and_harmless() {
        let mut out = Vec::new();
        table(&mut out, &["ID", "WHY"], &[vec!["a".into(), "b\x1b[2J".into()], vec!["long".into(), "c".into()]])
            .unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "ID    WHY\na     b [2J\nlong  c\n");
    }
}
