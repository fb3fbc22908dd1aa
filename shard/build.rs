//! Links the gateway so that glommio's rings are set up by `src/data/runtime/ffi.rs`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg=-Wl,--wrap=__sys_io_uring_setup");
}
