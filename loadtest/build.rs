//! Links as the gateway does, so that glommio's rings are set up by `tidegate::data::runtime::ffi`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg=-Wl,--wrap=__sys_io_uring_setup");
}
