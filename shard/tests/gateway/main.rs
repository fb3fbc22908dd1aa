//! The built gateway in front of a real Apache Kafka, driven by unmodified clients.
//!
//! One test binary, so that one broker serves most tests. Reading order: `dependencies`, `process`
//! and `ports` (what everything stands on), `tls`, `idp`, `kafka` (the surroundings), `raw` and
//! `clients` (who connects), `gateway` (what is tested), then the tests by subject.

#![allow(clippy::print_stderr, reason = "measured values, and what somebody wants to know of a failed test")]

mod admin;
mod bad_input;
mod browser;
mod clients;
mod crash;
mod decisions;
mod demo;
mod denied;
mod dependencies;
mod erasure;
mod evidence;
mod export;
mod fields;
mod formats;
mod gateway;
mod grants;
mod harness;
mod holds;
mod identity;
mod idp;
mod kafka;
mod lake;
mod life;
mod masking;
mod oracle;
mod pasted;
mod ports;
mod process;
mod raw;
mod recordings;
mod records;
mod revocation;
mod saml;
mod stock_clients;
mod story;
mod subject;
mod tls;
mod tokens;
mod trust;
mod web;
