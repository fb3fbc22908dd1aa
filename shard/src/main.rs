//! placeholder
/// entry
fn main() {}
