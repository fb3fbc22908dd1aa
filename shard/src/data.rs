//! The hot path, on glommio: one file a stage, in the order of a request's life.
//!
//! [`accept`] → [`proxy_header`] → [`tls`] (and [`certificate`]) → [`greet`], [`sasl`],
//! [`versions`] → frame and header (`tidegate_core`) → [`authorise`] → [`hold`] → [`records`] (scan, mask) →
//! [`forward`] → [`response`] (scan, mask, [`addresses`]) → [`evidence`] (and [`recording`], by rule) → [`release`].
//!
//! Around them: [`who`] is what every entry of a session says alike, [`connection`] pumps the sockets of one client, [`session`] is its state without
//! I/O, [`connect`] and [`login`] make the upstream connection, [`stage`] is what stages pass to
//! each other, [`topics`] what they remember of the cluster; [`shard`] owns it all, and [`runtime`]
//! is the one door to glommio.

pub mod accept;
pub mod addresses;
pub mod authorise;
pub mod certificate;
pub mod connect;
pub mod connection;
pub mod evidence;
pub mod forward;
pub mod greet;
pub mod hold;
pub mod login;
pub mod proxy_header;
pub mod recording;
pub mod records;
pub mod release;
pub mod response;
mod retention;
pub mod runtime;
pub mod sasl;
pub mod session;
pub mod shard;
#[cfg(test)]
mod simulation;
pub mod stage;
pub mod tls;
pub mod topics;
pub mod versions;
pub mod who;
