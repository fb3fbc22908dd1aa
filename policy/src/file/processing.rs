//! What the policy declares of processing (Art. 30 GDPR): who is responsible, and for each activity its
//! purposes, data, recipients and end. Nothing is enforced by it; `tidegate report article-30` puts it
//! beside what evidence saw.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NameRule;

/// Processing of personal data, as it is declared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessingRule {
    /// The controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<PartyRule>,
    /// Controllers that decide together with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joint_controllers: Vec<PartyRule>,
    /// The representative in the Union.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representative: Option<PartyRule>,
    /// The data protection officer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpo: Option<PartyRule>,
    /// The processor, where you process for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor: Option<PartyRule>,
    /// Security measures, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security: Vec<String>,
    /// What is done, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub activities: Vec<ActivityRule>,
}

/// Somebody, and how to reach him.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartyRule {
    /// The name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// An address, telephone number or e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
}

impl PartyRule {
    /// Name and contact in one.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.contact {
            Some(contact) => format!("{}, {contact}", self.name),
            None => self.name.clone(),
        }
    }
}

/// A processing activity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivityRule {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The controller on whose behalf it is done, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<PartyRule>,
    /// The purposes, as grants write them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purposes: Vec<String>,
    /// The legal basis, for instance `Art. 6(1)(b): contract`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal_basis: Option<String>,
    /// The topics that it is done with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<NameRule>,
    /// Categories of people, for instance `customers`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<String>,
    /// Classes of data: built-in ones, the policy's own, and what fields give as `subject`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Who gets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<RecipientRule>,
    /// Transfers to third countries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfers: Vec<TransferRule>,
    /// When data is erased, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
}

/// A recipient, or a category of recipients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipientRule {
    /// The name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Which principals are meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
    /// Which groups are meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// A transfer to a third country or an international organisation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferRule {
    /// Where to.
    #[schemars(length(min = 1))]
    pub country: String,
    /// What makes it lawful, for instance `standard contractual clauses`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safeguard: Option<String>,
}
