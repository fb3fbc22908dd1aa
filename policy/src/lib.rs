//! Tidegate decides here. No socket, no clock: keys and time are arguments.

pub mod identity;
pub mod mask;
pub mod view;
