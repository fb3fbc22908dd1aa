//! The file: crashes, and hands that changed it.
