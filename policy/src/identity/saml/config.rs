//! What an operator says about a SAML identity provider. Part of the gateway's configuration; checked
//! by [`SamlConfig::problems`] before anything uses it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A SAML 2.0 identity provider whose assertions are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamlConfig {
    /// The provider's entity id, exactly as in its metadata and assertions. It is the issuer of its
    /// principals in policy and evidence.
    pub entity_id: String,
    /// What the login page calls it; by default its entity id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The provider's metadata as a file; read anew when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_file: Option<PathBuf>,
    /// Where the provider's metadata is fetched, over HTTPS; fetched anew while the gateway runs, so
    /// that keys can roll over. Exactly one of `metadata_file` and `metadata_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_url: Option<String>,
    /// PEM file with the certificate authorities that the provider's HTTPS certificate is checked
    /// against, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The attribute that names the principal in policy and evidence. Without it: the NameID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_attribute: Option<String>,
    /// The attribute that lists the principal's groups.
    #[serde(default = "default_groups_attribute")]
    pub groups_attribute: String,
    /// Put before every principal's name, so that names of several issuers cannot meet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub principal_prefix: String,
    /// Put before every group's name, so that groups of several issuers cannot meet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub groups_prefix: String,
    /// Seconds by which clocks may differ. At most 300.
    #[serde(default = "default_leeway_seconds")]
    pub leeway_seconds: u32,
}

fn default_groups_attribute() -> String {
    "groups".to_owned()
}

const fn default_leeway_seconds() -> u32 {
    30
}

/// Leeway beyond which an assertion's few minutes would hardly mean anything.
const LEEWAY_SECONDS_MAX: u32 = 300;

impl SamlConfig {
    /// A provider with every default but where its metadata is.
    #[must_use]
    pub fn new(entity_id: &str) -> Self {
        Self {
            entity_id: entity_id.to_owned(),
            label: None,
            metadata_file: None,
            metadata_url: None,
            ca_file: None,
            principal_attribute: None,
            groups_attribute: default_groups_attribute(),
            principal_prefix: String::new(),
            groups_prefix: String::new(),
            leeway_seconds: default_leeway_seconds(),
        }
    }

    /// Everything that is wrong, each with the key it is about; empty where nothing is.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.entity_id.is_empty() {
            problems.push(("entity_id", "the provider's entity id is needed".to_owned()));
        }
        match (&self.metadata_file, &self.metadata_url) {
            (Some(_), Some(_)) => {
                problems.push(("metadata_url", "give either `metadata_file` or `metadata_url`, not both".to_owned()));
            }
            (None, None) => problems.push(("metadata_file", "`metadata_file` or `metadata_url` is needed".to_owned())),
            (None, Some(url)) if !crate::identity::config::is_fetchable(url, false) => {
                problems
                    .push(("metadata_url", format!("`{url}` must be an https:// URL (http:// to the loopback only)")));
            }
            _ => {}
        }
        if self.groups_attribute.is_empty() {
            problems.push(("groups_attribute", "an attribute's name is needed".to_owned()));
        }
        if self.leeway_seconds > LEEWAY_SECONDS_MAX {
            problems.push(("leeway_seconds", format!("at most {LEEWAY_SECONDS_MAX} seconds")));
        }
        problems
    }
}
