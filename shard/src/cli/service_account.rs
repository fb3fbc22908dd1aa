//! `tidegate service-account NAME`: draws a secret for a program, and prints the lines that let it in.

use super::Failure;
use crate::control::issuer::accounts::{SECRET_PREFIX, hash_line};
use crate::tokens::secret::draw;

/// What `tidegate service-account` takes.
#[derive(Debug, clap::Args)]
pub(super) struct ServiceAccount {
    /// The account's name: its client id, and the principal in policy and evidence
    name: String,
    /// A group that it is in; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
}

impl ServiceAccount {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
        if !std::iter::once(&self.name).chain(&self.groups).all(|name| !name.is_empty() && name.chars().all(allowed)) {
            return Err(Failure::Usage(vec!["names have letters, digits and `.` `_` `-` `@`".to_owned()]));
        }
        let secret = draw(SECRET_PREFIX).map_err(|_| Failure::Fault("the system has no randomness".to_owned()))?;
        println!("# Into the file of `tokens.service_accounts_file`, below `service_accounts:`");
        println!("  - name: {}", self.name);
        if !self.groups.is_empty() {
            println!("    groups: [{}]", self.groups.join(", "));
        }
        println!("    secret_hashes: [\"{}\"]", hash_line(&secret));
        println!("# For the program; shown only now\n# {}", &*secret);
        Ok(())
    }
}
