//! Criterion benches of the gateway's stages stand in `benches/`; this library is empty.
