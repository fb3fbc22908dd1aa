//! Putting a question about a person into a running gateway's evidence: who asks about people is itself
//! somebody's to see.

use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;

use super::Failure;
use super::api::Server;
pub use crate::control::admin::requests::Asked;

/// Which gateway, and why is asked.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "The question's own evidence")]
pub struct Gateway {
    /// The control address of the gateway that records the question
    #[arg(long, value_name = "URL", env = "TIDEGATE_SERVER", default_value = "http://127.0.0.1:9644")]
    pub gateway: String,
    /// The file with the token to show it [default: DIR/control/operator.token, or the one of `tidegate login`]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate authorities for the gateway's certificate, PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Why is asked, for the evidence: a ticket, a request
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub why: String,
    /// Do not record the question: for copies far from any gateway
    #[arg(long)]
    pub offline: bool,
}

impl Gateway {
    /// Has the gateway record the question, or says why it is not recorded.
    ///
    /// # Errors
    /// The reason, in words.
    pub fn record(&self, dir: &Path, asked: &Asked) -> Result<(), String> {
        if self.offline {
            return Err("--offline".to_owned());
        }
        let operator = dir.join("control").join("operator.token");
        let token = self.token_file.clone().or_else(|| operator.exists().then_some(operator));
        let server = Server::at(self.gateway.clone(), token, self.ca_file.clone());
        let path = ["v1", "evidence", "questions"];
        match server.call::<Value>(&Method::POST, &path, &Value::Null, Some(asked)) {
            Ok(_) => Ok(()),
            Err(Failure::Refused(sentences) | Failure::Usage(sentences)) => Err(sentences.join("; ")),
            Err(Failure::Fault(sentence)) => Err(sentence),
            Err(Failure::Code(code)) => Err(format!("it ended with {code}")),
        }
    }
}
