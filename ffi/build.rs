//! Gives the shared library its SONAME.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if system == "linux" || system == "freebsd" {
        // The number rises with every change that breaks programs linked before.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libgometa.so.0");
    }
}
