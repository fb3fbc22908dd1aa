//! The whole gateway measured from outside: generator, blackhole broker, oracle, report.

pub mod relay;
