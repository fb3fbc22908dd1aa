//! The stage by itself, and in sessions.
