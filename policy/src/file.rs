//! The policy file as people write it: typed, strict, and documented field by field, because these
//! comments are what the published JSON Schema and an editor's hover show.
//!
//! Nothing here decides; [`crate::snapshot`] checks what a schema cannot say and compiles.

mod authority;
mod processing;
mod recording;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_core::words::{DataClass, Direction, Operation};

pub use self::authority::{
    Approvers, AutomaticRule, BreakGlassRule, ConfigChange, HeldKind, HoldRule, NotifyEvent, NotifyKind, NotifyRule,
    RequestRule, RolesRule, UnlessRule,
};
pub use self::processing::{ActivityRule, PartyRule, ProcessingRule, RecipientRule, TransferRule};
pub use self::recording::{AuditorRule, RecordingMode, RecordingRule, WhenFull};
use crate::document::text::{DayRange, Moment, PartitionRange, TimeOfDay, ZoneName};
use crate::scan::custom::CheckDigit;

/// Who may do what, when and why, and what is masked on the way. What no grant allows is denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// What happens to records that a mask rule applies to and that cannot be parsed.
    #[serde(default)]
    pub on_unparseable: OnUnparseable,
    /// Secrets for the operators `pseudonym` and `encrypt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyRule>,
    /// Classes of data of your own, for mask rules beside the built-in ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassDefinition>,
    /// What is allowed. The order matters only for which grant's name evidence shows where several
    /// allow the same: the first in the file.
    #[serde(default)]
    pub grants: Vec<GrantRule>,
    /// What is masked. For each class of data the first rule that names the topic, the direction
    /// and the principal decides, so put the particular before the general.
    #[serde(default)]
    pub masks: Vec<MaskRule>,
    /// Who may ask for which grants at run time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestRule>,
    /// Which operations wait for an approver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldRule>,
    /// What may be opened in an emergency without asking.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub break_glass: Vec<BreakGlassRule>,
    /// Who may do what through the admin API.
    #[serde(default, skip_serializing_if = "RolesRule::is_empty")]
    pub roles: RolesRule,
    /// Who is told of requests and decisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<NotifyRule>,
    /// Whose sessions are recorded, for replay. Nobody's, where nothing stands here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recordings: Vec<RecordingRule>,
    /// What is declared of processing, for the record of Art. 30 GDPR; nothing is enforced by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processing: Option<ProcessingRule>,
}

/// A secret that mask rules name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRule {
    /// A name that no other key has.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Which secret under this name it is; one more with every new one. Pseudonyms show it.
    #[serde(default = "first_epoch")]
    #[schemars(range(min = 1))]
    pub epoch: u32,
    /// The file that holds the secret, 32 random bytes or more; a path that is not absolute begins
    /// where the policy file stands.
    #[schemars(length(min = 1))]
    pub file: String,
}

fn first_epoch() -> u32 {
    1
}

/// A class of data of your own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassDefinition {
    /// A name that no other class has, built-in ones included: small letters, digits and `_`.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// A regular expression, in the syntax of Rust's `regex` crate: no look-around, no
    /// back-references, and time linear to the text.
    #[schemars(length(min = 1, max = 1000))]
    pub regex: String,
    /// A rule of check digits that letters and digits of a match have to satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckDigit>,
    /// Words of which one has to stand before a match, in its line or as the name of its field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub keywords: Vec<String>,
}

/// What happens to a record or batch that mask rules apply to but that cannot be parsed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnUnparseable {
    /// It is refused with an error to the client.
    #[default]
    Reject,
    /// The whole value is replaced, where the batch at least can be walked; else it is refused.
    MaskWholeValue,
    /// It is passed on as it is, and named in the evidence.
    Pass,
}

/// A grant: these principals may do these operations on these resources, in this time, for this purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantRule {
    /// A name that no other grant has; evidence cites it.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// What for. It is written into the evidence of every use.
    #[schemars(length(min = 1, max = 2000))]
    pub purpose: String,
    /// Principals by name. `"*"` is every authenticated principal, as `everyone: true` is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<Identity>,
    /// Groups whose members are meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Identity>,
    /// Whether every authenticated principal is meant. A connection without authentication is not;
    /// to allow it something, name the principal `ANONYMOUS`.
    #[serde(default)]
    pub everyone: bool,
    /// On what.
    #[schemars(length(min = 1))]
    pub resources: Vec<ResourceRule>,
    /// What may be done, as Kafka names it. Read, write, delete and alter bring describe with them,
    /// alter_configs brings describe_configs.
    #[schemars(length(min = 1))]
    pub operations: Vec<OperationRule>,
    /// From when on. Without it: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Moment>,
    /// Until when; at this very time the grant has ended. Without it: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Moment>,
    /// Times of day at which the grant holds; in any of them is enough. Without it: all day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowRule>,
}

/// A principal or group: its name, of whichever issuer, or a name of one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Identity {
    /// The name, whichever trusted issuer vouches for it.
    Name(#[schemars(length(min = 1))] String),
    /// The name, as one issuer vouches for it.
    Qualified(QualifiedIdentity),
}

/// A name as one issuer vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QualifiedIdentity {
    /// The principal's or group's name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The issuer, exactly as in its tokens (`iss`), or `tls` for client certificates.
    #[schemars(length(min = 1))]
    pub issuer: String,
}

/// One resource: exactly one of `topic`, `group`, `transactional_id`, `cluster`, `delegation_token`
/// and `user`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceRule {
    /// A topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<NameRule>,
    /// Only these partitions of the topic: numbers and ranges. Questions about the whole topic are
    /// then not covered, but for describe, without which a client could not find its partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub partitions: Option<Vec<PartitionsRule>>,
    /// A consumer, share or streams group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<NameRule>,
    /// A producer's transactional id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactional_id: Option<NameRule>,
    /// The cluster as a whole; only `true` makes sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<bool>,
    /// A delegation token, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation_token: Option<NameRule>,
    /// Another user, as `User:name`, whose delegation tokens are meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<NameRule>,
}

/// A name as it is, `"*"` for every name, or a map with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NameRule {
    /// This very name; `"*"` is every name.
    Literal(#[schemars(length(min = 1))] String),
    /// Every name that begins with this.
    Prefixed(PrefixRule),
}

/// Every name that begins with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrefixRule {
    /// What the names begin with.
    #[schemars(length(min = 1))]
    pub prefix: String,
}

/// A partition's number, or a range as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PartitionsRule {
    /// One partition.
    One(#[schemars(range(min = 0))] i32),
    /// Partitions from a first to a last, both included.
    Range(PartitionRange),
}

/// One operation, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OperationRule {
    /// This one.
    One(Operation),
    /// Every operation.
    All(AllOperations),
}

/// The word for every operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AllOperations {
    /// Every operation.
    All,
}

/// A time of day at which a grant holds. Where `to` is not after `from`, the window crosses
/// midnight and ends on the next day. A clock time that a change to daylight saving skips counts as
/// the moment of the change; one that occurs twice counts the first time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowRule {
    /// When it opens.
    pub from: TimeOfDay,
    /// When it closes; at this very minute it is closed.
    pub to: TimeOfDay,
    /// Whose clock.
    pub timezone: ZoneName,
    /// The days on which it opens. Without it: every day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub days: Option<Vec<DayRange>>,
}

/// A mask rule: for these readers or writers, data of these classes in records of these topics is masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaskRule {
    /// A name that no other mask rule has; evidence cites it.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// In records of which topics.
    #[schemars(length(min = 1))]
    pub topics: Vec<NameRule>,
    /// For which principals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<Identity>,
    /// For members of which groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Identity>,
    /// For every principal, unauthenticated ones included.
    #[serde(default)]
    pub everyone: bool,
    /// Who of them is exempt and sees the data as it is. What an exempt principal sees is still
    /// looked for, counted and named in the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except: Option<Except>,
    /// On which way: `fetch` masks what is read, `produce` masks what is written.
    #[serde(default = "fetch_only")]
    #[schemars(length(min = 1))]
    pub directions: Vec<Direction>,
    /// Whether the rule masks, or only reports in the evidence what it finds. A rule that observes
    /// keeps no other rule from masking.
    #[serde(default, skip_serializing_if = "is_enforce")]
    pub mode: Mode,
    /// Which classes of data, wherever they stand: built-in ones, and those of the section `classes`.
    /// `person_name` and `postal_address` are found by the names of fields only (`lastName`, `Straße`),
    /// never in text; `date_of_birth` and `passport` both by these and in text, behind a word that
    /// says what they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassName>,
    /// Which fields, whatever stands in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldRule>,
    /// Reads the records of these topics as CSV; fields are then given by column or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv: Option<CsvRule>,
    /// Reads records of these topics that are in a schema registry's framing (Avro, Protobuf, JSON Schema) by
    /// their schemas, whatever other rules say of them. The configuration names the registry. A record
    /// whose schema cannot be had cannot be parsed; see `on_unparseable`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub schema_registry: bool,
    /// Regions (ISO 3166-1, two letters) whose telephone numbers are found as they are dialled at home too,
    /// where a word before them says what they are: `[DE, AT]`. For the class `phone`; one rule's regions
    /// count for all rules about the same records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phone_regions: Vec<String>,
    /// How many levels of Base64 are opened to look for the rule's built-in classes; what hides something is
    /// then masked whole. 0 opens none. The deepest of all rules about the same records counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(max = 3))]
    pub base64_depth: u8,
    /// Values that are one value split across fields of a JSON document: each item gives their paths in
    /// order. They are put together, and where data of the rule's built-in classes reaches over two or
    /// more of them, all of these are masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<Vec<String>>,
    /// What happens to a finding.
    pub operator: OperatorRule,
    /// Whether record keys are masked as well. A masked key changes partitioning and compaction.
    #[serde(default)]
    pub keys: bool,
}

/// What a mask rule does about what it finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It masks.
    #[default]
    Enforce,
    /// It reports, and changes nothing.
    Observe,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_enforce(mode: &Mode) -> bool {
    *mode == Mode::Enforce
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(depth: &u8) -> bool {
    *depth == 0
}

/// A class of data by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClassName {
    /// A built-in class.
    Known(DataClass),
    /// A class of the section `classes`.
    Custom(#[schemars(length(min = 1, max = 64))] String),
}

impl ClassName {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Known(class) => class.name(),
            Self::Custom(name) => name,
        }
    }
}

/// One field, or several: exactly one of `path`, `name`, `names_of`, `tag` and `column`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldRule {
    /// By path in a JSON document, a part of JSONPath: `$.customer.email`, `$.items[*].phone`,
    /// `$['first-name']`, `$..email` (at any depth). A path to an object or array means every value
    /// in it. A record that is no JSON cannot be parsed then; see `on_unparseable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub path: Option<String>,
    /// By the field's name, at any depth of a JSON document or as a column of CSV. Case, accents and
    /// separators do not count: `lastName` is `last_name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
    /// By all names that fields with data of this class usually have, in the languages of Europe:
    /// `email`, `phone`, `payment_card`, `iban`, `ipv4`, `ipv6`, `mac_address`, `api_secret`,
    /// `person_name`, `postal_address`, `date_of_birth`, `passport`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names_of: Option<DataClass>,
    /// By a tag that the schema in the registry gives the field (`confluent:tags`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub tag: Option<String>,
    /// By its column in CSV: a name, or a number from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<ColumnRule>,
    /// What stands in the field, for the marker and the evidence. Without it: `field`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassName>,
    /// Says that what stands in the field tells people apart, and under which name, for instance
    /// `customer_id`: small letters, digits and `_`. The evidence tags its values, so that
    /// `tidegate audit subject --class customer_id` finds them. Instead of `class`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub subject: Option<String>,
}

/// A column of CSV.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ColumnRule {
    /// By its number, from 1.
    Number(#[schemars(range(min = 1, max = 10000))] u32),
    /// By its name.
    Name(#[schemars(length(min = 1, max = 100))] String),
}

/// How records are to be read as CSV (RFC 4180).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvRule {
    /// What stands between fields: one character of ASCII.
    #[serde(default = "comma")]
    #[schemars(length(min = 1, max = 1))]
    pub separator: String,
    /// Whether the first line of each record names the columns.
    #[serde(default)]
    pub header: bool,
    /// The columns' names, where records have no header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10000))]
    pub columns: Vec<String>,
}

fn comma() -> String {
    ",".to_owned()
}

fn fetch_only() -> Vec<Direction> {
    vec![Direction::Fetch]
}

/// Who is exempt from a mask rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Except {
    /// Principals by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<Identity>,
    /// Groups whose members are exempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Identity>,
}

/// What happens to a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperatorRule {
    /// It is replaced by its class's marker, for instance `[email]`.
    Redact,
    /// All its letters and digits but the last so many become `*`.
    KeepLast(#[schemars(range(min = 1, max = 64))] u8),
    /// It is replaced by this text.
    Replace(#[schemars(length(max = 256))] String),
    /// A JSON string or number that is the finding becomes `null`; anywhere else it is taken out.
    Nullify,
    /// Only its first so many letters and digits stay, at most half of them.
    Truncate(#[schemars(range(min = 1, max = 64))] u8),
    /// It becomes the range it belongs to: `ipv4` the network of /24, `ipv6` of /48, `mac_address` the
    /// maker, `email` the domain, `payment_card` the first six digits, `iban` and `eu_vat` the country,
    /// `date_of_birth` the year.
    Generalise,
    /// It becomes a pseudonym under the key of this name, the same wherever the value stands.
    Pseudonym(#[schemars(length(min = 1))] String),
    /// Its digits are encrypted to as many digits (FF1) under the key of this name.
    Encrypt(#[schemars(length(min = 1))] String),
    /// The record is emptied: its value and header values become null, its offset stays.
    DropRecord,
}
