//! Towards the brokers: who the gateway is there, and how it logs in.
//!
//! A state machine without I/O, used by `data` on glommio and by `control` on tokio: frames in, frames out. The client's
//! credential never comes here (decision 6 of the design).
//!
//! Reading order:
//! 1. [`credentials`]: the gateway's secret, held in memory that is wiped.
//! 2. [`login`]: the conversation: ApiVersions, SaslHandshake, SaslAuthenticate; and re-authentication (KIP-368).
//! 3. [`mint`]: tokens made for each session, in the principal's name.
//! 4. [`scram`]: RFC 5802, the client's side.

pub mod credentials;
pub mod login;
pub mod mint;
pub mod scram;

pub use credentials::{CredentialsError, Secret, UpstreamCredentials};
pub use login::{Action, LoggedIn, LoginError, UpstreamLogin};
pub use mint::{MintError, Minter};
